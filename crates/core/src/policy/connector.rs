//! Connectors: the servers behind Portreeve, and the groups of their tools.

use crate::{
    names::{Invalid, Name, ToolName},
    policy::{Credentials, Profile},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// An upstream MCP server: how to reach it and what its tools are
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// How to reach it
    pub reach: Reach,
    /// Processes that wait for a task to take them, where it is reached as one
    pub ahead: u8,
    /// Milliseconds that one of its calls may take
    pub timeout_ms: i64,
    /// Profiles of its tools
    pub tools: BTreeMap<ToolName, Profile>,
    /// Named groups of its tools, with those of the groups in them
    pub toolsets: BTreeMap<Toolset, BTreeSet<Member>>,
    /// Where its calls take effect, unless a profile says otherwise
    pub environment: Option<String>,
    /// How much can go wrong there
    pub tier: Tier,
    /// What it wants to be shown, if it does
    pub credentials: Option<Credentials>,
}

/// How much can go wrong at a connector, which picks how strict the chain is
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Little, and it is heavily constrained: writing stands wherever reading does
    Low,
    /// As much as its classes say
    #[default]
    Standard,
    /// Much: every yes needs a passkey, and nothing is executed or escalated without a person
    High,
}

impl Tier {
    /// Whether tools of a class may be used in a task where the classes `standing` stand
    #[must_use]
    pub fn stands(self, class: Class, standing: &BTreeSet<Class>) -> bool {
        let light = self == Self::Low && class == Class::Write && standing.contains(&Class::Read);
        light || standing.contains(&class)
    }

    /// Whether a class is never opened without a person, whatever the purpose says
    #[must_use]
    pub fn needs_person(self, class: Class) -> bool {
        class == Class::Escalate || (self == Self::High && class == Class::Execute)
    }

    /// As policy files write it
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Standard => "standard",
            Self::High => "high",
        }
    }
}

/// The name of a group of tools of one connector: names with dots between them, such as `issues.read`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Toolset(String);

/// A tool in a group of one connector, or one variant of it
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The tool
    pub tool: ToolName,
    /// The variant; without it, what no variant claims
    pub variant: Option<Name>,
}

impl Toolset {
    /// The name as it is written
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Toolset {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.split('.').try_for_each(|part| part.parse::<Name>().map(drop))?;
        Ok(Self(text.to_owned()))
    }
}

/// How to reach a connector
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// A child process that speaks MCP on its standard input and output
    Stdio {
        /// Program and arguments
        command: Vec<String>,
        /// Environment beside the few variables that every child gets
        env: BTreeMap<String, String>,
    },
    /// A Streamable HTTP endpoint
    Http {
        /// Its address
        url: String,
        /// The SPIFFE ID that has to be there; nothing: whoever the authorities of the machine vouch for
        #[serde(skip_serializing_if = "Option::is_none")]
        spiffe: Option<String>,
        /// Whether we show our own X.509-SVID there
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        svid: bool,
    },
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { command, .. } => f.write_str(&command.join(" ")),
            Self::Http { url, spiffe, svid } => {
                f.write_str(url)?;
                if let Some(id) = spiffe {
                    write!(f, " as {id}")?;
                }
                if *svid { f.write_str(" with our own X.509-SVID") } else { Ok(()) }
            }
        }
    }
}

/// The four separate paths; no grant, lease or token of one opens another
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Looks
    Read,
    /// Changes data
    Write,
    /// Runs something
    Execute,
    /// Privileged: secrets, privileges, policy, bulk export, destroying evidence; also what nobody classified
    Escalate,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Escalate => "escalate",
        })
    }
}
