//! What a purpose lets through, from the documents alone.

use crate::matching::{Is, Known, all_match, canonical, picks, together};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

/// One task under one purpose
pub(crate) struct Naive {
    /// What was asked to be opened so far
    pub(crate) asked: BTreeSet<String>,
    connectors: BTreeMap<String, toml::Table>,
    purpose: toml::Table,
    rules: Vec<Rule>,
    parameters: BTreeMap<String, Json>,
    used: BTreeMap<String, i64>,
    succeeded: BTreeSet<String>,
    returned: BTreeMap<String, Vec<Json>>,
    calls: i64,
    sent: i64,
    received: i64,
    opened: Vec<Opened>,
    /// Milliseconds since the task was opened
    clock: i64,
    /// Calls that were opened without a person, by class
    alone: BTreeMap<String, i64>,
}

/// A class that is open for some tools, so many calls, and with one value if it says so
#[derive(Debug)]
struct Opened {
    class: String,
    uses: Vec<String>,
    value: Option<(String, Json)>,
    left: i64,
    until: i64,
}

/// A rule of the only form that is tried here: `tool` may not have the text `text` as `argument`
struct Rule {
    tool: String,
    argument: String,
    text: String,
    asks: bool,
}

/// What it says of a call
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) words: BTreeSet<String>,
    pub(crate) entries: BTreeSet<String>,
    /// Several entries do not match, and which one is told is left open
    pub(crate) is_ambiguous: bool,
    sent: i64,
    /// The opened class that it uses one call of
    uses_up: Option<usize>,
}

fn table<'a>(table: &'a toml::Table, name: &str) -> Option<&'a toml::Table> {
    table.get(name).and_then(toml::Value::as_table)
}

fn text<'a>(table: &'a toml::Table, name: &str) -> Option<&'a str> {
    table.get(name).and_then(toml::Value::as_str)
}

fn tables<'a>(table: &'a toml::Table, name: &str) -> Vec<&'a toml::Table> {
    let items = table.get(name).and_then(toml::Value::as_array).into_iter().flatten();
    items.filter_map(toml::Value::as_table).collect()
}

fn texts<'a>(table: &'a toml::Table, name: &str) -> Vec<&'a str> {
    let items = table.get(name).and_then(toml::Value::as_array).into_iter().flatten();
    items.filter_map(toml::Value::as_str).collect()
}

impl Naive {
    pub(crate) fn new(files: &[(String, String)], purpose: &str, given: &BTreeMap<String, Json>) -> Self {
        let read = |path: &str| files.iter().find(|(known, _)| known == path).map(|(_, text)| text.parse().unwrap());
        let mut connectors = BTreeMap::new();
        let mut rules = Vec::new();
        for (path, content) in files {
            if let Some(name) = path.strip_prefix("connectors/").and_then(|file| file.strip_suffix(".toml")) {
                connectors.insert(name.to_owned(), content.parse().unwrap());
            }
            // Each rule is one line, and what it says stands in quotes.
            for line in content.lines().filter(|_| path.ends_with(".cedar")) {
                let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
                let asks = line.starts_with("@ask");
                let [tool, argument, text] = quoted[usize::from(asks)..] else { panic!("{line}") };
                let argument = argument.to_owned();
                rules.push(Rule { tool: tool.to_owned(), argument, text: text.to_owned(), asks });
            }
        }
        let purpose: toml::Table = read(&format!("purposes/{purpose}.toml")).unwrap();
        let mut parameters = BTreeMap::new();
        for (name, parameter) in table(&purpose, "parameters").into_iter().flatten() {
            let default = parameter.get("default").map(crate::matching::to_json);
            parameters.extend(given.get(name).cloned().or(default).map(|value| (name.clone(), value)));
        }
        Self {
            asked: BTreeSet::new(),
            connectors,
            purpose,
            rules,
            parameters,
            used: BTreeMap::new(),
            succeeded: BTreeSet::new(),
            returned: BTreeMap::new(),
            calls: 0,
            sent: 0,
            received: 0,
            opened: Vec::new(),
            clock: 0,
            alone: BTreeMap::new(),
        }
    }

    /// What opening a class comes to: nothing if it is open now, or a word
    pub(crate) fn elevate(
        &mut self,
        uses: &[String],
        (times, within_ms): (i64, i64),
        value: Option<(String, Json)>,
        is_agreed: bool,
    ) -> Option<&'static str> {
        const REFUSED: Option<&str> = Some("elevation_refused");
        self.clock += 1;
        let named: BTreeSet<&str> =
            tables(&self.purpose, "allow").into_iter().flat_map(|entry| texts(entry, "use")).collect();
        if !uses.iter().all(|usage| named.contains(usage.as_str())) {
            return REFUSED;
        }
        let classes: BTreeSet<String> = uses.iter().map(|usage| self.class_of(usage)).collect();
        let [class] = &classes.iter().collect::<Vec<_>>()[..] else { return REFUSED };
        let tier = uses.iter().map(|usage| self.tier(usage)).max().unwrap();
        if self.stands(class, tier) {
            return REFUSED;
        }
        let Some(elevate) = table(&self.purpose, "elevate") else { return REFUSED };
        let used = self.alone.get(class.as_str()).copied().unwrap_or_default();
        let is_alone = table(elevate, class).is_some_and(|alone| {
            let number = |name: &str| alone.get(name).and_then(toml::Value::as_integer).unwrap();
            let within = text(alone, "within").unwrap().strip_suffix('m').unwrap().parse::<i64>().unwrap() * 60_000;
            let tools = texts(alone, "tools");
            uses.iter().all(|usage| tools.contains(&usage.as_str()))
                && used + times <= number("times")
                && within_ms <= within
        });
        let needs_person = class.as_str() == "escalate" || (tier == 2 && class.as_str() == "execute");
        if is_alone && !needs_person {
            *self.alone.entry(class.to_string()).or_default() += times;
        } else if table(elevate, "ask").is_none() {
            return REFUSED;
        } else if self.on_hold() == "deny" {
            return Some("nobody_to_ask");
        } else if !is_agreed {
            return Some("approval_needed");
        }
        let until = self.clock + within_ms;
        self.opened.push(Opened { class: class.to_string(), uses: uses.to_vec(), value, left: times, until });
        None
    }

    /// The class of a tool or variant as the connector's file says it
    fn class_of(&self, usage: &str) -> String {
        let (tool, variant) = usage.split_once('#').map_or((usage, None), |(tool, variant)| (tool, Some(variant)));
        let (connector, name) = tool.split_once('.').unwrap();
        let Some(profile) = table(&self.connectors[connector], "tools").and_then(|tools| table(tools, name)) else {
            return "escalate".to_owned();
        };
        let of = match variant {
            None => profile,
            Some(variant) => {
                tables(profile, "variants").into_iter().find(|known| text(known, "name") == Some(variant)).unwrap()
            }
        };
        text(of, "class").unwrap().to_owned()
    }

    /// How much can go wrong where a tool is: 0 to 2
    fn tier(&self, usage: &str) -> usize {
        let (connector, _) = usage.split_once('.').unwrap();
        let tier = text(&self.connectors[connector], "tier").unwrap_or("standard");
        ["low", "standard", "high"].iter().position(|known| *known == tier).unwrap()
    }

    /// Writing stands with reading where little can go wrong
    fn stands(&self, class: &str, tier: usize) -> bool {
        let standing = texts(table(&self.purpose, "task").unwrap(), "standing");
        standing.contains(&class) || (tier == 0 && class == "write" && standing.contains(&"read"))
    }

    pub(crate) fn returned(&self) -> &BTreeMap<String, Vec<Json>> {
        &self.returned
    }

    pub(crate) fn judge(&self, tool: &str, arguments: &Map<String, Json>) -> Own {
        let mut own = Own { sent: canonical(&Json::Object(arguments.clone())).len() as i64, ..Own::default() };
        let nothing = Known { parameters: &BTreeMap::new(), returned: &BTreeMap::new() };
        let known = Known { parameters: &self.parameters, returned: &self.returned };
        let (connector, name) = tool.split_once('.').unwrap();
        let profile = table(&self.connectors[connector], "tools").and_then(|tools| table(tools, name));

        // Which variants it fits; what cannot be told is refused, and nothing else is said.
        let mut variants = Vec::new();
        for variant in profile.map(|profile| tables(profile, "variants")).unwrap_or_default() {
            let conditions = table(variant, "where").unwrap();
            let found: Vec<Is> =
                conditions.iter().map(|(path, pattern)| picks(arguments, path, pattern, &nothing)).collect();
            match together(&found) {
                Is::Yes => variants.push(variant),
                Is::No => {}
                Is::Unclear => own.words.extend(["argument_unclear".to_owned()]),
            }
        }
        if !own.words.is_empty() {
            return own;
        }
        let class = variants.iter().map(|variant| text(variant, "class").unwrap()).max_by_key(|class| rank(class));
        let class = class.or_else(|| profile.and_then(|profile| text(profile, "class"))).unwrap_or("escalate");

        self.envelope(tool, arguments, profile, &variants, class, &known, &mut own);
        for rule in self.rules.iter().filter(|rule| rule.tool == tool) {
            if arguments.get(&rule.argument).and_then(Json::as_str) == Some(&rule.text) {
                let asks = if self.on_hold() == "ask" { "approval_needed" } else { "nobody_to_ask" };
                own.words.insert(if rule.asks { asks } else { "rule_forbids" }.to_owned());
            }
        }
        own
    }

    #[expect(clippy::too_many_arguments, reason = "everything about one call")]
    fn envelope(
        &self,
        tool: &str,
        arguments: &Map<String, Json>,
        profile: Option<&toml::Table>,
        variants: &[&toml::Table],
        class: &str,
        known: &Known<'_>,
        own: &mut Own,
    ) {
        let names: Vec<String> = match variants {
            [] => vec![tool.to_owned()],
            variants => variants.iter().map(|variant| format!("{tool}#{}", text(variant, "name").unwrap())).collect(),
        };
        let covers = |entry: &&toml::Table| names.iter().all(|name| texts(entry, "use").contains(&name.as_str()));
        let covering: Vec<&toml::Table> = tables(&self.purpose, "allow").into_iter().filter(covers).collect();
        if covering.is_empty() {
            own.words.insert("tool_outside_purpose".to_owned());
            if !crate::LIMITS_ALWAYS {
                return;
            }
        }
        let free = |path: &str| {
            let role = profile.and_then(|profile| table(profile, "arguments")).and_then(|roles| text(roles, path));
            matches!(role, Some("content" | "paging"))
        };
        let mut matching = Vec::new();
        for entry in &covering {
            let empty = toml::Table::new();
            let conditions = table(entry, "where").unwrap_or(&empty);
            let mut words = BTreeSet::new();
            if conditions.iter().any(|(path, pattern)| !all_match(arguments, path, pattern, known)) {
                words.insert("argument_outside_task".to_owned());
            }
            let named: Vec<&str> = conditions.keys().map(String::as_str).collect();
            if arguments.iter().any(|(name, value)| !is_named(name, value, &named) && !free(name)) {
                words.insert("argument_not_named".to_owned());
            }
            if words.is_empty() {
                matching.push(*entry);
            } else {
                own.words.extend(words);
            }
        }
        if matching.is_empty() {
            own.is_ambiguous = covering.len() > 1;
        } else {
            own.words.retain(|word| !word.starts_with("argument_"));
            self.spent(&matching, own);
            self.asked(arguments, &matching, known, own);
        }
        let task = table(&self.purpose, "task").unwrap();
        if !self.stands(class, self.tier(tool)) {
            let covers = |opened: &Opened| {
                opened.class == class
                    && names.iter().all(|name| opened.uses.contains(name))
                    && opened.value.as_ref().is_none_or(|(name, value)| arguments.get(name) == Some(value))
                    && opened.left > 0
            };
            // What ends first is used first.
            let covering = self.opened.iter().enumerate().filter(|(_, opened)| covers(opened));
            own.uses_up = covering.min_by_key(|(_, opened)| opened.until).map(|(at, _)| at);
            if own.uses_up.is_none() {
                own.words.insert("class_not_open".to_owned());
            }
        }
        if task.get("calls").and_then(toml::Value::as_integer).is_some_and(|calls| self.calls >= calls) {
            own.words.insert("calls_spent".to_owned());
        }
        if let Some(bytes) = table(task, "max_bytes") {
            let most = |name: &str| bytes.get(name).and_then(toml::Value::as_integer);
            if most("arguments").is_some_and(|most| self.sent + own.sent > most)
                || most("results").is_some_and(|most| self.received >= most)
            {
                own.words.insert("bytes_spent".to_owned());
            }
        }
        own.entries = matching.iter().map(|entry| text(entry, "name").unwrap().to_owned()).collect();
    }

    /// What becomes of a question to people
    fn on_hold(&self) -> &str {
        table(&self.purpose, "task").and_then(|task| text(task, "on_hold")).unwrap_or("ask")
    }

    /// One of the entries that match must have order and count left
    fn spent(&self, matching: &[&toml::Table], own: &mut Own) {
        let mut words = BTreeSet::new();
        for entry in matching {
            let name = text(entry, "name").unwrap();
            if text(entry, "after").is_some_and(|before| !self.succeeded.contains(before)) {
                words.insert("out_of_order".to_owned());
            } else if entry
                .get("times")
                .and_then(toml::Value::as_integer)
                .is_some_and(|times| self.used.get(name).copied().unwrap_or_default() >= times)
            {
                words.insert("count_spent".to_owned());
            } else {
                return;
            }
        }
        own.words.extend(words);
    }

    /// Every entry that matches asks; only a clear no to one of its conditions spares the question
    fn asked(&self, arguments: &Map<String, Json>, matching: &[&toml::Table], known: &Known<'_>, own: &mut Own) {
        let on_hold = self.on_hold();
        for ask in matching.iter().filter_map(|entry| table(entry, "ask")) {
            let spared = table(ask, "when").into_iter().flatten().any(|(path, pattern)| {
                let (values, broken) = crate::matching::reach(arguments, path);
                let absent = !broken && values.iter().all(Option::is_none);
                !absent && picks(arguments, path, pattern, known) == Is::No
            });
            if !spared {
                own.words.insert(if on_hold == "ask" { "approval_needed" } else { "nobody_to_ask" }.to_owned());
            }
        }
    }

    pub(crate) fn happened(
        &mut self,
        own: &Own,
        _: &Map<String, Json>,
        ok: bool,
        bytes: u64,
        returned: &BTreeMap<String, Vec<Json>>,
    ) {
        if let Some(opened) = own.uses_up {
            self.opened[opened].left -= 1;
        }
        self.calls += 1;
        self.sent += own.sent;
        self.received += i64::try_from(bytes).unwrap();
        for entry in &own.entries {
            *self.used.entry(entry.clone()).or_default() += 1;
            if ok {
                self.succeeded.insert(entry.clone());
            }
        }
        for (source, values) in returned.iter().filter(|_| ok) {
            if own.entries.contains(source.split(['.', '[']).next().unwrap()) {
                self.returned.entry(source.clone()).or_default().extend(values.iter().cloned());
            }
        }
    }
}

/// Whether an argument, or everything in it, stands in one of the paths
fn is_named(at: &str, value: &Json, named: &[&str]) -> bool {
    if named.contains(&at) {
        return true;
    }
    let below = |step: &str| named.iter().any(|path| path.starts_with(&format!("{at}{step}")));
    match value {
        // Where a path leads into something empty, of whatever kind, there is nothing that nobody named.
        Json::Object(members) if members.is_empty() => below(".") || below("[*]"),
        Json::Array(items) if items.is_empty() => below(".") || below("[*]"),
        Json::Object(members) if below(".") => {
            members.iter().all(|(name, value)| is_named(&format!("{at}.{name}"), value, named))
        }
        Json::Array(items) if below("[*]") => items.iter().all(|item| is_named(&format!("{at}[*]"), item, named)),
        _ => false,
    }
}

fn rank(class: &str) -> usize {
    ["read", "write", "execute", "escalate"].iter().position(|known| *known == class).unwrap()
}
