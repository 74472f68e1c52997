//! What each layer of a judgement looks at.

use super::{Layer, Line, Mark, Position, chain};
use crate::{case::short, places::Places, undo};
use portreeve_core::{
    names::{Name, TaskId},
    path::{FieldPath, Reached, uncovered},
    pattern::{Conditions, Match, Pattern, Scope, picks},
    policy::{
        Bundle, Class, Elevate, Entry, Environment, OnHold, Profile, Purpose, Quorum, Resource, Tier, Usage, Variant,
    },
    reason::{Reason, Word},
    rules::{Link, Question},
    state::{Elevated, Task},
    time::Millis,
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// Every layer, in the order in which they are judged
pub(super) fn of(position: Position<'_>, now: Millis, reasons: &[Reason]) -> Vec<Layer> {
    let chain = chain(&position);
    let current = position.shelf.current(position.state);
    let mut layers = Vec::new();
    for (depth, (_, task)) in chain.iter().enumerate() {
        layers.push(who(task, depth, current.map(AsRef::as_ref)));
    }
    layers.push(door(reasons));
    let Some(current) = current else { return layers };
    let links: Vec<Link<'_>> =
        chain.iter().map(|(_, task)| Link { agent: &task.agent, purpose: &task.purpose }).collect();
    for (depth, (id, task)) in chain.iter().enumerate() {
        let pinned = (task.bundle != current.digest).then(|| position.shelf.get(task.bundle)).flatten();
        for bundle in std::iter::once(current).chain(pinned) {
            let at = match (pinned.is_some(), bundle.digest == current.digest) {
                (false, _) => String::new(),
                (true, true) => " in the current version".to_owned(),
                (true, false) => " in the version that the task was opened under".to_owned(),
            };
            let at = if depth == 0 { at } else { format!("{at} of the task above it") };
            let none = Places::default();
            let places = position.places.get(&bundle.digest).unwrap_or(&none);
            let above = links.get(depth + 1..).unwrap_or_default();
            let view = View { position, bundle, id: *id, task, above, places, now, at };
            view.push(&mut layers);
        }
    }
    layers
}

fn fact(name: impl Into<String>, given: impl Into<String>) -> Line {
    Line { mark: Mark::Fact, name: name.into(), given: given.into(), wanted: String::new() }
}

fn who(task: &Task, depth: usize, bundle: Option<&Bundle>) -> Layer {
    let mut lines = Vec::new();
    let agent = bundle.and_then(|bundle| bundle.agents.get(&task.agent));
    let owner = agent.map_or_else(|| "not in the policy".to_owned(), |agent| format!("owned by {}", agent.owner));
    lines.push(fact("agent", format!("{}, {owner}", task.agent)));
    let user = task.user.as_ref().map(|name| (name, bundle.and_then(|bundle| bundle.users.get(name))));
    lines.push(match user {
        None => fact("user", "none"),
        Some((name, None)) => fact("user", format!("{name}, not in the policy")),
        Some((name, Some(user))) => {
            let groups = user.groups.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
            let groups = if groups.is_empty() { String::new() } else { format!(", in {groups}") };
            let attributes = user.attributes.iter().map(|(name, value)| format!(", {name} = {}", short(value)));
            fact("user", format!("{name}{groups}{}", attributes.collect::<String>()))
        }
    });
    let purpose = bundle.and_then(|bundle| bundle.purposes.get(&task.purpose));
    let about = purpose.map_or("not in the policy", |purpose| purpose.about.as_str());
    lines.push(fact("purpose", format!("{}: {about}", task.purpose)));
    let declared = purpose.into_iter().flat_map(|purpose| purpose.parameters.keys());
    let names: BTreeSet<&Name> = declared.chain(task.values.keys()).collect();
    for name in names {
        let value = task.values.get(name);
        let default = purpose.and_then(|purpose| purpose.parameters.get(name)?.default.as_ref());
        let note = if value.is_some() && value == default { ", the default" } else { "" };
        let shown = value.map_or_else(|| "no value: it matches nothing".to_owned(), short);
        lines.push(fact(format!("{{{name}}}"), format!("{shown}{note}")));
    }
    for (step, used) in &task.steps {
        let how = if used.succeeded { "has succeeded" } else { "has not succeeded" };
        lines.push(fact("done", format!("{step}: {how}, used {}", times(used.used))));
    }
    for (source, values) in &task.returned {
        lines.push(fact("returned", format!("{} values of {source}", values.len())));
    }
    let title = if depth == 0 { "who".to_owned() } else { "who delegated it".to_owned() };
    Layer { layer: "who", title, place: None, lines }
}

/// Who would be asked, with what the tier of the connector wants of them
fn asked(quorum: &Quorum, tier: Tier) -> String {
    Quorum { passkey: quorum.passkey || tier == Tier::High, ..quorum.clone() }.to_string()
}

/// How a class that does not stand can be opened
fn opens(elevate: Option<&Elevate>, class: Class, tier: Tier) -> String {
    let alone = elevate.and_then(|elevate| elevate.alone.get(&class)).filter(|_| !tier.needs_person(class));
    let ask = elevate.and_then(|elevate| elevate.ask.as_ref()).map(|quorum| asked(quorum, tier));
    match (alone, ask) {
        (None, None) => "nobody can open it here".to_owned(),
        (None, Some(ask)) => format!("{ask} can open it for a while"),
        (Some(alone), ask) => {
            let uses: Vec<String> = alone.uses.iter().map(usage).collect();
            let more = ask.map(|ask| format!("; {ask} can open more")).unwrap_or_default();
            format!("asking opens {} without a person, {}{more}", uses.join(", "), times(alone.times))
        }
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// What is asked before any policy is
fn door(reasons: &[Reason]) -> Layer {
    const CHECKS: [(&str, &str, &[Word]); 4] = [
        (
            "task",
            "lives, and so does everything that it rests on",
            &[
                Word::TaskUnknown,
                Word::TaskOver,
                Word::TenantStopped,
                Word::AgentStopped,
                Word::UserStopped,
                Word::PolicyUnavailable,
                Word::TooManyOpen,
                Word::ClockUnreliable,
            ],
        ),
        ("connector", "lives", &[Word::ConnectorStopped]),
        (
            "definition",
            "is accepted, and unchanged",
            &[Word::ConnectorChanged, Word::DefinitionChanged, Word::DefinitionMissing],
        ),
        ("arguments", "fit the accepted schema", &[Word::ArgumentsInvalid]),
    ];
    let lines = CHECKS.iter().map(|(name, fine, words)| {
        let of_this = |reason: &&Reason| {
            words.contains(&reason.word)
                || (*name == "definition" && reason.word == Word::ToolOutsidePurpose && reason.source == "pins")
        };
        match reasons.iter().find(of_this) {
            None => Line { mark: Mark::Yes, ..fact(*name, *fine) },
            Some(reason) => Line { mark: Mark::No, ..fact(*name, reason.to_string()) },
        }
    });
    Layer { layer: "door", title: "at the door".to_owned(), place: None, lines: lines.collect() }
}

/// One version of the policy as one task of the chain is judged by it
struct View<'a> {
    position: Position<'a>,
    bundle: &'a Bundle,
    id: TaskId,
    task: &'a Task,
    above: &'a [Link<'a>],
    places: &'a Places,
    now: Millis,
    /// Which version, if there are several
    at: String,
}

impl View<'_> {
    fn arguments(&self) -> &BTreeMap<String, Value> {
        &self.position.call.arguments
    }

    fn push(&self, layers: &mut Vec<Layer>) {
        let tool = &self.position.call.tool;
        let Some((profile, connector)) = self.bundle.profile(tool).zip(self.bundle.connectors.get(&tool.connector))
        else {
            let line = Line { mark: Mark::No, ..fact("connector", format!("`{}` is not in it", tool.connector)) };
            let title = format!("what the call is{}", self.at);
            layers.push(Layer { layer: "what", title, place: None, lines: vec![line] });
            return;
        };
        let fitting = profile.fits(self.arguments());
        let environment = profile.environment.as_ref();
        let place = match environment {
            Some(environment) => environment.of(self.arguments()),
            None => connector.environment.clone(),
        };
        let target = profile.target.as_ref().and_then(|target| target.of(self.arguments()));
        let known = connector.tools.contains_key(&tool.name) || tool.operation().is_some();
        layers.push(self.what(profile, known, fitting.as_deref().ok(), target.as_ref(), place.as_deref()));
        let unclear = fitting.is_err()
            || (profile.target.is_some() && target.is_none())
            || (matches!(environment, Some(Environment::Argument(_))) && place.is_none());
        // Nobody knows what the call is, so nothing else is asked.
        let (Ok(fitting), false) = (fitting, unclear) else { return };
        match self.bundle.purposes.get(&self.task.purpose) {
            Some(purpose) => self.purpose(purpose, profile, &fitting, layers),
            None => {
                let line = Line { mark: Mark::No, ..fact("purpose", "is not in this version") };
                let title = format!("purpose {}{}", self.task.purpose, self.at);
                layers.push(Layer { layer: "entry", title, place: None, lines: vec![line] });
            }
        }
        layers.push(self.rules(profile, &fitting, target.as_ref(), place.as_deref()));
    }

    fn what(
        &self,
        profile: &Profile,
        known: bool,
        fitting: Option<&[&Variant]>,
        target: Option<&Resource>,
        place: Option<&str>,
    ) -> Layer {
        let tool = &self.position.call.tool;
        let mut lines = Vec::new();
        let note = if known { "" } else { ": no profile, so it counts as the worst" };
        lines.push(fact("tool", format!("{tool}{note}")));
        for variant in &profile.variants {
            let found = picks(&variant.matches, self.arguments());
            let name = format!("#{}", variant.name);
            let is = match found {
                Match::Yes => format!("fits, so the class is {}", variant.class),
                Match::No => "does not fit".to_owned(),
                Match::Unclear => format!("cannot be told, and it would be {}", variant.class),
            };
            let mark = if found == Match::Unclear { Mark::Unclear } else { Mark::Fact };
            lines.push(Line { mark, ..fact(name, is) });
            lines.extend(
                self.conditions(&variant.matches).map(|line| Line { name: format!("  {}", line.name), ..line }),
            );
        }
        if let Some(fitting) = fitting {
            lines.push(fact("class", profile.class_of(fitting).to_string()));
        }
        if let Some(connector) = self.bundle.connectors.get(&tool.connector) {
            lines.push(fact("tier", connector.tier.as_str()));
        }
        match (&profile.target, target) {
            (_, Some(target)) => lines.push(fact("target", thing(target))),
            (Some(wanted), None) => {
                let ids: Vec<String> = wanted.id.iter().map(ToString::to_string).collect();
                let wanted = format!("a {} named by {}", wanted.kind, ids.join(" and "));
                lines.push(Line { mark: Mark::Unclear, wanted, ..fact("target", "cannot be told") });
            }
            (None, None) => {}
        }
        match (&profile.environment, place) {
            (_, Some(place)) => lines.push(fact("environment", place)),
            (Some(Environment::Argument(path)), None) => {
                let wanted = format!("text in `{path}`");
                lines.push(Line { mark: Mark::Unclear, wanted, ..fact("environment", "cannot be told") });
            }
            _ => {}
        }
        for (name, conditions) in &profile.matchers {
            let found = match picks(conditions, self.arguments()) {
                Match::Yes => "true",
                Match::No => "false",
                Match::Unclear => "missing: that cannot be told, and a rule that looks at it refuses",
            };
            lines.push(fact("matcher", format!("{name} is {found}")));
        }
        let title = format!("what the call is{}", self.at);
        Layer { layer: "what", title, place: None, lines }
    }

    /// What arguments conditions look at; they pick a call out and stand in nobody's way
    fn conditions(&self, conditions: &Conditions) -> impl Iterator<Item = Line> {
        conditions.iter().map(|(path, pattern)| {
            let reached = path.select(self.arguments());
            let wanted = pattern.in_words(None);
            Line { mark: Mark::Fact, name: path.to_string(), given: shown(&reached), wanted }
        })
    }

    fn purpose(&self, purpose: &Purpose, profile: &Profile, fitting: &[&Variant], layers: &mut Vec<Layer>) {
        let tool = &self.position.call.tool;
        let name = &self.task.purpose;
        let tier = self.bundle.connectors.get(&tool.connector).map(|connector| connector.tier).unwrap_or_default();
        let covering: Vec<&Entry> = purpose.entries().iter().filter(|entry| entry.covers(tool, fitting)).collect();
        for entry in &covering {
            layers.push(self.entry(entry, purpose, profile, tier));
        }
        if covering.is_empty() {
            let missing = format!("no step covers {}", usage_of_call(&tool.to_string(), fitting));
            let mut lines = vec![Line { mark: Mark::No, ..fact("tool", missing) }];
            lines.extend(purpose.entries().iter().map(|entry| {
                let uses: Vec<String> = entry.uses.iter().map(usage).collect();
                fact(entry.name.as_str(), format!("covers {}", uses.join(", ")))
            }));
            layers.push(Layer { layer: "entry", title: format!("purpose {name}{}", self.at), place: None, lines });
        }
        layers.push(self.limits(purpose, profile, fitting, tier));
    }

    fn entry(&self, entry: &Entry, purpose: &Purpose, profile: &Profile, tier: Tier) -> Layer {
        let scope = Scope::task(&self.task.values, &self.task.returned);
        let mut lines = Vec::new();
        for (path, pattern) in &entry.arguments {
            let reached = path.select(self.arguments());
            let mark = Mark::from(holds(pattern, &reached, scope));
            let wanted = pattern.in_words(Some(scope));
            lines.push(Line { mark, name: path.to_string(), given: shown(&reached), wanted });
        }
        for (path, role) in
            profile.arguments.iter().filter(|(path, role)| role.is_free() && !entry.arguments.contains_key(*path))
        {
            let reached = path.select(self.arguments());
            if reached.values.iter().any(Option::is_some) {
                let wanted = format!("anything: it is {role}");
                lines.push(Line { mark: Mark::Yes, name: path.to_string(), given: shown(&reached), wanted });
            }
        }
        for path in uncovered(self.arguments(), entry.arguments.keys().chain(profile.free())) {
            let given = path.parse().map(|path: FieldPath| shown(&path.select(self.arguments()))).unwrap_or_default();
            let wanted = "left out: the step does not name it".to_owned();
            lines.push(Line { mark: Mark::No, name: path, given, wanted });
        }
        let step = |name: &Name| self.task.steps.get(name).copied().unwrap_or_default();
        if let Some(before) = &entry.after {
            let (mark, how) =
                if step(before).succeeded { (Mark::Yes, "has succeeded") } else { (Mark::No, "has not succeeded") };
            lines.push(Line { mark, ..fact("after", format!("`{before}` {how}")) });
        }
        if let Some(most) = entry.times {
            let used = step(&entry.name).used;
            let mark = if used < most { Mark::Yes } else { Mark::No };
            lines.push(Line { mark, ..fact("times", format!("{used} of {most} used")) });
        }
        if let Some(ask) = &entry.ask {
            let answers = ask.when.iter().map(|(path, pattern)| (path, pattern, path.select(self.arguments())));
            let spared: Vec<String> = answers
                .filter(|(_, pattern, reached)| {
                    let absent = reached.values.iter().all(Option::is_none);
                    !absent && pattern.picks(reached, scope) == Match::No
                })
                .map(|(path, pattern, _)| format!("`{path}` is not {}", pattern.in_words(Some(scope))))
                .collect();
            lines.push(match (spared.as_slice(), purpose.limits.on_hold) {
                ([], OnHold::Ask) => Line { mark: Mark::Ask, ..fact("ask", asked(&ask.quorum, tier)) },
                ([], OnHold::Deny) => {
                    let given = format!("{}, but `on_hold` has nobody wait for them", asked(&ask.quorum, tier));
                    Line { mark: Mark::No, ..fact("ask", given) }
                }
                (spared, _) => Line { mark: Mark::Yes, ..fact("ask", format!("nobody: {}", spared.join(", "))) },
            });
        }
        match entry.undo.as_ref().or(profile.undo.as_ref()) {
            Some(undo) => {
                let read = undo.before.as_ref().map(|before| format!(", after {} was read", before.tool));
                lines.push(fact("undo", format!("{undo}{}", read.unwrap_or_default())));
            }
            // What only looks has nothing to take back.
            None if undo::looks(profile) => {}
            None => lines.push(fact("undo", "nothing takes it back")),
        }
        let place = self.places.entries.get(&(self.task.purpose.clone(), entry.name.clone())).cloned();
        let title = format!("purpose {}, step {}{}", self.task.purpose, entry.name, self.at);
        Layer { layer: "entry", title, place, lines }
    }

    fn limits(&self, purpose: &Purpose, profile: &Profile, fitting: &[&Variant], tier: Tier) -> Layer {
        let limits = &purpose.limits;
        let mark = |fine: bool| if fine { Mark::Yes } else { Mark::No };
        let mut lines = Vec::new();
        let class = profile.class_of(fitting);
        let standing: Vec<String> = limits.standing.iter().map(ToString::to_string).collect();
        let wanted = if standing.is_empty() { "none stands".to_owned() } else { standing.join(", ") };
        let stands = tier.stands(class, &limits.standing);
        let light = if stands && !limits.standing.contains(&class) { ": stands with `read` at tier low" } else { "" };
        let open = if stands { None } else { self.opened(class, fitting) };
        let fine = stands || open.is_some();
        lines.push(Line { mark: mark(fine), wanted, ..fact("class", format!("{class}{light}")) });
        if let Some(open) = open {
            lines.push(Line { mark: Mark::Yes, ..fact("elevated", open) });
        } else if !stands {
            lines.push(fact("elevate", opens(purpose.elevate.as_ref(), class, tier)));
        }
        if let Some(most) = limits.calls {
            let used = self.task.calls;
            lines.push(Line { mark: mark(used < most), ..fact("calls", format!("{used} of {most} used")) });
        }
        if let Some(ceiling) = limits.ceiling {
            let label = profile.confidentiality();
            let note = if profile.label.is_some() { "" } else { ": nobody labelled the results" };
            let wanted = format!("at most {ceiling}");
            lines.push(Line { mark: mark(label <= ceiling), wanted, ..fact("label", format!("{label}{note}")) });
        }
        if let Some(most) = limits.bytes.arguments {
            let sent = Value::Object(self.arguments().clone()).canonical().len() as u64;
            let used = self.task.sent;
            let fine = used.saturating_add(sent) <= most;
            let given = format!("{used} of {most} bytes used, and this call has {sent}");
            lines.push(Line { mark: mark(fine), ..fact("arguments", given) });
        }
        if let Some(most) = limits.bytes.results {
            let used = self.task.received.saturating_add(self.task.held);
            let given = format!("{used} of {most} bytes used");
            lines.push(Line { mark: mark(used < most), ..fact("results", given) });
        }
        let title = format!("limits of {}{}", self.task.purpose, self.at);
        Layer { layer: "limits", title, place: None, lines }
    }

    /// The grant that has opened a class for this call, in words
    fn opened(&self, class: Class, fitting: &[&Variant]) -> Option<String> {
        let variants: Vec<&Name> = fitting.iter().map(|variant| &variant.name).collect();
        let tool = &self.position.call.tool;
        let covers = |(_, open): &(_, &Elevated)| open.covers(tool, &variants, class, self.arguments());
        let (grant, open) = self.position.state.elevations(self.id, self.now).find(covers)?;
        Some(format!("by {grant} of {}, {} of {} calls left", open.owner, open.left, open.times))
    }

    fn rules(&self, profile: &Profile, fitting: &[&Variant], target: Option<&Resource>, place: Option<&str>) -> Layer {
        let matches =
            profile.matchers.iter().filter_map(|(name, conditions)| match picks(conditions, self.arguments()) {
                Match::Yes => Some((name, true)),
                Match::No => Some((name, false)),
                Match::Unclear => None,
            });
        let matches: BTreeMap<&Name, bool> = matches.collect();
        let variants: Vec<&Name> = fitting.iter().map(|variant| &variant.name).collect();
        let provided = self.task.user.iter().flat_map(|user| self.position.state.provided(self.bundle, user, self.now));
        let groups: Vec<&Name> = provided.map(|(group, _)| group).collect();
        let question = Question {
            agent: &self.task.agent,
            user: self.task.user.as_ref(),
            person: self.task.user.as_ref().and_then(|user| self.bundle.users.get(user)),
            groups: &groups,
            purpose: &self.task.purpose,
            task: self.id,
            above: self.above,
            tool: &self.position.call.tool,
            variants: &variants,
            class: profile.class_of(fitting),
            arguments: self.arguments(),
            matches: &matches,
            target,
            environment: place,
            proven: None,
            now: self.now,
        };
        let said = self.bundle.rules.judge(&question);
        let mut lines: Vec<Line> = Vec::new();
        for rule in self.bundle.rules.about(&question) {
            let reason = said.iter().find(|reason| reason.source == rule.source);
            let because = rule.because.as_deref().map(|because| format!(": {because}")).unwrap_or_default();
            let (mark, how) = match reason.map(|reason| reason.word) {
                None => (Mark::Yes, "does not apply".to_owned()),
                Some(Word::ApprovalNeeded) => (Mark::Ask, format!("asks{because}")),
                Some(Word::RuleFailed) => (Mark::No, "cannot be evaluated, so it refuses".to_owned()),
                Some(_) => (Mark::No, format!("refuses{because}")),
            };
            lines.push(Line { mark, ..fact(rule.source, how) });
        }
        // What speaks without a name of its own: rules that cannot be asked at all.
        let nameless = said.iter().filter(|reason| lines.iter().all(|line| line.name != reason.source));
        let nameless =
            nameless.map(|reason| Line { mark: Mark::No, ..fact(reason.source.clone(), reason.to_string()) });
        lines.extend(nameless.collect::<Vec<_>>());
        if self.bundle.rules.hides(&self.position.call.tool, profile.class) {
            lines.push(Line { mark: Mark::No, ..fact("hidden", "a rule forbids the tool outright") });
        }
        if lines.is_empty() {
            lines.push(fact("none", "no rule looks at this tool"));
        }
        Layer { layer: "rules", title: format!("rules{}", self.at), place: None, lines }
    }
}

/// Whether all that a path leads to has the form; unlike for a variant, one that has it not is enough for a no
fn holds(pattern: &Pattern, reached: &Reached<'_>, scope: Scope<'_>) -> Match {
    let values = || reached.values.iter().map(|value| pattern.test(*value, scope));
    if values().any(|found| found == Match::No) {
        Match::No
    } else if reached.broken || values().any(|found| found == Match::Unclear) {
        Match::Unclear
    } else {
        Match::Yes
    }
}

/// What a path leads to, in words
fn shown(reached: &Reached<'_>) -> String {
    let mut parts: Vec<String> =
        reached.values.iter().take(SHOWN_MAX).map(|value| value.map_or_else(|| "left out".to_owned(), short)).collect();
    match reached.values.len() {
        0 if !reached.broken => parts.push("an empty list".to_owned()),
        many if many > SHOWN_MAX => parts.push(format!("and {} more", many - SHOWN_MAX)),
        _ => {}
    }
    if reached.broken {
        parts.push("not of the kind that the path needs".to_owned());
    }
    parts.join(", ")
}

/// Values of one path that are shown
const SHOWN_MAX: usize = 5;

fn thing(target: &Resource) -> String {
    let within: Vec<String> = target.within.iter().map(thing).collect();
    let within = if within.is_empty() { String::new() } else { format!(" in {}", within.join(" and in ")) };
    format!("{}::{:?}{within}", target.kind, target.id)
}

fn usage(usage: &Usage) -> String {
    match &usage.variant {
        Some(variant) => format!("{}#{variant}", usage.tool),
        None => usage.tool.to_string(),
    }
}

fn usage_of_call(tool: &str, fitting: &[&Variant]) -> String {
    if fitting.is_empty() {
        return tool.to_owned();
    }
    fitting.iter().map(|variant| format!("{tool}#{}", variant.name)).collect::<Vec<_>>().join(" and ")
}
