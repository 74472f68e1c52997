//! SPIFFE IDs and trust domains, to the byte.

use std::{fmt, str::FromStr};

/// Bytes of a SPIFFE ID at most
const ID_MAX: usize = 2_048;
/// Bytes of a trust domain's name at most
const DOMAIN_MAX: usize = 255;
const SCHEME: &str = "spiffe://";

/// The name of a trust domain
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

/// A SPIFFE ID; equal IDs have equal texts
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    domain: TrustDomain,
}

/// The text is no SPIFFE ID or trust domain
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnId {
    /// Too long
    #[error("a SPIFFE ID has at most 2048 bytes, and a trust domain 255")]
    TooLong,
    /// Another scheme
    #[error("a SPIFFE ID begins with spiffe://")]
    Scheme,
    /// No trust domain
    #[error("a trust domain is of a-z, 0-9, dots, dashes and underscores")]
    Domain,
    /// No path
    #[error("a SPIFFE ID's path is of segments of letters, digits, dots, dashes and underscores, none of them . or ..")]
    Path,
}

impl TrustDomain {
    /// The name
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() > DOMAIN_MAX {
            return Err(NotAnId::TooLong);
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if text.is_empty() || !text.bytes().all(plain) {
            return Err(NotAnId::Domain);
        }
        Ok(Self(text.to_owned()))
    }
}

impl SpiffeId {
    /// The whole URI
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose it is
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// What is behind the trust domain: nothing for the domain itself, otherwise with its slash
    #[must_use]
    pub fn path(&self) -> &str {
        let path = self.text.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(self.domain.as_str()));
        path.unwrap_or_default()
    }

    /// Whether it names a workload, and not the domain itself
    #[must_use]
    pub fn is_workload(&self) -> bool {
        !self.path().is_empty()
    }
}

impl FromStr for SpiffeId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() > ID_MAX {
            return Err(NotAnId::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(NotAnId::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        let domain = domain.parse()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let segment = |one: &str| !matches!(one, "" | "." | "..") && one.bytes().all(plain);
        if path.is_some_and(|path| !path.split('/').all(segment)) {
            return Err(NotAnId::Path);
        }
        Ok(Self { text: text.to_owned(), domain })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_examples_are_ids() {
        for (text, domain, path) in [
            ("spiffe://trust-domain-name/path", "trust-domain-name", "/path"),
            ("spiffe://staging.example.com/payments/mysql", "staging.example.com", "/payments/mysql"),
            ("spiffe://k8s-west.example.com/ns/staging/sa/default", "k8s-west.example.com", "/ns/staging/sa/default"),
            (
                "spiffe://example.com/9eebccd2-12bf-40a6-b262-65fe0487d453",
                "example.com",
                "/9eebccd2-12bf-40a6-b262-65fe0487d453",
            ),
            ("spiffe://example.org", "example.org", ""),
            ("spiffe://a_b/C..d/...", "a_b", "/C..d/..."),
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!((id.as_str(), id.domain().as_str(), id.path()), (text, domain, path));
            assert_eq!(id.is_workload(), !path.is_empty());
        }
    }

    #[test]
    fn nothing_else_is() {
        for (text, wrong) in [
            ("", NotAnId::Scheme),
            ("SPIFFE://example.org/a", NotAnId::Scheme),
            ("https://example.org/a", NotAnId::Scheme),
            ("spiffe:/example.org/a", NotAnId::Scheme),
            ("spiffe://", NotAnId::Domain),
            ("spiffe:///a", NotAnId::Domain),
            ("spiffe://Example.org/a", NotAnId::Domain),
            ("spiffe://example.org:80/a", NotAnId::Domain),
            ("spiffe://u@example.org/a", NotAnId::Domain),
            ("spiffe://example.org?a", NotAnId::Domain),
            ("spiffe://example.org#a", NotAnId::Domain),
            ("spiffe://ex%61mple.org/a", NotAnId::Domain),
            ("spiffe://example.org/", NotAnId::Path),
            ("spiffe://example.org//a", NotAnId::Path),
            ("spiffe://example.org/a/", NotAnId::Path),
            ("spiffe://example.org/a/../b", NotAnId::Path),
            ("spiffe://example.org/./b", NotAnId::Path),
            ("spiffe://example.org/a%2Fb", NotAnId::Path),
            ("spiffe://example.org/a?b", NotAnId::Path),
            ("spiffe://example.org/a#b", NotAnId::Path),
            ("spiffe://example.org/\u{e4}", NotAnId::Path),
            ("spiffe://example.org/a\0", NotAnId::Path),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(wrong), "{text}");
        }
        let id = |bytes: usize| format!("spiffe://example.org/{}", "a".repeat(bytes - 21));
        assert!(id(2048).parse::<SpiffeId>().is_ok());
        assert_eq!(id(2049).parse::<SpiffeId>(), Err(NotAnId::TooLong));
        assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
        assert_eq!("a".repeat(256).parse::<TrustDomain>(), Err(NotAnId::TooLong));
    }
}
