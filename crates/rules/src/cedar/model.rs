//! What rules are about: the tools with their arguments and groups, what calls are about, who people are.

use super::kind::{Kind, Member, Shape};
use crate::{
    definition::Definition,
    facts::Facts,
    operation::{self, defined},
    pins::Pins,
};
use portreeve_core::{
    names::{Name, Tool, ToolName},
    operation::Operation,
    policy::{AttributeKind, Class, Connector, Target},
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// A value as an attribute of this kind is
fn sample(kind: AttributeKind) -> Value {
    let text = match kind {
        AttributeKind::Text => "\"\"",
        AttributeKind::Integer => "1",
        AttributeKind::Decimal => "1.5",
        AttributeKind::Boolean => "true",
    };
    text.parse().unwrap_or(Value::Null)
}

/// Everything that a rule can name
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) tools: BTreeMap<Tool, Subject>,
    /// The types of what calls are about, each with what it can be part of
    pub(crate) kinds: BTreeMap<String, BTreeSet<String>>,
    /// What users can be asked for
    pub(crate) attributes: Shape,
    /// Tools by the groups that they or their variants are in
    groups: BTreeMap<String, BTreeSet<Tool>>,
    /// Connectors whose definitions are there
    pinned: BTreeSet<Name>,
}

/// One tool
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) class: Class,
    pub(crate) variants: BTreeMap<Name, Class>,
    /// The groups that it is in by its connector's toolsets, and those of each variant
    toolsets: BTreeMap<Option<Name>, BTreeSet<String>>,
    /// What its calls are about; `None`: the tool itself
    pub(crate) target: Option<String>,
    pub(crate) matchers: BTreeSet<Name>,
    /// Its arguments; `None`: nobody wrote down what they are
    pub(crate) input: Option<Shape>,
    /// An operation that no profile and no purpose names; only a rule that names it is about it
    pub(crate) idle: bool,
}

impl Model {
    /// `used` are the tools and operations that purposes name
    pub(crate) fn new(facts: &Facts, used: &BTreeSet<&Tool>) -> Self {
        let mut model = Self::default();
        for (name, connector) in &facts.connectors {
            let pins = facts.pins.get(name).and_then(Option::as_ref);
            if pins.is_some() {
                model.pinned.insert(name.clone());
            }
            if let Some(connector) = connector {
                model.connector(name, connector, pins, used);
            }
        }
        let users: Vec<_> = facts.users.values().flatten().map(|user| &user.attributes).collect();
        model.attributes = Shape::of_values(&users);
        let people = facts.issuers.values().flatten().filter_map(|issuer| issuer.people.as_ref());
        for (name, attribute) in people.flat_map(|people| &people.attributes) {
            // What nobody's file says is there only while an issuer says it.
            let sample = BTreeMap::from([(name.clone(), sample(attribute.kind))]);
            let own = users.iter().filter_map(|user| user.get(name)).map(|value| (name.clone(), value.clone()));
            let alike: Vec<BTreeMap<String, Value>> = own.map(|one| BTreeMap::from([one])).chain([sample]).collect();
            let shape = Shape::of_values(&alike.iter().collect::<Vec<_>>());
            let required = model.attributes.members.get(name).is_some_and(|member| member.required);
            let member = shape.members.into_iter().map(|(name, member)| (name, Member { required, ..member }));
            model.attributes.members.extend(member);
        }
        model
    }

    fn connector(&mut self, name: &Name, connector: &Connector, pins: Option<&Pins>, used: &BTreeSet<&Tool>) {
        let operations = Operation::ALL.map(ToolName::from);
        let pinned = pins.into_iter().flat_map(Pins::keys).filter(|tool| tool.is_tool());
        let tools: BTreeSet<&ToolName> = connector.tools.keys().chain(pinned).chain(&operations).collect();
        for tool in tools {
            let general = || tool.operation().map(operation::definition);
            let definition = pins.and_then(|pins| defined(pins, tool)).or_else(general);
            let mut subject = Subject::new(name, tool, connector, definition);
            let profile = connector.tools.get(tool);
            if let Some(target) = profile.and_then(|profile| profile.target.as_ref()) {
                self.target(target, Some("Tool"));
            }
            let tool = Tool { connector: name.clone(), name: tool.clone() };
            // A rule about everything of a connector need not be written for what nobody can do there; it binds it
            // all the same.
            subject.idle = tool.operation().is_some() && profile.is_none() && !used.contains(&tool);
            let groups = if subject.idle { subject.own_actions(&tool) } else { subject.every_group(&tool) };
            for group in groups {
                self.groups.entry(group).or_default().insert(tool.clone());
            }
            self.tools.insert(tool, subject);
        }
    }

    fn target(&mut self, target: &Target, also: Option<&str>) {
        let parents = self.kinds.entry(target.kind.clone()).or_default();
        parents.extend(also.map(ToOwned::to_owned));
        parents.extend(target.within.iter().map(|part| part.kind.clone()));
        target.within.iter().for_each(|part| self.target(part, None));
    }

    /// The tools of which an action or group of actions is one
    pub(crate) fn tools_of<'m>(&'m self, action: &str) -> impl Iterator<Item = &'m Tool> {
        self.groups.get(action).into_iter().flatten()
    }

    /// Every toolset of a connector
    pub(crate) fn toolsets<'m>(&'m self, connector: &Name) -> BTreeSet<&'m str> {
        let prefix = format!("toolset:{connector}:");
        self.groups.keys().filter(|group| group.starts_with(&prefix)).map(String::as_str).collect()
    }

    pub(crate) fn is_pinned(&self, connector: &Name) -> bool {
        self.pinned.contains(connector)
    }
}

impl Subject {
    fn new(name: &Name, tool: &ToolName, connector: &Connector, definition: Option<&Definition>) -> Self {
        let profile = connector.profile(tool);
        let mut toolsets: BTreeMap<Option<Name>, BTreeSet<String>> = BTreeMap::new();
        for (set, members) in &connector.toolsets {
            for member in members.iter().filter(|member| member.tool == *tool) {
                toolsets.entry(member.variant.clone()).or_default().insert(format!("toolset:{name}:{set}"));
            }
        }
        Self {
            class: profile.class,
            variants: profile.variants.iter().map(|variant| (variant.name.clone(), variant.class)).collect(),
            toolsets,
            target: profile.target.as_ref().map(|target| target.kind.clone()),
            matchers: profile.matchers.keys().cloned().collect(),
            input: definition.map(|definition| Shape::of_schema(definition.written())),
            idle: false,
        }
    }

    /// A tool about which nothing is known
    pub(crate) fn unknown() -> Self {
        Self {
            class: Class::Escalate,
            variants: BTreeMap::new(),
            toolsets: BTreeMap::new(),
            target: None,
            matchers: BTreeSet::new(),
            input: None,
            idle: false,
        }
    }

    /// The toolsets of the tool itself, or of one of its variants
    pub(crate) fn toolsets(&self, variant: Option<&Name>) -> impl Iterator<Item = &str> {
        self.toolsets.get(&variant.cloned()).into_iter().flatten().map(String::as_str)
    }

    /// The classes that a call of it can have
    pub(crate) fn classes(&self) -> BTreeSet<Class> {
        self.variants.values().copied().chain([self.class]).collect()
    }

    /// The type of what its calls are about
    pub(crate) fn resource(&self) -> &str {
        self.target.as_deref().unwrap_or("Tool")
    }

    /// The kind of an argument or of something in it
    pub(crate) fn input_at(&self, path: &[&str]) -> Option<&Kind> {
        self.input.as_ref()?.at(path)
    }

    fn every_group(&self, tool: &Tool) -> BTreeSet<String> {
        let classes = self.classes().into_iter().map(class_action);
        let toolsets = self.toolsets.values().flatten().cloned();
        self.own_actions(tool).into_iter().chain([connector_action(tool)]).chain(classes).chain(toolsets).collect()
    }

    /// The action that it is, and those of its variants
    fn own_actions(&self, tool: &Tool) -> BTreeSet<String> {
        let variants = self.variants.keys().map(|variant| variant_action(tool, variant));
        variants.chain([tool.to_string()]).collect()
    }
}

pub(crate) fn connector_action(tool: &Tool) -> String {
    format!("connector:{}", tool.connector)
}

pub(crate) fn class_action(class: Class) -> String {
    format!("class:{class}")
}

pub(crate) fn variant_action(tool: &Tool, variant: &Name) -> String {
    format!("{tool}#{variant}")
}
