//! Which site a passkey is for.

use portreeve_core::hash::Hash;

/// A relying party: the site that passkeys are for (4, "Relying Party Identifier")
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelyingParty {
    id: String,
    origin: String,
}

/// These are no site for passkeys
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoParty {
    /// The origin is none that browsers write, or none that has passkeys
    #[error(
        "{0:?} is no origin for passkeys: expected https://HOST, or http://localhost, with a port if it is unusual"
    )]
    Origin(String),
    /// The id is not the origin's host or a domain above it
    #[error("{0:?} is not the host of the origin, nor a domain above it")]
    Id(String),
}

impl RelyingParty {
    /// The site at `origin`, such as `http://localhost:7420`, whose passkeys are for the domain `id`
    ///
    /// # Errors
    /// [`NoParty`]: no browser would use a passkey there.
    pub fn new(id: &str, origin: &str) -> Result<Self, NoParty> {
        let host = host(origin).ok_or_else(|| NoParty::Origin(origin.to_owned()))?;
        // 5.1.3, step 8: equal to the effective domain or a registrable suffix of it. Which suffixes are
        // registrable is left to the browser.
        let above = host.strip_suffix(id).is_some_and(|below| below.is_empty() || below.ends_with('.'));
        let single = !id.contains('.') && id != host;
        if id.is_empty() || !above || single {
            return Err(NoParty::Id(id.to_owned()));
        }
        Ok(Self { id: id.to_owned(), origin: origin.to_owned() })
    }

    /// The site at `origin` with its host as the domain
    ///
    /// # Errors
    /// [`NoParty::Origin`]
    pub fn of_origin(origin: &str) -> Result<Self, NoParty> {
        Self::new(host(origin).ok_or_else(|| NoParty::Origin(origin.to_owned()))?, origin)
    }

    /// The site at `origin` whose domain has this SHA-256, if it is the host or one above it
    pub(super) fn named(origin: &str, domain: &[u8]) -> Option<Self> {
        let mut id = host(origin)?;
        loop {
            if let Some(party) = Self::new(id, origin).ok().filter(|party| party.hash() == domain) {
                return Some(party);
            }
            id = id.split_once('.')?.1;
        }
    }

    /// The domain
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The origin, as browsers write it
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        Hash::of(self.id.as_bytes()).0
    }
}

/// The host of an origin in exactly the form in which browsers write origins (HTML, "serialization of an origin")
fn host(origin: &str) -> Option<&str> {
    let (rest, usual, safe) = match origin.strip_prefix("https://") {
        Some(rest) => (rest, "443", true),
        None => (origin.strip_prefix("http://")?, "80", false),
    };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    // An address is no domain: its last label is a number.
    let domain = host.len() <= 253
        && host.split('.').all(label)
        && host.rsplit('.').next().is_some_and(|last| last.bytes().any(|byte| !byte.is_ascii_digit()));
    let local = host == "localhost" || host.ends_with(".localhost");
    let port_is_good = port.is_none_or(|port| {
        port != usual
            && !port.starts_with('0')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    (domain && (safe || local) && port_is_good).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_a_site_that_browsers_have_passkeys_for() {
        for (id, origin) in [
            ("localhost", "http://localhost:7420"),
            ("localhost", "http://localhost"),
            ("portreeve.localhost", "http://portreeve.localhost:7420"),
            ("example.org", "https://example.org"),
            ("example.org", "https://a.b.example.org:8443"),
        ] {
            let party = RelyingParty::new(id, origin).unwrap();
            assert_eq!(RelyingParty::named(origin, &party.hash()), Some(party));
        }
        assert_eq!(RelyingParty::of_origin("https://a.example.org").unwrap().id(), "a.example.org");
        for origin in [
            "",
            "localhost:7420",
            "http://example.org",
            "https://example.org/",
            "https://Example.org",
            "https://example.org:443",
            "http://localhost:80",
            "http://localhost:",
            "http://localhost:07420",
            "http://localhost:70000",
            "http://localhost:+1",
            "https://127.0.0.1",
            "http://127.0.0.1:7420",
            "https://[::1]",
            "https://a..b",
            "https://.org",
            "https://ex\u{e4}mple.org",
            "https://user@example.org",
            "ftp://example.org",
            "http://localhost.example.org",
            "http://evillocalhost",
        ] {
            assert_eq!(RelyingParty::of_origin(origin), Err(NoParty::Origin(origin.to_owned())), "{origin}");
        }
        for id in ["", "org", ".org", "ample.org", "b.example.org", "a.example.org.", "EXAMPLE.ORG", "other.org"] {
            assert_eq!(RelyingParty::new(id, "https://a.example.org"), Err(NoParty::Id(id.to_owned())), "{id}");
        }
        assert_eq!(RelyingParty::named("https://a.example.org", &Hash::of(b"org").0), None);
        assert_eq!(RelyingParty::named("https://a.example.org", &Hash::of(b"other.org").0), None);
    }
}
