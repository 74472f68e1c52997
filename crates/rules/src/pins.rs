//! The accepted definitions of a connector's tools, and the facts about these tools held against them.

use crate::{
    connector::Sources,
    definition::{Definition, Refused, Schema},
    files::File,
    finding::{Finding, Place},
    operation::{defined, names, near},
    profile::{Mention, Sketch},
    undo,
    words::suggest,
};
use portreeve_core::{
    hash::Hash,
    json::{self, Limits},
    names::{Name, ToolName},
    operation::{INSTRUCTIONS, Operation},
    path::{FieldPath, Step},
    pattern::{Match, Pattern, Scope},
    policy::{Class, Profile, Restored, Target},
    value::Value,
};
use std::{collections::BTreeMap, error::Error as _, ops::Range};

/// The definitions of one connector's tools
pub type Pins = BTreeMap<ToolName, Definition>;

/// Reads a file of `pins/`; `None` if anything is wrong with it
pub(crate) fn read(file: &File<'_>, findings: &mut Vec<Finding>) -> Option<Pins> {
    const LIMITS: Limits = Limits { bytes_max: 4 << 20, depth_max: 72, nodes_max: 400_000 };
    let mut pins = Pins::new();
    let mut whole = true;
    let mut error = |at: usize, message: String, remedy: String| {
        findings.push(Finding::error(Place::span(file.path, file.text, &(at..at + 1)), message, remedy));
    };
    let json = match json::scan(file.text.as_bytes(), &LIMITS) {
        Ok(json) => json,
        Err(refused) => {
            error(refused.offset(), refused.to_string(), rewrite(&file.name));
            return None;
        }
    };
    let Some(items) = json.as_array() else {
        let message = "expected an array of definitions, as `tools/list` gives them";
        error(json.span().start, message.to_owned(), rewrite(&file.name));
        return None;
    };
    for item in items {
        let at = item.span().start;
        match Definition::read(item.raw().as_bytes()) {
            Ok(definition) if !is_item(&definition.name) => {
                let message = format!("`{}` is a method of the protocol: no tool has this name", definition.name);
                error(at, message, rewrite(&file.name));
                whole = false;
            }
            Ok(definition) => {
                if pins.contains_key(&definition.name) {
                    error(at, format!("two definitions of the tool `{}`", definition.name), rewrite(&file.name));
                    whole = false;
                }
                pins.insert(definition.name.clone(), definition);
            }
            Err(refused) => {
                let at = match &refused {
                    Refused::Json(inner) => at + inner.offset(),
                    _ => at,
                };
                let cause = refused.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                error(at, format!("{refused}{cause}"), rewrite(&file.name));
                whole = false;
            }
        }
    }
    whole.then_some(pins)
}

/// Whether an offer can hold something of this name: a tool, or one of the two made items
fn is_item(name: &ToolName) -> bool {
    name.is_tool() || name.as_str() == INSTRUCTIONS || name.operation().is_some_and(Operation::is_pinned)
}

fn rewrite(name: &Name) -> String {
    format!("nobody has to write this file: `portreeve connector accept {name}` does")
}

/// The text of a file of `pins/` that holds these definitions, each as its server wrote it
///
/// # Errors
/// One of them cannot be read.
pub fn pinned<'d>(definitions: impl IntoIterator<Item = &'d str>) -> Result<String, Refused> {
    let mut sorted = BTreeMap::new();
    for raw in definitions {
        let definition = Definition::read(raw.as_bytes())?;
        sorted.insert(definition.name, raw.parse::<Value>().map_err(Refused::Json)?);
    }
    let mut text = String::new();
    pretty(&Value::Array(sorted.into_values().collect()), 0, &mut text);
    text.push('\n');
    Ok(text)
}

/// Canonical JSON with one member on each line, so that versions of it can be compared by people
fn pretty(value: &Value, depth: usize, out: &mut String) {
    let indent = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::Array(items) if items.iter().any(is_nest) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                indent(depth + 1, out);
                pretty(item, depth + 1, out);
            }
            indent(depth, out);
            out.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            out.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                indent(depth + 1, out);
                out.push_str(&Value::String(key.clone()).canonical());
                out.push_str(": ");
                pretty(member, depth + 1, out);
            }
            indent(depth, out);
            out.push('}');
        }
        _ => out.push_str(&value.canonical()),
    }
}

fn is_nest(value: &Value) -> bool {
    matches!(value, Value::Array(items) if !items.is_empty())
        || matches!(value, Value::Object(members) if !members.is_empty())
}

/// Says where the file is not what was accepted
///
/// Nothing accepted at all is no difference: the file came with the policy, and nothing of the connector can be
/// called before somebody accepts it here.
pub(crate) fn drift(name: &Name, pins: &Pins, accepted: &BTreeMap<ToolName, Hash>) -> Option<Finding> {
    let file = format!("pins/{name}.json");
    if accepted.is_empty() {
        let remedy = format!("accept what it offers: `portreeve connector accept {name}`");
        return (!pins.is_empty())
            .then(|| Finding::warning(Place::file(file), "nothing of it is accepted here yet", remedy));
    }
    let names = |tools: Vec<&ToolName>, what: &str| {
        let shown = tools.iter().take(TOOLS_SHOWN).map(|tool| format!("`{tool}`")).collect::<Vec<_>>().join(", ");
        let more = tools.len().saturating_sub(TOOLS_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!tools.is_empty()).then(|| format!("{what} {shown}{more}"))
    };
    let changed = pins.iter().filter(|(tool, pin)| accepted.get(*tool).is_some_and(|digest| *digest != pin.digest));
    let differences: Vec<String> = [
        names(changed.map(|(tool, _)| tool).collect(), "differs in"),
        names(pins.keys().filter(|tool| !accepted.contains_key(*tool)).collect(), "has beyond it"),
        names(accepted.keys().filter(|tool| !pins.contains_key(*tool)).collect(), "lacks"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if differences.is_empty() {
        return None;
    }
    let message = format!("not what was accepted: the file {}", differences.join("; it "));
    let remedy = format!(
        "`portreeve connector accept {name}` accepts what the server offers now, and writes the file; or put the \
         version of the file back that belongs to what was accepted"
    );
    Some(Finding::error(Place::file(file), message, remedy))
}

/// Tools that one finding names
const TOOLS_SHOWN: usize = 8;

/// Says where the facts about a connector's tools do not fit their definitions
pub(crate) fn check(sources: &Sources<'_>, tools: &BTreeMap<ToolName, Profile>, pins: &Pins) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (tool, own) in sources.own {
        if defined(pins, tool).is_none() {
            let near = near(tool.as_str(), names(pins));
            let message = format!("`pins/{}.json` has no tool `{tool}`", sources.name);
            findings.push(Finding::error(place(sources.file, &own.name), message, format!("take it out; {near}")));
        }
    }
    for (tool, profile) in tools {
        let Some(definition) = defined(pins, tool) else { continue };
        let held = Held { tool, connector: sources.name, schema: definition.schema() };
        let sketches: Vec<_> = sources.of(tool).collect();
        if let Some((file, sketch)) = sketches.last() {
            findings.extend(held.forgotten(profile, file, sketch));
        }
        for (file, sketch) in sketches {
            findings.extend(sketch.mentions.iter().filter_map(|mention| held.mentioned(mention, file)));
            findings.extend(held.optional(file, sketch));
            findings.extend(held.defaults(profile, file, sketch));
            findings.extend(held.undone(pins, file, sketch));
        }
    }
    findings
}

/// One tool, held against its definition
struct Held<'h> {
    tool: &'h ToolName,
    connector: &'h Name,
    schema: Schema<'h>,
}

impl Held<'_> {
    /// Arguments that no role covers
    fn forgotten(&self, profile: &Profile, file: &File<'_>, sketch: &Sketch) -> Vec<Finding> {
        let covered = |name: &str| profile.arguments.keys().any(|path| path.root() == Some(name));
        let forgotten = self.schema.names().into_iter().filter(|name| !covered(name));
        let finding = |name: &str| {
            let shown = name.escape_debug();
            // A name that no path can spell stays closed whatever is said.
            if name.parse::<FieldPath>().map_or(true, |path| path != FieldPath::name(name)) {
                let message = format!("takes `{shown}`, which no file can name, so it always has to be left out");
                let remedy =
                    if self.schema.requires(name) { "the tool requires it, so it can never be called" } else { "" };
                return Finding::warning(place(file, &sketch.name), message, remedy);
            }
            let message = format!("takes `{shown}`, which the profile does not mention");
            let remedy = format!(
                "say what it is: `[tools.{}]` arguments = {{ {shown} = \"selector\" }}; `pins/{}.json` has its schema",
                self.tool, self.connector
            );
            Finding::error(place(file, &sketch.name), message, remedy)
        };
        forgotten.map(finding).collect()
    }

    /// Something is said of an argument that cannot be there
    fn mentioned(&self, mention: &Mention, file: &File<'_>) -> Option<Finding> {
        if self.schema.at(&mention.path).is_some() {
            return None;
        }
        let Mention { path, span, what } = mention;
        let known = self.schema.names();
        let near = match path.root() {
            Some(root) if !known.contains(root) => suggest(root, known),
            _ => self.reach(path),
        };
        let message =
            format!("`{}` takes no `{path}`, which {what} names; see `pins/{}.json`", self.tool, self.connector);
        Some(Finding::error(place(file, span), message, near))
    }

    /// What is there where the path ends to be possible
    fn reach(&self, path: &FieldPath) -> String {
        let mut schema = self.schema.clone();
        for step in path.steps() {
            let next = match step {
                Step::Member(name) => schema.member(name),
                Step::Each => schema.each(),
            };
            match (next, step) {
                (Some(next), _) => schema = next,
                (None, Step::Member(name)) if !schema.names().is_empty() => return suggest(name, schema.names()),
                (None, Step::Member(_)) => return "there is no object in which it could be".to_owned(),
                (None, Step::Each) => return "there is no array; leave `[*]` out".to_owned(),
            }
        }
        String::new()
    }

    /// Arguments without which it cannot be told what a call is about
    fn optional(&self, file: &File<'_>, sketch: &Sketch) -> Vec<Finding> {
        let target = sketch.target.iter().flat_map(|at| parts(&at.value).into_iter().map(|path| (path, &at.span)));
        // An environment is not meant here: taking it from an argument is how one makes callers say it.
        let optional = target.filter(|(path, _)| !self.is_required(path));
        let finding = |(path, span): (&FieldPath, &Range<usize>)| {
            let message = format!("`{}` does not require `{path}`, and a call without it is refused", self.tool);
            Finding::warning(place(file, span), message, "such a call does not tell what it is about: `target_unclear`")
        };
        optional.map(finding).collect()
    }

    fn is_required(&self, path: &FieldPath) -> bool {
        let mut schema = Some(self.schema.clone());
        path.steps().iter().all(|step| match (schema.take(), step) {
            (Some(here), Step::Member(name)) => {
                schema = here.member(name);
                here.requires(name)
            }
            _ => false,
        })
    }

    /// Variants that take an absent argument for something else than the server does
    fn defaults(&self, profile: &Profile, file: &File<'_>, sketch: &Sketch) -> Vec<Finding> {
        let mut findings = Vec::new();
        for variant in &sketch.variants {
            for (path, pattern) in &variant.value.matches {
                let Some(default) = self.schema.at(path).and_then(|schema| schema.default()) else { continue };
                let test = |pattern: &Pattern, value| pattern.test(value, Scope::NONE);
                let said = profile.variants.iter().filter_map(|variant| variant.matches.get(path));
                let said = said.into_iter().any(|pattern| test(pattern, None) == Match::Yes);
                if !said && test(pattern, None) != test(pattern, Some(default)) {
                    let message = format!(
                        "`{}` takes {} where `{path}` is absent, and this variant does not say what absent means",
                        self.tool,
                        default.canonical()
                    );
                    let remedy = format!("add a variant with where = {{ {path} = {{ absent = true }} }}");
                    findings.push(Finding::warning(place(file, &variant.span), message, remedy));
                }
            }
        }
        findings
    }

    /// What of an undo does not fit the definitions
    fn undone(&self, pins: &Pins, file: &File<'_>, sketch: &Sketch) -> Vec<Finding> {
        let Some(undo) = &sketch.undo else { return Vec::new() };
        let place = place(file, &undo.span);
        let mut findings = Vec::new();
        let values = undo.value.arguments.values();
        let before = undo.value.before.iter().flat_map(|before| before.arguments.values());
        for restored in values.chain(before) {
            if let Restored::Argument(path) = restored
                && self.schema.at(path).is_none()
            {
                let message = format!("`{}` takes no `{path}`, so nothing of it can be given back", self.tool);
                findings.push(Finding::error(place.clone(), message, self.reach(path)));
            }
        }
        let unfit = undo::unfit(&undo.value, defined(pins, self.tool), |tool| defined(pins, &tool.name));
        findings.extend(unfit.into_iter().map(|(message, remedy)| Finding::error(place.clone(), message, remedy)));
        findings
    }
}

fn parts(target: &Target) -> Vec<&FieldPath> {
    target.id.iter().chain(target.within.iter().flat_map(parts)).collect()
}

fn place(file: &File<'_>, span: &Range<usize>) -> Place {
    Place::span(file.path, file.text, span)
}

/// Raises the class of what the server itself says is more than reading
///
/// A hint speaks of the tool as a whole: where the profile says that the tool only looks, it is wrong about
/// its variants as well; where it says that the tool changes things, both agree, and a variant that only
/// looks is what the profile is there to tell.
pub(crate) fn hints(sources: &Sources<'_>, tools: &mut BTreeMap<ToolName, Profile>, pins: &Pins) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (tool, profile) in tools {
        let Some(definition) = pins.get(tool) else { continue };
        let says = match (definition.hints.read_only, definition.hints.destructive) {
            (_, Some(true)) => "destructiveHint = true",
            (Some(false), _) => "readOnlyHint = false",
            _ => continue,
        };
        if profile.class != Class::Read {
            continue;
        }
        profile.class = Class::Write;
        for variant in profile.variants.iter_mut().filter(|variant| variant.class == Class::Read) {
            variant.class = Class::Write;
        }
        let says_read = sources.of(tool).filter_map(|(file, sketch)| Some((file, sketch.class.as_ref()?))).last();
        if let Some((file, class)) = says_read {
            let message = format!("`{tool}` is \"read\" here, and its server says {says}, so it counts as \"write\"");
            let remedy = format!("class = \"write\" says so openly; see `pins/{}.json`", sources.name);
            findings.push(Finding::warning(place(file, &class.span), message, remedy));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
