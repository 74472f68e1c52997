//! May a credential be issued for a task?

use super::{
    Shelf,
    call::{Admission, Judged, chain, judge_question, judge_start, versions},
    may, now,
    poll::judge_poll,
};
use crate::{
    hash::Hash,
    names::{EffectId, GrantId, Name, RunId, TaskId, Tool},
    node::Node,
    policy::{Bundle, Class, CredentialSource, Credentials, Deed},
    reason::{Reason, Word},
    request::{Clock, Lease, Needs, Start},
    state::{State, Task},
    time::Millis,
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a credential will be, once no reason is left
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leasing {
    /// The task that it is for; nothing if somebody looks at what a server offers
    pub task: Option<TaskId>,
    /// For whom
    pub whom: Whom,
    /// Of which class
    pub class: Class,
    /// Where it comes from
    pub source: Name,
    /// What the policy says of that
    pub from: CredentialSource,
    /// The digest of that and of how it is put in
    pub config: Hash,
    /// What it is narrowed to
    pub scope: BTreeMap<Name, String>,
    /// When it is over at the latest
    pub until: Millis,
    /// The elevations without which its class would not be open
    pub elevated: BTreeSet<GrantId>,
    /// The time that was judged with
    pub now: Millis,
}

/// Whom a credential is for, as servers of others can be told
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// The agent that works; nothing if somebody looks at what a server offers
    pub agent: Option<Name>,
    /// The agents whose tasks it was delegated by, the nearest first
    pub above: Vec<Name>,
    /// The user on whose behalf, or who looks
    pub user: Option<Name>,
    /// Since which change of the policy that user has the name
    pub generation: u64,
    /// For which purpose
    pub purpose: Option<Name>,
}

/// Credentials of one task that are not known to be of no use
pub const LEASES_MAX: u32 = 32;
/// How long a credential lives with which somebody looks at what a server offers
const PROBE_MS: i64 = 120_000;

/// The unmet reasons why a credential may not be issued
///
/// It is judged as the call that needs it: nothing is issued for what would not be permitted at that moment. Where it is
/// only looked at what there is, reading has to stand in the task, and reading is all that it is for.
///
/// # Errors
/// The reasons, sorted.
pub fn judge_lease(state: &State, shelf: &Shelf, lease: &Lease, clock: Clock) -> Result<Leasing, Vec<Reason>> {
    let now = now(state, clock).0;
    let not_yours = |tool: &Tool| Err(vec![Reason::new(Word::NotYours, tool)]);
    let (task_id, class, elevated) = match &lease.needs {
        Needs::Call(call) if call.tool.connector == lease.connector => {
            match judge_question(state, shelf, call, clock)? {
                Judged::Admit(admission) => admitted(state, &admission),
                Judged::Prepare(admission) => admitted(state, &admission),
                // It needs something else first, and is put again.
                _ => return Err(vec![Reason::new(Word::Withheld, &call.tool)]),
            }
        }
        Needs::Call(call) => return not_yours(&call.tool),
        Needs::Poll(poll) => match judge_poll(state, shelf, poll, clock)? {
            polling if polling.tool.connector == lease.connector => {
                (Some(polling.task), polling.class, BTreeMap::new())
            }
            polling => return not_yours(&polling.tool),
        },
        Needs::Look(run) => (Some(looks(state, shelf, (lease, *run), clock)?), Class::Read, BTreeMap::new()),
        Needs::Probe(by) => {
            let node = Node::Connector(lease.connector.clone());
            let unmet =
                may(state, shelf, by, Deed::Accept, &node, now).or_else(|| state.connector_life(&lease.connector));
            if let Some(reason) = unmet {
                return Err(vec![reason]);
            }
            (None, Class::Read, BTreeMap::new())
        }
    };
    let Some(current) = shelf.current(state) else {
        return Err(vec![Reason::new(Word::PolicyUnavailable, "policy")]);
    };
    let Some((credentials, from)) = source(current, &lease.connector) else {
        return Err(vec![Reason::new(Word::PolicyUnavailable, &lease.connector)]);
    };
    let task = task_id.and_then(|task| state.task(task));
    let mut reasons = BTreeSet::new();
    let named = format!("credentials:{}", credentials.source);
    if !from.classes().contains(&class) {
        reasons.insert(Reason::new(Word::CredentialClass, &named).with("class", class));
    }
    if task.is_some_and(|task| task.leased >= LEASES_MAX) {
        reasons.insert(Reason::new(Word::TooManyLeases, &named).with("limit", LEASES_MAX));
    }
    let mut scope = BTreeMap::new();
    for (name, parameter) in &from.scope {
        let value = match task {
            Some(task) => task.values.get(parameter).and_then(plain),
            None => from.probe.get(name).cloned(),
        };
        match value {
            Some(value) => drop(scope.insert(name.clone(), value)),
            None => drop(reasons.insert(Reason::new(Word::CredentialScope, &named).with("parameter", parameter))),
        }
    }
    if !reasons.is_empty() {
        return Err(reasons.into_iter().collect());
    }
    let tasks = task_id.zip(task).into_iter().flat_map(|(id, task)| chain(state, id, task));
    let probes = task.is_none().then(|| now.plus(PROBE_MS));
    let ends = tasks.map(|(_, task)| task.expires).chain(elevated.values().copied()).chain(probes);
    let until = ends.chain(from.ttl_ms.map(|ttl| now.plus(ttl))).min().unwrap_or(now);
    Ok(Leasing {
        task: task_id,
        whom: whom(state, task_id.zip(task), &lease.needs),
        class,
        source: credentials.source.clone(),
        from: from.clone(),
        config: credentials.config,
        scope,
        until,
        elevated: elevated.into_keys().collect(),
        now,
    })
}

fn whom(state: &State, task: Option<(TaskId, &Task)>, needs: &Needs) -> Whom {
    let user = match (task, needs) {
        (Some((_, task)), _) => task.user.clone(),
        (None, Needs::Probe(by)) => by.user().cloned(),
        (None, _) => None,
    };
    let generation = user.as_ref().and_then(|user| state.generation(&Node::User(user.clone()))).unwrap_or_default();
    let above = task.into_iter().flat_map(|(id, task)| chain(state, id, task).skip(1));
    Whom {
        agent: task.map(|(_, task)| task.agent.clone()),
        above: above.map(|(_, task)| task.agent.clone()).collect(),
        user,
        generation,
        purpose: task.map(|(_, task)| task.purpose.clone()),
    }
}

/// What a connector wants to be shown, and where that comes from; `None`: nothing
pub(super) fn source<'b>(bundle: &'b Bundle, connector: &Name) -> Option<(&'b Credentials, &'b CredentialSource)> {
    let credentials = bundle.connectors.get(connector)?.credentials.as_ref()?;
    Some((credentials, bundle.sources.get(&credentials.source)?))
}

/// Whether a connection that was made with `has` is one that a call of this class may leave on; and with which lease
///
/// # Errors
/// It has to be made anew, with a lease of this class.
pub(super) fn goes_with(
    state: &State,
    current: &Bundle,
    (task, connector, class): (TaskId, &Name, Class),
    has: Option<EffectId>,
    now: Millis,
) -> Result<Option<EffectId>, ()> {
    let wanted = current.connectors.get(connector).and_then(|connector| connector.credentials.as_ref());
    let lease = match wanted {
        None => None,
        Some(credentials) => Some(state.lease(task, (connector, class), credentials.config, now).ok_or(())?),
    };
    if lease == has { Ok(lease) } else { Err(()) }
}

fn admitted(state: &State, admission: &Admission) -> (Option<TaskId>, Class, BTreeMap<GrantId, Millis>) {
    let used = admission.used.iter().filter(|used| state.is_elevation(used.grant));
    (Some(admission.task), admission.class, used.map(|used| (used.grant, used.until)).collect())
}

/// Whether a task may look at what a connector has
fn looks(state: &State, shelf: &Shelf, (lease, run): (&Lease, RunId), clock: Clock) -> Result<TaskId, Vec<Reason>> {
    let start = Start { effect: lease.effect, run, connector: lease.connector.clone(), lease: None };
    let task_id = judge_start(state, shelf, &start, clock)?.task;
    let reads = |task: &Task, bundle: &Bundle| {
        let purpose = bundle.purposes.get(&task.purpose);
        let tier = bundle.connectors.get(&lease.connector).map(|connector| connector.tier).unwrap_or_default();
        purpose.is_some_and(|purpose| tier.stands(Class::Read, &purpose.limits.standing))
    };
    let current = shelf.current(state);
    let stands = state.task(task_id).zip(current).is_some_and(|(task, current)| {
        chain(state, task_id, task).all(|(_, task)| {
            versions(shelf, task.bundle, current).all(|bundle| bundle.is_some_and(|bundle| reads(task, bundle)))
        })
    });
    let closed = || vec![Reason::new(Word::ClassNotOpen, &lease.connector).with("class", Class::Read)];
    stands.then_some(task_id).ok_or_else(closed)
}

/// A value as it stands in a name or a grant
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
