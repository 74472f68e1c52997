//! Requests to back ends that are spoken to over HTTP.

use crate::{secret::Secret, source::NotIssued};
use http::{Method, StatusCode};
use portreeve_core::{
    json::{Limits, scan},
    names::Name,
    policy::Template,
    value,
};
use portreeve_upstream::{
    fetch::{self, Answer, Hosts, NotFetched, Sent},
    http::{Terms, trusting},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use zeroize::Zeroizing;

/// How long one request may take
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a file that something is signed in with, or believed by
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What an answer may hold that is read in one way only
const LIMITS: Limits = Limits { bytes_max: ANSWER_BYTES_MAX, depth_max: 8, nodes_max: 5_000 };
/// Bytes of one token
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Characters of what a back end says that are told on
const SAYS_MAX: usize = 300;

/// Sends a request to a back end; redirects are not followed, and what only this link has is not asked
///
/// # Errors
/// [`NotIssued::Refused`] where nothing of it left, [`NotIssued::Unknown`] where it may have arrived.
pub async fn send(url: &str, sent: Sent<'_>) -> Result<Answer, NotIssued> {
    send_on(None, Hosts::Private, url, sent).await
}

/// The same, where TLS is spoken on these terms, or where the address may come out of a document that others wrote: it may be
/// said that private networks are not asked
///
/// # Errors
/// As with [`send`].
pub async fn send_on(terms: Option<&Terms>, hosts: Hosts, url: &str, sent: Sent<'_>) -> Result<Answer, NotIssued> {
    let answer = fetch::send_on(terms, url, sent, hosts, (ANSWER_BYTES_MAX, WITHIN)).await;
    answer.map_err(|error| match error {
        NotFetched::Address(_) | NotFetched::Network(_) | NotFetched::Silent(_) => {
            NotIssued::Refused(error.to_string())
        }
        NotFetched::Lost(_) | NotFetched::Broken(_) => NotIssued::Unknown(error.to_string()),
    })
}

/// A server that speaks JSON: where it is, and what every request to it carries
#[derive(Debug)]
pub struct Api {
    /// Its address, to which paths are added
    pub url: String,
    /// On which terms TLS is spoken with it, if they are its own
    pub terms: Option<Terms>,
    /// Headers of every request, beside who asks
    pub headers: Vec<(&'static str, String)>,
}

/// What was answered: the status, and the body where it is JSON
pub type Said = (StatusCode, Value);

impl Api {
    /// Asks something as somebody: `who` are headers and their values
    ///
    /// # Errors
    /// As with [`send`]; whatever status was answered is an answer.
    pub async fn ask<'w>(
        &'w self,
        who: impl IntoIterator<Item = (&'w str, &'w str)>,
        (method, path): (Method, &str),
        body: Option<&Value>,
    ) -> Result<Said, NotIssued> {
        let mut headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend(who);
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let sent = Sent { method, headers: &headers, body };
        let answer = send_on(self.terms.as_ref(), Hosts::Private, &format!("{}{path}", self.url), sent).await?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
    }
}

/// What stands at a place of an answer (RFC 6901); null if nothing does
#[must_use]
pub fn at<'v>(of: &'v Value, place: &str) -> &'v Value {
    of.pointer(place).unwrap_or(&Value::Null)
}

/// Who is believed where a file has the certificates of who vouches for a server
///
/// # Errors
/// The file cannot be read, or has none.
pub fn believing(ca: Option<&str>) -> Result<Option<Terms>, String> {
    let Some(path) = ca else { return Ok(None) };
    let text = file(path)?;
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let one = one.map_err(|error| format!("{path} is no list of certificates: {error}"))?;
        roots.add(one).map_err(|error| format!("{path} is no list of certificates: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("{path} has no certificates"));
    }
    let config = trusting(Arc::new(roots)).map_err(|error| error.to_string())?;
    Ok(Some(Terms { config, identity: None, until: |_| None }))
}

/// What a file says, without space at its ends
///
/// # Errors
/// It cannot be read, is empty, or too long.
pub fn file(path: &str) -> Result<Zeroizing<String>, String> {
    let unread = |error: std::io::Error| format!("{path} cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(unread)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{path} is longer than {FILE_BYTES_MAX} bytes"));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unread)?);
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() { Err(format!("{path} is empty")) } else { Ok(text) }
}

/// A token of whoever this machine says that Portreeve is: a JWT in a file
///
/// # Errors
/// The file cannot be read, or has something else.
pub fn jwt(path: &str) -> Result<Zeroizing<String>, String> {
    let text = file(path)?;
    let good = |part: &str| part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    let whole = text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty() && good(part));
    if whole && text.len() <= TOKEN_BYTES_MAX { Ok(text) } else { Err(format!("{path} has no signed JWT in it")) }
}

/// The members of an answer
pub(crate) type Members = BTreeMap<String, value::Value>;

/// The members of an answer that is read in one way only
pub(crate) fn members(body: &[u8]) -> Option<Members> {
    match scan(body, &LIMITS).ok()?.to_value() {
        Ok(value::Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// A member that is a text
pub(crate) fn text<'m>(members: &'m Members, name: &str) -> Option<&'m str> {
    members.get(name).and_then(value::Value::as_str)
}

/// A member that is a token, as it goes into a header
pub(crate) fn token(members: &Members, name: &str) -> Option<Secret> {
    let token = text(members, name)?;
    let good = (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| Secret::from(token))
}

/// What a back end says, as one line that is not too long to be read
#[must_use]
pub fn line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(SAYS_MAX).collect()
}

/// A template with what a task is narrowed to, each value of which has to be good where it stands
///
/// # Errors
/// A value is missing or not good.
pub fn filled(template: &Template, scope: &BTreeMap<Name, String>, good: fn(&str) -> bool) -> Result<String, String> {
    let value = |field: &str| scope.iter().find(|(name, _)| name.as_str() == field).map(|(_, value)| value.as_str());
    if let Some(bad) = template.fields().find(|field| value(field).is_some_and(|value| !good(value))) {
        return Err(format!("what {{{bad}}} is for this task may not stand there"));
    }
    template.fill(value).map_err(|field| format!("nothing says what {{{field}}} is"))
}
