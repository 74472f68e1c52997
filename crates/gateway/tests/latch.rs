//! A latch stops what was permitted before its node was stopped, and only that.
//!
//! Only the door makes a permit, so there is a whole one here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use portreeve_core::{
    engine::{Engine, PERMIT_MS, Permit, Reply, Snapshots},
    event::Actor,
    hash::Hash,
    names::{BootId, EffectId, MemoryId, RunId, TaskId, Tool},
    node::Node,
    offer::Identity,
    request::{Call, Change, ChangeWhat, Clock, Fit, Open, Request},
    state::State,
    time::Millis,
};
use portreeve_log::{Memory, Options};
use portreeve_rules::{Files, Reader, compile};
use portreeve_upstream::latch::{Closed, Latches};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug)]
struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn newest(&self) -> Option<State> {
        None
    }
}

struct House {
    engine: Engine<Memory, Reader, NoSnapshots>,
    calls: u64,
}

const NOW: Millis = Millis(1_000_000);

impl House {
    fn new() -> Self {
        let files = [
            ("agents/bot.toml", "owner = \"tests\""),
            ("connectors/shop.toml", "url = \"http://127.0.0.1:1/mcp\"\n[tools.act]\nclass = \"write\""),
            (
                "purposes/work.toml",
                "about = \"Work\"\nowner = \"tests\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n\
                 [task]\nexpires_after = \"1h\"\nstanding = [\"write\"]\n[[allow]]\nname = \"act\"\nuse = [\"shop.act\"]",
            ),
        ];
        let files: Files = files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        let loaded = compile(&files).unwrap();
        let log = Memory::new(Options { bytes_max: None, reserve_bytes: 0 });
        let engine = Engine::boot(log, Reader, NoSnapshots, BootId(1), "test", clock()).unwrap();
        let mut house = Self { engine, calls: 0 };
        let by = Actor::Owner { user: None };
        let bundle = ChangeWhat::Bundle { bundle: loaded.bundle, blob: loaded.blob };
        let definitions = BTreeMap::from([("act".parse().unwrap(), (Hash::of(b"act"), b"act".to_vec()))]);
        let pins = ChangeWhat::Pins { connector: "shop".parse().unwrap(), definitions, identity: Identity::Plain };
        for what in [bundle, pins] {
            let reply = house.turn(Request::Change(Change { by: by.clone(), what }));
            assert!(matches!(reply, Reply::Recorded), "{reply:?}");
        }
        for id in [1, 2] {
            let open = Open {
                task: TaskId(id),
                run: RunId(id),
                memory: MemoryId(id),
                by: by.clone(),
                agent: "bot".parse().unwrap(),
                user: None,
                purpose: "work".parse().unwrap(),
                parameters: BTreeMap::new(),
                objective: None,
                parent: None,
                undoes: None,
                proven: None,
            };
            let reply = house.turn(Request::Open(open));
            assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
        }
        house
    }

    fn turn(&mut self, request: Request) -> Reply {
        self.engine.turn(vec![request], clock(), [0; 32]).pop().unwrap()
    }

    /// A permit for a call in the task of this run
    fn permit(&mut self, run: u64) -> Permit {
        self.calls += 1;
        let tool = Tool { connector: "shop".parse().unwrap(), name: "act".parse().unwrap() };
        let fit = Fit { pin: Hash::of(b"act"), error: None };
        let call = Call {
            effect: EffectId(self.calls),
            run: RunId(run),
            tool,
            arguments: BTreeMap::new(),
            fit,
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        };
        match self.turn(Request::Call(call)) {
            Reply::Permit(permit) => permit,
            reply => panic!("{reply:?}"),
        }
    }
}

fn clock() -> Clock {
    Clock { steady: NOW, wall: NOW }
}

#[test]
fn what_was_permitted_before_a_stop_does_not_begin_to_leave_after_it() {
    let mut house = House::new();
    let nodes = [
        Node::Tenant,
        Node::Task(TaskId(1)),
        Node::Run(RunId(1)),
        Node::Agent("bot".parse().unwrap()),
        Node::Purpose("work".parse().unwrap()),
        Node::Connector("shop".parse().unwrap()),
    ];
    for node in nodes {
        let latches = Latches::default();
        // Whether the pass is made before or after the stop makes no difference.
        let (before, late) = (latches.pass(house.permit(1)), house.permit(1));
        let other = latches.pass(house.permit(2));
        let closing = latches.close(&node);
        assert_eq!(closing.under_way(), 0);
        for pass in [before, latches.pass(late)] {
            assert_eq!(pass.enter(NOW).unwrap_err(), Closed::Stopped(node.clone()));
            assert!(pass.withdrawal().withdraw(), "nothing left, and nothing ever will");
        }
        assert_eq!(closing.under_way(), 0, "who was turned away is not inside");
        let only_the_first = matches!(node, Node::Task(_) | Node::Run(_));
        assert_eq!(other.enter(NOW).is_ok(), only_the_first, "{node}");
    }
}

#[test]
fn a_stop_settles_once_what_began_to_leave_has_left() {
    let mut house = House::new();
    let latches = Arc::new(Latches::default());
    let inside = latches.pass(house.permit(1)).enter(NOW).unwrap();
    let closing = latches.close(&Node::Task(TaskId(1)));
    assert_eq!(closing.under_way(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let settled = tokio::spawn(async move { closing.settled().await });
        tokio::task::yield_now().await;
        assert!(!settled.is_finished(), "it is still leaving");
        drop(inside);
        settled.await.unwrap();
    });
}

#[test]
fn a_pass_is_good_once_and_for_a_short_time() {
    let mut house = House::new();
    let latches = Latches::default();
    let pass = latches.pass(house.permit(1));
    drop(pass.enter(NOW).unwrap());
    assert_eq!(pass.enter(NOW).unwrap_err(), Closed::Withdrawn, "used before");
    assert!(!pass.withdrawal().withdraw(), "something left through it");

    let late = latches.pass(house.permit(1));
    assert_eq!(late.enter(NOW.plus(PERMIT_MS)).unwrap_err(), Closed::Late);
    let withdrawn = latches.pass(house.permit(1));
    assert!(withdrawn.withdrawal().withdraw());
    assert_eq!(withdrawn.enter(NOW).unwrap_err(), Closed::Withdrawn);
}
