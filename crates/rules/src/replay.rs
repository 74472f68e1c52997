//! Judging once more what a record says was judged: with the versions that it names, and with another one.
//!
//! The record is folded as the door folds it. Each admitted call is rebuilt from its openings and judged at its
//! place. With the versions that it was judged with the answer has to be the same; with another version it may
//! differ, and that is what people want to know before they apply it.

use crate::{
    case::in_words,
    explain::word_of,
    stage::Judgement,
    trace::{Called, Trace},
};
use portreeve_core::{
    event::{Actor, Admitted, Began, CallFacts, End, Event, Record, What},
    hash::Hash,
    judge::{Admission, Shelf, judge_open},
    log::Head,
    names::{EffectId, TaskId},
    outside::{Answer, Said},
    policy::Bundle,
    reason::{Reason, Word},
    request::{Call, Clock, Fit, Open, Read},
    state::State,
    value::Value,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A record that is being judged once more
#[derive(Debug)]
pub struct Replay {
    state: State,
    /// The same record as if `against` had been in force all the time
    other: State,
    against: Option<Arc<Bundle>>,
    since: u64,
    shelf: Shelf,
    report: Report,
    traces: BTreeMap<TaskId, Trace>,
    order: Vec<TaskId>,
    calls: BTreeMap<EffectId, (TaskId, usize)>,
}

/// What judging once more has found
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Tasks that were opened
    pub tasks: usize,
    /// Calls that were admitted
    pub calls: usize,
    /// Calls that were judged once more with the versions that the record names, and gave the same answer
    pub same: usize,
    /// Those that did not: the record and this program disagree
    pub differences: Vec<Disagreement>,
    /// Calls that cannot be judged once more, by why
    pub skipped: BTreeMap<String, usize>,
    /// Refused requests, of which the record keeps no arguments, by word
    pub refused: BTreeMap<Word, u64>,
    /// What another version says, if one was given
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

/// A call that is not judged as the record says
#[derive(Clone, Debug, Serialize)]
pub struct Disagreement {
    /// The effect
    pub effect: EffectId,
    /// The call as a person writes it
    pub call: String,
    /// What differs
    pub what: String,
}

/// What another version of the policy says of recorded calls
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    /// Its digest
    pub bundle: Hash,
    /// Tasks that could be opened under it too
    pub opens: usize,
    /// Calls that it permits too
    pub permits: usize,
    /// What it refuses or asks about, alike ones together
    pub changed: Vec<Changed>,
}

/// Recorded calls or openings that another version judges alike, and otherwise than the record
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// The tool, or the purpose of an opening
    pub what: String,
    /// `ask`, `deny`, or `observe`: let through by a grant only
    pub verdict: &'static str,
    /// Why, of the first one
    pub reasons: Vec<Reason>,
    /// How many
    pub count: usize,
    /// The first one: an effect or a task
    pub first: String,
    /// The first one as a person writes it
    pub example: String,
}

/// A version of the policy, if it can be read
pub type Version = Result<Arc<Bundle>, String>;

impl Replay {
    /// Nothing yet; calls in groups before `since` are folded and not reported
    #[must_use]
    pub fn new(since: u64, against: Option<Arc<Bundle>>) -> Self {
        let other =
            against.as_ref().map(|bundle| Against { bundle: bundle.digest, opens: 0, permits: 0, changed: Vec::new() });
        Self {
            state: State::default(),
            other: State::default(),
            against,
            since,
            shelf: Shelf::default(),
            report: Report { against: other, ..Report::default() },
            traces: BTreeMap::new(),
            order: Vec::new(),
            calls: BTreeMap::new(),
        }
    }

    /// The state up to here
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The versions that something rests on here
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The next record of group `group`; `version` reads a version of the policy that the record names
    pub fn next(&mut self, group: u64, record: &Record, version: &mut dyn FnMut(Hash) -> Version) {
        let counts = group >= self.since;
        match &record.event {
            Event::Began(began) => self.began(record, began, counts),
            Event::Admitted(admitted) => match &admitted.what {
                What::Call(facts) => {
                    self.fetch(version);
                    let charged = self.admitted(record, admitted, facts, counts);
                    self.state.apply(record);
                    self.other.apply(&charged);
                    return;
                }
                What::Poll(poll) => {
                    // It is a part of the call that it asks after.
                    if let Some(place) = self.calls.get(&poll.of).copied() {
                        self.calls.insert(admitted.effect, place);
                    }
                }
                What::Child { .. } | What::Lease(_) | What::Notice { .. } => {}
            },
            Event::Settled(settled) => {
                if let (Some((task, index)), End::Done { ok, bytes, returned, .. }) =
                    (self.calls.get(&settled.effect), &settled.end)
                    && let Some(called) = self.traces.get_mut(task).and_then(|trace| trace.calls.get_mut(*index))
                {
                    called.ok = *ok;
                    called.bytes = called.bytes.saturating_add(*bytes);
                    let values = returned.iter().filter_map(|(source, values)| match values.value()? {
                        Value::Array(values) => Some((source.clone(), values)),
                        _ => None,
                    });
                    called.returned = values.collect();
                }
            }
            Event::Refused(refused) if counts => {
                for word in &refused.words {
                    *self.report.refused.entry(*word).or_default() += refused.count;
                }
            }
            _ => {}
        }
        self.state.apply(record);
        self.other.apply(record);
    }

    /// The group is at its end
    pub fn closed(&mut self, head: Head) {
        self.state.closed(head);
        self.other.closed(head);
    }

    /// What was found
    #[must_use]
    pub fn report(self) -> Report {
        self.report
    }

    /// The recorded tasks as traces, in the order in which they began
    ///
    /// A task with a call whose arguments are not all kept is left out: the rest would not be judged as it was.
    pub fn traces(&self) -> impl Iterator<Item = &Trace> {
        self.order.iter().filter_map(|task| self.traces.get(task)).filter(|trace| !trace.calls.is_empty())
    }

    fn fetch(&mut self, version: &mut dyn FnMut(Hash) -> Version) {
        let wanted = self.state.bundles_in_use();
        self.shelf.0.retain(|digest, _| wanted.contains(digest));
        for digest in wanted {
            if let std::collections::btree_map::Entry::Vacant(place) = self.shelf.0.entry(digest)
                && let Ok(bundle) = version(digest)
            {
                place.insert(bundle);
            }
        }
    }

    /// What the other version is put: itself, wherever the record names one
    fn other_shelf(&self, bundle: &Arc<Bundle>) -> Shelf {
        let digests = self.other.bundles_in_use();
        Shelf(digests.into_iter().map(|digest| (digest, Arc::clone(bundle))).collect())
    }

    fn began(&mut self, record: &Record, began: &Began, counts: bool) {
        self.report.tasks += usize::from(counts);
        let parameters: Option<BTreeMap<_, _>> = began
            .parameters
            .iter()
            .map(|(name, given)| Some((name.clone(), (given.value.value()?, given.by))))
            .collect();
        let Some(parameters) = parameters else {
            *self.report.skipped.entry("a parameter is not kept".to_owned()).or_default() += usize::from(counts);
            return;
        };
        let values = parameters.iter().map(|(name, (value, _))| (name.clone(), value.clone()));
        let trace = Trace {
            purpose: began.purpose.clone(),
            agent: Some(began.agent.clone()),
            user: Some(began.user.clone()),
            time: jiff::Timestamp::from_millisecond(record.time.0).ok().map(|time| time.to_string()),
            parameters: values.collect(),
            calls: Vec::new(),
        };
        self.traces.insert(began.task, trace);
        self.order.push(began.task);
        let Some(bundle) = self.against.clone().filter(|_| counts) else { return };
        let open = Open {
            task: began.task,
            run: began.run,
            memory: began.memory,
            by: record.actor.clone(),
            agent: began.agent.clone(),
            user: began.user.clone(),
            purpose: began.purpose.clone(),
            parameters,
            objective: None,
            parent: began.parent,
            undoes: None,
            proven: began.proven.clone(),
        };
        let shelf = self.other_shelf(&bundle);
        match judge_open(&self.other, &shelf, &open, Clock::at(record.time.0)) {
            Ok(_) => self.report.against.iter_mut().for_each(|against| against.opens += 1),
            Err(reasons) => {
                let what = format!("open {}", began.purpose);
                let verdict = word_of(portreeve_core::reason::verdict(&reasons));
                self.changed(what.clone(), verdict, &reasons, (began.task.to_string(), what));
            }
        }
    }

    /// Judges a call at its place, and says what it is charged to in the other state
    fn admitted(&mut self, record: &Record, admitted: &Admitted, facts: &CallFacts, counts: bool) -> Record {
        self.report.calls += usize::from(counts);
        let call = match rebuild(record, admitted, facts) {
            Ok(call) => call,
            Err(why) => {
                *self.report.skipped.entry(why.to_owned()).or_default() += usize::from(counts);
                if let Some(task) = admitted.task {
                    self.traces.remove(&task);
                }
                return record.clone();
            }
        };
        let earlier = facts.continues.and_then(|of| self.calls.get(&of).copied());
        if let Some(place) = earlier {
            self.calls.insert(admitted.effect, place);
        } else if let Some((task, trace)) = admitted.task.and_then(|task| Some((task, self.traces.get_mut(&task)?))) {
            self.calls.insert(admitted.effect, (task, trace.calls.len()));
            trace.calls.push(Called {
                tool: call.tool.clone(),
                arguments: call.arguments.clone(),
                ok: false,
                bytes: 0,
                returned: BTreeMap::new(),
            });
        }
        let clock = Clock::at(admitted.now.0);
        if counts {
            let judged = Judgement::of(&self.state, &self.shelf, &call, clock);
            match difference(&judged, admitted, facts) {
                None => self.report.same += 1,
                Some(what) => {
                    let call = in_words(&call.tool, &call.arguments);
                    self.report.differences.push(Disagreement { effect: admitted.effect, call, what });
                }
            }
        }
        let Some(bundle) = self.against.clone() else { return record.clone() };
        let judged = Judgement::of(&self.other, &self.other_shelf(&bundle), &call, clock);
        let Some(admission) = &judged.admission else {
            if counts {
                let example = in_words(&call.tool, &call.arguments);
                let told = (admitted.effect.to_string(), example);
                self.changed(call.tool.to_string(), word_of(judged.verdict()), &judged.reasons, told);
            }
            // It happened all the same: each call is judged for itself, not for what was refused before it.
            return record.clone();
        };
        if counts {
            match admission.observed.as_ref().filter(|_| admitted.because.is_empty()) {
                Some(observed) => {
                    let example = in_words(&call.tool, &call.arguments);
                    let told = (admitted.effect.to_string(), example);
                    self.changed(call.tool.to_string(), "observe", &observed.reasons, told);
                }
                None => self.report.against.iter_mut().for_each(|against| against.permits += 1),
            }
        }
        let mut record = record.clone();
        if let Event::Admitted(admitted) = &mut record.event
            && let What::Call(facts) = &mut admitted.what
        {
            facts.charges.clone_from(&admission.charges);
        }
        record
    }

    fn changed(&mut self, what: String, verdict: &'static str, reasons: &[Reason], told: (String, String)) {
        let Some(against) = &mut self.report.against else { return };
        let words = |reasons: &[Reason]| -> BTreeSet<(Word, String)> {
            reasons.iter().map(|reason| (reason.word, reason.source.clone())).collect()
        };
        let key = words(reasons);
        let alike =
            |known: &&mut Changed| known.what == what && known.verdict == verdict && words(&known.reasons) == key;
        if let Some(known) = against.changed.iter_mut().find(alike) {
            known.count += 1;
            return;
        }
        let (first, example) = told;
        against.changed.push(Changed { what, verdict, reasons: reasons.to_vec(), count: 1, first, example });
    }
}

impl Report {
    /// Whether everything that could be judged once more gave the same answer
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }
}

/// The call as it was put to the door, or why that is not known any more
///
/// # Errors
/// What is missing.
pub fn rebuild(record: &Record, admitted: &Admitted, facts: &CallFacts) -> Result<Call, &'static str> {
    let Actor::Run(run) = record.actor else { return Err("it is no call of a run") };
    let arguments = facts.arguments.iter().map(|(name, given)| Some((name.clone(), given.value.value()?)));
    let arguments = arguments.collect::<Option<BTreeMap<_, _>>>().ok_or("an argument is not kept")?;
    let fit = Fit { pin: facts.pin, error: None };
    let answers = admitted.inputs.outside.iter().map(|heard| {
        let question = heard.question.value()?.as_str()?.parse().ok()?;
        let effect = heard.reused.unwrap_or(admitted.effect);
        Some(Answer { point: heard.point.clone(), question, effect, at: heard.at, said: Said::Permit })
    });
    let answers = answers.collect::<Option<_>>().ok_or("the answer of an outside decision point is not kept")?;
    Ok(Call {
        effect: admitted.effect,
        run,
        tool: facts.tool.clone(),
        arguments,
        fit,
        answers,
        continues: facts.continues,
        before: facts.before.as_ref().map(|before| Read { effect: Some(before.effect), values: BTreeMap::new() }),
        lease: facts.lease,
    })
}

/// What a judgement says otherwise than the record
fn difference(judged: &Judgement, admitted: &Admitted, facts: &CallFacts) -> Option<String> {
    let Some(admission) = &judged.admission else {
        let words: Vec<&str> = judged.reasons.iter().map(|reason| reason.word.as_str()).collect();
        return Some(format!("it was admitted, and is {} now: {}", word_of(judged.verdict()), words.join(", ")));
    };
    let Admission { task, bundle, class, variants, charges, now, chosen_by, .. } = admission;
    let recorded: BTreeMap<_, _> = facts.arguments.iter().map(|(name, given)| (name.clone(), given.by)).collect();
    let observed = admission.observed.iter().map(|observed| observed.grant);
    let grants: BTreeSet<_> = observed.chain(admission.used.iter().map(|used| used.grant)).collect();
    let checks = [
        ("task", Some(*task) == admitted.task),
        ("policy", *bundle == admitted.bundle),
        ("class", *class == facts.class),
        ("variants", *variants == facts.variants),
        ("charges", *charges == facts.charges),
        ("time", *now == admitted.now),
        ("who chose its arguments", *chosen_by == recorded),
        ("the grants that let it through", grants == admitted.because.iter().map(|because| because.grant).collect()),
    ];
    let wrong: Vec<&str> = checks.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    (!wrong.is_empty()).then(|| format!("the record says otherwise of: {}", wrong.join(", ")))
}

#[cfg(test)]
mod tests;
