//! One rule as it is written: Cedar that refuses or asks.

use crate::{
    bounds,
    facts::Facts,
    files::File,
    finding::{Finding, Place},
    words::{nearest, suggest},
};
use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PolicySet, PrincipalConstraint};
use miette::Diagnostic as _;
use portreeve_core::{
    names::{Name, Tool},
    policy::Class,
    reason::{Reason, Word},
    rules::Named,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// A rule that can only take away
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) policy: Policy,
    /// Where reasons say that they come from
    pub(crate) source: String,
    /// Where it stands
    pub(crate) place: Place,
    /// Who is asked; without it the rule forbids
    ask: Option<Name>,
    /// What the agent is told
    because: Option<String>,
}

impl Rule {
    /// The reason that the rule adds when it applies
    pub(crate) fn reason(&self) -> Reason {
        let reason = match &self.ask {
            Some(who) => Reason::new(Word::ApprovalNeeded, &self.source).with("who", who),
            None => Reason::new(Word::RuleForbids, &self.source),
        };
        match &self.because {
            Some(because) => reason.with("because", because),
            None => reason,
        }
    }

    /// The rule as people know it
    pub(crate) fn named(&self) -> Named {
        Named { source: self.source.clone(), ask: self.ask.clone(), because: self.because.clone() }
    }

    /// The reason that the rule adds when it cannot be evaluated
    pub(crate) fn failure(&self) -> Reason {
        Reason::new(Word::RuleFailed, &self.source)
    }

    /// Whether it forbids whatever its scope says, to every agent and whatever the arguments
    pub(crate) fn is_outright(&self) -> bool {
        let everyone = match self.policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(kind) => kind.to_string() == "Agent",
            PrincipalConstraint::In(_) | PrincipalConstraint::Eq(_) | PrincipalConstraint::IsIn(..) => false,
        };
        self.ask.is_none() && everyone && !self.policy.has_non_scope_constraint()
    }

    /// The actions that its scope names; `None`: every action
    pub(crate) fn actions(&self) -> Option<Vec<EntityUid>> {
        match self.policy.action_constraint() {
            ActionConstraint::Any => None,
            ActionConstraint::Eq(action) => Some(vec![action]),
            ActionConstraint::In(actions) => Some(actions),
        }
    }
}

/// Reads the rules of one file
///
/// `ids` are those of the files before it.
pub(crate) fn rules(
    file: &File<'_>,
    facts: &Facts,
    ids: &mut BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Vec<Rule> {
    if let Some(span) = bounds::too_deep(file.text) {
        let message =
            format!("more than {} brackets or {} operators in one rule", bounds::DEPTH_MAX, bounds::CHAIN_MAX);
        let place = Place::span(file.path, file.text, &span);
        findings.push(Finding::error(place, message, "split the rule into several: each refuses by itself"));
        return Vec::new();
    }
    let set = match file.text.parse::<PolicySet>() {
        Ok(set) => set,
        Err(errors) => {
            findings.extend(errors.iter().map(|error| syntax(file, error)));
            return Vec::new();
        }
    };
    if let Some(template) = set.templates().next() {
        let place = Place::file(file.path);
        let message = format!(
            "a rule has slots ({}), which nothing fills",
            template.slots().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        findings.push(Finding::error(place, message, "name the principal or resource, or leave it open"));
    }
    // Cedar numbers them in the order of the text, and keeps them in another.
    let numbered =
        |policy: Policy| Some((policy.id().to_string().strip_prefix("policy")?.parse::<usize>().ok()?, policy));
    let policies: BTreeMap<usize, Policy> = set.policies().cloned().filter_map(numbered).collect();
    let mut rules = Vec::new();
    let mut from = 0;
    for (number, policy) in policies {
        let text = policy.to_cedar().unwrap_or_default();
        let start = file.text.get(from..).and_then(|rest| rest.find(&text)).map_or(from, |at| from + at);
        from = start + text.len();
        let mut reader = Reader { file, facts, ids, span: start..from, findings };
        rules.extend(reader.rule(number + 1, policy));
    }
    rules
}

pub(crate) fn syntax(file: &File<'_>, error: &cedar_policy::ParseError) -> Finding {
    let label = error.labels().and_then(|mut labels| labels.next());
    let place = label.as_ref().map_or_else(
        || Place::file(file.path),
        |label| Place::span(file.path, file.text, &(label.offset()..label.offset() + label.len())),
    );
    let expected = label.as_ref().and_then(|label| label.label()).map(ToOwned::to_owned);
    let help = error.help().map(|help| help.to_string());
    Finding::error(place, error.to_string(), help.or(expected).unwrap_or_default())
}

struct Reader<'a> {
    file: &'a File<'a>,
    facts: &'a Facts,
    ids: &'a mut BTreeMap<String, String>,
    span: Range<usize>,
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    fn rule(&mut self, number: usize, policy: Policy) -> Option<Rule> {
        let found = self.findings.len();
        if policy.effect() == Effect::Permit {
            let remedy = "only purposes allow; write what is refused as `forbid`";
            self.error("permit", "a rule cannot allow", remedy);
        }
        let id = policy.annotation("id").map(ToOwned::to_owned);
        if let Some(id) = &id
            && let Err(error) = id.parse::<Name>()
        {
            self.error("@id", &error.to_string(), "for example: @id(\"no-large-refunds\")");
        }
        if let Some(id) = &id
            && let Some(other) = self.ids.insert(id.clone(), self.file.path.to_owned())
        {
            let message = format!("two rules are called `{id}`, the other in {other}");
            self.error("@id", &message, "give one of them another name");
        }
        let ask = policy.annotation("ask").map(str::parse::<Name>);
        let ask = match ask {
            None => None,
            Some(Ok(group)) => Some(group),
            Some(Err(error)) => {
                self.error("@ask", &error.to_string(), "for example: @ask(\"payments-leads\")");
                None
            }
        };
        if let Some(group) = ask.as_ref().filter(|group| !self.facts.is_group(group)) {
            let near = suggest(group.as_str(), self.facts.groups());
            let remedy = format!("add it to a user: `groups = [\"{group}\"]`; {near}");
            self.warn("@ask", &format!("nobody is in the group `{group}`"), &remedy);
        }
        let because = policy.annotation("reason").map(ToOwned::to_owned);
        if because
            .as_ref()
            .is_some_and(|text| text.is_empty() || text.len() > 300 || text.chars().any(char::is_control))
        {
            self.error("@reason", "expected 1 to 300 bytes of text on one line", "the agent is told this text");
        }
        for (name, _) in policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
            if let Some(near) = nearest(name, ANNOTATIONS) {
                self.error(
                    &format!("@{name}"),
                    &format!("no annotation is called `@{name}`"),
                    &format!("did you mean `@{near}`?"),
                );
            }
        }
        self.names(&policy);
        let source = id.map_or_else(|| format!("rule:{}#{number}", self.file.name), |id| format!("rule:{id}"));
        let broken = self.findings.iter().skip(found).any(Finding::is_error);
        let place = self.place("forbid");
        (!broken).then_some(Rule { policy, source, place, ask, because })
    }

    /// A rule about something that does not exist would never refuse anything
    fn names(&mut self, policy: &Policy) {
        let mut types = BTreeSet::new();
        match policy.to_json() {
            Ok(json) => tested_types(&json, &mut types),
            Err(error) => self.error("forbid", &error.to_string(), ""),
        }
        for kind in types.iter().filter(|kind| !TYPES.contains(&kind.as_str())) {
            self.error(&format!("is {kind}"), &format!("nothing here is a `{kind}`"), &suggest(kind, TYPES));
        }
        for uid in policy.entity_literals() {
            let kind = uid.type_name().to_string();
            let id = uid.id().unescaped().to_owned();
            match kind.as_str() {
                "Agent" => {
                    if !self.facts.agents.keys().any(|agent| agent.as_str() == id) {
                        let near = suggest(&id, self.facts.agents.keys().map(Name::as_str));
                        self.warn(&uid.to_string(), &format!("no agent is called `{id}`"), &near);
                    }
                }
                "Connector" => self.connector(&uid, &id),
                "Tool" => self.tool(&uid, &id),
                "Action" => self.action(&uid, &id, policy),
                "Unreadable" => {}
                _ => {
                    self.error(&uid.to_string(), &format!("nothing here is a `{kind}`"), &suggest(&kind, TYPES));
                }
            }
        }
    }

    fn action(&mut self, uid: &EntityUid, id: &str, policy: &Policy) {
        let group = id.starts_with("class:") || id.starts_with("connector:");
        if group && policy.action_constraint() == ActionConstraint::Eq(uid.clone()) {
            let remedy = format!("write `action in {uid}`");
            self.error(&uid.to_string(), "this names a group of actions, and no call is the group itself", &remedy);
        }
        if let Some(class) = id.strip_prefix("class:") {
            const CLASSES: [Class; 4] = [Class::Read, Class::Write, Class::Execute, Class::Escalate];
            let classes = CLASSES.map(|class| class.to_string());
            if !classes.iter().any(|known| known == class) {
                let near = suggest(class, classes.iter().map(String::as_str));
                self.error(&uid.to_string(), &format!("no class is called `{class}`"), &near);
            }
        } else if let Some(connector) = id.strip_prefix("connector:") {
            self.connector(uid, connector);
        } else {
            self.tool(uid, id);
        }
    }

    fn connector(&mut self, uid: &EntityUid, id: &str) {
        if !self.facts.connectors.keys().any(|connector| connector.as_str() == id) {
            let near = suggest(id, self.facts.connectors.keys().map(Name::as_str));
            self.warn(&uid.to_string(), &format!("no connector is called `{id}`, so nothing matches this"), &near);
        }
    }

    fn tool(&mut self, uid: &EntityUid, id: &str) {
        let (tool, variant) = id.split_once('#').map_or((id, None), |(tool, variant)| (tool, Some(variant)));
        let Ok(tool) = tool.parse::<Tool>() else {
            let remedy = "for example: Action::\"shop.refund\", Action::\"connector:shop\", Action::\"class:write\"";
            self.error(&uid.to_string(), "this is no tool, connector or class", remedy);
            return;
        };
        let Some(Some(connector)) = self.facts.connectors.get(&tool.connector) else {
            self.connector(uid, tool.connector.as_str());
            return;
        };
        let profile = connector.tools.get(&tool.name);
        let variants = profile.map(|profile| profile.variants.as_slice()).unwrap_or_default();
        if let Some(variant) = variant.filter(|variant| variants.iter().all(|known| known.name.as_str() != *variant)) {
            let near = suggest(variant, variants.iter().map(|variant| variant.name.as_str()));
            self.error(&uid.to_string(), &format!("`{tool}` has no variant `{variant}`"), &near);
        } else if profile.is_none() && !connector.tools.is_empty() {
            let near = suggest(tool.name.as_str(), connector.tools.keys().map(portreeve_core::names::ToolName::as_str));
            let file = format!("connectors/{}.toml", tool.connector);
            self.warn(&uid.to_string(), &format!("`{file}` knows no tool `{}`", tool.name), &near);
        }
    }

    fn error(&mut self, at: &str, message: &str, remedy: &str) {
        let place = self.place(at);
        self.findings.push(Finding::error(place, message, remedy));
    }

    fn warn(&mut self, at: &str, message: &str, remedy: &str) {
        let place = self.place(at);
        self.findings.push(Finding::warning(place, message, remedy));
    }

    /// Where `text` stands in the rule, or the rule itself
    fn place(&self, text: &str) -> Place {
        let rule = self.file.text.get(self.span.clone()).unwrap_or_default();
        let start = rule.find(text).map_or(self.span.start, |at| self.span.start + at);
        Place::span(self.file.path, self.file.text, &(start..start + text.len()))
    }
}

const ANNOTATIONS: [&str; 3] = ["id", "ask", "reason"];
/// What an entity can be; the last is an argument's value that Cedar cannot hold
const TYPES: [&str; 5] = ["Agent", "Action", "Tool", "Connector", "Unreadable"];

/// The types that a rule tests for with `is`
fn tested_types(json: &serde_json::Value, types: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(members) => {
            types.extend(members.get("entity_type").and_then(|kind| kind.as_str()).map(ToOwned::to_owned));
            members.values().for_each(|member| tested_types(member, types));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| tested_types(item, types)),
        _ => {}
    }
}
