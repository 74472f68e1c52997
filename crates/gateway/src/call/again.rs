//! A call that was made with a yes already is not made again: whoever repeats it is told what came of it.

use super::{Calls, Legged, Walk};
use crate::{
    client::Client,
    outcomes::{Kept, Progress},
    outlet::Last,
    settings::{TTL_MS_MAX, answer_limits},
    under_way::Entered,
};
use portreeve_core::{judge::Again, state::Phase};
use portreeve_mcp::{
    message::Message,
    method::Method,
    reply::people::{self, Earlier},
    translate::{self, ToClient},
    version::Version,
};
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

impl Calls {
    /// What came of the call, once that is known; nothing if it turned out not to have been made, and is to be judged anew
    pub(super) async fn again(
        &self,
        again: Again,
        method: Method,
        client: &Client,
        entered: &mut Entered,
        walk: &Walk,
    ) -> Option<Legged> {
        let (hold, code) = (again.hold, again.hold.code());
        let (era, version, is_tool) = (client.era(), client.version, method == Method::CallTool);
        let place = self.holds.waiting.place(client);
        let until = walk.patience.until().filter(|_| place.is_some()).unwrap_or_else(Instant::now);
        let mut changes = self.door.question(hold);
        loop {
            changes.mark_unchanged();
            let phase = self.door.ask(move |engine| engine.state().hold(hold).map(|hold| hold.phase)).await;
            let mut progress = match phase.flatten() {
                Some(Phase::Used { effect: Some(effect) } | Phase::Done { effect, .. }) => {
                    self.holds.outcomes.of(effect)
                }
                Some(Phase::Unknown { effect, .. }) => {
                    let effect = effect.to_string();
                    return Some(Legged::Told(Box::new(move |id| {
                        Last::ok(people::unknown_before(id, is_tool, era, &code, &effect))
                    })));
                }
                Some(Phase::Used { effect: None }) => None,
                _ => return None,
            };
            let over = progress.as_ref().and_then(|progress| match &*progress.borrow() {
                Progress::UnderWay => None,
                Progress::Over(kept) => Some(Arc::clone(kept)),
            });
            match (phase.flatten(), over) {
                (_, Some(kept)) if kept.answer.is_some() => {
                    return Some(Legged::Told(Box::new(move |id| Last::ok(replayed(&kept, id, method, version)))));
                }
                (Some(Phase::Done { effect, ok, at }), over) if over.is_some() || progress.is_none() => {
                    let digest = over.map(|kept| kept.digest.to_string());
                    let earlier = Earlier { code, effect: effect.to_string(), ok, at: at.rfc3339(), digest };
                    return Some(Legged::Told(Box::new(move |id| Last::ok(earlier.told(id, is_tool, era)))));
                }
                _ => {}
            }
            // Under way: the first of its answer and its end on the record says more.
            let ended = async {
                match &mut progress {
                    Some(progress) if !matches!(*progress.borrow(), Progress::Over(_)) => {
                        let _ = progress.changed().await;
                    }
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ended => {}
                changed = changes.changed() => if !changed { return None },
                () = sleep_until(until) => break,
                _ = entered.cancelled(client) => break,
            }
        }
        Some(Legged::Told(Box::new(move |id| Last::ok(people::under_way(id, is_tool, era, &code)))))
    }
}

/// The same answer, under the id of whoever repeats the call
fn replayed(kept: &Kept, id: &str, method: Method, version: Version) -> Vec<u8> {
    let answer = kept.answer.as_deref().unwrap_or_default();
    match Message::read_answer(answer, &answer_limits()) {
        Ok(message) => {
            let to = ToClient { id, from: kept.version, version, method, state: None, ttl_ms_max: TTL_MS_MAX };
            translate::answer(answer, &message, &to)
        }
        // It was written here.
        Err(_) => answer.to_vec(),
    }
}
