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
    /// It has an address that is none to go to
    #[error("the discovery document has an address that is not https, or has a user or a fragment in it")]
    Address,
}

/// Reads the document that `issuer` gave; addresses without TLS only where `plain` allows it
///
/// # Errors
/// [`NotDiscovery`]
pub fn read(bytes: &[u8], issuer: &str, plain: bool) -> Result<Discovery, NotDiscovery> {
    let json = scan(bytes, &LIMITS).map_err(|_| NotDiscovery::Json)?;
    let Ok(Value::Object(members)) = json.to_value() else { return Err(NotDiscovery::Json) };
    if members.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(NotDiscovery::Issuer);
    }
    let algorithms = match members.get("id_token_signing_alg_values_supported") {
        Some(Value::Array(names)) => names.iter().filter_map(|name| algorithm(name.as_str()?).ok()).collect(),
        _ => crate::jose::ALGORITHMS.to_vec(),
    };
    // Where the document does not say, it is so (OpenID Connect Discovery 1.0, 3).
    let basic = match members.get("token_endpoint_auth_methods_supported") {
        Some(Value::Array(names)) => names.iter().any(|name| name.as_str() == Some("client_secret_basic")),
        _ => true,
    };
    Ok(Discovery {
        basic,
        keys: address(&members, "jwks_uri", plain)?.ok_or(NotDiscovery::Keys)?,
        algorithms,
        authorization: address(&members, "authorization_endpoint", plain)?,
        token: address(&members, "token_endpoint", plain)?,
        device: address(&members, "device_authorization_endpoint", plain)?,
        says_issuer: members.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
    })
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
