//! Agents, users and connectors: what things are.

use crate::{
    document::{Cell, Document, Table},
    files::File,
    pattern::{self, Scope},
    words::suggest,
};
use portreeve_core::{
    names::{Name, Tool, ToolName},
    policy::{Agent, Class, Connector, Profile, Reach, Role, Usage, User, Variant},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Everything that purposes and rules may name
///
/// `None`: there is such a file, but it is broken, so that one mistake is not told once more by each purpose.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) agents: BTreeMap<Name, Option<Agent>>,
    pub(crate) users: BTreeMap<Name, Option<User>>,
    pub(crate) connectors: BTreeMap<Name, Option<Connector>>,
}

impl Facts {
    /// Whether the group has a member, as far as users can be read
    pub(crate) fn is_group(&self, group: &Name) -> bool {
        self.users.values().any(|user| user.as_ref().is_none_or(|user| user.groups.contains(group)))
    }

    /// Every group that somebody is in
    pub(crate) fn groups(&self) -> BTreeSet<&str> {
        self.users.values().flatten().flat_map(|user| &user.groups).map(Name::as_str).collect()
    }

    /// The class of a use, or `None` if that cannot be told
    pub(crate) fn class_of(&self, usage: &Usage) -> Option<Class> {
        let connector = self.connectors.get(&usage.tool.connector)?.as_ref()?;
        let Some(profile) = connector.tools.get(&usage.tool.name) else { return Some(Class::Escalate) };
        match &usage.variant {
            None => Some(profile.class),
            Some(name) => profile.variants.iter().find(|variant| variant.name == *name).map(|variant| variant.class),
        }
    }

    /// A tool or variant such as `shop.refund` or `shop.actions#purge`, if the facts know it
    pub(crate) fn usage(&self, doc: &Document<'_>, cell: &Cell<'_>) -> Option<Usage> {
        const EXAMPLE: &str = "use = [\"shop.refund\", \"shop.actions#purge\"]";
        let Some(text) = cell.get_ref().as_str() else {
            doc.error(&cell.span(), "expected the name of a tool", format!("for example: {EXAMPLE}"));
            return None;
        };
        if text.split_once(':').is_some_and(|(connector, _)| !connector.contains('.')) {
            doc.later(&cell.span(), "toolsets");
            return None;
        }
        let (tool, variant) = text.split_once('#').map_or((text, None), |(tool, variant)| (tool, Some(variant)));
        let tool = tool.parse::<Tool>().map_err(|error| error.to_string());
        let variant = variant.map(|variant| variant.parse::<Name>().map_err(|error| error.to_string())).transpose();
        match (tool, variant) {
            (Ok(tool), Ok(variant)) => {
                let usage = Usage { tool, variant };
                self.knows(doc, &cell.span(), &usage).then_some(usage)
            }
            (Err(error), _) | (_, Err(error)) => {
                doc.error(&cell.span(), error, format!("for example: {EXAMPLE}"));
                None
            }
        }
    }

    fn knows(&self, doc: &Document<'_>, span: &Range<usize>, usage: &Usage) -> bool {
        let Tool { connector: name, name: tool } = &usage.tool;
        let Some(connector) = self.connectors.get(name) else {
            let known = self.connectors.keys().map(Name::as_str);
            let remedy = format!("add `connectors/{name}.toml`; {}", suggest(name.as_str(), known));
            doc.error(span, format!("no connector is called `{name}`"), remedy);
            return false;
        };
        let Some(connector) = connector else { return true };
        let profile = connector.tools.get(tool);
        if let Some(variant) = &usage.variant {
            let variants = profile.map(|profile| profile.variants.as_slice()).unwrap_or_default();
            if variants.iter().all(|known| known.name != *variant) {
                let known = variants.iter().map(|variant| variant.name.as_str());
                let message = format!("`{}` has no variant `{variant}`", usage.tool);
                let remedy =
                    format!("`connectors/{name}.toml` says which there are; {}", suggest(variant.as_str(), known));
                doc.error(span, message, remedy);
                return false;
            }
        } else if profile.is_none() && !connector.tools.is_empty() {
            let known = connector.tools.keys().map(ToolName::as_str);
            let message = format!("`connectors/{name}.toml` does not say what `{tool}` is, so it is `escalate`");
            doc.warn(span, message, suggest(tool.as_str(), known));
        }
        true
    }
}

/// A name that a file may repeat, and has to repeat rightly
pub(crate) fn same_name(table: &mut Table<'_, '_>, doc: &Document<'_>, file: &File<'_>) {
    let Some(cell) = table.take("name") else { return };
    if let Some(name) = doc.text(cell, "name = \"refund-order\"").filter(|name| *name != file.name.as_str()) {
        let remedy = format!("write `name = \"{}\"`, or rename the file", file.name);
        doc.error(&cell.span(), format!("the file is called `{}`, not `{}`", file.name, name.escape_debug()), remedy);
    }
}

pub(crate) fn agent(doc: &Document<'_>, mut table: Table<'_, '_>, file: &File<'_>) -> Option<Agent> {
    same_name(&mut table, doc, file);
    let owner = table.need("owner", OWNER).and_then(|cell| doc.line(cell, OWNER));
    if let Some(about) = table.take("about") {
        doc.line(about, "\"Answers the first questions of customers\"");
    }
    table.later(&["review_by", "spiffe_id", "oidc", "key"]);
    table.finish();
    owner.map(|owner| Agent { owner })
}

pub(crate) const OWNER: &str = "\"payments@example.com\"";

pub(crate) fn user(doc: &Document<'_>, mut table: Table<'_, '_>, file: &File<'_>) -> Option<User> {
    const ACCOUNTS: &str = "[\"alice\"]";
    same_name(&mut table, doc, file);
    let accounts = table.need("accounts", ACCOUNTS).and_then(|cell| {
        let accounts: Vec<String> = doc.list(cell, ACCOUNTS)?;
        let good = accounts.iter().all(|account| !account.is_empty() && !account.chars().any(char::is_whitespace));
        if !good {
            doc.error(&cell.span(), "an account has a name without spaces", format!("for example: {ACCOUNTS}"));
        }
        good.then_some(accounts)
    });
    let groups = table.take("groups").map_or(Some(Vec::new()), |cell| doc.list(cell, "[\"support-l2\"]"));
    let attributes = table.take("attributes").map_or(Some(BTreeMap::new()), |cell| {
        let mut table = doc.table(cell, "[attributes]", "refund_limit = 200")?;
        let attribute = |(name, _, cell): (&str, _, _)| Some((name.to_owned(), doc.value(cell)?));
        let attributes: Vec<_> = table.rest().map(attribute).collect();
        attributes.into_iter().collect::<Option<BTreeMap<_, _>>>()
    });
    table.finish();
    let accounts = accounts?.into_iter().collect();
    Some(User { accounts, groups: groups?.into_iter().collect(), attributes: attributes? })
}

pub(crate) fn connector(doc: &Document<'_>, mut table: Table<'_, '_>, file: &File<'_>) -> Option<Connector> {
    same_name(&mut table, doc, file);
    let reach = reach(doc, &mut table);
    let timeout_ms =
        table.take("timeout").map_or(Some(TIMEOUT_MS), |cell| doc.duration(cell, TIMEOUT_MS_MAX, "timeout = \"30s\""));
    let tools = table.take("tools").map_or(Some(BTreeMap::new()), |cell| {
        let mut table = doc.table(cell, "[tools]", "[tools.get_order]")?;
        let mut tools = BTreeMap::new();
        let mut whole = true;
        for (name, span, cell) in table.rest() {
            let name = name.parse::<ToolName>().map_err(|error| doc.error(&span, error.to_string(), "")).ok();
            match name.zip(profile(doc, cell, &span)) {
                Some((name, profile)) => drop(tools.insert(name, profile)),
                None => whole = false,
            }
        }
        whole.then_some(tools)
    });
    table.later(&["identity", "credentials", "isolation", "results", "toolsets", "digest"]);
    table.finish();
    Some(Connector {
        reach: reach?,
        timeout_ms: timeout_ms?,
        tools: tools?,
        toolsets: BTreeMap::new(),
        environment: None,
    })
}

const TIMEOUT_MS: i64 = 60_000;
const TIMEOUT_MS_MAX: i64 = 3_600_000;

fn reach(doc: &Document<'_>, table: &mut Table<'_, '_>) -> Option<Reach> {
    const EXAMPLE: &str = "command = [\"npx\", \"-y\", \"some-server\"], or url = \"https://mcp.example.com/mcp\"";
    let command = table.take("command");
    let url = table.take("url");
    let env = table.take("env");
    match (command, url) {
        (Some(command), None) => {
            let arguments: Vec<String> = doc.list(command, "command = [\"npx\", \"-y\", \"some-server\"]")?;
            if arguments.first().is_none_or(String::is_empty) || arguments.iter().any(|part| part.contains('\0')) {
                doc.error(&command.span(), "the command names no program", format!("for example: {EXAMPLE}"));
                return None;
            }
            let env = env.map_or(Some(BTreeMap::new()), |cell| environment(doc, cell))?;
            Some(Reach::Stdio { command: arguments, env })
        }
        (None, Some(url)) => {
            if let Some(env) = env {
                doc.error(&env.span(), "a server behind a url gets no environment", "take `[env]` out");
            }
            let text = doc.text(url, EXAMPLE)?;
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                && text.bytes().all(|byte| byte.is_ascii_graphic())
                && !rest.is_some_and(|rest| rest.split('/').next().is_some_and(|host| host.contains('@')));
            if !good {
                let message = "expected an https:// or http:// address without a password";
                doc.error(&url.span(), message, format!("for example: {EXAMPLE}"));
            }
            good.then(|| Reach::Http { url: text.to_owned() })
        }
        (Some(_), Some(url)) => {
            doc.error(&url.span(), "both `command` and `url` are given", "keep the one that is meant");
            None
        }
        (None, None) => {
            doc.error(table.span(), "nothing says how to reach the server", format!("for example: {EXAMPLE}"));
            None
        }
    }
}

fn environment(doc: &Document<'_>, cell: &Cell<'_>) -> Option<BTreeMap<String, String>> {
    let mut table = doc.table(cell, "[env]", "LOG_LEVEL = \"info\"")?;
    let mut env = BTreeMap::new();
    let mut whole = true;
    for (name, span, cell) in table.rest() {
        let value = doc.text(cell, "LOG_LEVEL = \"info\"").filter(|value| !value.contains('\0'));
        if name.is_empty() || name.contains(['=', '\0']) {
            doc.error(&span, "not the name of an environment variable", "for example: LOG_LEVEL = \"info\"");
            whole = false;
        }
        match value {
            Some(value) => drop(env.insert(name.to_owned(), value.to_owned())),
            None => whole = false,
        }
    }
    whole.then_some(env)
}

pub(crate) const CLASSES: [(&str, Class); 4] =
    [("read", Class::Read), ("write", Class::Write), ("execute", Class::Execute), ("escalate", Class::Escalate)];

pub(crate) fn class(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Class> {
    doc.word(cell, &CLASSES)
}

fn profile(doc: &Document<'_>, cell: &Cell<'_>, name: &Range<usize>) -> Option<Profile> {
    const ROLES: [(&str, Role); 6] = [
        ("destination", Role::Destination),
        ("selector", Role::Selector),
        ("quantity", Role::Quantity),
        ("content", Role::Content),
        ("paging", Role::Paging),
        ("control", Role::Control),
    ];
    let entries = doc.table(cell, "a tool", "[tools.get_order]")?;
    let mut table = entries.at(name);
    let own = table.need("class", "\"read\"").and_then(|cell| class(doc, cell));
    let arguments = table.take("arguments").map_or(Some(BTreeMap::new()), |cell| {
        let mut table = doc.table(cell, "`arguments`", "arguments = { id = \"selector\" }")?;
        let role =
            |(name, span, cell): (&str, _, _)| Some((pattern::argument(doc, name, &span)?, doc.word(cell, &ROLES)?));
        let roles: Vec<_> = table.rest().map(role).collect();
        roles.into_iter().collect::<Option<BTreeMap<_, _>>>()
    });
    let variants = table.take("variants").map_or(Some(Vec::new()), |cell| {
        let items = doc.array(cell, "[[tools.actions.variants]]")?;
        let mut names = BTreeSet::new();
        let variants: Vec<_> = items.iter().map(|item| variant(doc, item, &mut names)).collect();
        variants.into_iter().collect::<Option<Vec<_>>>()
    });
    table.later(&["results", "target", "environment", "idempotent", "undo", "recording", "toolset"]);
    table.finish();
    Some(Profile { variants: variants?, arguments: arguments?, ..Profile::new(own?) })
}

fn variant(doc: &Document<'_>, cell: &Cell<'_>, names: &mut BTreeSet<Name>) -> Option<Variant> {
    const WHERE: &str = "{ method = \"delete\" }";
    let mut table = doc.table(cell, "a variant", "[[tools.actions.variants]]")?;
    let name = table.need("name", "\"purge\"").and_then(|cell| {
        let name: Name = doc.parsed(cell, "name = \"purge\"")?;
        if !names.insert(name.clone()) {
            doc.error(&cell.span(), format!("two variants are called `{name}`"), "give one of them another name");
        }
        Some(name)
    });
    let class = table.need("class", "\"escalate\"").and_then(|cell| class(doc, cell));
    let matches = table.need("where", WHERE).and_then(|cell| {
        let matches = pattern::conditions(doc, cell, &Scope::Facts)?;
        if matches.is_empty() {
            doc.error(&cell.span(), "every call would fit this variant", format!("for example: where = {WHERE}"));
        }
        Some(matches)
    });
    table.finish();
    Some(Variant { name: name?, matches: matches?, class: class? })
}
