//! What must hold once nothing moves any more; here the core is held against itself as well.

use crate::{gateway::Gateway, oracle::Found, world::World};
use portreeve_core::{
    event::{Actor, Admitted, CallFacts, Event, Record, What, decode},
    judge::{Admission, Judged, Shelf, judge_call, judge_poll},
    log::Head,
    names::GrantId,
    outside::{Answer, Said},
    reason::Word,
    request::{Call, Clock, Fit, Poll},
    state::{OpenWhat, State},
};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// After [`World::rest`]
    pub(crate) fn check_at_rest(&mut self) {
        let Some(gateway) = &self.gateway else {
            return self.env.violated("I5", "the process does not come up".to_owned());
        };
        let now = self.env.clock().steady;
        let mut found = Vec::new();
        if gateway.waits_for() > 0 {
            found.push(("I5", format!("{} calls wait for ever", gateway.waits_for())));
        }
        found.extend(self.env.oracle.unsettled());
        found.extend(self.env.oracle.overdue(now));
        found.extend(self.env.oracle.ledger(&self.env.upstream.arrivals()));
        found.extend(self.orphans(gateway));
        found.extend(self.counts(gateway));
        found.extend(self.folds(gateway));
        for (invariant, what) in found {
            self.env.violated(invariant, what);
        }
    }

    /// Children that live although what they are for is over
    fn orphans(&self, gateway: &Gateway) -> Vec<Found> {
        let state = gateway.engine.state();
        let alive = self.env.host.alive();
        let orphans = alive.filter(|(effect, _)| {
            let open = state.effects().any(|(id, open)| id == *effect && matches!(open.what, OpenWhat::Child(_)));
            !open || self.env.oracle.outlived(*effect)
        });
        orphans.map(|(effect, child)| ("I5", format!("the child {effect} of {} lives on", child.connector))).collect()
    }

    /// Open calls as the state counts them, and as the record does
    fn counts(&self, gateway: &Gateway) -> Vec<Found> {
        let tasks = gateway.engine.state().tasks();
        let counts = tasks.map(|(id, task)| (id, task.open, self.env.oracle.open_below(&id.to_string())));
        let wrong = counts.filter(|(_, open, counted)| open != counted);
        let tasks = gateway.engine.state().tasks();
        let waiting = tasks.map(|(id, task)| (id, task.waiting, self.env.oracle.waiting_below(&id.to_string())));
        let waiting = waiting.filter(|(_, waiting, counted)| waiting != counted);
        let waiting = waiting.map(|(id, waits, counted)| ("I5", format!("{id} counts {waits} questions of {counted}")));
        wrong
            .map(|(id, open, counted)| ("I5", format!("{id} counts {open} open calls of {counted}")))
            .chain(waiting)
            .collect()
    }

    /// The engine's memory is the fold of the log, from the start and from any snapshot
    fn folds(&self, gateway: &Gateway) -> Vec<Found> {
        let groups = self.env.disk.durable(0);
        let middle = groups.len() / 2;
        let (mut state, mut resumed) = (State::default(), None);
        for (index, group) in groups.iter().enumerate() {
            if index == middle {
                let text = serde_json::to_string(&state).unwrap_or_default();
                resumed = serde_json::from_str::<State>(&text).ok();
            }
            for state in [Some(&mut state), resumed.as_mut()].into_iter().flatten() {
                let Ok(records) = decode(state.head(), group) else {
                    return vec![("I13", format!("group {} cannot be read", group.n))];
                };
                records.iter().for_each(|record| state.apply(record));
                state.closed(group.head());
            }
        }
        let mut found = Vec::new();
        if state != *gateway.engine.state() {
            found.push(("S1", "memory is not the fold of the log".to_owned()));
        }
        if resumed.is_some_and(|resumed| resumed != state) {
            found.push(("S1", "a snapshot does not lead to the fold of the log".to_owned()));
        }
        found
    }

    /// From a record and the bundle it names, `judge` gives the same answer
    pub(crate) fn check_the_record(&mut self) {
        let versions = self.env.library.versions();
        let bundles = versions.filter_map(|version| self.env.library.bundle(version.digest()));
        let shelf = Shelf(bundles.map(|bundle| (bundle.digest, bundle.clone())).collect());
        let mut state = State::default();
        let mut head = Head::default();
        let mut found = Vec::new();
        for group in self.env.disk.durable(0) {
            for record in decode(head, &group).unwrap_or_default() {
                if let Event::Admitted(admitted) = &record.event
                    && let (What::Poll(facts), Actor::Run(run)) = (&admitted.what, &record.actor)
                {
                    let method = facts.method.clone();
                    let poll = Poll { effect: admitted.effect, run: *run, of: facts.of, method, lease: facts.lease };
                    let judged = judge_poll(&state, &shelf, &poll, Clock::at(admitted.now.0));
                    if !judged.as_ref().is_ok_and(|judged| judged.charges == facts.charges && judged.tool == facts.tool)
                    {
                        found.push(format!("{} is judged as {judged:?}, recorded {admitted:?}", admitted.effect));
                    }
                }
                if let Event::Admitted(admitted) = &record.event
                    && let What::Call(facts) = &admitted.what
                {
                    let rebuilt = rebuild(&record, admitted, facts);
                    let judged = rebuilt.map(|call| judge_call(&state, &shelf, &call, Clock::at(admitted.now.0)));
                    let same = matches!(
                        &judged,
                        Some(Ok(Judged::Admit(judged))) if is_recorded(judged, admitted, facts)
                    );
                    if !same {
                        found.push(format!("{} is judged as {judged:?}, recorded {admitted:?}", admitted.effect));
                    }
                }
                state.apply(&record);
            }
            head = group.head();
            state.closed(head);
        }
        for what in found {
            self.env.violated("I13", what);
        }
    }
}

/// The call as it was put to the door
fn rebuild(record: &Record, admitted: &Admitted, facts: &CallFacts) -> Option<Call> {
    let Actor::Run(run) = record.actor else { return None };
    let arguments = facts.arguments.iter().map(|(name, given)| Some((name.clone(), given.value.value()?)));
    let arguments = arguments.collect::<Option<BTreeMap<_, _>>>()?;
    let fit = Fit { pin: facts.pin, error: None };
    let answers = heard(admitted)?;
    Some(Call {
        effect: admitted.effect,
        run,
        tool: facts.tool.clone(),
        arguments,
        fit,
        answers,
        continues: facts.continues,
        before: None,
        lease: facts.lease,
    })
}

/// The answers of outside decision points that the record holds
fn heard(admitted: &Admitted) -> Option<Vec<Answer>> {
    let answers = admitted.inputs.outside.iter().map(|heard| {
        let question = heard.question.value()?.as_str()?.parse().ok()?;
        let effect = heard.reused.unwrap_or(admitted.effect);
        Some(Answer { point: heard.point.clone(), question, effect, at: heard.at, said: Said::Permit })
    });
    answers.collect()
}

/// Whether a judgement is the one that the record holds
fn is_recorded(judged: &Admission, admitted: &Admitted, facts: &CallFacts) -> bool {
    let observed = judged.observed.iter().flat_map(|observed| observed.reasons.iter().map(|one| (observed.grant, one)));
    let used = judged.used.iter().map(|used| (used.grant, &used.reason));
    let mut lifted: BTreeMap<GrantId, BTreeSet<Word>> = BTreeMap::new();
    for (grant, reason) in observed.chain(used) {
        lifted.entry(grant).or_default().insert(reason.word);
    }
    let because: BTreeMap<GrantId, BTreeSet<Word>> =
        admitted.because.iter().map(|because| (because.grant, because.words.clone())).collect();
    let recorded = Admission {
        task: admitted.task.unwrap_or_default(),
        bundle: admitted.bundle,
        class: facts.class,
        variants: facts.variants.clone(),
        charges: facts.charges.clone(),
        now: admitted.now,
        chosen_by: facts.arguments.iter().map(|(name, given)| (name.clone(), given.by)).collect(),
        heard: heard(admitted).unwrap_or_default(),
        wanted: BTreeSet::new(),
        digested: BTreeSet::new(),
        observed: judged.observed.clone(),
        used: judged.used.clone(),
        hold: admitted.hold,
        lease: facts.lease,
        moot: judged.moot,
        seen: judged.seen.clone(),
    };
    lifted == because && *judged == recorded
}
