//! Asks outside decision points on the network.
//!
//! Nothing is decided here: an answer goes back to the judgement with the question that it answers and the time at
//! which that was asked, and the judgement holds both against what it needs. What is kept for the same question of
//! another call is no more than that either.

use portreeve_core::{
    hash::Hash,
    names::{EffectId, Name},
    outside::{ANSWER_BYTES_MAX, Answer, Asking, Point, Said, Wire, body, one_line, read_authzen, read_opa},
};
use portreeve_upstream::{
    ask::{Unanswered, ask},
    clock::SteadyClock,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// The points, and what they said lately
#[derive(Debug)]
pub struct Points {
    clock: SteadyClock,
    // Both held only for a look-up.
    kept: Mutex<HashMap<(Name, Hash), Answer>>,
    rooms: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Points {
    /// Nobody has been asked yet
    #[must_use]
    pub fn new(clock: SteadyClock) -> Arc<Self> {
        Arc::new(Self { clock, kept: Mutex::default(), rooms: Mutex::default() })
    }

    /// Asks everybody at once; one answer for each question, whatever came of it
    pub async fn ask(self: &Arc<Self>, effect: EffectId, askings: Vec<Asking>) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut asked = JoinSet::new();
        for asking in askings {
            if let Some(answer) = self.known(&asking) {
                answers.push(answer);
                continue;
            }
            let points = Arc::clone(self);
            asked.spawn(async move { points.one(effect, &asking).await });
        }
        // One that panics leaves its question unanswered, and the judgement asks again or refuses.
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer);
        }
        answers
    }

    async fn one(&self, effect: EffectId, asking: &Asking) -> Answer {
        let point = &asking.point;
        let at = self.clock.now();
        let said = self.hear(point, body(point.wire, &asking.document, at)).await;
        let answer = Answer { point: point.name.clone(), question: asking.question, effect, at, said };
        tracing::debug!(point = %point.name, said = ?answer.said, "an outside decision point was asked");
        if point.reuse_ms > 0 && matches!(answer.said, Said::Permit | Said::Refuse(_)) {
            self.keep(&answer);
        }
        answer
    }

    async fn hear(&self, point: &Point, body: String) -> Said {
        let until = Instant::now() + Duration::from_millis(point.timeout_ms.unsigned_abs());
        let room = self.room(&point.url);
        // A point that lets everybody wait is asked by no more than have room, and keeps nobody from others.
        let Ok(Ok(_room)) = tokio::time::timeout_at(until, room.acquire()).await else {
            return Said::Silent("too many questions are waiting for its answer".to_owned());
        };
        let within = until.saturating_duration_since(Instant::now());
        match ask(&point.url, body, ANSWER_BYTES_MAX, within).await {
            Ok(answer) => match point.wire {
                Wire::Opa => read_opa(&answer),
                Wire::Authzen => read_authzen(&answer),
            },
            Err(Unanswered::Silent(why)) => Said::Silent(one_line(&why)),
            Err(Unanswered::Broken(why)) => Said::Failed(one_line(&why)),
        }
    }

    fn known(&self, asking: &Asking) -> Option<Answer> {
        let reuse_ms = asking.point.reuse_ms;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = kept.get(&(asking.point.name.clone(), asking.question))?;
        // The judgement decides; this only saves it an answer that it would not take.
        (self.clock.now().since(answer.at) < reuse_ms).then(|| answer.clone())
    }

    fn keep(&self, answer: &Answer) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert((answer.point.clone(), answer.question), answer.clone());
    }

    fn room(&self, url: &str) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(url) {
            rooms.retain(|_, room| Arc::strong_count(room) > 1);
        }
        Arc::clone(rooms.entry(url.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(ASKED_AT_ONCE_MAX))))
    }
}

/// Answers that are kept for the same question of another call
const KEPT_MAX: usize = 1_024;
/// Questions to one point at once
const ASKED_AT_ONCE_MAX: usize = 32;
/// Points that are counted; those of versions of the policy that are gone are forgotten
const ROOMS_MAX: usize = 256;
