//! Questions to people at the door: what is put, answered, opened, told.

use super::{
    Bundles, Draft, Engine, PERMIT_MS, Permit, Reply, Snapshots,
    requests::{committed, given},
};
use crate::{
    commit::Committed,
    event::{
        Actor, Admitted, Because, ChosenBy, Declined, Elevation, Event, Given, Granted, Held, HeldCall, HeldOpening,
        HeldWhat, Inputs, News, To, What,
    },
    hash::Hash,
    judge::{self, Elevating, Holding, Opened},
    log::Log,
    names::{HoldId, RunId},
    node::Node,
    policy::Class,
    reason::{Reason, Word},
    request::{Answering, Call, Clock, Elevate, Notify, Open},
    time::Millis,
    value::Value,
};

impl<L: Log, B: Bundles, S: Snapshots> Engine<L, B, S> {
    pub(super) fn hold_call(&mut self, call: &Call, held: judge::Held, draft: &mut Draft) -> Reply {
        let judge::Held { holding, admission } = held;
        let Some(asking) = holding.new else { return Reply::Held(holding.ticket) };
        let arguments = given(call, &admission, draft);
        let before = call.before.as_ref().map(|read| committed(&read.values, draft)).unwrap_or_default();
        let seen = admission.seen;
        let what = HeldCall {
            tool: call.tool.clone(),
            variants: admission.variants,
            class: admission.class,
            pin: call.fit.pin,
            arguments,
            key: seen.key,
            target: seen.target,
            label: seen.label,
            undo: seen.undo,
            before,
            earlier: seen.earlier,
        };
        let Some(task) = self.state.task(admission.task) else { return unknown(call.run) };
        let held = Held {
            hold: holding.ticket.hold,
            task: Some(admission.task),
            agent: task.agent.clone(),
            user: task.user.clone(),
            chain: asking.chain,
            purpose: task.purpose.clone(),
            bundle: admission.bundle,
            what: HeldWhat::Call(Box::new(what)),
            questions: holding.ticket.questions.clone(),
            own: asking.own,
            binding: asking.binding,
            until: holding.ticket.until,
        };
        self.record(draft, Actor::Run(call.run), asking.now, Event::Held(Box::new(held)));
        Reply::Held(holding.ticket)
    }

    pub(super) fn hold_opening(
        &mut self,
        open: &Open,
        holding: Holding,
        (key, opened): (Hash, Opened),
        draft: &mut Draft,
    ) -> Reply {
        let Some(asking) = holding.new else { return Reply::Held(holding.ticket) };
        let mut given = |value: &Value, by: ChosenBy| Given { value: Committed::new(value, draft.salts.draw()), by };
        let parameters = opened.parameters.iter();
        let parameters = parameters.map(|(name, (value, by))| (name.clone(), given(value, *by))).collect();
        let by = if matches!(open.by, Actor::Agent(_)) { ChosenBy::Model } else { ChosenBy::Parameter };
        let objective = open.objective.clone().map(|text| given(&Value::String(text), by));
        let what = HeldOpening {
            opener: open.by.user().cloned(),
            parameters,
            objective,
            lasts_ms: opened.lasts_ms,
            break_glass: opened.review.is_some(),
            key,
        };
        let held = Held {
            hold: holding.ticket.hold,
            task: None,
            agent: open.agent.clone(),
            user: open.user.clone(),
            chain: asking.chain,
            purpose: open.purpose.clone(),
            bundle: opened.bundle,
            what: HeldWhat::Opening(what),
            questions: holding.ticket.questions.clone(),
            own: asking.own,
            binding: asking.binding,
            until: holding.ticket.until,
        };
        self.record(draft, open.by.clone(), asking.now, Event::Held(Box::new(held)));
        Reply::Held(holding.ticket)
    }

    pub(super) fn answer(&mut self, answer: &Answering, clock: Clock, draft: &mut Draft) -> Reply {
        let reasons = judge::judge_answer(&self.state, &self.shelf, answer, clock);
        let Some(user) = answer.by.user().filter(|_| reasons.is_empty()).cloned() else {
            // Who tries to answer what is not theirs to answer is on the record.
            let who = answer.by.user().map_or_else(|| "somebody".to_owned(), ToString::to_string);
            return self.refuse(&answer.by, format!("{} answered by {who}", answer.hold), reasons, clock, draft);
        };
        let now = judge::now(&self.state, clock).0;
        let why = Committed::new(&Value::String(answer.why.trim().to_owned()), draft.salts.draw());
        if !answer.yes {
            let declined = Declined { hold: answer.hold, by: user, why, signed: answer.signed.clone() };
            self.record(draft, answer.by.clone(), now, Event::Declined(Box::new(declined)));
            return Reply::Recorded;
        }
        let until = self.state.hold(answer.hold).map_or(now, |hold| hold.held.until);
        let granted = Granted {
            grant: answer.grant,
            to: To::Approval { hold: answer.hold, binding: answer.binding },
            owner: Node::User(user).to_string(),
            why,
            until,
            hold: Some(answer.hold),
            signed: Some(answer.signed.clone()),
        };
        self.record(draft, answer.by.clone(), now, Event::Granted(Box::new(granted)));
        // What waits for nothing but people is opened in the same moment.
        if let Some(agreed) = judge::granted_elevation(&self.state, &self.shelf, answer.hold, now) {
            self.opened_by(answer.hold, agreed, now, draft);
        }
        Reply::Recorded
    }

    /// A class is opened because people have agreed to it
    fn opened_by(&mut self, hold: HoldId, agreed: judge::Agreed, now: Millis, draft: &mut Draft) {
        let judge::Agreed { elevation, until, by } = agreed;
        let why = elevation.why.value().unwrap_or_else(|| Value::String(String::new()));
        let granted = Granted {
            grant: hold.into(),
            to: To::Elevation(Elevation { why: Committed::new(&why, draft.salts.draw()), ..elevation }),
            owner: by.map(|user| Node::User(user).to_string()).unwrap_or_default(),
            why: Committed::new(&why, draft.salts.draw()),
            until,
            hold: Some(hold),
            signed: None,
        };
        self.record(draft, Actor::System, now, Event::Granted(Box::new(granted)));
    }

    pub(super) fn elevate(&mut self, elevate: &Elevate, clock: Clock, draft: &mut Draft) -> Reply {
        let judged = judge::judge_elevate(&self.state, &self.shelf, elevate, clock);
        match judged {
            Ok(Elevating::Granted { class, owner, until, now }) => {
                let granted = Granted {
                    grant: elevate.grant,
                    to: To::Elevation(elevation(elevate, class, draft)),
                    owner,
                    why: Committed::new(&Value::String(elevate.why.clone()), draft.salts.draw()),
                    until,
                    hold: None,
                    signed: None,
                };
                self.record(draft, elevate.by.clone(), now, Event::Granted(Box::new(granted)));
                Reply::Elevated(until)
            }
            Ok(Elevating::Stands(_, until)) => Reply::Elevated(until),
            Ok(Elevating::Agreed(hold, agreed)) => {
                let until = agreed.until;
                self.opened_by(hold, *agreed, judge::now(&self.state, clock).0, draft);
                Reply::Elevated(until)
            }
            Ok(Elevating::Held(class, holding)) => {
                let Some(asking) = holding.new else { return Reply::Held(holding.ticket) };
                let Some(task) = self.state.task(elevate.task) else { return Reply::Refused(Vec::new()) };
                let held = Held {
                    hold: holding.ticket.hold,
                    task: Some(elevate.task),
                    agent: task.agent.clone(),
                    user: task.user.clone(),
                    chain: asking.chain,
                    purpose: task.purpose.clone(),
                    bundle: self.state.bundle.unwrap_or_default(),
                    what: HeldWhat::Elevation(elevation(elevate, class, draft)),
                    questions: holding.ticket.questions.clone(),
                    own: asking.own,
                    binding: asking.binding,
                    until: holding.ticket.until,
                };
                self.record(draft, elevate.by.clone(), asking.now, Event::Held(Box::new(held)));
                Reply::Held(holding.ticket)
            }
            Err(reasons) => self.refuse(&elevate.by, "elevation".to_owned(), reasons, clock, draft),
        }
    }

    /// A message to a receiver about a question; it is an effect, for it tells somebody outside
    ///
    /// That a question waits is told while it waits, and ends with what it rests on; what became of it as long as it
    /// is remembered; that there is an emergency until its review is closed.
    pub(super) fn notify(&mut self, notify: &Notify, clock: Clock, draft: &mut Draft) -> Reply {
        let (now, reason) = judge::now(&self.state, clock);
        let mut reasons = Vec::from_iter(reason);
        let waits = notify.news == News::Asked;
        let hold = self.state.hold(notify.hold).filter(|hold| !waits || hold.is_open(now));
        let emergency = || self.state.reviews().any(|(_, review)| review.hold == Some(notify.hold));
        let is_there = if notify.news == News::Emergency { emergency() } else { hold.is_some() };
        if self.state.registry.get(&Node::Tenant).is_some_and(|standing| standing.over.is_some()) {
            reasons.push(Reason::new(Word::TenantStopped, Node::Tenant));
        }
        let current = self.shelf.current(&self.state);
        let known = current.is_some_and(|bundle| bundle.receivers.contains_key(&notify.receiver));
        if !is_there || !known {
            reasons.push(Reason::new(Word::HoldOver, notify.hold));
        }
        if !reasons.is_empty() {
            return Reply::Refused(reasons);
        }
        let task = hold.and_then(|hold| hold.held.task).filter(|_| waits);
        let rests_on = [Some(Node::Tenant), waits.then_some(Node::Hold(notify.hold)), task.map(Node::Task)];
        let permit = Permit {
            effect: notify.effect,
            task: task.unwrap_or_default(),
            run: RunId::default(),
            rests_on: rests_on.into_iter().flatten().collect(),
            deadline: clock.steady.plus(PERMIT_MS),
            answer_max: None,
            wanted: Vec::new(),
            hold: None,
            lease: None,
        };
        let admitted = Admitted {
            effect: notify.effect,
            task,
            bundle: self.state.bundle.unwrap_or_default(),
            now,
            what: What::Notice { hold: notify.hold, receiver: notify.receiver.clone(), news: notify.news },
            inputs: Inputs::default(),
            because: Vec::<Because>::new(),
            hold: None,
        };
        self.record(draft, Actor::System, now, Event::Admitted(Box::new(admitted)));
        Reply::Permit(permit)
    }
}

fn elevation(elevate: &Elevate, class: Class, draft: &mut Draft) -> Elevation {
    Elevation {
        task: elevate.task,
        class,
        uses: elevate.uses.clone(),
        values: committed(&elevate.values, draft),
        times: elevate.times,
        lasts_ms: elevate.lasts_ms,
        why: Committed::new(&Value::String(elevate.why.clone()), draft.salts.draw()),
    }
}

fn unknown(run: RunId) -> Reply {
    Reply::Refused(vec![Reason::new(Word::TaskUnknown, run)])
}

/// A question about a call has the number that the call's effect would have had
impl From<crate::names::EffectId> for HoldId {
    fn from(effect: crate::names::EffectId) -> Self {
        Self(effect.0)
    }
}
