//! Answers that come from receivers of messages, such as chat systems: `POST /hooks/{receiver}`, signed.
//!
//! A receiver says who of its people has answered; the policy says which user that is, and judges them as anybody.

use crate::{
    catalogue::Catalogue,
    failure::Failure,
    listen::{SMALL_BYTES_MAX, small_body},
    office::{Answering, Office, view::HoldView},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use portreeve_core::{event::How, hash::Hash, names::Name, time::Millis};
use portreeve_identity::webhook::{Headers, ID, Key, SIGNATURE, TIMESTAMP, TOLERANCE_MS, verify};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Messages that are remembered; further ones are refused until old ones are forgotten
const SEEN_MAX: usize = 10_000;

/// Whether a path is one where receivers answer
#[must_use]
pub fn serves(path: &str) -> bool {
    path.starts_with("/hooks/")
}

#[derive(Debug)]
struct Hooks {
    office: Arc<Office>,
    catalogue: Arc<Catalogue>,
    // By the digest of receiver and id: until when it could come again, and what it said. Held only for a look-up.
    seen: Mutex<BTreeMap<Hash, (Millis, Hash)>>,
}

/// The routes where receivers answer
pub(crate) fn router(office: Arc<Office>, catalogue: Arc<Catalogue>) -> Router {
    let hooks = Arc::new(Hooks { office, catalogue, seen: Mutex::default() });
    Router::new().route("/hooks/{receiver}", post(answer)).with_state(hooks)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// The question's id or code
    hold: String,
    /// The digest of what was shown
    binding: Hash,
    yes: bool,
    #[serde(default)]
    why: String,
    /// Who has answered, by their name at the receiver
    person: String,
    /// How long they had it in front of them, in milliseconds
    read_ms: Option<u64>,
}

async fn answer(
    State(hooks): State<Arc<Hooks>>,
    Path(receiver): Path<String>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let (head, body) = request.into_parts();
    if head.headers.contains_key(header::ORIGIN) {
        let message = "A browser does not answer here.";
        return Err(Failure::new(StatusCode::FORBIDDEN, "not_yours", message, "Answer on the console."));
    }
    let body = small_body(body).await.ok_or_else(|| {
        let message = format!("An answer has at most {SMALL_BYTES_MAX} bytes, which arrive within seconds.");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "malformed", message, "Send less, and at once.")
    })?;
    hooks.take(&receiver, &head.headers, &body).await.map(|view| Json(json!(view)))
}

impl Hooks {
    async fn take(&self, receiver: &str, headers: &HeaderMap, body: &Bytes) -> Result<HoldView, Failure> {
        let now = self.office.now();
        let (name, people, key) = self.receiver(receiver)?;
        let headers = signed(headers)?;
        verify(&[key], &headers, body, now).map_err(|wrong| {
            let remedy = "Sign {webhook-id}.{webhook-timestamp}.{body} with the key whose public half is `answer_key`.";
            Failure::new(StatusCode::UNAUTHORIZED, "signature_wrong", wrong.to_string(), remedy)
        })?;
        let said: Said = serde_json::from_slice(body).map_err(|error| {
            let message = format!("This is no answer: {error}.");
            Failure::new(StatusCode::BAD_REQUEST, "malformed", message, "See docs/approvals.md.")
        })?;
        let user = people.get(&said.person).cloned().ok_or_else(|| {
            let message = format!("{receiver} names {:?}, whom the policy does not know there.", said.person);
            Failure::new(StatusCode::FORBIDDEN, "user_unknown", message, "Add them to `people` in receivers/*.toml.")
        })?;
        let before = self.seen(&name, &headers, body, now)?;
        let person = self.office.person(user.clone(), How::Webhook { receiver: name.clone() }).await?;
        let hold = self.office.hold(&person, &said.hold).await?;
        let stands = |view: &HoldView| view.answers.iter().any(|answer| answer.user == user && answer.yes == said.yes);
        if before && stands(&hold) {
            return Ok(hold);
        }
        let answer = Answering {
            hold: hold.hold,
            binding: said.binding,
            yes: said.yes,
            why: said.why.clone(),
            read_ms: said.read_ms,
            passkey: None,
        };
        match self.office.answer(&person, answer).await {
            Ok(view) => {
                self.remember(&name, &headers, body, now);
                Ok(view)
            }
            // Two at once, or again after a restart: who says the same is told the same.
            Err(failure) => {
                let view = self.office.hold(&person, &said.hold).await?;
                let same = view.binding == said.binding && stands(&view);
                if same { Ok(view) } else { Err(failure) }
            }
        }
    }

    fn receiver(&self, receiver: &str) -> Result<(Name, BTreeMap<String, Name>, Key), Failure> {
        let view = self.catalogue.view();
        let known = receiver.parse::<Name>().ok().and_then(|name| {
            let found = view.bundle.as_ref()?.receivers.get(&name)?;
            Some((name, found))
        });
        let key = known.and_then(|(name, found)| {
            // Its padding may be left out in the policy.
            let text = found.answer_key.as_deref()?.trim_end_matches('=');
            let key = Key::parse(&format!("{text}=")).ok()?;
            Some((name, found.people.clone(), key))
        });
        // Who has no key is as good as unknown to whoever asks.
        key.ok_or_else(|| {
            let message = "No answers are taken here.";
            let remedy = "Write `answer_key` into receivers/NAME.toml, and `portreeve policy apply`.";
            Failure::new(StatusCode::NOT_FOUND, "receiver_unknown", message, remedy)
        })
    }

    /// Whether this very message came before; one with its id that says something else is refused
    fn seen(&self, receiver: &Name, headers: &Headers, body: &Bytes, now: Millis) -> Result<bool, Failure> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (until, _)| now <= *until);
        match seen.get(&digest(receiver, headers)) {
            Some((_, before)) if *before == Hash::of(body) => Ok(true),
            Some(_) => {
                let message = "A message with this id came before, and said something else.";
                Err(Failure::new(StatusCode::CONFLICT, "replayed", message, "Give each message an id of its own."))
            }
            None if seen.len() >= SEEN_MAX => {
                let message = "Too many answers came within minutes.";
                Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, "Send it again later."))
            }
            None => Ok(false),
        }
    }

    fn remember(&self, receiver: &Name, headers: &Headers, body: &Bytes, now: Millis) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(digest(receiver, headers), (now.plus(2 * TOLERANCE_MS), Hash::of(body)));
    }
}

fn digest(receiver: &Name, headers: &Headers) -> Hash {
    Hash::of_parts(&[receiver.as_str().as_bytes(), headers.id.as_bytes()])
}

fn signed(headers: &HeaderMap) -> Result<Headers, Failure> {
    let one = |name: &'static str| {
        let mut all = headers.get_all(name).iter();
        let text = all.next().and_then(|value| value.to_str().ok()).filter(|_| all.next().is_none());
        text.map(ToOwned::to_owned).ok_or_else(|| {
            let message = format!("The header {name} is missing, or there are several.");
            Failure::new(StatusCode::UNAUTHORIZED, "signature_wrong", message, "Sign as Standard Webhooks says.")
        })
    };
    Ok(Headers { id: one(ID)?, timestamp: one(TIMESTAMP)?, signature: one(SIGNATURE)? })
}
