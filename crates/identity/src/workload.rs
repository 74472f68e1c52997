//! What a platform says about a workload, and which of it a trust rule may rest on.
//!
//! A rule that names something which somebody else can take over later (a repository's name, a person's login) trusts
//! whoever has that name then; so rules may name only what stays with its bearer. And code that was proposed and not
//! taken yet runs with its author's intentions, not with those of the repository: its tokens are refused.

mod claim;

pub use claim::find;

use crate::jose::{Claims, Invalid as NotGood};
pub use portreeve_core::policy::{IssuerKind as Kind, fits_rule, says_who};
use portreeve_core::{time::Millis, value::Value};
use std::collections::BTreeMap;

/// What a workload's token shows
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `sub`
    pub subject: String,
    /// The claims that rules of this kind may name and this token has, by their paths
    pub claims: BTreeMap<String, Value>,
    /// The token's id, if it has one
    pub jti: Option<String>,
    /// From when on it is nothing
    pub until: Millis,
}

/// Why a token that its issuer vouches for is not taken
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It lacks what every good token has
    #[error(transparent)]
    Token(#[from] NotGood),
    /// It is of a change that nobody took yet
    #[error("the job runs for a pull or merge request; what is only proposed gets nothing")]
    Proposed,
    /// It does not say for what the job runs
    #[error("the token does not say what started the job (event_name or pipeline_source)")]
    Cause,
    /// Its claims can be read in two ways
    #[error("the token has a claim that can be found in two places")]
    Twice,
    /// It is not of a service account
    #[error("the token is not one of a service account")]
    NotServiceAccount,
}

impl Refused {
    /// The word that stands for it in records and answers
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token(invalid) => invalid.word(),
            Self::Proposed => "only_proposed",
            Self::Cause => "cause_missing",
            Self::Twice => "claim_twice",
            Self::NotServiceAccount => "not_a_service_account",
        }
    }
}

/// What the verified claims of a token show; `wanted` are the paths that the rules about its issuer name
///
/// # Errors
/// [`Refused`]
pub fn shown(kind: Kind, claims: &Claims, wanted: &[&str]) -> Result<Shown, Refused> {
    match kind {
        Kind::Oidc => {}
        Kind::Github => github(claims)?,
        Kind::Gitlab => gitlab(claims)?,
        Kind::Kubernetes => kubernetes(claims)?,
    }
    let mut found = BTreeMap::new();
    for path in kind.claims().iter().chain(wanted).filter(|path| fits_rule(kind, path).is_ok()) {
        if let Some(value) = find(claims.members(), path).map_err(|_| Refused::Twice)? {
            found.insert((*path).to_owned(), value.clone());
        }
    }
    Ok(Shown {
        subject: claims.sub().ok_or(NotGood::SubjectMissing)?.to_owned(),
        claims: found,
        jti: claims.text("jti").map(str::to_owned),
        until: claims.exp()?.ok_or(NotGood::ExpiryMissing)?,
    })
}

/// Pull requests, of forks or not: nobody has taken the change that runs
fn github(claims: &Claims) -> Result<(), Refused> {
    let event = claims.text("event_name").ok_or(Refused::Cause)?;
    let reference = claims.text("ref").unwrap_or_default();
    let has = |name: &str| claims.get(name).is_some_and(|value| *value != Value::String(String::new()));
    // `pull_request_target` and `workflow_run` run the repository's own workflow, but the former is made for working
    // with what a stranger proposes; it is where such workflows have been taken over.
    if event.starts_with("pull_request") || reference.starts_with("refs/pull/") || has("head_ref") || has("fork") {
        return Err(Refused::Proposed);
    }
    Ok(())
}

/// Merge requests, unless the job's project is the one that the change comes from
fn gitlab(claims: &Claims) -> Result<(), Refused> {
    let source = claims.text("pipeline_source").ok_or(Refused::Cause)?;
    // Since 18.2, project_id is the fork's for its merge requests, and before it was the target's. Only where the
    // job's own project stands beside it can it be told whether there is a fork.
    let own = claims.text("job_project_id").is_some_and(|own| claims.text("project_id") == Some(own));
    let foreign = claims.get("job_project_id").is_some() && !own;
    if source == "external_pull_request_event" || foreign || (source == "merge_request_event" && !own) {
        return Err(Refused::Proposed);
    }
    Ok(())
}

fn kubernetes(claims: &Claims) -> Result<(), Refused> {
    let parts = |sub: &str| sub.strip_prefix("system:serviceaccount:")?.split_once(':').map(drop);
    claims.sub().and_then(parts).ok_or(Refused::NotServiceAccount)
}

#[cfg(test)]
pub(crate) mod tests;
