//! What a purpose lets through, from the documents alone.

use crate::matching::{Is, Known, all_match, canonical, picks, together};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

/// One task under one purpose
pub(crate) struct Naive {
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
        }
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
        if !texts(task, "standing").contains(&class) {
            own.words.insert("class_not_open".to_owned());
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
        Json::Object(members) if below(".") => {
            members.iter().all(|(name, value)| is_named(&format!("{at}.{name}"), value, named))
        }
        Json::Array(items) if below("[*]") => items.iter().all(|item| is_named(&format!("{at}[*]"), item, named)),
        // A path leads into it, and it is empty: there is nothing in it that nobody named.
        Json::Object(members) => members.is_empty() && below("."),
        Json::Array(items) => items.is_empty() && below("[*]"),
        _ => false,
    }
}

fn rank(class: &str) -> usize {
    ["read", "write", "execute", "escalate"].iter().position(|known| *known == class).unwrap()
}
