//! A world without a gateway: what pages show, some of it hostile, and what answers do to it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "two programs of tests use it, each a part")]

use portreeve_console::desk::{Answer, Desk, Problem};
use portreeve_core::{
    event::How,
    hash::Hash,
    names::{EffectId, GrantId, HoldId, Name, RunId, TaskId},
    node::Why,
    policy::{Class, PersonRole as Role},
    reason::{Reason, Word},
    request::Claimed,
    time::Millis,
};
use portreeve_gateway::office::view::{
    About, AnswerView, Change, ElevationView, HoldState, HoldView, Moment, QuestionView, Reader, Reflex, ReviewView,
    Shown, StepView, TaskRow, TaskView,
};
use portreeve_gateway::{
    office::{Answering, Person},
    sign_in::SignIns,
};
use portreeve_identity::{
    Bearer,
    link::{Invited, Links},
    passkey::{Passkey, Passkeys, RelyingParty},
};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// 2026-11-20 17:00:00 UTC
pub const NOW: Millis = Millis(1_795_194_000_000);
pub const MINUTE: i64 = 60_000;

pub const TASK: TaskId = TaskId(0x1111);
pub const HOSTILE_TASK: TaskId = TaskId(0x2222);
pub const GLASS_TASK: TaskId = TaskId(0x3333);

pub const REFUND: &str = "7F3K-9QAB";
pub const HOSTILE: &str = "0BAD-C0DE";
pub const GRAVE: &str = "DEAD-BEEF";
pub const OPENING: &str = "GRAS-SBRK";
pub const ELEVATION: &str = "ELEV-ATE1";
pub const OWN: &str = "MINE-MINE";
pub const STEP_UP: &str = "PASS-KEY1";

/// Letters that lie: turned direction, no width, a control, markup
pub const EVIL: &str = "<script>alert(1)</script> invoice\u{202e}fdp.exe \u{200b}admin\u{0}";

#[derive(Debug)]
pub struct Sample {
    world: Mutex<World>,
    links: Links,
    passkeys: Arc<Passkeys>,
    party: Option<RelyingParty>,
    base: String,
    folder: tempfile::TempDir,
    position: watch::Sender<u64>,
}

#[derive(Debug)]
struct World {
    holds: Vec<HoldView>,
    tasks: Vec<TaskView>,
    reviews: Vec<ReviewView>,
    said: Vec<Answering>,
    entered: Vec<(Name, How)>,
    passkeys: Vec<String>,
    /// Since when everybody bears their name
    generation: u64,
    now: Millis,
    /// Whether nothing can be recorded
    full: bool,
    down: bool,
}

impl Sample {
    pub fn new(base: &str) -> Self {
        Self::of(base, (holds(), tasks(), vec![review()]))
    }

    fn of(base: &str, (holds, tasks, reviews): (Vec<HoldView>, Vec<TaskView>, Vec<ReviewView>)) -> Self {
        let world = World {
            holds,
            tasks,
            reviews,
            said: Vec::new(),
            entered: Vec::new(),
            passkeys: Vec::new(),
            generation: 1,
            now: NOW,
            full: false,
            down: false,
        };
        let people = tempfile::tempdir().unwrap();
        Self {
            world: Mutex::new(world),
            links: Links::default(),
            passkeys: Arc::new(Passkeys::open(&people.path().join("people")).unwrap()),
            party: RelyingParty::of_origin(base).ok(),
            folder: people,
            base: base.to_owned(),
            position: watch::Sender::new(41),
        }
    }

    /// Nothing at all
    pub fn empty(base: &str) -> Self {
        Self::of(base, (Vec::new(), Vec::new(), Vec::new()))
    }

    /// Who got and lost passkeys
    pub fn passkey_changes(&self) -> Vec<String> {
        self.world().passkeys.clone()
    }

    /// Who signed in, and how
    pub fn entered(&self) -> Vec<(Name, How)> {
        self.world().entered.clone()
    }

    /// The answers that reached the office
    pub fn said(&self) -> Vec<Answering> {
        self.world().said.clone()
    }

    /// A one-time link for somebody
    pub fn link(&self, user: &str, by: Option<&str>) -> String {
        let bearer = Bearer { user: name(user), generation: self.world().generation };
        let invited = Invited { bearer, by: by.map(ToOwned::to_owned) };
        format!("/sign-in/{}", self.links.issue(invited, 300_000, NOW).unwrap())
    }

    /// Everybody leaves, and others get their names
    pub fn rename(&self) {
        self.world().generation += 1;
    }

    /// Time passes
    pub fn wait(&self, ms: i64) {
        let mut world = self.world();
        world.now = world.now.plus(ms);
    }

    /// So many more questions
    pub fn ask_many(&self, count: u64) {
        for at in 0..count {
            let mut hold = refund();
            (hold.hold, hold.code) = (HoldId(10_000 + at), format!("MANY-{at:04}"));
            self.world().holds.push(hold);
        }
    }

    /// Others say yes
    pub fn approve(&self, code: &str) {
        let mut world = self.world();
        world.holds.iter_mut().find(|hold| hold.code == code).unwrap().state = HoldState::Approved;
    }

    /// From now on nothing is recorded
    pub fn forget(&self) {
        self.world().full = true;
    }

    /// From now on everything is recorded again
    pub fn remember(&self) {
        self.world().full = false;
    }

    /// No passkey can be written any more
    pub fn fill_disk(&self, user: &str) {
        // A folder that is not empty stands where the file would be written: this works for root too.
        std::fs::create_dir_all(self.folder.path().join(format!("people/{user}.new/x"))).unwrap();
    }

    /// From now on the office answers nothing
    pub fn fail(&self) {
        self.world().down = true;
    }

    /// Another question comes up
    pub fn ask(&self) {
        let mut hold = refund();
        hold.hold = HoldId(900);
        hold.code = "NEWS-0001".to_owned();
        self.world().holds.push(hold);
        self.tell();
    }

    /// Somebody else says no
    pub fn decline(&self, code: &str) {
        if let Some(hold) = self.world().holds.iter_mut().find(|hold| hold.code == code) {
            hold.state = HoldState::Declined;
        }
        self.tell();
    }

    pub fn is_stopped(&self, task: TaskId) -> bool {
        self.world().tasks.iter().any(|known| known.task == task && known.over == Some(Why::Killed))
    }

    fn tell(&self) {
        self.position.send_modify(|position| *position += 1);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn up(&self) -> Result<MutexGuard<'_, World>, Problem> {
        let world = self.world();
        if world.down {
            return Err(Problem::new(503, "unavailable", "Portreeve is ending.", "Start it again."));
        }
        Ok(world)
    }
}

impl Desk for Sample {
    fn now(&self) -> Millis {
        self.world().now
    }

    fn sign_ins(&self) -> Option<&SignIns> {
        None
    }

    fn person(&self, user: Name, how: How) -> Answer<'_, Person> {
        let roles: &[Role] = match user.as_str() {
            "dana" => &[Role::Approver, Role::Operator, Role::Auditor],
            "omar" => &[Role::Approver],
            _ => {
                let problem = Problem::new(403, "user_unknown", "This account is no user of the policy.", "Add it.");
                return done(Err(problem));
            }
        };
        let generation = self.world().generation;
        done(Ok(Person { user, generation, how, roles: roles.iter().copied().collect() }))
    }

    fn base(&self) -> &str {
        &self.base
    }

    fn links(&self) -> &Links {
        &self.links
    }

    fn signed_in(&self, user: Name, how: How, _: Claimed) -> Answer<'_, ()> {
        done(self.up().map(|mut world| world.entered.push((user, how))))
    }

    fn passkeys(&self) -> &Arc<Passkeys> {
        &self.passkeys
    }

    fn party(&self) -> Option<&RelyingParty> {
        self.party.as_ref()
    }

    fn challenge(&self, who: &Person, (hold, binding): (HoldId, Hash), said: (bool, &str), at: Millis) -> Hash {
        Hash::of(format!("{} {hold} {binding} {said:?} {at}", who.user).as_bytes())
    }

    fn passkey_changed<'a>(&'a self, who: &'a Person, passkey: &'a Passkey, added: bool) -> Answer<'a, ()> {
        let word = if added { "gets" } else { "loses" };
        let line = format!("{} {word} {}", who.user, passkey.label);
        done(self.up().and_then(|mut world| {
            if world.full {
                return Err(Problem::new(503, "log_full", "Nothing more can be recorded.", "Make room."));
            }
            world.passkeys.push(line);
            Ok(())
        }))
    }

    fn holds<'a>(&'a self, _who: &'a Person, all: bool) -> Answer<'a, Vec<HoldView>> {
        done(
            self.up()
                .map(|world| world.holds.iter().filter(|hold| all || hold.state == HoldState::Open).cloned().collect()),
        )
    }

    fn waiting<'a>(&'a self, _who: &'a Person) -> Answer<'a, usize> {
        let waits = |hold: &&HoldView| hold.state == HoldState::Open && hold.not_by_you.is_empty();
        done(self.up().map(|world| world.holds.iter().filter(waits).count()))
    }

    fn hold<'a>(&'a self, _who: &'a Person, named: &'a str) -> Answer<'a, HoldView> {
        done(self.up().and_then(|world| {
            let known = |hold: &&HoldView| hold.code.eq_ignore_ascii_case(named) || hold.hold.to_string() == named;
            world.holds.iter().find(known).cloned().ok_or_else(|| {
                Problem::new(404, "hold_unknown", "No question has this code.", "Look at the list of approvals.")
            })
        }))
    }

    fn answer<'a>(&'a self, who: &'a Person, answer: Answering) -> Answer<'a, HoldView> {
        done((|| {
            let mut world = self.up()?;
            let kept = answer.clone();
            if let Some(used) = answer.passkey.clone() {
                let of = (answer.hold, answer.binding);
                let challenge = self.challenge(who, of, (answer.yes, &answer.why), used.at);
                let party = self.party.as_ref().unwrap();
                let checked = self.passkeys.check(party, Some(&who.bearer()), &challenge.0, used.assertion, NOW);
                checked.map_err(|why| Problem::new(403, "step_up_needed", why.to_string(), "Use it again."))?;
            }
            let hold = world.holds.iter_mut().find(|hold| hold.hold == answer.hold).unwrap();
            if hold.binding != answer.binding {
                let message = "What you were shown is not what waits now.";
                return Err(Problem::new(409, "binding_differs", message, "Open the page anew."));
            }
            if hold.passkey && answer.yes && answer.passkey.is_none() {
                return Err(Problem::new(403, "step_up_needed", "A yes needs your passkey.", "Use it."));
            }
            if hold.state != HoldState::Open && (answer.yes || hold.state != HoldState::Approved) {
                return Err(Problem::new(409, "hold_over", "This question was answered already.", ""));
            }
            hold.answers.push(AnswerView {
                user: who.user.clone(),
                yes: answer.yes,
                why: Some(answer.why),
                at: NOW,
                how: who.how.to_string(),
                counts: true,
            });
            if answer.yes {
                for question in &mut hold.questions {
                    question.so_far += 1;
                }
                if hold.questions.iter().all(|question| question.so_far >= question.people) {
                    hold.state = HoldState::Approved;
                }
                hold.not_by_you = vec![Reason::new(Word::NotYours, "already")];
                hold.may_deny = false;
            } else {
                hold.state = HoldState::Declined;
            }
            let hold = hold.clone();
            world.said.push(kept);
            drop(world);
            self.tell();
            Ok(hold)
        })())
    }

    fn tasks<'a>(&'a self, _who: &'a Person) -> Answer<'a, Vec<TaskRow>> {
        done(self.up().map(|world| world.tasks.iter().filter_map(|task| task.row.clone()).collect()))
    }

    fn task<'a>(&'a self, _who: &'a Person, task: TaskId) -> Answer<'a, TaskView> {
        done(self.up().and_then(|world| {
            world.tasks.iter().find(|known| known.task == task).cloned().ok_or_else(|| {
                Problem::new(404, "task_unknown", "No task of this name is known here.", "List the open tasks.")
            })
        }))
    }

    fn stop<'a>(&'a self, who: &'a Person, task: TaskId) -> Answer<'a, ()> {
        done((|| {
            let mut world = self.up()?;
            if !who.roles.contains(&Role::Operator) {
                return Err(Problem::new(403, "role_missing", "Only an operator stops tasks.", "Ask one."));
            }
            let task = world.tasks.iter_mut().find(|known| known.task == task).unwrap();
            task.over = Some(Why::Killed);
            drop(world);
            self.tell();
            Ok(())
        })())
    }

    fn reviews<'a>(&'a self, _who: &'a Person) -> Answer<'a, Vec<ReviewView>> {
        done(self.up().map(|world| world.reviews.clone()))
    }

    fn review<'a>(&'a self, _who: &'a Person, task: TaskId, _why: String) -> Answer<'a, ()> {
        self.world().reviews.retain(|review| review.task != task);
        self.tell();
        done(Ok(()))
    }

    fn reflex<'a>(&'a self, _who: &'a Person) -> Answer<'a, Reflex> {
        let empty = self.world().holds.is_empty();
        let people = [
            (name("dana"), Reader { yes: 14, no: 5, read_ms: Some(48_000) }),
            (name("omar"), Reader { yes: 61, no: 1, read_ms: Some(1_900) }),
            (name("yuki"), Reader { yes: 2, no: 2, read_ms: None }),
        ];
        done(Ok(if empty {
            Reflex::default()
        } else {
            Reflex { asked: 91, approved: 77, declined: 8, lapsed: 6, people: people.into() }
        }))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }
}

fn done<'a, T: Send + 'a>(result: Result<T, Problem>) -> Answer<'a, T> {
    Box::pin(std::future::ready(result))
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn shown(name: &str, value: &str, chosen_by: &str) -> Shown {
    Shown { name: name.to_owned(), value: Some(value.to_owned()), chosen_by: chosen_by.to_owned(), changed: None }
}

fn step(effect: u64, before_ms: i64, tool: &str, class: Class, end: &str, arguments: &str) -> StepView {
    StepView {
        effect: EffectId(effect),
        at: NOW.plus(-before_ms),
        tool: tool.to_owned(),
        class,
        end: end.to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn question(who: &str, people: u8, so_far: u8, passkey: bool) -> QuestionView {
    QuestionView {
        source: "purpose:refund-order".to_owned(),
        step: Some(name("refund")),
        who: name(who),
        people,
        so_far,
        passkey,
    }
}

fn holds() -> Vec<HoldView> {
    let mut own = refund();
    own.hold = HoldId(6);
    own.code = OWN.to_owned();
    own.until = NOW.plus(3 * MINUTE);
    own.may_deny = false;
    own.not_by_you = vec![Reason::new(Word::NotYours, "purpose:refund-order").with("user", "dana")];
    let mut step_up = refund();
    step_up.hold = HoldId(7);
    step_up.code = STEP_UP.to_owned();
    step_up.until = NOW.plus(55 * MINUTE);
    step_up.passkey = true;
    step_up.earlier = vec![step(42, 25 * MINUTE, "shop.refund", Class::Write, "ok", "amount: 84.50, id: \"ord_5831\"")];
    step_up.questions = vec![question("payments-leads", 1, 0, true)];
    let mut past = refund();
    past.hold = HoldId(8);
    past.code = "PAST-0001".to_owned();
    past.state = HoldState::Done;
    past.asked = NOW.plus(-90 * MINUTE);
    past.until = NOW.plus(-75 * MINUTE);
    let mut declined = grave();
    declined.hold = HoldId(9);
    declined.code = "PAST-0002".to_owned();
    declined.state = HoldState::Declined;
    declined.asked = NOW.plus(-190 * MINUTE);
    let mut unknown = past.clone();
    unknown.hold = HoldId(10);
    unknown.code = "PAST-0003".to_owned();
    unknown.state = HoldState::Unknown;
    unknown.asked = NOW.plus(-200 * MINUTE);
    let mut lapsed = elevation();
    lapsed.hold = HoldId(11);
    lapsed.code = "PAST-0004".to_owned();
    lapsed.state = HoldState::Over;
    lapsed.asked = NOW.plus(-300 * MINUTE);
    vec![refund(), hostile(), grave(), opening(), elevation(), own, step_up, past, declined, unknown, lapsed]
}

/// The ordinary one
fn refund() -> HoldView {
    let mut amount = shown("amount", "84.50", "model");
    amount.changed = Some("20.00".to_owned());
    HoldView {
        hold: HoldId(1),
        code: REFUND.to_owned(),
        state: HoldState::Open,
        about: About::Call {
            tool: "shop.refund".to_owned(),
            says: Some("Refund an order, wholly or in part".to_owned()),
            variants: Vec::new(),
            class: Class::Write,
            arguments: vec![
                shown("id", "\"ord_5831\"", "parameter"),
                amount,
                shown("note", "\"The parcel arrived broken; the customer sent photographs.\"", "model"),
            ],
            target: Some("Order::\"ord_5831\" in Shop::\"berlin\"".to_owned()),
            label: "confidential".to_owned(),
            undo: Some("shop.cancel_refund with the refund's id".to_owned()),
            credential: None,
            changes: vec![
                Change { mark: ' ', text: "order ord_5831".to_owned() },
                Change { mark: '-', text: "status: paid".to_owned() },
                Change { mark: '+', text: "status: refunded in part".to_owned() },
                Change { mark: '-', text: "refunded: 0.00 EUR".to_owned() },
                Change { mark: '+', text: "refunded: 84.50 EUR".to_owned() },
            ],
        },
        binding: Hash::of(b"refund"),
        task: Some(TASK),
        agent: name("support-bot"),
        user: Some(name("ann")),
        chain: vec![name("front-desk")],
        purpose: name("refund-order"),
        purpose_about: "Check one order and refund it".to_owned(),
        parameters: vec![shown("order", "\"ord_5831\"", "parameter"), shown("limit", "100", "parameter")],
        objective: Some(shown("objective", "Ann's parcel arrived broken, give her money back", "objective")),
        steps: vec![
            step(21, 95_000, "shop.get_order", Class::Read, "ok", "id: \"ord_5831\""),
            step(22, 40_000, "shop.refund", Class::Write, "failed", "amount: 20.00, id: \"ord_5831\""),
        ],
        questions: vec![question("payments-leads", 2, 1, false)],
        answers: vec![AnswerView {
            user: name("yuki"),
            yes: true,
            why: Some("Photographs are in the ticket, amount fits the order.".to_owned()),
            at: NOW.plus(-20_000),
            how: "link".to_owned(),
            counts: true,
        }],
        earlier: Vec::new(),
        asked: NOW.plus(-30_000),
        until: NOW.plus(14 * MINUTE + 30_000),
        not_by_you: Vec::new(),
        may_deny: true,
        passkey: false,
        timeline: true,
    }
}

/// Every text in it wants to be something else
fn hostile() -> HoldView {
    let mut hold = refund();
    hold.hold = HoldId(2);
    hold.code = HOSTILE.to_owned();
    hold.task = Some(HOSTILE_TASK);
    hold.until = NOW.plus(9 * MINUTE);
    hold.purpose_about = EVIL.to_owned();
    hold.objective = Some(shown("objective", EVIL, "model"));
    hold.parameters = vec![shown(EVIL, EVIL, EVIL)];
    hold.questions = vec![QuestionView { source: EVIL.to_owned(), ..question("payments-leads", 1, 0, false) }];
    hold.answers = vec![AnswerView {
        user: name("omar"),
        yes: true,
        why: Some(EVIL.to_owned()),
        at: NOW,
        how: EVIL.to_owned(),
        counts: false,
    }];
    hold.steps = vec![step(31, 5_000, EVIL, Class::Escalate, EVIL, EVIL)];
    let mut argument = shown(EVIL, &format!("{{\"to\":\"{EVIL}\",\"lines\":[1,2.50,{{}}]}}"), EVIL);
    argument.changed = Some(EVIL.to_owned());
    hold.about = About::Call {
        tool: "mail.send\"><img/src=x/onerror=alert(1)>".to_owned(),
        says: Some(EVIL.to_owned()),
        variants: vec![name("outside")],
        class: Class::Escalate,
        arguments: vec![
            argument,
            shown("body", &format!("\"{}\"", "long ".repeat(300)), "model"),
            shown("subject", "\"Ваш счёт  \u{a0}от\nPayPal\"", "model"),
            Shown { name: "secret".to_owned(), value: None, chosen_by: "model".to_owned(), changed: None },
        ],
        target: Some(EVIL.to_owned()),
        label: EVIL.to_owned(),
        undo: Some(EVIL.to_owned()),
        credential: None,
        changes: vec![Change { mark: '+', text: EVIL.to_owned() }, Change { mark: '<', text: EVIL.to_owned() }],
    };
    hold
}

/// Nothing takes it back, and it may have happened already
fn grave() -> HoldView {
    let mut hold = refund();
    hold.hold = HoldId(3);
    hold.code = GRAVE.to_owned();
    hold.until = NOW.plus(6 * MINUTE);
    hold.binding = Hash::of(b"grave");
    hold.questions = vec![question("payments-leads", 1, 0, false)];
    hold.answers = Vec::new();
    hold.earlier =
        vec![step(41, 7 * MINUTE, "bank.transfer", Class::Execute, "unknown", "amount: 1200.00, to: \"DE89…3000\"")];
    hold.about = About::Call {
        tool: "bank.transfer".to_owned(),
        says: Some("Send money to an account".to_owned()),
        variants: vec![name("foreign")],
        class: Class::Execute,
        arguments: vec![
            shown("amount", "1200.00", "model"),
            shown("to", "{\"bank\":\"COBADEFF\",\"iban\":\"DE89370400440532013000\",\"name\":\"Acme GmbH\"}", "model"),
        ],
        target: Some("Account::\"DE89370400440532013000\"".to_owned()),
        label: "restricted".to_owned(),
        undo: None,
        credential: None,
        changes: Vec::new(),
    };
    hold
}

fn opening() -> HoldView {
    let mut hold = refund();
    hold.hold = HoldId(4);
    hold.code = OPENING.to_owned();
    hold.until = NOW.plus(4 * MINUTE);
    hold.task = None;
    hold.purpose = name("restore-payments");
    hold.purpose_about = "Bring the payment service back when it is down".to_owned();
    hold.steps = Vec::new();
    hold.chain = Vec::new();
    hold.parameters = vec![shown("service", "\"payments\"", "parameter")];
    hold.objective = Some(shown("objective", "Payments are down since 16:40", "objective"));
    hold.questions = vec![question("on-call", 1, 0, true)];
    hold.answers = Vec::new();
    hold.passkey = false;
    hold.about = About::Opening { opener: Some(name("omar")), break_glass: true, lasts_ms: 60 * MINUTE };
    hold
}

fn elevation() -> HoldView {
    let mut hold = refund();
    hold.hold = HoldId(5);
    hold.code = ELEVATION.to_owned();
    hold.until = NOW.plus(11 * MINUTE);
    hold.questions = vec![question("on-call", 1, 0, false)];
    hold.answers = Vec::new();
    hold.about = About::Elevation {
        class: Class::Write,
        tools: vec!["shop.set_address".to_owned(), "shop.set_note".to_owned()],
        values: vec![shown("id", "\"ord_5831\"", "parameter")],
        times: 2,
        lasts_ms: 5 * MINUTE,
        why: shown("why", "The address of the order has to be corrected before the replacement is sent.", "model"),
    };
    hold
}

fn review() -> ReviewView {
    ReviewView {
        task: GLASS_TASK,
        purpose: name("restore-payments"),
        opener: Some(name("omar")),
        approvers: vec![name("yuki")],
        review: name("security"),
        opened: NOW.plus(-26 * 60 * MINUTE),
        live: false,
        calls: 17,
        not_by_you: Vec::new(),
    }
}

fn row(task: TaskId, agent: &str, purpose: &str, age_min: i64) -> TaskRow {
    TaskRow {
        task,
        run: RunId(task.0 + 7),
        agent: name(agent),
        user: Some(name("ann")),
        purpose: name(purpose),
        opened: NOW.plus(-age_min * MINUTE),
        over_at: NOW.plus((15 - age_min) * MINUTE),
        calls: 3,
        open: 0,
        holds: 0,
        reasons: Vec::new(),
    }
}

fn tasks() -> Vec<TaskView> {
    let mut glass_row = row(GLASS_TASK, "ops-bot", "restore-payments", 26 * 60);
    glass_row.user = Some(name("omar"));
    glass_row.reasons = vec![Reason::new(Word::TaskOver, "task")];
    glass_row.over_at = NOW.plus(-25 * 60 * MINUTE);
    let mut refunding = row(TASK, "support-bot", "refund-order", 2);
    refunding.holds = 3;
    let mut hostile_row = row(HOSTILE_TASK, "mail-bot", "answer-mail", 5);
    hostile_row.open = 1;
    hostile_row.user = None;
    let quiet_row = row(TaskId(0x4444), "docs-bot", "summarise-docs", 8);
    let view = |row: TaskRow, timeline| TaskView {
        task: row.task,
        row: Some(row),
        over: None,
        parameters: vec![shown("order", "\"ord_5831\"", "parameter"), shown("limit", "100", "parameter")],
        objective: Some(shown("objective", "Ann's parcel arrived broken, give her money back", "objective")),
        standing: vec![Class::Read],
        elevations: Vec::new(),
        observed: false,
        timeline,
        cut: false,
        undoes: None,
    };
    let mut refunding = view(refunding, timeline());
    refunding.elevations = vec![ElevationView {
        grant: GrantId(77),
        class: Class::Write,
        tools: vec!["shop.refund".to_owned()],
        values: vec![shown("id", "\"ord_5831\"", "parameter")],
        left: 1,
        until: NOW.plus(4 * MINUTE),
        owner: "purpose:refund-order".to_owned(),
    }];
    let mut hostile = view(hostile_row, vec![moment(1, "refused", "bad", EVIL, &[(EVIL, EVIL)])]);
    hostile.objective = Some(shown("objective", EVIL, EVIL));
    hostile.parameters = vec![shown(EVIL, EVIL, EVIL)];
    hostile.observed = true;
    hostile.cut = true;
    hostile.undoes = Some(TASK);
    hostile.elevations = vec![ElevationView {
        grant: GrantId(78),
        class: Class::Execute,
        tools: vec![EVIL.to_owned()],
        values: vec![shown(EVIL, EVIL, EVIL)],
        left: 3,
        until: NOW.plus(MINUTE),
        owner: EVIL.to_owned(),
    }];
    if let Some(one) = hostile.timeline.first_mut() {
        one.actor = EVIL.to_owned();
    }
    let mut glass = view(glass_row, timeline());
    glass.over = Some(Why::Ended);
    vec![refunding, hostile, glass, view(quiet_row, Vec::new())]
}

fn moment(seq: u64, kind: &str, tone: &str, title: &str, details: &[(&str, &str)]) -> Moment {
    Moment {
        at: NOW.plus(-120_000 + i64::try_from(seq).unwrap() * 12_000),
        seq: (1200 + seq, 0),
        kind: kind.to_owned(),
        actor: "support-bot".to_owned(),
        title: title.to_owned(),
        details: details.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        effect: None,
        hold: None,
        class: None,
        tone: tone.to_owned(),
    }
}

fn timeline() -> Vec<Moment> {
    let mut all = vec![
        moment(0, "began", "plain", "refund-order for ann", &[("parameters", "order \"ord_5831\", limit 100")]),
        moment(
            1,
            "admitted",
            "plain",
            "shop.get_order id: \"ord_5831\"",
            &[("by", "entry look"), ("label", "confidential")],
        ),
        moment(2, "settled", "good", "shop.get_order ok, 1,204 bytes", &[]),
        moment(
            3,
            "refused",
            "bad",
            "shop.refund amount: 500, id: \"ord_5831\"",
            &[("argument_outside_task", "entry refund: amount is above the limit of 100")],
        ),
        moment(4, "granted", "good", "write, once, within 5 minutes", &[("by", "purpose:refund-order [elevate]")]),
        moment(
            5,
            "held",
            "waits",
            "shop.refund amount: 84.50, id: \"ord_5831\"",
            &[("approval_needed", "2 people of payments-leads, says purpose:refund-order step refund")],
        ),
        moment(
            6,
            "granted",
            "good",
            "yuki says yes",
            &[("why", "Photographs are in the ticket, amount fits the order.")],
        ),
        moment(7, "settled", "bad", "shop.refund outcome unknown", &[("why", "the connection was lost after sending")]),
    ];
    for (moment, class) in all.iter_mut().zip([None, Some(Class::Read), None, Some(Class::Write)]) {
        moment.class = class;
    }
    if let Some(held) = all.get_mut(5) {
        held.class = Some(Class::Write);
        held.hold = Some(HoldId(1));
        held.effect = Some(EffectId(51));
    }
    all
}
