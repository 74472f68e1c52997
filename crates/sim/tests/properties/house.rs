//! A small house with people in it: a policy that asks, and a door over it.

use portreeve_core::{
    due::{Owed, due},
    engine::{Bundles, Engine, Reply, Snapshots},
    event::{Actor, Admitted, Assertion, End, Event, How, Record, Signed, decode},
    hash::Hash,
    judge::Ticket,
    log::{Head, Log as _},
    names::{BootId, EffectId, GrantId, HoldId, MemoryId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    offer::Identity,
    path::FieldPath,
    pattern::{Operand, Pattern},
    policy::{
        Agent, Alone, Ask, Attribute, AttributeKind, BackEnd, BreakGlass, Bundle, Bytes, Class, Client, CommandBackEnd,
        Connector, CredentialSource, Credentials, Elevate, Entry, Issuer, IssuerKind, Label, Limits, OnHold, Opening,
        People, PersonRole, Profile, Purpose, Quorum, Reach, Receiver, Revocation, Roles, Serves, SignIn, Tier, Usage,
        User, Users, Variant, Vouches,
    },
    reason::{Reason, Word},
    request::{self, Answering, Call, Change, ChangeWhat, Clock, Fit, Open, Request, Review, Settle, Stop, Undo},
    rules::{Question, Rules},
    state::{Hold, Phase, State},
    time::Millis,
    value::Value,
};
use portreeve_sim::disk::Disk;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

/// What a version of the policy says; two that differ have different digests
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) people: BTreeMap<&'static str, Person>,
    /// Agents and who answers for them
    pub(crate) agents: BTreeMap<&'static str, &'static str>,
    pub(crate) purposes: BTreeMap<&'static str, Ceiling>,
    pub(crate) classes: BTreeMap<&'static str, Class>,
    pub(crate) tier: Tier,
    pub(crate) label: Label,
    /// Rules that ask a group about a tool
    pub(crate) asking: Vec<(&'static str, &'static str)>,
    /// Receivers, and whether several people's yeses count from there
    pub(crate) receivers: BTreeMap<&'static str, bool>,
    /// Arguments of which the record keeps a digest
    pub(crate) digested: Vec<&'static str>,
    /// What groups of the issuer `company` mean, which count for a minute
    pub(crate) said: BTreeMap<&'static str, &'static str>,
    /// Roles of groups, and how many have to want a change
    pub(crate) roles: Roles,
    /// What the shop's credentials are issued for, and for how long
    pub(crate) credentials: Option<(Vec<Class>, Option<i64>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) groups: Vec<&'static str>,
    pub(crate) roles: Vec<PersonRole>,
    pub(crate) passkeys: Vec<Hash>,
    /// Who they are at the issuer `company`
    pub(crate) sub: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ceiling {
    pub(crate) standing: Vec<Class>,
    pub(crate) asks: BTreeMap<&'static str, Quorum>,
    pub(crate) tools: Vec<&'static str>,
    pub(crate) elevate: Option<Elevate>,
    pub(crate) glass: Option<BreakGlass>,
    pub(crate) opening: Option<Quorum>,
    pub(crate) on_hold: OnHold,
    pub(crate) serves: Serves,
    pub(crate) idle_ms: Option<i64>,
    pub(crate) expires_ms: i64,
}

pub(crate) fn quorum(who: &str, people: u8) -> Quorum {
    Quorum { people, within_ms: 60_000, ..Quorum::one_of(name(who)) }
}

pub(crate) fn passkey(who: &str) -> Quorum {
    Quorum { passkey: true, ..quorum(who, 1) }
}

pub(crate) fn alone(uses: &[&str], times: u32) -> Alone {
    Alone { uses: usages(uses), times, within_ms: 30_000 }
}

pub(crate) fn usages(uses: &[&str]) -> Vec<Usage> {
    uses.iter().map(|usage| usage.parse().unwrap()).collect()
}

pub(crate) const TOOLS: [&str; 5] = ["look", "refund", "send", "run", "purge"];

impl Policy {
    /// Ana works through the bot, which Olga answers for; Bob, Cid and Dan are the others of the leads, Eve audits
    pub(crate) fn new() -> Self {
        let person = |groups: &[&'static str], roles: &[PersonRole]| Person {
            groups: groups.to_vec(),
            roles: roles.to_vec(),
            passkeys: Vec::new(),
            sub: None,
        };
        let lead = person(&["leads"], &[PersonRole::Approver]);
        let work = Ceiling {
            standing: vec![Class::Read, Class::Write],
            asks: [("refund", quorum("leads", 1))].into(),
            tools: TOOLS.to_vec(),
            elevate: None,
            glass: None,
            opening: None,
            on_hold: OnHold::Ask,
            serves: Serves::Task,
            idle_ms: Some(20_000),
            expires_ms: 600_000,
        };
        Self {
            people: [
                ("ana", lead.clone()),
                ("bob", person(&["leads"], &[PersonRole::Approver, PersonRole::Operator])),
                ("cid", lead.clone()),
                ("dan", lead.clone()),
                ("olga", lead.clone()),
                ("eve", person(&["audit"], &[PersonRole::Auditor])),
                ("pia", person(&["leads"], &[PersonRole::Approver, PersonRole::Operator])),
                ("zoe", person(&["others"], &[PersonRole::Approver])),
            ]
            .into(),
            agents: [("bot", "olga"), ("helper", "dan")].into(),
            purposes: [("work", work.clone()), ("part", work)].into(),
            classes: [
                ("look", Class::Read),
                ("refund", Class::Write),
                ("send", Class::Write),
                ("run", Class::Execute),
                ("purge", Class::Escalate),
            ]
            .into(),
            tier: Tier::Standard,
            label: Label::Internal,
            asking: Vec::new(),
            receivers: BTreeMap::new(),
            digested: Vec::new(),
            said: [("idp-leads", "leads"), ("idp-others", "others")].into(),
            roles: Roles::default(),
            credentials: None,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same, with another table of the purpose `work`
    pub(crate) fn work(self, change: impl FnOnce(&mut Ceiling)) -> Self {
        self.with(|policy| change(policy.purposes.get_mut("work").unwrap()))
    }

    pub(crate) fn bundle(&self) -> Arc<Bundle> {
        let user = |(name, person): (&&str, &Person)| {
            let user = User {
                groups: person.groups.iter().map(|group| group.parse().unwrap()).collect(),
                roles: person.roles.iter().copied().collect(),
                passkeys: person.passkeys.iter().copied().collect(),
                attributes: person.sub.iter().map(|_| ("own".to_owned(), "0".parse().unwrap())).collect(),
                sign_in: person.sub.map(|sub| SignIn { issuer: "company".parse().unwrap(), sub: sub.to_owned() }),
                ..User::default()
            };
            (name.parse().unwrap(), user)
        };
        let profile = |tool: &str| {
            let mut profile = Profile::new(*self.classes.get(tool).unwrap());
            profile.label = Some(self.label);
            profile.digested = self.digested.iter().map(|name| FieldPath::name(name)).collect();
            if tool == "send" {
                let matches = [(FieldPath::name("all"), Pattern::Is(Operand::Literal("true".parse().unwrap())))].into();
                profile.variants = vec![Variant { name: name("all"), class: Class::Execute, matches }];
            }
            profile
        };
        let receiver = |(receiver, several): (&&str, &bool)| {
            let who = ["leads", "others", "audit"].map(name).into();
            let (url, people) = ("http://localhost/".to_owned(), BTreeMap::new());
            (name(receiver), Receiver { url, who, answer_key: None, people, several: *several })
        };
        let tools = TOOLS.iter().map(|tool| (tool.parse().unwrap(), profile(tool))).collect();
        let shop = Connector {
            reach: Reach::Http { url: "http://test".to_owned(), spiffe: None, svid: false },
            ahead: 0,
            timeout_ms: 1_000,
            tools,
            toolsets: BTreeMap::new(),
            environment: None,
            tier: self.tier,
            credentials: self.credentials.as_ref().map(|wanted| Credentials {
                source: name("keys"),
                config: Hash::of(format!("{wanted:?}").as_bytes()),
                headers: BTreeMap::new(),
                query: BTreeMap::new(),
                body: BTreeMap::new(),
                certificate: None,
                env: BTreeMap::new(),
                files: BTreeMap::new(),
            }),
        };
        let source = |(classes, ttl_ms): &(Vec<Class>, Option<i64>)| CredentialSource {
            owner: "test".to_owned(),
            back_end: BackEnd::Command(CommandBackEnd {
                command: Vec::new(),
                secret: None,
                classes: classes.iter().copied().collect(),
                revocation: Revocation::Immediate,
            }),
            ttl_ms: *ttl_ms,
            scope: BTreeMap::new(),
            probe: BTreeMap::new(),
            digest: Hash::default(),
        };
        let people = People {
            client_id: "portreeve".to_owned(),
            client: Client::Public,
            scopes: Vec::new(),
            groups: "groups".to_owned(),
            group: self.said.iter().map(|(value, group)| ((*value).to_owned(), name(group))).collect(),
            attributes: [
                ("limit", "limit", AttributeKind::Decimal),
                ("office", "office", AttributeKind::Integer),
                ("own", "own", AttributeKind::Integer),
            ]
            .map(|(name, claim, kind)| (name.to_owned(), Attribute { claim: claim.to_owned(), kind }))
            .into(),
            fresh_ms: 60_000,
            acr: None,
            max_age_ms: None,
        };
        let vouches = Vouches::Oidc {
            issuer: "https://id.example".to_owned(),
            kind: IssuerKind::Oidc,
            audience: None,
            keys: None,
            algorithms: Vec::new(),
        };
        let company = Issuer { vouches, private: false, people: Some(people) };
        Arc::new(Bundle {
            digest: self.digest(),
            agents: self
                .agents
                .iter()
                .map(|(name, owner)| (name.parse().unwrap(), Agent::of((*owner).to_owned())))
                .collect(),
            users: self.people.iter().map(user).collect(),
            connectors: [(name("shop"), shop)].into(),
            purposes: self.purposes.iter().map(|(name, ceiling)| (name.parse().unwrap(), ceiling.purpose())).collect(),
            rules: Arc::new(Asks(self.asking.clone())),
            points: Vec::new(),
            receivers: self.receivers.iter().map(receiver).collect(),
            roles: self.roles.clone(),
            sources: self.credentials.iter().map(|wanted| (name("keys"), source(wanted))).collect(),
            issuers: [(name("company"), company)].into(),
        })
    }

    pub(crate) fn digest(&self) -> Hash {
        Hash::of(format!("{self:?}").as_bytes())
    }
}

impl Ceiling {
    fn purpose(&self) -> Purpose {
        let entry = |tool: &&'static str| {
            let variant = format!("shop.{tool}#all").parse().unwrap();
            let mut uses = vec![Usage { tool: format!("shop.{tool}").parse().unwrap(), variant: None }];
            uses.extend((*tool == "send").then_some(variant));
            Entry {
                name: name(tool),
                uses,
                arguments: ["id", "amount", "all"].map(|name| (FieldPath::name(name), Pattern::Any)).into(),
                times: None,
                after: None,
                ask: self.asks.get(*tool).map(|quorum| Ask { quorum: quorum.clone(), when: BTreeMap::new() }),
                undo: None,
            }
        };
        let mut purpose = Purpose::new(
            ("work".to_owned(), "test".to_owned(), None),
            Opening {
                agents: ["bot", "helper"].map(name).into(),
                users: Users::Group(name("leads")),
                bounds: BTreeMap::new(),
                ask: self.opening.clone(),
            },
            Limits {
                expires_after_ms: self.expires_ms,
                idle_after_ms: self.idle_ms,
                standing: self.standing.iter().copied().collect(),
                calls: None,
                ceiling: None,
                bytes: Bytes::default(),
                on_hold: self.on_hold,
                credentials: self.serves,
            },
            BTreeMap::new(),
            self.tools.iter().map(entry).collect(),
        );
        purpose.elevate.clone_from(&self.elevate);
        purpose.break_glass.clone_from(&self.glass);
        purpose
    }
}

#[derive(Debug)]
struct Asks(Vec<(&'static str, &'static str)>);

impl Rules for Asks {
    fn judge(&self, question: &Question<'_>) -> Vec<Reason> {
        let about = |(tool, _): &&(&str, &str)| format!("shop.{tool}") == question.tool.to_string();
        self.0.iter().filter(about).map(|(tool, who)| Reason::asking(format!("rule:{tool}"), &quorum(who, 1))).collect()
    }

    fn hides(&self, _: &Tool, _: Class) -> bool {
        false
    }
}

/// Every version that was applied, and a snapshot, if one was kept
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Rc<RefCell<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    bundles: BTreeMap<Hash, Arc<Bundle>>,
    snapshot: Option<String>,
}

impl Bundles for Kept {
    fn read(&self, digest: Hash, _: &[u8]) -> Result<Arc<Bundle>, String> {
        self.0.borrow().bundles.get(&digest).cloned().ok_or_else(|| "unknown".to_owned())
    }
}

impl Snapshots for Kept {
    fn newest(&self) -> Option<State> {
        self.0.borrow().snapshot.as_deref().map(|text| serde_json::from_str(text).unwrap())
    }
}

/// A door, and everything around it
pub(crate) struct House {
    pub(crate) engine: Engine<Disk, Kept, Kept>,
    pub(crate) disk: Disk,
    pub(crate) now: i64,
    pub(crate) policy: Policy,
    kept: Kept,
    ids: u64,
}

impl House {
    /// A house with this policy, and a task 1 of run 1: the bot works for Ana, and Pia has opened it
    pub(crate) fn new(policy: Policy) -> Self {
        let mut house = Self::empty(policy);
        let reply = house.open(1, |_| {});
        assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
        house
    }

    pub(crate) fn empty(policy: Policy) -> Self {
        let (disk, kept, now) = (Disk::default(), Kept::default(), 1_800_000_000_000);
        let engine = Engine::boot(disk.clone(), kept.clone(), kept.clone(), BootId(1), "test", Clock::at(now)).unwrap();
        let mut house = Self { engine, disk, now, policy: policy.clone(), kept, ids: 1_000 };
        house.apply(policy);
        let definitions = TOOLS.iter().map(|tool| (tool.parse().unwrap(), (pin(tool), Vec::new()))).collect();
        let what = ChangeWhat::Pins { connector: name("shop"), definitions, identity: Identity::Plain };
        house.turn(Request::Change(Change { by: owner(), what }));
        house
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(crate) fn turn(&mut self, request: Request) -> Reply {
        self.turns(vec![request]).pop().unwrap()
    }

    pub(crate) fn turns(&mut self, requests: Vec<Request>) -> Vec<Reply> {
        self.now += 1;
        let seed = Hash::of(&self.now.to_be_bytes()).0;
        self.engine.turn(requests, Clock::at(self.now), seed)
    }

    /// Puts a version of the policy into force
    pub(crate) fn apply(&mut self, policy: Policy) {
        let bundle = policy.bundle();
        self.kept.0.borrow_mut().bundles.insert(bundle.digest, Arc::clone(&bundle));
        self.policy = policy;
        let reply =
            self.turn(Request::Change(Change { by: owner(), what: ChangeWhat::Bundle { bundle, blob: vec![1] } }));
        assert!(matches!(reply, Reply::Recorded), "{reply:?}");
    }

    /// The same with a change to the version in force
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Policy)) {
        let policy = self.policy.clone().with(change);
        self.apply(policy);
    }

    /// Opens task `id` of run `id`
    pub(crate) fn open(&mut self, id: u64, change: impl FnOnce(&mut Open)) -> Reply {
        let mut open = Open {
            task: TaskId(id),
            run: RunId(id),
            memory: MemoryId(1),
            by: Actor::Owner { user: Some(name("pia")) },
            agent: name("bot"),
            user: Some(name("ana")),
            purpose: name("work"),
            parameters: BTreeMap::new(),
            objective: None,
            parent: None,
            undoes: None,
            proven: None,
        };
        change(&mut open);
        self.turn(Request::Open(open))
    }

    /// Opens task 2 below task 1: the helper works under the purpose `part`
    pub(crate) fn delegate(&mut self) {
        let reply = self.open(2, |open| {
            (open.by, open.parent) = (Actor::Run(RunId(1)), Some(TaskId(1)));
            (open.agent, open.purpose) = (name("helper"), name("part"));
        });
        assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
    }

    pub(crate) fn request(&mut self, run: u64, tool: &str, arguments: &[(&str, &str)]) -> Call {
        let value = |(name, value): &(&str, &str)| ((*name).to_owned(), value.parse::<Value>().unwrap());
        Call {
            effect: EffectId(self.id()),
            run: RunId(run),
            tool: format!("shop.{tool}").parse().unwrap(),
            arguments: arguments.iter().map(value).collect(),
            fit: Fit { pin: pin(tool), error: None },
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        }
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: &[(&str, &str)]) -> Reply {
        self.call_in(1, tool, arguments)
    }

    pub(crate) fn call_in(&mut self, run: u64, tool: &str, arguments: &[(&str, &str)]) -> Reply {
        let call = self.request(run, tool, arguments);
        self.turn(Request::Call(call))
    }

    /// A refund of 5, which people are asked about
    pub(crate) fn refund(&mut self) -> Reply {
        self.call("refund", REFUND)
    }

    /// The question that the refund of 5 is
    pub(crate) fn held(&mut self) -> HoldId {
        let reply = self.refund();
        ticket(&reply).hold
    }

    pub(crate) fn hold(&self, hold: HoldId) -> &Hold {
        self.engine.state().hold(hold).unwrap()
    }

    pub(crate) fn answering(&mut self, hold: HoldId, user: &str, yes: bool, how: How) -> Answering {
        let grant = GrantId(self.id());
        Answering {
            hold,
            binding: self.engine.state().hold(hold).map(|hold| hold.held.binding).unwrap_or_default(),
            by: Actor::Person { user: name(user), how: how.clone() },
            yes,
            why: "seen".to_owned(),
            grant,
            signed: Signed {
                passkey: (how == How::Passkey).then(|| Assertion {
                    credential: "key".to_owned(),
                    public_key: "key".to_owned(),
                    authenticator_data: String::new(),
                    client_data: String::new(),
                    signature: "test".to_owned(),
                }),
                how,
                at: Millis(self.now),
                read_ms: Some(700),
                statement: Hash::of(b"statement"),
                key: "ed25519:test".to_owned(),
                signature: "test".to_owned(),
            },
        }
    }

    pub(crate) fn answer(&mut self, hold: HoldId, user: &str, yes: bool) -> Reply {
        let answer = self.answering(hold, user, yes, How::Link);
        self.turn(Request::Answer(Box::new(answer)))
    }

    pub(crate) fn yes(&mut self, hold: HoldId, user: &str) {
        let reply = self.answer(hold, user, true);
        assert!(matches!(reply, Reply::Recorded), "{user}: {reply:?}");
    }

    pub(crate) fn settle(&mut self, effect: EffectId, end: End) {
        let reply = self.turn(Request::Settle(Settle { result: None, ..Settle::new(effect, end) }));
        assert!(matches!(reply, Reply::Recorded), "{reply:?}");
    }

    pub(crate) fn stop(&mut self, node: Node) -> Reply {
        self.turn(Request::Stop(Stop { node, why: Why::Killed, by: owner(), at: None }))
    }

    pub(crate) fn elevate(&mut self, change: impl FnOnce(&mut request::Elevate)) -> Reply {
        let mut elevate = request::Elevate {
            grant: GrantId(self.id()),
            by: Actor::Run(RunId(1)),
            task: TaskId(1),
            uses: usages(&["shop.refund"]),
            values: BTreeMap::new(),
            times: 1,
            lasts_ms: 10_000,
            why: "to refund".to_owned(),
        };
        change(&mut elevate);
        self.turn(Request::Elevate(elevate))
    }

    pub(crate) fn review(&mut self, task: u64, user: &str) -> Reply {
        let by = Actor::Person { user: name(user), how: How::Link };
        self.turn(Request::Review(Review { task: TaskId(task), by, why: "looked through".to_owned() }))
    }

    /// Opens task 9, which takes back what task 1 did
    pub(crate) fn undo(&mut self, steps: &[(&str, &[(&str, &str)])]) -> Reply {
        let steps = steps.iter().map(|(tool, arguments)| {
            let call = self.request(9, tool, arguments);
            (call.effect, call.tool, call.arguments)
        });
        let undo = Undo { of: TaskId(1), steps: steps.collect() };
        self.open(9, |open| open.undoes = Some(undo))
    }

    /// Time passes, and what is owed is recorded
    pub(crate) fn pass(&mut self, ms: i64) {
        self.now += ms;
        // Each record takes a moment, in which something else may become due.
        for _ in 0..8 {
            let owed = due(self.engine.state(), Millis(self.now)).into_iter();
            let requests: Vec<Request> = owed
                .filter_map(|owed| match owed {
                    Owed::Record(request) => Some(request),
                    _ => None,
                })
                .collect();
            if requests.is_empty() {
                return;
            }
            self.turns(requests);
        }
        panic!("owed for ever: {:?}", due(self.engine.state(), Millis(self.now)));
    }

    /// The process dies and comes up again; what was open is settled
    pub(crate) fn restart(&mut self) {
        self.now += 1;
        let boot = BootId(self.id());
        let (disk, kept, clock) = (self.disk.clone(), self.kept.clone(), Clock::at(self.now));
        self.engine = Engine::boot(disk, kept.clone(), kept, boot, "test", clock).unwrap();
        self.pass(0);
    }

    /// Memory is read back from here on
    pub(crate) fn keep_snapshot(&mut self) {
        self.kept.0.borrow_mut().snapshot = Some(serde_json::to_string(self.engine.state()).unwrap());
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        let mut head = Head::default();
        let groups = self.disk.read(0, usize::MAX).unwrap();
        let mut records = Vec::new();
        for group in groups {
            records.extend(decode(head, &group).unwrap());
            head = group.head();
        }
        records
    }

    pub(crate) fn admitted(&self) -> Vec<Admitted> {
        let admitted = |record: Record| match record.event {
            Event::Admitted(admitted) => Some(*admitted),
            _ => None,
        };
        self.records().into_iter().filter_map(admitted).collect()
    }

    /// Memory is the fold of the log, from its start and from what a snapshot keeps of any place in it, byte for byte
    fn check(&self) {
        let groups = self.disk.read(0, usize::MAX).unwrap();
        let text = serde_json::to_string(self.engine.state()).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), *self.engine.state());
        let mut states: Vec<State> = vec![State::default()];
        let count = self.engine.state().head().n;
        let places = [1, 2, 3].map(|part| part * count / 4);
        for group in groups {
            if places.contains(&group.n) {
                let text = serde_json::to_string(&states[0]).unwrap();
                states.push(serde_json::from_str(&text).unwrap());
            }
            for state in &mut states {
                decode(state.head(), &group).unwrap().iter().for_each(|record| state.apply(record));
                state.closed(group.head());
            }
        }
        for state in states {
            assert_eq!(state, *self.engine.state());
            assert_eq!(serde_json::to_string(&state).unwrap(), text);
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

pub(crate) const REFUND: &[(&str, &str)] = &[("id", "\"ord_1\""), ("amount", "5")];

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn owner() -> Actor {
    Actor::Owner { user: None }
}

fn pin(tool: &str) -> Hash {
    Hash::of(tool.as_bytes())
}

pub(crate) fn words(reply: &Reply) -> Vec<Word> {
    match reply {
        Reply::Refused(reasons) => reasons.iter().map(|reason| reason.word).collect(),
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn ticket(reply: &Reply) -> &Ticket {
    match reply {
        Reply::Held(ticket) => ticket,
        other => panic!("not held: {other:?}"),
    }
}

pub(crate) fn permitted(reply: &Reply) -> EffectId {
    match reply {
        Reply::Permit(permit) => permit.effect(),
        other => panic!("not permitted: {other:?}"),
    }
}

/// Where the question stands whose use is told again
pub(crate) fn again(reply: &Reply) -> Phase {
    match reply {
        Reply::Again(again) => again.phase,
        other => panic!("not told again: {other:?}"),
    }
}

pub(crate) fn done(ok: bool) -> End {
    End::Done { ok, bytes: 1, result: None, returned: BTreeMap::new(), process: None }
}

pub(crate) fn not_sent() -> End {
    End::NotSent { why: "test".to_owned() }
}

pub(crate) fn unknown() -> End {
    End::Unknown { why: "test".to_owned() }
}
