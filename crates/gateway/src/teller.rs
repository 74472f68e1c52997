//! Tells receivers, such as chat systems, of questions to people: signed messages (Standard Webhooks).
//!
//! Each message is an effect: admitted, sent through the latches, settled. Each receiver has its own queue, so one that
//! is down delays nobody. What was told stands in the record; after a restart only what was never told is told. A
//! message that is sent again keeps its id, by which its receiver knows it. Of an emergency a receiver is told until it
//! has taken it, or the review is closed. Only questions that have changed are looked at.

use crate::{
    door::{Door, TheEngine},
    office::{
        Office,
        view::{HoldView, ReviewView},
    },
    tasks::draw,
};
use http::{HeaderName, HeaderValue, StatusCode};
use portreeve_core::{
    engine::Reply,
    event::{Admitted, End, Event, News, What},
    hash::Hash,
    names::{EffectId, HoldId, Name},
    policy::Receiver,
    request::{Notify, Request, Settle},
    state::{Hold, Phase},
    time::Millis,
};
use portreeve_identity::{
    keyring::Ring,
    webhook::{self, ID, SIGNATURE, TIMESTAMP},
};
use portreeve_log::{Index, Most, Subject};
use portreeve_upstream::{
    ask::{Untold, tell},
    clock::SteadyClock,
    latch::Latches,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify as Wake, Semaphore};

/// What a receiver is told, of which question
type About = (HoldId, Name, News);

/// Whoever tells receivers
pub struct Teller {
    door: Door,
    latches: Arc<Latches>,
    clock: SteadyClock,
    office: Arc<Office>,
    ring: Arc<Ring>,
    // Both held only for a look-up.
    told: Mutex<BTreeMap<About, Stand>>,
    rooms: Mutex<BTreeMap<Name, Arc<Semaphore>>>,
    /// Questions of which a message has come to its end, so that another one may begin
    again: Mutex<BTreeSet<HoldId>>,
    ended: Wake,
}

/// What was looked at already
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The last change of a question
    changes: u64,
    /// The policy, which says who is told
    bundle: Option<Hash>,
}

/// How far a message has come
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It is on its way, or will be tried again
    Going,
    /// Its receiver has it
    Told,
    /// It was tried often enough, or refused for good
    GivenUp,
}

/// What a message is about
enum Told {
    Question(Box<HoldView>),
    Emergency(Option<Box<HoldView>>, Box<ReviewView>),
}

/// A message that is due
struct Due {
    about: About,
    receiver: Receiver,
}

/// How often a message is tried
const TRIES: u32 = 6;
/// How long before the second try; four times as long before each further one
const BACK_OFF: Duration = Duration::from_secs(1);
/// How long one try may take
const WITHIN: Duration = Duration::from_secs(10);
/// Messages to one receiver at once
const AT_ONCE: usize = 4;
/// How long nothing is tried before a receiver is told again of an emergency that it has not taken; twice as long each
/// further time
const EMERGENCY_PAUSE: Duration = Duration::from_secs(10 * 60);
/// How long at most
const EMERGENCY_PAUSE_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// Questions whose messages are looked up in the record after a start
const RECALLED_MAX: usize = 4_096;
/// Records of one question that are read for that
const RECORDS_MAX: usize = 512;
/// Messages that are remembered
const REMEMBERED_MAX: usize = 65_536;

impl Teller {
    /// Nobody has been told anything in this life
    pub(crate) fn new(
        (door, latches): (Door, Arc<Latches>),
        clock: SteadyClock,
        office: Arc<Office>,
        ring: Arc<Ring>,
    ) -> Arc<Self> {
        Arc::new(Self {
            door,
            latches,
            clock,
            office,
            ring,
            told: Mutex::default(),
            rooms: Mutex::default(),
            again: Mutex::default(),
            ended: Wake::new(),
        })
    }

    /// What receivers check messages with
    pub(crate) fn public_key(&self) -> String {
        webhook::public_text(&self.ring.keys().current().public_key())
    }

    /// Tells of what is there and of what comes, until the door ends
    pub(crate) async fn run(self: Arc<Self>, data: std::path::PathBuf) {
        let mut changes = self.door.questions();
        let (mut recalled, mut seen) = (false, Seen::default());
        loop {
            changes.mark_unchanged();
            let again = std::mem::take(&mut *self.again.lock().unwrap_or_else(PoisonError::into_inner));
            let Some((due, now_seen)) = self.door.ask(move |engine| due(engine, seen, &again)).await else { return };
            seen = now_seen;
            // Only who has something to tell reads the record for what was told before.
            if !recalled && !due.is_empty() {
                self.recall(&data).await;
                recalled = true;
            }
            for Due { about, receiver } in due {
                if self.begins(&about) {
                    tokio::spawn(Arc::clone(&self).tells(about, receiver));
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = self.ended.notified() => {}
            }
        }
    }

    /// Whether a message is to be told now: what became of a question only where it was told that it waits
    fn begins(&self, about: &About) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (hold, receiver, news) = about;
        let asked = told.get(&(*hold, receiver.clone(), News::Asked));
        if told.contains_key(about) || (*news == News::Answered && asked != Some(&Stand::Told)) {
            return false;
        }
        if told.len() >= REMEMBERED_MAX {
            told.retain(|_, stand| *stand == Stand::Going);
        }
        told.insert(about.clone(), Stand::Going);
        true
    }

    fn ends(&self, about: About, stand: Stand) {
        let hold = about.0;
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if stand == Stand::GivenUp && about.2 == News::Emergency {
                // Its receiver is gone, or its review: should it come back while the review is open, it is told.
                told.remove(&about);
            } else {
                told.insert(about, stand);
            }
        }
        self.again.lock().unwrap_or_else(PoisonError::into_inner).insert(hold);
        self.ended.notify_one();
    }

    /// Reads what was told in an earlier life of ours
    async fn recall(&self, data: &Path) {
        let holds = self.door.ask(|engine| {
            let state = engine.state();
            // The question by which an emergency began may be forgotten already.
            let emergencies = state.reviews().filter_map(|(_, review)| review.hold);
            let all: BTreeSet<HoldId> = emergencies.chain(state.holds().map(|(id, _)| id)).take(RECALLED_MAX).collect();
            all.into_iter().collect::<Vec<_>>()
        });
        let (Some(holds), data) = (holds.await, data.to_owned()) else { return };
        let read = tokio::task::spawn_blocking(move || recalled(&data, &holds)).await;
        match read {
            Ok(Ok(found)) => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                for about in found {
                    told.entry(about).or_insert(Stand::Told);
                }
            }
            // Then it may be told once more, with the same id.
            Ok(Err(why)) => tracing::warn!(%why, "what was told to receivers cannot be read"),
            Err(why) => tracing::warn!(%why, "what was told to receivers cannot be read"),
        }
    }

    async fn tells(self: Arc<Self>, about: About, mut receiver: Receiver) {
        let mut pause = EMERGENCY_PAUSE;
        let mut told = self.tells_for_now(&about, &receiver).await;
        // Nobody reviews an emergency that nobody has heard of.
        while !told && about.2 == News::Emergency {
            tokio::time::sleep(pause).await;
            pause = longer(pause);
            let Some(still) = self.still_listens(&about).await else { break };
            receiver = still;
            told = self.in_turn(&about, &receiver).await == Some(true);
        }
        self.ends(about, if told { Stand::Told } else { Stand::GivenUp });
    }

    /// Whoever is to be told of an emergency, as the policy has it by now, as long as its review is open
    async fn still_listens(&self, about: &About) -> Option<Receiver> {
        let (hold, name, _) = about.clone();
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            state.reviews().find(|(_, review)| review.hold == Some(hold))?;
            engine.shelf().current(state)?.receivers.get(&name).cloned()
        });
        found.await?
    }

    /// One try, once fewer than [`AT_ONCE`] are being made there
    async fn in_turn(&self, about: &About, receiver: &Receiver) -> Option<bool> {
        let room = self.room(&about.1);
        let _room = room.acquire().await.ok()?;
        self.tries(about, receiver).await
    }

    /// A few tries within minutes; whether it was taken
    async fn tells_for_now(&self, about: &About, receiver: &Receiver) -> bool {
        let mut pause = BACK_OFF;
        for attempt in 1..=TRIES {
            match self.in_turn(about, receiver).await {
                Some(true) => return true,
                Some(false) => break,
                None if attempt == TRIES => break,
                None => tokio::time::sleep(pause).await,
            }
            pause *= 4;
        }
        tracing::warn!(receiver = %about.1, hold = %about.0, "a receiver was not told of a question");
        false
    }

    /// One try; nothing if there may be another one
    async fn tries(&self, about: &About, receiver: &Receiver) -> Option<bool> {
        let (hold, name, news) = about;
        let about_it = match news {
            News::Asked | News::Answered => Told::Question(Box::new(self.office.whole(*hold).await.ok()?)),
            News::Emergency => match self.office.emergency(*hold).await.ok()? {
                // The question by which it began is forgotten before the emergency is.
                Some(review) => Told::Emergency(self.office.whole(*hold).await.ok().map(Box::new), Box::new(review)),
                None => return Some(false),
            },
        };
        let effect = EffectId(draw().ok()?);
        let notify = Notify { effect, news: *news, hold: *hold, receiver: name.clone() };
        let permit = match self.door.submit(Request::Notify(notify)).await {
            Reply::Permit(permit) => permit,
            // It does not wait any more, or nobody is told there any more.
            Reply::Refused(reasons) if reasons.iter().any(|reason| reason.sort().is_answerable()) => return None,
            _ => return Some(false),
        };
        let now = self.clock.now();
        let body = self.message(*news, &about_it, name, now).to_string();
        let headers = webhook::sign_by(&self.ring.keys(), &id(about), now, body.as_bytes());
        let headers = headers.and_then(|headers| headed(&headers));
        let pass = self.latches.pass(permit);
        let sent = match headers {
            Some(headers) => tell(&receiver.url, &headers, body, WITHIN, (pass, self.clock)).await,
            None => Err(Untold::NotSent("the message could not be signed".to_owned())),
        };
        let end = match &sent {
            Ok(status) => {
                End::Done { ok: status.is_success(), bytes: 0, result: None, returned: BTreeMap::new(), process: None }
            }
            Err(Untold::NotSent(why)) => End::NotSent { why: why.clone() },
            Err(Untold::Lost(why)) => End::Unknown { why: why.clone() },
        };
        self.door.later(Request::Settle(Settle::new(effect, end)));
        tracing::debug!(receiver = %name, %hold, ?sent, "a receiver was told of a question");
        match sent {
            Ok(status) if status.is_success() => Some(true),
            // Whoever is gone wants no more; who did not understand it once will not the next time.
            Ok(StatusCode::GONE | StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => Some(false),
            _ => None,
        }
    }

    fn message(&self, news: News, told: &Told, receiver: &Name, now: Millis) -> Value {
        let kind = match news {
            News::Asked => "hold.asked",
            News::Answered => "hold.answered",
            News::Emergency => "task.emergency",
        };
        let timestamp = jiff::Timestamp::from_millisecond(now.0).map(|at| at.to_string()).unwrap_or_default();
        let answer = format!("{}/hooks/{receiver}", self.office.base());
        let data = match told {
            Told::Question(view) => json!({ "hold": view, "link": self.office.link_of(view.hold), "answer": answer }),
            Told::Emergency(view, review) => {
                let link = self.office.page_of(review.task);
                json!({ "hold": view, "review": review, "link": link, "answer": answer })
            }
        };
        json!({ "type": kind, "timestamp": timestamp, "data": data })
    }

    fn room(&self, receiver: &Name) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rooms.entry(receiver.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

/// The id of a message: the same each time that it is sent
fn id((hold, receiver, news): &About) -> String {
    let news = match news {
        News::Asked => "asked",
        News::Answered => "answered",
        News::Emergency => "emergency",
    };
    format!("{hold}-{news}-{receiver}").chars().take(webhook::ID_MAX).collect()
}

fn headed(headers: &webhook::Headers) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let pairs = [(ID, &headers.id), (TIMESTAMP, &headers.timestamp), (SIGNATURE, &headers.signature)];
    pairs.into_iter().map(|(name, value)| Some((HeaderName::from_static(name), value.parse().ok()?))).collect()
}

/// Everything of what has changed, or whose message has ended, that somebody should have been told by now
fn due(engine: &TheEngine, seen: Seen, again: &BTreeSet<HoldId>) -> (Vec<Due>, Seen) {
    let state = engine.state();
    if engine.in_doubt() {
        return (Vec::new(), seen);
    }
    let now_seen = Seen { changes: state.hold_changes(), bundle: state.bundle() };
    let Some(bundle) = engine.shelf().current(state).filter(|bundle| !bundle.receivers.is_empty()) else {
        return (Vec::new(), now_seen);
    };
    let mut due = Vec::new();
    let mut tell = |hold: HoldId, groups: &BTreeSet<&Name>, news: News| {
        let listens = |receiver: &Receiver| receiver.who.iter().any(|who| groups.contains(who));
        let receivers = bundle.receivers.iter().filter(|(_, receiver)| listens(receiver));
        due.extend(
            receivers.map(|(name, receiver)| Due { about: (hold, name.clone(), news), receiver: receiver.clone() }),
        );
    };
    let groups = |hold: &Hold| -> BTreeSet<Name> {
        hold.held.questions.iter().map(|question| question.quorum.who.clone()).collect()
    };
    let now = state.time();
    // Another policy may have somebody told of what waits already.
    let since = if now_seen.bundle == seen.bundle { seen.changes } else { 0 };
    let again = again.iter().filter_map(|id| Some((*id, state.hold(*id)?)));
    for (id, hold) in state.holds_since(since).chain(again) {
        let groups = groups(hold);
        let waits = hold.phase == Phase::Open && hold.held.until > now && !enough(bundle, state, hold, now);
        tell(id, &groups.iter().collect(), if waits { News::Asked } else { News::Answered });
    }
    for (_, review) in state.reviews() {
        let Some(id) = review.hold else { continue };
        let mut groups = state.hold(id).map(groups).unwrap_or_default();
        groups.insert(review.group.clone());
        tell(id, &groups.iter().collect(), News::Emergency);
    }
    (due, now_seen)
}

/// Twice as long, up to [`EMERGENCY_PAUSE_MAX`]
fn longer(pause: Duration) -> Duration {
    pause.saturating_mul(2).min(EMERGENCY_PAUSE_MAX)
}

fn enough(
    bundle: &portreeve_core::policy::Bundle,
    state: &portreeve_core::state::State,
    hold: &Hold,
    now: Millis,
) -> bool {
    let met = |question: &portreeve_core::event::Question| {
        state.counting(bundle, (hold, question), now).len() >= usize::from(question.quorum.people)
    };
    hold.held.questions.iter().all(met)
}

/// What receivers have taken, by the record
fn recalled(data: &Path, holds: &[HoldId]) -> Result<Vec<About>, String> {
    let mut index = Index::open(data).map_err(|error| error.to_string())?;
    let mut told = Vec::new();
    for hold in holds {
        let most = Most { records: RECORDS_MAX, bytes: usize::MAX };
        let found = index.records_of(Subject::Hold(*hold), most).map_err(|error| error.to_string())?;
        let sent = found.records.iter().filter_map(|placed| match &placed.record.event {
            Event::Admitted(admitted) => match &**admitted {
                Admitted { effect, what: What::Notice { hold: of, receiver, news }, .. } if of == hold => {
                    Some((*effect, (*hold, receiver.clone(), *news)))
                }
                _ => None,
            },
            _ => None,
        });
        for (effect, about) in sent {
            let ended = index.records_of(Subject::Effect(effect), Most::ALL).map_err(|error| error.to_string())?;
            let took = ended.records.iter().any(|placed| match &placed.record.event {
                Event::Settled(settled) => {
                    settled.effect == effect && matches!(settled.end, End::Done { ok: true, .. })
                }
                _ => false,
            });
            if took {
                told.push(about);
            }
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emergency_is_told_again_at_growing_distances_and_at_least_four_times_a_day() {
        let pauses = std::iter::successors(Some(EMERGENCY_PAUSE), |pause| Some(longer(*pause)));
        let minutes: Vec<u64> = pauses.take(8).map(|pause| pause.as_secs() / 60).collect();
        assert_eq!(minutes, [10, 20, 40, 80, 160, 320, 360, 360]);
    }
}
