//! Purposes: the only way to allow.

mod elevate;

use crate::{
    case::{self, Case},
    document::{Cell, Document, Table},
    facts::{self, Facts, OWNER},
    files::File,
    operation,
    pattern::{self, Placeholders, Scope},
    people::{self, quorum},
    undo,
    words::suggest,
};
use portreeve_core::{
    decimal::Decimal,
    names::{Name, Tool},
    path::FieldPath,
    pattern::{Conditions, Operand, Pattern},
    policy::{
        Ask, Bytes, Class, Elevate, Entry, Kind, Label, Limits, OnHold, Opening, Parameter, Purpose, Serves, Trust,
        Undo, Usage, Users,
    },
    time::Millis,
    value::Value,
};
use regex::RegexBuilder;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Reads a purpose and its cases
pub(crate) fn purpose<'t>(
    doc: &Document<'t>,
    mut table: Table<'_, 't>,
    file: &File<'_>,
    facts: &Facts,
) -> Option<(Purpose, Vec<Case>)> {
    const ABOUT: &str = "\"Check one order and refund it\"";
    facts::same_name(&mut table, doc, file);
    let about = table.need("about", ABOUT).and_then(|cell| doc.line(cell, ABOUT));
    let owner = table.need("owner", OWNER).and_then(|cell| doc.line(cell, OWNER));
    let review_by = table.take("review_by").map_or(Some(None), |cell| end_of_day(doc, cell).map(Some));
    let declared = table.take("parameters");
    let placeholders = declared.map_or_else(Placeholders::default, |cell| parameters(doc, cell));
    let open = table.need("open", "{ agents = [\"support-bot\"], users = \"none\" }");
    let mut open = open.and_then(|cell| opening(doc, cell, facts, &placeholders));
    let limits = table.need("task", "{ expires_after = \"15m\" }").and_then(|cell| limits(doc, cell));
    let entries = match table.take("allow") {
        Some(cell) => entries(doc, cell, facts, &placeholders),
        None => {
            let remedy = "add an `[[allow]]`, or delete the file";
            doc.error(table.span(), "the purpose allows nothing", remedy);
            None
        }
    };
    let opens = table.take("elevate").map_or(Some(None), |cell| elevate::elevate(doc, cell, facts).map(Some));
    let glass = table.take("break_glass").map_or(Some(None), |cell| elevate::break_glass(doc, cell, facts).map(Some));
    let steps: Vec<&Entry> = entries.iter().flatten().map(|(entry, _)| entry).collect();
    let cases =
        table.take("case").map_or(Some(Vec::new()), |cell| case::cases(doc, cell, file, facts, &placeholders, &steps));
    table.later(&["mode", "flow", "isolation"]);
    table.finish();
    if let (Some(limits), Some(entries), Some(opens)) = (&limits, &entries, &opens) {
        for (entry, uses) in entries {
            standing(doc, (limits, opens.as_ref().map(|opens| &opens.elevate)), facts, entry, uses);
        }
        if let Some(opens) = &opens {
            opens.check(doc, facts, limits, &steps);
        }
    }
    if let (Some(Some(glass)), Some(open), Some(limits)) = (&glass, &mut open, &limits) {
        glass.apply(doc, open, limits);
    }
    if let Some(entries) = &entries {
        credentials(doc, facts, entries, &placeholders);
        vouched_by_strangers(doc, facts, entries, &placeholders);
    }
    unused(doc, declared, &placeholders);
    let parameters = placeholders.parameters.into_iter().map(|(name, parameter)| Some((name, parameter?)));
    let parameters = parameters.collect::<Option<BTreeMap<_, _>>>()?;
    let entries = entries?.into_iter().map(|(entry, _)| entry).collect();
    let mut purpose = Purpose::new((about?, owner?, review_by?), open?, limits?, parameters, entries);
    purpose.elevate = opens?.map(|opens| opens.elevate);
    purpose.break_glass = glass?.map(|glass| glass.glass);
    Some((purpose, cases?))
}

/// The first moment after the day
pub(crate) fn end_of_day(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Millis> {
    let date = cell.get_ref().as_datetime().filter(|datetime| datetime.time.is_none() && datetime.offset.is_none());
    let millis = date.and_then(|datetime| {
        let date = datetime.date?;
        let number = |part: u8| i8::try_from(part).ok();
        let year = i16::try_from(date.year).ok()?;
        let day = jiff::civil::Date::new(year, number(date.month)?, number(date.day)?).ok()?.tomorrow().ok()?;
        Some(Millis(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
    });
    if millis.is_none() {
        doc.error(&cell.span(), "expected a date", "write it without quotes: 2027-03-01");
    }
    millis
}

fn opening(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts, placeholders: &Placeholders) -> Option<Opening> {
    const AGENTS: &str = "[\"support-bot\"]";
    const USERS: &str = "{ group = \"support-l2\" }, [\"alice\"], or \"none\" for runs without a user";
    let mut table = doc.table(cell, "[open]", "agents = [\"support-bot\"]")?;
    let agents = table.need("agents", AGENTS).and_then(|cell| known(doc, cell, "agent", AGENTS, &facts.agents));
    let users = table.need("users", USERS).and_then(|cell| users(doc, cell, facts));
    let bounds = table.take("where").map_or(Some(BTreeMap::new()), |cell| {
        for (name, (span, _)) in doc.table(cell, "`where`", "where = { limit = { at_most = 200 } }")?.entries() {
            if !placeholders.parameters.contains_key(*name) {
                let known = placeholders.parameters.keys().map(Name::as_str);
                doc.error(span, format!("no parameter is called `{}`", name.escape_debug()), suggest(name, known));
            }
        }
        let bounds = pattern::conditions(doc, cell, &Scope::Open(placeholders))?;
        for (name, (span, _)) in doc.table(cell, "`where`", "")?.entries() {
            let kind = placeholders.parameters.get(*name).and_then(Option::as_ref).map(|parameter| &parameter.kind);
            let bound = bounds.get(&FieldPath::name(name));
            if kind.zip(bound).is_some_and(|(kind, bound)| is_impossible(kind, bound)) {
                let message = format!("no value of `{name}` is inside of this and of its declaration");
                doc.error(span, message, "nobody could ever open the purpose: widen one of the two");
            }
        }
        Some(bounds)
    });
    let ask = table.take("ask").map_or(Some(None), |cell| {
        let mut table = doc.table(cell, "`ask`", people::WHO)?;
        let quorum = quorum(doc, &mut table, facts);
        table.finish();
        quorum.map(Some)
    });
    table.later(&["consent", "clients"]);
    table.finish();
    let users = users?;
    for (attribute, span) in placeholders.attributes.borrow().iter() {
        let has = |name: &Name| {
            let user = facts.users.get(name).and_then(Option::as_ref);
            user.is_none_or(|user| facts.may_have(user, attribute))
        };
        let somebody = match &users {
            Users::None => false,
            Users::Named(names) => names.iter().any(has),
            Users::Group(group) => facts
                .users
                .iter()
                .any(|(name, user)| user.as_ref().is_none_or(|user| facts.may_be_in(user, group)) && has(name)),
        };
        if !somebody {
            let remedy = format!("add it to a user: `[attributes]` {attribute} = ...");
            doc.warn(span, format!("nobody who may open this has an attribute `{attribute}`"), remedy);
        }
    }
    let bounds = bounds?
        .into_iter()
        .map(|(path, pattern)| Some((path.to_string().parse().ok()?, pattern)))
        .collect::<Option<_>>()?;
    Some(Opening { agents: agents?, users, bounds, ask: ask? })
}

/// Whether no value of a kind is inside of a bound, as far as both are written out
fn is_impossible(kind: &Kind, bound: &Pattern) -> bool {
    let is = |value: Value| Pattern::Is(Operand::Literal(value)).excludes(bound);
    let number = |number: &Decimal| Operand::Literal(Value::Number(number.clone()));
    match kind {
        Kind::Text { .. } => false,
        Kind::Decimal { min, max } => {
            min.as_ref().is_some_and(|min| Pattern::AtLeast(number(min)).excludes(bound))
                || max.as_ref().is_some_and(|max| Pattern::AtMost(number(max)).excludes(bound))
        }
        Kind::Bool => [true, false].into_iter().all(|truth| is(Value::Bool(truth))),
        Kind::Choice(values) => values.iter().cloned().all(is),
    }
}

/// A list of names that have to stand in the registry
fn known<T>(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    what: &str,
    example: &str,
    registry: &BTreeMap<Name, T>,
) -> Option<BTreeSet<Name>> {
    let mut names = BTreeSet::new();
    for item in doc.array(cell, example)? {
        let name: Name = doc.parsed(item, example)?;
        if !registry.contains_key(&name) {
            let near = suggest(name.as_str(), registry.keys().map(Name::as_str));
            doc.error(
                &item.span(),
                format!("no {what} is called `{name}`"),
                format!("add `{what}s/{name}.toml`; {near}"),
            );
        }
        names.insert(name);
    }
    if names.is_empty() {
        doc.error(&cell.span(), "nobody can open this purpose", format!("for example: {what}s = {example}"));
        return None;
    }
    Some(names)
}

fn users(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts) -> Option<Users> {
    if cell.get_ref().is_array() {
        return known(doc, cell, "user", "[\"alice\"]", &facts.users).map(Users::Named);
    }
    if cell.get_ref().is_table() {
        let mut table = doc.table(cell, "`users`", "")?;
        let group = table.need("group", "\"support-l2\"").and_then(|cell| group(doc, cell, facts));
        table.finish();
        return group.map(Users::Group);
    }
    doc.word(cell, &[("none", ())]).map(|()| Users::None)
}

fn group(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts) -> Option<Name> {
    let group: Name = doc.parsed(cell, "\"support-l2\"")?;
    if !facts.is_group(&group) {
        let remedy = format!("add it to a user: `groups = [\"{group}\"]`; {}", suggest(group.as_str(), facts.groups()));
        doc.warn(&cell.span(), format!("nobody is in the group `{group}`"), remedy);
    }
    Some(group)
}

fn limits(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Limits> {
    let mut table = doc.table(cell, "[task]", "expires_after = \"15m\"")?;
    let duration = |cell, key| doc.duration(cell, TASK_MS_MAX, key);
    let expires_after_ms =
        table.need("expires_after", "\"15m\"").and_then(|cell| duration(cell, "expires_after = \"15m\""));
    let idle_after_ms =
        table.take("idle_after").map_or(Some(None), |cell| duration(cell, "idle_after = \"3m\"").map(Some));
    let standing = table.take("standing").map_or(Some(BTreeSet::new()), |cell| {
        let items = doc.array(cell, "standing = [\"read\"]")?;
        let classes: Vec<_> = items.iter().map(|item| facts::class(doc, item)).collect();
        classes.into_iter().collect()
    });
    let calls = table.take("calls").map_or(Some(None), |cell| doc.count(cell, "calls = 40").map(Some));
    let ceiling = table.take("ceiling").map_or(Some(None), |cell| doc.word(cell, &LABELS).map(Some));
    let bytes = table.take("max_bytes").map_or(Some(Bytes::default()), |cell| bytes(doc, cell));
    let on_hold = table
        .take("on_hold")
        .map_or(Some(OnHold::Ask), |cell| doc.word(cell, &[("deny", OnHold::Deny), ("ask", OnHold::Ask)]));
    let credentials = table
        .take("credentials")
        .map_or(Some(Serves::Task), |cell| doc.word(cell, &[("task", Serves::Task), ("call", Serves::Call)]));
    table.finish();
    Some(Limits {
        expires_after_ms: expires_after_ms?,
        idle_after_ms: idle_after_ms?,
        standing: standing?,
        calls: calls?,
        ceiling: ceiling?,
        bytes: bytes?,
        on_hold: on_hold?,
        credentials: credentials?,
    })
}

/// The words of confidentiality, from nothing to almost everything
pub(crate) const LABELS: [(&str, Label); 4] = [
    ("public", Label::Public),
    ("internal", Label::Internal),
    ("confidential", Label::Confidential),
    ("secret", Label::Secret),
];

fn bytes(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Bytes> {
    const EXAMPLE: &str = "max_bytes = { arguments = 100_000, results = 5_000_000 }";
    let mut table = doc.table(cell, "`max_bytes`", EXAMPLE)?;
    let mut budget = |key| table.take(key).map_or(Some(None), |cell| doc.count(cell, EXAMPLE).map(u64::from).map(Some));
    let (arguments, results) = (budget("arguments"), budget("results"));
    if table.is_untouched() {
        doc.error(&cell.span(), "nothing is bounded", format!("for example: {EXAMPLE}"));
    }
    table.finish();
    Some(Bytes { arguments: arguments?, results: results? })
}

/// A task is work, not a tenancy
const TASK_MS_MAX: i64 = 30 * 86_400_000;

fn parameters<'t>(doc: &Document<'t>, cell: &Cell<'t>) -> Placeholders {
    let mut placeholders = Placeholders::default();
    let Some(mut table) = doc.table(cell, "[parameters]", "order = { type = \"string\" }") else { return placeholders };
    for (name, span, cell) in table.rest() {
        match name.parse::<Name>() {
            Ok(name) => drop(placeholders.parameters.insert(name, parameter(doc, cell))),
            Err(error) => doc.error(&span, error.to_string(), "rename the parameter"),
        }
    }
    placeholders
}

fn parameter(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Parameter> {
    #[derive(Clone, Copy)]
    enum Type {
        Text,
        Decimal,
        Bool,
        Choice,
    }
    const TYPES: [(&str, Type); 4] =
        [("string", Type::Text), ("decimal", Type::Decimal), ("bool", Type::Bool), ("choice", Type::Choice)];
    let mut table = doc.table(cell, "a parameter", "{ type = \"string\" }")?;
    let kind = table.need("type", "\"string\"").and_then(|cell| doc.word(cell, &TYPES))?;
    let kind = match kind {
        Type::Text => {
            let pattern = table.take("pattern").map_or(Some(None), |cell| anchored(doc, cell).map(Some));
            let bytes_max = table.take("max_bytes").map_or(Some(PARAMETER_BYTES_MAX), |cell| {
                let count = doc.count(cell, "max_bytes = 200")?;
                Some(usize::try_from(count).unwrap_or(usize::MAX).min(PARAMETER_BYTES_MAX))
            });
            pattern.zip(bytes_max).map(|(pattern, bytes_max)| Kind::Text { pattern, bytes_max })
        }
        Type::Decimal => {
            let mut bound = |key| table.take(key).map_or(Some(None), |cell| number(doc, cell).map(Some));
            let (min, max) = (bound("min"), bound("max"));
            if let (Some(Some(min)), Some(Some(max))) = (&min, &max)
                && min > max
            {
                let message = format!("no number is at least {min} and at most {max}, so nobody can open this");
                doc.error(&cell.span(), message, "swap them");
            }
            min.zip(max).map(|(min, max)| Kind::Decimal { min, max })
        }
        Type::Bool => Some(Kind::Bool),
        Type::Choice => table.need("in", "[\"eu\", \"us\"]").and_then(|cell| {
            let items = doc.array(cell, "in = [\"eu\", \"us\"]")?;
            if items.is_empty() {
                doc.error(&cell.span(), "no value can be chosen", "for example: in = [\"eu\", \"us\"]");
            }
            let values: Vec<_> = items.iter().map(|item| doc.value(item)).collect();
            values.into_iter().collect::<Option<Vec<_>>>().filter(|values| !values.is_empty()).map(Kind::Choice)
        }),
    };
    let default = table.take("default").map_or(Some(None), |cell| {
        let value = doc.value(cell)?;
        match kind.as_ref()?.read(&value) {
            Ok(value) => Some(Some(value)),
            Err(expected) => {
                doc.error(&cell.span(), format!("the default is not {expected}"), "choose a default that fits");
                None
            }
        }
    });
    table.later(&["from", "secret"]);
    table.finish();
    Some(Parameter { kind: kind?, default: default? })
}

/// Text that names something, not a document
const PARAMETER_BYTES_MAX: usize = 4096;
/// A pattern is compiled when the policy is loaded, and matched within this
const REGEX_BYTES_MAX: usize = 256 << 10;

fn number(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Decimal> {
    match doc.value(cell)? {
        Value::Number(number) => Some(number),
        _ => {
            doc.error(&cell.span(), "expected a number", "for example: max = 200.50");
            None
        }
    }
}

fn anchored(doc: &Document<'_>, cell: &Cell<'_>) -> Option<regex::Regex> {
    let text = doc.text(cell, "pattern = \"ord_[a-z0-9]+\"")?;
    // Held on its own first: `a)|(b` would otherwise close our group and escape the anchors.
    let alone = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    let whole = alone.and_then(|_| RegexBuilder::new(&format!("^(?:{text})$")).size_limit(REGEX_BYTES_MAX).build());
    whole
        .map_err(|error| {
            let text = error.to_string();
            let message = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let remedy = "a pattern describes the whole value; backslashes are easier in 'single quotes'";
            doc.error(&cell.span(), format!("not a regular expression: {message}"), remedy);
        })
        .ok()
}

type Placed = (Entry, Vec<Range<usize>>);

fn entries<'t>(doc: &Document<'t>, cell: &Cell<'t>, facts: &Facts, placeholders: &Placeholders) -> Option<Vec<Placed>> {
    let items = doc.array(cell, "[[allow]]")?;
    if items.is_empty() {
        doc.error(&cell.span(), "the purpose allows nothing", "add an `[[allow]]`, or delete the file");
    }
    let mut steps = Vec::new();
    let entries: Vec<_> = items.iter().map(|item| entry(doc, item, facts, placeholders, &mut steps)).collect();
    entries.into_iter().collect()
}

fn entry<'t>(
    doc: &Document<'t>,
    cell: &Cell<'t>,
    facts: &Facts,
    placeholders: &Placeholders,
    steps: &mut Vec<Name>,
) -> Option<Placed> {
    const USE: &str = "[\"shop.get_order\"]";
    let mut table = doc.table(cell, "[[allow]]", "name = \"look\"")?;
    let known = placeholders.sources.borrow().len();
    let after = table.take("after").map_or(Some(None), |cell| {
        let name: Name = doc.parsed(cell, "after = \"look\"")?;
        if !steps.contains(&name) {
            let near = suggest(name.as_str(), steps.iter().map(Name::as_str));
            doc.error(
                &cell.span(),
                format!("no earlier step is called `{name}`"),
                format!("a step comes after one above it; {near}"),
            );
        }
        Some(Some(name))
    });
    let name = table.need("name", "\"look\"").and_then(|cell| {
        let name: Name = doc.parsed(cell, "name = \"look\"")?;
        if steps.contains(&name) {
            doc.error(&cell.span(), format!("two steps are called `{name}`"), "give one of them another name");
        }
        steps.push(name.clone());
        Some(name)
    });
    let uses = table.need("use", USE).and_then(|cell| {
        let items = doc.array(cell, USE)?;
        if items.is_empty() {
            doc.error(&cell.span(), "the step allows nothing", format!("for example: use = {USE}"));
        }
        let placed = |item| -> Option<Vec<_>> {
            let uses = facts.usages(doc, item)?.into_iter();
            Some(uses.map(|usage| (usage, item.span())).collect())
        };
        let uses: Vec<_> = items.iter().map(placed).collect();
        uses.into_iter().collect::<Option<Vec<Vec<_>>>>().map(|uses| uses.into_iter().flatten().collect::<Vec<_>>())
    });
    let where_ = |cell| pattern::conditions(doc, cell, &Scope::Entry(placeholders));
    let arguments = table.take("where").map_or(Some(Conditions::new()), where_);
    let times = table.take("times").map_or(Some(None), |cell| doc.count(cell, "times = 1").map(Some));
    let ask = table.take("ask").map_or(Some(None), |cell| {
        let mut table = doc.table(cell, "`ask`", people::WHO)?;
        let quorum = quorum(doc, &mut table, facts);
        let when = table.take("when").map_or(Some(Conditions::new()), where_);
        table.finish();
        Some(Some(Ask { quorum: quorum?, when: when? }))
    });
    let tool = |cell: &Cell<'t>| facts.tool(doc, cell);
    let undo = table.take("undo").map_or(Some(None), |cell| {
        let undo = undo::undo(doc, cell, tool, Some(placeholders))?;
        undone(doc, cell, facts, (&undo, uses.as_deref()));
        Some(Some(undo))
    });
    table.later(&["within"]);
    table.finish();
    for (source, span) in placeholders.sources.borrow().iter().skip(known) {
        let earlier = || steps.iter().filter(|step| Some(*step) != name.as_ref());
        if !earlier().any(|step| *step == source.step) {
            let near = suggest(source.step.as_str(), earlier().map(Name::as_str));
            let message = format!("no earlier step is called `{}`", source.step);
            doc.error(span, message, format!("a value comes from a step above; {near}"));
        }
    }
    let (uses, spans) = uses?.into_iter().unzip();
    let (name, arguments, times) = (name?, arguments?, times?);
    Some((Entry { name, uses, arguments, times, after: after?, ask: ask?, undo: undo? }, spans))
}

/// A tool or variant, and where it is named
type Used = (Usage, Range<usize>);

/// Says what of an undo does not fit the tools that it names
fn undone(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts, (undo, uses): (&Undo, Option<&[Used]>)) {
    let profile = |tool: &Tool| {
        let connector = facts.connectors.get(&tool.connector)?.as_ref()?;
        Some(connector.profile(&tool.name))
    };
    if let Some(before) = &undo.before
        && profile(&before.tool).is_some_and(|profile| !undo::looks(profile))
    {
        let (message, remedy) = undo::no_look(&before.tool);
        doc.error(&cell.span(), message, remedy);
    }
    let definition = |tool: &Tool| operation::defined(facts.pins_of(&tool.connector)?, &tool.name);
    let undone = uses.into_iter().flatten().map(|(usage, _)| definition(&usage.tool));
    let unfit: BTreeSet<_> = undone.flat_map(|undone| undo::unfit(undo, undone, definition)).collect();
    for (message, remedy) in unfit {
        doc.error(&cell.span(), message, remedy);
    }
}

/// A class that neither stands nor can be opened stays closed
fn standing(
    doc: &Document<'_>,
    (limits, opens): (&Limits, Option<&Elevate>),
    facts: &Facts,
    entry: &Entry,
    spans: &[Range<usize>],
) {
    // The tools of one toolset are told together.
    let mut closed: BTreeMap<(usize, Class), Vec<String>> = BTreeMap::new();
    for (usage, span) in entry.uses.iter().zip(spans) {
        let tier = facts.tier_of(&usage.tool.connector);
        let class = facts.class_of(usage).filter(|class| !tier.stands(*class, &limits.standing));
        if let Some(class) = class.filter(|class| !elevate::opens(opens, *class, usage)) {
            closed.entry((span.start, class)).or_default().push(format!("`{usage}`"));
        }
    }
    for ((start, class), uses) in closed {
        let Some(span) = spans.iter().find(|span| span.start == start) else { continue };
        let shown = uses.iter().take(USES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = uses.len().saturating_sub(USES_SHOWN);
        let message = match (uses.len(), more) {
            (1, _) => format!("{shown} is `{class}`, which does not stand, so it can never be permitted"),
            (_, 0) => format!("{shown} are `{class}`, which does not stand, so they can never be permitted"),
            _ => format!("{shown} and {more} more are `{class}`, which does not stand, so they can never be permitted"),
        };
        doc.warn(
            span,
            message,
            format!("add \"{class}\" to `standing` under `[task]`, or say in `[elevate]` who opens it for a while"),
        );
    }
}

/// What a connector wants to be shown has to be issued for what is called there, and narrowed by what the task has
fn credentials(doc: &Document<'_>, facts: &Facts, entries: &[Placed], placeholders: &Placeholders) {
    let mut told = BTreeSet::new();
    for (usage, span) in entries.iter().flat_map(|(entry, spans)| entry.uses.iter().zip(spans)) {
        let connector = &usage.tool.connector;
        let wanted = facts.connectors.get(connector).and_then(|of| of.as_ref()?.credentials.as_ref());
        let source = wanted.and_then(|wanted| Some((&wanted.source, facts.sources.get(&wanted.source)?.as_ref()?)));
        let Some((name, source)) = source else { continue };
        if let Some(class) = facts.class_of(usage).filter(|class| !source.classes().contains(class)) {
            let message = format!("`{usage}` is `{class}`, for which `credentials/{name}.toml` issues nothing");
            doc.error(span, message, "let it issue for that class as well, or take the tool out");
        }
        for (of, parameter) in &source.scope {
            placeholders.used.borrow_mut().insert(parameter.clone());
            if !placeholders.parameters.contains_key(parameter) && told.insert((connector, parameter)) {
                let message = format!(
                    "the credentials of `{connector}` are narrowed by `{of}`, the parameter `{parameter}`, which this purpose lacks"
                );
                doc.error(span, message, format!("add [parameters.{parameter}], or the connector is never called"));
            }
        }
    }
}

/// Tools that one finding names
const USES_SHOWN: usize = 5;

/// A value that anybody could have written into a result is no bound
fn vouched_by_strangers(doc: &Document<'_>, facts: &Facts, entries: &[Placed], placeholders: &Placeholders) {
    for (source, span) in placeholders.sources.borrow().iter() {
        let step = entries.iter().map(|(entry, _)| entry).find(|entry| entry.name == source.step);
        let trust = |usage: &Usage| {
            let profile = facts.connectors.get(&usage.tool.connector)?.as_ref()?.tools.get(&usage.tool.name)?;
            profile.results.get(&source.field).copied()
        };
        let strange = step.iter().flat_map(|entry| &entry.uses).find(|usage| trust(usage) != Some(Trust::Trusted));
        if let Some(usage) = strange {
            let message = format!("others may choose what `{}` of `{}` is", source.field, usage.tool);
            let remedy = format!(
                "if nobody else can write this field, say so in the profile: results = {{ \"{}\" = \"trusted\" }}",
                source.field
            );
            doc.warn(span, message, remedy);
        }
    }
}

fn unused(doc: &Document<'_>, declared: Option<&Cell<'_>>, placeholders: &Placeholders) {
    let Some(table) = declared.and_then(|cell| doc.table(cell, "[parameters]", "")) else { return };
    for (name, (span, _)) in table.entries() {
        let declared = placeholders.parameters.get(*name).is_some_and(Option::is_some);
        let unused = declared && !placeholders.used.borrow().iter().any(|used| used.as_str() == *name);
        if unused {
            let remedy = format!("use it: `where = {{ id = \"{{{name}}}\" }}`, or take it out");
            doc.warn(span, format!("the parameter `{name}` limits nothing"), remedy);
        }
    }
}

#[cfg(test)]
mod tests;
