//! Credentials for connectors: where they come from, and how they are put in.

use super::Class;
use crate::{
    hash::Hash,
    names::{Invalid, Name},
    time::Millis,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Where credentials come from that live as long as a task
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSource {
    /// Who answers for it
    pub owner: String,
    /// The system that issues and withdraws them
    pub back_end: BackEnd,
    /// Milliseconds that one lives at most, if that is less than its task
    pub ttl_ms: Option<i64>,
    /// By what they are narrowed: names that grants use, and the parameter of the task that gives each its value
    pub scope: BTreeMap<Name, Name>,
    /// What stands for those where somebody looks at what a server offers, outside of any task
    pub probe: BTreeMap<Name, String>,
    /// The digest of what its file says: leases that were issued under another one are not used
    pub digest: Hash,
}

impl CredentialSource {
    /// The classes that it issues for
    #[must_use]
    pub fn classes(&self) -> BTreeSet<Class> {
        match &self.back_end {
            BackEnd::Static(of) => of.classes.clone(),
            BackEnd::Command(of) => of.classes.clone(),
            BackEnd::Postgres(of) => of.grants.keys().copied().collect(),
        }
    }

    /// What taking one of its credentials back achieves
    #[must_use]
    pub fn revocation(&self) -> Revocation {
        match &self.back_end {
            BackEnd::Static(_) => Revocation::GatewayOnly,
            BackEnd::Command(of) => of.revocation,
            BackEnd::Postgres(_) => Revocation::Immediate,
        }
    }

    /// Whether what it gives is there before the task and after it
    #[must_use]
    pub fn is_standing(&self) -> bool {
        matches!(self.back_end, BackEnd::Static(_))
    }
}

/// A system that issues credentials, and what it needs to know for that
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackEnd {
    /// A secret of the vault, the same for every task: the last resort
    Static(StaticSecret),
    /// A program that issues and withdraws, in the protocol of `docs/credentials.md`
    Command(CommandBackEnd),
    /// PostgreSQL: a role for each lease
    Postgres(Postgres),
}

impl BackEnd {
    /// What kind it is, as its file says it
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::Command(_) => "command",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The fields of what it issues, which templates may name; `None`: any, as only the back end itself knows them
    #[must_use]
    pub fn fields(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::Static(_) => Some(&["secret"]),
            Self::Command(_) => None,
            Self::Postgres(_) => Some(&["user", "password", "host", "port", "database"]),
        }
    }

    /// The secrets of the vault that it needs
    #[must_use]
    pub fn secrets(&self) -> Vec<&Name> {
        match self {
            Self::Static(of) => vec![&of.secret],
            Self::Command(of) => of.secret.iter().collect(),
            Self::Postgres(of) => vec![&of.admin],
        }
    }
}

/// A secret that is put in as it is
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticSecret {
    /// Which secret of the vault
    pub secret: Name,
    /// For which classes it is put in; it cannot itself tell them apart
    pub classes: BTreeSet<Class>,
    /// When its owner has to exchange it
    pub rotate_by: Option<Millis>,
}

/// A program that issues credentials
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandBackEnd {
    /// Program and arguments
    pub command: Vec<String>,
    /// A secret of the vault that it is told
    pub secret: Option<Name>,
    /// The classes that it issues for
    pub classes: BTreeSet<Class>,
    /// What it says that taking one back achieves
    pub revocation: Revocation,
}

/// A PostgreSQL server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Its name or address
    pub host: String,
    /// Its port
    pub port: u16,
    /// The database in which grants are made
    pub database: String,
    /// Whether the connection has to be encrypted and the server's certificate to fit its name
    pub tls: bool,
    /// The secret of the vault with which Portreeve signs in: `USER:PASSWORD`
    pub admin: Name,
    /// What a role of each class is granted: the part of `GRANT ... TO role` between the two words
    pub grants: BTreeMap<Class, Vec<String>>,
    /// Connections that one role may have at once
    pub connections: u16,
}

/// What taking a credential back achieves
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// It is of no use from that moment on, nor is what was opened with it
    Immediate,
    /// It is of no use soon after
    Eventual {
        /// Milliseconds after which that is so
        within_ms: i64,
    },
    /// Nothing: it is usable until its own time has passed
    ExpiryOnly,
    /// Nothing at the back end; but it never leaves Portreeve
    GatewayOnly,
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immediate => f.write_str("immediate"),
            Self::Eventual { within_ms } => write!(f, "eventual (within {} s)", within_ms.div_euclid(1_000).max(1)),
            Self::ExpiryOnly => f.write_str("expiry only"),
            Self::GatewayOnly => f.write_str("gateway only"),
        }
    }
}

/// The credentials of a connector
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Where they come from
    pub source: Name,
    /// The digest of all that the policy says of the source, and of how its credentials are put in
    pub config: Hash,
    /// Headers of every request, by name
    pub headers: BTreeMap<String, Template>,
    /// Members of the address's query, by name
    pub query: BTreeMap<String, Template>,
    /// Variables of the environment of its process, by name
    pub env: BTreeMap<String, Template>,
    /// Files that its process can read, by the variable that holds their path
    pub files: BTreeMap<String, Template>,
}

/// A text with fields of a credential in it: `Bearer {token}`; `{{` and `}}` stand for braces
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// Reads a template
    ///
    /// # Errors
    /// A brace stands alone, or what stands between two is no name.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("template", text, "text with {field} in it; {{ and }} for braces");
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let (field, after) = brace.strip_prefix('{').and_then(|of| of.split_once('}')).ok_or_else(invalid)?;
                let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if field.is_empty() || !field.chars().all(good) {
                    return Err(invalid());
                }
                parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Field(field.to_owned())]);
                rest = after;
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The fields in it
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(field) => Some(field.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with these values; the first field that has none, otherwise
    ///
    /// # Errors
    /// The name of that field.
    pub fn fill<'s, 'v>(&'s self, value: impl Fn(&'s str) -> Option<&'v str>) -> Result<String, &'s str> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field(field) => filled.push_str(value(field).ok_or(field.as_str())?),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_once_and_what_is_filled_in_is_no_template() {
        let template = Template::read("a{{b}} {user}:{pass} {{{user}}}").unwrap();
        assert_eq!(template.fields().collect::<Vec<_>>(), ["user", "pass", "user"]);
        let value = |field: &str| match field {
            "user" => Some("{pass}"),
            "pass" => Some("x"),
            _ => None,
        };
        assert_eq!(template.fill(value).unwrap(), "a{b} {pass}:x {{pass}}");
        assert_eq!(Template::read("{other}").unwrap().fill(value), Err("other"));
        assert_eq!(Template::read("").unwrap().fill(value).unwrap(), "");
        for bad in ["{", "}", "{}", "{a", "a}", "{a b}", "{{a}", "{a}}"] {
            assert!(Template::read(bad).is_err(), "{bad}");
        }
    }
}
