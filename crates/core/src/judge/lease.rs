//! May a credential be issued for a task?

use super::{
    Shelf,
    call::{Admission, Judged, Starting, Used, chain, judge_question, judge_start, versions},
    grant::Observed,
    may, now,
    poll::{Polling, judge_poll},
};
use crate::{
    hash::Hash,
    names::{EffectId, GrantId, Name, RunId, TaskId, Tool},
    node::Node,
    policy::{Bundle, Class, CredentialSource, Credentials, Deed, Revocation, Serves},
    reason::{Reason, Word},
    request::{Clock, Lease, Needs, Poll, Start},
    state::{State, Task},
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    /// Until when what it rests on would let it live
    pub bound: Millis,
    /// The one call that may go with it, if it is not every call of its task, connector and class
    pub only: Option<EffectId>,
    /// The elevations without which its class would not be open
    pub used: Vec<Used>,
    /// What would have refused it, if a grant lets it through
    pub observed: Option<Observed>,
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
    let (now, clock_reason) = now(state, clock);
    let not_yours = |tool: &Tool| Err(vec![Reason::new(Word::NotYours, tool)]);
    let For { task: task_id, class, call, used, observed } = match &lease.needs {
        Needs::Call(call) if call.tool.connector == lease.connector => {
            match judge_question(state, shelf, call, clock)? {
                Judged::Admit(admission) => For::call(state, call.effect, admission),
                Judged::Prepare(admission) => For::call(state, call.effect, *admission),
                // It needs something else first, and is put again.
                _ => return Err(vec![Reason::new(Word::Withheld, &call.tool)]),
            }
        }
        Needs::Call(call) => return not_yours(&call.tool),
        Needs::Poll(poll) => match judge_poll(state, shelf, poll, clock)? {
            polling if polling.tool.connector == lease.connector => For::poll(state, poll, polling, now)?,
            polling => return not_yours(&polling.tool),
        },
        Needs::Look(run) => looks(state, shelf, (lease, *run), clock)?,
        Needs::Probe(by) => {
            if let Some(reason) = clock_reason {
                return Err(vec![reason]);
            }
            let node = Node::Connector(lease.connector.clone());
            let unmet =
                may(state, shelf, by, Deed::Accept, &node, now).or_else(|| state.connector_life(&lease.connector));
            if let Some(reason) = unmet {
                return Err(vec![reason]);
            }
            For { task: None, class: Class::Read, call: None, used: Vec::new(), observed: None }
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
    let opened = used.iter().map(|used| used.until).chain(observed.as_ref().map(|observed| observed.until));
    let ends = tasks.map(|(_, task)| task.expires).chain(opened).chain(probes);
    let bound = ends.min().unwrap_or(now);
    let until = from.ttl_ms.map_or(bound, |ttl| bound.min(now.plus(ttl)));
    let shortest = now.plus(from.back_end.says().shortest_ms());
    if from.revocation() == Revocation::ExpiryOnly && shortest > until {
        let reason =
            Reason::new(Word::CredentialOutlives, &named).with("seconds", from.back_end.says().shortest_ms() / 1_000);
        return Err(vec![reason]);
    }
    let only = task_id.and_then(|id| Wants::new(state, shelf, (id, &lease.connector, class), call?).only);
    Ok(Leasing {
        task: task_id,
        whom: whom(state, task_id.zip(task), &lease.needs),
        class,
        source: credentials.source.clone(),
        from: from.clone(),
        config: credentials.config,
        scope,
        until,
        bound,
        only,
        used,
        observed,
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

/// The connection that a call leaves on
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Made for this class
    pub class: Class,
    /// With a credential that serves this call alone; nothing if others may leave on it, too
    pub only: Option<EffectId>,
}

impl Wants {
    /// What a call of a task wants
    #[must_use]
    pub fn new(state: &State, shelf: &Shelf, (task, connector, class): (TaskId, &Name, Class), call: EffectId) -> Self {
        let each = |current: &Arc<Bundle>| {
            source(current, connector)?;
            let says = |task: &Task, bundle: &Bundle| {
                bundle.purposes.get(&task.purpose).is_some_and(|of| of.limits.credentials == Serves::Call)
            };
            let tasks = chain(state, task, state.task(task)?);
            let mut all = tasks.flat_map(|(_, task)| versions(shelf, task.bundle, current).map(move |of| (task, of)));
            all.any(|(task, bundle)| bundle.is_some_and(|bundle| says(task, bundle))).then_some(call)
        };
        Self { class, only: shelf.current(state).and_then(each) }
    }
}

/// Whether a connection that was made with `has` is one that a call of this class may leave on; and with which lease
///
/// # Errors
/// It has to be made anew, as that says.
pub(super) fn goes_with(
    state: &State,
    shelf: &Shelf,
    of: (TaskId, &Name, Class),
    (call, has): (EffectId, Option<EffectId>),
    now: Millis,
) -> Result<Option<EffectId>, Wants> {
    let (task, connector, class) = of;
    let wants = || Wants::new(state, shelf, of, call);
    let current = shelf.current(state).ok_or_else(wants)?;
    let wanted = current.connectors.get(connector).and_then(|connector| connector.credentials.as_ref());
    let lease = match wanted {
        None => None,
        Some(credentials) => {
            let wants = wants();
            let key = (connector.clone(), class, wants.only);
            Some(state.lease(task, &key, credentials.config, now).ok_or(wants)?)
        }
    };
    if lease == has { Ok(lease) } else { Err(wants()) }
}

/// What a credential is for, and what it rests on beside its task
struct For {
    task: Option<TaskId>,
    class: Class,
    /// The call, if it is issued for one
    call: Option<EffectId>,
    used: Vec<Used>,
    observed: Option<Observed>,
}

impl For {
    fn call(state: &State, call: EffectId, admission: Admission) -> Self {
        let Admission { task, class, used, observed, .. } = admission;
        let used = used.into_iter().filter(|used| state.is_elevation(used.grant)).collect();
        Self { task: Some(task), class, call: Some(call), used, observed }
    }

    /// The call that is asked after was made under elevations; where one is over, its class is not open any more
    fn poll(state: &State, poll: &Poll, polling: Polling, now: Millis) -> Result<Self, Vec<Reason>> {
        let Polling { task, class, observed, tool, .. } = polling;
        let begun = state.task(task).and_then(|task| task.pending(poll.of)).map(|pending| &pending.elevated);
        let closed = || Reason::new(Word::ClassNotOpen, &tool).with("class", class);
        let lives = |grant: &GrantId| {
            let (until, givers) = state.standing_elevation(*grant, now).ok_or_else(|| vec![closed()])?;
            let rests_on = std::iter::once(Node::Grant(*grant)).chain(givers).collect();
            Ok(Used { grant: *grant, reason: closed(), until, rests_on })
        };
        let used: Result<Vec<Used>, Vec<Reason>> = begun.into_iter().flatten().map(lives).collect();
        Ok(Self { task: Some(task), class, call: Some(poll.effect), used: used?, observed })
    }
}

/// Whether a task may look at what a connector has
fn looks(state: &State, shelf: &Shelf, (lease, run): (&Lease, RunId), clock: Clock) -> Result<For, Vec<Reason>> {
    let start = Start { effect: lease.effect, run, connector: lease.connector.clone(), lease: None };
    let Starting { task: task_id, observed, .. } = judge_start(state, shelf, &start, clock)?;
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
    let looks = For { task: Some(task_id), class: Class::Read, call: None, used: Vec::new(), observed };
    stands.then_some(looks).ok_or_else(closed)
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
