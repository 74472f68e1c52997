//! Where the parts of a policy stand, for those who talk about them after it was read.
//!
//! Read from the text once more, so that the bundle itself holds nothing but what it says.

use crate::{
    files::{File, Files, Folder},
    finding::Place,
};
use portreeve_core::{
    names::{Name, Tool},
    node::Node,
};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// Where the parts of a policy stand
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Entries by purpose and step
    pub(crate) entries: BTreeMap<(Name, Name), Place>,
    /// `review_by` of purposes and agents
    pub(crate) reviews: BTreeMap<Node, Place>,
    /// Variants of the tools of each connector
    pub(crate) variants: BTreeMap<(Tool, Name), Place>,
}

impl Places {
    /// Finds what can be found; what the text does not have is left out
    #[must_use]
    pub fn of(files: &Files) -> Self {
        let mut places = Self::default();
        for file in files.sorted().unwrap_or_default() {
            let Ok(root) = DeTable::parse(file.text) else { continue };
            match file.folder {
                Folder::Purposes => {
                    places.purpose(&file, root.get_ref());
                    places.review(Node::Purpose(file.name.clone()), &file, root.get_ref());
                }
                Folder::Agents => places.review(Node::Agent(file.name.clone()), &file, root.get_ref()),
                Folder::Connectors => places.connector(&file, root.get_ref()),
                _ => {}
            }
        }
        places
    }

    fn purpose(&mut self, file: &File<'_>, root: &DeTable<'_>) {
        for entry in array(root, "allow") {
            if let Some((name, span)) = text(entry, "name")
                && let Ok(step) = name.parse()
            {
                self.entries.insert((file.name.clone(), step), Place::span(file.path, file.text, &span));
            }
        }
    }

    fn review(&mut self, of: Node, file: &File<'_>, root: &DeTable<'_>) {
        if let Some(review) = root.get("review_by") {
            self.reviews.insert(of, Place::span(file.path, file.text, &review.span()));
        }
    }

    fn connector(&mut self, file: &File<'_>, root: &DeTable<'_>) {
        for (tool, name, span) in variants(root) {
            let Ok(tool) = tool.parse() else { continue };
            let tool = Tool { connector: file.name.clone(), name: tool };
            self.variants.insert((tool, name), Place::span(file.path, file.text, &span));
        }
    }
}

/// The variants that a file writes: tool, name, where
fn variants<'a>(root: &'a DeTable<'a>) -> impl Iterator<Item = (&'a str, Name, std::ops::Range<usize>)> {
    let tools = root.get("tools").and_then(|tools| tools.get_ref().as_table());
    tools.into_iter().flatten().flat_map(|(tool, profile)| {
        let variants = profile.get_ref().as_table().map(|profile| array(profile, "variants"));
        variants.into_iter().flatten().filter_map(move |variant| {
            let (name, span) = text(variant, "name")?;
            Some((tool.get_ref().as_ref(), name.parse().ok()?, span))
        })
    })
}

fn array<'a>(table: &'a DeTable<'a>, key: &str) -> impl Iterator<Item = &'a DeTable<'a>> {
    let items = table.get(key).and_then(|cell| cell.get_ref().as_array());
    items.into_iter().flatten().filter_map(|item| item.get_ref().as_table())
}

fn text<'a>(table: &'a DeTable<'a>, key: &str) -> Option<(&'a str, std::ops::Range<usize>)> {
    let cell = table.get(key)?;
    match cell.get_ref() {
        DeValue::String(text) => Some((text.as_ref(), cell.span())),
        _ => None,
    }
}
