//! One rule as it is written: Cedar that refuses or asks.

use crate::{
    bounds,
    cedar::model::Model,
    document::duration_ms,
    facts::Facts,
    files::File,
    finding::{Finding, Place},
    people,
    words::suggest,
};
use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint};
use miette::Diagnostic as _;
use portreeve_core::{
    names::{Name, Tool},
    policy::{Class, Quorum},
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
    ask: Option<Quorum>,
    /// What the agent is told
    because: Option<String>,
    /// Where it stands in its file
    pub(crate) span: Range<usize>,
    pub(crate) looks: Looks,
}

/// What a rule looks at
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    /// The arguments
    pub(crate) input: bool,
    /// Who the user is
    pub(crate) user: bool,
    /// What the call is about
    pub(crate) resource: bool,
    /// Actions and groups of them that its conditions name
    pub(crate) actions: BTreeSet<String>,
    /// Matchers that it asks whether there are, or takes all of at once
    evades: bool,
    /// The whole context at once
    whole: bool,
}

impl Rule {
    /// The reason that the rule adds when it applies
    pub(crate) fn reason(&self) -> Reason {
        let reason = match &self.ask {
            Some(quorum) => Reason::asking(&self.source, quorum),
            None => Reason::new(Word::RuleForbids, &self.source),
        };
        match &self.because {
            Some(because) => reason.with("because", because),
            None => reason,
        }
    }

    /// The rule as people know it
    pub(crate) fn named(&self) -> Named {
        Named {
            source: self.source.clone(),
            ask: self.ask.as_ref().map(|quorum| quorum.who.clone()),
            because: self.because.clone(),
        }
    }

    /// The reason that the rule adds when it cannot be evaluated
    pub(crate) fn failure(&self, why: &str) -> Reason {
        Reason::new(Word::RuleFailed, &self.source).with("why", why)
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
    model: &Model,
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
        let mut reader = Reader { file, facts, model, ids, span: start..from, findings };
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
    model: &'a Model,
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
        let ask = self.ask(&policy);
        let because = policy.annotation("reason").map(ToOwned::to_owned);
        if because
            .as_ref()
            .is_some_and(|text| text.is_empty() || text.len() > 300 || text.chars().any(char::is_control))
        {
            self.error("@reason", "expected 1 to 300 bytes of text on one line", "the agent is told this text");
        }
        for (name, _) in policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
            let near = suggest(name, ANNOTATIONS);
            self.error(&format!("@{name}"), &format!("no annotation is called `@{name}`"), &near);
        }
        self.names(&policy);
        let looks = self.looks(&policy);
        let source = id.map_or_else(|| format!("rule:{}#{number}", self.file.name), |id| format!("rule:{id}"));
        let broken = self.findings.iter().skip(found).any(Finding::is_error);
        let place = self.place("forbid");
        (!broken).then(|| Rule { policy, source, place, ask, because, span: self.span.clone(), looks })
    }

    /// Whom the rule asks, and how
    fn ask(&mut self, policy: &Policy) -> Option<Quorum> {
        let Some(group) = policy.annotation("ask") else {
            for name in ["people", "passkey", "within"] {
                if policy.annotation(name).is_some() {
                    let message = format!("nobody is asked, so `@{name}` says nothing");
                    self.error(&format!("@{name}"), &message, "add `@ask(\"payments-leads\")`, or take it out");
                }
            }
            return None;
        };
        let mut read = |name: &str, expected: &str, example: &str| {
            self.error(&format!("@{name}"), &format!("expected {expected}"), &format!("for example: {example}"));
        };
        let mut quorum = match group.parse::<Name>() {
            Ok(group) => Quorum::one_of(group),
            Err(error) => {
                self.error("@ask", &error.to_string(), "for example: @ask(\"payments-leads\")");
                return None;
            }
        };
        if let Some(text) = policy.annotation("people") {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse().ok().filter(|_| digits).and_then(people::people_of) {
                Some(people) => quorum.people = people,
                None => read("people", &format!("1 to {} people", Quorum::PEOPLE_MAX), "@people(\"2\")"),
            }
        }
        match policy.annotation("passkey") {
            None | Some("no") => {}
            Some("yes") => quorum.passkey = true,
            Some(_) => read("passkey", "yes or no", "@passkey(\"yes\")"),
        }
        if let Some(text) = policy.annotation("within") {
            match duration_ms(text).filter(|ms| *ms <= Quorum::WITHIN_MS_MAX) {
                Some(ms) => quorum.within_ms = ms,
                None => read("within", "a time of at most a day", "@within(\"30m\")"),
            }
        }
        match people::unanswerable(self.facts, &quorum.who, quorum.people) {
            Some((message, remedy, true)) => self.error("@ask", &message, &remedy),
            Some((message, remedy, false)) => self.warn("@ask", &message, &remedy),
            None => {}
        }
        Some(quorum)
    }

    /// A rule about something that does not exist would never refuse anything
    fn names(&mut self, policy: &Policy) {
        let kinds: Vec<&str> = TYPES.into_iter().chain(self.model.kinds.keys().map(String::as_str)).collect();
        let mut types = BTreeSet::new();
        match policy.to_json() {
            Ok(json) => tested_types(&json, &mut types),
            Err(error) => self.error("forbid", &error.to_string(), ""),
        }
        for kind in types.iter().filter(|kind| !kinds.contains(&kind.as_str())) {
            let near = suggest(kind, kinds.iter().copied());
            self.error(&format!("is {kind}"), &format!("nothing here is a `{kind}`"), &near);
        }
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => None,
            PrincipalConstraint::Is(kind) => Some((format!("is {kind}"), kind.to_string())),
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                Some((uid.to_string(), uid.type_name().to_string()))
            }
        };
        if let Some((at, kind)) = principal.filter(|(_, kind)| kinds.contains(&kind.as_str()) && kind != "Agent") {
            let remedy = match kind.as_str() {
                "User" => format!("the user is in the context: `context has user && context.user == {at}`"),
                "Group" => format!("the user is in the context: `context has user && context.user in {at}`"),
                _ => "for example: principal == Agent::\"support-bot\"".to_owned(),
            };
            self.error(&at, &format!("who acts is an `Agent`, never a `{kind}`"), &remedy);
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
                "User" => {
                    if !self.facts.users.keys().any(|user| user.as_str() == id) {
                        let near = suggest(&id, self.facts.users.keys().map(Name::as_str));
                        self.warn(&uid.to_string(), &format!("no user is called `{id}`"), &near);
                    }
                }
                "Group" => {
                    if !id.parse().is_ok_and(|group| self.facts.is_group(&group)) {
                        let near = suggest(&id, self.facts.groups());
                        self.warn(&uid.to_string(), &format!("nobody is in the group `{id}`"), &near);
                    }
                }
                kind if kinds.contains(&kind) => {}
                _ => {
                    let near = suggest(&kind, kinds.iter().copied());
                    self.error(&uid.to_string(), &format!("nothing here is a `{kind}`"), &near);
                }
            }
        }
    }

    fn action(&mut self, uid: &EntityUid, id: &str, policy: &Policy) {
        let group = ["class:", "connector:", "toolset:"].iter().any(|kind| id.starts_with(kind));
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
        } else if let Some((connector, set)) = id.strip_prefix("toolset:").and_then(|rest| rest.split_once(':')) {
            let known = connector.parse().ok().filter(|name| self.facts.connectors.contains_key(name));
            let Some(name) = known else { return self.connector(uid, connector) };
            let prefix = format!("toolset:{connector}:");
            let sets: Vec<&str> =
                self.model.toolsets(&name).into_iter().filter_map(|set| set.strip_prefix(&prefix)).collect();
            let broken = self.facts.connectors.get(&name).is_some_and(Option::is_none);
            if !broken && !sets.contains(&set) {
                self.error(
                    &uid.to_string(),
                    &format!("`{name}` has no toolset `{set}`"),
                    &suggest(set, sets.iter().copied()),
                );
            }
        } else {
            self.tool(uid, id);
        }
    }

    /// What the rule looks at; what it must not look at is an error
    fn looks(&mut self, policy: &Policy) -> Looks {
        let mut looks = Looks { resource: policy.resource_constraint() != ResourceConstraint::Any, ..Looks::default() };
        let json = policy.to_json().unwrap_or_default();
        for condition in json.get("conditions").and_then(|conditions| conditions.as_array()).into_iter().flatten() {
            look(condition, &mut looks);
        }
        let actions = policy.entity_literals().into_iter().filter(|uid| uid.type_name().to_string() == "Action");
        looks.actions = actions.map(|uid| uid.id().unescaped().to_owned()).collect();
        if looks.evades {
            // What is unclear is missing there, and a rule that asks for it first would let the call pass.
            let remedy = "write `context.match.NAME`: a matcher whose answer is unclear fails the rule, which refuses; \
                          name the tools that have it in the scope";
            self.error("context.match", "`context.match` is only for looking at one matcher", remedy);
        }
        if looks.whole {
            self.error(
                "context",
                "`context` is only for looking at what is in it",
                "for example: context.input.amount",
            );
        }
        looks
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
            self.error(&uid.to_string(), "this is no tool, connector, toolset or class", remedy);
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
        } else if profile.is_none() && !connector.tools.is_empty() && !self.model.tools.contains_key(&tool) {
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

const ANNOTATIONS: [&str; 6] = ["id", "ask", "reason", "people", "passkey", "within"];
/// What an entity can be, beside what calls are about; the last is an argument's value that Cedar cannot hold
const TYPES: [&str; 7] = ["Agent", "Action", "Tool", "Connector", "User", "Group", "Unreadable"];

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

/// What an expression looks at, in Cedar's JSON form
fn look(json: &serde_json::Value, looks: &mut Looks) {
    use serde_json::Value;
    let var = |json: &Value| json.get("Var").and_then(Value::as_str).map(ToOwned::to_owned);
    let members = match json {
        Value::Object(members) => members,
        Value::Array(items) => return items.iter().for_each(|item| look(item, looks)),
        _ => return,
    };
    match var(json).as_deref() {
        Some("context") => looks.whole = true,
        Some("resource") => looks.resource = true,
        _ => {}
    }
    for (operator, operands) in members {
        let (left, attr) = (operands.get("left"), operands.get("attr").and_then(Value::as_str));
        match (operator.as_str(), left, attr) {
            // A literal holds no variables, and a record may have members of any name.
            ("Value", ..) => {}
            ("Record", ..) => operands.as_object().into_iter().flat_map(|m| m.values()).for_each(|m| look(m, looks)),
            ("." | "has", Some(left), Some(attr)) => {
                let of_context = var(left).as_deref() == Some("context");
                let inner = left.get(".").filter(|inner| inner.get("left").and_then(var).as_deref() == Some("context"));
                let of_match = inner.and_then(|inner| inner.get("attr")).and_then(Value::as_str) == Some("match");
                match (operator.as_str(), of_context, of_match) {
                    (".", true, _) => {
                        looks.input |= attr == "input";
                        looks.user |= attr == "user";
                        looks.evades |= attr == "match";
                    }
                    ("has", true, _) | (".", _, true) => {}
                    _ => look(left, looks),
                }
            }
            _ => look(operands, looks),
        }
    }
}
