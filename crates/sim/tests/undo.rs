//! Undo on the pure core: what is planned from the record, and what a task that takes something back may do.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

use portreeve_core::{
    engine::{Bundles, Engine, Reply, Snapshots},
    event::{Actor, ChosenBy, End, How, Record, decode},
    hash::Hash,
    log::{Head, Log as _},
    names::{BootId, EffectId, MemoryId, Name, RunId, TaskId, Tool, ToolName},
    node::{Node, Why},
    offer::Identity,
    policy::{Before, Bundle, PersonRole, Restored},
    reason::Word,
    request::{Call, Change, ChangeWhat, Clock, Fit, Open, Poll, Read, Request, Settle, Start, Stop, Undo},
    state::State,
    undo::{Back, Not, Plan, Stood, takings},
    value::Value,
};
use portreeve_rules::Files;
use portreeve_sim::disk::Disk;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const SHOP: &str = r#"
command = ["shop"]
[tools.get]
class = "read"
[tools.refund]
class = "write"
arguments = { order = "selector", amount = "quantity" }
undo = { tool = "cancel", args = { refund = "{result.id}" } }
[tools.cancel]
class = "write"
arguments = { refund = "selector" }
[tools.tag]
class = "write"
arguments = { order = "selector", tag = "content" }
[tools.untag]
class = "execute"
arguments = { order = "selector", tag = "content", why = "content" }
[tools.note]
class = "write"
arguments = { text = "content" }
"#;

const POST: &str = "command = [\"post\"]\n[tools.recall]\nclass = \"write\"\narguments = { id = \"selector\" }\n";

const WORK: &str = r#"
about = "work"
owner = "tests"
[open]
agents = ["bot"]
users = { group = "support" }
[task]
expires_after = "1h"
standing = ["read", "write"]
calls = 8
max_bytes = { arguments = 300 }
on_hold = "deny"
[parameters]
order = { type = "string" }
[[allow]]
name = "look"
use = ["shop.get"]
[[allow]]
name = "refund"
use = ["shop.refund"]
where = { order = "{order}", amount = { at_most = 50 } }
[[allow]]
name = "tag"
use = ["shop.tag"]
where = { order = "{order}" }
undo = { tool = "shop.untag", args = { order = "{order}", tag = "{args.tag}", why = "undone" } }
[[allow]]
name = "note"
use = ["shop.note"]
"#;

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

struct World {
    engine: Engine<Disk, Only, Only>,
    bundle: Arc<Bundle>,
    ids: u64,
    now: i64,
}

const OWNER: Actor = Actor::Owner { user: None };

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn tool(text: &str) -> Tool {
    text.parse().unwrap()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn object(text: &str) -> BTreeMap<String, Value> {
    let Value::Object(object) = text.parse().unwrap() else { panic!("{text}") };
    object
}

fn ok(returned: &[(&str, &str, &str)]) -> Settle {
    let end = End::Done { ok: true, bytes: 2, result: None, returned: BTreeMap::new(), process: None };
    let source =
        |step: &str, field: &str| portreeve_core::pattern::Source { step: name(step), field: field.parse().unwrap() };
    let returned = returned.iter().map(|(step, field, value)| (source(step, field), vec![text(value)])).collect();
    Settle { result: Some(Hash::of(b"x")), returned, ..Settle::new(EffectId(0), end) }
}

fn unknown() -> Settle {
    Settle::new(EffectId(0), End::Unknown { why: "lost".to_owned() })
}

fn failed() -> Settle {
    let end = End::Done { ok: false, bytes: 2, result: None, returned: BTreeMap::new(), process: None };
    Settle { result: Some(Hash::of(b"x")), ..Settle::new(EffectId(0), end) }
}

fn not_sent() -> Settle {
    Settle::new(EffectId(0), End::NotSent { why: "closed".to_owned() })
}

impl World {
    fn new() -> Self {
        Self::with(WORK, "")
    }

    fn with(work: &str, rule: &str) -> Self {
        Self::of(work, rule, |_| {})
    }

    fn of(work: &str, rule: &str, change: impl FnOnce(&mut Bundle)) -> Self {
        let mut files = vec![
            ("agents/bot.toml", "owner = \"tests\"\n"),
            ("users/lea.toml", "accounts = [\"lea\"]\ngroups = [\"support\"]\n"),
            ("users/olga.toml", "accounts = [\"olga\"]\ngroups = [\"ops\"]\n"),
            ("users/ann.toml", "accounts = [\"ann\"]\ngroups = [\"ops\"]\n"),
            ("connectors/shop.toml", SHOP),
            ("connectors/post.toml", POST),
            ("purposes/work.toml", work),
        ];
        files.extend((!rule.is_empty()).then_some(("rules/rule.cedar", rule)));
        let files: Files = files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        let mut loaded = portreeve_rules::compile(&files).unwrap_or_else(|findings| panic!("{findings:#?}"));
        let bundle = Arc::get_mut(&mut loaded.bundle).unwrap();
        bundle.users.get_mut("olga").unwrap().roles = BTreeSet::from([PersonRole::Operator]);
        change(bundle);
        let only = Only(Arc::clone(&loaded.bundle));
        let engine = Engine::boot(Disk::default(), only.clone(), only, BootId(1), "test", Clock::at(1_000)).unwrap();
        let mut world = Self { engine, bundle: loaded.bundle, ids: 1, now: 1_000 };
        let bundle = ChangeWhat::Bundle { bundle: Arc::clone(&world.bundle), blob: Vec::new() };
        world.turn(Request::Change(Change { by: OWNER, what: bundle }));
        for (connector, facts) in world.bundle.clone().connectors.iter() {
            let definition = |name: &ToolName| (name.clone(), (pin(name), Vec::new()));
            let definitions = facts.tools.keys().map(definition).collect();
            let what = ChangeWhat::Pins { connector: connector.clone(), definitions, identity: Identity::Plain };
            world.turn(Request::Change(Change { by: OWNER, what }));
        }
        world
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn turn(&mut self, request: Request) -> Reply {
        self.now += 10;
        let seed = Hash::of(&self.id().to_be_bytes()).0;
        self.engine.turn(vec![request], Clock::at(self.now), seed).pop().unwrap()
    }

    fn open_with(&mut self, by: Actor, parent: Option<TaskId>, undoes: Option<Undo>) -> (TaskId, RunId, Reply) {
        let (task, run) = (TaskId(self.id()), RunId(self.id()));
        let open = Open {
            task,
            run,
            memory: MemoryId(7),
            by,
            agent: name("bot"),
            user: Some(name("lea")),
            purpose: name("work"),
            parameters: BTreeMap::from([(name("order"), (text("o1"), ChosenBy::Parameter))]),
            objective: None,
            parent,
            undoes,
            proven: None,
        };
        let reply = self.turn(Request::Open(open));
        (task, run, reply)
    }

    fn open(&mut self) -> (TaskId, RunId) {
        let (task, run, reply) = self.open_with(OWNER, None, None);
        assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
        (task, run)
    }

    fn undo(&mut self, of: TaskId) -> (TaskId, RunId) {
        let steps = self.plan(of).steps();
        let (task, run, reply) = self.open_with(OWNER, None, Some(Undo { of, steps }));
        assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
        (task, run)
    }

    fn ask(&mut self, run: RunId, called: &str, arguments: &BTreeMap<String, Value>) -> (EffectId, Reply) {
        let (effect, tool) = (EffectId(self.id()), tool(called));
        let fit = Fit { pin: pin(&tool.name), error: None };
        let (arguments, answers) = (arguments.clone(), Vec::new());
        let call = Call { effect, run, tool, arguments, fit, answers, continues: None, before: None, lease: None };
        let reply = self.turn(Request::Call(call));
        (effect, reply)
    }

    /// A call that is admitted, and ends so
    #[track_caller]
    fn call(&mut self, run: RunId, called: &str, arguments: &str, end: Settle) -> EffectId {
        let (effect, reply) = self.ask(run, called, &object(arguments));
        assert!(matches!(reply, Reply::Permit(_)), "{reply:?}");
        self.turn(Request::Settle(Settle { effect, ..end }));
        effect
    }

    #[track_caller]
    fn refused(&mut self, run: RunId, called: &str, arguments: &str) -> Word {
        match self.ask(run, called, &object(arguments)).1 {
            Reply::Refused(reasons) => reasons[0].word,
            reply => panic!("{reply:?}"),
        }
    }

    fn records(&self) -> Vec<Record> {
        let mut head = Head::default();
        let mut records = Vec::new();
        for group in self.engine.log().read(0, usize::MAX).unwrap() {
            records.extend(decode(head, &group).unwrap());
            head = group.head();
        }
        records
    }

    fn plan(&self, of: TaskId) -> Plan {
        let bundle = |digest| (digest == self.bundle.digest).then(|| Arc::clone(&self.bundle));
        let lives = |task| self.engine.state().life(task, portreeve_core::time::Millis(self.now)).is_empty();
        Plan::read(of, &self.records(), bundle, lives)
    }

    fn not(&self, of: TaskId) -> Vec<(EffectId, Option<Not>)> {
        let deeds = self.plan(of).deeds.into_iter();
        deeds.map(|deed| (deed.effect, if let Back::Not(not) = deed.back { Some(not) } else { None })).collect()
    }

    fn stood(&self, undo: TaskId) -> Vec<Stood> {
        let taking = takings(&self.records()).into_iter().find(|taking| taking.task == undo).unwrap();
        taking.steps.iter().map(|step| step.stood).collect()
    }

    fn end(&mut self, task: TaskId) {
        let stop = Stop { node: Node::Task(task), why: Why::Ended, by: OWNER, at: None };
        assert!(matches!(self.turn(Request::Stop(stop)), Reply::Recorded));
    }
}

fn pin(name: &ToolName) -> Hash {
    Hash::of(name.to_string().as_bytes())
}

const REFUND: &str = r#"{"order": "o1", "amount": 20}"#;
const TAG: &str = r#"{"order": "o1", "tag": "seen"}"#;
const UNTAG: &str = r#"{"order": "o1", "tag": "seen", "why": "undone"}"#;

#[test]
fn what_takes_something_back_is_read_from_the_record() {
    let mut world = World::new();
    let (task, run) = world.open();
    world.call(run, "shop.get", "{}", ok(&[]));
    let refund = world.call(run, "shop.refund", REFUND, ok(&[("refund", "id", "r7")]));
    let tag = world.call(run, "shop.tag", TAG, ok(&[]));
    let note = world.call(run, "shop.note", r#"{"text": "hello"}"#, ok(&[]));
    let bad = world.call(run, "shop.refund", REFUND, failed());
    let lost = world.call(run, "shop.refund", REFUND, unknown());
    world.call(run, "shop.refund", REFUND, not_sent());
    let silent = world.call(run, "shop.refund", REFUND, ok(&[]));
    let (open, reply) = world.ask(run, "shop.tag", &object(TAG));
    assert!(matches!(reply, Reply::Permit(_)), "{reply:?}");

    let plan = world.plan(task);
    let untag = Back::Call { tool: tool("shop.untag"), arguments: object(UNTAG) };
    let cancel = Back::Call { tool: tool("shop.cancel"), arguments: object(r#"{"refund": "r7"}"#) };
    let not = Back::Not;
    let expected = [
        (open, not(Not::Open)),
        (silent, not(Not::Unrecorded { value: "{result.id}".to_owned() })),
        (lost, not(Not::Unknown)),
        (bad, not(Not::Failed)),
        (note, not(Not::Undeclared)),
        (tag, untag),
        (refund, cancel),
    ];
    let found: Vec<(EffectId, Back)> = plan.deeds.iter().map(|deed| (deed.effect, deed.back.clone())).collect();
    assert_eq!(found, expected, "the last first; what only looked, or never left, is not there");
    assert_eq!(plan.deeds[6].arguments["amount"], Some("20".parse().unwrap()));
    assert_eq!(plan.steps().len(), 2);

    // Without the version of the policy that it was made under, nothing is guessed.
    let blind = Plan::read(task, &world.records(), |_| None, |_| true);
    assert!(blind.steps().is_empty() && blind.deeds[5].back == not(Not::Unreadable), "{blind:?}");
}

#[test]
fn an_undo_may_do_nothing_else_each_once_and_in_order() {
    let mut world = World::new();
    let (task, run) = world.open();
    let refund = world.call(run, "shop.refund", REFUND, ok(&[("refund", "id", "r7")]));
    let tag = world.call(run, "shop.tag", TAG, ok(&[]));
    world.end(task);

    let (undo, run) = world.undo(task);
    let under_way = Some(Not::Undoing { by: undo });
    assert_eq!(world.not(task), [(tag, under_way.clone()), (refund, under_way)]);
    assert_eq!(world.refused(run, "shop.get", "{}"), Word::ToolOutsidePurpose, "what the purpose allows is not undo");
    assert_eq!(world.refused(run, "shop.cancel", r#"{"refund": "r8"}"#), Word::ToolOutsidePurpose);
    assert_eq!(world.refused(run, "shop.cancel", r#"{"refund": "r7"}"#), Word::OutOfOrder);
    // `untag` is of a class that does not stand.
    world.call(run, "shop.untag", UNTAG, not_sent());
    assert_eq!(world.stood(undo), [Stood::Waiting, Stood::Waiting]);
    world.call(run, "shop.untag", UNTAG, ok(&[]));
    assert_eq!(world.refused(run, "shop.untag", UNTAG), Word::CountSpent);
    world.call(run, "shop.cancel", r#"{"refund": "r7"}"#, ok(&[]));
    assert_eq!(world.stood(undo), [Stood::Done, Stood::Done]);
    world.end(undo);

    let undone = Some(Not::Undone { by: undo });
    assert_eq!(world.not(task), [(tag, undone.clone()), (refund, undone)], "a second undo finds nothing left");
    assert!(world.plan(task).steps().is_empty());
}

#[test]
fn what_failed_is_tried_again_and_what_is_unknown_has_to_be_left_out_by_name() {
    let mut world = World::new();
    let (task, run) = world.open();
    let refund = world.call(run, "shop.refund", REFUND, ok(&[("refund", "id", "r7")]));
    let tag = world.call(run, "shop.tag", TAG, ok(&[]));

    let (first, run) = world.undo(task);
    world.call(run, "shop.untag", UNTAG, failed());
    assert_eq!(world.stood(first), [Stood::Failed, Stood::Waiting]);
    world.end(first);
    assert_eq!(world.not(task), [(tag, None), (refund, None)], "nothing is lost");

    let (second, run) = world.undo(task);
    world.call(run, "shop.untag", UNTAG, unknown());
    world.end(second);
    let doubtful = Some(Not::Doubtful { by: second });
    assert_eq!(world.not(task), [(tag, doubtful), (refund, None)]);
    let mut plan = world.plan(task);
    assert_eq!(plan.doubtful().map(|deed| deed.effect), Some(tag));
    assert_eq!(plan.skip(&BTreeSet::from([EffectId(999)])), Err(EffectId(999)));
    plan.skip(&BTreeSet::from([tag])).unwrap();
    assert_eq!((plan.doubtful(), plan.steps().len()), (None, 1));

    // It was under way when everything ended, and nobody has settled it yet.
    let steps = plan.steps();
    let (third, run, _) = world.open_with(OWNER, None, Some(Undo { of: task, steps }));
    let (_, reply) = world.ask(run, "shop.cancel", &object(r#"{"refund": "r7"}"#));
    assert!(matches!(reply, Reply::Permit(_)));
    world.end(third);
    assert_eq!(world.not(task)[1], (refund, Some(Not::Doubtful { by: third })));
}

#[test]
fn only_an_operator_takes_something_back() {
    let mut world = World::new();
    let (task, run) = world.open();
    world.call(run, "shop.refund", REFUND, ok(&[("refund", "id", "r7")]));
    let steps = world.plan(task).steps();
    let person = |user: &str| Actor::Person { user: name(user), how: How::Socket };
    let mut ask = |by: Actor, parent, steps: Vec<_>| match world.open_with(by, parent, Some(Undo { of: task, steps })).2
    {
        Reply::Opened(_) => None,
        Reply::Refused(reasons) => Some(reasons[0].word),
        reply => panic!("{reply:?}"),
    };
    assert_eq!(ask(Actor::Run(run), None, steps.clone()), Some(Word::NotYours), "never the run that did it");
    assert_eq!(ask(Actor::Run(run), Some(task), steps.clone()), Some(Word::NotYours), "nor below it");
    assert_eq!(ask(person("ann"), None, steps.clone()), Some(Word::RoleMissing), "an approver is no operator");
    assert_eq!(ask(person("nobody"), None, steps.clone()), Some(Word::UserUnknown));
    assert_eq!(ask(OWNER, None, Vec::new()), Some(Word::UndoImpossible));
    assert_eq!(ask(person("olga"), None, steps), None);
}

#[test]
fn rules_still_ask_and_who_undoes_waits() {
    let rule = "@id(\"careful\")\n@ask(\"ops\")\nforbid (principal, action == Action::\"shop.cancel\", resource);\n";
    let mut world = World::with(WORK, rule);
    let (task, run) = world.open();
    world.call(run, "shop.refund", REFUND, ok(&[("refund", "id", "r7")]));
    // The agent's own task denies what would have to be asked; a person who takes something back is there to wait.
    let (_, run) = world.undo(task);
    let (_, reply) = world.ask(run, "shop.cancel", &object(r#"{"refund": "r7"}"#));
    assert!(matches!(&reply, Reply::Held(_)), "{reply:?}");
}

#[test]
fn the_limits_of_the_work_are_not_those_of_its_undo() {
    // Eight calls and 300 bytes, all spent; the undo is as long.
    let mut world = World::new();
    let (task, run) = world.open();
    for _ in 0..8 {
        world.call(run, "shop.tag", TAG, ok(&[]));
    }
    assert_eq!(world.refused(run, "shop.get", "{}"), Word::CallsSpent);
    let (undo, run) = world.undo(task);
    for _ in 0..8 {
        world.call(run, "shop.untag", UNTAG, ok(&[]));
    }
    assert_eq!(world.refused(run, "shop.untag", UNTAG), Word::CountSpent);
    assert_eq!(world.stood(undo), [Stood::Done; 8]);
}

#[test]
fn an_undo_may_start_the_servers_that_it_needs_and_no_other() {
    let work = WORK.replace(
        "undo = { tool = \"shop.untag\", args = { order = \"{order}\", tag = \"{args.tag}\", why = \"undone\" } }",
        "undo = { tool = \"post.recall\", args = { id = \"{args.tag}\" } }",
    );
    let mut world = World::with(&work, "");
    let (task, run) = world.open();
    world.call(run, "shop.tag", TAG, ok(&[]));
    let start = |world: &mut World, run: RunId, connector: &str| {
        let start = Start { effect: EffectId(world.id()), run, connector: name(connector), lease: None };
        match world.turn(Request::Start(start)) {
            Reply::Permit(_) => None,
            Reply::Refused(reasons) => Some(reasons[0].word),
            reply => panic!("{reply:?}"),
        }
    };
    assert_eq!(start(&mut world, run, "post"), Some(Word::ToolOutsidePurpose), "the work itself does not go there");
    let (_, run) = world.undo(task);
    assert_eq!(start(&mut world, run, "post"), None);
    assert_eq!(start(&mut world, run, "shop"), Some(Word::ToolOutsidePurpose));
}

#[test]
fn what_was_delegated_is_taken_back_too_and_never_twice() {
    let mut world = World::new();
    let (task, run) = world.open();
    let first = world.call(run, "shop.tag", TAG, ok(&[]));
    let (child, child_run, reply) = world.open_with(Actor::Run(run), Some(task), None);
    assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
    let below = world.call(child_run, "shop.refund", REFUND, ok(&[("refund", "id", "r9")]));
    let last = world.call(run, "shop.tag", TAG, ok(&[]));
    let order: Vec<EffectId> = world.not(task).into_iter().map(|(effect, _)| effect).collect();
    assert_eq!(order, [last, below, first], "over both, in the order in which they were done");
    assert_eq!(world.not(child), [(below, None)]);

    let (undo, _) = world.undo(child);
    assert_eq!(world.not(task)[1], (below, Some(Not::Undoing { by: undo })), "one at a time");
    world.end(undo);
    let (undo, run) = world.undo(task);
    world.call(run, "shop.untag", UNTAG, ok(&[]));
    world.call(run, "shop.cancel", r#"{"refund": "r9"}"#, ok(&[]));
    assert_eq!(world.not(child), [(below, Some(Not::Undone { by: undo }))]);
}

#[test]
fn a_call_of_several_legs_is_one() {
    let mut world = World::new();
    let (task, run) = world.open();
    let pending =
        || Settle { result: Some(Hash::of(b"x")), ..Settle::new(EffectId(0), End::Pending { bytes: 2, result: None }) };
    let leg = |world: &mut World, of: EffectId| {
        let (effect, tool) = (EffectId(world.id()), tool("shop.refund"));
        let (arguments, answers) = (object(REFUND), Vec::new());
        let fit = Fit { pin: pin(&tool.name), error: None };
        let call = Call { effect, run, tool, arguments, fit, answers, continues: Some(of), before: None, lease: None };
        let reply = world.turn(Request::Call(call));
        assert!(matches!(reply, Reply::Permit(_)), "{reply:?}");
        effect
    };
    let first = world.call(run, "shop.refund", REFUND, pending());
    assert_eq!(world.not(task), [(first, Some(Not::Unfinished))]);
    let second = leg(&mut world, first);
    assert_eq!(world.not(task), [(first, Some(Not::Open))]);
    world.turn(Request::Settle(Settle { effect: second, ..ok(&[("refund", "id", "r3")]) }));
    assert_eq!(world.not(task), [(first, None)]);
    assert_eq!(world.plan(task).steps()[0].2, object(r#"{"refund": "r3"}"#));

    // A leg that never left leaves the call where it was; a look at it that failed says nothing.
    let third = world.call(run, "shop.refund", REFUND, pending());
    let fourth = leg(&mut world, third);
    world.turn(Request::Settle(Settle { effect: fourth, ..not_sent() }));
    assert_eq!(world.not(task)[0], (third, Some(Not::Unfinished)));
    let poll = Poll { effect: EffectId(world.id()), run, of: third, method: "tasks/get".to_owned(), lease: None };
    let look = poll.effect;
    assert!(matches!(world.turn(Request::Poll(poll)), Reply::Permit(_)));
    world.turn(Request::Settle(Settle { effect: look, ..unknown() }));
    assert_eq!(world.not(task)[0], (third, Some(Not::Unfinished)));
}

#[test]
fn what_was_there_before_is_put_back() {
    // Read by whoever made the call; the record keeps just the fields that its undo needs.
    let mut world = World::of(WORK, "", |bundle| {
        let profile = bundle.connectors.get_mut("shop").unwrap().tools.get_mut("refund").unwrap();
        let undo = profile.undo.as_mut().unwrap();
        undo.arguments.insert("refund".to_owned(), Restored::Before("state.name".parse().unwrap()));
        undo.before = Some(Before { tool: tool("shop.get"), arguments: BTreeMap::new() });
    });
    let (task, run) = world.open();
    let (effect, tool) = (EffectId(world.id()), tool("shop.refund"));
    let fit = Fit { pin: pin(&tool.name), error: None };
    let read = |values: &[(&str, &str)]| {
        let values = values.iter().map(|(path, value)| ((*path).to_owned(), text(value))).collect();
        Some(Read { effect: Some(EffectId(5)), values })
    };
    let call = |effect, before| {
        let (tool, arguments, fit) = (tool.clone(), object(REFUND), fit.clone());
        Call { effect, run, tool, arguments, fit, answers: Vec::new(), continues: None, before, lease: None }
    };
    assert!(matches!(world.turn(Request::Call(call(effect, None))), Reply::Read(_)));
    assert!(matches!(world.turn(Request::Call(call(effect, read(&[("state.name", "blue")])))), Reply::Permit(_)));
    world.turn(Request::Settle(Settle { effect, ..ok(&[]) }));
    assert_eq!(world.plan(task).steps()[0].2, object(r#"{"refund": "blue"}"#));
    let second = EffectId(world.id());
    assert!(matches!(world.turn(Request::Call(call(second, Some(Read::default())))), Reply::Permit(_)));
    world.turn(Request::Settle(Settle { effect: second, ..ok(&[]) }));
    assert_eq!(world.not(task)[0], (second, Some(Not::Unrecorded { value: "{before.state.name}".to_owned() })));
}
