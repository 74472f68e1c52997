//! On whose behalf an agent works: a token of a person that was meant for us, in the agent's hands (RFC 8693, 1.1).
//!
//! It says who, never what: what the agent may do for them, the policy says. It has to come from where people sign in, and
//! be meant for us as a resource: what a person signed in with somewhere else is no such word.

use super::{NotProven, Proving, SKEW, TYPES, bad, issuer_of, named};
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{Bundle, SignIn, Vouches},
    proof::{Behalf, Proven},
    value::Value,
};
use portreeve_identity::jose::{self, Audience, Claims, Want};
use std::time::Duration;

/// How long such a token may live
const LIFETIME_MAX: Duration = Duration::from_secs(60 * 60);

impl Proving {
    /// The person whose token this is, for an agent that has proven itself
    ///
    /// # Errors
    /// [`NotProven`]: it is not good, is meant for somebody else, or names another agent as who may act (RFC 8693, 4.4).
    pub async fn behalf(&self, token: &str, agent: (&Name, &Proven)) -> Result<(Name, Behalf), NotProven> {
        let view = self.catalogue.view();
        let bundle = view.bundle.clone().ok_or(NotProven::Issuer)?;
        let claimed = jose::claimed_issuer(token).map_err(bad)?;
        let people = issuer_of(&bundle, &claimed).filter(|(_, issuer)| issuer.people.is_some());
        let (name, issuer) = people.ok_or(NotProven::Issuer)?;
        let Vouches::Oidc { issuer: iss, algorithms, .. } = &issuer.vouches else {
            return Err(NotProven::Issuer);
        };
        let algorithms = named(algorithms);
        let want = Want {
            algorithms: &algorithms,
            types: TYPES,
            issuer: Some(iss),
            audience: Audience::Only(&self.name),
            lifetime_max: LIFETIME_MAX,
            skew: SKEW,
        };
        let claims = self.checked(token, (name, issuer), &want).await?;
        let subject = claims.sub().ok_or_else(|| bad(jose::Invalid::SubjectMissing))?;
        if !may_act(&claims, agent, &bundle) {
            let says = "the token of the person says that somebody else may act for them (may_act)".to_owned();
            return Err(NotProven::Bad { word: "may_act_wrong", says });
        }
        let is_theirs = |of: &SignIn| of.issuer == *name && of.sub == subject;
        let mut users = bundle.users.iter().filter(|(_, user)| user.sign_in.as_ref().is_some_and(is_theirs));
        let (user, _) = users.next().ok_or(NotProven::NoPerson)?;
        let client = claims.text("client_id").or_else(|| claims.text("azp")).map(str::to_owned);
        let until = claims.exp().map_err(bad)?.ok_or_else(|| bad(jose::Invalid::ExpiryMissing))?;
        let id = claims.jti().map_or_else(|_| Hash::of(token.as_bytes()).to_string(), str::to_owned);
        Ok((user.clone(), Behalf { issuer: name.clone(), subject: subject.to_owned(), client, id, until }))
    }
}

/// Whether the token leaves it open who acts, or names this agent
fn may_act(claims: &Claims, (agent, proven): (&Name, &Proven), bundle: &Bundle) -> bool {
    let Some(may_act) = claims.get("may_act") else { return true };
    let text = |name: &str| may_act.get(name).and_then(Value::as_str);
    let issuer = proven.issuer.as_ref().and_then(|issuer| bundle.issuers.get(issuer)).map(|issuer| &issuer.vouches);
    match issuer {
        // A name counts at the issuer that gave it; without `iss`, that is the one of the token.
        Some(Vouches::Oidc { issuer, .. }) => {
            text("sub") == Some(&proven.subject) && text("iss").or(claims.iss()) == Some(issuer)
        }
        // SPIFFE IDs are the same everywhere.
        Some(Vouches::TrustDomain { .. }) => text("sub") == Some(&proven.subject) && text("iss").is_none(),
        None => text("sub") == Some(agent.as_str()) && text("iss").is_none(),
    }
}
