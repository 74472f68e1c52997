//! Where a credential is put: headers, the query, members of messages, and what TLS shows.

use super::{Asked, Terms, Tls, dial::showing};
use http::{HeaderName, HeaderValue};
use portreeve_core::json::{self, Json, Limits};
use portreeve_mcp::edit::{Edit, quoted};
use std::{fmt, sync::Arc};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

/// What goes along with every request and nobody is to read: a credential
#[derive(Clone, Default)]
pub struct Put {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Members of the query, encoded
    pub(super) query: String,
    /// Members of messages: the names that lead there, and the value as JSON
    body: Vec<(Vec<String>, Zeroizing<String>)>,
    /// What TLS is spoken with where a certificate is shown
    pub(super) shown: Option<Arc<dyn Tls>>,
}

impl Put {
    /// These headers and members of the query; nothing if one of them can be no part of a request
    #[must_use]
    pub fn new<'p>(
        headers: impl IntoIterator<Item = (&'p str, &'p str)>,
        query: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Option<Self> {
        let header = |(name, value): (&str, &str)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((name.parse::<HeaderName>().ok()?, value))
        };
        let headers = headers.into_iter().map(header).collect::<Option<Vec<_>>>()?;
        let members = query.into_iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        Some(Self { headers, query: members.collect::<Vec<_>>().join("&"), ..Self::default() })
    }

    /// The same, and these members of messages, by their place: a JSON Pointer (RFC 6901)
    #[must_use]
    pub fn with_body<'p>(self, body: impl IntoIterator<Item = (&'p str, &'p str)>) -> Self {
        let part = |part: &str| part.replace("~1", "/").replace("~0", "~");
        let path = |pointer: &str| pointer.split('/').skip(1).map(part).collect();
        let body = body.into_iter().map(|(pointer, value)| (path(pointer), Zeroizing::new(quoted(value))));
        Self { body: body.collect(), ..self }
    }

    /// The same, and this certificate with its chain where TLS asks for one, both as PEM (RFC 7468)
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn with_certificate(self, chain: &str, key: &str) -> Result<Self, String> {
        let wrong = |error: &dyn fmt::Display| format!("the certificate or its key cannot be used: {error}");
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let (chain, key) = (chain.map_err(|error| wrong(&error))?, PrivateKeyDer::from_pem_slice(key.as_bytes()));
        let config = showing(chain, key.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        let terms = Terms { config, identity: None, until: |_| None };
        Ok(Self { shown: Some(Arc::new(Showing(Arc::new(terms)))), ..self })
    }

    /// A message with what goes along in it: requests and notifications, and arguments of calls only
    pub(super) fn message(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.body.is_empty() {
            return bytes;
        }
        let Ok(message) = json::scan_distinct(&bytes, &Limits { bytes_max: bytes.len(), ..Limits::DEFAULT }) else {
            return bytes;
        };
        let Some(method) = message.get("method").and_then(Json::as_str) else { return bytes };
        let mut edit = Edit::of(&bytes, &message);
        for (path, value) in &self.body {
            let in_arguments = path.get(1).is_some_and(|part| part == "arguments");
            if !in_arguments || method == "tools/call" {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                edit.set(&path, value);
            }
        }
        edit.done()
    }
}

/// A certificate of our own that is shown to whomever the authorities of the machine vouch for
#[derive(Debug)]
struct Showing(Arc<Terms>);

impl Tls for Showing {
    fn terms<'a>(&'a self, _: Option<&'a Arc<Terms>>) -> Asked<'a> {
        Box::pin(async { Ok(Arc::clone(&self.0)) })
    }
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Put(..)")
    }
}

/// A text in a query (RFC 3986, 2.1)
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
