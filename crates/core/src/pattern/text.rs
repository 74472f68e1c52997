//! Text that several programs read, each in its own way: paths, addresses of pages and of people.
//!
//! A text is brought to the one form that they all agree on, or it is unclear. Nothing is guessed: what two
//! readers could take for different things is not compared at all.

use url::{Host, Url};

/// Text in which no server sees another path than we do
pub(super) fn plain(text: &str) -> bool {
    !has_hidden(text) && !text.split('/').any(climbs)
}

fn has_hidden(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || c == '\\')
}

/// Whether a segment could lead elsewhere; a server may decode percent signs once more
fn climbs(segment: &str) -> bool {
    let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
    decoded == ".." || decoded == "." || encodes(&decoded)
}

fn encodes(lower: &str) -> bool {
    lower.contains("%2f") || lower.contains("%5c") || lower.contains("%00")
}

/// The path of a file, as segments
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePath<'t> {
    absolute: bool,
    segments: Vec<&'t str>,
}

impl<'t> FilePath<'t> {
    /// Reads a path that every program takes for the same one; `.` and `//` mean nothing and are dropped
    pub(super) fn read(text: &'t str) -> Option<Self> {
        // Some servers expand a home folder, or take the address of a file for its path.
        let first = text.split('/').next().unwrap_or_default();
        if text.is_empty() || has_hidden(text) || text.starts_with('~') || first.contains(':') {
            return None;
        }
        let segments: Vec<&str> = text.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
        if segments.iter().any(|segment| climbs(segment)) {
            return None;
        }
        Some(Self { absolute: text.starts_with('/'), segments })
    }

    /// Whether it is `base` or something in it
    pub(super) fn is_under(&self, base: &Self) -> bool {
        self.absolute == base.absolute && self.segments.starts_with(&base.segments)
    }
}

/// The address of a page, as it is requested
pub(super) fn url(text: &str) -> Option<Url> {
    // Parsers differ in what they drop and repair; what has nothing to repair is read one way only.
    let odd =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '<' | '>' | '"' | '^' | '`' | '{' | '}');
    if text.contains(odd) || !text.contains("://") {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let path = text.split_once("://")?.1.split(['?', '#']).next()?;
    let climbs = path.split('/').skip(1).any(climbs);
    let fits = !climbs
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && !path.split('/').next()?.contains(['@', '%', '*'])
        && url.fragment().is_none();
    fits.then_some(url)
}

/// Which addresses of pages: `https://*.example.com/docs/?*`
#[derive(Debug)]
pub(super) struct UrlShape {
    url: Url,
    /// Any host below the one in `url`
    below: bool,
    /// Any query, also none
    query: bool,
}

impl UrlShape {
    /// Reads a shape; `*.` before the host and `?*` at the end are wild in text that a policy writes, never in
    /// a value that a task was given
    pub(super) fn read(text: &str, wild: bool) -> Option<Self> {
        let (text, query) = match text.strip_suffix("?*") {
            Some(text) if wild => (text, true),
            _ => (text, false),
        };
        let (text, below) = match text.split_once("://*.") {
            Some((scheme, rest)) if wild => (format!("{scheme}://{rest}"), true),
            _ => (text.to_owned(), false),
        };
        let url = url(&text)?;
        // There is nothing below a number.
        (!below || url.domain().is_some()).then_some(Self { url, below, query })
    }

    pub(super) fn covers(&self, url: &Url) -> bool {
        let host = match (self.url.host_str(), url.host_str()) {
            (Some(own), Some(host)) if self.below => is_below(host, own) && url.domain().is_some(),
            (own, host) => own == host,
        };
        let query = match self.url.query() {
            _ if self.query => true,
            own => own == url.query(),
        };
        host && query
            && self.url.scheme() == url.scheme()
            && self.url.port_or_known_default() == url.port_or_known_default()
            && is_at_or_below(url.path(), self.url.path())
    }

    /// Whether every address that `other` covers is covered too
    pub(super) fn covers_shape(&self, other: &Self) -> bool {
        let hosts = match (self.url.host_str(), other.url.host_str()) {
            (Some(own), Some(host)) if self.below => {
                is_below(host, own) && other.url.domain().is_some() || (other.below && own == host)
            }
            (own, host) => !other.below && own == host,
        };
        hosts
            && (self.query || (!other.query && self.url.query() == other.url.query()))
            && self.url.scheme() == other.url.scheme()
            && self.url.port_or_known_default() == other.url.port_or_known_default()
            && is_at_or_below(other.url.path(), self.url.path())
    }
}

fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent).and_then(|rest| rest.strip_suffix('.')).is_some_and(|label| !label.is_empty())
}

fn is_at_or_below(path: &str, base: &str) -> bool {
    let base = base.strip_suffix('/').unwrap_or(base);
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The address of one person, without a name beside it: the part before `@`, and the host
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Email<'t> {
    local: &'t str,
    domain: String,
}

impl<'t> Email<'t> {
    /// Reads an address whose local part is a dot-atom (RFC 5322, 3.2.3)
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&c);
        let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
        if local.is_empty() || local.len() > 64 || dots || !local.bytes().all(atom) {
            return None;
        }
        domain_of(domain).map(|domain| Self { local, domain })
    }
}

/// Which addresses of people: `*@example.org`, `kim@example.org`
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EmailShape<'t> {
    One(Email<'t>),
    AllOf(String),
    AllBelow(String),
}

impl<'t> EmailShape<'t> {
    /// Reads a shape; `*` is wild in text that a policy writes, never in a value that a task was given
    pub(super) fn read(text: &'t str, wild: bool) -> Option<Self> {
        match text.strip_prefix("*@").filter(|_| wild) {
            Some(domain) => match domain.strip_prefix("*.") {
                Some(domain) => domain_of(domain).map(Self::AllBelow),
                None => domain_of(domain).map(Self::AllOf),
            },
            None => Email::read(text).map(Self::One),
        }
    }

    pub(super) fn covers(&self, email: &Email<'_>) -> bool {
        match self {
            Self::One(own) => own == email,
            Self::AllOf(domain) => *domain == email.domain,
            Self::AllBelow(domain) => is_below(&email.domain, domain),
        }
    }

    /// Whether every address that `other` covers is covered too
    pub(super) fn covers_shape(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::One(email)) => self.covers(email),
            (Self::AllOf(own), Self::AllOf(other)) => own == other,
            (Self::AllBelow(own), Self::AllOf(other)) => is_below(other, own),
            (Self::AllBelow(own), Self::AllBelow(other)) => own == other || is_below(other, own),
            (Self::One(_) | Self::AllOf(_), _) => false,
        }
    }
}

/// The one spelling of a domain: lower case, and internationalised names as the network sees them
fn domain_of(text: &str) -> Option<String> {
    if text.contains(['%', '[', ' ']) || text.ends_with('.') {
        return None;
    }
    match Host::parse(text).ok()? {
        Host::Domain(domain) => Some(domain),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}
