//! The answer to a post: one message, or a stream of events with the answer at its end.

use super::{Back, session::Session};
use crate::{
    http::{Exchange, Gate, Http, LAST_EVENT, SESSION, Trouble},
    line,
    pieces::{Piece, Pieces},
    room::{ANSWER_BYTES_MAX, Answer, Room, WHOLE_BYTES_MAX, limits, parts},
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use portreeve_mcp::{
    message::{Message, Shape},
    mirror::Mirrored,
    version::Era,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How an answer is listened for
#[derive(Debug)]
pub(crate) struct Hearing<'h> {
    pub(crate) http: &'h Arc<Http>,
    pub(crate) session: &'h Arc<Session>,
    pub(crate) room: &'h Arc<Room>,
    pub(crate) id: u64,
    /// Whether a long answer is wanted as a whole
    pub(crate) whole: bool,
}

/// What came
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) status: StatusCode,
    pub(crate) session: Option<HeaderValue>,
    pub(crate) heard: Heard,
}

/// An answer
#[derive(Debug)]
pub(crate) enum Heard {
    /// All of it; empty where the server had nothing to say
    Whole(Vec<u8>),
    /// A long one that is still arriving
    Long(Box<Source>),
}

impl Heard {
    pub(crate) fn whole(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Whole(message) => Ok(message),
            Self::Long(_) => Err(TOO_LONG.to_owned()),
        }
    }
}

const TOO_LONG: &str = "the answer is longer than the limit";

/// How often in a row taking up a stream again may fail
const RESUMED_MAX: usize = 3;
/// How long to wait before that, unless the server says so
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How long the server may say to wait
pub(super) const RETRY_MIN: Duration = Duration::from_millis(20);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);

impl Hearing<'_> {
    /// Posts a message and listens for its answer
    pub(crate) async fn post(
        &self,
        message: Vec<u8>,
        mirrored: &[Mirrored],
        gate: &Arc<Gate>,
    ) -> Result<Posted, Trouble> {
        let mut exchange = self.session.post(self.http, message, mirrored, gate).await?;
        // Only for a long message may there be something left that has not left.
        let left = exchange.keep;
        let (status, session) = (exchange.status, exchange.headers.get(SESSION).cloned());
        let streamed = status.is_success() && exchange.is_stream();
        let heard =
            if streamed { self.stream(exchange).await? } else { self.body(&mut exchange).await?.give(exchange) };
        if left && matches!(heard, Heard::Long(_)) {
            gate.leave();
        }
        Ok(Posted { status, session, heard })
    }

    async fn body(&self, exchange: &mut Exchange) -> Result<Begun, String> {
        let mut message = Vec::new();
        while let Some(data) = exchange.next().await? {
            message.extend_from_slice(&data);
            if message.len() > WHOLE_BYTES_MAX && !self.whole && exchange.status.is_success() {
                return Ok(Begun::Long(message));
            }
            if message.len() > ANSWER_BYTES_MAX {
                return Err(TOO_LONG.to_owned());
            }
        }
        match parts(&message, self.session.version).as_slice() {
            [_] => {}
            batch => {
                for part in batch {
                    if self.is_answer(part) {
                        return Ok(Begun::Whole(part.to_vec()));
                    }
                    self.room.take(part, Some(self.id), &self.back());
                }
            }
        }
        Ok(Begun::Whole(message))
    }

    async fn stream(&self, mut exchange: Exchange) -> Result<Heard, String> {
        let (mut pieces, mut waiting, mut event) = (Pieces::default(), VecDeque::new(), Vec::new());
        let (mut last, mut retry) = (None, RETRY);
        loop {
            let Some(piece) = waiting.pop_front() else {
                let broke = match exchange.next().await {
                    Ok(Some(data)) => {
                        waiting.extend(pieces.push(&data));
                        continue;
                    }
                    Ok(None) => "the stream ended without the answer".to_owned(),
                    Err(why) => why,
                };
                exchange = self.resume(last.as_deref(), retry, broke).await?;
                (pieces, event) = (Pieces::default(), Vec::new());
                continue;
            };
            match piece {
                Piece::Data(data) => {
                    event.extend_from_slice(&data);
                    if event.len() > WHOLE_BYTES_MAX && !self.whole {
                        let rest = Rest::Http { exchange: Box::new(exchange), pieces: Some(pieces), waiting };
                        return Ok(Heard::Long(Box::new(Source { begun: Some(event.into()), rest })));
                    }
                    if event.len() > ANSWER_BYTES_MAX {
                        return Err(TOO_LONG.to_owned());
                    }
                }
                Piece::End => {
                    // A server that offers to resume a stream begins it with an empty event (2025-11-25).
                    let event = std::mem::take(&mut event);
                    for part in parts(&event, self.session.version).into_iter().filter(|part| !part.is_empty()) {
                        if self.is_answer(part) {
                            exchange.done();
                            return Ok(Heard::Whole(part.to_vec()));
                        }
                        self.room.take(part, Some(self.id), &self.back());
                    }
                }
                Piece::Id(id) => last = Some(id).filter(|id| !id.is_empty()),
                Piece::Retry(wait) => retry = Duration::from_millis(wait).clamp(RETRY_MIN, RETRY_MAX),
            }
        }
    }

    /// Takes up a stream again that ended before the answer, where the server gave something to take it up with
    async fn resume(&self, last: Option<&str>, retry: Duration, broke: String) -> Result<Exchange, String> {
        let legacy = self.session.version.is_some_and(|version| version.era() == Era::Legacy);
        let Some(last) = last.filter(|_| legacy).and_then(|last| HeaderValue::from_str(last).ok()) else {
            return Err(broke);
        };
        for _ in 0..RESUMED_MAX {
            tokio::time::sleep(retry).await;
            let mut headers = self.session.headers();
            headers.push((LAST_EVENT, last.clone()));
            let gate = Gate::new(None, self.http.clock());
            match self.http.begin(Method::GET, headers, Vec::new(), &gate).await {
                Ok(exchange) if exchange.status == StatusCode::OK && exchange.is_stream() => return Ok(exchange),
                Ok(exchange) if exchange.status.is_client_error() => break,
                Ok(_) | Err(_) => {}
            }
        }
        Err(broke)
    }

    fn is_answer(&self, part: &[u8]) -> bool {
        match Message::read_answer(part, &limits()) {
            Ok(message) => match message.shape() {
                Shape::Response { id: Some(id), .. } => id.raw().parse() == Ok(self.id),
                Shape::Response { id: None, .. } => true,
                Shape::Request { .. } | Shape::Notification { .. } => false,
            },
            // Whatever it is, it is all that the stream will say of this request.
            Err(_) => true,
        }
    }

    fn back(&self) -> Back {
        Back::Http { http: Arc::clone(self.http), session: Arc::clone(self.session) }
    }
}

/// An answer that is no stream of events
enum Begun {
    Whole(Vec<u8>),
    Long(Vec<u8>),
}

impl Begun {
    fn give(self, exchange: Exchange) -> Heard {
        match self {
            Self::Whole(message) => {
                exchange.done();
                Heard::Whole(message)
            }
            Self::Long(begun) => {
                let rest = Rest::Http { exchange: Box::new(exchange), pieces: None, waiting: VecDeque::new() };
                Heard::Long(Box::new(Source { begun: Some(begun.into()), rest }))
            }
        }
    }
}

impl From<Answer> for Heard {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Whole(answer) => Self::Whole(answer),
            Answer::Long(begun, rest) => {
                Self::Long(Box::new(Source { begun: Some(begun.into()), rest: Rest::Line(rest) }))
            }
        }
    }
}

/// A long answer that is still arriving; dropping it closes the connection, if it has one of its own
#[derive(Debug)]
pub(crate) struct Source {
    begun: Option<Bytes>,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Http {
        exchange: Box<Exchange>,
        /// If it stands in a stream of events
        pieces: Option<Pieces>,
        waiting: VecDeque<Piece>,
    },
    Line(line::Pieces),
}

const BROKEN: &str = "the stream ended within the answer";

impl Source {
    /// The next bytes of the answer; nothing at its end
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        if let Some(begun) = self.begun.take() {
            return Ok(Some(begun));
        }
        let (exchange, pieces, waiting) = match &mut self.rest {
            Rest::Http { exchange, pieces, waiting } => (exchange, pieces, waiting),
            Rest::Line(rest) => return rest.recv().await.ok_or_else(|| BROKEN.to_owned()),
        };
        loop {
            while let Some(piece) = waiting.pop_front() {
                match piece {
                    Piece::Data(data) => return Ok(Some(data.into())),
                    Piece::End => return Ok(None),
                    Piece::Id(_) | Piece::Retry(_) => {}
                }
            }
            let Some(data) = exchange.next().await? else {
                return if pieces.is_some() { Err(BROKEN.to_owned()) } else { Ok(None) };
            };
            match pieces {
                Some(pieces) => waiting.extend(pieces.push(&data)),
                None => return Ok(Some(data)),
            }
        }
    }

    /// All of it was read
    pub(crate) fn done(self) {
        if let Rest::Http { exchange, .. } = self.rest {
            exchange.done();
        }
    }
}
