//! What `use` names: tools, variants and toolsets.

use crate::{
    document::{Cell, Document},
    facts::Facts,
    operation::{defined, names, near},
    pins::Pins,
    words::suggest,
};
use portreeve_core::{
    names::{Name, Tool, ToolName},
    operation::Operation,
    policy::{Class, Connector, Toolset, Usage},
};
use std::ops::Range;

const EXAMPLE: &str = "use = [\"shop.refund\", \"shop.actions#purge\", \"shop:orders.read\"]";

impl Facts {
    /// The class of a use, or `None` if that cannot be told
    pub(crate) fn class_of(&self, usage: &Usage) -> Option<Class> {
        let connector = self.connectors.get(&usage.tool.connector)?.as_ref()?;
        let profile = connector.profile(&usage.tool.name);
        match &usage.variant {
            None => Some(profile.class),
            Some(name) => profile.variants.iter().find(|variant| variant.name == *name).map(|variant| variant.class),
        }
    }

    /// What a tool, a variant or a toolset such as `shop.refund`, `shop.actions#purge` or `shop:orders.read` comes
    /// to, if the facts know it; empty if what it names is broken
    pub(crate) fn usages(&self, doc: &Document<'_>, cell: &Cell<'_>) -> Option<Vec<Usage>> {
        let text = text(doc, cell)?;
        match text.split_once(':').filter(|(connector, _)| !connector.contains('.')) {
            Some((connector, set)) => self.toolset(doc, &cell.span(), (connector, set)),
            None => self.one(doc, &cell.span(), text).map(|usage| vec![usage]),
        }
    }

    /// A tool by its name, if the facts know it
    pub(crate) fn tool(&self, doc: &Document<'_>, cell: &Cell<'_>) -> Option<Tool> {
        let text = text(doc, cell)?;
        if text.contains('#') {
            doc.error(
                &cell.span(),
                "a call is of a tool; its arguments say which variant",
                "leave out `#` and what follows",
            );
            return None;
        }
        self.one(doc, &cell.span(), text).map(|usage| usage.tool)
    }

    fn one(&self, doc: &Document<'_>, span: &Range<usize>, text: &str) -> Option<Usage> {
        let (tool, variant) = text.split_once('#').map_or((text, None), |(tool, variant)| (tool, Some(variant)));
        let tool = tool.parse::<Tool>();
        let variant = variant.map(str::parse::<Name>).transpose();
        match (tool, variant) {
            (Ok(tool), Ok(variant)) => {
                let usage = Usage { tool, variant };
                self.knows(doc, span, &usage).then_some(usage)
            }
            (Err(error), _) | (_, Err(error)) => {
                doc.error(span, error.to_string(), format!("for example: {EXAMPLE}"));
                None
            }
        }
    }

    fn toolset(&self, doc: &Document<'_>, span: &Range<usize>, (connector, set): (&str, &str)) -> Option<Vec<Usage>> {
        let names = connector.parse::<Name>().and_then(|name| Ok((name, set.parse::<Toolset>()?)));
        let (name, set) =
            names.map_err(|error| doc.error(span, error.to_string(), format!("for example: {EXAMPLE}"))).ok()?;
        let Some(connector) = self.connector(doc, span, &name)? else { return Some(Vec::new()) };
        let Some(members) = connector.toolsets.get(&set) else {
            let near = suggest(set.as_str(), connector.toolsets.keys().map(Toolset::as_str));
            let remedy = format!("`[toolsets]` in `connectors/{name}.toml` or in its profile has them; {near}");
            doc.error(span, format!("`{name}` has no toolset `{set}`"), remedy);
            return None;
        };
        let left = self.room.get().checked_sub(members.len());
        let Some(left) = left else {
            let message = format!("the toolsets of all steps come to more than {USES_MAX} tools");
            doc.error(span, message, "use smaller toolsets");
            return None;
        };
        self.room.set(left);
        if let Some(pins) = self.pins_of(&name) {
            let gone: Vec<&str> = members
                .iter()
                .map(|member| &member.tool)
                .filter(|tool| defined(pins, tool).is_none())
                .map(ToolName::as_str)
                .collect();
            let message = |what: &str| format!("`pins/{name}.json` has {what} of `{name}:{set}`");
            let remedy = format!("gone: {}", gone.join(", "));
            if gone.len() == members.len() {
                doc.error(span, message("none"), remedy);
                return None;
            } else if !gone.is_empty() {
                doc.warn(span, message("not all"), remedy);
            }
        }
        let usage = |member: &portreeve_core::policy::Member| Usage {
            tool: Tool { connector: name.clone(), name: member.tool.clone() },
            variant: member.variant.clone(),
        };
        Some(members.iter().map(usage).collect())
    }

    /// A connector; `Some(None)` if its file is broken
    fn connector(&self, doc: &Document<'_>, span: &Range<usize>, name: &Name) -> Option<Option<&Connector>> {
        let found = self.connectors.get(name);
        if found.is_none() {
            let known = self.connectors.keys().map(Name::as_str);
            let remedy = format!("add `connectors/{name}.toml`; {}", suggest(name.as_str(), known));
            doc.error(span, format!("no connector is called `{name}`"), remedy);
        }
        found.map(Option::as_ref)
    }

    pub(crate) fn pins_of(&self, connector: &Name) -> Option<&Pins> {
        self.pins.get(connector).and_then(Option::as_ref)
    }

    fn knows(&self, doc: &Document<'_>, span: &Range<usize>, usage: &Usage) -> bool {
        let Tool { connector: name, name: tool } = &usage.tool;
        let Some(connector) = self.connector(doc, span, name) else { return false };
        let Some(connector) = connector else { return true };
        if let Some(pins) = self.pins_of(name).filter(|pins| defined(pins, tool).is_none()) {
            if tool.operation() == Some(Operation::GetPrompt) {
                let remedy = format!("`portreeve connector show {name}` says what it offers now");
                doc.error(span, format!("`pins/{name}.json` has no prompts"), remedy);
                return false;
            }
            let near = near(tool.as_str(), names(pins));
            let remedy = format!("`portreeve connector show {name}` says what it offers now; {near}");
            doc.error(span, format!("`pins/{name}.json` has no tool `{tool}`"), remedy);
            return false;
        }
        let own = connector.tools.get(tool);
        let profile = own.or_else(|| tool.operation().map(Operation::profile));
        if let Some(variant) = &usage.variant {
            let variants = profile.map(|profile| profile.variants.as_slice()).unwrap_or_default();
            if variants.iter().all(|known| known.name != *variant) {
                let known = variants.iter().map(|variant| variant.name.as_str());
                let message = format!("`{}` has no variant `{variant}`", usage.tool);
                let remedy = format!(
                    "`connectors/{name}.toml` or its profile says which there are; {}",
                    suggest(variant.as_str(), known)
                );
                doc.error(span, message, remedy);
                return false;
            }
        } else if profile.is_none() && !connector.tools.is_empty() {
            let known = connector.tools.keys().map(ToolName::as_str);
            let message = format!("`connectors/{name}.toml` does not say what `{tool}` is, so it is `escalate`");
            doc.warn(span, message, near(tool.as_str(), known));
        }
        true
    }
}

fn text<'d>(doc: &Document<'_>, cell: &'d Cell<'_>) -> Option<&'d str> {
    let text = cell.get_ref().as_str();
    if text.is_none() {
        doc.error(&cell.span(), "expected the name of a tool", format!("for example: {EXAMPLE}"));
    }
    text
}

/// Tools that the toolsets of all purposes come to, so that a short text never fills the memory
pub(crate) const USES_MAX: usize = 2_000_000;
