//! Where requests go: an `http` address on loopback, nothing else.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use http::Uri;
use http::header::HeaderValue;

/// A loopback endpoint
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The path and query, as a request line has it
    pub(crate) path: Uri,
    pub(crate) host: HeaderValue,
}

impl Target {
    /// Takes `http://127.0.0.1:PORT/PATH` apart and refuses every other host
    pub(crate) fn parse(url: &Uri) -> anyhow::Result<Self> {
        if url.scheme_str() != Some("http") {
            bail!("{url} is not an http:// address");
        }
        let authority = url.authority().with_context(|| format!("{url} has no host"))?;
        let address: SocketAddr = authority
            .as_str()
            .replace("localhost", "127.0.0.1")
            .parse()
            .with_context(|| format!("{url} needs a numeric host and a port"))?;
        if !address.ip().is_loopback() {
            bail!("{url} is not on loopback: the bench sends nothing elsewhere");
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            address,
            path: path.parse().context("odd path")?,
            host: HeaderValue::from_str(authority.as_str()).context("odd host")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn takes_loopback_only() {
        let target = Target::parse(&"http://127.0.0.1:80/mcp?x=1".parse().unwrap()).unwrap();
        assert_eq!(target.path, "/mcp?x=1");
        assert_eq!(target.host, "127.0.0.1:80");
        for refused in ["http://10.0.0.1:80/", "https://127.0.0.1:80/", "http://127.0.0.1/", "/mcp"] {
            assert!(Target::parse(&refused.parse().unwrap()).is_err(), "{refused}");
        }
    }
}
