//! AWS: sessions of a role, narrowed by a policy of their own.

use super::{Revocation, Says, Template};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// An account of AWS
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The region in which sessions are asked for
    pub region: String,
    /// Where STS and IAM are, if not at AWS
    pub endpoint: Option<String>,
    /// The secret of the vault with which requests are signed: `ACCESS_KEY_ID:SECRET_ACCESS_KEY`
    pub keys: Name,
    /// The role of each class, and what a session of it may do
    pub roles: BTreeMap<Class, AwsRole>,
}

/// A role, and what of it a session is given
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsRole {
    /// Its ARN
    pub arn: String,
    /// What its trust policy wants to be told
    pub external_id: Option<String>,
    /// What a session may do: no more than the role may
    pub allow: Vec<AwsAllow>,
}

/// One statement of a session's policy
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsAllow {
    /// Actions, such as `s3:GetObject`
    pub actions: Vec<String>,
    /// What they may be done with
    pub resources: Vec<Template>,
}

/// A session lives for so long at least (AssumeRole, `DurationSeconds`)
const SHORTEST_MS: i64 = 900_000;
/// What is changed in IAM has reached every region after some time
const REACHES_MS: i64 = 60_000;

impl AwsRole {
    /// Its name, without its path
    #[must_use]
    pub fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }
}

impl Says for Aws {
    fn kind(&self) -> &'static str {
        "aws"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.roles.keys().copied().collect()
    }

    fn revocation(&self) -> Revocation {
        Revocation::Eventual { within_ms: REACHES_MS }
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(&["access_key_id", "secret_access_key", "session_token", "region"])
    }

    fn secrets(&self) -> Vec<&Name> {
        vec![&self.keys]
    }

    fn shortest_ms(&self) -> i64 {
        SHORTEST_MS
    }
}
