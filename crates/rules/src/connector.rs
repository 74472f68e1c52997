//! Connectors: how to reach a server, and what its tools are there.

use crate::{
    credential,
    document::{Cell, Document, Table},
    facts::{Issuers, same_name},
    files::File,
    finding::{Finding, Place},
    operation::{names, operations},
    overlay::Overlay,
    pins::{self, Pins},
    profile::{self, At, Shared, Sketch},
    proof,
    toolset::{self, Known, Toolsets, Written},
    undo,
    words::suggest,
};
use portreeve_core::{
    names::{Name, ToolName},
    policy::{Connector, Credentials, Profile, Reach, Tier},
};
use std::collections::{BTreeMap, BTreeSet};

/// What connectors rest on; `None`: there is such a file, but it is broken
pub(crate) struct Ground<'a> {
    pub(crate) profiles: &'a BTreeMap<Name, Option<Shared<'a>>>,
    pub(crate) pins: &'a BTreeMap<Name, Option<Pins>>,
    pub(crate) sources: &'a credential::Sources,
    pub(crate) issuers: &'a Issuers,
    /// The connectors that were read before this one
    pub(crate) before: &'a credential::Before,
}

/// Reads a file of `connectors/`
pub(crate) fn connector(
    doc: &Document<'_>,
    mut table: Table<'_, '_>,
    file: &File<'_>,
    ground: &Ground<'_>,
    used: &mut BTreeSet<Name>,
) -> Option<Connector> {
    same_name(&mut table, doc, file);
    let reach = reach(doc, &mut table, ground.issuers);
    let ahead = table.take("ahead");
    let timeout_ms =
        table.take("timeout").map_or(Some(TIMEOUT_MS), |cell| doc.duration(cell, TIMEOUT_MS_MAX, "timeout = \"30s\""));
    let named = table.take("profile");
    let shared = named.map_or(Some(None), |cell| shared(doc, cell, ground.profiles, used).map(Some));
    let environment = table
        .take("environment")
        .map_or(Some(None), |cell| doc.parsed::<Name>(cell, "environment = \"production\"").map(Some));
    let written = table.take("toolsets").map_or(Some(Written::new()), |cell| toolset::read(doc, cell));
    let own = table
        .take("tools")
        .map_or(Some(BTreeMap::new()), |cell| profile::sketches(doc, cell, &file.name, named.is_none()));
    let tier = table.take("tier").map_or(Some(None), |cell| profile::tier(doc, cell).map(Some));
    let credentials = table.take("credentials").map_or(Some(None), |cell| {
        credential::credentials(doc, cell, reach.as_ref(), (ground.sources, ground.before)).map(Some)
    });
    let put = credentials.as_ref().and_then(Option::as_ref);
    let ahead = ahead.map_or(Some(0), |cell| self::ahead(doc, cell, reach.as_ref(), put));
    table.later(&["identity", "isolation", "results", "digest"]);
    table.finish();
    let (shared, own, tier) = (shared?, own?, tier?);
    let tier = self::tier(doc, shared, tier.as_ref());
    let sources = Sources { name: &file.name, file, own: &own, shared };
    let mut tools = sources.tools(doc)?;
    let pins = match ground.pins.get(&file.name) {
        Some(None) => return None,
        Some(Some(pins)) => {
            let found = pins::check(&sources, &tools, pins);
            found.into_iter().for_each(|finding| doc.elsewhere(finding));
            pins::hints(&sources, &mut tools, pins).into_iter().for_each(|finding| doc.elsewhere(finding));
            Some(pins)
        }
        None => None,
    };
    sources.reads_only(doc, &tools);
    let toolsets = sources.toolsets(doc, &written?, &tools, pins);
    Some(Connector {
        reach: reach?,
        ahead: ahead?,
        timeout_ms: timeout_ms?,
        tools,
        toolsets: toolsets?,
        environment: environment?.map(|name| name.to_string()),
        tier,
        credentials: credentials?,
    })
}

/// Processes that wait for a task: they have no credential yet, and so none that a process has from its start
fn ahead(doc: &Document<'_>, cell: &Cell<'_>, reach: Option<&Reach>, put: Option<&Credentials>) -> Option<u8> {
    const EXAMPLE: &str = "ahead = 1";
    let count = doc.count(cell, EXAMPLE)?;
    let Some(count) = u8::try_from(count).ok().filter(|count| *count <= AHEAD_MAX) else {
        doc.error(&cell.span(), format!("expected at most {AHEAD_MAX} processes"), format!("for example: {EXAMPLE}"));
        return None;
    };
    let trouble = match reach? {
        Reach::Http { .. } => Some(("a server behind a url is not started by us", "take `ahead` out")),
        Reach::Stdio { .. } if put.is_some_and(|put| !put.env.is_empty()) => Some((
            "a process that waits for a task has no credential yet, and its environment is what it was at its start",
            "put the credential into `files`, if the server reads it there when it needs it, or take `ahead` out",
        )),
        Reach::Stdio { .. } => None,
    };
    if let Some((message, remedy)) = trouble {
        doc.error(&cell.span(), message, remedy);
        return None;
    }
    Some(count)
}

/// What the profile says, or something stricter; what no profile says is standard
fn tier(doc: &Document<'_>, shared: Option<&Shared<'_>>, own: Option<&At<Tier>>) -> Tier {
    let base = shared.map(|shared| (shared, shared.tier.as_ref().map(|tier| tier.value).unwrap_or_default()));
    match (base, own) {
        (None, own) => own.map(|own| own.value).unwrap_or_default(),
        (Some((_, base)), None) => base,
        (Some((shared, base)), Some(own)) => {
            if own.value < base {
                let place = match &shared.tier {
                    Some(tier) => Place::span(shared.file.path, shared.file.text, &tier.span),
                    None => Place::file(shared.file.path),
                };
                let message =
                    format!("wider than {place}: tier \"{}\" is below \"{}\"", own.value.as_str(), base.as_str());
                let remedy = format!("an overlay can only tighten: tier = \"{}\", or a higher one", base.as_str());
                doc.error(&own.span, message, remedy);
            }
            own.value.max(base)
        }
    }
}

fn shared<'g>(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    profiles: &'g BTreeMap<Name, Option<Shared<'g>>>,
    used: &mut BTreeSet<Name>,
) -> Option<&'g Shared<'g>> {
    let name: Name = doc.parsed(cell, "profile = \"github\"")?;
    let Some(shared) = profiles.get(&name) else {
        let near = suggest(name.as_str(), profiles.keys().map(Name::as_str));
        let remedy =
            format!("add `profiles/{name}.toml`; `portreeve connector profiles` lists those that come with it; {near}");
        doc.error(&cell.span(), format!("no profile is called `{name}`"), remedy);
        return None;
    };
    used.insert(name);
    shared.as_ref()
}

/// Where the facts about the tools of one connector stand
pub(crate) struct Sources<'s> {
    pub(crate) name: &'s Name,
    pub(crate) file: &'s File<'s>,
    pub(crate) own: &'s BTreeMap<ToolName, Sketch>,
    pub(crate) shared: Option<&'s Shared<'s>>,
}

impl<'s> Sources<'s> {
    /// The sketches of a tool, each with its file: the one of the profile first
    pub(crate) fn of(&self, tool: &ToolName) -> impl Iterator<Item = (&'s File<'s>, &'s Sketch)> {
        let (own, shared, file) = (self.own.get(tool), self.shared, self.file);
        let base = shared.and_then(|shared| Some((&shared.file, shared.tools.get(tool)?)));
        base.into_iter().chain(own.map(|own| (file, own)))
    }

    fn base(&self, tool: &ToolName) -> Option<(&'s File<'s>, &'s Sketch)> {
        self.shared.and_then(|shared| Some((&shared.file, shared.tools.get(tool)?)))
    }

    fn tools(&self, doc: &Document<'_>) -> Option<BTreeMap<ToolName, Profile>> {
        let mut tools = BTreeMap::new();
        let shared = self.shared.into_iter().flat_map(|shared| &shared.tools);
        for (tool, sketch) in shared.filter(|(tool, _)| !self.own.contains_key(*tool)) {
            tools.insert(tool.clone(), sketch.profile(self.name, tool)?);
        }
        let mut whole = true;
        for (tool, own) in self.own {
            let profile = match self.base(tool) {
                Some((base_file, base)) => {
                    let mut profile = base.profile(self.name, tool)?;
                    let overlay = Overlay { base, base_file, over: own, file: self.file };
                    overlay.tighten(&mut profile).into_iter().for_each(|finding| doc.elsewhere(finding));
                    Some(profile)
                }
                None => {
                    let profile = own.profile(self.name, tool);
                    if profile.is_none() {
                        let shared = self.shared.into_iter();
                        let known = shared.clone().flat_map(|shared| shared.tools.keys()).map(ToolName::as_str);
                        let file = shared.map(|shared| shared.file.path).collect::<String>();
                        let near = suggest(tool.as_str(), known);
                        let remedy = format!("`{file}` says nothing of it, so say its class here; {near}");
                        doc.error(&own.name, format!("the tool `{tool}` has no `class`"), remedy);
                    }
                    own.is_consistent(doc, tool);
                    profile
                }
            };
            match profile {
                Some(profile) => drop(tools.insert(tool.clone(), profile)),
                None => whole = false,
            }
        }
        for own in self.own.values() {
            own.undoes(doc, &|name| tools.contains_key(name), tools.keys());
        }
        whole.then_some(tools)
    }

    /// What is read before a call must not change anything, whoever has tightened what
    fn reads_only(&self, doc: &Document<'_>, tools: &BTreeMap<ToolName, Profile>) {
        for (tool, profile) in tools {
            let Some(before) = profile.undo.as_ref().and_then(|undo| undo.before.as_ref()) else { continue };
            if tools.get(&before.tool.name).is_none_or(undo::looks) {
                continue;
            }
            let said = self.of(tool).find_map(|(file, sketch)| Some((file, sketch.undo.as_ref()?)));
            let place = said.map(|(file, undo)| Place::span(file.path, file.text, &undo.span));
            let (message, remedy) = undo::no_look(&before.tool.name);
            doc.elsewhere(Finding::error(place.unwrap_or_else(|| Place::file(self.file.path)), message, remedy));
        }
    }

    /// Its own toolsets, and those of the profile
    fn toolsets(
        &self,
        doc: &Document<'_>,
        written: &Written,
        tools: &BTreeMap<ToolName, Profile>,
        pins: Option<&Pins>,
    ) -> Option<Toolsets> {
        let none = Toolsets::new();
        let base = self.shared.map_or(&none, |shared| &shared.toolsets);
        if let Some(shared) = self.shared {
            for (name, at) in written.iter().filter(|(name, _)| base.contains_key(*name)) {
                let message = format!("`{}` has a toolset `{name}` already", shared.file.path);
                doc.error(&at.span, message, "an overlay can only tighten: give it a name of its own");
            }
        }
        let mut known = Known::new();
        known.extend(operations().map(|operation| (operation, Vec::new())));
        known.extend(pins.into_iter().flat_map(names).map(|tool| (tool, Vec::new())));
        known.extend(
            tools
                .iter()
                .map(|(tool, profile)| (tool.as_str(), profile.variants.iter().map(|variant| &variant.name).collect())),
        );
        toolset::expand(doc, written, base, &known)
    }
}

const SPIFFE: &str = "spiffe = \"spiffe://example.org/tools/shop\"";
const AHEAD_MAX: u8 = 8;
const TIMEOUT_MS: i64 = 60_000;
const TIMEOUT_MS_MAX: i64 = 3_600_000;

fn reach(doc: &Document<'_>, table: &mut Table<'_, '_>, issuers: &Issuers) -> Option<Reach> {
    const EXAMPLE: &str = "command = [\"npx\", \"-y\", \"some-server\"], or url = \"https://mcp.example.com/mcp\"";
    let command = table.take("command");
    let url = table.take("url");
    let env = table.take("env");
    let shown = [table.take("spiffe"), table.take("svid")];
    let secure = url.is_some_and(|url| url.get_ref().as_str().is_some_and(|url| url.starts_with("https://")));
    for cell in shown.into_iter().flatten().filter(|_| !secure) {
        let message = "only over TLS a server shows who it is, and is shown who we are";
        doc.error(&cell.span(), message, "give it an https:// `url`, or take this out");
    }
    let [spiffe, svid] = shown;
    let spiffe = spiffe.map_or(Some(None), |cell| proof::spiffe(doc, cell, issuers, SPIFFE).map(Some));
    let svid = svid.map_or(Some(false), |cell| doc.truth(cell, "svid = true"));
    match (command, url) {
        (Some(command), None) => {
            let arguments: Vec<String> = doc.list(command, "command = [\"npx\", \"-y\", \"some-server\"]")?;
            if arguments.first().is_none_or(String::is_empty) || arguments.iter().any(|part| part.contains('\0')) {
                doc.error(&command.span(), "the command names no program", format!("for example: {EXAMPLE}"));
                return None;
            }
            let env = env.map_or(Some(BTreeMap::new()), |cell| variables(doc, cell))?;
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
            let (spiffe, svid) = (spiffe?, svid?);
            good.then(|| Reach::Http { url: text.to_owned(), spiffe, svid })
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

fn variables(doc: &Document<'_>, cell: &Cell<'_>) -> Option<BTreeMap<String, String>> {
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
