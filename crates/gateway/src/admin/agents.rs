//! Agents as the policy describes them and as they have been seen; halting what stands in the policy, and letting it go on.

use super::{Admin, Answer, Failure, Shared, Who};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use portreeve_core::{
    engine::Reply,
    names::Name,
    node::Node,
    policy::{Agent, Deed},
    proof::{Proof, Way},
    request::{Pause, Request},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// All agents of the policy in force
pub(super) async fn list(State(admin): Shared, who: Who) -> Answer {
    who.may(&admin, Deed::Inspect, "agents").await?;
    Ok(Json(json!({ "agents": shown(&admin, None).await? })))
}

/// One of them
pub(super) async fn show(State(admin): Shared, who: Who, Path(name): Path<String>) -> Answer {
    let name: Name = Failure::parsed(&name)?;
    who.may(&admin, Deed::Inspect, format!("agent:{name}")).await?;
    let mut found = shown(&admin, Some(&name)).await?;
    found.pop().map(Json).ok_or_else(|| {
        let message = format!("No agent {name} is in the policy.");
        let remedy = "List them with `portreeve agent list`, or add it with `portreeve agent add NAME`.";
        Failure::new(StatusCode::NOT_FOUND, "agent_unknown", message, remedy)
    })
}

async fn shown(admin: &Admin, only: Option<&Name>) -> Result<Vec<Value>, Failure> {
    let view = admin.catalogue.view();
    let Some(bundle) = view.bundle.clone() else { return Ok(Vec::new()) };
    let mut purposes: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
    for (name, purpose) in &bundle.purposes {
        for agent in &purpose.open.agents {
            purposes.entry(agent.clone()).or_default().push(name.clone());
        }
    }
    let agents: Vec<(Name, Agent)> = bundle
        .agents
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .map(|(name, agent)| (name.clone(), agent.clone()))
        .collect();
    let now = admin.clock.now();
    let asked = admin.door.ask(move |engine| {
        let state = engine.state();
        let mut live: BTreeMap<&Name, usize> = BTreeMap::new();
        for (_, task) in state.tasks() {
            *live.entry(&task.agent).or_default() += 1;
        }
        let row = |(name, agent): &(Name, Agent)| {
            let node = Node::Agent(name.clone());
            let overdue = agent.review_by.is_some_and(|review_by| review_by <= now);
            let standing = match (state.ended_why(&node), state.paused(&node)) {
                (Some(_), _) => "retired",
                (None, Some(_)) => "paused",
                (None, None) if overdue => "overdue",
                (None, None) => "live",
            };
            json!({
                "agent": name,
                "owner": agent.owner,
                "review_by": agent.review_by,
                "state": standing,
                "paused": state.paused(&node),
                "purposes": purposes.get(name).cloned().unwrap_or_default(),
                "proofs": agent.proofs.iter().map(proof).collect::<Vec<_>>(),
                "seen": state.seen(name).map(|seen| json!({ "at": seen.at, "how": seen.how, "from": seen.from })),
                "tasks": live.get(name).copied().unwrap_or_default(),
            })
        };
        agents.iter().map(row).collect::<Vec<_>>()
    });
    asked.await.ok_or_else(Failure::unavailable)
}

fn proof(proof: &Proof) -> Value {
    let kind = match &proof.way {
        Way::Spiffe(_) => "spiffe",
        Way::Issued { .. } => "issuer",
        Way::Key { .. } => "key",
        Way::Program { .. } => "program",
    };
    json!({ "kind": kind, "shows": proof.way.to_string(), "replicas": proof.replicas, "attest": proof.attest })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseNode {
    /// An agent, a user, a connector or a purpose
    node: Node,
    /// Whether it is halted, or goes on
    halts: bool,
    #[serde(default)]
    why: String,
}

/// Halts a node, or lets it go on
pub(super) async fn pause(State(admin): Shared, who: Who, Json(ask): Json<PauseNode>) -> Answer {
    let by = who.by;
    let (node, halts) = (ask.node.clone(), ask.halts);
    match admin.door.submit(Request::Pause(Pause { node: ask.node, halts, by, why: ask.why })).await {
        Reply::Recorded => Ok(Json(json!({ "node": node, "paused": halts }))),
        Reply::Refused(reasons) => Err(Failure::refused(&reasons)),
        _ => Err(Failure::unavailable()),
    }
}
