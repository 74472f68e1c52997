//! The versions of the policy that the simulation moves between, as plain data.
//!
//! The same data becomes a [`Bundle`] for the core and is read directly by the oracle, whose matching is
//! its own.

use crate::options::Sabotage;
use portreeve_core::{
    decimal::Decimal,
    hash::Hash,
    names::{Name, Tool},
    outside::{Cover, Covers, Point, Sends, Wire},
    path::FieldPath,
    pattern::{Operand, Pattern},
    policy::{
        Agent, Alone, Ask, Bundle, Bytes, Class, Connector, Elevate, Entry, Kind, Limits, OnHold, Opening, Parameter,
        PersonRole, Profile, Purpose, Quorum, Reach, Roles, Serves, Tier, Usage, User, Users,
    },
    reason::{Reason, Word},
    rules::{Question, Rules},
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One version of the policy
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) name: &'static str,
    pub(crate) agents: Vec<&'static str>,
    pub(crate) users: Vec<&'static str>,
    /// Those who are asked
    pub(crate) leads: Vec<&'static str>,
    /// Who answers for each agent
    pub(crate) owners: Vec<(&'static str, &'static str)>,
    pub(crate) connectors: Vec<&'static str>,
    pub(crate) purposes: Vec<Spec>,
    /// Tools that a rule forbids to tasks of a purpose
    pub(crate) forbidden: Vec<(&'static str, &'static str)>,
    /// Decision points, and the tool that each is asked about
    pub(crate) points: Vec<(&'static str, &'static str)>,
}

/// One purpose
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) agents: Vec<&'static str>,
    pub(crate) user: Option<&'static str>,
    pub(crate) expires_ms: i64,
    pub(crate) idle_ms: Option<i64>,
    pub(crate) calls: Option<u32>,
    pub(crate) steps: Vec<Step>,
    /// Calls of class `execute` that are opened without a person, and how many people open more of any class
    pub(crate) elevate: Option<(u32, u8)>,
}

/// One entry of a purpose
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) tool: &'static str,
    pub(crate) arguments: Vec<(&'static str, Bound)>,
    pub(crate) times: Option<u32>,
    pub(crate) after: Option<&'static str>,
    /// How many of the leads have to agree
    pub(crate) ask: Option<u8>,
}

/// Which values an argument may have
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Same(&'static str),
    AtMost(&'static str),
    Any,
}

impl Version {
    pub(crate) fn digest(&self) -> Hash {
        Hash::of(self.name.as_bytes())
    }

    pub(crate) fn purpose(&self, name: &str) -> Option<&Spec> {
        self.purposes.iter().find(|spec| spec.name == name)
    }

    /// The names of its nodes, as the record writes them
    pub(crate) fn nodes(&self) -> BTreeSet<String> {
        let named = |kind: &'static str, names: Vec<&'static str>| {
            names.into_iter().map(move |name| format!("{kind}:{name}")).collect::<Vec<_>>()
        };
        let purposes = self.purposes.iter().map(|spec| spec.name).collect();
        [
            named("agent", self.agents.clone()),
            named("user", self.users.clone()),
            named("connector", self.connectors.clone()),
            named("purpose", purposes),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The same, as it is judged with where a guard is missing
    pub(crate) fn but(&self, sabotage: Option<Sabotage>) -> Self {
        let mut version = self.clone();
        match sabotage {
            Some(Sabotage::OwnYes) => version.owners.clear(),
            Some(Sabotage::StaleYes) => version.leads = LEADS.to_vec(),
            Some(Sabotage::OneOfTwo) => {
                let steps = version.purposes.iter_mut().flat_map(|spec| &mut spec.steps);
                steps.filter_map(|step| step.ask.as_mut()).for_each(|people| *people = (*people - 1).max(1));
            }
            _ => {}
        }
        version
    }

    pub(crate) fn bundle(&self, digest: Hash) -> Option<Bundle> {
        let names = |names: &[&str]| names.iter().filter_map(|name| name.parse().ok()).collect::<Vec<Name>>();
        let leads = names(&self.leads);
        let user = |name: Name| {
            let leads = leads.contains(&name).then(|| "leads".parse().ok()).flatten();
            let roles = BTreeSet::from([PersonRole::Approver]);
            (name, User { groups: leads.into_iter().collect(), roles, ..User::default() })
        };
        let agent = |name: Name| {
            let owner = self.owners.iter().find(|(agent, _)| *agent == name.as_str()).map_or("sim", |(_, owner)| owner);
            (name, Agent::of(owner.to_owned()))
        };
        let connector = |name: Name| {
            let reach = Reach::Http { url: format!("http://{name}.test/mcp"), spiffe: None, svid: false };
            let tools = TOOLS.iter().filter_map(|(tool, class)| {
                let tool: Tool = tool.parse().ok()?;
                let profile = Profile::new(*class);
                (tool.connector == name).then_some((tool.name, profile))
            });
            let tools = tools.collect();
            (
                name,
                Connector {
                    reach,
                    ahead: 0,
                    timeout_ms: TIMEOUT_MS,
                    tools,
                    toolsets: BTreeMap::new(),
                    environment: None,
                    tier: Tier::default(),
                    credentials: None,
                },
            )
        };
        Some(Bundle {
            roles: Roles::default(),
            receivers: BTreeMap::new(),
            issuers: BTreeMap::new(),
            sources: BTreeMap::new(),
            digest,
            agents: names(&self.agents).into_iter().map(agent).collect(),
            users: names(&self.users).into_iter().map(user).collect(),
            connectors: names(&self.connectors).into_iter().map(connector).collect(),
            purposes: self
                .purposes
                .iter()
                .map(|spec| Some((spec.name.parse().ok()?, spec.purpose()?)))
                .collect::<Option<_>>()?,
            rules: Arc::new(Forbidden(self.forbidden.clone())),
            points: self.points.iter().map(|(name, tool)| point(name, tool)).collect::<Option<_>>()?,
        })
    }
}

fn point(name: &str, tool: &str) -> Option<Arc<Point>> {
    let usage = Usage { tool: tool.parse().ok()?, variant: None };
    Some(Arc::new(Point {
        name: name.parse().ok()?,
        wire: Wire::Opa,
        url: format!("http://{name}.test/v1/data/sim"),
        timeout_ms: 300,
        reuse_ms: 0,
        sends: if name == "limits" { Sends::Digests } else { Sends::Arguments },
        covers: Covers::Some(vec![Cover::Usage(usage)]),
    }))
}

impl Spec {
    fn purpose(&self) -> Option<Purpose> {
        let parameter = |name: &str| {
            let kind = match name {
                "limit" => Kind::Decimal { min: None, max: Decimal::parse("200") },
                _ => Kind::Text { pattern: None, bytes_max: 64 },
            };
            Some((name.parse().ok()?, Parameter { kind, default: None }))
        };
        let entry = |step: &Step| {
            let pattern = |bound: &Bound| {
                let parameter = |name: &str| name.parse().ok().map(Operand::Parameter);
                Some(match bound {
                    Bound::Same(name) => Pattern::Is(parameter(name)?),
                    Bound::AtMost(name) => Pattern::AtMost(parameter(name)?),
                    Bound::Any => Pattern::Any,
                })
            };
            let arguments = step.arguments.iter().map(|(name, bound)| Some((FieldPath::name(name), pattern(bound)?)));
            Some(Entry {
                name: step.name.parse().ok()?,
                uses: vec![Usage { tool: step.tool.parse().ok()?, variant: None }],
                arguments: arguments.collect::<Option<_>>()?,
                times: step.times,
                after: step.after.and_then(|name| name.parse().ok()),
                ask: step
                    .ask
                    .map(|people| Some(Ask { quorum: leads(people)?, when: BTreeMap::new() }))
                    .unwrap_or_default(),
                undo: None,
            })
        };
        let users = match self.user {
            None => Users::None,
            Some(user) => Users::Named(BTreeSet::from([user.parse().ok()?])),
        };
        let mut purpose = Purpose::new(
            (self.name.to_owned(), "sim".to_owned(), None),
            Opening {
                agents: self.agents.iter().filter_map(|name| name.parse().ok()).collect(),
                users,
                bounds: BTreeMap::new(),
                ask: None,
            },
            Limits {
                expires_after_ms: self.expires_ms,
                idle_after_ms: self.idle_ms,
                standing: BTreeSet::from(STANDING),
                calls: self.calls,
                ceiling: None,
                bytes: Bytes::default(),
                on_hold: OnHold::Ask,
                credentials: Serves::Task,
            },
            PARAMETERS.iter().map(|name| parameter(name)).collect::<Option<_>>()?,
            self.steps.iter().map(entry).collect::<Option<_>>()?,
        );
        purpose.elevate = match self.elevate {
            None => None,
            Some((times, people)) => {
                let uses = vec![Usage { tool: "shop.sweep".parse().ok()?, variant: None }];
                let alone = Alone { uses, times, within_ms: ALONE_MS };
                Some(Elevate { alone: [(Class::Execute, alone)].into(), ask: Some(leads(people)?) })
            }
        };
        Some(purpose)
    }
}

impl Step {
    /// Whether the arguments fit; written without the core's matcher
    pub(crate) fn fits(
        &self,
        given: &BTreeMap<String, serde_json::Value>,
        parameters: &BTreeMap<String, serde_json::Value>,
    ) -> bool {
        let named = given.keys().all(|name| self.arguments.iter().any(|(known, _)| known == name));
        named
            && self.arguments.iter().all(|(name, bound)| {
                let value = given.get(*name);
                match bound {
                    Bound::Any => true,
                    Bound::Same(parameter) => value.is_some() && value == parameters.get(*parameter),
                    Bound::AtMost(parameter) => {
                        let most = parameters.get(*parameter).and_then(serde_json::Value::as_i64);
                        let value = value.and_then(serde_json::Value::as_i64);
                        value.zip(most).is_some_and(|(value, most)| value <= most)
                    }
                }
            })
    }
}

/// So many of those who are asked
fn leads(people: u8) -> Option<Quorum> {
    Some(Quorum { people, within_ms: WITHIN_MS, ..Quorum::one_of("leads".parse().ok()?) })
}

/// Rules that forbid tools to purposes
#[derive(Debug)]
struct Forbidden(Vec<(&'static str, &'static str)>);

impl Rules for Forbidden {
    fn judge(&self, question: &Question<'_>) -> Vec<Reason> {
        let tool = question.tool.to_string();
        let forbids =
            |(purpose, forbidden): &&(&str, &str)| *purpose == question.purpose.as_str() && *forbidden == tool;
        let reason = |_| Reason::new(Word::RuleForbids, "rule:sim");
        self.0.iter().filter(forbids).map(reason).collect()
    }

    fn hides(&self, _: &Tool, _: Class) -> bool {
        false
    }
}

/// Every version; the first one is where each run begins
pub(crate) fn all() -> Vec<Version> {
    let base = base();
    let mut narrower = Version { name: "narrower", ..base.clone() };
    for spec in &mut narrower.purposes {
        spec.calls = Some(4);
        spec.steps.retain(|step| step.name != "cancel");
        spec.steps.iter_mut().filter(|step| step.tool == "shop.refund").for_each(|step| step.times = Some(1));
    }
    let mut no_helper = Version { name: "no-helper", ..base.clone() };
    no_helper.agents.retain(|agent| *agent != "helper");
    let mut no_look = Version { name: "no-look", ..base.clone() };
    no_look.purposes.retain(|spec| spec.name != "look-only");
    let mut no_files = Version { name: "no-files", ..base.clone() };
    no_files.connectors.retain(|connector| *connector != "files");
    let mut no_user = Version { name: "no-user", ..base.clone() };
    no_user.users.clear();
    let mut wider = Version { name: "wider", ..base.clone() };
    wider.connectors.push("mail");
    wider.points.push(("eyes", "mail.send"));
    for spec in &mut wider.purposes {
        spec.calls = None;
        spec.steps.push(Step {
            name: "send",
            tool: "mail.send",
            arguments: vec![("to", Bound::Any)],
            times: None,
            after: None,
            ask: None,
        });
    }
    let forbidding = Version { name: "forbidding", forbidden: vec![("support", "shop.refund")], ..base.clone() };
    let mut fewer = Version { name: "fewer-leads", leads: vec!["cid"], ..base.clone() };
    fewer.owners = vec![("bot", "cid"), ("helper", "bob")];
    let mut stricter = Version { name: "stricter", ..base.clone() };
    for spec in &mut stricter.purposes {
        spec.steps.iter_mut().filter_map(|step| step.ask.as_mut()).for_each(|people| *people += 1);
        spec.elevate = spec.elevate.map(|(_, people)| (1, people + 1));
    }
    vec![base, narrower, no_helper, no_look, no_files, no_user, wider, forbidding, fewer, stricter]
}

fn base() -> Version {
    let step = |name, tool, arguments: &[(&'static str, Bound)], times, after| Step {
        name,
        tool,
        arguments: arguments.to_vec(),
        times,
        after,
        ask: None,
    };
    let asks = |people, step: Step| Step { ask: Some(people), ..step };
    let read = || step("read", "files.read", &[("path", Bound::Any)], None, None);
    let look = || step("look", "shop.get_order", &[("id", Bound::Same("order"))], None, None);
    let refund = |times| {
        let arguments = [("id", Bound::Same("order")), ("amount", Bound::AtMost("limit"))];
        step("refund", "shop.refund", &arguments, Some(times), Some("look"))
    };
    let spec = |name, agents: &[&'static str], user, (expires_ms, idle_ms, calls), steps| Spec {
        name,
        agents: agents.to_vec(),
        user,
        expires_ms,
        idle_ms,
        calls,
        steps,
        elevate: None,
    };
    let careful = vec![
        look(),
        asks(
            2,
            step(
                "refund",
                "shop.refund",
                &[("id", Bound::Same("order")), ("amount", Bound::AtMost("limit"))],
                Some(3),
                None,
            ),
        ),
        asks(1, step("cancel", "shop.cancel_refund", &[("refund", Bound::Any)], None, None)),
        step("sweep", "shop.sweep", &[("depth", Bound::Any)], None, None),
        asks(1, step("export", "shop.export_customers", &[], Some(2), None)),
    ];
    let any_order = vec![
        step("look", "shop.get_order", &[("id", Bound::Any)], None, None),
        step("refund", "shop.refund", &[("id", Bound::Any), ("amount", Bound::AtMost("limit"))], Some(2), None),
        step("small", "shop.refund", &[("id", Bound::Same("order")), ("amount", Bound::Any)], Some(1), None),
        step("cancel", "shop.cancel_refund", &[("refund", Bound::Any)], Some(1), Some("refund")),
        read(),
    ];
    let both = ["bot", "helper"];
    Version {
        name: "base",
        agents: both.to_vec(),
        users: vec!["ana", "bob", "cid", "dan", "eve"],
        leads: LEADS.to_vec(),
        owners: vec![("bot", "dan")],
        connectors: vec!["shop", "files"],
        purposes: vec![
            spec("refund-order", &both, Some("ana"), (60_000, Some(20_000), Some(12)), vec![look(), refund(1), read()]),
            spec("look-only", &both, Some("ana"), (30_000, None, Some(6)), vec![look(), read()]),
            spec("support", &["bot"], Some("ana"), (120_000, Some(30_000), Some(20)), any_order),
            spec("nightly", &["helper"], None, (40_000, Some(10_000), None), vec![look(), refund(2)]),
            Spec {
                elevate: Some((3, 1)),
                ..spec("careful", &both, Some("ana"), (150_000, Some(25_000), None), careful)
            },
        ],
        forbidden: Vec::new(),
        points: vec![("limits", "shop.refund")],
    }
}

/// Every tool and its class
pub(crate) const TOOLS: [(&str, Class); 7] = [
    ("shop.get_order", Class::Read),
    ("shop.refund", Class::Write),
    ("shop.cancel_refund", Class::Write),
    ("shop.export_customers", Class::Escalate),
    ("shop.sweep", Class::Execute),
    ("files.read", Class::Read),
    ("mail.send", Class::Write),
];
/// Classes that stand in every purpose
pub(crate) const STANDING: [Class; 2] = [Class::Read, Class::Write];
/// Everybody who is ever asked
const LEADS: [&str; 4] = ["ana", "bob", "cid", "dan"];
/// How long a question waits
pub(crate) const WITHIN_MS: i64 = 30_000;
/// For how long a class is opened without a person
pub(crate) const ALONE_MS: i64 = 8_000;
/// Every purpose takes the same two
const PARAMETERS: [&str; 2] = ["order", "limit"];
/// How long a connector may take
pub(crate) const TIMEOUT_MS: i64 = 5_000;

/// A value that the core knows, as the oracle sees it
pub(crate) fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}
