//! Holds rules against the schema: what a rule looks at is there, and of the type that it takes it for.
//!
//! A rule is validated once for every action that its scope names, so rules are gathered by what they name,
//! and each gathering is shown only that part of the schema.

use super::{
    kind::Kind,
    model::{Model, Subject},
    schema::{Part, schema},
};
use crate::{
    files::File,
    finding::{Finding, Place},
    rule::Rule,
};
use cedar_policy::{
    EntityTypeName, Policy, PolicyId, PolicySet, ResourceConstraint, Schema, ValidationError, ValidationMode,
    ValidationWarning, Validator,
};
use miette::Diagnostic as _;
use portreeve_core::names::{Name, Tool};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Validates rules; `files` has the file of each
pub(super) fn check(rules: &[Rule], files: &[&File<'_>], model: &Model, findings: &mut Vec<Finding>) {
    let mut gathered: BTreeMap<Gathering<'_>, Vec<usize>> = BTreeMap::new();
    let mut blind: BTreeMap<Gathering<'_>, Vec<usize>> = BTreeMap::new();
    let mut warned = BTreeSet::new();
    for (index, (rule, file)) in rules.iter().zip(files).enumerate() {
        let all = tools(rule, model);
        let (seen, unseen): (BTreeSet<&Tool>, BTreeSet<&Tool>) = all.iter().partition(|tool| {
            !rule.looks.input || model.tools.get(tool).is_some_and(|subject| subject.input.is_some())
        });
        findings.extend(unchecked(&unseen, rule, file, model, &mut warned));
        let actions = &rule.looks.actions;
        let complete = unseen.is_empty();
        if !seen.is_empty() {
            gathered.entry(Gathering { tools: seen, actions, complete }).or_default().push(index);
        } else if !complete {
            blind.entry(Gathering { tools: unseen, actions, complete: false }).or_default().push(index);
        }
    }
    for (gathering, indices) in blind {
        // A name that cannot stand in a schema is told below, or by nobody who could do something about it.
        let Ok(held) = Held::new(model, &gathering) else { continue };
        let rest = |index: &usize| Some((*index, without_arguments(&rules.get(*index)?.policy)?));
        for (index, found) in held.validate(indices.iter().filter_map(rest)) {
            if let (Some(rule), Some(file)) = (rules.get(index), files.get(index)) {
                Teller { model, gathering: &gathering, rule, file }.tell_unplaced(&found, findings);
            }
        }
    }
    for (gathering, indices) in gathered {
        let held = match Held::new(model, &gathering) {
            Ok(held) => held,
            Err(error) => {
                let remedy =
                    "a name in the policy cannot stand in a Cedar schema; see `portreeve policy show --schema`";
                findings.push(Finding::error(Place::file("rules"), error, remedy));
                continue;
            }
        };
        let numbered = indices.iter().filter_map(|index| Some((*index, rules.get(*index)?.policy.clone())));
        for (index, found) in held.validate(numbered) {
            if let (Some(rule), Some(file)) = (rules.get(index), files.get(index)) {
                Teller { model, gathering: &gathering, rule, file }.tell(&found, findings);
            }
        }
    }
}

/// Rules that name the same
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Gathering<'a> {
    /// The tools that they are about, as far as those can be looked into
    tools: BTreeSet<&'a Tool>,
    /// The actions that they name
    actions: &'a BTreeSet<String>,
    /// Whether these are all the tools that they are about
    complete: bool,
}

/// The tools that a rule is about
fn tools<'m>(rule: &Rule, model: &'m Model) -> BTreeSet<&'m Tool> {
    match rule.actions() {
        None => model.tools.iter().filter(|(_, subject)| !subject.idle).map(|(tool, _)| tool).collect(),
        Some(actions) => actions.iter().flat_map(|action| model.tools_of(action.id().unescaped())).collect(),
    }
}

/// Says once for every connector that nobody knows the arguments of its tools
fn unchecked(
    unseen: &BTreeSet<&Tool>,
    rule: &Rule,
    file: &File<'_>,
    model: &Model,
    warned: &mut BTreeSet<Name>,
) -> Option<Finding> {
    let connectors: BTreeSet<&Name> = unseen.iter().map(|tool| &tool.connector).collect();
    let new: Vec<&Name> = connectors.into_iter().filter(|name| warned.insert((*name).clone())).collect();
    if new.is_empty() {
        return None;
    }
    let files: Vec<String> = new.iter().map(|name| format!("pins/{name}.json")).collect();
    let files = files.join(", ");
    let message = if new.iter().any(|name| model.is_pinned(name)) {
        format!("{files} has not every tool, so what rules say of their arguments is not checked")
    } else {
        format!("no {files}, so what this rule says of arguments is not checked")
    };
    let place = find(file, &rule.span, "context.input");
    Some(Finding::warning(place, message, "a slip in it refuses calls; put the tools there as their server lists them"))
}

/// The part of the schema that a gathering is about
struct Held(Validator);

impl Held {
    fn new(model: &Model, gathering: &Gathering<'_>) -> Result<Self, String> {
        let part = Part { tools: Some(&gathering.tools), actions: Some(gathering.actions), extra: None };
        let text = schema(model, part);
        let (schema, _) = Schema::from_cedarschema_str(&text).map_err(|error| error.to_string())?;
        Ok(Self(Validator::new(schema)))
    }

    fn validate(&self, rules: impl Iterator<Item = (usize, Policy)>) -> BTreeMap<usize, Found> {
        let mut set = PolicySet::new();
        for (index, policy) in rules {
            // Numbers are unique.
            let _ = set.add(policy.new_id(PolicyId::new(index.to_string())));
        }
        let result = self.0.validate(&set, ValidationMode::Strict);
        let index = |id: &PolicyId| AsRef::<str>::as_ref(id).parse::<usize>().ok();
        let mut found: BTreeMap<usize, Found> = BTreeMap::new();
        for error in result.validation_errors() {
            if let Some(index) = index(error.policy_id()) {
                found.entry(index).or_default().errors.push(error.clone());
            }
        }
        for warning in result.validation_warnings() {
            if let Some(index) = index(warning.policy_id()) {
                found.entry(index).or_default().warnings.push(warning.clone());
            }
        }
        // Cedar tells them in no order, and the same policy has the same findings.
        found.values_mut().for_each(|found| {
            found.errors.sort_by_cached_key(ToString::to_string);
            found.warnings.sort_by_cached_key(ToString::to_string);
        });
        found
    }
}

/// The rule with everything that it says of arguments taken for something that may hold or not
///
/// So the rest of a rule is held against the schema although nobody knows the types of the arguments.
fn without_arguments(policy: &Policy) -> Option<Policy> {
    let mut json = policy.to_json().ok()?;
    for condition in json.get_mut("conditions")?.as_array_mut()? {
        blur(condition.get_mut("body")?);
    }
    Policy::from_json(None, json).ok()
}

fn blur(condition: &mut serde_json::Value) {
    const WITHIN: [&str; 7] = ["left", "right", "arg", "if", "then", "else", "arguments"];
    if !looks_at_input(condition) {
        return;
    }
    let composed = condition.as_object_mut().and_then(|members| {
        members.iter_mut().find(|(operator, _)| matches!(operator.as_str(), "&&" | "||" | "!" | "if-then-else"))
    });
    match composed.and_then(|(_, operands)| operands.as_object_mut()) {
        Some(operands) => {
            operands.iter_mut().filter(|(name, _)| WITHIN.contains(&name.as_str())).for_each(|(_, each)| blur(each));
        }
        None => {
            let time = serde_json::json!({ ".": { "left": { "Var": "context" }, "attr": "time" } });
            let ms = serde_json::json!({ ".": { "left": time, "attr": "ms" } });
            *condition = serde_json::json!({ "==": { "left": ms, "right": { "Value": 0 } } });
        }
    }
}

fn looks_at_input(json: &serde_json::Value) -> bool {
    let is_context = |json: &serde_json::Value| json.get("Var").and_then(|name| name.as_str()) == Some("context");
    match json {
        serde_json::Value::Object(members) => members.iter().any(|(operator, operands)| {
            let named = operands.get("attr").and_then(|attr| attr.as_str()) == Some("input");
            (operator == "." && named && operands.get("left").is_some_and(is_context)) || looks_at_input(operands)
        }),
        serde_json::Value::Array(items) => items.iter().any(looks_at_input),
        _ => false,
    }
}

/// What Cedar says of one rule
#[derive(Default)]
struct Found {
    errors: Vec<ValidationError>,
    warnings: Vec<ValidationWarning>,
}

/// Says it in our words
struct Teller<'a> {
    model: &'a Model,
    gathering: &'a Gathering<'a>,
    rule: &'a Rule,
    file: &'a File<'a>,
}

impl Teller<'_> {
    fn tell(&self, found: &Found, findings: &mut Vec<Finding>) {
        let unreached = found.errors.iter().find(|error| matches!(error, ValidationError::InvalidActionApplication(_)));
        let others = found.errors.iter().filter(|error| {
            // Unknown names are told where they are read, with the names that there are.
            !matches!(
                error,
                ValidationError::InvalidActionApplication(_)
                    | ValidationError::UnrecognizedActionId(_)
                    | ValidationError::UnrecognizedEntityType(_)
            )
        });
        let mut told: BTreeSet<(usize, usize)> = BTreeSet::new();
        for error in others {
            let span = span(error);
            // An access to what may be missing is an error of its own, and of everything around it.
            if told.insert(span.as_ref().map_or((0, 0), |span| (span.start, span.end))) {
                findings.push(self.error(error, span));
            }
        }
        let impossible = found.warnings.iter().any(|warning| matches!(warning, ValidationWarning::ImpossiblePolicy(_)));
        if told.is_empty() && (unreached.is_some() || impossible) && self.gathering.complete {
            findings.push(self.unreached(unreached));
        }
        for warning in &found.warnings {
            if !matches!(warning, ValidationWarning::ImpossiblePolicy(_)) {
                let place = find(self.file, &self.rule.span, "forbid");
                findings.push(Finding::warning(place, plain(&warning.to_string()), ""));
            }
        }
    }

    /// Says it of a rule of which a part was left out, so that Cedar cannot tell where
    fn tell_unplaced(&self, found: &Found, findings: &mut Vec<Finding>) {
        for error in &found.errors {
            let text = error.to_string();
            // `… attribute `user` in context for …`: the path stands in the rule as it does here.
            let path = text.split_once("attribute `").and_then(|(_, rest)| rest.split_once("` in context"));
            let at = path.map_or_else(|| "forbid".to_owned(), |(path, _)| format!("context.{path}"));
            let place = find(self.file, &self.rule.span, &at);
            let (message, remedy) = match error {
                ValidationError::InvalidActionApplication(_)
                | ValidationError::UnrecognizedActionId(_)
                | ValidationError::UnrecognizedEntityType(_) => continue,
                ValidationError::UnsafeOptionalAttributeAccess(_) | ValidationError::UnsafeAttributeAccess(_) => {
                    self.say(error, &at, &self.rule.span)
                }
                _ => {
                    let (message, remedy) = self.say(error, "something in this rule", &self.rule.span);
                    (message.replace("`something in this rule`", "something in this rule"), remedy)
                }
            };
            findings.push(Finding::error(place, message, remedy));
        }
    }

    fn unreached(&self, error: Option<&ValidationError>) -> Finding {
        let place = find(self.file, &self.rule.span, "forbid");
        let swap =
            error.and_then(|error| error.help()).is_some_and(|help| help.to_string().contains("resource clause"));
        let target = self.gathering.tools.iter().find_map(|tool| self.model.tools.get(tool)?.target.as_deref());
        let tool = |kind: &EntityTypeName| kind.to_string() == "Tool";
        let about_tool = match self.rule.policy.resource_constraint() {
            ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => tool(&kind),
            _ => swap,
        };
        let remedy = match target.filter(|_| about_tool) {
            Some(target) => {
                format!(
                    "a call of it is about {}, which is in the tool: `resource in Tool::\"…\"`",
                    a(&format!("`{target}`"))
                )
            }
            None => "its scope and conditions exclude each other; `portreeve policy show --schema` has what there is"
                .to_owned(),
        };
        Finding::warning(place, "no call can reach this rule", remedy)
    }

    fn error(&self, error: &ValidationError, span: Option<Range<usize>>) -> Finding {
        let span = span.unwrap_or_else(|| self.rule.span.clone());
        let snippet = receiver(self.file.text.get(span.clone()).unwrap_or_default());
        let place = Place::span(self.file.path, self.file.text, &(span.start..span.start + snippet.len()));
        let (message, remedy) = self.opaque(error, snippet).unwrap_or_else(|| self.say(error, snippet, &span));
        Finding::error(place, message, remedy)
    }

    fn say(&self, error: &ValidationError, snippet: &str, span: &Range<usize>) -> (String, String) {
        let text = error.to_string();
        let help = error.help().map(|help| plain(&help.to_string())).unwrap_or_default();
        let of = || self.culprit(span).map(|tool| format!(" of `{tool}`")).unwrap_or_default();
        match error {
            ValidationError::UnsafeOptionalAttributeAccess(_) => {
                let (holder, name) = snippet.rsplit_once('.').unwrap_or((snippet, "it"));
                let remedy =
                    format!("ask first: `{holder} has {name} && …`; without it the rule refuses every such call");
                (format!("`{snippet}` is not always there"), remedy)
            }
            ValidationError::UnsafeAttributeAccess(_) => self.missing(&text, snippet, help),
            ValidationError::UnexpectedType(_) if text.ends_with("expected Long but saw decimal") => (
                format!("`{snippet}`{} is a decimal, and a whole number is needed here", of()),
                format!(
                    "write `{snippet}.greaterThan(decimal(\"1.0\"))`, or lessThan, greaterThanOrEqual, lessThanOrEqual"
                ),
            ),
            ValidationError::UnexpectedType(_) if text.ends_with("expected decimal but saw Long") => (
                format!("`{snippet}`{} is a whole number, and a decimal is needed here", of()),
                if snippet.bytes().all(|byte| byte.is_ascii_digit()) {
                    format!("write `decimal(\"{snippet}.0\")`")
                } else {
                    format!("write `{snippet} > 1`, or <, >=, <=")
                },
            ),
            ValidationError::UnexpectedType(_) => {
                let (expected, seen) = text
                    .split_once(": expected ")
                    .and_then(|(_, rest)| rest.split_once(" but saw "))
                    .unwrap_or(("another type", "this"));
                let message = format!("`{snippet}`{} is {}, and {} is needed here", of(), a(seen), a(expected));
                (message, help)
            }
            ValidationError::IncompatibleTypes(_) => {
                let types = text.strip_prefix("the types ").and_then(|rest| rest.strip_suffix(" are not compatible"));
                let types = types.map_or_else(|| text.clone(), |types| format!("{types} are different types"));
                let remedy = match types.contains("decimal") && types.contains("Long") {
                    true => {
                        "a number is `decimal(\"5.0\")` where a decimal is compared, and `5` where a whole number is"
                    }
                    false => "Cedar compares only what is of the same type",
                };
                (format!("{types}{}, and nothing is both", of()), remedy.to_owned())
            }
            ValidationError::EmptySetForbidden(_) => {
                ("an empty set has no type".to_owned(), "write `.isEmpty()` to ask whether a set is empty".to_owned())
            }
            _ => {
                let text = plain(&text);
                let start = "error during extension function argument validation: ";
                (text.strip_prefix(start).unwrap_or(&text).to_owned(), help)
            }
        }
    }

    /// Something that is not there at all
    fn missing(&self, text: &str, snippet: &str, help: String) -> (String, String) {
        let action = text.split_once("context for Action::\"").and_then(|(_, rest)| rest.split('"').next());
        let tool = action.map(|action| action.split('#').next().unwrap_or(action));
        let subject = tool.and_then(|tool| tool.parse::<Tool>().ok()).and_then(|tool| self.model.tools.get(&tool));
        let path: Vec<&str> = snippet.split('.').collect();
        let several = self.gathering.tools.len() > 1;
        match (path.as_slice(), tool, subject) {
            (["context", "input", name @ ..], Some(tool), Some(subject)) if !name.is_empty() => {
                let name = name.join(".");
                let remedy = match (help.is_empty(), several) {
                    (true, true) => {
                        let (holder, last) = snippet.rsplit_once('.').unwrap_or((snippet, "it"));
                        format!("ask first: `{holder} has {last} && …`, or name the tools that take it in the scope")
                    }
                    (true, false) => known(subject.input.as_ref().map(|shape| shape.members.keys())),
                    (false, _) => help,
                };
                (format!("`{tool}` takes no `{name}`"), remedy)
            }
            (["context", "match", name, ..], Some(tool), Some(subject)) => {
                let names: Vec<String> = subject.matchers.iter().map(ToString::to_string).collect();
                let remedy = if help.is_empty() { known(Some(names.iter())) } else { help };
                (format!("no matcher of `{tool}` is called `{name}`"), remedy)
            }
            (["context", "user", name], ..) => {
                let remedy = if help.is_empty() { known(Some(self.model.attributes.members.keys())) } else { help };
                (format!("no user has `{name}` under `[attributes]`"), remedy)
            }
            (["context", name], ..) => {
                let remedy = if help.is_empty() { format!("known here: {CONTEXT}") } else { help };
                (format!("`context` has no `{name}`"), remedy)
            }
            _ => (format!("there is no `{snippet}`"), help),
        }
    }

    /// An argument for which Cedar has no type
    fn opaque(&self, error: &ValidationError, snippet: &str) -> Option<(String, String)> {
        if !error.to_string().contains("Unreadable") {
            return None;
        }
        let mut paths = snippet.split("context.input.").skip(1).map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(rest.len());
            rest.get(..end).unwrap_or_default().split('.').collect::<Vec<_>>()
        });
        let subjects = || self.gathering.tools.iter().filter_map(|tool| Some((*tool, self.model.tools.get(tool)?)));
        let (tool, path, why) =
            paths.find_map(|path| subjects().find_map(|(tool, subject)| opaque_at(tool, subject, &path)))?;
        let message = format!("Cedar has no type for `{path}` of `{tool}`: {why}");
        let remedy = format!(
            "write a matcher in the profile of `{}`: matchers = {{ good = {{ {path} = … }} }}; rules see it as `context.match.good`",
            tool.name
        );
        Some((message, remedy))
    }

    /// Which of several tools the error is about
    fn culprit(&self, span: &Range<usize>) -> Option<&Tool> {
        const TRIED_MAX: usize = 64;
        if self.gathering.tools.len() < 2 {
            return None;
        }
        self.gathering.tools.iter().take(TRIED_MAX).copied().find(|tool| {
            let gathering =
                Gathering { tools: BTreeSet::from([*tool]), actions: self.gathering.actions, complete: false };
            let found = Held::new(self.model, &gathering)
                .map(|held| held.validate([(0, self.rule.policy.clone())].into_iter()));
            let errors = found.into_iter().flat_map(BTreeMap::into_values).flat_map(|found| found.errors);
            errors.into_iter().any(|error| self::span(&error).as_ref() == Some(span))
        })
    }
}

/// The longest beginning of a path at which Cedar has no type
fn opaque_at<'t>(tool: &'t Tool, subject: &Subject, path: &[&str]) -> Option<(&'t Tool, String, &'static str)> {
    (1..=path.len()).find_map(|length| {
        let path = path.get(..length)?;
        let mut kind = subject.input_at(path)?;
        while let Kind::Set(items) = kind {
            kind = items;
        }
        match kind {
            Kind::Opaque(why) => Some((tool, path.join("."), *why)),
            _ => None,
        }
    })
}

const CONTEXT: &str = "input, match, user, environment, class, unreadable, task, time, chain, proof";

fn known<'n>(names: Option<impl Iterator<Item = &'n String>>) -> String {
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    if names.is_empty() { "there is none".to_owned() } else { format!("known here: {}", names.join(", ")) }
}

fn span(error: &ValidationError) -> Option<Range<usize>> {
    let label = error.labels()?.next()?;
    Some(label.offset()..label.offset() + label.len())
}

/// Cedar's words without the number that we gave the policy, and without its inner names
fn plain(text: &str) -> String {
    let rest = text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")).map_or(text, |(_, rest)| rest);
    rest.replace("__cedar::internal::", "")
}

fn a(kind: &str) -> String {
    let kind = plain(kind);
    let kind = kind.replace("AnyEntity", "entity").replace("Set<Any>", "Set");
    let article = if kind.trim_start_matches('`').starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}

/// What a method is called on: Cedar points at the whole call
fn receiver(snippet: &str) -> &str {
    let is_method = |at: usize| {
        let rest = snippet.get(at + 1..).unwrap_or_default();
        let name = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        name > 0 && rest.get(name..).is_some_and(|rest| rest.starts_with('('))
    };
    let call = snippet.match_indices('.').map(|(at, _)| at).find(|at| is_method(*at));
    call.and_then(|at| snippet.get(..at)).filter(|_| snippet.ends_with(')')).unwrap_or(snippet)
}

/// Where a text stands in a rule, or the rule itself
fn find(file: &File<'_>, span: &Range<usize>, text: &str) -> Place {
    let rule = file.text.get(span.clone()).unwrap_or_default();
    let start = rule.find(text).map_or(span.start, |at| span.start + at);
    Place::span(file.path, file.text, &(start..start + text.len()))
}
