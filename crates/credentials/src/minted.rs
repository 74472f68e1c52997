//! Tokens that Portreeve signs itself, for a server that can check them. None is taken back: each is over within minutes.

use crate::{
    means::{Means, scopes},
    secret::Secret,
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
};
use async_trait::async_trait;
use portreeve_core::{
    event::Evidence,
    policy::{Minted as Tokens, MintedFormat},
    time::Millis,
};
use portreeve_identity::mint::{Form, LIFETIME_MS, Says};
use std::collections::BTreeMap;

/// Tokens of our own
#[derive(Debug)]
pub struct Minted {
    of: Tokens,
    means: Means,
}

impl Minted {
    /// Signed with these means
    #[must_use]
    pub fn new(of: Tokens, means: Means) -> Self {
        Self { of, means }
    }

    fn sign(&self, wanted: &Wanted, scope: &[String]) -> Result<(Secret, Millis), String> {
        let form = match self.of.format {
            MintedFormat::AccessToken => Form::AccessToken,
            MintedFormat::Transaction => Form::Transaction,
        };
        let says = Says {
            audience: &self.of.audience,
            whom: &wanted.whom,
            task: wanted.task,
            scope: &scope.join(" "),
            narrowed: &wanted.scope,
            client_id: None,
            resource: None,
            id: wanted.name.as_str(),
            until: wanted.until,
        };
        let minted = self.means.minter.mint(form, &says, self.means.clock.now()).map_err(|error| error.to_string())?;
        Ok((Secret::new(minted.text), minted.expires))
    }
}

#[async_trait]
impl Source for Minted {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let scope = self.of.scopes.get(&wanted.class);
        let scope = scope.ok_or_else(|| NotIssued::Refused("nothing is signed for this class".to_owned()))?;
        let scope = scopes(scope, &wanted.scope).map_err(NotIssued::Refused)?;
        let (token, until) = self.sign(wanted, &scope).map_err(NotIssued::Refused)?;
        let fields = BTreeMap::from([("token".to_owned(), token)]);
        Ok(Issued { fields, handle: None, until: Some(until), keep: None })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        // One whose issuing was cut off lives as long as any of them could.
        let now = self.means.clock.now();
        let until = held.until.unwrap_or_else(|| now.plus(LIFETIME_MS));
        Ok(if now < until { Withdrawn::Left(until) } else { Withdrawn::Gone(Evidence::Expired) })
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        let name = portreeve_core::names::EffectId(0);
        let name = crate::name::LeaseName::new(portreeve_core::hash::Hash::of(b"a look"), name);
        let until = self.means.clock.now().plus(LIFETIME_MS);
        let (class, task) = (portreeve_core::policy::Class::Read, portreeve_core::names::TaskId::default());
        let (scope, whom) = (BTreeMap::new(), portreeve_core::judge::Whom::default());
        self.sign(&Wanted { name, class, scope, until, task, whom }, &[]).map(drop)
    }
}
