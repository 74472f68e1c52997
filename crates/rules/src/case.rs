//! Tests that live with what they test: `[[case]]`, judged by the real core.

use crate::{
    Loaded,
    document::{Cell, Document, Table},
    facts::Facts,
    files::File,
    finding::{Finding, Place},
    pattern::Placeholders,
    stage::{For, Judgement, NOON, Opening, Opens, Stage},
    words::suggest,
};
use portreeve_core::{
    names::{Name, Tool},
    pattern::Source,
    policy::{Class, Entry},
    reason::{Verdict, Word},
    time::Millis,
    value::Value,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One call of a task under a purpose, and what is expected of it
#[derive(Clone, Debug)]
pub struct Case {
    place: Place,
    name: Option<String>,
    number: usize,
    opening: Opening,
    time: Option<Millis>,
    tool: Tool,
    arguments: BTreeMap<String, Value>,
    done: Vec<Name>,
    returned: BTreeMap<Source, Vec<Value>>,
    /// Who says yes to what is asked
    approved: Vec<Name>,
    /// What is opened before it
    elevated: Option<Opens>,
    expect: Expect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expect {
    Permit,
    Ask,
    Reasons(BTreeSet<Word>),
}

/// What came of a case
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// The purpose that it is about
    pub purpose: Name,
    /// Its name, or its number in the file
    pub case: String,
    /// Where its expectation stands
    #[serde(flatten)]
    pub place: Place,
    /// The call as a person writes it
    pub call: String,
    /// What it expects
    pub expected: String,
    /// What the judge said
    pub got: String,
    /// Whether that is the same
    pub ok: bool,
    /// What there is to say if it is not
    #[serde(skip)]
    pub finding: Option<Finding>,
    /// What the judge said, in full
    #[serde(skip)]
    pub judgement: Judgement,
    /// The class that was opened for it without a person
    #[serde(skip)]
    pub(crate) alone: Option<Class>,
    #[serde(skip)]
    pub(crate) tool: Tool,
    #[serde(skip)]
    pub(crate) arguments: BTreeMap<String, Value>,
}

/// Reads the cases of a purpose, which has these entries
pub(crate) fn cases(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    file: &File<'_>,
    facts: &Facts,
    placeholders: &Placeholders,
    entries: &[&Entry],
) -> Option<Vec<Case>> {
    let items = doc.array(cell, "[[case]]")?;
    let reader = Reader { doc, file, facts, placeholders, entries };
    let cases: Vec<_> = items.iter().enumerate().map(|(index, item)| reader.case(index + 1, item)).collect();
    cases.into_iter().collect()
}

struct Reader<'a, 't> {
    doc: &'a Document<'t>,
    file: &'a File<'a>,
    facts: &'a Facts,
    placeholders: &'a Placeholders,
    entries: &'a [&'a Entry],
}

impl<'t> Reader<'_, 't> {
    fn case(&self, number: usize, cell: &Cell<'t>) -> Option<Case> {
        let doc = self.doc;
        let mut table = doc.table(cell, "[[case]]", "expect = \"permit\"")?;
        let name = table.take("name").map_or(Some(None), |cell| doc.line(cell, "\"too much money\"").map(Some));
        let call = table.need("call", CALL).and_then(|cell| self.call(cell));
        let parameters = table.take("given").map_or(Some(BTreeMap::new()), |cell| self.given(cell));
        let agent = table.take("agent").map_or(Some(None), |cell| {
            self.known(cell, "agent", &self.facts.agents, "agent = \"support-bot\"").map(Some)
        });
        let user = table.take("user").map_or(Some(For::Anybody), |cell| match cell.get_ref().as_str() {
            Some("none") => Some(For::Nobody),
            _ => self.known(cell, "user", &self.facts.users, "user = \"alice\", or \"none\"").map(For::User),
        });
        let time = table.take("time").map_or(Some(None), |cell| self.time(cell).map(Some));
        let mut done = self.done(&mut table);
        let returned = table.take("returned").map_or(Some(BTreeMap::new()), |cell| self.returned(cell));
        if let (Some(done), Some(returned)) = (&mut done, &returned) {
            // What returned something was done.
            let steps: BTreeSet<&Name> = returned.keys().map(|source| &source.step).collect();
            let missing: Vec<Name> = steps.into_iter().filter(|step| !done.contains(step)).cloned().collect();
            done.extend(missing);
        }
        let approved = table.take("approved").map_or(Some(Vec::new()), |cell| {
            const WHO: &str = "approved = [\"lea\"]";
            let items = doc.array(cell, WHO)?;
            let people: Vec<_> = items.iter().map(|item| self.known(item, "user", &self.facts.users, WHO)).collect();
            people.into_iter().collect::<Option<Vec<Name>>>()
        });
        let elevated = table.take("elevated").map_or(Some(None), |cell| self.elevated(cell).map(Some));
        let expected = table.need("expect", "\"permit\"");
        let expect = expected.and_then(|cell| self.expect(cell));
        table.finish();
        let ((tool, arguments), expect) = (call?, expect?);
        let opening = Opening { purpose: self.file.name.clone(), agent: agent?, user: user?, parameters: parameters? };
        let place = doc.place(&expected?.span());
        let (name, time, done, returned) = (name?, time?, done?, returned?);
        let (approved, elevated) = (approved?, elevated?);
        Some(Case { place, name, number, opening, time, tool, arguments, done, returned, approved, elevated, expect })
    }

    fn elevated(&self, cell: &Cell<'t>) -> Option<Opens> {
        const EXAMPLE: &str = "elevated = { tools = [\"shop.refund\"], times = 1, within = \"5m\" }";
        let doc = self.doc;
        let mut table = doc.table(cell, "`elevated`", EXAMPLE)?;
        let uses = table.need("tools", "[\"shop.refund\"]").and_then(|cell| {
            let items = doc.array(cell, EXAMPLE)?;
            let uses: Vec<_> = items.iter().map(|item| self.facts.usages(doc, item)).collect();
            Some(uses.into_iter().collect::<Option<Vec<_>>>()?.concat())
        });
        let times = table.take("times").map_or(Some(1), |cell| doc.count(cell, EXAMPLE));
        let lasts_ms = table.take("within").map_or(Some(ELEVATED_MS), |cell| doc.duration(cell, DAY_MS, EXAMPLE));
        let values = table.take("values").map_or(Some(BTreeMap::new()), |cell| match doc.value(cell)? {
            Value::Object(values) => Some(values),
            _ => {
                doc.error(&cell.span(), "values are a table", "values = { id = \"ord_1\" }");
                None
            }
        });
        table.finish();
        Some(Opens { uses: uses?, values: values?, times: times?, lasts_ms: lasts_ms? })
    }

    fn call(&self, cell: &Cell<'t>) -> Option<(Tool, BTreeMap<String, Value>)> {
        let doc = self.doc;
        let mut table = doc.table(cell, "`call`", CALL)?;
        let tool = table.need("tool", "\"shop.refund\"").and_then(|cell| {
            let tool: Tool = doc.parsed(cell, "\"shop.refund\"")?;
            if !self.facts.connectors.contains_key(&tool.connector) {
                let known = self.facts.connectors.keys().map(Name::as_str);
                let near = suggest(tool.connector.as_str(), known);
                doc.error(&cell.span(), format!("no connector is called `{}`", tool.connector), near);
                return None;
            }
            Some(tool)
        });
        let arguments = table.take("args").map_or(Some(BTreeMap::new()), |cell| match doc.value(cell)? {
            Value::Object(arguments) => Some(arguments),
            _ => {
                doc.error(&cell.span(), "arguments are a table", "args = { id = \"ord_1\" }");
                None
            }
        });
        table.finish();
        tool.zip(arguments)
    }

    fn given(&self, cell: &Cell<'t>) -> Option<BTreeMap<Name, Value>> {
        let doc = self.doc;
        let mut table = doc.table(cell, "`given`", "given = { order = \"ord_1\" }")?;
        let known = || self.placeholders.parameters.keys().map(Name::as_str);
        let given = |(name, span, cell): (&str, _, _)| {
            let Some((name, _)) = self.placeholders.parameters.get_key_value(name) else {
                doc.error(&span, format!("no parameter is called `{}`", name.escape_debug()), suggest(name, known()));
                return None;
            };
            Some((name.clone(), doc.value(cell)?))
        };
        let given: Vec<_> = table.rest().map(given).collect();
        given.into_iter().collect()
    }

    fn known<T>(&self, cell: &Cell<'t>, what: &str, registry: &BTreeMap<Name, T>, example: &str) -> Option<Name> {
        let name: Name = self.doc.parsed(cell, example)?;
        if !registry.contains_key(&name) {
            let near = suggest(name.as_str(), registry.keys().map(Name::as_str));
            self.doc.error(&cell.span(), format!("no {what} is called `{name}`"), near);
            return None;
        }
        Some(name)
    }

    fn time(&self, cell: &Cell<'t>) -> Option<Millis> {
        let time = cell.get_ref().as_datetime().and_then(|time| millis(&time.to_string()));
        if time.is_none() {
            let remedy = "for example: time = 2026-01-05T12:00:00Z, without quotes and with an offset";
            self.doc.error(&cell.span(), "expected a point in time", remedy);
        }
        time
    }

    fn done(&self, table: &mut Table<'_, 't>) -> Option<Vec<Name>> {
        let Some(cell) = table.take("done") else { return Some(Vec::new()) };
        let items = self.doc.array(cell, "done = [\"look\"]")?;
        let steps: Vec<_> = items
            .iter()
            .map(|item| {
                let step: Name = self.doc.parsed(item, "done = [\"look\"]")?;
                self.is_step(&item.span(), &step).then_some(step)
            })
            .collect();
        steps.into_iter().collect()
    }

    fn returned(&self, cell: &Cell<'t>) -> Option<BTreeMap<Source, Vec<Value>>> {
        const EXAMPLE: &str = "returned = { \"look.items[*].id\" = [\"a\", \"b\"] }";
        let doc = self.doc;
        let mut table = doc.table(cell, "`returned`", EXAMPLE)?;
        let read = |(text, span, cell): (&str, _, &Cell<'t>)| {
            let source: Source = text
                .parse()
                .map_err(|error: portreeve_core::pattern::NoSource| {
                    doc.error(&span, error.to_string(), format!("for example: {EXAMPLE}"));
                })
                .ok()?;
            if !self.is_step(&span, &source.step) {
                return None;
            }
            let wanted = || self.entries.iter().flat_map(|entry| entry.arguments.values()).flat_map(|p| p.sources());
            if !wanted().any(|wanted| *wanted == source) {
                let known: BTreeSet<String> = wanted().map(ToString::to_string).collect();
                let near = suggest(text, known.iter().map(String::as_str));
                doc.warn(&span, format!("no step takes a value from `{source}`"), near);
            }
            match doc.value(cell)? {
                Value::Array(values) => Some((source, values)),
                _ => {
                    doc.error(&cell.span(), "expected a list of values", format!("for example: {EXAMPLE}"));
                    None
                }
            }
        };
        let read: Vec<_> = table.rest().map(read).collect();
        read.into_iter().collect()
    }

    fn is_step(&self, span: &std::ops::Range<usize>, step: &Name) -> bool {
        let known = || self.entries.iter().map(|entry| entry.name.as_str());
        let is = known().any(|name| name == step.as_str());
        if !is {
            self.doc.error(span, format!("no step is called `{step}`"), suggest(step.as_str(), known()));
        }
        is
    }

    fn expect(&self, cell: &Cell<'t>) -> Option<Expect> {
        let doc = self.doc;
        if let Some(items) = cell.get_ref().as_array() {
            if items.is_empty() {
                doc.error(&cell.span(), "nothing is expected", "a permit is `expect = \"permit\"`");
                return None;
            }
            let words: Vec<_> = items
                .iter()
                .map(|item| match doc.text(item, "expect = [\"rule_forbids\", \"class_not_open\"]")? {
                    text @ ("permit" | "ask") => {
                        let message = format!("`{text}` stands alone");
                        doc.error(&item.span(), message, format!("write `expect = \"{text}\"`"));
                        None
                    }
                    text => self.word(item, text),
                })
                .collect();
            return words.into_iter().collect::<Option<_>>().map(Expect::Reasons);
        }
        match doc.text(cell, "expect = \"argument_outside_task\"")? {
            "permit" => Some(Expect::Permit),
            "ask" => Some(Expect::Ask),
            text => self.word(cell, text).map(|word| Expect::Reasons(BTreeSet::from([word]))),
        }
    }

    fn word(&self, cell: &Cell<'t>, text: &str) -> Option<Word> {
        let words = || Word::ALL.iter().map(|word| word.as_str()).chain(["permit", "ask"]);
        let unknown = |_| self.doc.error(&cell.span(), format!("no reason is called {text:?}"), suggest(text, words()));
        text.parse().map_err(unknown).ok()
    }
}

/// How long what is opened in a case lasts if it does not say
const ELEVATED_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

const CALL: &str = "{ tool = \"shop.refund\", args = { id = \"ord_1\" } }";

/// A point in time with an offset, as TOML and RFC 3339 write it
pub(crate) fn millis(text: &str) -> Option<Millis> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Millis(time.as_millisecond()))
}

impl Expect {
    fn in_words(&self) -> String {
        match self {
            Self::Permit => "permit".to_owned(),
            Self::Ask => "ask".to_owned(),
            Self::Reasons(words) => words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "),
        }
    }

    fn is_met(&self, judgement: &Judgement) -> bool {
        match self {
            Self::Permit => judgement.verdict() == Verdict::Permit,
            Self::Ask => judgement.verdict() == Verdict::Hold,
            Self::Reasons(words) => {
                words.iter().all(|word| judgement.reasons.iter().any(|reason| reason.word == *word))
            }
        }
    }

    fn names(&self, word: Word) -> bool {
        matches!(self, Self::Reasons(words) if words.contains(&word))
    }
}

impl Case {
    /// The purpose that it is about
    #[must_use]
    pub fn purpose(&self) -> &Name {
        &self.opening.purpose
    }

    /// Opens a task and judges the call in it, as the door would
    #[must_use]
    pub fn judge(&self, loaded: &Loaded) -> Judgement {
        self.play(loaded).0
    }

    /// What the judge says, and the class that was opened for it without a person
    fn play(&self, loaded: &Loaded) -> (Judgement, Option<Class>) {
        // A case says what it is about: a parameter that it leaves out matches nothing, and without a time of
        // its own no review is overdue.
        let mut excused = Vec::new();
        if !self.expect.names(Word::ParameterMissing) {
            excused.push(Word::ParameterMissing);
        }
        if self.time.is_none() {
            excused.push(Word::PurposeOverdue);
        }
        let mut stage = Stage::new(loaded, self.time.unwrap_or(NOON));
        stage.people(&self.approved);
        if let Err(reasons) = stage.open(&self.opening, &excused) {
            return (Judgement::refused(reasons), None);
        }
        for step in &self.done {
            let of_step = |(source, _): &(&Source, &Vec<Value>)| source.step == *step;
            let returned =
                self.returned.iter().filter(of_step).map(|(source, values)| (source.clone(), values.clone()));
            stage.succeed(step, &returned.collect());
        }
        let call = stage.call(&self.tool, &self.arguments);
        let alone = match self.elevated.as_ref().map(|opens| stage.elevate(opens)) {
            Some(Err(reasons)) => return (Judgement::refused(reasons), None),
            Some(Ok((class, alone))) => alone.then_some(class),
            None => None,
        };
        (stage.agreed(&call), alone)
    }

    /// Runs the case
    #[must_use]
    pub fn run(&self, loaded: &Loaded) -> Tried {
        let (judgement, alone) = self.play(loaded);
        let ok = self.expect.is_met(&judgement);
        Tried {
            purpose: self.opening.purpose.clone(),
            case: self.name.clone().unwrap_or_else(|| format!("#{}", self.number)),
            place: self.place.clone(),
            call: in_words(&self.tool, &self.arguments),
            expected: self.expect.in_words(),
            got: got(&judgement),
            ok,
            finding: (!ok).then(|| self.finding(&judgement)),
            judgement,
            alone,
            tool: self.tool.clone(),
            arguments: self.arguments.clone(),
        }
    }

    fn finding(&self, judgement: &Judgement) -> Finding {
        let expected = match &self.expect {
            Expect::Permit => "a permit".to_owned(),
            Expect::Ask => "a question to people".to_owned(),
            Expect::Reasons(_) => self.expect.in_words(),
        };
        let told: Vec<_> = judgement
            .reasons
            .iter()
            .map(|reason| format!("{} from {}: {reason}", reason.word, reason.source))
            .collect();
        let (found, remedy) = match judgement.reasons.first() {
            None => ("a permit".to_owned(), "the policy allows this call".to_owned()),
            Some(first) => {
                let hint = match first.word {
                    Word::OutOfOrder => "\n  = steps that came before: `done = [...]`",
                    Word::RuleFailed => RULE_HINT,
                    _ => "",
                };
                (got(judgement), told.join("\n  = ") + hint)
            }
        };
        let message = format!("`{}` was expected to give {expected}, and gives {found}", self.tool);
        Finding::error(self.place.clone(), message, remedy)
    }

    /// The reasons against one call, for tests that hold something else against the judgement
    #[cfg(test)]
    pub(crate) fn reasons(
        loaded: &Loaded,
        (purpose, tool): (&Name, &Tool),
        arguments: &BTreeMap<String, Value>,
        (given, done): (&BTreeMap<Name, Value>, &[Name]),
    ) -> Vec<portreeve_core::reason::Reason> {
        let opening = Opening { purpose: purpose.clone(), agent: None, user: For::Anybody, parameters: given.clone() };
        let mut stage = Stage::new(loaded, NOON);
        if let Err(reasons) = stage.open(&opening, &[Word::ParameterMissing, Word::PurposeOverdue]) {
            return reasons;
        }
        done.iter().for_each(|step| stage.succeed(step, &BTreeMap::new()));
        let call = stage.call(tool, arguments);
        stage.judge(&call).reasons
    }
}

fn got(judgement: &Judgement) -> String {
    match judgement.verdict() {
        Verdict::Permit => "permit".to_owned(),
        _ => {
            let words: BTreeSet<Word> = judgement.reasons.iter().map(|reason| reason.word).collect();
            words.into_iter().map(Word::as_str).collect::<Vec<_>>().join(", ")
        }
    }
}

/// A call as a person writes it
pub(crate) fn in_words(tool: &Tool, arguments: &BTreeMap<String, Value>) -> String {
    let given = arguments.iter().map(|(name, value)| format!(" {name}={}", short(value)));
    format!("{tool}{}", given.collect::<String>())
}

/// A value, cut where it gets long
pub(crate) fn short(value: &Value) -> String {
    let text = value.canonical();
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    let head: String = text.chars().take(VALUE_CHARS_MAX).collect();
    format!("{head}… ({} bytes)", text.len())
}

/// Characters of a value that are shown
const VALUE_CHARS_MAX: usize = 60;

const RULE_HINT: &str = "\n  = a rule asks `context.input has amount &&` first; a number with a fraction is a \
    decimal, and fails where a whole one is compared";
