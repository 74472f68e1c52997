//! Purposes as ordinary Cedar, for tools that analyse it.
//!
//! What a policy permits here the matcher permits too: what Cedar cannot say, or cannot say exactly, stands as
//! a truth value that whoever asks has to fill in from the matcher's answer, `context.match_native["…"]`.

use super::{
    kind::{Kind, Member, Shape, decimal, key, quoted, step},
    model::{Model, Subject},
    schema::{Extra, Part, schema},
};
use portreeve_core::{
    names::{Name, Tool},
    path::{FieldPath, Step},
    pattern::{Operand, Pattern},
    policy::{Bundle, Class, Elevate, Entry, Kind as Parameter, Purpose, Users},
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Purposes as Cedar
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// One policy for each thing that a purpose allows with one tool
    pub policies: String,
    /// The schema that they fit
    pub schema: String,
}

/// Writes the purposes of a bundle, all or only one; `None`: there is no such purpose
pub(crate) fn export(bundle: &Bundle, model: &Model, only: Option<&Name>) -> Option<Exported> {
    let purposes: BTreeMap<&Name, &Purpose> =
        bundle.purposes.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    if only.is_some() && purposes.is_empty() {
        return None;
    }
    let mut writer = Writer { bundle, model, extra: Extra::default(), text: HEAD.to_owned() };
    writer.extra.parameters = parameters(purposes.values().copied());
    for (name, purpose) in purposes {
        writer.purpose(name, purpose);
    }
    let part = Part { extra: Some(&writer.extra), ..Part::WHOLE };
    let schema = schema(model, part);
    Some(Exported { policies: writer.text, schema })
}

const HEAD: &str = "\
// Purposes, as Cedar can say them. Made from the policy: change that, not this.
//
// Ask with the tool as the action, the variants that the call fits in `context.variants`, and the task's
// parameters in `context.task.parameters`. What Cedar cannot say is in `context.match_native`, and whoever asks
// fills it in; where it is false, nothing is permitted that Portreeve would refuse. Rules are not in here. A
// delegated task needs a permit under its own purpose and under that of every task above it.
";

/// The parameters that mean the same in all of these purposes
fn parameters<'p>(purposes: impl Iterator<Item = &'p Purpose>) -> Shape {
    let mut members: BTreeMap<String, Option<Kind>> = BTreeMap::new();
    for (name, parameter) in purposes.flat_map(|purpose| &purpose.parameters) {
        let kind = kind(&parameter.kind);
        let known = members.entry(name.to_string()).or_insert_with(|| kind.clone());
        if *known != kind {
            *known = None;
        }
    }
    let member = |(name, kind): (String, Option<Kind>)| Some((name, Member { kind: kind?, required: false }));
    Shape { members: members.into_iter().filter_map(member).collect(), open: false }
}

fn kind(parameter: &Parameter) -> Option<Kind> {
    match parameter {
        Parameter::Text { .. } => Some(Kind::Text),
        Parameter::Decimal { .. } => Some(Kind::Decimal),
        Parameter::Bool => Some(Kind::Bool),
        Parameter::Choice(values) if values.iter().all(|value| value.as_str().is_some()) => Some(Kind::Text),
        Parameter::Choice(values) if values.iter().all(|value| matches!(value, Value::Number(_))) => {
            Some(Kind::Decimal)
        }
        Parameter::Choice(_) => None,
    }
}

struct Writer<'a> {
    bundle: &'a Bundle,
    model: &'a Model,
    extra: Extra,
    text: String,
}

/// What one policy is about
#[derive(Clone, Copy)]
struct About<'a> {
    purpose: &'a Name,
    entry: &'a Entry,
    tool: &'a Tool,
}

impl Writer<'_> {
    fn purpose(&mut self, name: &Name, purpose: &Purpose) {
        self.comment(&format!("\n// {name}: {}", plain(&purpose.about)));
        if purpose.open.agents.is_empty() {
            self.comment("// No agent may work on it.");
            return;
        }
        for entry in purpose.entries() {
            let tools: BTreeSet<&Tool> = entry.uses.iter().map(|usage| &usage.tool).collect();
            for tool in tools {
                self.permit(purpose, About { purpose: name, entry, tool });
            }
        }
    }

    fn permit(&mut self, purpose: &Purpose, about: About<'_>) {
        let About { purpose: name, entry, tool } = about;
        if !self.model.tools.contains_key(tool) {
            self.extra.unknown.entry(tool.clone()).or_insert_with(Subject::unknown);
        }
        let Some(profile) = self.bundle.profile(tool) else { return };
        if let Some(ceiling) = purpose.limits.ceiling.filter(|ceiling| profile.confidentiality() > *ceiling) {
            let label = profile.confidentiality();
            self.comment(&format!("// {}: {tool} may return what is {label}, above {ceiling}.", entry.name));
            return;
        }
        let mut conditions = vec![format!("context.task.purpose == {}", quoted(name.as_str()))];
        let agents: Vec<String> = purpose.open.agents.iter().map(|agent| uid("Agent", agent.as_str())).collect();
        let principal = match agents.as_slice() {
            [agent] => format!("principal == {agent}"),
            agents => {
                conditions.push(format!("[{}].contains(principal)", agents.join(", ")));
                "principal".to_owned()
            }
        };
        conditions.push(match &purpose.open.users {
            Users::None => "!(context has user)".to_owned(),
            Users::Group(group) => format!("context has user && context.user in {}", uid("Group", group.as_str())),
            Users::Named(users) => {
                let users: Vec<String> = users.iter().map(|user| uid("User", user.as_str())).collect();
                format!("context has user && [{}].contains(context.user)", users.join(", "))
            }
        });
        let elevated = self.classes(purpose, about, &mut conditions);
        conditions.extend(self.variants(about));
        let mut natives = BTreeMap::new();
        self.arguments(about, &mut conditions, &mut natives);
        bounds(purpose, about, &mut natives);
        self.text.push('\n');
        let own = self.extra.native.entry(tool.clone()).or_default();
        if let Some(native) = elevated {
            let meaning = "a grant that is live has opened the class of this call, for its tool and with its values";
            put(&mut self.text, format_args!("// match_native[{}]: {meaning}\n", quoted(&native)));
            own.insert(native);
        }
        for (native, meaning) in natives {
            let native = format!("{name}.{native}");
            conditions.push(format!("context.match_native[{}]", quoted(&native)));
            put(&mut self.text, format_args!("// match_native[{}]: {}\n", quoted(&native), plain(&meaning)));
            own.insert(native);
        }
        put(
            &mut self.text,
            format_args!(
                "@id({})\npermit (\n  {principal},\n  action == {},\n  resource\n)\nwhen {{\n  {}\n}};\n",
                quoted(&format!("{name}.{}.{tool}", entry.name)),
                uid("Action", &tool.to_string()),
                conditions.join(" &&\n  ")
            ),
        );
    }

    /// Which classes a call may have: those that stand; and if others can be opened for a while, the name of the truth
    /// value that says so
    fn classes(&self, purpose: &Purpose, about: About<'_>, conditions: &mut Vec<String>) -> Option<String> {
        const CLASSES: [Class; 4] = [Class::Read, Class::Write, Class::Execute, Class::Escalate];
        let tier = self.bundle.connectors.get(&about.tool.connector).map(|connector| connector.tier);
        let tier = tier.unwrap_or_default();
        let stands = |class: &Class| tier.stands(*class, &purpose.limits.standing);
        let standing: Vec<String> =
            CLASSES.iter().filter(|class| stands(class)).map(|c| quoted(&c.to_string())).collect();
        let standing = match standing.as_slice() {
            [] => "false".to_owned(),
            standing => format!("[{}].contains(context.class)", standing.join(", ")),
        };
        let of_tool = |elevate: &Elevate| {
            let mut alone = elevate.alone.values().flat_map(|alone| &alone.uses);
            elevate.ask.is_some() || alone.any(|usage| usage.tool == *about.tool)
        };
        if !purpose.elevate.as_ref().is_some_and(of_tool) {
            conditions.push(standing);
            return None;
        }
        let native = format!("{}.task.elevated", about.purpose);
        conditions.push(format!("({standing} || context.match_native[{}])", quoted(&native)));
        Some(native)
    }

    /// Which variants of the tool the entry covers: all that a call fits
    fn variants(&self, About { entry, tool, .. }: About<'_>) -> Option<String> {
        let subject = self.model.tools.get(tool)?;
        if subject.variants.is_empty() {
            return None;
        }
        let uses = || entry.uses.iter().filter(|usage| usage.tool == *tool);
        let named: Vec<String> =
            uses().filter_map(|usage| usage.variant.as_ref()).map(|name| quoted(name.as_str())).collect();
        let plain = uses().any(|usage| usage.variant.is_none());
        let all = format!("[{}].containsAll(context.variants)", named.join(", "));
        Some(match (plain, named.is_empty()) {
            (_, true) => "context.variants.isEmpty()".to_owned(),
            (true, false) => all,
            (false, false) => format!("!context.variants.isEmpty() && {all}"),
        })
    }

    /// Which arguments a call has: those of the entry as it says, and no others
    fn arguments(&self, about: About<'_>, conditions: &mut Vec<String>, natives: &mut BTreeMap<String, String>) {
        let About { entry, tool, .. } = about;
        let subject = self.model.tools.get(tool);
        let Some(shape) = subject.and_then(|subject| subject.input.as_ref()) else {
            let meaning = format!("the arguments are as `{}` says; nobody wrote down their types", entry.name);
            natives.insert(format!("{}.where", entry.name), meaning);
            return;
        };
        for (path, pattern) in &entry.arguments {
            let said = self.said(shape, path, pattern);
            conditions.extend(said.conditions);
            if !said.whole {
                let meaning = format!("{path} is {}", pattern.in_words(None));
                natives.insert(format!("{}.where.{path}", entry.name), meaning);
            }
        }
        let free = self.bundle.profile(tool).into_iter().flat_map(|profile| profile.free());
        let covered: Vec<&FieldPath> = entry.arguments.keys().chain(free).collect();
        let mut closed = !shape.open;
        for name in shape.members.keys() {
            let mut paths = covered.iter().filter(|path| path.root() == Some(name)).peekable();
            match paths.peek() {
                None => conditions.push(format!("!(context.input has {})", key(name))),
                Some(_) => closed &= paths.any(|path| path.steps().len() == 1),
            }
        }
        if !closed {
            let meaning = "nothing else is given".to_owned();
            natives.insert(format!("{}.closed", entry.name), meaning);
        }
    }

    /// What Cedar can say of one argument
    fn said(&self, shape: &Shape, path: &FieldPath, pattern: &Pattern) -> Said {
        let names: Option<Vec<&str>> = path
            .steps()
            .iter()
            .map(|step| if let Step::Member(name) = step { Some(name.as_str()) } else { None })
            .collect();
        let Some(place) = names.and_then(|names| Place::of(shape, &names)) else { return Said::NOTHING };
        self.pattern(&place, pattern)
    }

    fn pattern(&self, place: &Place<'_>, pattern: &Pattern) -> Said {
        let at = &place.at;
        match pattern {
            // Further in, something on the way may be null, and then neither holds.
            Pattern::Any | Pattern::Absent if place.depth > 1 => Said::NOTHING,
            Pattern::Any => Said::whole(Vec::new()),
            Pattern::Absent => Said::whole(vec![format!("!({})", place.there)]),
            Pattern::Is(operand) => place.said(self.same(place, operand)),
            Pattern::In(operands) => {
                let each: Option<Vec<String>> = operands.iter().map(|operand| self.same(place, operand)).collect();
                place.said(each.map(|each| match each.as_slice() {
                    [] => "false".to_owned(),
                    each => format!("({})", each.join(" || ")),
                }))
            }
            Pattern::AtMost(operand) => place.said(self.bound(place, operand, ("<=", "lessThanOrEqual"))),
            Pattern::AtLeast(operand) => place.said(self.bound(place, operand, (">=", "greaterThanOrEqual"))),
            // Cedar's `*` passes over `/` and `..`: necessary, and not enough.
            Pattern::Prefix(Operand::Literal(Value::String(prefix))) if place.kind == &Kind::Text => {
                place.partly(format!("{at} like \"{}*\"", literal(prefix)))
            }
            Pattern::Glob(shape) if place.kind == &Kind::Text => {
                let pieces: Vec<String> = shape.split('*').map(literal).collect();
                let mut like = pieces.join("*");
                while like.contains("**") {
                    like = like.replace("**", "*");
                }
                place.partly(format!("{at} like \"{like}\""))
            }
            Pattern::All(patterns) => {
                let all = patterns.iter().map(|pattern| self.pattern(place, pattern));
                all.fold(Said::whole(Vec::new()), Said::and)
            }
            Pattern::Prefix(_)
            | Pattern::Glob(_)
            | Pattern::Under(_)
            | Pattern::Path(_)
            | Pattern::Url(_)
            | Pattern::Email(_)
            | Pattern::MaxBytes(_)
            | Pattern::From(_) => Said::NOTHING,
        }
    }

    /// That a value is the operand
    fn same(&self, place: &Place<'_>, operand: &Operand) -> Option<String> {
        let other = match operand {
            Operand::Literal(value) => value_of(place.kind, value)?,
            Operand::Parameter(name) => self.parameter(place.kind, name)?,
            Operand::Attribute(_) => return None,
        };
        Some(asking(operand, format!("{} == {other}", place.at)))
    }

    /// That a number is on one side of the operand
    fn bound(&self, place: &Place<'_>, operand: &Operand, (sign, method): (&str, &str)) -> Option<String> {
        let other = match operand {
            Operand::Literal(value) => value_of(place.kind, value)?,
            Operand::Parameter(name) => self.parameter(place.kind, name)?,
            Operand::Attribute(_) => return None,
        };
        match place.kind {
            Kind::Long => Some(asking(operand, format!("{} {sign} {other}", place.at))),
            Kind::Decimal => Some(asking(operand, format!("{}.{method}({other})", place.at))),
            _ => None,
        }
    }

    /// A parameter of the same type
    fn parameter(&self, kind: &Kind, name: &Name) -> Option<String> {
        let member = self.extra.parameters.members.get(name.as_str())?;
        (member.kind == *kind).then(|| format!("context.task.parameters{}", step(name.as_str())))
    }

    fn comment(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// What bounds a call beside its arguments, which only the state of the task can tell
fn bounds(purpose: &Purpose, About { entry, tool, .. }: About<'_>, natives: &mut BTreeMap<String, String>) {
    let mut add = |name: String, meaning: &str| drop(natives.insert(name, meaning.to_owned()));
    add("task.open".to_owned(), "the task was opened as `[open]` says, and is neither over nor idle");
    if purpose.limits.calls.is_some() {
        add("task.calls".to_owned(), "the task has calls left");
    }
    if purpose.limits.bytes.arguments.is_some() || purpose.limits.bytes.results.is_some() {
        add("task.bytes".to_owned(), "the task has bytes left");
    }
    if let Some(times) = entry.times {
        add(format!("{}.times", entry.name), &format!("fewer than {times} uses of the step are spent"));
    }
    if let Some(after) = &entry.after {
        add(format!("{}.after", entry.name), &format!("the step {after} has succeeded"));
    }
    // Every entry that matches asks, so an easier one never hides the question of a stricter one.
    for other in purpose.entries_of(tool) {
        if let Some(ask) = &other.ask {
            let meaning = format!("the step does not match, asks nobody here, or {} agreed", ask.quorum);
            add(format!("{}.ask", other.name), &meaning);
        }
    }
}

/// What Cedar can say of a pattern
struct Said {
    conditions: Vec<String>,
    /// Whether that is all of it
    whole: bool,
}

impl Said {
    const NOTHING: Self = Self { conditions: Vec::new(), whole: false };

    fn whole(conditions: Vec<String>) -> Self {
        Self { conditions, whole: true }
    }

    fn and(mut self, other: Self) -> Self {
        for condition in other.conditions {
            if !self.conditions.contains(&condition) {
                self.conditions.push(condition);
            }
        }
        Self { whole: self.whole && other.whole, ..self }
    }
}

/// Where an argument stands
struct Place<'a> {
    /// That it is there
    there: String,
    /// It
    at: String,
    kind: &'a Kind,
    depth: usize,
}

impl<'a> Place<'a> {
    fn of(shape: &'a Shape, names: &[&str]) -> Option<Self> {
        let mut at = "context.input".to_owned();
        let mut there = Vec::new();
        for name in names {
            there.push(format!("{at} has {}", key(name)));
            at.push_str(&step(name));
        }
        Some(Self { there: there.join(" && "), at, kind: shape.at(names)?, depth: names.len() })
    }

    /// A condition on a value that is there, if Cedar can say it
    fn said(&self, condition: Option<String>) -> Said {
        condition.map_or(Said::NOTHING, |condition| Said::whole(vec![self.there.clone(), condition]))
    }

    fn partly(&self, condition: String) -> Said {
        Said { conditions: vec![self.there.clone(), condition], whole: false }
    }
}

/// A value as Cedar writes it, if it is of this type
fn value_of(kind: &Kind, value: &Value) -> Option<String> {
    match (kind, value) {
        (Kind::Text, Value::String(text)) => Some(quoted(text)),
        (Kind::Bool, Value::Bool(truth)) => Some(truth.to_string()),
        (Kind::Long, Value::Number(number)) => number.to_i64().map(|number| number.to_string()),
        (Kind::Decimal, Value::Number(number)) => decimal(number).map(|text| format!("decimal(\"{text}\")")),
        _ => None,
    }
}

/// A condition on a parameter, which another purpose may not have
fn asking(operand: &Operand, condition: String) -> String {
    match operand {
        Operand::Parameter(name) => format!("(context.task.parameters has {} && {condition})", key(name.as_str())),
        _ => condition,
    }
}

fn uid(kind: &str, id: &str) -> String {
    format!("{kind}::{}", quoted(id))
}

/// A text in a pattern of `like`
fn literal(text: &str) -> String {
    text.escape_debug().to_string().replace('*', "\\*")
}

/// Text that stays in its comment
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text never fails.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests;
