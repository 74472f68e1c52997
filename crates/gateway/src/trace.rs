//! The trace that a client is on goes on through us (W3C Trace Context; 2026-07-28, `_meta`).

use portreeve_core::json::Json;

/// The parent of our span, if it is written as it should be
#[must_use]
pub fn parent(params: Option<&Json<'_>>) -> Option<String> {
    let parent = params?.get("_meta")?.get("traceparent")?.as_str()?;
    let lengths: Vec<usize> = parent.split('-').map(str::len).collect();
    let hex = parent.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    (hex && lengths == [2, 32, 16, 2]).then(|| parent.to_owned())
}

/// A span of our own below that of the client
#[must_use]
pub fn child(parent: &str) -> Option<String> {
    let mut parts = parent.split('-');
    let (version, trace, _span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let span = crate::tasks::draw().ok()?;
    Some(format!("{version}-{trace}-{span:016x}-{flags}"))
}
