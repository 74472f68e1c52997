//! A secret of the vault as it is: the last resort. It is put in at the edge, and never released.

use crate::{
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    vault::Vault,
};
use async_trait::async_trait;
use portreeve_core::{event::Evidence, policy::StaticSecret};
use std::{collections::BTreeMap, sync::Arc};

/// A secret that is the same for every task
#[derive(Debug)]
pub struct Fixed {
    of: StaticSecret,
    vault: Arc<Vault>,
}

impl Fixed {
    /// A secret of this vault
    #[must_use]
    pub fn new(of: StaticSecret, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }
}

#[async_trait]
impl Source for Fixed {
    async fn issue(&self, _: &Wanted) -> Result<Issued, NotIssued> {
        let secret = self.vault.get(&self.of.secret).map_err(|error| NotIssued::Refused(error.to_string()))?;
        Ok(Issued { fields: BTreeMap::from([("secret".to_owned(), secret)]), handle: None, until: None, keep: None })
    }

    async fn withdraw(&self, _: &Held) -> Result<Withdrawn, String> {
        Ok(Withdrawn::Gone(Evidence::Held))
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        self.vault.get(&self.of.secret).map(drop).map_err(|error| error.to_string())
    }
}
