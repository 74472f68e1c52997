//! Under which address requests reach us, and what is known of the connection that one of them came over.

use crate::tls::Certificates;
use axum::http::{HeaderMap, StatusCode, header};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// One of our addresses: a socket that listens, and what it is called by those who reach it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What endpoints and pages are below, without a slash at its end
    pub base: String,
    address: SocketAddr,
    secure: bool,
}

/// All of our addresses
#[derive(Clone, Debug)]
pub struct Sites {
    /// Without TLS
    pub plain: Arc<Site>,
    /// With TLS, if there is one
    pub tls: Option<Arc<Site>>,
}

impl Site {
    /// Over plain HTTP; `named` is how it is reached through something in front of it
    #[must_use]
    pub fn plain(address: SocketAddr, named: Option<&str>) -> Self {
        let base = named.map_or_else(|| format!("http://{address}"), str::to_owned);
        Self { base, address, secure: false }
    }

    /// Over TLS
    #[must_use]
    pub fn tls(address: SocketAddr, named: Option<&str>) -> Self {
        let base = named.map_or_else(|| format!("https://{address}"), str::to_owned);
        Self { base, address, secure: true }
    }

    /// Where it listens
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A page that a browser shows must not reach us, whatever name it gave our address
    ///
    /// # Errors
    /// The status with which it is refused.
    pub(crate) fn same_origin(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).ok_or(StatusCode::BAD_REQUEST)?;
        if hosts.next().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        if !self.is_named(host) {
            return Err(StatusCode::FORBIDDEN);
        }
        for origin in headers.get_all(header::ORIGIN) {
            if !origin.to_str().is_ok_and(|origin| self.is_origin(origin)) {
                return Err(StatusCode::FORBIDDEN);
            }
        }
        Ok(())
    }

    fn is_origin(&self, origin: &str) -> bool {
        let scheme = if self.secure { "https://" } else { "http://" };
        let listens = origin.strip_prefix(scheme).is_some_and(|authority| self.is_listener(authority));
        // What stands before us may speak TLS where we do not.
        listens || origin.eq_ignore_ascii_case(&self.base)
    }

    fn is_named(&self, authority: &str) -> bool {
        let named = self.base.split_once("://").is_some_and(|(_, named)| named.eq_ignore_ascii_case(authority));
        named || self.is_listener(authority)
    }

    fn is_listener(&self, authority: &str) -> bool {
        let port = self.address.port();
        let host = authority.strip_suffix(&format!(":{port}")).unwrap_or(authority);
        host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']) == self.address.ip().to_string()
    }
}

impl Sites {
    /// Our name as an issuer, for which proofs have to be meant
    #[must_use]
    pub fn name(&self) -> &str {
        &self.tls.as_ref().unwrap_or(&self.plain).base
    }

    /// What endpoints are below, at each of them
    pub fn bases(&self) -> impl Iterator<Item = &str> {
        [Some(&self.plain), self.tls.as_ref()].into_iter().flatten().map(|site| site.base.as_str())
    }
}

/// The connection that a request came over
#[derive(Clone, Debug)]
pub struct Line {
    /// From where
    pub from: IpAddr,
    /// To which of our addresses
    pub site: Arc<Site>,
    /// What its other end has shown in the handshake, and proven to hold the key of
    pub shown: Option<Arc<Certificates>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(site: &Site, host: &str, origin: Option<&str>) -> Result<(), StatusCode> {
        let mut headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
        site.same_origin(&headers)
    }

    #[test]
    fn only_our_own_names_and_pages_reach_us() {
        let address = "127.0.0.1:7443".parse().unwrap();
        let plain = Site::plain(address, None);
        let tls = Site::tls(address, None);
        let named = Site::tls(address, Some("https://portreeve.example.com"));
        let behind = Site::plain(address, Some("https://portreeve.example.com"));
        for (site, host, origin) in [
            (&plain, "127.0.0.1:7443", None),
            (&plain, "localhost:7443", Some("http://localhost:7443")),
            (&tls, "127.0.0.1:7443", Some("https://127.0.0.1:7443")),
            (&named, "portreeve.example.com", Some("https://portreeve.example.com")),
            (&named, "Portreeve.Example.com", None),
            (&named, "127.0.0.1:7443", None),
            (&behind, "portreeve.example.com", Some("https://portreeve.example.com")),
        ] {
            assert_eq!(asked(site, host, origin), Ok(()), "{site:?} {host} {origin:?}");
        }
        for (site, host, origin) in [
            (&plain, "portreeve.example.com", None),
            (&plain, "127.0.0.1:7443", Some("https://127.0.0.1:7443")),
            (&tls, "127.0.0.1:7443", Some("http://127.0.0.1:7443")),
            (&tls, "localhost.example.com:7443", None),
            (&named, "portreeve.example.com.evil.example", None),
            (&named, "portreeve.example.com", Some("http://portreeve.example.com")),
            (&named, "portreeve.example.com", Some("https://evil.example")),
            (&behind, "portreeve.example.com", Some("http://portreeve.example.com")),
        ] {
            assert_eq!(asked(site, host, origin), Err(StatusCode::FORBIDDEN), "{site:?} {host} {origin:?}");
        }
    }
}
