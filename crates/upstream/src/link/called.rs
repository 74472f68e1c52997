//! What a connector answered to a call: all of it, or a long answer that is passed on while it arrives.

use super::{hear::Source, send::UnderWay};
use crate::{http::Failure, room::limits};
use bytes::Bytes;
use portreeve_core::{
    hash::Hash,
    json::{Json, Limits},
    path::FieldPath,
    pattern::Source as Field,
    value::Value,
};
use portreeve_mcp::{
    can::Can,
    flow::{Flow, Flowed},
    message::{Message, Shape},
    method::Method,
    outcome::{Outcome, outcome},
    translate::{self, ToClient},
    version::Version,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::oneshot;

/// What a connector answered to a call
#[derive(Debug)]
pub enum Called {
    /// All of it is here
    Whole(Whole),
    /// It is longer than 1 MiB, and still arriving
    Long(Flowing),
}

/// An answer, all of it
#[derive(Debug)]
pub struct Whole {
    message: Vec<u8>,
    /// What it amounts to
    pub outcome: Outcome,
    /// Length of the result or error
    pub bytes: u64,
    /// SHA-256 of the result or error, as it was written
    pub digest: Hash,
    /// Whether the connector says that what is known of its tools is not true any more (-32020): it did nothing
    pub stale: bool,
}

impl Whole {
    pub(super) fn read(message: Vec<u8>, id: u64, from: Version, method: Method, can: Can) -> Result<Self, Failure> {
        let lost = |why: &str| Failure::Lost(why.to_owned());
        let (outcome, bytes, digest) = {
            let read = Message::read_answer(&message, &limits())
                .map_err(|error| Failure::Lost(format!("the server's answer is no valid message: {error}")))?;
            let Shape::Response { id: Some(answered), .. } = read.shape() else {
                return Err(lost("the server's answer answers nothing"));
            };
            if answered.raw().parse() != Ok(id) {
                return Err(lost("the server answered another request"));
            }
            let outcome = outcome(&read, from, method, can)
                .map_err(|why| Failure::Lost(format!("the server's answer cannot be used: {why}")))?;
            let content = read.result().or(read.error()).map_or("", Json::raw).as_bytes();
            (outcome, content.len() as u64, Hash::of(content))
        };
        let stale = outcome == Outcome::Error { code: portreeve_mcp::asked::HEADER_MISMATCH };
        Ok(Self { message, outcome, bytes, digest, stale })
    }

    /// Whether it is no error and no failure
    #[must_use]
    pub fn is_good(&self) -> bool {
        !matches!(self.outcome, Outcome::Complete { failed: true } | Outcome::Error { .. })
    }

    /// The connector's own message
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The answer as the client gets it
    #[must_use]
    pub fn into_reply(self, to: &ToClient<'_>) -> Vec<u8> {
        match Message::read_answer(&self.message, &limits()) {
            Ok(read) => translate::answer(&self.message, &read, to),
            // It was read before.
            Err(_) => Vec::new(),
        }
    }

    /// What the answer's structured result has in these fields; nothing where it has none
    ///
    /// A result without `structuredContent` whose only content is one text of JSON is read as that JSON. Only the end
    /// of a call vouches for anything.
    #[must_use]
    pub fn returned(&self, wanted: &[Field]) -> BTreeMap<Field, Vec<Value>> {
        if wanted.is_empty() || self.outcome != (Outcome::Complete { failed: false }) {
            return BTreeMap::new();
        }
        let Some(content) = structured(&self.message) else { return BTreeMap::new() };
        let mut left = RETURNED_BYTES_MAX;
        let field = |source: &Field| {
            let reached = source.field.select_in(&content);
            let mut fits = |value: &&Value| {
                let bytes = value.canonical().len();
                let fits = bytes <= left;
                left = left.saturating_sub(bytes);
                fits
            };
            let values: Vec<Value> = reached.values.into_iter().flatten().take_while(&mut fits).cloned().collect();
            (source.clone(), values)
        };
        wanted.iter().map(field).filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// Bytes of returned values that are kept of one answer; what is beyond vouches for nothing
const RETURNED_BYTES_MAX: usize = 64 << 10;

/// What these fields of a good answer have, each where it has exactly one value; an answer as [`Whole::returned`] reads it
#[must_use]
pub fn fields<'f>(message: &[u8], fields: impl IntoIterator<Item = &'f FieldPath>) -> BTreeMap<String, Value> {
    let Some(content) = structured(message) else { return BTreeMap::new() };
    let field = |path: &FieldPath| match path.select_in(&content).values.as_slice() {
        [Some(value)] => Some((path.to_string(), (*value).clone())),
        _ => None,
    };
    fields.into_iter().filter_map(field).collect()
}

fn structured(message: &[u8]) -> Option<Value> {
    let read = Message::read_answer(message, &limits()).ok()?;
    let result = read.result()?;
    if let Some(content) = result.get("structuredContent") {
        return content.to_value().ok();
    }
    match result.get("content").and_then(Json::as_array)? {
        [only] => only.get("text").and_then(Json::as_str)?.parse().ok(),
        _ => None,
    }
}

/// Bytes of an answer that is passed on while it arrives, at most, unless the configuration says otherwise
pub const STREAM_BYTES_MAX: u64 = 256 << 20;

/// A long answer that is still arriving; dropping it closes the connection, and the call is lost
#[derive(Debug)]
pub struct Flowing {
    pub(super) source: Box<Source>,
    pub(super) own: u64,
    pub(super) under_way: UnderWay,
    /// How long the connector may be silent
    pub(super) silence: Duration,
    pub(super) bytes_max: u64,
}

impl Flowing {
    /// Begins to pass it on to a client: what is read from the first part is the answer as the client gets it, and the
    /// second tells in the end what it was
    #[must_use]
    pub fn begin(self, to: &ToClient<'_>) -> (Passage, Ending) {
        let (ended, ending) = oneshot::channel();
        let bytes_max = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let limits = Limits { bytes_max, nodes_max: usize::MAX, ..Limits::DEFAULT };
        let going = Going {
            source: self.source,
            flow: Flow::new(self.own, to, limits),
            under_way: self.under_way,
            left: self.bytes_max,
        };
        (Passage { going: Some(going), silence: self.silence, ended: Some(ended) }, Ending(ending))
    }
}

/// A long answer on its way to the client, as bytes of one message; dropping it closes the connection
#[derive(Debug)]
pub struct Passage {
    going: Option<Going>,
    silence: Duration,
    ended: Option<oneshot::Sender<Result<Flowed, String>>>,
}

#[derive(Debug)]
struct Going {
    source: Box<Source>,
    flow: Flow,
    under_way: UnderWay,
    left: u64,
}

impl Passage {
    /// The next bytes for the client; nothing at the end
    ///
    /// No more is read from the connector than the client takes.
    ///
    /// # Errors
    /// How it broke: what has left cannot be completed, so the client's connection has to be cut.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        let outcome = self.step().await;
        match outcome {
            Ok(Step::More(bytes)) => return Some(Ok(bytes)),
            Ok(Step::Last(bytes, flowed)) => {
                self.end(Ok(flowed));
                return Some(Ok(bytes));
            }
            Ok(Step::Over) => {}
            Err(why) => {
                // Closes the connection, and tells the connector where that does not.
                self.going = None;
                self.end(Err(why.clone()));
                return Some(Err(why));
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Step, String> {
        let Some(going) = &mut self.going else { return Ok(Step::Over) };
        let mut out = Vec::new();
        loop {
            let next = tokio::time::timeout(self.silence, going.source.next()).await;
            let next = next.map_err(|_| "the connector fell silent within its answer".to_owned())??;
            let Some(bytes) = next else { break };
            going.left = going.left.checked_sub(bytes.len() as u64).ok_or("the answer is longer than the limit")?;
            going.flow.push(&bytes, &mut out).map_err(|broken| broken.to_string())?;
            if !out.is_empty() {
                return Ok(Step::More(out.into()));
            }
        }
        let Some(Going { source, flow, mut under_way, .. }) = self.going.take() else { return Ok(Step::Over) };
        // The connector has said all of it, whether it is any good or not.
        under_way.answered = true;
        let flowed = flow.finish(&mut out).map_err(|broken| broken.to_string())?;
        source.done();
        Ok(Step::Last(out.into(), flowed))
    }

    fn end(&mut self, outcome: Result<Flowed, String>) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(outcome);
        }
    }
}

enum Step {
    More(Bytes),
    Last(Bytes, Flowed),
    Over,
}

/// Tells what an answer was that has been passed on
#[derive(Debug)]
pub struct Ending(oneshot::Receiver<Result<Flowed, String>>);

impl Ending {
    /// Returns once the [`Passage`] is over
    ///
    /// # Errors
    /// How it broke, be it that nobody read it to its end.
    pub async fn wait(self) -> Result<Flowed, String> {
        self.0.await.unwrap_or_else(|_| Err("the client did not read the answer to its end".to_owned()))
    }
}
