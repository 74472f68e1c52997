//! A question to a decision point over HTTP, and a message to a receiver.
//!
//! A question is no call: no session, no latch, nothing of it changes anything; a message passes latches. The question owns its connection, so that
//! dropping it closes the socket. A redirect is an answer that is not understood: following one would carry the
//! question to somebody whom the policy does not name.

use crate::{
    clock::SteadyClock,
    http::{Address, bounded, cause, dial, drive},
    latch::Pass,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use std::time::Duration;

/// Why there is no answer
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No connection, or no answer in time
    #[error("{0}")]
    Silent(String),
    /// An answer that is not one
    #[error("{0}")]
    Broken(String),
}

/// Posts `body` as JSON and returns what is answered with status 200, of at most `bytes_max` bytes
///
/// # Errors
/// [`Unanswered`]
pub async fn ask(url: &str, body: String, bytes_max: usize, within: Duration) -> Result<Vec<u8>, Unanswered> {
    let uri = address(url).map_err(|error| Unanswered::Broken(error.to_string()))?;
    match tokio::time::timeout(within, exchange(&uri, body, bytes_max)).await {
        Ok(answer) => answer,
        Err(_) => Err(Unanswered::Silent(format!("no answer within {} ms", within.as_millis()))),
    }
}

fn address(url: &str) -> Result<Uri, Address> {
    let form = || Address::Form(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| form())?;
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && !url.contains('#');
    if plain && matches!(uri.scheme_str(), Some("http" | "https")) { Ok(uri) } else { Err(form()) }
}

/// Why nobody knows whether a message was taken
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// Nothing of it left
    #[error("{0}")]
    NotSent(String),
    /// It may have arrived
    #[error("{0}")]
    Lost(String),
}

/// Posts an admitted message as JSON, and says with which status it was answered; what the answer says is nobody's word
///
/// The first byte passes the latches of what it rests on. A redirect is a status like any other.
///
/// # Errors
/// [`Untold`]
pub async fn tell(
    url: &str,
    headers: &[(HeaderName, HeaderValue)],
    body: String,
    within: Duration,
    (pass, clock): (Pass, SteadyClock),
) -> Result<StatusCode, Untold> {
    let not_sent = |why: String| Untold::NotSent(why);
    let uri = address(url).map_err(|error| not_sent(error.to_string()))?;
    let mut request = request(&uri, body).map_err(|error| not_sent(error.to_string()))?;
    for (name, value) in headers {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    let late = || format!("no answer within {} ms", within.as_millis());
    let until = tokio::time::Instant::now() + within;
    let connected = tokio::time::timeout_at(until, dial(&uri, None, None)).await;
    let (stream, _) = connected.map_err(|_| not_sent(late()))?.map_err(|error| not_sent(error.to_string()))?;
    let (mut sender, mut driver) = handshake(TokioIo::new(stream)).await.map_err(|error| not_sent(cause(&error)))?;
    let inside = pass.enter(clock.now()).map_err(|closed| not_sent(closed.to_string()))?;
    let answer =
        async { sender.send_request(request).await.map(|answer| answer.status()).map_err(|error| cause(&error)) };
    let answered = tokio::time::timeout_at(until, drive(answer, &mut driver)).await;
    drop(inside);
    answered.map_err(|_| Untold::Lost(late()))?.map_err(Untold::Lost)
}

async fn exchange(uri: &Uri, body: String, bytes_max: usize) -> Result<Vec<u8>, Unanswered> {
    let silent = |error: &dyn std::fmt::Display| Unanswered::Silent(format!("it cannot be reached: {error}"));
    let (stream, _) = dial(uri, None, None).await.map_err(|error| silent(&error))?;
    let (mut sender, mut driver) = handshake(TokioIo::new(stream)).await.map_err(|error| silent(&error))?;
    let request = request(uri, body).map_err(|error| Unanswered::Broken(error.to_string()))?;
    let mut begun = false;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| {
            begun = error.is_parse();
            cause(&error)
        })?;
        begun = true;
        let (parts, body) = response.into_parts();
        Ok((parts.status, bounded(body, bytes_max).await?))
    };
    let answered = drive(answer, &mut driver).await;
    match answered {
        Ok((status, _)) if status.is_redirection() => {
            Err(Unanswered::Broken(format!("it answered {status}, and a redirect is not followed")))
        }
        Ok((StatusCode::OK, Some(answer))) => Ok(answer),
        Ok((StatusCode::OK, None)) => Err(Unanswered::Broken(format!("its answer is longer than {bytes_max} bytes"))),
        Ok((status, _)) => Err(Unanswered::Broken(format!("it answered {status}"))),
        // What has begun and broke off is no silence.
        Err(why) if begun => Err(Unanswered::Broken(format!("its answer is broken: {why}"))),
        Err(why) => Err(Unanswered::Silent(why)),
    }
}

fn request(uri: &Uri, body: String) -> Result<Request<Full<Bytes>>, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, HeaderValue::from_str(host)?)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
}
