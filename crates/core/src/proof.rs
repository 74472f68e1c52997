//! How an agent proves itself, and what was shown: checked by the shell, judged here.
//!
//! What is shown is verified where keys and clocks are; what it has to be stands in the policy. So the judgement is over
//! values on the record, and comes out the same when it is played again.

mod index;

pub use index::Index;

use crate::{hash::Hash, names::Name, time::Millis, value::Value};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// One way in which an agent may prove itself; any one of those in its file suffices
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What has to be shown
    pub way: Way,
    /// Whether several may hold it at once; otherwise a second holder is refused
    pub replicas: bool,
    /// Which processes of this machine get the SPIFFE ID from the Workload API of our own
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attest: Option<Attest>,
}

/// What a process has to be; everything that is said has to fit
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attest {
    /// Its account
    pub uid: Option<u32>,
    /// Where its program lies
    pub path: Option<String>,
    /// The digest of its program; of an interpreter, of the script with it
    pub sha256: Option<Hash>,
}

impl Attest {
    /// Whether this account fits
    #[must_use]
    pub fn fits_account(&self, uid: u32) -> bool {
        self.uid.is_none_or(|wanted| wanted == uid)
    }

    /// Whether a program that lies here fits
    #[must_use]
    pub fn fits_path(&self, path: &str) -> bool {
        self.path.as_deref().is_none_or(|wanted| wanted == path)
    }
}

/// What has to be shown
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A SPIFFE ID, exactly, by a certificate or by a token
    Spiffe(String),
    /// A token of an issuer with exactly these claims, by path: `kubernetes.io.namespace`
    Issued {
        /// Whose token
        issuer: Name,
        /// What it has to say; never empty
        claims: BTreeMap<String, Value>,
    },
    /// A JWT signed with a key (RFC 7523)
    Key {
        /// The public key as a JWK with its required members only, in canonical JSON: what RFC 7638 hashes
        jwk: String,
    },
    /// A program that its owner starts on this machine
    Program {
        /// The digest of its file; of an interpreter, of the script with it
        sha256: Hash,
    },
}

/// How something was shown
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A certificate of a SPIFFE trust domain, whose key was used in the handshake of the connection
    X509Svid,
    /// A token of a SPIFFE trust domain
    JwtSvid,
    /// A token of an OpenID Connect issuer
    Oidc,
    /// A token that the agent signed itself
    PrivateKeyJwt,
    /// The program that was started: what its owner says is held against its file by the gateway
    Program,
}

impl How {
    /// The word in records, rules and answers
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X509Svid => "x509_svid",
            Self::JwtSvid => "jwt_svid",
            Self::Oidc => "oidc",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::Program => "program",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What whoever uses a token of ours has to hold besides
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Binding {
    /// A key with which each request is signed (RFC 9449, 6.1): its thumbprint
    #[serde(rename = "jkt")]
    Dpop(Hash),
    /// The certificate of the connection (RFC 8705, 3.1): the SHA-256 of its DER
    #[serde(rename = "x5t#S256")]
    Certificate(Hash),
}

/// What an agent has shown, verified and brought into one form
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// How
    pub how: How,
    /// Who vouches for it: an issuer of the policy
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Name>,
    /// Who it says that it is: a SPIFFE ID, or the `sub` of a token
    pub subject: String,
    /// Claims that are fit to be relied on, by path
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Value>,
    /// The SHA-256 of the key that is held, as RFC 7638 says, or of the program that runs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Hash>,
    /// Which piece of evidence: its `jti`, or the digest of a token that has none
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What tokens given for it are bound to
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// From where it was shown: the peer's address
    pub from: String,
    /// Until when it counts: its own end, and at least as long as the token that is given for it
    pub until: Millis,
    /// On whose behalf it says that it works, by a token of theirs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behalf: Option<Box<Behalf>>,
}

/// A person's token that was meant for us, in the hands of an agent (RFC 8693, 1.1): they have it work for them
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behalf {
    /// Who issued it: an issuer of the policy at which people sign in
    pub issuer: Name,
    /// The person's `sub` there
    pub subject: String,
    /// To which client it was issued
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Its `jti`, or its digest
    pub id: String,
    /// Until when it counts
    pub until: Millis,
}

/// How somebody is known for whom the account that serves vouches, and nothing else
pub const BY_ACCOUNT: &str = "account";

impl Proven {
    /// What whoever uses the task's tokens has to hold besides: `"dpop"`, `"certificate"` or `"none"`
    #[must_use]
    pub fn bound(proven: Option<&Self>) -> &'static str {
        match proven.and_then(|proven| proven.binding) {
            Some(Binding::Dpop(_)) => "dpop",
            Some(Binding::Certificate(_)) => "certificate",
            None => "none",
        }
    }
}

impl Way {
    /// Whether what was shown is what has to be shown
    #[must_use]
    pub fn fits(&self, proven: &Proven) -> bool {
        match self {
            Self::Spiffe(id) => matches!(proven.how, How::X509Svid | How::JwtSvid) && proven.subject == *id,
            Self::Issued { issuer, claims } => {
                proven.how == How::Oidc
                    && proven.issuer.as_ref() == Some(issuer)
                    && !claims.is_empty()
                    && claims.iter().all(|(path, wanted)| proven.claims.get(path) == Some(wanted))
            }
            Self::Key { jwk } => proven.how == How::PrivateKeyJwt && proven.key == Some(Hash::of(jwk.as_bytes())),
            Self::Program { sha256 } => proven.how == How::Program && proven.key == Some(*sha256),
        }
    }
}

impl Proof {
    /// What somebody would have shown who fits: for playing what nobody has shown
    #[must_use]
    pub fn imagined(&self, until: Millis) -> Proven {
        let (how, issuer, subject, claims, key) = match &self.way {
            Way::Spiffe(id) => (How::JwtSvid, None, id.clone(), BTreeMap::new(), None),
            Way::Issued { issuer, claims } => {
                let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
                (How::Oidc, Some(issuer.clone()), subject, claims.clone(), None)
            }
            Way::Key { jwk } => {
                (How::PrivateKeyJwt, None, String::new(), BTreeMap::new(), Some(Hash::of(jwk.as_bytes())))
            }
            Way::Program { sha256 } => (How::Program, None, String::new(), BTreeMap::new(), Some(*sha256)),
        };
        Proven { how, issuer, subject, claims, key, id: None, binding: None, from: String::new(), until, behalf: None }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => f.write_str(id),
            Self::Issued { issuer, claims } => {
                write!(f, "a token of {issuer} with")?;
                for (at, (path, value)) in claims.iter().enumerate() {
                    write!(f, "{} {path} = {}", if at == 0 { "" } else { "," }, value.canonical())?;
                }
                Ok(())
            }
            Self::Key { jwk } => write!(f, "the key {}", Hash::of(jwk.as_bytes())),
            Self::Program { sha256 } => write!(f, "the program {sha256}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven(how: How) -> Proven {
        Proven {
            how,
            issuer: Some("github".parse().unwrap()),
            subject: "spiffe://example.org/bot".to_owned(),
            claims: [("repository_id".to_owned(), Value::String("1".to_owned()))].into(),
            key: Some(Hash::of(b"{}")),
            id: None,
            binding: None,
            from: "127.0.0.1".to_owned(),
            until: Millis(1),
            behalf: None,
        }
    }

    fn issued(issuer: &str, claims: &[(&str, &str)]) -> Way {
        let claims = claims.iter().map(|(path, value)| ((*path).to_owned(), Value::String((*value).to_owned())));
        Way::Issued { issuer: issuer.parse().unwrap(), claims: claims.collect() }
    }

    #[test]
    fn each_way_wants_exactly_its_own() {
        let spiffe = Way::Spiffe("spiffe://example.org/bot".to_owned());
        assert!(spiffe.fits(&proven(How::JwtSvid)) && spiffe.fits(&proven(How::X509Svid)));
        assert!(!spiffe.fits(&proven(How::Oidc)), "another issuer may give any subject");
        assert!(!Way::Spiffe("spiffe://example.org/bo".to_owned()).fits(&proven(How::JwtSvid)));
        assert!(!Way::Spiffe("spiffe://example.org/bo".to_owned()).fits(&proven(How::X509Svid)));

        assert!(issued("github", &[("repository_id", "1")]).fits(&proven(How::Oidc)));
        assert!(!issued("gitlab", &[("repository_id", "1")]).fits(&proven(How::Oidc)));
        assert!(!issued("github", &[("repository_id", "2")]).fits(&proven(How::Oidc)));
        assert!(!issued("github", &[("repository_id", "1"), ("environment", "production")]).fits(&proven(How::Oidc)));
        assert!(!issued("github", &[]).fits(&proven(How::Oidc)), "a rule without claims would let everybody in");
        assert!(!issued("github", &[("repository_id", "1")]).fits(&proven(How::PrivateKeyJwt)));

        let key = Way::Key { jwk: "{}".to_owned() };
        assert!(key.fits(&proven(How::PrivateKeyJwt)) && !key.fits(&proven(How::Oidc)));
        assert!(!key.fits(&Proven { key: None, ..proven(How::PrivateKeyJwt) }));

        let program = Way::Program { sha256: Hash::of(b"{}") };
        assert!(program.fits(&proven(How::Program)) && !program.fits(&proven(How::PrivateKeyJwt)));
        assert!(!key.fits(&proven(How::Program)), "whoever runs a program holds no key");
        assert!(!program.fits(&Proven { key: None, ..proven(How::Program) }));
        assert!(!program.fits(&Proven { key: Some(Hash::of(b"")), ..proven(How::Program) }));
    }
}
