//! Named groups of tools, as files write them, and what they come to.

use crate::{
    document::{Cell, Document},
    operation::near,
    profile::At,
    words::suggest,
};
use portreeve_core::{
    names::{Name, ToolName},
    policy::{Member, Toolset},
};
use std::collections::{BTreeMap, BTreeSet};

/// Groups by name, with the members of the groups in them
pub(crate) type Toolsets = BTreeMap<Toolset, BTreeSet<Member>>;

/// Groups as they are written
pub(crate) type Written = BTreeMap<Toolset, At<Vec<At<Item>>>>;

/// The tools that there are, with their variants
pub(crate) type Known<'k> = BTreeMap<&'k str, Vec<&'k Name>>;

/// One member of a group as it is written
#[derive(Clone, Debug)]
pub(crate) enum Item {
    One(Member),
    All(Toolset),
}

const EXAMPLE: &str = "\"issues.read\" = [\"get_issue\", \"actions#list\", \":labels.read\"]";

/// Reads the table `[toolsets]`
pub(crate) fn read(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Written> {
    let mut table = doc.table(cell, "[toolsets]", EXAMPLE)?;
    let mut written = Written::new();
    let mut whole = true;
    for (name, span, cell) in table.rest() {
        let remedy = format!("for example: {EXAMPLE}");
        let name = name.parse::<Toolset>().map_err(|error| doc.error(&span, error.to_string(), &remedy)).ok();
        match name.zip(items(doc, cell)) {
            Some((name, items)) => drop(written.insert(name, At::new(items, span))),
            None => whole = false,
        }
    }
    if written.len() > SETS_MAX {
        doc.error(&cell.span(), format!("more than {SETS_MAX} toolsets"), "split the connector");
        return None;
    }
    whole.then_some(written)
}

fn items(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Vec<At<Item>>> {
    let cells = doc.array(cell, EXAMPLE)?;
    if cells.is_empty() {
        doc.error(&cell.span(), "the toolset holds nothing", format!("for example: {EXAMPLE}"));
        return None;
    }
    let item = |cell: &Cell<'_>| {
        let text = doc.text(cell, EXAMPLE)?;
        let read = match text.strip_prefix(':') {
            Some(name) => name.parse().map(Item::All),
            None => member(text).map(Item::One),
        };
        let read = read.map_err(|error| doc.error(&cell.span(), error.to_string(), format!("for example: {EXAMPLE}")));
        Some(At::new(read.ok()?, cell.span()))
    };
    let items: Vec<_> = cells.iter().map(item).collect();
    items.into_iter().collect()
}

fn member(text: &str) -> Result<Member, portreeve_core::names::Invalid> {
    let (tool, variant) = text.split_once('#').map_or((text, None), |(tool, variant)| (tool, Some(variant)));
    Ok(Member { tool: tool.parse::<ToolName>()?, variant: variant.map(str::parse).transpose()? })
}

/// The groups with all that is in them, and those of `base`, which no group may redefine
pub(crate) fn expand(doc: &Document<'_>, written: &Written, base: &Toolsets, known: &Known<'_>) -> Option<Toolsets> {
    let mut expansion = Expansion { doc, written, done: base.clone(), under_way: Vec::new(), known, left: MEMBERS_MAX };
    let mut whole = true;
    for name in written.keys() {
        // One mistake does not keep the others from being told.
        whole &= expansion.expand(name);
    }
    whole.then_some(expansion.done)
}

struct Expansion<'e, 'd> {
    doc: &'e Document<'d>,
    written: &'e Written,
    done: Toolsets,
    under_way: Vec<&'e Toolset>,
    known: &'e Known<'e>,
    left: usize,
}

impl<'e> Expansion<'e, '_> {
    /// Whether nothing is wrong with the group, which is done then
    fn expand(&mut self, name: &'e Toolset) -> bool {
        if self.done.contains_key(name) {
            return true;
        }
        let Some(items) = self.written.get(name) else { return false };
        self.under_way.push(name);
        let mut members = BTreeSet::new();
        let mut whole = true;
        for item in &items.value {
            match &item.value {
                Item::One(member) => {
                    whole &= self.knows(member, item);
                    members.insert(member.clone());
                }
                Item::All(other) => match self.group(other, item) {
                    true => members.extend(self.done.get(other).into_iter().flatten().cloned()),
                    false => whole = false,
                },
            }
        }
        self.under_way.pop();
        let Some(left) = self.left.checked_sub(members.len()) else {
            let message = format!("the toolsets hold more than {MEMBERS_MAX} tools in all");
            self.doc.error(&items.span, message, "nest them less");
            return false;
        };
        self.left = left;
        // A broken group is done as well: what is wrong with it is told once.
        self.done.insert(name.clone(), members);
        whole
    }

    fn group(&mut self, other: &'e Toolset, item: &At<Item>) -> bool {
        if let Some(at) = self.under_way.iter().position(|name| *name == other) {
            let round = self.under_way.iter().skip(at).map(|name| format!("`{name}`"));
            let round = round.chain([format!("`{other}`")]).collect::<Vec<_>>().join(" → ");
            let message = format!("the toolset `{other}` holds itself: {round}");
            self.doc.error(&item.span, message, "take one of these members out");
            return false;
        }
        if !self.done.contains_key(other) && !self.written.contains_key(other) {
            let names = || self.written.keys().chain(self.done.keys()).map(Toolset::as_str);
            let remedy = suggest(other.as_str(), names());
            self.doc.error(&item.span, format!("no toolset is called `{other}`"), remedy);
            return false;
        }
        self.expand(other)
    }

    fn knows(&self, Member { tool, variant }: &Member, item: &At<Item>) -> bool {
        let Some(variants) = self.known.get(tool.as_str()) else {
            let remedy = format!("add `[tools.{tool}]`; {}", near(tool.as_str(), self.known.keys().copied()));
            self.doc.error(&item.span, format!("nothing is said of the tool `{tool}`"), remedy);
            return false;
        };
        let Some(variant) = variant.as_ref().filter(|variant| !variants.contains(variant)) else { return true };
        let remedy = suggest(variant.as_str(), variants.iter().map(|name| name.as_str()));
        self.doc.error(&item.span, format!("`{tool}` has no variant `{variant}`"), remedy);
        false
    }
}

/// Groups of one connector
const SETS_MAX: usize = 256;
/// Tools in all groups of one connector, each counted as often as it is in one
const MEMBERS_MAX: usize = 32_768;
