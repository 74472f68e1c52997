//! What agents and people ask for.

use super::{Env, Known, World};
use crate::versions::{TOOLS, text};
use portreeve_core::{
    event::{Actor, ChosenBy, To},
    hash::Hash,
    names::{EffectId, GrantId, MemoryId, Name, RunId, TaskId, Tool},
    node::{Node, Why},
    offer::Identity,
    request::{Call, Change, ChangeWhat, Fit, Grant, Open, Poll, Request, Saw, Start},
    value::Value,
};
use std::{collections::BTreeMap, sync::Arc};

impl World {
    /// The first policy and the definitions of every tool
    pub(super) fn set_up(&mut self) {
        self.tick();
        self.boot();
        self.change_to(0);
        for connector in ["shop", "files", "mail"].iter().filter_map(|name| name.parse::<Name>().ok()) {
            let definitions = definitions(&connector);
            let definitions = definitions.into_iter().map(|(name, digest)| (name, (digest, Vec::new()))).collect();
            let what = ChangeWhat::Pins { connector, definitions, identity: identity(false) };
            let Some(gateway) = &mut self.gateway else { return };
            gateway.change(Default::default(), Request::Change(Change { by: owner(), what }), &mut self.env);
        }
    }

    pub(super) fn change_to(&mut self, index: u64) {
        let Some(gateway) = &mut self.gateway else { return };
        let Some((version, bundle)) = self.env.library.at(index) else { return };
        let (name, bundle) = (version.name, Arc::clone(bundle));
        self.env.trace(|| format!("policy: {name}"));
        let nodes = bundle.nodes();
        // Out of the record, if it is there: somebody goes back.
        let back = self.env.oracle.was_current(&bundle.digest.to_string()) && self.env.random.chance(30);
        let what = if back {
            ChangeWhat::Back { bundle }
        } else {
            ChangeWhat::Bundle { bundle, blob: name.as_bytes().to_vec() }
        };
        gateway.change(nodes, Request::Change(Change { by: owner(), what }), &mut self.env);
    }

    pub(super) fn policy_changes(&mut self) {
        let index = self.env.random.below(16);
        self.change_to(index);
    }

    pub(super) fn agent_acts(&mut self) {
        if self.env.random.chance(3) {
            self.agent_wants_a_child();
        } else if self.env.random.chance(8) {
            self.agent_wants_a_class();
        } else if !self.env.told.is_empty() && self.env.random.chance(30) {
            self.agent_repeats();
        } else if self.env.known.is_empty() || self.env.random.chance(16) {
            self.someone_opens();
        } else {
            self.agent_calls();
        }
    }

    fn someone_opens(&mut self) {
        let env = &mut self.env;
        let rare = env.random.chance(20);
        let parent = if env.random.chance(50) { env.random.pick(&env.known).cloned() } else { None };
        let purposes = ["refund-order", "look-only", "support", "careful", "careful", "careful", "careful", "nightly"];
        let purpose = env.random.pick(&purposes).copied();
        let agent = env.random.pick(&["bot", "bot", "helper"]).copied();
        let agent = if rare {
            agent
        } else if purpose == Some("nightly") {
            Some("helper")
        } else {
            Some("bot")
        };
        let user = if (purpose == Some("nightly")) != rare { None } else { Some("ana") };
        let order = if env.random.chance(70) { "ord_1" } else { "ord_2" };
        let limit = 10 * (1 + env.random.below(if rare { 25 } else { 20 }));
        self.open((purpose.unwrap_or_default(), agent.unwrap_or_default(), user), (order, limit), parent);
    }

    /// Asks for a task; below `parent` if there is one
    pub(super) fn open(
        &mut self,
        (purpose, agent, user): (&str, &str, Option<&str>),
        (order, limit): (&str, u64),
        parent: Option<Known>,
    ) {
        let Some(gateway) = &mut self.gateway else { return };
        let env = &mut self.env;
        let (Ok(purpose), Ok(agent)) = (purpose.parse(), agent.parse::<Name>()) else { return };
        let user = user.and_then(|user| user.parse::<Name>().ok());
        // Ids are drawn by the shell; a child that names another memory or user than its parent's is a lie.
        let memory = match &parent {
            Some(parent) if !env.fails(10) => parent.memory,
            _ => MemoryId(env.id()),
        };
        let (task, run) = (TaskId(env.id()), RunId(env.id()));
        env.trace(|| format!("open {task} of {run}: {purpose} {agent} {user:?} {order} {limit} below {parent:?}"));
        let known =
            Known { task, run, memory, parent: parent.as_ref().map(|parent| parent.task), order: order.to_owned() };
        env.wanted.push(known);
        let limit: Value = limit.to_string().parse().unwrap_or(Value::Null);
        let parameters = [("order", text(order)), ("limit", limit)];
        // The caller claims the best source for every value.
        let parameters = parameters
            .into_iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, (value, ChosenBy::Parameter))))
            .collect();
        let by = match &parent {
            Some(parent) if !env.sabotage(crate::Sabotage::DelegateAsOwner) => Actor::Run(parent.run),
            _ => owner(),
        };
        let objective = Some("look after the order".to_owned());
        let (by_run, below) = (parent.is_some(), parent.map(|parent| parent.task));
        let below = below.filter(|_| matches!(by, Actor::Run(_)));
        let open = Open {
            task,
            run,
            memory,
            by,
            agent,
            user,
            purpose,
            parameters,
            objective,
            parent: below,
            undoes: None,
            proven: None,
        };
        gateway.open(task, by_run, Request::Open(open));
    }

    fn agent_wants_a_child(&mut self) {
        let (Some(known), Some(gateway)) = (self.env.random.pick(&self.env.known), &mut self.gateway) else { return };
        let (run, connector) = (known.run, self.env.random.pick(&["files", "files", "shop", "mail"]));
        if let Some(connector) = connector.and_then(|name| name.parse().ok()) {
            gateway.start(Start { effect: EffectId(self.env.id()), run, connector, lease: None });
        }
    }

    /// An agent goes on with a call that was answered with a question, or asks how it stands; or tries to do so again,
    /// in another task, or with another tool
    fn agent_goes_on(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let env = &mut self.env;
        let Some(mut call) = env.random.pick(&env.pending).cloned() else { return };
        let of = call.effect;
        call.effect = EffectId(env.id());
        if env.random.chance(10)
            && let Some(known) = env.random.pick(&env.known)
        {
            call.run = known.run;
        }
        if env.random.chance(40) {
            let poll = Poll { effect: call.effect, run: call.run, of, method: "tasks/get".to_owned(), lease: None };
            env.trace(|| format!("{} asks after {of} as {}", poll.run, poll.effect));
            return gateway.poll(poll, call.tool);
        }
        if env.random.chance(10)
            && let Some(tool) = env.random.pick(&TOOLS).and_then(|(tool, _)| tool.parse().ok())
        {
            call.tool = tool;
            call.fit.pin = definition(&call.tool);
        }
        call.answers.clear();
        call.continues = Some(of);
        env.report.calls += 1;
        env.trace(|| format!("{} goes on with {of} as {}", call.run, call.effect));
        gateway.call(call, env);
    }

    fn agent_calls(&mut self) {
        if !self.env.pending.is_empty() && self.env.random.chance(25) {
            return self.agent_goes_on();
        }
        let Some(known) = self.env.random.pick(&self.env.known).cloned() else { return };
        let tools = [
            "shop.get_order",
            "shop.get_order",
            "shop.refund",
            "shop.refund",
            "files.read",
            "shop.sweep",
            "shop.cancel_refund",
        ];
        let env = &mut self.env;
        let rare = env.random.chance(15);
        let tool = if rare { env.random.pick(&TOOLS).map(|(tool, _)| *tool) } else { env.random.pick(&tools).copied() };
        let order = if env.random.chance(85) { known.order.clone() } else { "ord_3".to_owned() };
        // Few enough that the same call comes again.
        let amount = if env.random.chance(50) { 5 } else { 1 + env.random.below(120) };
        let mut arguments = arguments(tool.unwrap_or_default(), &order, amount);
        if env.random.chance(4) {
            arguments.insert("note".to_owned(), text("please"));
        }
        self.call(&known, tool.unwrap_or_default(), arguments);
    }

    pub(super) fn call(&mut self, known: &Known, tool: &str, arguments: BTreeMap<String, Value>) {
        let Some(gateway) = &mut self.gateway else { return };
        let Ok(tool) = tool.parse::<Tool>() else { return };
        let env = &mut self.env;
        env.report.calls += 1;
        let pin = if env.fails(3) { Hash::of(b"another") } else { definition(&tool) };
        let effect = EffectId(env.id());
        env.trace(|| format!("{} calls {tool} as {effect} with {arguments:?}", known.run));
        gateway.call(
            Call {
                effect,
                run: known.run,
                tool,
                arguments,
                fit: Fit { pin, error: None },
                answers: Vec::new(),
                continues: None,
                before: None,
                lease: None,
            },
            env,
        );
    }

    pub(super) fn someone_stops_something(&mut self) {
        let env = &mut self.env;
        let known = env.random.pick(&env.known).cloned();
        let named = |kind: fn(Name) -> Node, name: &str| name.parse().ok().map(kind);
        let (node, by) = match (env.random.below(38), known) {
            (0..4, Some(Known { parent: Some(parent), .. })) => (Some(Node::Task(parent)), owner()),
            (4..8, Some(Known { parent: Some(parent), .. })) => (env.run_of(parent).map(Node::Run), owner()),
            (0..10, Some(known)) => (Some(Node::Task(known.task)), owner()),
            (10..12, Some(known)) => (Some(Node::Run(known.run)), Actor::Run(known.run)),
            (12..14, _) => (env.random.pick(&env.questions).copied().map(Node::Hold), owner()),
            (14, _) => (named(Node::Agent, "bot"), owner()),
            (15, _) => (named(Node::Agent, "helper"), owner()),
            (16, _) => (named(Node::User, "ana"), owner()),
            (17, _) => (named(Node::Connector, "shop"), owner()),
            (18, _) => (named(Node::Connector, "files"), owner()),
            (19, _) => (named(Node::Purpose, "look-only"), owner()),
            (20, _) => (Some(Node::Tenant), owner()),
            (21, _) => (env.any_child().map(Node::Child), owner()),
            (22..28, _) => (env.random.pick(&env.grants).copied().map(Node::Grant), owner()),
            // A run that would like to end what it is watched by.
            (28, Some(known)) => (env.random.pick(&env.grants).copied().map(Node::Grant), Actor::Run(known.run)),
            (29, _) => (named(Node::User, "bob"), owner()),
            (30, Some(known)) => (env.random.pick(&env.questions).copied().map(Node::Hold), Actor::Run(known.run)),
            _ => (None, owner()),
        };
        if let Some(node) = node {
            self.stop(node, by);
        }
    }

    /// A person lets calls outside of the envelope through for a while, or somebody who may not tries to
    pub(super) fn someone_observes(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let env = &mut self.env;
        let on = [
            "all",
            "purpose:support",
            "purpose:refund-order",
            "purpose:look-only",
            "connector:shop",
            "connector:files",
        ];
        let on = env.random.pick(&on).and_then(|on| on.parse().ok()).unwrap_or(Node::Tenant);
        let known = env.random.pick(&env.known).cloned();
        let by = match known {
            Some(known) if env.fails(10) => Actor::Run(known.run),
            _ => owner(),
        };
        let lasts = if env.fails(8) { 8 * 24 * 3_600_000 } else { env.random.millis(20_000) };
        let until = env.clock().steady.plus(lasts);
        let grant = GrantId(env.id());
        env.trace(|| format!("{by:?} lets {on} be observed until {until} by {grant}"));
        env.grants.push(grant);
        let (owner, why) = ("user:ana".to_owned(), "to see what it needs".to_owned());
        gateway.note(Request::Grant(Grant { grant, by, owner, to: To::Observe { on }, why, until }));
    }

    pub(super) fn stop(&mut self, node: Node, by: Actor) {
        let Some(gateway) = &mut self.gateway else { return };
        self.env.trace(|| format!("stop {node}"));
        let everything = matches!(node, Node::Agent(_) | Node::User(_) | Node::Connector(_) | Node::Tenant);
        gateway.stop(node, Why::Killed, by, &mut self.env);
        // So that a run does not end here: what was stopped is taken out and added again.
        if everything && self.env.random.chance(80) {
            let without = self.env.random.pick(&[2, 4, 5]).copied().unwrap_or(2);
            self.change_to(without);
            self.change_to(0);
        }
    }

    /// A connector shows other definitions, or the accepted ones again
    pub(super) fn discovery(&mut self) {
        let Ok(connector) = "shop".parse::<Name>() else { return };
        let mut tools = definitions(&connector);
        if self.env.random.chance(40) {
            tools.values_mut().take(1).for_each(|digest| *digest = Hash::of(b"changed"));
        }
        if let Some(gateway) = &mut self.gateway {
            let identity = identity(self.env.random.chance(10));
            gateway.note(Request::Saw(Saw {
                connector,
                tools: Some(tools).filter(|_| self.env.random.chance(80)),
                identity,
            }));
        }
    }
}

impl Env {
    fn run_of(&self, task: TaskId) -> Option<RunId> {
        self.wanted.iter().find(|wanted| wanted.task == task).map(|wanted| wanted.run)
    }

    fn any_child(&self) -> Option<EffectId> {
        self.host.alive().next().map(|(effect, _)| effect)
    }
}

/// The arguments that a tool takes
pub(super) fn arguments(tool: &str, order: &str, amount: u64) -> BTreeMap<String, Value> {
    let amount: Value = amount.to_string().parse().unwrap_or(Value::Null);
    let arguments = match tool {
        "shop.get_order" => vec![("id", text(order))],
        "shop.refund" => vec![("id", text(order)), ("amount", amount)],
        "shop.cancel_refund" => vec![("refund", text("ref_1"))],
        "files.read" => vec![("path", text("/orders/1"))],
        "shop.sweep" => vec![("depth", amount)],
        "mail.send" => vec![("to", text("ana@example.com"))],
        _ => Vec::new(),
    };
    arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn owner() -> Actor {
    Actor::Owner { user: None }
}

/// Who a connector is, or somebody in its place
fn identity(other: bool) -> Identity {
    Identity::Tls(Hash::of(if other { b"other" } else { b"known" }))
}

/// The digest of a tool's accepted definition
pub(crate) fn definition(tool: &Tool) -> Hash {
    Hash::of(tool.to_string().as_bytes())
}

fn definitions(connector: &Name) -> BTreeMap<portreeve_core::names::ToolName, Hash> {
    let tools = TOOLS.iter().filter_map(|(tool, _)| tool.parse::<Tool>().ok());
    tools.filter(|tool| tool.connector == *connector).map(|tool| (tool.name.clone(), definition(&tool))).collect()
}
