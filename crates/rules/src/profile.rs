//! What files say of tools: `profiles/*.toml`, and `[tools]` in `connectors/*.toml`.
//!
//! A [`Sketch`] is what one file says of one tool, with the places where it says so. From the sketch of a profile
//! and the one that a connector lays over it, the effective [`Profile`] is made once, when the policy is loaded.

mod target;

use crate::{
    document::{Cell, Document, Table},
    facts::{self, TIERS, class},
    files::File,
    operation::operations,
    pattern::{self, Scope},
    purpose::LABELS,
    toolset::{self, Toolsets},
    undo,
    words::suggest,
};
use portreeve_core::{
    names::{Name, Tool, ToolName},
    operation::Operation,
    path::{FieldPath, Step},
    pattern::Conditions,
    policy::{Class, Environment, Label, Profile, Role, Target, Tier, Trust, Undo, Variant},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Something that a file says, and where
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<T> At<T> {
    pub(crate) fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

/// What one file says of one tool; what it does not say is left open
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    /// Where the tool is named
    pub(crate) name: Range<usize>,
    pub(crate) class: Option<At<Class>>,
    pub(crate) variants: Vec<At<Variant>>,
    pub(crate) arguments: BTreeMap<FieldPath, At<Role>>,
    pub(crate) matchers: BTreeMap<Name, At<Conditions>>,
    pub(crate) target: Option<At<Target>>,
    pub(crate) environment: Option<At<Environment>>,
    pub(crate) results: BTreeMap<FieldPath, At<Trust>>,
    pub(crate) label: Option<At<Label>>,
    pub(crate) idempotent: Option<At<bool>>,
    pub(crate) undo: Option<At<Undo>>,
    /// Whether the record keeps the value of an argument, where something is said
    pub(crate) kept: BTreeMap<FieldPath, At<bool>>,
    /// Every argument that is named anywhere
    pub(crate) mentions: Vec<Mention>,
}

/// An argument that a file names
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    pub(crate) path: FieldPath,
    pub(crate) span: Range<usize>,
    /// As what
    pub(crate) what: &'static str,
}

impl Sketch {
    /// The profile that the sketch comes to by itself; `None` for a tool without a class
    ///
    /// An operation is what it is, and the sketch says more of it.
    pub(crate) fn profile(&self, connector: &Name, tool: &ToolName) -> Option<Profile> {
        let class = self.class.as_ref().map(|class| class.value);
        let mut profile = match tool.operation().map(Operation::profile) {
            Some(own) => Profile { class: class.unwrap_or(own.class), ..own.clone() },
            None => Profile::new(class?),
        };
        profile.variants = self.variants.iter().map(|variant| variant.value.clone()).collect();
        profile.arguments.extend(values(&self.arguments));
        profile.matchers = values(&self.matchers);
        profile.target = self.target.as_ref().map(|target| target.value.clone());
        profile.environment = self.environment.as_ref().map(|environment| environment.value.clone());
        profile.results = values(&self.results);
        profile.label = self.label.as_ref().map(|label| label.value).or(profile.label);
        profile.idempotent = self.idempotent.as_ref().is_some_and(|idempotent| idempotent.value);
        profile.undo = self.undo.as_ref().map(|undo| {
            let mut undo = undo.value.clone();
            undo.tool.connector = connector.clone();
            if let Some(before) = &mut undo.before {
                before.tool.connector = connector.clone();
            }
            undo
        });
        let digested = self.kept.iter().filter(|(_, kept)| !kept.value);
        profile.digested = digested.map(|(path, _)| path.clone()).collect();
        Some(profile)
    }
}

fn values<K: Ord + Clone, V: Clone>(map: &BTreeMap<K, At<V>>) -> BTreeMap<K, V> {
    map.iter().map(|(key, at)| (key.clone(), at.value.clone())).collect()
}

/// A file of `profiles/`: facts about the tools of a server, for every connector that reaches such a server
#[derive(Clone, Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) file: File<'a>,
    pub(crate) tools: BTreeMap<ToolName, Sketch>,
    pub(crate) toolsets: Toolsets,
    /// How much can go wrong at such a server, where something is said
    pub(crate) tier: Option<At<Tier>>,
}

/// Reads a file of `profiles/`
pub(crate) fn shared<'a>(doc: &Document<'_>, mut table: Table<'_, '_>, file: &File<'a>) -> Option<Shared<'a>> {
    const SOURCE: &str = "\"npm some-server 1.4.0\"";
    facts::same_name(&mut table, doc, file);
    let source = table.need("source", SOURCE).and_then(|cell| doc.line(cell, SOURCE));
    let about = table.take("about").map_or(Some(String::new()), |cell| doc.line(cell, "\"Files below some folders\""));
    let tier = table.take("tier").map_or(Some(None), |cell| tier(doc, cell).map(Some));
    let written = table.take("toolsets").map_or(Some(toolset::Written::new()), |cell| toolset::read(doc, cell));
    let tools = match table.take("tools") {
        Some(cell) => sketches(doc, cell, &file.name, true),
        None => {
            doc.error(table.span(), "the file has no `tools`", "for example: [tools.get_order]");
            None
        }
    };
    table.finish();
    let (_, _, tools, tier) = (source?, about?, tools?, tier?);
    for (name, sketch) in &tools {
        sketch.is_consistent(doc, name);
        sketch.undoes(doc, &|name| tools.contains_key(name), tools.keys());
    }
    let operations = operations().map(|operation| (operation, Vec::new()));
    let own = tools.iter().map(|(name, sketch)| (name.as_str(), sketch.variant_names().collect()));
    let known = operations.chain(own).collect();
    let toolsets = toolset::expand(doc, &written?, &Toolsets::new(), &known)?;
    Some(Shared { file: file.clone(), tools, toolsets, tier })
}

/// Reads how much can go wrong at a server
pub(crate) fn tier(doc: &Document<'_>, cell: &Cell<'_>) -> Option<At<Tier>> {
    Some(At::new(doc.word(cell, &TIERS)?, cell.span()))
}

/// Reads a table of tools, each `whole` if nothing else says what it leaves out
pub(crate) fn sketches(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    home: &Name,
    whole: bool,
) -> Option<BTreeMap<ToolName, Sketch>> {
    let mut table = doc.table(cell, "[tools]", "[tools.get_order]")?;
    let mut tools = BTreeMap::new();
    let mut good = true;
    for (name, span, cell) in table.rest() {
        let name = name.parse::<ToolName>().map_err(|error| doc.error(&span, error.to_string(), "")).ok();
        let operation = name.as_ref().and_then(ToolName::operation);
        if let Some(name) = name.as_ref().filter(|name| !name.is_tool() && operation.is_none()) {
            let message = format!("`{name}` is a method of the protocol: no tool has this name");
            doc.error(&span, message, "take it out; nothing can be said of it");
            good = false;
        }
        match name.zip(sketch(doc, cell, &span, home, whole && operation.is_none())) {
            Some((name, sketch)) => drop(tools.insert(name, sketch)),
            None => good = false,
        }
    }
    good.then_some(tools)
}

const ROLES: [(&str, Role); 6] = [
    ("destination", Role::Destination),
    ("selector", Role::Selector),
    ("quantity", Role::Quantity),
    ("content", Role::Content),
    ("paging", Role::Paging),
    ("control", Role::Control),
];

const TRUST: [(&str, Trust); 3] = [("trusted", Trust::Trusted), ("attested", Trust::Attested), ("free", Trust::Free)];

/// `home` stands for the connector until that is known
fn sketch(doc: &Document<'_>, cell: &Cell<'_>, name: &Range<usize>, home: &Name, whole: bool) -> Option<Sketch> {
    let mut table = doc.table(cell, "a tool", "[tools.get_order]")?.at(name);
    let mut mentions = Vec::new();
    let said = if whole { table.need("class", "\"read\"").map(Some) } else { Some(table.take("class")) };
    let class = said.and_then(|cell| match cell {
        Some(cell) => Some(Some(At::new(class(doc, cell)?, cell.span()))),
        None => Some(None),
    });
    let arguments = table.take("arguments").map_or(Some(BTreeMap::new()), |cell| {
        mention(doc, cell, "a role", &mut mentions);
        by_argument(doc, cell, "`arguments`", "arguments = { id = \"selector\" }", |cell| doc.word(cell, &ROLES))
    });
    let variants = table.take("variants").map_or(Some(Vec::new()), |cell| {
        let items = doc.array(cell, "[[tools.actions.variants]]")?;
        at_most(doc, cell, items.len(), VARIANTS_MAX, "variants");
        let mut names = BTreeSet::new();
        let variants: Vec<_> = items.iter().map(|item| variant(doc, item, &mut names, &mut mentions)).collect();
        variants.into_iter().collect()
    });
    let matchers = table.take("matchers").map_or(Some(BTreeMap::new()), |cell| matchers(doc, cell, &mut mentions));
    let target = table.take("target").map_or(Some(None), |cell| {
        let target = target::target(doc, cell, 0, &mut mentions)?;
        Some(Some(At::new(target, cell.span())))
    });
    let environment = table.take("environment").map_or(Some(None), |cell| {
        let environment = target::environment(doc, cell, &mut mentions)?;
        Some(Some(At::new(environment, cell.span())))
    });
    let results = table.take("results").map_or(Some(BTreeMap::new()), |cell| results(doc, cell));
    let label =
        table.take("label").map_or(Some(None), |cell| Some(Some(At::new(doc.word(cell, &LABELS)?, cell.span()))));
    let idempotent = table
        .take("idempotent")
        .map_or(Some(None), |cell| Some(Some(At::new(doc.truth(cell, "idempotent = true")?, cell.span()))));
    let undo = table.take("undo").map_or(Some(None), |cell| {
        let tool = |cell: &Cell<'_>| {
            let name = doc.parsed(cell, "undo = { tool = \"cancel_refund\" }")?;
            Some(Tool { connector: home.clone(), name })
        };
        let undo = undo::undo(doc, cell, tool, None)?;
        Some(Some(At::new(undo, cell.span())))
    });
    let kept = table.take("recording").map_or(Some(BTreeMap::new()), |cell| {
        mention(doc, cell, "`recording`", &mut mentions);
        by_argument(doc, cell, "`recording`", RECORDING, |cell| recording(doc, cell))
    });
    table.finish();
    Some(Sketch {
        name: name.clone(),
        class: class?,
        variants: variants?,
        arguments: arguments?,
        matchers: matchers?,
        target: target?,
        environment: environment?,
        results: results?,
        label: label?,
        idempotent: idempotent?,
        undo: undo?,
        kept: kept?,
        mentions,
    })
}

const RECORDING: &str = "recording = { content = \"digest\" }";

/// Whether the value is kept
fn recording(doc: &Document<'_>, cell: &Cell<'_>) -> Option<bool> {
    if cell.get_ref().as_str() == Some("sealed") {
        doc.later(&cell.span(), "sealed values");
        return None;
    }
    doc.word(cell, &[("open", true), ("digest", false)])
}

fn at_most(doc: &Document<'_>, cell: &Cell<'_>, count: usize, most: usize, what: &str) {
    if count > most {
        doc.error(&cell.span(), format!("a tool has at most {most} {what}"), "each is tested with every call");
    }
}

/// Each call is held against all of them
const VARIANTS_MAX: usize = 64;
const MATCHERS_MAX: usize = 64;

/// Reads a table of paths to arguments
fn by_argument<'t, T>(
    doc: &Document<'t>,
    cell: &Cell<'t>,
    what: &'static str,
    example: &str,
    read: impl Fn(&Cell<'t>) -> Option<T>,
) -> Option<BTreeMap<FieldPath, At<T>>> {
    let mut table = doc.table(cell, what, example)?;
    let entry = |(name, span, cell): (&str, Range<usize>, &Cell<'t>)| {
        let (path, value) = (pattern::argument(doc, name, &span), read(cell));
        Some((path?, At::new(value?, span)))
    };
    let entries: Vec<_> = table.rest().map(entry).collect();
    entries.into_iter().collect()
}

/// Keeps the arguments that a table has as its keys; what is no path is told by whoever reads the table
pub(super) fn mention(doc: &Document<'_>, cell: &Cell<'_>, what: &'static str, mentions: &mut Vec<Mention>) {
    if !cell.get_ref().is_table() {
        return;
    }
    let Some(table) = doc.table(cell, what, "") else { return };
    for (name, (span, _)) in table.entries() {
        if let Ok(path) = name.parse() {
            mentions.push(Mention { path, span: span.clone(), what });
        }
    }
}

fn variant(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    names: &mut BTreeSet<Name>,
    mentions: &mut Vec<Mention>,
) -> Option<At<Variant>> {
    const WHERE: &str = "{ method = \"delete\" }";
    let mut table = doc.table(cell, "a variant", "[[tools.actions.variants]]")?;
    let named = table.need("name", "\"purge\"");
    let name = named.and_then(|cell| {
        let name: Name = doc.parsed(cell, "name = \"purge\"")?;
        if !names.insert(name.clone()) {
            doc.error(&cell.span(), format!("two variants are called `{name}`"), "give one of them another name");
        }
        Some(name)
    });
    let class = table.need("class", "\"escalate\"").and_then(|cell| class(doc, cell));
    let matches = table.need("where", WHERE).and_then(|cell| {
        mention(doc, cell, "a variant", mentions);
        let matches = pattern::conditions(doc, cell, &Scope::Facts)?;
        if matches.is_empty() {
            doc.error(&cell.span(), "every call would fit this variant", format!("for example: where = {WHERE}"));
        }
        Some(matches)
    });
    table.finish();
    let span = named.map_or_else(|| cell.span(), Cell::span);
    Some(At::new(Variant { name: name?, matches: matches?, class: class? }, span))
}

fn matchers(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    mentions: &mut Vec<Mention>,
) -> Option<BTreeMap<Name, At<Conditions>>> {
    const EXAMPLE: &str = "matchers = { inside = { to = { email = \"*@example.org\" } } }";
    let mut table = doc.table(cell, "`matchers`", EXAMPLE)?;
    let mut matchers = BTreeMap::new();
    let mut whole = true;
    for (name, span, cell) in table.rest() {
        let name = name.parse::<Name>().map_err(|error| doc.error(&span, error.to_string(), "rename the matcher")).ok();
        mention(doc, cell, "a matcher", mentions);
        let conditions = pattern::conditions(doc, cell, &Scope::Facts);
        if conditions.as_ref().is_some_and(BTreeMap::is_empty) {
            doc.error(&cell.span(), "this matcher tests nothing", format!("for example: {EXAMPLE}"));
        }
        match name.zip(conditions) {
            Some((name, conditions)) => drop(matchers.insert(name, At::new(conditions, span))),
            None => whole = false,
        }
    }
    at_most(doc, cell, matchers.len(), MATCHERS_MAX, "matchers");
    whole.then_some(matchers)
}

fn results(doc: &Document<'_>, cell: &Cell<'_>) -> Option<BTreeMap<FieldPath, At<Trust>>> {
    const EXAMPLE: &str = "results = { number = \"trusted\", \"user.login\" = \"attested\" }";
    let mut table = doc.table(cell, "`results`", EXAMPLE)?;
    let entry = |(name, span, cell): (&str, Range<usize>, &Cell<'_>)| {
        let path = name.parse::<FieldPath>();
        let path = path.map_err(|error| doc.error(&span, error.to_string(), format!("for example: {EXAMPLE}"))).ok();
        let trust = doc.word(cell, &TRUST);
        Some((path?, At::new(trust?, span)))
    };
    let entries: Vec<_> = table.rest().map(entry).collect();
    entries.into_iter().collect()
}

impl Sketch {
    fn variant_names(&self) -> impl Iterator<Item = &Name> {
        self.variants.iter().map(|variant| &variant.value.name)
    }

    /// Says what cannot be meant, as far as this file tells
    pub(crate) fn is_consistent(&self, doc: &Document<'_>, tool: &ToolName) {
        if let Some((operation, least)) = tool.operation().map(|operation| (operation, operation.profile().class)) {
            let variants = self.variants.iter().map(|variant| (variant.value.class, &variant.span));
            let classes = self.class.iter().map(|class| (class.value, &class.span)).chain(variants);
            for (class, span) in classes.filter(|(class, _)| *class < least) {
                let message = format!("`{operation}` is \"{least}\" by itself, and cannot be \"{class}\"");
                doc.error(span, message, format!("class = \"{least}\", or a stricter one"));
            }
        }
        let mut roles = tool.operation().map(|operation| operation.profile().arguments.clone()).unwrap_or_default();
        roles.extend(values(&self.arguments));
        for (path, role) in &self.arguments {
            if let Some(free) = opened(path, role.value, &roles) {
                let (message, remedy) = inside_free(path, free);
                doc.error(&role.span, message, remedy);
            }
        }
    }

    /// Says if nothing is known of the tool that undoes it
    pub(crate) fn undoes<'n>(
        &self,
        doc: &Document<'_>,
        known: &dyn Fn(&ToolName) -> bool,
        names: impl Iterator<Item = &'n ToolName>,
    ) {
        let Some(undo) = &self.undo else { return };
        let all: Vec<&str> = names.map(ToolName::as_str).collect();
        let read = undo.value.before.as_ref().map(|before| (&before.tool.name, "read before it"));
        for (name, what) in std::iter::once((&undo.value.tool.name, "to undo it")).chain(read) {
            if !known(name) {
                let remedy = format!("add `[tools.{name}]`; {}", suggest(name.as_str(), all.iter().copied()));
                let message = format!("nothing is said of the tool `{name}`, which is {what}");
                doc.error(&undo.span, message, remedy);
            }
        }
    }
}

/// The free argument that a closed one lies in: nothing would close it
pub(crate) fn opened<'r>(path: &FieldPath, role: Role, roles: &'r BTreeMap<FieldPath, Role>) -> Option<&'r FieldPath> {
    let around = |(other, role): &(&FieldPath, &Role)| role.is_free() && *other != path && holds(other, path);
    roles.iter().find(|entry| !role.is_free() && around(entry)).map(|(other, _)| other)
}

pub(crate) fn inside_free(path: &FieldPath, free: &FieldPath) -> (String, String) {
    let message = format!("`{path}` lies in `{free}`, which is free, so nothing would close it");
    (message, format!("give roles to the members of `{free}` one by one, instead of to `{free}`"))
}

/// Whether `path` is `other` or lies in it
pub(crate) fn holds(other: &FieldPath, path: &FieldPath) -> bool {
    let steps: &[Step] = path.steps();
    steps.starts_with(other.steps())
}
