//! What people are asked, what they say, and what agents make of it.

use super::World;
use portreeve_core::{
    event::{Actor, How, Signed},
    hash::Hash,
    names::{EffectId, GrantId, HoldId, Name},
    request::{Answering, Elevate},
    value::Value,
};
use std::collections::BTreeMap;

impl World {
    /// Somebody answers a question: yes or no, twice, late, about something else, or one that is not theirs
    pub(super) fn somebody_answers(&mut self) {
        let newest = self.env.questions.last().copied().filter(|_| self.env.random.chance(60));
        let Some(hold) = newest.or_else(|| self.env.random.pick(&self.env.questions).copied()) else { return };
        for _ in 0..=u32::from(self.env.random.chance(50)) {
            let who = ["bob", "bob", "bob", "cid", "cid", "cid", "dan", "ana", "eve"];
            let user = self.env.random.pick(&who).copied().unwrap_or_default();
            let yes = self.env.random.chance(88);
            self.answer(hold, user, yes);
        }
    }

    pub(super) fn answer(&mut self, hold: HoldId, user: &str, yes: bool) {
        let (Some(gateway), Ok(user)) = (&mut self.gateway, user.parse::<Name>()) else { return };
        let env = &mut self.env;
        let shown = gateway.question(hold).map(|hold| hold.held.binding).unwrap_or_default();
        let binding = if env.fails(4) { Hash::of(b"something else") } else { shown };
        let how = if env.random.chance(50) { How::Link } else { How::Passkey };
        let by = match env.random.pick(&env.known) {
            // An agent that answers for itself.
            Some(known) if env.random.chance(3) => Actor::Run(known.run),
            _ => Actor::Person { user: user.clone(), how: how.clone() },
        };
        env.trace(|| format!("{user} says {yes} to {hold}"));
        let signed = Signed {
            how,
            at: env.clock().steady,
            read_ms: Some(400),
            statement: Hash::of(b"statement"),
            key: "ed25519:sim".to_owned(),
            signature: "sim".to_owned(),
            passkey: None,
        };
        let grant = GrantId(env.id());
        gateway.answer(Answering { hold, binding, by, yes, why: "looked at it".to_owned(), grant, signed });
    }

    /// An agent asks for a class that does not stand
    pub(super) fn agent_wants_a_class(&mut self) {
        let Some(known) = self.env.random.pick(&self.env.known).cloned() else { return };
        let tool = self.env.random.pick(&["shop.sweep", "shop.sweep", "shop.export_customers", "shop.refund"]).copied();
        let depth = self.env.random.chance(50).then_some(5);
        let (times, ms) = (1 + self.env.random.below(3), 1 + self.env.random.millis(15_000));
        let other = self.env.random.pick(&self.env.known).cloned();
        let task = match other {
            Some(other) if self.env.random.chance(8) => other.task,
            _ => known.task,
        };
        let times = u32::try_from(times).unwrap_or(1);
        self.elevate((Actor::Run(known.run), task), tool.unwrap_or_default(), depth, (times, ms));
    }

    pub(super) fn elevate(
        &mut self,
        (by, task): (Actor, portreeve_core::names::TaskId),
        tool: &str,
        depth: Option<u64>,
        (times, lasts_ms): (u32, i64),
    ) {
        let (Some(gateway), Ok(usage)) = (&mut self.gateway, tool.parse()) else { return };
        let grant = GrantId(self.env.id());
        self.env.trace(|| format!("{by:?} wants {tool} in {task} {times} times as {grant}, {depth:?}"));
        let value = |depth: u64| depth.to_string().parse().unwrap_or(Value::Null);
        let values: BTreeMap<String, Value> =
            depth.map(|depth| ("depth".to_owned(), value(depth))).into_iter().collect();
        let why = "to sweep".to_owned();
        // As a question or as a grant: it has one number.
        self.env.grants.push(grant);
        gateway.elevate(Elevate { grant, by, task, uses: vec![usage], values, times, lasts_ms, why });
    }

    /// An agent repeats a call, as it was told: several times, or when it is too late
    pub(super) fn agent_repeats(&mut self) {
        let Some(call) = self.env.random.pick(&self.env.told).cloned() else { return };
        for _ in 0..=u32::from(self.env.random.chance(30)) {
            let Some(gateway) = &mut self.gateway else { return };
            let mut call = call.clone();
            call.effect = EffectId(self.env.id());
            (call.answers, call.before) = (Vec::new(), None);
            self.env.report.calls += 1;
            self.env.trace(|| format!("{} repeats {} as {}", call.run, call.tool, call.effect));
            gateway.call(call, &mut self.env);
        }
    }

    /// Everybody who is asked something says yes
    pub(super) fn everybody_agrees(&mut self, users: &[&str]) {
        let open = self.gateway.as_ref().map(|gateway| gateway.open_questions()).unwrap_or_default();
        for hold in open {
            for user in users {
                self.answer(hold, user, true);
            }
        }
    }
}
