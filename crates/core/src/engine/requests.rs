//! What each kind of request means at the door: its judgement, and the event that follows.

use super::{Bundles, Draft, Engine, PERMIT_MS, Permit, Reply, Snapshots, refusals};
use crate::{
    commit::Committed,
    event::{
        Accepted, Actor, Admitted, Because, Began, CallFacts, Changed, ChosenBy, End, Event, Given, Granted, Heard,
        Inputs, LeaseFacts, Noted, Paused, PollFacts, Refused, Settled, Stopped, Told, UndoStep, Undoing, WasBefore,
        What, call_key,
    },
    hash::Hash,
    judge::{self, Admission, Changing, Judged, Observed, Opening},
    log::Log,
    names::{EffectId, GrantId, Name, RunId, TaskId, Tool, ToolName},
    node::{Node, Why},
    offer,
    outside::{Answer, Asking, Sends},
    pattern::Source,
    policy::Deed,
    reason::Reason,
    request::{
        self, Call, Change, ChangeWhat, Clock, Copied, Issued, Looked, Needs, Open, PasskeyChange, Poll, Request,
        Resisted, Settle, Ship,
    },
    time::Millis,
    value::Value,
};
use std::{collections::BTreeMap, sync::Arc};

impl<L: Log, B: Bundles, S: Snapshots> Engine<L, B, S> {
    pub(super) fn judge(&mut self, request: &Request, clock: Clock, draft: &mut Draft) -> Reply {
        match request {
            Request::Call(call) => match judge::judge_call(&self.state, &self.shelf, call, clock) {
                Ok(Judged::Admit(admission)) => Reply::Permit(self.admit(call, admission, clock, draft)),
                Ok(Judged::Consult(askings)) => self.consult(call, askings, clock, draft),
                Ok(Judged::Read(reading)) => Reply::Read(reading),
                Ok(Judged::Prepare(admission)) => self.prepare(call, &admission),
                Ok(Judged::Hold(held)) => self.hold_call(call, *held, draft),
                Ok(Judged::Again(again)) => Reply::Again(again),
                Err(reasons) => self.refuse(&Actor::Run(call.run), call.tool.to_string(), reasons, clock, draft),
            },
            Request::Ask(call) => match judge::judge_question(&self.state, &self.shelf, call, clock) {
                Ok(Judged::Admit(admission)) => self.prepare(call, &admission),
                Ok(Judged::Prepare(admission)) => self.prepare(call, &admission),
                Ok(Judged::Consult(askings)) => self.consult(call, askings, clock, draft),
                Ok(Judged::Read(reading)) => Reply::Read(reading),
                Ok(Judged::Hold(held)) => self.hold_call(call, *held, draft),
                Ok(Judged::Again(again)) => Reply::Again(again),
                Err(reasons) => self.refuse(&Actor::Run(call.run), call.tool.to_string(), reasons, clock, draft),
            },
            Request::Open(open) => match judge::judge_open(&self.state, &self.shelf, open, clock) {
                Ok(Opening::Open(opened)) => self.open(open, opened, draft),
                Ok(Opening::Hold { holding, key, opened }) => self.hold_opening(open, holding, (key, opened), draft),
                Err(reasons) => self.refuse(&open.by, format!("purpose:{}", open.purpose), reasons, clock, draft),
            },
            Request::Start(start) => match judge::judge_start(&self.state, &self.shelf, start, clock) {
                Ok(judge::Starting { task, now, observed }) => {
                    let what = What::Child { connector: start.connector.clone(), lease: start.lease };
                    let bundle = self.state.bundle.unwrap_or_default();
                    let because = observed.as_ref().map(|observed| because(observed, draft)).into_iter().collect();
                    let (effect, inputs) = (start.effect, Inputs::default());
                    let admitted =
                        Admitted { effect, task: Some(task), bundle, now, what, inputs, because, hold: None };
                    self.record(draft, Actor::Run(start.run), now, Event::Admitted(Box::new(admitted)));
                    let mut permit = self.permit(start.effect, task, start.run, &start.connector, clock);
                    permit.on(start.lease, &self.state);
                    Reply::Permit(permit.under(observed.as_ref()))
                }
                Err(reasons) => {
                    self.refuse(&Actor::Run(start.run), format!("connector:{}", start.connector), reasons, clock, draft)
                }
            },
            Request::Lease(lease) => match judge::judge_lease(&self.state, &self.shelf, lease, clock) {
                Ok(leasing) => self.lease(lease, leasing, clock, draft),
                Err(reasons) => {
                    let what = format!("connector:{}", lease.connector);
                    match &lease.needs {
                        Needs::Probe(by) => self.refuse_person(by, what, reasons, clock, draft),
                        needs => self.refuse(&by(needs), what, reasons, clock, draft),
                    }
                }
            },
            Request::Resisted(resisted) => {
                if let Some((_, lease)) = self.state.open_lease(resisted.lease) {
                    let until = lease.usable_until;
                    let now = judge::now(&self.state, clock).0;
                    let Resisted { lease, tries, why } = resisted.clone();
                    self.record(draft, Actor::System, now, Event::Noted(Noted::Resisted { lease, tries, why, until }));
                }
                Reply::Recorded
            }
            Request::Secret(change) => {
                let now = judge::now(&self.state, clock).0;
                let request::SecretChange { by, name, version } = change.clone();
                if let Some(reason) = judge::may(&self.state, &self.shelf, &by, Deed::Secrets, &name, now) {
                    return self.refuse_person(&by, format!("secret {name}"), vec![reason], clock, draft);
                }
                self.record(draft, by, now, Event::Noted(Noted::Secret { name, version }));
                Reply::Recorded
            }
            Request::Account(change) => {
                let now = judge::now(&self.state, clock).0;
                let request::AccountChange { by, source, user, connected } = change.clone();
                // One's own is one's own; nobody connects one for somebody else.
                let own = by.user() == Some(&user);
                let unmet = || judge::may(&self.state, &self.shelf, &by, Deed::Secrets, &source, now);
                if let Some(reason) = (!own).then(unmet).flatten() {
                    return self.refuse_person(&by, format!("account of {user}"), vec![reason], clock, draft);
                }
                self.record(draft, by, now, Event::Noted(Noted::Account { source, user, connected }));
                Reply::Recorded
            }
            Request::Poll(poll) => match judge::judge_poll(&self.state, &self.shelf, poll, clock) {
                Ok(judge::Polling { lease: Err(wants), .. }) => Reply::Prepare(wants),
                Ok(polling) => Reply::Permit(self.poll(poll, polling, clock, draft)),
                Err(reasons) => {
                    // What the agent wrote is not what is counted by: a made-up call is like any other.
                    let task = self.state.task_of(poll.run).and_then(|task| self.state.task(task));
                    let tool = task.and_then(|task| task.pending(poll.of)).map(|pending| pending.tool.to_string());
                    let what = tool.unwrap_or_else(|| poll.method.clone());
                    self.refuse(&Actor::Run(poll.run), what, reasons, clock, draft)
                }
            },
            Request::Stop(stop) => {
                let reasons = judge::judge_stop(&self.state, &self.shelf, stop, clock);
                if !reasons.is_empty() {
                    return self.refuse_person(&stop.by, format!("stop {}", stop.node), reasons, clock, draft);
                }
                let now = judge::now(&self.state, clock).0;
                let stopped = Stopped { node: stop.node.clone(), why: stop.why, at: stop.at.unwrap_or(now) };
                self.record(draft, stop.by.clone(), now, Event::Stopped(stopped));
                Reply::Recorded
            }
            Request::Pause(pause) => {
                let reasons = judge::judge_pause(&self.state, &self.shelf, pause, clock);
                if !reasons.is_empty() {
                    let what = format!("{} {}", if pause.halts { "pause" } else { "resume" }, pause.node);
                    return self.refuse_person(&pause.by, what, reasons, clock, draft);
                }
                if self.state.paused(&pause.node).is_some() == pause.halts {
                    return Reply::Recorded;
                }
                let now = judge::now(&self.state, clock).0;
                let why = Committed::new(&Value::String(pause.why.clone()), draft.salts.draw());
                let paused = Paused { node: pause.node.clone(), why };
                let event = if pause.halts { Event::Paused(paused) } else { Event::Resumed(paused) };
                self.record(draft, pause.by.clone(), now, event);
                Reply::Recorded
            }
            Request::Prove(prove) => {
                let reasons = judge::judge_prove(&self.state, &self.shelf, prove, clock);
                if !reasons.is_empty() {
                    let what = format!("agent:{}", prove.agent);
                    let run = self.state.task(prove.task).map(|task| task.run);
                    let by = run.map_or_else(|| Actor::Agent(prove.agent.clone()), Actor::Run);
                    return self.refuse(&by, what, reasons, clock, draft);
                }
                let now = judge::now(&self.state, clock).0;
                let noted = Noted::Proven { task: prove.task, proven: Box::new(prove.proven.clone()) };
                self.record(draft, Actor::Agent(prove.agent.clone()), now, Event::Noted(noted));
                Reply::Recorded
            }
            Request::Ship(ship) => {
                let now = judge::now(&self.state, clock).0;
                let reasons = self.may_ship(ship, now);
                if !reasons.is_empty() {
                    return self.refuse(
                        &Actor::Agent(ship.agent.clone()),
                        format!("agent:{}", ship.agent),
                        reasons,
                        clock,
                        draft,
                    );
                }
                let Ship { agent, proven, log, head, forked } = ship.clone();
                let proven = Box::new(proven);
                let noted = Noted::Shipped { shipper: agent.clone(), log, n: head.n, hash: head.hash, forked, proven };
                self.record(draft, Actor::Agent(agent), now, Event::Noted(noted));
                Reply::Recorded
            }
            Request::Change(change) => {
                let now = judge::now(&self.state, clock).0;
                match judge::judge_change(&self.state, &self.shelf, change, clock) {
                    Err(reasons) => {
                        let what = change.what.to_string();
                        self.refuse_person(&change.by, what, reasons, clock, draft)
                    }
                    Ok(Changing::Proposed { have, of }) => self.propose(change, (have, of), now, draft),
                    Ok(Changing::Done) => {
                        let event = self.change(&change.what, draft);
                        self.record(draft, change.by.clone(), now, Event::Changed(event));
                        Reply::Recorded
                    }
                }
            }
            Request::Grant(grant) => {
                let reasons = judge::judge_grant(&self.state, &self.shelf, grant, clock);
                if !reasons.is_empty() {
                    return self.refuse_person(&grant.by, "observe".to_owned(), reasons, clock, draft);
                }
                let now = judge::now(&self.state, clock).0;
                let granted = Granted {
                    grant: grant.grant,
                    to: grant.to.clone(),
                    owner: grant.owner.clone(),
                    why: Committed::new(&Value::String(grant.why.clone()), draft.salts.draw()),
                    until: grant.until,
                    hold: None,
                    signed: None,
                };
                self.record(draft, grant.by.clone(), now, Event::Granted(Box::new(granted)));
                Reply::Recorded
            }
            Request::Answer(answer) => self.answer(answer, clock, draft),
            Request::Elevate(elevate) => self.elevate(elevate, clock, draft),
            Request::Review(review) => {
                let reasons = judge::judge_review(&self.state, &self.shelf, review, clock);
                let Some(by) = review.by.user().filter(|_| reasons.is_empty()).cloned() else {
                    return self.refuse_person(&review.by, format!("review {}", review.task), reasons, clock, draft);
                };
                let now = judge::now(&self.state, clock).0;
                let why = Committed::new(&Value::String(review.why.clone()), draft.salts.draw());
                let reviewed = Noted::Reviewed { task: review.task, by, why };
                self.record(draft, review.by.clone(), now, Event::Noted(reviewed));
                Reply::Recorded
            }
            Request::Role(doing) => {
                let now = judge::now(&self.state, clock).0;
                match judge::may(&self.state, &self.shelf, &doing.by, doing.deed, &doing.about, now) {
                    None => Reply::Clear,
                    Some(reason) => {
                        let what = format!("{} {}", doing.deed, doing.about);
                        self.refuse_person(&doing.by, what, vec![reason], clock, draft)
                    }
                }
            }
            Request::Notify(notify) => self.notify(notify, clock, draft),
            Request::Passkey(change) => {
                let now = judge::now(&self.state, clock).0;
                let PasskeyChange { by, user, credential, public_key, added } = change.clone();
                let noted = Noted::Passkey { user, credential, public_key, added };
                self.record(draft, by, now, Event::Noted(noted));
                Reply::Recorded
            }
            Request::SignedIn(signed) => {
                if let Some(reason) = judge::judge_sign_in(&self.state, &self.shelf, signed, clock) {
                    let what = format!("invite user:{}", signed.user);
                    return self.refuse_person(&signed.by, what, vec![reason], clock, draft);
                }
                let now = judge::now(&self.state, clock).0;
                let request::SignedIn { by, user, how, claimed } = signed.clone();
                let (groups, attributes) = (claimed.groups, committed(&claimed.attributes, draft));
                let noted = Noted::SignedIn { user, how, groups, attributes };
                self.record(draft, by, now, Event::Noted(noted));
                Reply::Recorded
            }
            Request::Settle(settle) => self.settle(settle, clock, draft),
            Request::Saw(saw) => {
                let met = self.state.met(&saw.connector);
                let offers = |tools: &BTreeMap<ToolName, Hash>| {
                    self.state.pins_of(&saw.connector).any(|(name, pin)| pin.seen != tools.get(name).copied())
                };
                let differs = met.is_some_and(|met| met.seen != saw.identity) || saw.tools.as_ref().is_some_and(offers);
                if differs {
                    let now = judge::now(&self.state, clock).0;
                    let noted = Noted::Discovered {
                        connector: saw.connector.clone(),
                        tools: saw.tools.clone(),
                        identity: saw.identity.clone(),
                    };
                    self.record(draft, Actor::System, now, Event::Noted(noted));
                }
                Reply::Recorded
            }
            Request::Probed(probed) => {
                let now = judge::now(&self.state, clock).0;
                let noted = Noted::Probed { reach: probed.reach.clone(), tools: probed.tools };
                self.record(draft, Actor::System, now, Event::Noted(noted));
                Reply::Recorded
            }
            Request::Issued(issued) => {
                let now = judge::now(&self.state, clock).0;
                let Issued { agent, id, token, serial, until, process, account } = issued.clone();
                let noted = Noted::Issued { agent, id, token, serial, until, process, account };
                self.record(draft, Actor::System, now, Event::Noted(noted));
                Reply::Recorded
            }
            Request::Copied(copied) => {
                let now = judge::now(&self.state, clock).0;
                let Copied { agent, proven, holder } = copied.clone();
                let noted = Noted::Copied { agent, proven: Box::new(proven), holder };
                self.record(draft, Actor::System, now, Event::Noted(noted));
                Reply::Recorded
            }
            Request::Looked(looked) => {
                let task = self.state.task_of(looked.run);
                let counts = (looked.shown, looked.hidden);
                let known = |task| {
                    let task = self.state.task(task);
                    task.is_none_or(|task| task.has_looked(&looked.connector, &looked.method, counts))
                };
                if let Some(task) = task.filter(|task| !known(*task)) {
                    let now = judge::now(&self.state, clock).0;
                    let Looked { connector, method, shown, hidden, .. } = looked.clone();
                    let noted = Noted::Looked { task, connector, method, shown, hidden };
                    self.record(draft, Actor::Run(looked.run), now, Event::Noted(noted));
                }
                Reply::Recorded
            }
            Request::Refused(refusal) => {
                self.refuse(&Actor::Run(refusal.run), refusal.what.clone(), vec![refusal.reason.clone()], clock, draft)
            }
        }
    }

    fn admit(&mut self, call: &Call, admission: Admission, clock: Clock, draft: &mut Draft) -> Permit {
        if let Some(moot) = admission.moot {
            let stopped = Stopped { node: Node::Hold(moot), why: Why::Ended, at: admission.now };
            self.record(draft, Actor::System, admission.now, Event::Stopped(stopped));
        }
        let observed = admission.observed.as_ref();
        let mut permit =
            self.permit(call.effect, admission.task, call.run, &call.tool.connector, clock).under(observed);
        permit.with(&admission.used);
        permit.on(admission.lease, &self.state);
        permit.answer_max = admission.answer_max();
        permit.wanted = admission.wanted.iter().cloned().collect();
        permit.hold = admission.hold;
        let because = becauses(observed, &admission.used, draft);
        let (agent, user, purpose) = self.state.task(admission.task).map_or_else(
            || (call.tool.connector.clone(), None, call.tool.connector.clone()),
            |task| (task.agent.clone(), task.user.clone(), task.purpose.clone()),
        );
        let arguments = given(call, &admission, draft);
        let before = call.before.as_ref().and_then(|read| Some((read.effect?, &read.values)));
        let before = before.map(|(effect, values)| WasBefore { effect, values: committed(values, draft) });
        let facts = CallFacts {
            agent,
            user,
            purpose,
            tool: call.tool.clone(),
            class: admission.class,
            pin: call.fit.pin,
            arguments,
            variants: admission.variants,
            charges: admission.charges,
            continues: call.continues,
            before,
            lease: admission.lease,
        };
        let heard = |answer: &Answer| Heard {
            point: answer.point.clone(),
            question: Committed::new(&Value::String(answer.question.to_string()), draft.salts.draw()),
            at: answer.at,
            reused: (answer.effect != call.effect).then_some(answer.effect),
        };
        let inputs = Inputs { outside: admission.heard.iter().map(heard).collect() };
        let admitted = Admitted {
            effect: call.effect,
            task: Some(admission.task),
            bundle: admission.bundle,
            now: admission.now,
            what: What::Call(facts),
            inputs,
            because,
            hold: admission.hold,
        };
        self.record(draft, Actor::Run(call.run), admission.now, Event::Admitted(Box::new(admitted)));
        permit
    }

    fn poll(&mut self, poll: &Poll, polling: judge::Polling, clock: Clock, draft: &mut Draft) -> Permit {
        let observed = polling.observed.as_ref();
        let connector = &polling.tool.connector;
        let mut permit = self.permit(poll.effect, polling.task, poll.run, connector, clock).under(observed);
        let lease = polling.lease.ok().flatten();
        permit.on(lease, &self.state);
        permit.answer_max = polling.charges.iter().filter_map(|charge| charge.held).min();
        permit.wanted = polling.wanted.iter().cloned().collect();
        let because = becauses(observed, &[], draft);
        let facts = PollFacts {
            of: poll.of,
            method: poll.method.clone(),
            tool: polling.tool,
            charges: polling.charges,
            class: polling.class,
            lease,
        };
        let admitted = Admitted {
            effect: poll.effect,
            task: Some(polling.task),
            bundle: self.state.bundle.unwrap_or_default(),
            now: polling.now,
            what: What::Poll(facts),
            inputs: Inputs::default(),
            because,
            hold: None,
        };
        self.record(draft, Actor::Run(poll.run), polling.now, Event::Admitted(Box::new(admitted)));
        permit
    }

    /// What a call that would be admitted leaves on
    fn prepare(&self, call: &Call, admission: &Admission) -> Reply {
        let of = (admission.task, &call.tool.connector, admission.class);
        Reply::Prepare(judge::Wants::new(&self.state, &self.shelf, of, call.effect))
    }

    /// Lets a credential be issued
    fn lease(&mut self, lease: &request::Lease, leasing: judge::Leasing, clock: Clock, draft: &mut Draft) -> Reply {
        let commit = |(name, value): (&Name, &String)| {
            (name.clone(), Committed::new(&Value::String(value.clone()), draft.salts.draw()))
        };
        let facts = LeaseFacts {
            connector: lease.connector.clone(),
            class: leasing.class,
            source: leasing.source.clone(),
            kind: leasing.from.back_end.says().kind().to_owned(),
            config: leasing.config,
            revocation: leasing.from.revocation(),
            until: leasing.until,
            bound: leasing.bound,
            only: leasing.only,
            scope: leasing.scope.iter().map(commit).collect(),
        };
        let because = becauses(leasing.observed.as_ref(), &leasing.used, draft);
        let admitted = Admitted {
            effect: lease.effect,
            task: leasing.task,
            bundle: self.state.bundle.unwrap_or_default(),
            now: leasing.now,
            because,
            what: What::Lease(Box::new(facts)),
            inputs: Inputs::default(),
            hold: None,
        };
        let by = by(&lease.needs);
        let run = if let Actor::Run(run) = by { run } else { RunId::default() };
        self.record(draft, by, leasing.now, Event::Admitted(Box::new(admitted)));
        let permit = self.permit(lease.effect, leasing.task.unwrap_or_default(), run, &lease.connector, clock);
        let mut permit = permit.under(leasing.observed.as_ref());
        permit.with(&leasing.used);
        if leasing.task.is_none() {
            permit.deadline = clock.steady.plus(PERMIT_MS);
        }
        permit.rests_on.push(Node::Lease(lease.effect));
        permit.deadline = permit.deadline.min(leasing.until);
        Reply::Leased(permit, Box::new(leasing))
    }

    /// Lets points be asked; what tells them whole arguments is on the record before it leaves, as this reply does
    /// not go out before
    fn consult(&mut self, call: &Call, askings: Vec<Asking>, clock: Clock, draft: &mut Draft) -> Reply {
        let told = askings.iter().filter(|asking| asking.point.sends == Sends::Arguments);
        let points: Vec<Told> = told
            .map(|asking| {
                let question = Value::String(asking.question.to_string());
                Told { point: asking.point.name.clone(), question: Committed::new(&question, draft.salts.draw()) }
            })
            .collect();
        if let Some(task) = self.state.task_of(call.run).filter(|_| !points.is_empty()) {
            let noted = Noted::Consulted { effect: call.effect, task, tool: call.tool.clone(), points };
            let now = judge::now(&self.state, clock).0;
            self.record(draft, Actor::Run(call.run), now, Event::Noted(noted));
        }
        Reply::Consult(askings)
    }

    pub(super) fn permit(&self, effect: EffectId, task: TaskId, run: RunId, connector: &Name, clock: Clock) -> Permit {
        let mut rests_on = vec![Node::Tenant, Node::Connector(connector.clone())];
        let mut next = Some(task);
        while let Some((id, task)) = next.and_then(|id| Some((id, self.state.task(id)?))) {
            rests_on.extend([Node::Task(id), Node::Run(task.run)]);
            for node in [Node::Agent(task.agent.clone()), Node::Purpose(task.purpose.clone())] {
                if !rests_on.contains(&node) {
                    rests_on.push(node);
                }
            }
            rests_on.extend(task.user.clone().map(Node::User).filter(|node| !rests_on.contains(node)));
            next = task.parent;
        }
        let lives_until = self.state.task(task).map_or(clock.steady, |task| task.expires);
        Permit {
            effect,
            task,
            run,
            rests_on,
            deadline: clock.steady.plus(PERMIT_MS).min(lives_until),
            answer_max: None,
            wanted: Vec::new(),
            hold: None,
            lease: None,
        }
    }

    fn open(&mut self, open: &Open, opened: judge::Opened, draft: &mut Draft) -> Reply {
        let mut commit = |value: &Value| Committed::new(value, draft.salts.draw());
        let parameters = opened
            .parameters
            .iter()
            .map(|(name, (value, by))| (name.clone(), Given { value: commit(value), by: *by }))
            .collect();
        let by = match open.by {
            Actor::Run(_) | Actor::Agent(_) => ChosenBy::Model,
            Actor::Owner { .. } | Actor::Person { .. } | Actor::System => ChosenBy::Parameter,
        };
        let objective = open.objective.as_ref().map(|text| Given { value: commit(&Value::String(text.clone())), by });
        let undoes = open.undoes.as_ref().map(|undo| {
            let step = |(of, tool, arguments): &(EffectId, Tool, BTreeMap<String, Value>)| UndoStep {
                of: *of,
                tool: tool.clone(),
                arguments: commit(&Value::Object(arguments.clone())),
                key: call_key(tool, &Value::canonical_object(arguments)),
            };
            Undoing { of: undo.of, steps: undo.steps.iter().map(step).collect() }
        });
        let began = Began {
            task: open.task,
            run: open.run,
            memory: open.memory,
            agent: open.agent.clone(),
            user: open.user.clone(),
            purpose: open.purpose.clone(),
            bundle: opened.bundle,
            parent: open.parent,
            parameters,
            objective,
            expires: opened.expires,
            idle_ms: opened.idle_ms,
            hold: opened.hold,
            review: opened.review,
            undoes,
            proven: open.proven.clone(),
        };
        self.record(draft, open.by.clone(), opened.now, Event::Began(Box::new(began)));
        Reply::Opened(opened.expires)
    }

    fn settle(&mut self, settle: &Settle, clock: Clock, draft: &mut Draft) -> Reply {
        // Settled already, by recovery or by a stop: the first word stands.
        if !self.state.effects.contains_key(&settle.effect) {
            return Reply::Recorded;
        }
        let mut end = settle.end.clone();
        if let (End::Done { result, returned, .. }, Some(digest)) = (&mut end, settle.result) {
            *result = Some(Committed::new(&Value::String(digest.to_string()), draft.salts.draw()));
            let values = |(source, values): (&Source, &Vec<Value>)| {
                (source.clone(), Committed::new(&Value::Array(values.clone()), draft.salts.draw()))
            };
            *returned = settle.returned.iter().map(values).collect();
        }
        if let (End::Pending { result, .. }, Some(digest)) = (&mut end, settle.result) {
            *result = Some(Committed::new(&Value::String(digest.to_string()), draft.salts.draw()));
        }
        let now = judge::now(&self.state, clock).0;
        self.record(draft, Actor::System, now, Event::Settled(Settled { effect: settle.effect, end }));
        Reply::Recorded
    }

    fn change(&mut self, what: &ChangeWhat, draft: &mut Draft) -> Changed {
        match what {
            ChangeWhat::Bundle { bundle, blob } => {
                draft.blobs.push((bundle.digest, blob.clone()));
                self.shelf.0.insert(bundle.digest, Arc::clone(bundle));
                Changed::Bundle { digest: bundle.digest, nodes: bundle.nodes() }
            }
            ChangeWhat::Back { bundle } => {
                self.shelf.0.insert(bundle.digest, Arc::clone(bundle));
                Changed::Back { digest: bundle.digest, nodes: bundle.nodes() }
            }
            ChangeWhat::Pins { connector, definitions, identity } => {
                let items = definitions.iter().map(|(name, (digest, _))| (name.clone(), *digest)).collect();
                let offer = offer::digest(&items, identity);
                let accepted = definitions
                    .iter()
                    .map(|(name, (digest, raw))| {
                        let blob = Hash::of(raw);
                        draft.blobs.push((blob, raw.clone()));
                        (name.clone(), Accepted { digest: *digest, blob })
                    })
                    .collect();
                Changed::Pins { connector: connector.clone(), accepted, identity: identity.clone(), offer }
            }
            ChangeWhat::Key(new) => Changed::Key(new.clone()),
        }
    }

    pub(super) fn refuse(
        &mut self,
        by: &Actor,
        what: String,
        reasons: Vec<Reason>,
        clock: Clock,
        draft: &mut Draft,
    ) -> Reply {
        let now = judge::now(&self.state, clock).0;
        let task = match by {
            Actor::Run(run) => self.state.task_of(*run),
            _ => None,
        };
        if let Some(refused) = self.refusals.count(by, task, what, &reasons, now) {
            let event = self.refused(draft, refused);
            self.record(draft, by.clone(), now, event);
        }
        Reply::Refused(reasons)
    }

    /// Who may not is on the record; that there is nothing of that name any more is not worth a line
    fn refuse_person(
        &mut self,
        by: &Actor,
        what: String,
        reasons: Vec<Reason>,
        clock: Clock,
        draft: &mut Draft,
    ) -> Reply {
        let is_person = matches!(by, Actor::Owner { .. } | Actor::Person { .. });
        if !is_person || reasons.iter().all(|reason| reason.word.is_nothing_there()) {
            return Reply::Refused(reasons);
        }
        self.refuse(by, what, reasons, clock, draft)
    }

    /// Somebody wants a change, and others have to want it too
    fn propose(&mut self, change: &Change, (have, of): (u8, u8), now: Millis, draft: &mut Draft) -> Reply {
        let digest = match &change.what {
            ChangeWhat::Bundle { bundle, .. } | ChangeWhat::Back { bundle } => bundle.digest,
            ChangeWhat::Pins { .. } | ChangeWhat::Key(_) => return Reply::Proposed { have, of },
        };
        let hand = match (&change.by, self.shelf.current(&self.state)) {
            (Actor::Person { user, how }, Some(bundle)) => crate::state::hand_of(bundle, user, how),
            (by, _) => by.user().map_or_else(String::new, |user| Node::User(user.clone()).to_string()),
        };
        self.record(draft, change.by.clone(), now, Event::Noted(Noted::Proposed { bundle: digest, hand }));
        Reply::Proposed { have, of }
    }

    #[expect(clippy::unused_self, reason = "reads as one of the door's events")]
    pub(super) fn refused(&self, draft: &mut Draft, refused: refusals::Counted) -> Event {
        Event::Refused(Refused {
            task: refused.task,
            what: refused.what,
            words: refused.reasons.iter().map(|reason| reason.word).collect(),
            count: refused.count,
            reasons: Committed::new(&texts(&refused.reasons), draft.salts.draw()),
        })
    }
}

/// Who asks for a credential
fn by(needs: &Needs) -> Actor {
    match needs {
        Needs::Call(call) => Actor::Run(call.run),
        Needs::Poll(poll) => Actor::Run(poll.run),
        Needs::Look(run) => Actor::Run(*run),
        Needs::Probe(by) => by.clone(),
    }
}

/// Every grant that is used for an effect, as the record keeps it
fn becauses(observed: Option<&Observed>, used: &[judge::Used], draft: &mut Draft) -> Vec<Because> {
    let observed = observed.map(|observed| because(observed, draft));
    let mut by_grant: BTreeMap<GrantId, Vec<Reason>> = BTreeMap::new();
    for used in used {
        by_grant.entry(used.grant).or_default().push(used.reason.clone());
    }
    let used = by_grant.into_iter().map(|(grant, reasons)| Because {
        grant,
        words: reasons.iter().map(|reason| reason.word).collect(),
        reasons: Committed::new(&texts(&reasons), draft.salts.draw()),
    });
    observed.into_iter().chain(used).collect()
}

/// Arguments and who chose them, as the record keeps them
pub(super) fn given(call: &Call, admission: &Admission, draft: &mut Draft) -> BTreeMap<String, Given> {
    let given = |(name, value): (&String, &Value)| {
        let by = admission.chosen_by.get(name).copied().unwrap_or(ChosenBy::Model);
        let value = Committed::new(value, draft.salts.draw());
        let value = if admission.digested.contains(name) { value.sealed_off() } else { value };
        (name.clone(), Given { value, by })
    };
    call.arguments.iter().map(given).collect()
}

/// Values as the record keeps them
pub(super) fn committed(values: &BTreeMap<String, Value>, draft: &mut Draft) -> BTreeMap<String, Committed> {
    let commit = |(name, value): (&String, &Value)| (name.clone(), Committed::new(value, draft.salts.draw()));
    values.iter().map(commit).collect()
}

/// What would have refused an effect, as the record keeps it
fn because(observed: &Observed, draft: &mut Draft) -> Because {
    Because {
        grant: observed.grant,
        words: observed.reasons.iter().map(|reason| reason.word).collect(),
        reasons: Committed::new(&texts(&observed.reasons), draft.salts.draw()),
    }
}

/// Reasons in full
fn texts(reasons: &[Reason]) -> Value {
    Value::Array(reasons.iter().map(|reason| Value::String(format!("{}: {reason}", reason.word))).collect())
}
