//! Requests to back ends that are spoken to over HTTP.

use crate::source::NotIssued;
use portreeve_upstream::fetch::{self, Answer, Hosts, NotFetched, Sent};
use std::time::Duration;

/// How long one request may take
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Sends a request to a back end; redirects are not followed, and what only this link has is not asked
///
/// # Errors
/// [`NotIssued::Refused`] where nothing of it left, [`NotIssued::Unknown`] where it may have arrived.
pub async fn send(url: &str, sent: Sent<'_>) -> Result<Answer, NotIssued> {
    send_to(Hosts::Private, url, sent).await
}

/// The same, where the address may come out of a document that others wrote: it may be said that private networks are not asked
///
/// # Errors
/// As [`send`].
pub async fn send_to(hosts: Hosts, url: &str, sent: Sent<'_>) -> Result<Answer, NotIssued> {
    let answer = fetch::send(url, sent, hosts, (ANSWER_BYTES_MAX, WITHIN)).await;
    answer.map_err(|error| match error {
        NotFetched::Address(_) | NotFetched::Network(_) | NotFetched::Silent(_) => {
            NotIssued::Refused(error.to_string())
        }
        NotFetched::Lost(_) | NotFetched::Broken(_) => NotIssued::Unknown(error.to_string()),
    })
}
