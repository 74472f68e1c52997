//! What an issuer says of itself: OpenID Connect discovery and RFC 8414, read strictly.
//!
//! Nothing here is fetched. Where the document comes from and whether the address of the keys may be asked is decided
//! by whoever fetches; a document only counts if it names exactly the issuer that was asked.

use crate::jose::{Algorithm, algorithm};
use portreeve_core::{
    json::{Limits, scan},
    value::Value,
};
use std::collections::BTreeMap;
use url::Url;

/// What a document may hold
const LIMITS: Limits = Limits { bytes_max: 256 << 10, depth_max: 8, nodes_max: 5_000 };
/// Bytes of an address at most
const URL_MAX: usize = 2_048;

/// What a discovery document says that is of use here
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Where the keys are
    pub keys: Url,
    /// What ID tokens are signed with, as far as it is supported here; all if the document does not say
    pub algorithms: Vec<Algorithm>,
    /// Where people are sent to sign in
    pub authorization: Option<Url>,
    /// Where a code becomes tokens
    pub token: Option<Url>,
    /// Where a device asks for a code
    pub device: Option<Url>,
    /// Whether a client may show its secret in `Authorization`; else it goes with the form
    pub basic: bool,
    /// Whether the issuer says its name in answers to the browser (RFC 9207)
    pub says_issuer: bool,
}

/// What the document of an authorization server says that is of use to its client (RFC 8414, 2)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where people are sent to agree
    pub authorization: Option<Url>,
    /// Where tokens are had
    pub token: Url,
    /// Where they are taken back (RFC 7009)
    pub revocation: Option<Url>,
    /// Where it says what a token is worth (RFC 7662)
    pub introspection: Option<Url>,
    /// Whether a client may show its secret in `Authorization`; else it goes with the form
    pub basic: bool,
    /// Whether it says its name in answers to the browser (RFC 9207)
    pub says_issuer: bool,
}

/// Why a document is not used
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDiscovery {
    /// It is no strict JSON object
    #[error("the discovery document is not a JSON object that is read in one way only")]
    Json,
    /// It is of another issuer
    #[error("the discovery document is of another issuer than the one that was asked (issuer)")]
    Issuer,
    /// It names no keys
    #[error("the discovery document does not say where the keys are (jwks_uri)")]
    Keys,
    /// It gives no tokens
    #[error("the discovery document does not say where tokens are had (token_endpoint)")]
    Token,
    /// It has an address that is none to go to
    #[error("the discovery document has an address that is not https, or has a user or a fragment in it")]
    Address,
}

/// Reads the document that `issuer` gave; addresses without TLS only where `plain` allows it
///
/// # Errors
/// [`NotDiscovery`]
pub fn read(bytes: &[u8], issuer: &str, plain: bool) -> Result<Discovery, NotDiscovery> {
    let members = of_issuer(bytes, issuer)?;
    let algorithms = match members.get("id_token_signing_alg_values_supported") {
        Some(Value::Array(names)) => names.iter().filter_map(|name| algorithm(name.as_str()?).ok()).collect(),
        _ => crate::jose::ALGORITHMS.to_vec(),
    };
    Ok(Discovery {
        basic: basic(&members),
        keys: address(&members, "jwks_uri", plain)?.ok_or(NotDiscovery::Keys)?,
        algorithms,
        authorization: address(&members, "authorization_endpoint", plain)?,
        token: address(&members, "token_endpoint", plain)?,
        device: address(&members, "device_authorization_endpoint", plain)?,
        says_issuer: says_issuer(&members),
    })
}

/// Reads the same document for a client that wants tokens; where the keys are is of no use to it
///
/// # Errors
/// [`NotDiscovery`]
pub fn server(bytes: &[u8], issuer: &str, plain: bool) -> Result<Server, NotDiscovery> {
    let members = of_issuer(bytes, issuer)?;
    Ok(Server {
        authorization: address(&members, "authorization_endpoint", plain)?,
        token: address(&members, "token_endpoint", plain)?.ok_or(NotDiscovery::Token)?,
        revocation: address(&members, "revocation_endpoint", plain)?,
        introspection: address(&members, "introspection_endpoint", plain)?,
        basic: basic(&members),
        says_issuer: says_issuer(&members),
    })
}

/// Where the document of an issuer is: by RFC 8414, 3.1, with its path behind the well-known part, and where OpenID Connect
/// Discovery 1.0, 4, has it; nothing if it is no address
#[must_use]
pub fn places(issuer: &str) -> Option<[String; 2]> {
    let url = Url::parse(issuer).ok()?;
    let path = url.path().trim_end_matches('/');
    let origin = url.origin().ascii_serialization();
    let openid = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    Some([format!("{origin}/.well-known/oauth-authorization-server{path}"), openid])
}

fn of_issuer(bytes: &[u8], issuer: &str) -> Result<BTreeMap<String, Value>, NotDiscovery> {
    let json = scan(bytes, &LIMITS).map_err(|_| NotDiscovery::Json)?;
    let Ok(Value::Object(members)) = json.to_value() else { return Err(NotDiscovery::Json) };
    match members.get("issuer").and_then(Value::as_str) {
        Some(said) if said == issuer => Ok(members),
        _ => Err(NotDiscovery::Issuer),
    }
}

/// Where the document does not say, it is so (OpenID Connect Discovery 1.0, 3)
fn basic(members: &BTreeMap<String, Value>) -> bool {
    match members.get("token_endpoint_auth_methods_supported") {
        Some(Value::Array(names)) => names.iter().any(|name| name.as_str() == Some("client_secret_basic")),
        _ => true,
    }
}

fn says_issuer(members: &BTreeMap<String, Value>) -> bool {
    members.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true))
}

fn address(members: &BTreeMap<String, Value>, name: &str, plain: bool) -> Result<Option<Url>, NotDiscovery> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let text = value.as_str().filter(|text| text.len() <= URL_MAX).ok_or(NotDiscovery::Address)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(NotDiscovery::Address);
    }
    let url = Url::parse(text).map_err(|_| NotDiscovery::Address)?;
    let scheme = url.scheme() == "https" || (plain && url.scheme() == "http");
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if scheme && bare && url.has_host() { Ok(Some(url)) } else { Err(NotDiscovery::Address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example/a";

    fn document(more: &str) -> String {
        format!("{{\"issuer\":\"{ISSUER}\",\"jwks_uri\":\"https://id.example/keys\"{more}}}")
    }

    #[test]
    fn a_document_of_its_issuer_says_where_the_keys_are() {
        let found = read(document("").as_bytes(), ISSUER, false).unwrap();
        assert_eq!(found.keys.as_str(), "https://id.example/keys");
        assert_eq!(found.algorithms, crate::jose::ALGORITHMS);
        let more = r#","id_token_signing_alg_values_supported":["none","HS256","ES512","ES256"],
            "token_endpoint":"https://id.example/token","authorization_response_iss_parameter_supported":true"#;
        let found = read(document(more).as_bytes(), ISSUER, false).unwrap();
        assert_eq!(found.algorithms, [Algorithm::ES256]);
        assert!(found.says_issuer && found.token.is_some() && found.device.is_none());
        let plain = document("").replace("https://id.example/keys", "http://127.0.0.1:1/keys");
        assert!(read(plain.as_bytes(), ISSUER, true).is_ok());
        assert_eq!(read(plain.as_bytes(), ISSUER, false), Err(NotDiscovery::Address));
    }

    #[test]
    fn a_server_says_where_tokens_are_had_and_taken_back() {
        let more = r#","token_endpoint":"https://id.example/t","revocation_endpoint":"https://id.example/r""#;
        let found = server(document(more).as_bytes(), ISSUER, false).unwrap();
        assert_eq!(found.revocation.unwrap().as_str(), "https://id.example/r");
        assert!(found.introspection.is_none() && found.basic && !found.says_issuer);
        assert_eq!(server(document("").as_bytes(), ISSUER, false), Err(NotDiscovery::Token));
        assert_eq!(server(document(more).as_bytes(), "https://id.example", false), Err(NotDiscovery::Issuer));
        let [oauth, openid] = places(ISSUER).unwrap();
        assert_eq!(oauth, "https://id.example/.well-known/oauth-authorization-server/a");
        assert_eq!(openid, "https://id.example/a/.well-known/openid-configuration");
        let [oauth, openid] = places("http://localhost:81/").unwrap();
        assert_eq!(oauth, "http://localhost:81/.well-known/oauth-authorization-server");
        assert_eq!(openid, "http://localhost:81/.well-known/openid-configuration");
    }

    #[test]
    fn others_are_refused() {
        for (issuer, wrong) in [("https://id.example/a/", true), ("https://ID.example/a", true), (ISSUER, false)] {
            let refused = read(document("").as_bytes(), issuer, false) == Err(NotDiscovery::Issuer);
            assert_eq!(refused, wrong, "{issuer}");
        }
        let twice = document(&format!(",\"issuer\":\"{ISSUER}\""));
        assert_eq!(read(twice.as_bytes(), ISSUER, false), Err(NotDiscovery::Json));
        assert_eq!(read(document(",\"Issuer\":\"x\"").as_bytes(), ISSUER, false), Err(NotDiscovery::Json));
        let none = format!("{{\"issuer\":\"{ISSUER}\"}}");
        assert_eq!(read(none.as_bytes(), ISSUER, false), Err(NotDiscovery::Keys));
        for bad in [
            "file:///etc/passwd",
            "https://u:p@id.example/",
            "https://id.example/#x",
            "https://a\\\\b/",
            "1",
            "https://a/ b",
        ] {
            let document = document("").replace("https://id.example/keys", bad);
            assert_eq!(read(document.as_bytes(), ISSUER, true), Err(NotDiscovery::Address), "{bad}");
        }
        for bad in ["", "[]", "null", "{\"issuer\":"] {
            assert_eq!(read(bad.as_bytes(), ISSUER, false), Err(NotDiscovery::Json), "{bad}");
        }
    }
}
