//! Documents that others publish: discovery documents, keys, bundles of trust.
//!
//! What is fetched decides who is believed, and its address may come out of a document that somebody else wrote. So the
//! addresses of the host are looked at when the connection is made, not before: a name that is resolved twice can be two
//! hosts. Redirects are not followed, and the environment names no proxy.

use crate::http::{bounded, cause, drive, over};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, response::Parts};
use http_body_util::{Empty, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
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
    /// What is answered is no document
    #[error("{0}")]
    Broken(String),
}

/// Gets a document of at most `bytes_max` bytes
///
/// # Errors
/// [`NotFetched`]
pub async fn get(url: &str, hosts: Hosts, bytes_max: usize, within: Duration) -> Result<Document, NotFetched> {
    let uri = address(url, hosts)?;
    match tokio::time::timeout(within, exchange(&uri, hosts, bytes_max)).await {
        Ok(document) => document,
        Err(_) => Err(NotFetched::Silent(format!("no answer within {} ms", within.as_millis()))),
    }
}

/// Sends a request with a token, and returns what is answered: its status, and at most `bytes_max` bytes
///
/// Whoever asks so has named the address themselves: it may be on this machine or in a private network, without TLS on this machine
/// only. Nothing is repeated.
///
/// # Errors
/// [`NotFetched`]
pub async fn send(
    method: Method,
    url: &str,
    token: &str,
    body: Vec<u8>,
    bytes_max: usize,
    within: Duration,
) -> Result<(StatusCode, Vec<u8>), NotFetched> {
    let uri = address(url, Hosts::Private)?;
    let broken = |error: http::Error| NotFetched::Broken(error.to_string());
    let mut request = head(&uri).map_err(broken)?.method(method).header(header::CONTENT_TYPE, "application/json");
    if !token.is_empty() {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| NotFetched::Broken("the token is none".to_owned()))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(broken)?;
    match tokio::time::timeout(within, once(&uri, Hosts::Private, request, bytes_max)).await {
        Ok(answered) => answered.map(|(parts, body)| (parts.status, body)),
        Err(_) => Err(NotFetched::Silent(format!("no answer within {} ms", within.as_millis()))),
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

async fn exchange(uri: &Uri, hosts: Hosts, bytes_max: usize) -> Result<Document, NotFetched> {
    let request = request(uri).map_err(|error| NotFetched::Broken(error.to_string()))?;
    let (parts, body) = once(uri, hosts, request, bytes_max).await?;
    match parts.status {
        StatusCode::OK => Ok(Document { max_age: max_age(&parts.headers), body }),
        status if status.is_redirection() => {
            Err(NotFetched::Broken(format!("it answered {status}, and a redirect is not followed")))
        }
        status => Err(NotFetched::Broken(format!("it answered {status}"))),
    }
}

/// One request over a connection of its own
async fn once<B>(uri: &Uri, hosts: Hosts, request: Request<B>, bytes_max: usize) -> Result<(Parts, Vec<u8>), NotFetched>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin + 'static,
{
    let stream = connect(uri, hosts).await?;
    let silent = |error: &dyn std::fmt::Display| NotFetched::Silent(error.to_string());
    let (stream, _) = over(stream, uri, None, None).await.map_err(|error| silent(&error))?;
    let (mut sender, mut driver) =
        handshake(TokioIo::new(stream)).await.map_err(|error| NotFetched::Silent(cause(&error)))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| cause(&error))?;
        let (parts, body) = response.into_parts();
        Ok((parts, bounded(body, bytes_max).await?))
    };
    let (parts, body) = drive(answer, &mut driver).await.map_err(NotFetched::Silent)?;
    let Some(body) = body else {
        return Err(NotFetched::Broken(format!("its answer is longer than {bytes_max} bytes")));
    };
    Ok((parts, body))
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

fn request(uri: &Uri) -> Result<Request<Empty<Bytes>>, http::Error> {
    head(uri)?.header(header::ACCEPT, "application/json").body(Empty::new())
}

fn head(uri: &Uri) -> Result<http::request::Builder, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host)?;
    Ok(Request::builder().uri(path).header(header::HOST, host).header(header::CONNECTION, "close"))
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
