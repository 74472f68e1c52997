//! Credentials of tasks: none is used that does not count, none outlives what it rests on, none is lost sight of.

use crate::house::{House, Policy, TOOLS, name, owner};
use portreeve_core::{
    due::{Owed, due},
    engine::Reply,
    event::{Actor, End, Event, Evidence, LeaseEnd, To, What},
    judge::Wants,
    names::{EffectId, GrantId, RunId, TaskId},
    node::{Node, Why},
    policy::{Alone, Class, Elevate, Serves},
    reason::Word,
    request::{Grant, Lease, Needs, Poll, Request, Settle, Stop},
    state::Leased,
    time::Millis,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    /// The run calls a tool; a credential that is missing is asked for first
    Call {
        run: u64,
        tool: usize,
        issue: Issue,
    },
    /// The same on a connection that was made with something else
    CallOn {
        run: u64,
        tool: usize,
        lease: usize,
    },
    /// The oldest call ends
    End,
    /// A credential is ended by hand
    Kill(usize),
    /// A task is ended by hand
    Stop(u64),
    /// What is owed is done, as far as the back end lets it
    Work {
        fails: bool,
    },
    Pass(i64),
    Restart,
    /// The run opens the class execute for itself, as the purpose lets it
    Elevate,
    /// The source says something else from now on
    Change(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Issue {
    Good,
    Refused,
    /// It was made, and nobody said so
    Made,
    /// It was not made, and nobody said so
    Silent,
    /// We die before we know
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let issue = prop_oneof![
        6 => Just(Issue::Good), 1 => Just(Issue::Refused), 1 => Just(Issue::Made), 1 => Just(Issue::Silent),
        1 => Just(Issue::Crash),
    ];
    prop_oneof![
        8 => (1..3_u64, 0..TOOLS.len(), issue).prop_map(|(run, tool, issue)| Step::Call { run, tool, issue }),
        2 => (1..3_u64, 0..TOOLS.len(), 0..4_usize).prop_map(|(run, tool, lease)| Step::CallOn { run, tool, lease }),
        4 => Just(Step::End),
        1 => (0..4_usize).prop_map(Step::Kill),
        1 => (1..3_u64).prop_map(Step::Stop),
        3 => any::<bool>().prop_map(|fails| Step::Work { fails }),
        2 => (1..40_000_i64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
        2 => Just(Step::Elevate),
        1 => (1..4_i64).prop_map(Step::Change),
    ]
}

/// The door, and a back end with a ledger
struct World {
    house: House,
    /// What exists at the back end
    made: BTreeSet<EffectId>,
    open: Vec<EffectId>,
    leases: Vec<EffectId>,
    serves: Serves,
}

fn policy(ttl: i64, serves: Serves) -> Policy {
    let alone = Alone { uses: crate::house::usages(&["shop.run"]), times: 2, within_ms: 15_000 };
    let elevate = Elevate { alone: [(Class::Execute, alone)].into(), ask: None };
    Policy::new()
        .with(|policy| policy.purposes.values_mut().for_each(|purpose| purpose.asks.clear()))
        .with(|policy| policy.credentials = Some((vec![Class::Read, Class::Write, Class::Execute], Some(ttl * 10_000))))
        .work(|work| {
            work.serves = serves;
            work.expires_ms = 60_000;
            work.idle_ms = None;
            work.elevate = Some(elevate);
        })
}

impl World {
    fn new(serves: Serves) -> Self {
        let mut house = House::new(policy(2, serves));
        house.delegate();
        Self { house, made: BTreeSet::new(), open: Vec::new(), leases: Vec::new(), serves }
    }

    fn now(&self) -> Millis {
        Millis(self.house.now)
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Call { run, tool, issue } => self.call(*run, TOOLS[*tool], *issue),
            Step::CallOn { run, tool, lease } => {
                let mut call = self.house.request(*run, TOOLS[*tool], &[]);
                call.lease = self.leases.get(*lease).copied();
                let effect = call.effect;
                let reply = self.house.turn(Request::Call(call));
                self.permitted(effect, &reply);
            }
            Step::End if self.open.is_empty() => {}
            Step::End => {
                let effect = self.open.remove(0);
                let end = End::Done { ok: true, bytes: 0, result: None, returned: BTreeMap::new(), process: None };
                self.house.settle(effect, end);
            }
            Step::Kill(at) => {
                if let Some(lease) = self.leases.get(*at).copied() {
                    self.house.stop(Node::Lease(lease));
                }
            }
            Step::Stop(task) => drop(self.house.stop(Node::Task(TaskId(*task)))),
            Step::Work { fails } => self.work(*fails),
            Step::Pass(ms) => self.house.pass(*ms),
            Step::Restart => {
                self.house.restart();
                self.open.clear();
            }
            Step::Elevate => self.elevate(),
            Step::Change(ttl) => self.house.apply(policy(*ttl, self.serves)),
        }
        self.check();
    }

    fn elevate(&mut self) {
        self.house.elevate(|elevate| {
            (elevate.uses, elevate.times, elevate.lasts_ms) = (crate::house::usages(&["shop.run"]), 2, 10_000);
        });
    }

    fn call(&mut self, run: u64, tool: &str, issue: Issue) {
        let mut call = self.house.request(run, tool, &[]);
        let (effect, task) = (call.effect, self.house.engine.state().task_of(RunId(run)));
        let wants = match self.house.turn(Request::Ask(call.clone())) {
            Reply::Prepare(wants) => wants,
            Reply::Refused(_) => return,
            other => panic!("{other:?}"),
        };
        let (config, key) = (self.config(), (name("shop"), wants.class, wants.only));
        let known = task.and_then(|task| self.house.engine.state().lease(task, &key, config, self.now()));
        call.lease = match known {
            Some(lease) => Some(lease),
            None => match self.issue(&call, wants, issue) {
                Some(lease) => Some(lease),
                None => return,
            },
        };
        let reply = self.house.turn(Request::Call(call));
        assert!(matches!(reply, Reply::Permit(_)), "what was clear and is prepared is let through: {reply:?}");
        self.permitted(effect, &reply);
    }

    fn issue(&mut self, call: &portreeve_core::request::Call, wants: Wants, issue: Issue) -> Option<EffectId> {
        let effect = EffectId(self.house.id());
        let lease = Lease { effect, connector: name("shop"), needs: Needs::Call(Box::new(call.clone())) };
        let leasing = match self.house.turn(Request::Lease(Box::new(lease))) {
            Reply::Leased(permit, leasing) => {
                assert!(permit.rests_on().contains(&Node::Lease(effect)), "{permit:?}");
                leasing
            }
            Reply::Refused(reasons) => {
                assert!(reasons.iter().any(|reason| reason.word == Word::TooManyLeases), "{reasons:?}");
                return None;
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((leasing.class, leasing.only), (wants.class, wants.only));
        assert_eq!(leasing.only.is_some(), self.serves == Serves::Call);
        let task = self.house.engine.state().task(leasing.task.unwrap()).unwrap();
        assert!(leasing.until <= task.expires, "it outlives its task");
        self.leases.push(effect);
        if matches!(issue, Issue::Good | Issue::Made | Issue::Crash) {
            self.made.insert(effect);
        }
        let unknown = || End::Unknown { why: "no answer".to_owned() };
        match issue {
            Issue::Good => {
                let until = Some(leasing.until);
                self.house.settle(effect, End::Lease(LeaseEnd::Issued { until, handle: None }));
                return Some(effect);
            }
            Issue::Refused => self.house.settle(effect, End::NotSent { why: "not today".to_owned() }),
            Issue::Made | Issue::Silent => self.house.settle(effect, unknown()),
            Issue::Crash => {
                self.house.restart();
                self.open.clear();
            }
        }
        None
    }

    fn config(&self) -> portreeve_core::hash::Hash {
        let bundle = self.house.policy.bundle();
        bundle.connectors[&name("shop")].credentials.as_ref().unwrap().config
    }

    /// What is let through goes with a credential that counts: of its task, its class, its configuration, at this time
    fn permitted(&mut self, effect: EffectId, reply: &Reply) {
        let Reply::Permit(permit) = reply else { return };
        let state = self.house.engine.state();
        let lease = permit.lease().unwrap();
        let (open, of) = state.open_lease(lease).unwrap();
        let admitted = self.house.admitted().into_iter().find(|admitted| admitted.effect == effect).unwrap();
        let What::Call(facts) = &admitted.what else { panic!("{admitted:?}") };
        assert_eq!((facts.class, facts.lease, admitted.task), (of.class, Some(lease), open.task));
        assert_eq!(of.only, (self.serves == Serves::Call).then_some(effect), "another call's");
        assert!(of.until == of.bound || admitted.now < of.fresh_until, "it is about to end, and could last longer");
        assert!(of.issued && of.over.is_none() && admitted.now < of.until && of.config == self.config());
        assert!(self.made.contains(&lease), "it does not exist");
        assert!(permit.rests_on().contains(&Node::Lease(lease)) && permit.deadline() <= of.until);
        self.open.push(effect);
    }

    /// Does what is owed to the back end
    fn work(&mut self, fails: bool) {
        for owed in due(self.house.engine.state(), self.now()) {
            match owed {
                Owed::Withdraw { effect, .. } if !fails => {
                    self.made.remove(&effect);
                    let evidence = Evidence::Refused { says: "401".to_owned() };
                    self.house.settle(effect, End::Lease(LeaseEnd::Withdrawn { evidence }));
                }
                Owed::Withdraw { .. } => {}
                Owed::Cancel(effect) => {
                    self.open.retain(|open| *open != effect);
                    self.house.settle(effect, End::Unknown { why: "cancelled".to_owned() });
                }
                Owed::Record(request) => drop(self.house.turn(request)),
                Owed::Reap { .. } => panic!("no children here"),
            }
        }
        self.house.pass(0);
    }

    fn check(&self) {
        let state = self.house.engine.state();
        for lease in &self.made {
            assert!(state.open_lease(*lease).is_some(), "{lease:?} exists, and nobody knows");
        }
        for (id, (open, lease)) in state.effects().filter_map(|(id, _)| Some((id, state.open_lease(id)?))) {
            let lives = open.task.is_some_and(|task| state.life(task, self.now()).is_empty());
            if !lives {
                let stands = state.leased(open, lease, self.now());
                assert!(matches!(stands, Leased::Owed(_)), "{id:?} outlives its task: {stands:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn none_is_used_that_does_not_count_and_none_is_left(
        alone in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(if alone { Serves::Call } else { Serves::Task });
        for step in &steps {
            world.play(step);
        }
        // Everything ends: then nothing is left at the back end, and each is accounted for.
        world.house.stop(Node::Task(TaskId(1)));
        world.house.pass(0);
        for _ in 0..4 {
            world.work(false);
        }
        prop_assert!(world.made.is_empty(), "left at the back end: {:?}", world.made);
        prop_assert_eq!(world.house.engine.state().effects().count(), 0);
        let records = world.house.records();
        for lease in &world.leases {
            let last = records.iter().rev().find_map(|record| match &record.event {
                Event::Settled(settled) if settled.effect == *lease => Some(settled.end.clone()),
                _ => None,
            });
            let accounted = matches!(last, Some(End::NotSent { .. } | End::Lease(LeaseEnd::Withdrawn { .. })));
            prop_assert!(accounted, "{:?}: {:?}", lease, last);
        }
    }
}

fn leased(world: &mut World, tool: &str) -> EffectId {
    world.call(1, tool, Issue::Good);
    *world.leases.last().unwrap()
}

#[test]
fn a_run_may_not_end_what_is_not_its_own_nor_take_a_credential_for_what_it_may_not_call() {
    let mut world = World::new(Serves::Task);
    let lease = leased(&mut world, "look");
    let stop = |by| Request::Stop(Stop { node: Node::Lease(lease), why: Why::Killed, by, at: None });
    let reply = world.house.turn(stop(Actor::Run(RunId(2))));
    assert!(matches!(&reply, Reply::Refused(reasons) if reasons[0].word == Word::NotYours), "{reply:?}");
    // No class that is not open, no credential: it is judged as the call that needs it.
    let call = world.house.request(1, "purge", &[]);
    let lease = Lease { effect: EffectId(7), connector: name("shop"), needs: Needs::Call(Box::new(call)) };
    let reply = world.house.turn(Request::Lease(Box::new(lease)));
    assert!(matches!(&reply, Reply::Refused(reasons) if reasons[0].word == Word::ClassNotOpen), "{reply:?}");
    // Another connector than the call's is none of its business.
    let call = world.house.request(1, "look", &[]);
    let lease = Lease { effect: EffectId(8), connector: name("other"), needs: Needs::Call(Box::new(call)) };
    let reply = world.house.turn(Request::Lease(Box::new(lease)));
    assert!(matches!(&reply, Reply::Refused(reasons) if reasons[0].word == Word::NotYours), "{reply:?}");
    // To look at what there is opens reading, and no other class.
    let lease = Lease { effect: EffectId(9), connector: name("shop"), needs: Needs::Look(RunId(1)) };
    let reply = world.house.turn(Request::Lease(Box::new(lease)));
    assert!(matches!(&reply, Reply::Leased(_, leasing) if leasing.class == Class::Read), "{reply:?}");
}

#[test]
fn a_credential_that_an_elevation_opened_ends_with_it() {
    let mut world = World::new(Serves::Task);
    world.elevate();
    let lease = leased(&mut world, "run");
    let (_, of) = world.house.engine.state().open_lease(lease).unwrap();
    assert_eq!(of.class, Class::Execute);
    assert!(of.until.0 <= world.house.now + 15_000, "no longer than the elevation");
    let until = of.until.0 - world.house.now;
    // What was begun in time goes on; then it is owed.
    world.house.pass(until);
    let stands = |world: &World| {
        let state = world.house.engine.state();
        let (open, of) = state.open_lease(lease).unwrap();
        state.leased(open, of, Millis(world.house.now))
    };
    assert_eq!(stands(&world), Leased::Closing);
    world.play(&Step::End);
    assert!(matches!(stands(&world), Leased::Owed(_)), "{:?}", stands(&world));
}

#[test]
fn what_cannot_be_taken_back_is_known_until_its_time_has_passed() {
    let mut world = World::new(Serves::Task);
    let lease = leased(&mut world, "look");
    world.house.stop(Node::Task(TaskId(1)));
    let until = Millis(world.house.now + 50_000);
    world.house.settle(lease, End::Lease(LeaseEnd::Left { until }));
    world.house.settle(world.open[0], End::Unknown { why: "cancelled".to_owned() });
    world.house.pass(49_000);
    assert!(world.house.engine.state().open_lease(lease).is_some(), "it is still usable");
    world.house.pass(2_000);
    assert!(world.house.engine.state().open_lease(lease).is_none());
    let settled = Settle::new(lease, End::Lease(LeaseEnd::Withdrawn { evidence: Evidence::Expired }));
    let last = world.house.records().into_iter().rev().find_map(|record| match record.event {
        Event::Settled(settled) if settled.effect == lease => Some(settled.end),
        _ => None,
    });
    assert_eq!(last, Some(settled.end));
}

#[test]
fn a_call_that_goes_on_is_asked_after_with_no_credential_once_its_elevation_is_over() {
    let mut world = World::new(Serves::Task);
    world.elevate();
    let lease = leased(&mut world, "run");
    let (of, run) = (*world.open.last().unwrap(), RunId(1));
    world.house.settle(of, End::Pending { bytes: 0, result: None });
    let mut ask = |effect: u64| {
        let poll = Poll { effect: EffectId(effect), run, of, method: "tasks/get".to_owned(), lease: None };
        let lease = Lease { effect: EffectId(effect + 1), connector: name("shop"), needs: Needs::Poll(poll) };
        let reply = world.house.turn(Request::Lease(Box::new(lease)));
        let grants = world.house.engine.state().task(TaskId(1)).unwrap().elevations.keys().copied().collect::<Vec<_>>();
        grants.into_iter().for_each(|grant| drop(world.house.stop(Node::Grant(grant))));
        reply
    };
    match ask(700) {
        Reply::Leased(permit, leasing) => {
            assert!(leasing.used.len() == 1 && permit.rests_on().contains(&Node::Grant(leasing.used[0].grant)));
        }
        other => panic!("{other:?}"),
    }
    let reply = ask(800);
    assert!(matches!(&reply, Reply::Refused(reasons) if reasons[0].word == Word::ClassNotOpen), "{reply:?}");
    let (open, of) = world.house.engine.state().open_lease(lease).unwrap();
    assert!(!matches!(world.house.engine.state().leased(open, of, world.now()), Leased::Live));
}

#[test]
fn a_credential_that_only_observing_let_through_ends_with_that() {
    let mut world = World::new(Serves::Task);
    let grant = GrantId(77);
    let observe = Grant {
        grant,
        by: owner(),
        owner: "tests".to_owned(),
        to: To::Observe { on: Node::Tenant },
        why: "to see".to_owned(),
        until: Millis(world.house.now + 20_000),
    };
    world.house.turn(Request::Grant(observe));
    let lease = leased(&mut world, "run");
    let stands = |world: &World| {
        let state = world.house.engine.state();
        let (open, of) = state.open_lease(lease).unwrap();
        (open.grant, of.until, state.leased(open, of, world.now()))
    };
    let (of, until, now) = stands(&world);
    assert_eq!((of, now), (Some(grant), Leased::Live));
    assert!(until <= Millis(world.house.now + 20_000), "it outlives what let it through");
    world.house.stop(Node::Grant(grant));
    assert!(matches!(stands(&world).2, Leased::Owed(_)), "{:?}", stands(&world));
}
