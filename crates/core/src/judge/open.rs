//! May this task be opened? An agent never chooses its own authority.

use super::{
    Shelf,
    call::Used,
    hold::{self, Answers, Holding, text},
    may, now,
};
use crate::{
    event::{Actor, ChosenBy},
    hash::Hash,
    names::{HoldId, Name},
    node::Node,
    pattern::{Match, Scope},
    policy::{Bundle, Deed, Purpose, Quorum, Users},
    proof::{Behalf, How, Proven},
    reason::{Reason, Word},
    request::{Clock, Open},
    state::{Hold, State, Task, owners},
    time::Millis,
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// What opening a task means, once no reason is left
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The current version of the policy
    pub bundle: Hash,
    /// Every parameter, read as its kind, with defaults, and who chose it
    pub parameters: BTreeMap<Name, (Value, ChosenBy)>,
    /// When the task is over at the latest; never later than its parent
    pub expires: Millis,
    /// How long its purpose lets it live, in milliseconds
    pub lasts_ms: i64,
    /// Milliseconds without a call after which it is over
    pub idle_ms: Option<i64>,
    /// The time that was judged with
    pub now: Millis,
    /// The question whose answers let it begin
    pub hold: Option<HoldId>,
    /// The answers that are used for that
    pub used: Vec<Used>,
    /// It is for an emergency, and this group reviews it
    pub review: Option<Name>,
}

/// What is left to do for an opening against which there is no reason
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: the task may begin
    Open(Opened),
    /// People are asked, or have not all answered
    Hold {
        /// The question
        holding: Holding,
        /// The digest by which a repeat is known
        key: Hash,
        /// What opening it would mean
        opened: Opened,
    },
}

/// The unmet reasons why a task may not be opened; none: what opening it means, or whom to ask before that
///
/// # Errors
/// The reasons, sorted so that the most useful one comes first.
pub fn judge_open(state: &State, shelf: &Shelf, open: &Open, clock: Clock) -> Result<Opening, Vec<Reason>> {
    let (now, clock_reason) = now(state, clock);
    let mut reasons = BTreeSet::from_iter(clock_reason);
    let Some(bundle) = shelf.current(state) else {
        reasons.insert(Reason::new(Word::PolicyUnavailable, "policy"));
        return Err(reasons.into_iter().collect());
    };
    reasons.extend(places(state, open, now));
    reasons.extend(principals(state, bundle, open, now));
    let Some(purpose) = bundle.purposes.get(&open.purpose) else {
        reasons.insert(Reason::new(Word::PurposeUnknown, Node::Purpose(open.purpose.clone())));
        return Err(reasons.into_iter().collect());
    };
    if let Some(undo) = &open.undoes {
        // What takes something back is a person's decision, within what the policy still lets the agent's tools do.
        reasons.extend(may(state, shelf, &open.by, Deed::Undo, undo.of, now));
        if open.parent.is_some() {
            reasons.insert(Reason::new(Word::NotYours, undo.of));
        }
        if undo.steps.is_empty() || undo.steps.len() > UNDO_STEPS_MAX {
            reasons.insert(Reason::new(Word::UndoImpossible, undo.of).with("steps", undo.steps.len()));
        }
    } else {
        reasons.extend(entitlement(state, (purpose, bundle), open, now));
    }
    let (parameters, unmet) = parameters(state, (purpose, bundle), open, now);
    reasons.extend(unmet.into_iter().filter(|_| open.undoes.is_none()));
    if !reasons.is_empty() {
        return Err(reasons.into_iter().collect());
    }
    let expires = now.plus(purpose.limits.expires_after_ms);
    // With the day of its review an agent's tasks are over.
    let review_by = bundle.agents.get(&open.agent).and_then(|agent| agent.review_by);
    let expires = review_by.map_or(expires, |review_by| expires.min(review_by));
    let parent = open.parent.and_then(|parent| state.task(parent));
    let opened = Opened {
        bundle: bundle.digest,
        parameters,
        expires: parent.map_or(expires, |parent| expires.min(parent.expires)),
        lasts_ms: purpose.limits.expires_after_ms,
        idle_ms: purpose.limits.idle_after_ms,
        now,
        hold: None,
        used: Vec::new(),
        review: purpose.break_glass.as_ref().map(|glass| glass.review.clone()).filter(|_| open.undoes.is_none()),
    };
    match purpose.open.ask.as_ref().filter(|_| open.undoes.is_none()) {
        None => Ok(Opening::Open(opened)),
        Some(quorum) => consent(state, (bundle, purpose), open, (quorum, opened)),
    }
}

/// Openings about which one person may have people asked at once
const OPENINGS_MAX: usize = 16;
/// Calls that one undo takes back at most
const UNDO_STEPS_MAX: usize = 1_000;

/// Whether people have agreed to exactly this opening; if not, what they are asked
fn consent(
    state: &State,
    (bundle, purpose): (&Bundle, &Purpose),
    open: &Open,
    (quorum, mut opened): (&Quorum, Opened),
) -> Result<Opening, Vec<Reason>> {
    let source = format!("purpose:{}", open.purpose);
    let by_agent = matches!(open.by, Actor::Agent(_)) && opened.review.is_none();
    let opener = match open.by.user() {
        // Several people open it: the first of them has to be known too. An agent is nobody, and no emergency's opener.
        None if !by_agent => return Err(vec![Reason::new(Word::UserUnknown, source)]),
        opener => opener,
    };
    let mut unmet = Vec::from_iter(opener.and_then(|opener| hold::stopped(state, opener)));
    // Whoever opens it in an emergency is one of those who have to agree.
    let agrees = |opener: &&Name| state.is_approver(bundle, opener, &quorum.who, opened.now);
    let outsider = opener.filter(|opener| opened.review.is_some() && !agrees(opener));
    if let Some(opener) = outsider {
        unmet.push(Reason::new(Word::NotApprover, &source).with("opener", opener).with("asked", &quorum.who));
    }
    if !unmet.is_empty() {
        return Err(unmet);
    }
    let now = opened.now;
    let asks = BTreeSet::from([Reason::asking(source, quorum).with("step", "open")]);
    let given = opened.parameters.iter().map(|(name, (value, _))| (name.to_string(), value.clone())).collect();
    let user = open.user.as_ref().map_or(Value::Null, text);
    let objective = open.objective.clone().map_or(Value::Null, Value::String);
    let shown = BTreeMap::from([
        ("kind", text("opening")),
        ("opener", opener.map_or(Value::Null, text)),
        ("agent", text(&open.agent)),
        ("user", user),
        ("purpose", text(&open.purpose)),
        ("parameters", Value::Object(given)),
        ("objective", objective),
        ("lasts_ms", text(purpose.limits.expires_after_ms)),
    ]);
    let key = hold::binding(shown.clone());
    let shown = BTreeMap::from([("policy", text(bundle.digest))]).into_iter().chain(shown).collect();
    // What was agreed to is the purpose as it was shown: of another version it is another question.
    let same = |held: &Hold| held.is_open(now) && held.held.bundle == bundle.digest;
    if let Some((id, held)) = state.opening_of(key).filter(|(_, held)| same(held)) {
        let reasons: Vec<Reason> = asks.iter().cloned().collect();
        match hold::answers(state, bundle, held, (&asks, now)) {
            Answers::Enough(used) => {
                opened.hold = Some(id);
                opened.used = used;
                return Ok(Opening::Open(opened));
            }
            Answers::Open => return Ok(Opening::Hold { holding: hold::waits(&held.held, reasons), key, opened }),
        }
    }
    if let Some(Err(declined)) = state.opening_of(key).and_then(|(id, held)| hold::again(id, held, now)) {
        return Err(vec![declined]);
    }
    if state.openings_of(opener, &open.agent, now) >= OPENINGS_MAX {
        let whose = opener.map_or_else(|| Node::Agent(open.agent.clone()), |opener| Node::User(opener.clone()));
        let reason = Reason::new(Word::TooManyHolds, whose);
        return Err(vec![reason.with("limit", OPENINGS_MAX)]);
    }
    let mut own = BTreeSet::from_iter(owners(bundle, &open.agent));
    own.extend(open.user.iter().chain(opener).cloned());
    let questions = hold::questions(&asks);
    let (own, chain) = (own.into_iter().collect(), Vec::new());
    let reasons = asks.into_iter().collect();
    let holding = hold::ask(state, (HoldId(open.task.0), None), (questions, reasons), |_| shown, (own, chain), now)?;
    Ok(Opening::Hold { holding, key, opened })
}

/// Tasks that may be open at once in one data folder
const TASKS_MAX: usize = 200_000;
/// Tasks above a task
const DEPTH_MAX: u8 = 3;

fn places(state: &State, open: &Open, now: Millis) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let used = state.task(open.task).is_some() || state.over.contains_key(&open.task);
    if used || state.task_of(open.run).is_some() {
        reasons.push(Reason::new(Word::RunHasTask, open.run));
    }
    if state.tasks.len() >= TASKS_MAX {
        reasons.push(Reason::new(Word::TooManyTasks, Node::Tenant).with("limit", TASKS_MAX));
    }
    if let Some(over) = state.registry.get(&Node::Tenant).and_then(|standing| standing.over) {
        reasons.push(Reason::new(Word::TenantStopped, Node::Tenant).with("why", over));
    }
    if matches!(open.by, Actor::Person { .. }) && open.undoes.is_none() {
        reasons.push(Reason::new(Word::NotYours, &open.purpose));
    }
    if let Some(parent) = open.parent {
        reasons.extend(state.life(parent, now));
        // What is delegated stays in the memory that it comes from, and acts for the same user.
        let same = |parent: &Task| parent.memory == open.memory && parent.user == open.user;
        if state.task(parent).is_some_and(|parent| !same(parent)) {
            reasons.push(Reason::new(Word::NotYours, parent));
        }
        if state.task(parent).is_some_and(|parent| parent.depth >= DEPTH_MAX) {
            reasons.push(Reason::new(Word::TooDeep, parent).with("limit", DEPTH_MAX));
        }
    }
    match (&open.by, open.parent) {
        // Only delegation makes children, and only out of the task that the run works on.
        (Actor::Run(run), Some(parent)) if state.task_of(*run) == Some(parent) => {}
        (Actor::Owner { .. } | Actor::Person { .. }, None) => {}
        // An agent opens tasks for itself, once it has shown who it is. Which program it is, whoever starts it shows.
        (Actor::Agent(agent), None) if *agent == open.agent && open.proven.as_ref().is_some_and(is_own) => {}
        _ => reasons.push(Reason::new(Word::NotYours, &open.purpose)),
    }
    reasons
}

/// Whether an agent shows it by itself
fn is_own(proven: &Proven) -> bool {
    proven.how != How::Program
}

/// Whether an agent holds a token of this person
fn speaks_for(bundle: &Bundle, user: &Name, proven: Option<&Proven>, now: Millis) -> bool {
    let behalf = proven.and_then(|proven| proven.behalf.as_deref()).filter(|behalf| now < behalf.until);
    let is_theirs = |behalf: &Behalf| {
        let sign_in = bundle.users.get(user).and_then(|user| user.sign_in.as_ref());
        sign_in.is_some_and(|of| of.issuer == behalf.issuer && of.sub == behalf.subject)
    };
    behalf.is_some_and(is_theirs)
}

fn principals(state: &State, bundle: &Bundle, open: &Open, now: Millis) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut stands = |word, node: Node| reasons.extend(standing(state, word, &node));
    stands(Word::AgentStopped, Node::Agent(open.agent.clone()));
    stands(Word::PurposeStopped, Node::Purpose(open.purpose.clone()));
    if let Some(user) = &open.user {
        stands(Word::UserStopped, Node::User(user.clone()));
    }
    if !bundle.agents.contains_key(&open.agent) {
        reasons.push(Reason::new(Word::AgentUnknown, Node::Agent(open.agent.clone())));
    }
    // What is delegated rests on the task that it comes from, and what takes something back is a person's.
    if open.parent.is_none() && open.undoes.is_none() {
        reasons.extend(shown(bundle, &open.agent, open.proven.as_ref(), now));
    }
    if let Some(user) = open.user.as_ref().filter(|user| !bundle.users.contains_key(*user)) {
        reasons.push(Reason::new(Word::UserUnknown, Node::User(user.clone())));
    }
    if matches!(open.by, Actor::Agent(_))
        && let Some(user) = open.user.as_ref().filter(|user| !speaks_for(bundle, user, open.proven.as_ref(), now))
    {
        // That somebody has it work for them, no agent says by itself.
        reasons.push(Reason::new(Word::ProofWrong, Node::User(user.clone())).with("shown", "nothing of theirs"));
    }
    reasons
}

/// Whether a node of the registry is over or halted
pub(super) fn standing(state: &State, word: Word, node: &Node) -> Vec<Reason> {
    let Some(standing) = state.registry.get(node) else { return Vec::new() };
    let over = standing.over.map(|why| Reason::new(word, node).with("why", why));
    let paused = standing.paused.map(|since| Reason::new(Word::Paused, node).with("since", since));
    over.into_iter().chain(paused).collect()
}

/// Whether an agent has proven itself in one of the ways that its file names, and its review is not overdue
pub(super) fn shown(bundle: &Bundle, name: &Name, proven: Option<&Proven>, now: Millis) -> Vec<Reason> {
    let mut reasons = Vec::new();
    // That there is no such agent is said elsewhere.
    let Some(agent) = bundle.agents.get(name) else { return reasons };
    let source = Node::Agent(name.clone());
    if let Some(review_by) = agent.review_by.filter(|review_by| *review_by <= now) {
        reasons.push(Reason::new(Word::AgentOverdue, &source).with("review_by", review_by));
    }
    let fits = match proven {
        Some(proven) => agent.proof(proven).is_some() && now < proven.until,
        // The owner of the data folder vouches for an agent that has no other way to prove itself.
        None => agent.proofs.is_empty(),
    };
    if !fits {
        let how = proven.map_or("nothing", |proven| proven.how.as_str());
        reasons.push(Reason::new(Word::ProofWrong, &source).with("shown", how));
    }
    reasons
}

fn entitlement(state: &State, (purpose, bundle): (&Purpose, &Bundle), open: &Open, now: Millis) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let source = Node::Purpose(open.purpose.clone());
    if !purpose.open.agents.contains(&open.agent) {
        reasons.push(Reason::new(Word::PurposeNotOpen, &source).with("agent", &open.agent));
    }
    let member = |group| open.user.as_ref().is_some_and(|user| state.member(bundle, user, group, now).is_some());
    let entitled = match &purpose.open.users {
        // A purpose for runs without a user is not for runs with one: their rights would not count.
        Users::None => open.user.is_none(),
        Users::Group(group) => member(group),
        Users::Named(names) => open.user.as_ref().is_some_and(|user| names.contains(user)),
    };
    if !entitled {
        let user = open.user.as_ref().map_or("none", Name::as_str);
        reasons.push(Reason::new(Word::PurposeNotOpen, &source).with("user", user));
    }
    if let Some(review_by) = purpose.review_by.filter(|review_by| *review_by <= now) {
        reasons.push(Reason::new(Word::PurposeOverdue, &source).with("review_by", review_by));
    }
    reasons
}

type Chosen = BTreeMap<Name, (Value, ChosenBy)>;

fn parameters(
    state: &State,
    (purpose, bundle): (&Purpose, &Bundle),
    open: &Open,
    now: Millis,
) -> (Chosen, Vec<Reason>) {
    let source = Node::Purpose(open.purpose.clone());
    let mut reasons = Vec::new();
    let mut chosen = Chosen::new();
    for name in open.parameters.keys().filter(|name| !purpose.parameters.contains_key(*name)) {
        reasons.push(Reason::new(Word::ParameterUnknown, &source).with("parameter", name));
    }
    for (name, parameter) in &purpose.parameters {
        let given = open.parameters.get(name).map(|(value, by)| (value, source_of(&open.by, *by)));
        // A default stands in the purpose, so its owner chose it.
        let default = parameter.default.as_ref().map(|value| (value, ChosenBy::Parameter));
        let Some((value, by)) = given.or(default) else {
            reasons.push(Reason::new(Word::ParameterMissing, &source).with("parameter", name));
            continue;
        };
        match parameter.kind.read(value) {
            Ok(value) => {
                chosen.insert(name.clone(), (value, by));
            }
            Err(expected) => reasons.push(
                Reason::new(Word::ParameterOutsidePurpose, &source).with("parameter", name).with("expected", expected),
            ),
        }
    }
    let values: BTreeMap<Name, Value> = chosen.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect();
    let user = open.user.as_ref().and_then(|user| state.person(bundle, user, now));
    let scope = Scope::opening(&values, user.as_deref().map(|user| &user.attributes));
    for (name, pattern) in &purpose.open.bounds {
        if values.contains_key(name) && pattern.test(values.get(name), scope) != Match::Yes {
            reasons.push(
                Reason::new(Word::ParameterOutsidePurpose, &source)
                    .with("parameter", name)
                    .with("expected", pattern.in_words(Some(scope))),
            );
        }
    }
    (chosen, reasons)
}

/// A value chosen by an agent stays chosen by an agent, whatever the caller says of it
fn source_of(by: &Actor, claimed: ChosenBy) -> ChosenBy {
    match by {
        Actor::Owner { .. } | Actor::Person { .. } | Actor::System => claimed,
        Actor::Run(_) | Actor::Agent(_) => ChosenBy::Model,
    }
}
