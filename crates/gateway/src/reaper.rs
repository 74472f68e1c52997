//! Does what is owed to the world: stops waiting for calls, ends children, lets go of ended runs.

use crate::{
    children::Children,
    door::{Door, Notice},
    leases::Leases,
    links::Links,
    session::Sessions,
    streams::Streams,
    tasks::Tasks,
    under_way::UnderWay,
};
use portreeve_core::{
    engine::PERMIT_MS,
    event::Process,
    names::EffectId,
    node::{Node, Why},
};
use portreeve_upstream::{child::end_recorded, latch::Latches};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// Works off notices until the door is gone
pub async fn run(
    mut notices: mpsc::UnboundedReceiver<Notice>,
    door: Door,
    latches: Arc<Latches>,
    (links, children, leases): (Arc<Links>, Arc<Children>, Arc<Leases>),
    (under_way, tasks): (Arc<UnderWay>, Arc<Tasks>),
    (streams, sessions): (Arc<Streams>, Arc<Sessions>),
) {
    let reaping = Arc::new(Mutex::new(HashSet::new()));
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Cancel(effect) => under_way.cancel(effect, "what it rested on was stopped"),
            Notice::Stopped(node) => {
                under_way.look_again();
                streams.look_again();
                streams.look_at_lives();
                match &node {
                    Node::Connector(name) => children.stopped(Some(name)),
                    Node::Tenant => children.stopped(None),
                    _ => {}
                }
                // These never live again; the others may, and their latches follow the registry.
                if matches!(node, Node::Grant(_) | Node::Hold(_)) {
                    void(&latches, node);
                }
            }
            Notice::Ended(task, run) => {
                under_way.look_again();
                streams.look_again();
                streams.cut(run);
                sessions.forget(run);
                links.forget(run);
                tasks.ended(run);
                task.into_iter().for_each(|task| void(&latches, Node::Task(task)));
                void(&latches, Node::Run(run));
            }
            Notice::Withdraw { effect } => {
                // The same is owed until it is recorded as done, and taken back by one at a time.
                if !reaping.lock().unwrap_or_else(PoisonError::into_inner).insert(effect) {
                    continue;
                }
                // In this order: whoever lays a link aside meanwhile sees the one or is seen by the other.
                leases.ends(effect);
                links.unleash(effect);
                let (door, leases, reaping) = (door.clone(), Arc::clone(&leases), Arc::clone(&reaping));
                tokio::spawn(async move {
                    let again = leases.withdraw(effect).await;
                    if let Some(wait) = again {
                        tokio::time::sleep(wait).await;
                    }
                    reaping.lock().unwrap_or_else(PoisonError::into_inner).remove(&effect);
                    if again.is_some() {
                        door.look_again();
                    }
                });
            }
            Notice::Reap { effect, process, why } => {
                // The same is owed until it is recorded as done.
                if !reaping.lock().unwrap_or_else(PoisonError::into_inner).insert(effect) {
                    continue;
                }
                let (door, children, reaping) = (door.clone(), Arc::clone(&children), Arc::clone(&reaping));
                tokio::spawn(async move {
                    let reaped =
                        children.reaped(effect, why).await || left_behind(&children, effect, process, why).await;
                    reaping.lock().unwrap_or_else(PoisonError::into_inner).remove(&effect);
                    if !reaped {
                        tokio::time::sleep(AGAIN).await;
                        door.look_again();
                    }
                });
            }
        }
    }
}

/// Forgets the latch of what never lives again, once no permit from its life can look for it any more
pub(crate) fn void(latches: &Arc<Latches>, node: Node) {
    let latches = Arc::clone(latches);
    tokio::spawn(async move {
        tokio::time::sleep(VOID).await;
        latches.forget(&node);
    });
}

/// After this no permit from before is good any more
const VOID: Duration = Duration::from_millis(2 * PERMIT_MS.unsigned_abs());
/// When a child that could not be ended is looked for again
const AGAIN: Duration = Duration::from_secs(1);
/// How long the keeper of a child takes to end it after the process that started both is gone
const KEEPER: Duration = Duration::from_secs(2);

/// Ends a child that is not known to this life of the process, and says whether that is recorded
async fn left_behind(children: &Children, effect: EffectId, process: Option<Process>, why: Why) -> bool {
    let gone = match &process {
        Some(process) => end_recorded(process).await,
        // Its start was never settled: if it started at all, its keeper ends it.
        None if why == Why::Restarted => {
            tokio::time::sleep(KEEPER).await;
            true
        }
        // It is only now being started, and will be known once it is.
        None => false,
    };
    if gone {
        children.gone(effect, why).await;
    }
    gone
}
