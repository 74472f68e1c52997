//! Google Cloud: tokens of service accounts, for a workload that a pool of identities believes.

use super::{Revocation, Says, Template};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// A workload identity pool of Google Cloud, and the service accounts that it lets in to
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Google {
    /// The provider of the pool that believes what is in `jwt_file`, by its full resource name
    pub audience: String,
    /// A file with a token of whoever Portreeve is where it runs; it is read anew each time
    pub jwt_file: String,
    /// Where tokens are exchanged (STS)
    pub sts: String,
    /// Where tokens of service accounts are had
    pub iamcredentials: String,
    /// The service account of each class, and what of it a token is for
    pub accounts: BTreeMap<Class, GoogleAccount>,
}

/// A service account, and what of it a token is for
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleAccount {
    /// Its e-mail address; what a task is narrowed to stands in its id alone
    pub email: Template,
    /// The scopes of a token
    pub scopes: Vec<String>,
    /// What of Cloud Storage a token is for, and then of nothing else; empty: all that the account may
    pub boundary: Vec<GoogleBucket>,
}

/// A bucket of Cloud Storage that a token is for
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleBucket {
    /// Its name
    pub bucket: Template,
    /// How the names of its objects begin that it is for; nothing: all of them
    pub prefix: Option<Template>,
    /// The roles of which a token may have the permissions, where its account has them
    pub roles: Vec<String>,
}

/// Characters of the id of a service account
const ID_MIN: usize = 6;
const ID_MAX: usize = 30;
/// How the addresses of service accounts end
const DOMAIN: &str = ".iam.gserviceaccount.com";

impl GoogleAccount {
    /// Whether an address is one of a service account that somebody made
    #[must_use]
    pub fn is_email(text: &str) -> bool {
        let plain = |text: &str| text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        let Some((id, domain)) = text.split_once('@') else { return false };
        let project = domain.strip_suffix(DOMAIN).unwrap_or_default();
        (ID_MIN..=ID_MAX).contains(&id.len())
            && plain(id)
            && id.starts_with(|c: char| c.is_ascii_lowercase())
            && !id.ends_with('-')
            && project.split('.').all(|part| !part.is_empty() && plain(part))
    }
}

impl Says for Google {
    fn kind(&self) -> &'static str {
        "google"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.accounts.keys().copied().collect()
    }

    /// Google takes no such token back
    fn revocation(&self) -> Revocation {
        Revocation::ExpiryOnly
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["token"])
    }

    fn secrets(&self) -> Vec<&Name> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_an_account_that_somebody_made() {
        for good in ["orders@shop-1.iam.gserviceaccount.com", "a-1234@shop.example.com.iam.gserviceaccount.com"] {
            assert!(GoogleAccount::is_email(good), "{good}");
        }
        let long = format!("{}@shop.iam.gserviceaccount.com", "a".repeat(31));
        for bad in [
            "",
            "orders",
            "order@shop.iam.gserviceaccount.com",
            "orders-@shop.iam.gserviceaccount.com",
            "1orders@shop.iam.gserviceaccount.com",
            "Orders@shop.iam.gserviceaccount.com",
            "orders@.iam.gserviceaccount.com",
            "orders@shop/x.iam.gserviceaccount.com",
            "orders@x@shop.iam.gserviceaccount.com",
            "orders@shop.iam.gserviceaccount.com:signJwt",
            "123456-compute@developer.gserviceaccount.com",
            &long,
        ] {
            assert!(!GoogleAccount::is_email(bad), "{bad}");
        }
    }
}
