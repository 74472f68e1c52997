//! The real door over a real log, with people who answer, and copies of its record in which something is wrong.

use portreeve_core::{
    due::Owed,
    engine::{Engine, Reply, Snapshots},
    event::{Actor, Began, Changed, ChosenBy, End, Event, How, KeyUse, NewKey, Record, Signed, decode, encode},
    hash::Hash,
    judge::Ticket,
    log::{Head, Log as _, Space},
    names::{BootId, EffectId, GrantId, HoldId, MemoryId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    offer::Identity,
    policy::{Alone, Ask, Bundle, Class, Elevate as MayElevate, Purpose, Quorum, Usage},
    request::{Answering, Call, Change, ChangeWhat, Clock, Elevate, Fit, Open, Request, Settle, Stop},
    state::State,
    time::Millis,
    value::Value,
};
use portreeve_identity::{
    answer::{Statement, sign},
    key::SigningKey,
    keyring::{is_vouched, vouch},
};
use portreeve_log::{Options, Reader, Sqlite};
use portreeve_rules::{Files, Reader as Rules, compile};
use std::{collections::BTreeMap, fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};
use tempfile::TempDir;

const OPTIONS: Options = Options { bytes_max: None, reserve_bytes: 0 };
const PIN: Hash = Hash([7; 32]);

/// `payments` have to agree to refunds, two of them to large ones
const FILES: [(&str, &str); 9] = [
    ("agents/bot.toml", "owner = \"olga\"\n"),
    ("users/uma.toml", "accounts = [\"uma\"]\ngroups = [\"support\", \"payments\"]\n"),
    ("users/otto.toml", "accounts = [\"otto\"]\ngroups = [\"payments\"]\n"),
    ("users/olga.toml", "accounts = [\"olga\"]\ngroups = [\"payments\"]\n"),
    ("users/ann.toml", "accounts = [\"ann\"]\ngroups = [\"payments\"]\n"),
    ("users/ben.toml", "accounts = [\"ben\"]\ngroups = [\"payments\"]\n"),
    ("users/cyd.toml", "accounts = [\"cyd\"]\ngroups = [\"support\"]\n"),
    (
        "connectors/shop.toml",
        "url = \"http://127.0.0.1:1/mcp\"\n[tools.refund]\nclass = \"write\"\n[tools.wipe]\nclass = \"execute\"\n",
    ),
    (
        "purposes/help.toml",
        "about = \"Help\"\nowner = \"olga\"\n[open]\nagents = [\"bot\"]\nusers = { group = \"support\" }\n\
         [task]\nexpires_after = \"2h\"\nstanding = [\"write\", \"execute\"]\n[parameters]\norder = { type = \"string\" }\n\
         [[allow]]\nname = \"small\"\nuse = [\"shop.refund\"]\nwhere = { id = { any = true }, amount = { at_most = 50 } }\n\
         ask = { who = \"payments\" }\n\
         [[allow]]\nname = \"wipe\"\nuse = [\"shop.wipe\"]\nwhere = { id = { any = true } }\n",
    ),
];

#[derive(Debug)]
struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn newest(&self) -> Option<State> {
        None
    }
}

type Door = Engine<Sqlite, Rules, NoSnapshots>;

fn boot(folder: &Path, now: i64) -> Door {
    let log = Sqlite::open(folder, OPTIONS).unwrap();
    Engine::boot(log, Rules, NoSnapshots, BootId(now.unsigned_abs()), "test", Clock::at(now)).unwrap()
}

/// The door, and the time
pub(crate) struct World {
    door: Option<Door>,
    pub(crate) now: i64,
    drawn: u64,
    pub(crate) key: SigningKey,
    seed: [u8; 32],
    pub(crate) folder: TempDir,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn person(user: &str) -> Actor {
    Actor::Person { user: name(user), how: How::Link }
}

fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// The policy with `people` for each refund, and classes that are opened for a while, which the files cannot say yet
fn bundle(files: &Bundle, people: u8) -> Arc<Bundle> {
    let mut bundle = Bundle {
        digest: files.digest,
        agents: files.agents.clone(),
        users: files.users.clone(),
        connectors: files.connectors.clone(),
        purposes: BTreeMap::new(),
        rules: Arc::clone(&files.rules),
        points: files.points.clone(),
        receivers: files.receivers.clone(),
        roles: files.roles.clone(),
        sources: files.sources.clone(),
        issuers: files.issuers.clone(),
    };
    for (name, purpose) in &files.purposes {
        let mut entries = purpose.entries().to_vec();
        for entry in &mut entries {
            if let Some(Ask { quorum, .. }) = &mut entry.ask {
                quorum.people = people;
            }
        }
        let about = (purpose.about.clone(), purpose.owner.clone(), purpose.review_by);
        let mut limits = purpose.limits.clone();
        limits.standing.remove(&Class::Execute);
        let mut changed = Purpose::new(about, purpose.open.clone(), limits, purpose.parameters.clone(), entries);
        let uses = vec![Usage { tool: "shop.wipe".parse().unwrap(), variant: None }];
        changed.elevate = Some(MayElevate {
            alone: [(Class::Execute, Alone { uses, times: 1, within_ms: 60_000 })].into(),
            ask: Some(Quorum { people, ..Quorum::one_of("payments".parse().unwrap()) }),
        });
        if name.as_str() == "urgent" {
            changed.open.ask = Some(Quorum { people, ..Quorum::one_of("payments".parse().unwrap()) });
        }
        bundle.purposes.insert(name.clone(), changed);
    }
    Arc::new(bundle)
}

impl World {
    /// A data folder in which `people` have to agree to each refund
    pub(crate) fn new(people: u8) -> Self {
        let folder = folder();
        let now = 1_800_000_000_000;
        let door = boot(folder.path(), now);
        let seed = Hash::of(b"the key of this world").0;
        let key = SigningKey::read(&seed).unwrap();
        let mut world = Self { door: Some(door), now, drawn: 0, key, seed, folder };
        world.apply(people, true);
        let pins = ["refund", "wipe"].map(|tool| (tool.parse().unwrap(), (PIN, Vec::new()))).into();
        let accepted = ChangeWhat::Pins { connector: name("shop"), definitions: pins, identity: Identity::Plain };
        world.recorded(Request::Change(Change { by: Actor::Owner { user: None }, what: accepted }));
        world
    }

    /// Another policy: how many have to agree, and whether ann is one of those who may
    pub(crate) fn apply(&mut self, people: u8, with_ann: bool) {
        let urgent = FILES.last().map(|(_, text)| ("purposes/urgent.toml", *text));
        let files = FILES.into_iter().chain(urgent).map(|(path, text)| {
            let left = path == "users/ann.toml" && !with_ann;
            (path.to_owned(), if left { text.replace("payments", "former") } else { text.to_owned() })
        });
        // What the files cannot say yet has its own digest all the same.
        let about = (format!("users/count{people}.toml"), "accounts = [\"nobody\"]\n".to_owned());
        let files: Files = files.chain([about]).collect();
        let loaded = compile(&files).unwrap_or_else(|findings| panic!("{findings:?}"));
        let what = ChangeWhat::Bundle { bundle: bundle(&loaded.bundle, people), blob: loaded.blob };
        self.recorded(Request::Change(Change { by: Actor::Owner { user: None }, what }));
    }

    fn door(&self) -> &Door {
        self.door.as_ref().unwrap()
    }

    pub(crate) fn state(&self) -> &State {
        self.door().state()
    }

    /// The process dies, and another one takes the folder
    pub(crate) fn restart(&mut self, (people, with_ann): (u8, bool)) {
        self.door = None;
        self.now += 1_000;
        self.door = Some(boot(self.folder.path(), self.now));
        // The files are in force again as they are, which the text of the policy does not say whole.
        self.apply(people, with_ann);
    }

    /// What is owed is recorded
    pub(crate) fn pay(&mut self) {
        for owed in self.door().due(Clock::at(self.now)) {
            if let Owed::Record(request) = owed {
                let _reply = self.ask(request);
            }
        }
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    pub(crate) fn ask(&mut self, request: Request) -> Reply {
        self.now += 1_000;
        let seed = Hash::of(&self.now.to_be_bytes()).0;
        let door = self.door.as_mut().unwrap();
        door.turn(vec![request], Clock::at(self.now), seed).pop().unwrap()
    }

    fn recorded(&mut self, request: Request) {
        let reply = self.ask(request);
        assert!(matches!(reply, Reply::Recorded), "{reply:?}");
    }

    /// A task for uma, opened by otto
    pub(crate) fn open(&mut self) -> RunId {
        match self.ask_to_open("help") {
            (run, Reply::Opened(_)) => run,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask_to_open(&mut self, purpose: &str) -> (RunId, Reply) {
        self.open_by(purpose, Actor::Owner { user: Some(name("otto")) }, None)
    }

    pub(crate) fn open_by(&mut self, purpose: &str, by: Actor, parent: Option<RunId>) -> (RunId, Reply) {
        let id = self.draw();
        let order = (Value::String("ord_9".to_owned()), ChosenBy::Parameter);
        let reply = self.ask(Request::Open(Open {
            task: TaskId(id),
            run: RunId(id),
            memory: MemoryId(parent.map_or(id, |parent| parent.0)),
            by,
            agent: name("bot"),
            user: Some(name("uma")),
            purpose: name(purpose),
            parameters: [(name("order"), order)].into(),
            objective: Some("order 1".to_owned()),
            parent: parent.map(|parent| TaskId(parent.0)),
            undoes: None,
            proven: None,
        }));
        (RunId(id), reply)
    }

    pub(crate) fn call(&mut self, run: RunId, tool: &str, arguments: &str) -> Reply {
        self.go_on(run, tool, arguments, None)
    }

    /// Another leg of a call
    pub(crate) fn go_on(&mut self, run: RunId, tool: &str, arguments: &str, continues: Option<EffectId>) -> Reply {
        let effect = EffectId(self.draw());
        let Ok(Value::Object(arguments)) = arguments.parse() else { panic!("{arguments}") };
        self.ask(Request::Call(Call {
            effect,
            run,
            tool: tool.parse::<Tool>().unwrap(),
            arguments,
            fit: Fit { pin: PIN, error: None },
            answers: Vec::new(),
            continues,
            before: None,
            lease: None,
        }))
    }

    pub(crate) fn held(&mut self, run: RunId, tool: &str, arguments: &str) -> HoldId {
        match self.call(run, tool, arguments) {
            Reply::Held(Ticket { hold, .. }) => hold,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn permitted(&mut self, run: RunId, tool: &str, arguments: &str) -> EffectId {
        match self.call(run, tool, arguments) {
            Reply::Permit(permit) => permit.effect(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn elevate(&mut self, run: RunId, times: u32) -> Reply {
        self.elevate_by(Actor::Run(run), run, times)
    }

    pub(crate) fn elevate_by(&mut self, by: Actor, run: RunId, times: u32) -> Reply {
        let grant = GrantId(self.draw());
        self.ask(Request::Elevate(Elevate {
            grant,
            by,
            task: TaskId(run.0),
            uses: vec![Usage { tool: "shop.wipe".parse().unwrap(), variant: None }],
            values: [("id".to_owned(), Value::String("tmp".to_owned()))].into(),
            times,
            lasts_ms: 60_000,
            why: "clean up".to_owned(),
        }))
    }

    /// Somebody answers, as the office has it written and signed
    pub(crate) fn answer(&mut self, hold: HoldId, user: &str, yes: bool) {
        let reply = self.try_answer(hold, user, yes);
        assert!(matches!(reply, Reply::Recorded), "{reply:?}");
    }

    pub(crate) fn try_answer(&mut self, hold: HoldId, user: &str, yes: bool) -> Reply {
        let binding = self.state().hold(hold).unwrap().held.binding;
        let why = if yes { "all right" } else { "not \u{1f642} \"now\"" };
        let grant = GrantId(self.draw());
        let signed = signed(&self.key, (self.state().origin(), hold, binding), user, yes, why);
        let by = person(user);
        let answering = Answering { hold, binding, by, yes, why: why.to_owned(), grant, signed };
        self.ask(Request::Answer(Box::new(answering)))
    }

    pub(crate) fn settle(&mut self, effect: EffectId, end: End) {
        self.recorded(Request::Settle(Settle { effect, end, result: None, returned: BTreeMap::new() }));
    }

    pub(crate) fn stop(&mut self, node: Node, why: Why) {
        self.recorded(Request::Stop(Stop { node, why, by: Actor::System, at: None }));
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(self.folder.path()).unwrap()
    }

    /// Another key signs answers from now on; the first one if there is none on the record
    pub(crate) fn new_answer_key(&mut self) {
        let known = self.state().keys(KeyUse::Answer).is_some();
        let key = if known { SigningKey::make().unwrap() } else { SigningKey::read(&self.seed).unwrap() };
        let tenant = self.state().origin().to_string();
        let (before, public) = (self.key.public_key().to_string(), key.public_key().to_string());
        let vouched = known.then(|| vouch(&tenant, KeyUse::Answer, &self.key, &public).unwrap());
        let (before, until) = (known.then_some(before), Millis(self.now));
        let new = NewKey { of: KeyUse::Answer, key: public, source: "file".to_owned(), before, until, vouched };
        assert_eq!(is_vouched(&tenant, &new), known);
        self.recorded(Request::Change(Change { by: Actor::System, what: ChangeWhat::Key(new) }));
        self.key = key;
    }

    /// A copy of the record in which `change` has had its way with the events, with hashes that fit again
    pub(crate) fn altered(&self, change: impl FnOnce(&mut Vec<Record>)) -> TempDir {
        let mut records = Vec::new();
        let reader = self.reader();
        let mut head = Head::default();
        for group in reader.groups(0, 10_000).unwrap() {
            records.extend(decode(head, &group).unwrap());
            head = group.head();
        }
        change(&mut records);
        let folder = folder();
        let mut log = Sqlite::open(folder.path(), OPTIONS).unwrap();
        // The first group stays what it is, because the folder is named by it.
        let others = records.split_off(1);
        for mut records in [records, others] {
            let policies = records.iter().filter_map(|record| match &record.event {
                Event::Changed(Changed::Bundle { digest, .. }) => Some(*digest),
                _ => None,
            });
            let blobs = policies.map(|digest| (digest, reader.blob(digest).unwrap().unwrap())).collect();
            let group = encode(log.head(), &mut records, blobs).unwrap();
            log.append(log.head(), &group, Space::Ordinary).unwrap();
        }
        folder
    }
}

pub(crate) fn done() -> End {
    End::Done { ok: true, bytes: 2, result: None, returned: BTreeMap::new(), process: None }
}

pub(crate) fn not_sent() -> End {
    End::NotSent { why: "the connector was not there".to_owned() }
}

/// An answer as the office has it written and signed
pub(crate) fn signed(
    key: &SigningKey,
    (origin, hold, binding): (Hash, HoldId, Hash),
    user: &str,
    yes: bool,
    why: &str,
) -> Signed {
    signed_by(key, (origin, hold, binding), (user, How::Link), yes, why)
}

/// The same of somebody who is known in another way
pub(crate) fn signed_by(
    key: &SigningKey,
    (origin, hold, binding): (Hash, HoldId, Hash),
    (user, how): (&str, How),
    yes: bool,
    why: &str,
) -> Signed {
    let statement = Statement {
        tenant: name(&origin.to_string()),
        hold,
        binding,
        user: name(user),
        yes,
        how,
        why: why.to_owned(),
        at: Millis(1_800_000_000_000),
    };
    sign(key, &statement, None, Some(4_000)).unwrap()
}

/// Where the first event stands that `is` says
pub(crate) fn place(records: &[Record], is: impl Fn(&Event) -> bool) -> usize {
    records.iter().position(|record| is(&record.event)).unwrap()
}

pub(crate) fn began(record: &mut Record) -> &mut Began {
    match &mut record.event {
        Event::Began(began) => began,
        other => panic!("{other:?}"),
    }
}
