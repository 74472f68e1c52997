//! What back ends work with.

use crate::{account::Accounts, oauth::server::Servers, vault::Vault};
use portreeve_core::names::Name;
use portreeve_core::policy::Template;
use portreeve_identity::mint::Minter;
use portreeve_upstream::clock::SteadyClock;
use std::{collections::BTreeMap, sync::Arc};

/// What back ends work with
#[derive(Clone, Debug)]
pub struct Means {
    /// Secrets at rest
    pub vault: Arc<Vault>,
    /// What shows servers of others who works on whose behalf
    pub minter: Arc<Minter>,
    /// The time
    pub clock: SteadyClock,
    /// What authorization servers say of themselves
    pub servers: Arc<Servers>,
    /// Accounts that people connected
    pub accounts: Arc<Accounts>,
}

impl Means {
    /// All of it
    #[must_use]
    pub fn new(vault: Arc<Vault>, minter: Arc<Minter>, clock: SteadyClock) -> Self {
        let (servers, accounts) = (Arc::default(), Arc::default());
        Self { vault, minter, clock, servers, accounts }
    }
}

/// Scopes with what the task is narrowed to in them
///
/// # Errors
/// A value is not one that a scope can hold (RFC 6749, 3.3): with a space in it, it would be two.
pub(crate) fn scopes(of: &[String], narrowed: &BTreeMap<Name, String>) -> Result<Vec<String>, String> {
    let value = |field: &str| narrowed.iter().find(|(name, _)| name.as_str() == field).map(|(_, value)| value.as_str());
    let fill = |text: &String| {
        let template = Template::read(text).map_err(|error| error.to_string())?;
        for field in template.fields() {
            let good = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            if !value(field).is_some_and(|value| !value.is_empty() && value.bytes().all(good)) {
                return Err(format!("`{field}` of this task is no text that a scope can hold"));
            }
        }
        template.fill(value).map_err(|field| format!("the task has no `{field}`"))
    };
    of.iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_within_its_scope() {
        let of = ["orders.read".to_owned(), "tenant:{tenant}".to_owned()];
        let with = |value: &str| scopes(&of, &BTreeMap::from([("tenant".parse().unwrap(), value.to_owned())]));
        assert_eq!(with("eu-42").unwrap(), ["orders.read", "tenant:eu-42"]);
        for bad in ["eu admin", "", "eu\tadmin", "a\"", "é"] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
        assert!(scopes(&of, &BTreeMap::new()).is_err());
    }
}
