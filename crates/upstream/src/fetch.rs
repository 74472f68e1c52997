//! Documents that others publish: discovery documents, keys, bundles of trust.
//!
//! What is fetched decides who is believed, and its address may come out of a document that somebody else wrote. So the
//! addresses of the host are looked at when the connection is made, not before: a name that is resolved twice can be two
//! hosts. Redirects are not followed, and the environment names no proxy.

use crate::http::{NoConnection, Terms, bounded, cause, drive, over};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use tokio::net::TcpStream;

/// Which hosts may be asked
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Those of the public internet
    Public,
    /// Also this machine and private networks; never what only this link has, such as the metadata of a cloud
    Private,
}

/// A document, and for how long it may be kept
#[derive(Clone, Debug)]
pub struct Document {
    /// What was answered
    pub body: Vec<u8>,
    /// `max-age` of its `Cache-Control`, if there is one (RFC 9111, 5.2.2.1)
    pub max_age: Option<Duration>,
}

/// Why there is no document
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// The text is no address that may be asked
    #[error("{0:?} is no https address, nor an http address of this machine")]
    Address(String),
    /// The host has no address that may be asked
    #[error("{0} is in no network that may be asked; `private = true` in the issuer's file allows private ones")]
    Network(String),
    /// Nobody is there, or nobody answers in time
    #[error("it cannot be reached: {0}")]
    Silent(String),
    /// It was asked, and what it did is not known
    #[error("it was asked, and its answer did not come: {0}")]
    Lost(String),
    /// What is answered is no document
    #[error("{0}")]
    Broken(String),
}

/// Gets a document of at most `bytes_max` bytes
///
/// # Errors
/// [`NotFetched`]
pub async fn get(url: &str, hosts: Hosts, bytes_max: usize, within: Duration) -> Result<Document, NotFetched> {
    get_on(None, url, hosts, (bytes_max, within)).await
}

/// The same, where TLS is spoken on these terms
///
/// # Errors
/// [`NotFetched`]
pub async fn get_on(
    terms: Option<&Terms>,
    url: &str,
    hosts: Hosts,
    limits: (usize, Duration),
) -> Result<Document, NotFetched> {
    let sent = Sent { method: Method::GET, headers: &[], body: Vec::new() };
    let Answer { status, headers, body } = send_on(terms, url, sent, hosts, limits).await?;
    match status {
        StatusCode::OK => Ok(Document { max_age: max_age(&headers), body }),
        status => Err(NotFetched::Broken(format!("it answered {status}"))),
    }
}

/// What is sent to an address
#[derive(Debug)]
pub struct Sent<'a> {
    /// How
    pub method: Method,
    /// Headers beside those that every request has
    pub headers: &'a [(&'a str, &'a str)],
    /// What goes with it
    pub body: Vec<u8>,
}

/// What was answered, whatever it was
#[derive(Debug)]
pub struct Answer {
    /// Its status; never one of a redirect
    pub status: StatusCode,
    /// Its headers
    pub headers: HeaderMap,
    /// All of it
    pub body: Vec<u8>,
}

/// Sends one request, and takes an answer of at most so many bytes within a time
///
/// # Errors
/// [`NotFetched`]
pub async fn send(url: &str, sent: Sent<'_>, hosts: Hosts, limits: (usize, Duration)) -> Result<Answer, NotFetched> {
    send_on(None, url, sent, hosts, limits).await
}

/// The same, where TLS is spoken on these terms
///
/// # Errors
/// [`NotFetched`]
pub async fn send_on(
    terms: Option<&Terms>,
    url: &str,
    sent: Sent<'_>,
    hosts: Hosts,
    (bytes_max, within): (usize, Duration),
) -> Result<Answer, NotFetched> {
    let uri = address(url, hosts)?;
    let mut asked = false;
    match tokio::time::timeout(within, exchange(&uri, sent, terms, (hosts, bytes_max, &mut asked))).await {
        Ok(answer) => answer,
        Err(_) => {
            let why = format!("no answer within {} ms", within.as_millis());
            Err(if asked { NotFetched::Lost(why) } else { NotFetched::Silent(why) })
        }
    }
}

fn address(url: &str, hosts: Hosts) -> Result<Uri, NotFetched> {
    let form = || NotFetched::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| form())?;
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && !url.contains('#');
    let host = uri.host().unwrap_or_default();
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let good = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => local && hosts == Hosts::Private,
        _ => false,
    };
    if plain && good { Ok(uri) } else { Err(form()) }
}

async fn exchange(
    uri: &Uri,
    sent: Sent<'_>,
    terms: Option<&Terms>,
    (hosts, bytes_max, asked): (Hosts, usize, &mut bool),
) -> Result<Answer, NotFetched> {
    let stream = connect(uri, hosts).await?;
    let silent = |error: &dyn std::fmt::Display| NotFetched::Silent(error.to_string());
    let (stream, _) = over(stream, uri, terms, None).await.map_err(|error| match error {
        NoConnection::Refused(why) => NotFetched::Broken(why),
        error => silent(&error),
    })?;
    let (mut sender, mut driver) =
        handshake(TokioIo::new(stream)).await.map_err(|error| NotFetched::Silent(cause(&error)))?;
    let request = request(uri, sent).map_err(|error| NotFetched::Broken(error.to_string()))?;
    *asked = true;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| cause(&error))?;
        let (parts, body) = response.into_parts();
        Ok((parts, bounded(body, bytes_max).await?))
    };
    let (parts, body) = drive(answer, &mut driver).await.map_err(NotFetched::Lost)?;
    let Some(body) = body else {
        return Err(NotFetched::Broken(format!("its answer is longer than {bytes_max} bytes")));
    };
    if parts.status.is_redirection() {
        return Err(NotFetched::Broken(format!("it answered {}, and a redirect is not followed", parts.status)));
    }
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// A connection to an address that was looked at: the very one that is connected to
async fn connect(uri: &Uri, hosts: Hosts) -> Result<TcpStream, NotFetched> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let silent = |error: std::io::Error| NotFetched::Silent(error.to_string());
    let found = tokio::net::lookup_host((host, port)).await.map_err(silent)?;
    let (mut last, mut any) = (None, false);
    for address in found.take(ADDRESSES_MAX).filter(|address| may_be_asked(address.ip(), hosts)) {
        any = true;
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    if !any {
        return Err(NotFetched::Network(host.to_owned()));
    }
    Err(last.map_or_else(|| NotFetched::Silent("it has no address".to_owned()), silent))
}

/// Addresses of one host that are tried at most
const ADDRESSES_MAX: usize = 16;

/// Whether a document may be fetched from an address
#[must_use]
pub fn may_be_asked(address: IpAddr, hosts: Hosts) -> bool {
    match address {
        IpAddr::V4(address) => v4(address, hosts),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => v4(address, hosts),
            None => v6(address, hosts),
        },
    }
}

/// The special addresses of RFC 6890
fn v4(address: Ipv4Addr, hosts: Hosts) -> bool {
    let [a, b, c, _] = address.octets();
    let never = address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    let private = address.is_loopback() || address.is_private() || (a == 100 && (64..128).contains(&b));
    !never && (hosts == Hosts::Private || !private)
}

fn v6(address: Ipv6Addr, hosts: Hosts) -> bool {
    let [first, second, ..] = address.segments();
    if address.is_loopback() || first & 0xfe00 == 0xfc00 {
        return hosts == Hosts::Private;
    }
    // 2000::/3 is what is given out for the internet; of it, what documents, tunnels and translates is left out.
    let tunnels = first == 0x2002 || (first == 0x2001 && (second < 0x200 || second == 0xdb8));
    first & 0xe000 == 0x2000 && !tunnels && first != 0x3fff
}

fn request(uri: &Uri, sent: Sent<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut builder = Request::builder()
        .method(sent.method)
        .uri(path)
        .header(header::HOST, HeaderValue::from_str(host)?)
        .header(header::CONNECTION, "close");
    if !sent.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
        builder = builder.header(header::ACCEPT, "application/json");
    }
    for (name, value) in sent.headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(Bytes::from(sent.body)))
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let mut parts = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    parts.find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        let seconds = value.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_asked_unless_the_policy_says_otherwise() {
        let public = ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"];
        let private = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1"];
        let never = [
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "fe80::1",
            "ff02::1",
            "::",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
            "64:ff9b::7f00:1",
            "::127.0.0.1",
            "::ffff:169.254.169.254",
        ];
        let asked = |text: &str, hosts| may_be_asked(text.parse().unwrap(), hosts);
        for text in public {
            assert!(asked(text, Hosts::Public) && asked(text, Hosts::Private), "{text}");
        }
        for text in private.into_iter().chain(["::ffff:127.0.0.1", "::ffff:10.0.0.1"]) {
            assert!(!asked(text, Hosts::Public) && asked(text, Hosts::Private), "{text}");
        }
        for text in never {
            assert!(!asked(text, Hosts::Public) && !asked(text, Hosts::Private), "{text}");
        }
    }

    #[test]
    fn an_address_is_https_or_of_this_machine() {
        for good in ["https://id.example.com/", "https://id.example.com:8443/x?y", "http://localhost:1/"] {
            assert!(address(good, Hosts::Private).is_ok(), "{good}");
        }
        assert!(address("http://localhost:1/", Hosts::Public).is_err());
        for bad in ["http://id.example.com/", "https://a@b/", "file:///etc/passwd", "https://a/#b", "gopher://a", ""] {
            assert!(address(bad, Hosts::Private).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_be_kept_is_said_by_the_header() {
        let headers = |value: &str| HeaderMap::from_iter([(header::CACHE_CONTROL, value.parse().unwrap())]);
        assert_eq!(max_age(&headers("public, Max-Age=60")), Some(Duration::from_secs(60)));
        assert_eq!(max_age(&headers("max-age=\"5\"")), Some(Duration::from_secs(5)));
        assert_eq!(max_age(&headers("no-store")), None);
        assert_eq!(max_age(&headers("max-age=-1")), None);
    }
}
