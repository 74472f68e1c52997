//! A scenario on the pure core: no process, no network, no disk.

use super::{Asked, Key, Opening, Saw, Stage, TakenBack, World};
use crate::disk::Disk;
use portreeve_core::{
    due::Owed,
    engine::{Boot, Bundles, Engine, Reply, Snapshots},
    event::{Actor, ChosenBy, End, Event, Evidence, Given, How, LeaseEnd, Record, Signed, decode},
    hash::Hash,
    judge::Wants,
    life::{Answer, Do, Happened, Life},
    log::{Head, Log as _},
    names::{BootId, EffectId, GrantId, HoldId, MemoryId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    offer::Identity,
    pattern::Source,
    policy::Bundle,
    reason::{Reason, Word},
    request::{
        Answering, Call, Change, ChangeWhat, Clock, Fit, Lease, Needs, Open, Refusal, Request, Settle, Stop, Undo,
    },
    state::State,
    time::Millis,
    undo::{Back, Deed, Plan},
    value::Value,
};
use std::{collections::BTreeMap, sync::Arc};

/// The core with a policy and servers that answer at once
#[derive(Debug)]
pub struct Pure {
    engine: Engine<Disk, Only, Only>,
    world: World,
    tasks: BTreeMap<String, (TaskId, RunId)>,
    /// What the servers know: the credentials that were issued and not taken back
    keys: BTreeMap<EffectId, Key>,
    ids: u64,
    now: i64,
    /// The question that was put last
    asked: Option<HoldId>,
}

impl Pure {
    /// A stage with this world's policy applied and its tools accepted
    ///
    /// # Errors
    /// [`Boot`]: the log could not be taken up, which a log in memory always can.
    pub fn new(world: World) -> Result<Self, Boot> {
        let only = Only(Arc::clone(&world.bundle));
        let clock = Clock::at(START);
        let engine = Engine::boot(Disk::default(), only.clone(), only, BootId(1), "pure", clock)?;
        let mut stage =
            Self { engine, world, tasks: BTreeMap::new(), keys: BTreeMap::new(), ids: 1, now: START, asked: None };
        let bundle = ChangeWhat::Bundle { bundle: Arc::clone(&stage.world.bundle), blob: Vec::new() };
        stage.turn(Request::Change(Change { by: OWNER, what: bundle }));
        for connector in stage.world.bundle.connectors.keys().cloned().collect::<Vec<_>>() {
            let tools = stage.world.tools.iter().filter(|tool| tool.connector == connector);
            let definitions = tools.map(|tool| (tool.name.clone(), (definition(tool), Vec::new()))).collect();
            stage.turn(Request::Change(Change {
                by: OWNER,
                what: ChangeWhat::Pins { connector, definitions, identity: Identity::Plain },
            }));
        }
        Ok(stage)
    }

    fn turn(&mut self, request: Request) -> Reply {
        self.now += 10;
        let seed = Hash::of(&self.id().to_be_bytes()).0;
        let reply = self.engine.turn(vec![request], Clock::at(self.now), seed).pop();
        reply.unwrap_or_else(|| Reply::Refused(vec![Reason::new(Word::RecordUnavailable, "door")]))
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn clock(&self) -> Clock {
        Clock::at(self.now)
    }

    /// Walks a call through its life
    fn live(&mut self, call: Call) -> Saw {
        let (tool, arguments) = (call.tool.clone(), call.arguments.clone());
        let (mut life, mut step) = Life::start(call, true);
        let mut saw = Saw::Unsupported;
        loop {
            let happened = match step {
                Do::Ask(call) => self.judged(Request::Ask(call)),
                Do::Admit(call) => self.judged(Request::Call(call)),
                // The policies of scenarios have no points outside.
                Do::Consult(_) => return Saw::Unsupported,
                Do::Read(_) => return Saw::Unsupported,
                Do::Wait(_) => Happened::Waited,
                Do::Prepare(wants) => self.prepare(life.call(), wants),
                Do::Forward(permit) => {
                    let key = permit.lease().and_then(|lease| self.keys.get(&lease));
                    let answer = (self.world.answers)(&tool, &arguments, key);
                    let ok = answer.is_ok();
                    let (answer, now) = answer.map_or_else(|says| (Value::Null, Saw::Failed(says)), |it| (it, Saw::Ok));
                    saw = now;
                    let field = |source: &Source| {
                        let values = source.field.select_in(&answer).values.into_iter().flatten().cloned().collect();
                        (source.clone(), values)
                    };
                    let returned: BTreeMap<Source, Vec<Value>> = permit.wanted().iter().map(field).collect();
                    let returned = returned.into_iter().filter(|(_, values)| !values.is_empty()).collect();
                    Happened::Answered { ok, bytes: 2, digest: Hash::of(b"{}"), returned }
                }
                Do::Reply(Answer::Held(ticket)) => {
                    self.asked = Some(ticket.hold);
                    let who = ticket.questions.iter().map(|question| question.quorum.who.to_string()).collect();
                    return Saw::Held(Asked { code: ticket.hold.code(), who });
                }
                // What was done already is told again.
                Do::Reply(Answer::Again(_)) => return Saw::Ok,
                Do::Settle(_) | Do::Reply(_) => return saw,
            };
            if let Happened::Refused(reasons) = &happened {
                saw = Saw::refused(reasons);
            }
            let mut steps = life.next(happened).into_iter();
            let Some(next) = steps.next() else { return saw };
            step = match next {
                Do::Settle(settle) => {
                    self.turn(Request::Settle(settle));
                    return saw;
                }
                next => next,
            };
        }
    }

    /// Makes what a call needs first: a credential, where its connector wants one
    fn prepare(&mut self, call: &Call, wants: Wants) -> Happened {
        let (connector, state) = (call.tool.connector.clone(), self.engine.state());
        let current = self.engine.shelf().current(state);
        let wanted = current.and_then(|bundle| bundle.connectors.get(&connector)?.credentials.as_ref());
        let Some(wanted) = wanted else { return Happened::Prepared(None) };
        let key = (connector.clone(), wants.class, wants.only);
        let has = state.task_of(call.run).and_then(|task| state.lease(task, &key, wanted.config, Millis(self.now)));
        if has.is_some() {
            return Happened::Prepared(has);
        }
        let effect = EffectId(self.id());
        let lease = Lease { effect, connector, needs: Needs::Call(Box::new(call.clone())) };
        match self.turn(Request::Lease(Box::new(lease))) {
            Reply::Leased(_, leasing) => {
                let key = Key { task: leasing.task, class: leasing.class, scope: leasing.scope };
                self.keys.insert(effect, key);
                let end = End::Lease(LeaseEnd::Issued { until: None, handle: None });
                self.turn(Request::Settle(Settle::new(effect, end)));
                Happened::Prepared(Some(effect))
            }
            Reply::Refused(reasons) => Happened::Refused(reasons),
            _ => Happened::NotPrepared("no credential".to_owned()),
        }
    }

    /// The servers take out what is owed
    fn take_out(&mut self) {
        for owed in self.engine.due(self.clock()) {
            if let Owed::Withdraw { effect, .. } = owed {
                self.keys.remove(&effect);
                let evidence = Evidence::Absent { says: "no such key".to_owned() };
                self.turn(Request::Settle(Settle::new(effect, End::Lease(LeaseEnd::Withdrawn { evidence }))));
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let mut head = Head::default();
        let mut records = Vec::new();
        for group in self.engine.log().read(0, usize::MAX).unwrap_or_default() {
            records.extend(decode(head, &group).unwrap_or_default());
            head = group.head();
        }
        records
    }

    fn judged(&mut self, request: Request) -> Happened {
        match self.turn(request) {
            Reply::Permit(permit) => Happened::Admitted(permit),
            Reply::Refused(reasons) => Happened::Refused(reasons),
            Reply::Consult(askings) => Happened::Consult(askings),
            Reply::Held(ticket) => Happened::Held(ticket),
            Reply::Again(again) => Happened::Again(again),
            Reply::Prepare(wants) => Happened::Clear(wants),
            _ => Happened::Waited,
        }
    }
}

impl Stage for Pure {
    fn open(&mut self, name: &str, opening: &Opening) -> Saw {
        let (task, run, memory) = (TaskId(self.id()), RunId(self.id()), MemoryId(self.id()));
        let (Ok(agent), Ok(purpose)) = (opening.agent.parse(), opening.purpose.parse()) else {
            return Saw::Unsupported;
        };
        let parameters = opening.parameters.iter();
        let parameters = parameters
            .filter_map(|(name, value)| Some((name.parse().ok()?, (value.clone(), ChosenBy::Parameter))))
            .collect();
        let user = opening.user.as_ref().and_then(|user| user.parse::<Name>().ok());
        let open = Open {
            task,
            run,
            memory,
            by: OWNER,
            agent,
            user,
            purpose,
            parameters,
            objective: None,
            parent: None,
            undoes: None,
            proven: None,
        };
        self.tasks.insert(name.to_owned(), (task, run));
        match self.turn(Request::Open(open)) {
            Reply::Opened(_) => Saw::Open,
            Reply::Refused(reasons) => Saw::refused(&reasons),
            _ => Saw::Unsupported,
        }
    }

    fn list(&mut self, task: &str, connector: &str) -> Saw {
        let (Some((_, run)), Ok(connector)) = (self.tasks.get(task), connector.parse()) else {
            return Saw::Unsupported;
        };
        match self.engine.listed(*run, &connector, self.clock()) {
            Ok(listed) => Saw::Listed(listed.tools.into_iter().map(|(name, _)| name.to_string()).collect()),
            Err(reasons) => Saw::refused(&reasons),
        }
    }

    fn call(&mut self, task: &str, tool: &str, arguments: &BTreeMap<String, Value>) -> Saw {
        let (Some((_, run)), Ok(tool)) = (self.tasks.get(task).copied(), tool.parse::<Tool>()) else {
            return Saw::Unsupported;
        };
        // What is not listed is not there: the answer is the protocol's own.
        if let Ok(listed) = self.engine.listed(run, &tool.connector, self.clock())
            && !listed.tools.iter().any(|(name, _)| *name == tool.name)
        {
            let reason = Reason::new(Word::ToolOutsidePurpose, &tool);
            self.turn(Request::Refused(Refusal { run, what: tool.to_string(), reason }));
            return Saw::UnknownTool;
        }
        let effect = EffectId(self.id());
        let fit = Fit { pin: definition(&tool), error: None };
        self.live(Call {
            effect,
            run,
            tool,
            arguments: arguments.clone(),
            fit,
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        })
    }

    fn answer(&mut self, by: &str, yes: bool, why: &str) -> Saw {
        let (Some(hold), Ok(user)) = (self.asked, by.parse::<Name>()) else { return Saw::Unsupported };
        let binding = self.engine.state().hold(hold).map(|hold| hold.held.binding).unwrap_or_default();
        let signed = Signed {
            how: How::Socket,
            at: Millis(self.now),
            read_ms: None,
            statement: Hash::default(),
            key: String::new(),
            signature: String::new(),
            passkey: None,
        };
        let (grant, why) = (GrantId(self.id()), why.to_owned());
        let by = Actor::Person { user, how: How::Socket };
        match self.turn(Request::Answer(Box::new(Answering { hold, binding, by, yes, why, grant, signed }))) {
            Reply::Refused(reasons) => Saw::refused(&reasons),
            _ => Saw::Said(if yes { "approved" } else { "declined" }.to_owned()),
        }
    }

    fn undo(&mut self, task: &str) -> Saw {
        let Some((of, _)) = self.tasks.get(task).copied() else { return Saw::Unsupported };
        let records = self.records();
        let began = records.iter().find_map(|record| match &record.event {
            Event::Began(began) if began.task == of => Some(began.clone()),
            _ => None,
        });
        let Some(began) = began else { return Saw::Unsupported };
        let bundle = Arc::clone(&self.world.bundle);
        let plan = Plan::read(of, &records, |_| Some(Arc::clone(&bundle)), |_| false);
        let steps = plan.steps();
        let (task, run) = (TaskId(self.id()), RunId(self.id()));
        let value = |(name, given): (&Name, &Given)| Some((name.clone(), (given.value.value()?, given.by)));
        let open = Open {
            task,
            run,
            memory: MemoryId(self.id()),
            by: OWNER,
            agent: began.agent,
            user: began.user,
            purpose: began.purpose,
            parameters: began.parameters.iter().filter_map(value).collect(),
            objective: None,
            parent: None,
            undoes: Some(Undo { of, steps: steps.clone() }),
            proven: None,
        };
        if let Reply::Refused(reasons) = self.turn(Request::Open(open)) {
            return Saw::refused(&reasons);
        }
        for (_, tool, arguments) in steps {
            let fit = Fit { pin: definition(&tool), error: None };
            let effect = EffectId(self.id());
            let (answers, continues, before, lease) = (Vec::new(), None, None, None);
            let saw = self.live(Call { effect, run, tool, arguments, fit, answers, continues, before, lease });
            if saw != Saw::Ok {
                return saw;
            }
        }
        self.turn(Request::Stop(Stop { node: Node::Task(task), why: Why::Ended, by: OWNER, at: None }));
        self.take_out();
        let taken = |deed: &Deed| {
            let (by, why) = match &deed.back {
                Back::Call { tool, arguments } => (Some(written(tool, arguments)), None),
                Back::Not(not) => (None, Some(not.to_string())),
            };
            TakenBack { tool: deed.tool.to_string(), by, why }
        };
        Saw::Undone(plan.deeds.iter().map(taken).collect())
    }

    fn stop(&mut self, task: &str) -> Saw {
        let Some((task, _)) = self.tasks.get(task).copied() else { return Saw::Unsupported };
        let stop = Stop { node: Node::Task(task), why: Why::Killed, by: OWNER, at: None };
        match self.turn(Request::Stop(stop)) {
            Reply::Refused(reasons) => Saw::refused(&reasons),
            _ => {
                self.take_out();
                Saw::Stopped
            }
        }
    }

    fn keys(&mut self, task: &str) -> Saw {
        let Some((task, _)) = self.tasks.get(task) else { return Saw::Unsupported };
        let mut classes: Vec<_> =
            self.keys.values().filter(|key| key.task == Some(*task)).map(|key| key.class).collect();
        classes.sort();
        Saw::Keys(classes.iter().map(ToString::to_string).collect())
    }
}

/// The one version of the policy
#[derive(Clone, Debug)]
struct Only(Arc<Bundle>);

impl Bundles for Only {
    fn read(&self, digest: Hash, _: &[u8]) -> Result<Arc<Bundle>, String> {
        if digest == self.0.digest { Ok(Arc::clone(&self.0)) } else { Err("unknown".to_owned()) }
    }
}

impl Snapshots for Only {
    fn newest(&self) -> Option<State> {
        None
    }
}

/// A call as a transcript has it
#[must_use]
pub fn written(tool: &Tool, arguments: &BTreeMap<String, Value>) -> String {
    let arguments: Vec<_> = arguments.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{tool}({})", arguments.join(", "))
}

fn definition(tool: &Tool) -> Hash {
    Hash::of(tool.to_string().as_bytes())
}

const OWNER: Actor = Actor::Owner { user: None };
const START: i64 = 1_800_000_000_000;
