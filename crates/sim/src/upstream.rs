//! The connectors' side: a ledger of what really arrived. It is outside of every crash.

use crate::random::Random;
use portreeve_core::{hash::Hash, life::Happened, names::EffectId};
use std::collections::BTreeMap;

/// What arrived, in order
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    pub(crate) ledger: Vec<Arrived>,
}

/// One call whose bytes arrived
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// The effect's token in the forwarded call
    pub(crate) effect: EffectId,
    /// Whether it was carried out
    pub(crate) done: bool,
}

/// What the gateway will learn, and after how many milliseconds
pub(crate) type Fate = (i64, Happened);

impl Upstream {
    /// Takes a call; `timeout_ms` is how long the caller would wait
    ///
    /// With `legs`, some answers are questions, or say that the call goes on.
    pub(crate) fn receive(
        &mut self,
        effect: EffectId,
        timeout_ms: i64,
        (random, faults): (&mut Random, bool),
        legs: bool,
    ) -> Fate {
        let dice = if faults { random.below(100) } else { random.below(60) };
        let soon = 1 + random.millis(400);
        let digest = Hash::of(effect.to_string().as_bytes());
        let answered = |ok| Happened::Answered { ok, bytes: 12, digest, returned: BTreeMap::new() };
        let lost = |why: &str| Happened::Lost(why.to_owned());
        let asks = legs && random.chance(20);
        let (done, fate) = match dice {
            0..55 if asks => (true, (soon, Happened::Pending { bytes: 12, digest })),
            0..55 => (true, (soon, answered(true))),
            55..70 => (false, (soon, answered(false))),
            70..80 => (true, (timeout_ms, lost("timeout"))),
            80..90 => (false, (soon, lost("died before doing it"))),
            _ => (true, (soon, lost("died after doing it"))),
        };
        self.ledger.push(Arrived { effect, done });
        fate
    }

    /// How often each effect arrived, and whether it was carried out
    pub(crate) fn arrivals(&self) -> BTreeMap<EffectId, (u32, bool)> {
        let mut arrivals: BTreeMap<_, (u32, bool)> = BTreeMap::new();
        for arrived in &self.ledger {
            let (count, done) = arrivals.entry(arrived.effect).or_default();
            *count += 1;
            *done |= arrived.done;
        }
        arrivals
    }
}
