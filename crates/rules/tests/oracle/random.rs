//! Random policies, parameters and calls. Small pools, so that what is drawn meets again.

use serde_json::{Map, Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Numbers from a seed: the same on every machine (xorshift64*)
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % most
    }

    pub(crate) fn chance(&mut self, of: u64, all: u64) -> bool {
        self.below(all) < of
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// One random policy
pub(crate) struct Setting {
    pub(crate) files: Vec<(String, String)>,
    pub(crate) purposes: Vec<String>,
    /// Fields of results that some entry takes values from, by purpose
    wanted: BTreeSet<String>,
    /// What entries name: (purpose, tool, where)
    entries: Vec<(String, String, toml::Table)>,
    /// Tools and variants that the entries of a purpose name
    uses: BTreeMap<String, BTreeSet<String>>,
}

const TOOLS: [&str; 4] = ["shop.look", "shop.act", "shop.bare", "mail.send"];
const ARGUMENTS: [&str; 6] = ["id", "to", "n", "mode", "body", "files"];
const PATHS: [&str; 8] = ["id", "to", "n", "mode", "body", "files", "files[*].path", "files[*]"];
const TEXTS: [&str; 34] = [
    "a",
    "b",
    "",
    "ord_1",
    "src",
    "src/a.rs",
    "src/a/b.rs",
    "./src//a.rs",
    "src/../b",
    "src/%2e%2e/b",
    "src/%2Fb",
    "/src/a.rs",
    "src\\\\a",
    "~/src",
    "file:src",
    "srcx",
    "docs/x.md",
    "docs/y/x.md",
    "kim@example.org",
    "kim@EXAMPLE.org",
    "Kim@example.org",
    "lea@mail.example.org",
    "kim@example.org.evil.com",
    "kim@a@example.org",
    "https://example.com/docs/a",
    "https://EXAMPLE.com/docs",
    "https://x.example.com/docs/a?q=1",
    "https://example.com:443/docs/",
    "https://example.com:8443/docs/",
    "http://example.com/docs/a",
    "https://kim@example.com/docs/a",
    "https://example.com/docs/../a",
    "https://example.comx/docs/a",
    "https://example.com/docsx",
];
const NUMBERS: [&str; 8] = ["0", "1", "2", "2.5", "10", "-1", "1.0", "0.25"];

/// A value of the pool, as TOML and JSON alike write it
fn scalar(random: &mut Random) -> String {
    match random.below(8) {
        0..=4 => format!("\"{}\"", random.pick(&TEXTS)),
        5 | 6 => random.pick(&NUMBERS).to_owned(),
        _ => random.pick(&["true", "false"]).to_owned(),
    }
}

/// An operand: written out, or a parameter of a fitting kind
fn operand(random: &mut Random, text: bool) -> String {
    match (random.below(3), text) {
        (0, true) => random.pick(&["\"{p}\"", "\"{q}\""]).to_owned(),
        (0, false) => "\"{lim}\"".to_owned(),
        (_, true) => format!("\"{}\"", random.pick(&["a", "ord_1", "src", "docs/", "s"])),
        (_, false) => random.pick(&NUMBERS).to_owned(),
    }
}

fn operator(random: &mut Random, sources: &[String], parameters: bool) -> String {
    let text = |random: &mut Random| if parameters { operand(random, true) } else { "\"a\"".to_owned() };
    let number = |random: &mut Random| if parameters { operand(random, false) } else { "2".to_owned() };
    match random.below(13) {
        0 => format!("is = {}", scalar(random)),
        1 => format!("in = [{}, {}, {}]", scalar(random), scalar(random), text(random)),
        2 => format!("prefix = {}", text(random)),
        3 => format!("glob = \"{}\"", random.pick(&["*", "**", "docs/*.md", "docs/**", "ord_*", "*a*"])),
        4 => format!("at_most = {}", number(random)),
        5 => format!("at_least = {}", number(random)),
        6 => format!("max_bytes = {}", random.pick(&["1", "5", "20"])),
        7 => format!("under = \"{}\"", random.pick(&["src", "src/", "docs", "/src", "./src/a"])),
        8 => format!("path = \"{}\"", random.pick(&["src/a.rs", "docs/x.md", "/src/a.rs"])),
        9 => format!("email = \"{}\"", random.pick(&["*@example.org", "kim@example.org", "*@*.example.org"])),
        10 => {
            let shapes = [
                "https://example.com/docs",
                "https://*.example.com/docs/?*",
                "https://example.com/docs/?*",
                "https://example.com:8443/",
            ];
            format!("url = \"{}\"", random.pick(&shapes))
        }
        11 if !sources.is_empty() => {
            let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
            format!("from = \"{}\"", random.pick(&sources))
        }
        _ => "any = true".to_owned(),
    }
}

fn pattern(random: &mut Random, sources: &[String], parameters: bool) -> String {
    match random.below(10) {
        0 | 1 => scalar(random),
        2 if parameters => random.pick(&["\"{p}\"", "\"{q}\"", "\"{lim}\""]).to_owned(),
        3 => "{ absent = true }".to_owned(),
        4 => {
            let (one, two) = (operator(random, sources, parameters), operator(random, sources, parameters));
            if one.split(' ').next() == two.split(' ').next() {
                format!("{{ {one} }}")
            } else {
                format!("{{ {one}, {two} }}")
            }
        }
        _ => format!("{{ {} }}", operator(random, sources, parameters)),
    }
}

/// Patterns of some arguments; what one covers is not named once more below or above it
fn conditions(random: &mut Random, most: u64, sources: &[String], parameters: bool) -> Vec<String> {
    let mut named: Vec<&str> = Vec::new();
    let mut conditions = Vec::new();
    for _ in 0..random.below(most + 1) {
        let path = random.pick(&PATHS);
        if named.iter().any(|known| known.split('[').next() == path.split('[').next()) {
            continue;
        }
        named.push(path);
        conditions.push(format!("\"{path}\" = {}", pattern(random, sources, parameters)));
    }
    conditions
}

impl Setting {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut files = vec![
            ("agents/bot.toml".to_owned(), "owner = \"a@example.com\"\n".to_owned()),
            ("users/kim.toml".to_owned(), "accounts = [\"kim\"]\ngroups = [\"leads\"]\n".to_owned()),
        ];
        let mut variants: Vec<String> = Vec::new();
        for connector in ["shop", "mail"] {
            let tier = random.pick(&["low", "standard", "standard", "high"]);
            let mut text = format!("command = [\"server\"]\ntier = \"{tier}\"\n");
            for tool in TOOLS.iter().filter_map(|tool| tool.strip_prefix(connector)?.strip_prefix('.')) {
                if tool != "bare" {
                    Self::profile(random, connector, tool, &mut text, &mut variants);
                }
            }
            files.push((format!("connectors/{connector}.toml"), text));
        }
        files.push(("rules/r.cedar".to_owned(), rules(random)));
        let mut setting =
            Self { files, purposes: Vec::new(), wanted: BTreeSet::new(), entries: Vec::new(), uses: BTreeMap::new() };
        for name in ["one", "two"] {
            let text = setting.purpose(random, name, &variants);
            setting.files.push((format!("purposes/{name}.toml"), text));
            setting.purposes.push(name.to_owned());
        }
        setting
    }

    fn profile(random: &mut Random, connector: &str, tool: &str, text: &mut String, variants: &mut Vec<String>) {
        let class = random.pick(&["read", "read", "write", "execute"]);
        writeln!(text, "[tools.{tool}]\nclass = \"{class}\"").unwrap();
        let role = |random: &mut Random| random.pick(&["selector", "destination", "content", "paging", "control"]);
        let roles: Vec<String> = ARGUMENTS.iter().map(|name| format!("{name} = \"{}\"", role(random))).collect();
        writeln!(text, "arguments = {{ {} }}", roles.join(", ")).unwrap();
        for name in ["v1", "v2"] {
            let conditions = conditions(random, 1, &[], false);
            if conditions.is_empty() || random.chance(1, 2) {
                continue;
            }
            let class = random.pick(&["write", "execute", "escalate"]);
            // A variant is at least as strict as its tool.
            let at_least =
                |class: &str| ["read", "write", "execute", "escalate"].iter().position(|known| *known == class);
            let own = text.lines().rev().find_map(|line| line.strip_prefix("class = \"")?.strip_suffix('"')).unwrap();
            let class = if at_least(class) < at_least(own) { own.to_owned() } else { class.to_owned() };
            let where_ = conditions.join(", ");
            let variant =
                format!("[[tools.{tool}.variants]]\nname = \"{name}\"\nclass = \"{class}\"\nwhere = {{ {where_} }}\n");
            text.push_str(&variant);
            variants.push(format!("{connector}.{tool}#{name}"));
        }
    }

    fn purpose(&mut self, random: &mut Random, name: &str, variants: &[String]) -> String {
        let mut text = format!("about = \"{name}\"\nowner = \"a@example.com\"\n");
        text.push_str("[open]\nagents = [\"bot\"]\nusers = \"none\"\n[task]\nexpires_after = \"1h\"\n");
        let standing =
            random.pick(&["\"read\"", "\"read\", \"write\"", "\"read\", \"write\", \"execute\", \"escalate\""]);
        writeln!(text, "standing = [{standing}]\non_hold = \"{}\"", random.pick(&["ask", "deny"])).unwrap();
        if random.chance(1, 3) {
            writeln!(text, "calls = {}", 1 + random.below(8)).unwrap();
        }
        if random.chance(1, 4) {
            let (arguments, results) = (50 + random.below(200), 20 + random.below(200));
            writeln!(text, "max_bytes = {{ arguments = {arguments}, results = {results} }}").unwrap();
        }
        text.push_str("[parameters]\np = { type = \"string\" }\nq = { type = \"string\", default = \"ord_1\" }\n");
        text.push_str("lim = { type = \"decimal\", max = 10 }\n");
        let mut sources: Vec<String> = Vec::new();
        let mut steps: Vec<String> = Vec::new();
        for number in 0..1 + random.below(5) {
            let step = format!("s{number}");
            let mut uses = BTreeSet::new();
            for _ in 0..1 + random.below(2) {
                let all: Vec<&str> = TOOLS.iter().copied().chain(variants.iter().map(String::as_str)).collect();
                uses.insert(random.pick(&all).to_owned());
            }
            let conditions = conditions(random, 4, &sources, true);
            let uses_text: Vec<String> = uses.iter().map(|name| format!("\"{name}\"")).collect();
            writeln!(text, "[[allow]]\nname = \"{step}\"\nuse = [{}]", uses_text.join(", ")).unwrap();
            if random.chance(1, 3) && !steps.is_empty() {
                let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
                writeln!(text, "after = \"{}\"", random.pick(&steps)).unwrap();
            }
            if random.chance(1, 3) {
                writeln!(text, "times = {}", 1 + random.below(2)).unwrap();
            }
            let where_ = format!("{{ {} }}", conditions.join(", "));
            if !conditions.is_empty() {
                writeln!(text, "where = {where_}").unwrap();
            }
            if random.chance(1, 5) {
                let when = self::conditions(random, 1, &[], true).join(", ");
                let when = if when.is_empty() { String::new() } else { format!(", when = {{ {when} }}") };
                writeln!(text, "ask = {{ who = \"leads\"{when} }}").unwrap();
            }
            let table: toml::Table = format!("where = {where_}").parse().unwrap();
            let conditions = table["where"].as_table().unwrap().clone();
            self.uses.entry(name.to_owned()).or_default().extend(uses.iter().cloned());
            for tool in &uses {
                let tool = tool.split('#').next().unwrap().to_owned();
                self.entries.push((name.to_owned(), tool, conditions.clone()));
            }
            self.wanted.extend(
                conditions.values().filter_map(|pattern| Some(pattern.as_table()?.get("from")?.as_str()?.to_owned())),
            );
            steps.push(step.clone());
            sources.push(format!("{step}.items[*].id"));
            sources.push(format!("{step}.id"));
        }
        self.elevate(random, name, &mut text);
        text
    }

    /// What can be opened in a purpose: lines by class, of tools that it names
    fn elevate(&self, random: &mut Random, name: &str, text: &mut String) {
        let mut lines = String::new();
        for class in ["read", "write", "execute"] {
            let of_class = |usage: &&String| {
                let (is, tier) = self.class_of(usage);
                is == class && (class != "execute" || tier != "high")
            };
            let tools: Vec<String> = self
                .uses
                .get(name)
                .into_iter()
                .flatten()
                .filter(of_class)
                .map(|usage| format!("\"{usage}\""))
                .collect();
            if !tools.is_empty() && random.chance(1, 2) {
                let (times, within) = (1 + random.below(3), random.pick(&["1m", "5m"]));
                writeln!(
                    lines,
                    "{class} = {{ tools = [{}], times = {times}, within = \"{within}\" }}",
                    tools.join(", ")
                )
                .unwrap();
            }
        }
        if random.chance(1, 2) {
            lines.push_str("ask = { who = \"leads\" }\n");
        }
        if !lines.is_empty() {
            write!(text, "[elevate]\n{lines}").unwrap();
        }
    }

    /// The class of a tool or variant, and the tier of its connector
    fn class_of(&self, usage: &str) -> (String, String) {
        let (connector, rest) = usage.split_once('.').unwrap();
        let (tool, variant) = rest.split_once('#').map_or((rest, None), |(tool, variant)| (tool, Some(variant)));
        let path = format!("connectors/{connector}.toml");
        let file: toml::Table =
            self.files.iter().find(|(known, _)| *known == path).map(|(_, text)| text.parse().unwrap()).unwrap();
        let tier = file["tier"].as_str().unwrap().to_owned();
        let Some(profile) = file.get("tools").and_then(|tools| tools.get(tool)) else {
            return ("escalate".to_owned(), tier);
        };
        let of = match variant {
            None => profile,
            Some(variant) => {
                let variants = profile["variants"].as_array().unwrap();
                variants.iter().find(|known| known["name"].as_str() == Some(variant)).unwrap()
            }
        };
        (of["class"].as_str().unwrap().to_owned(), tier)
    }

    /// What an agent may ask to open: tools, calls, minutes, and maybe the one value of an argument
    pub(crate) fn elevation(
        &self,
        random: &mut Random,
        purpose: &str,
    ) -> (Vec<String>, u32, i64, Option<(String, Json)>) {
        let known: Vec<&str> = self.uses[purpose].iter().map(String::as_str).collect();
        let mut uses = BTreeSet::new();
        for _ in 0..1 + random.below(2) {
            let any = random.chance(1, 10);
            uses.insert(if any { random.pick(&TOOLS) } else { random.pick(&known) }.to_owned());
        }
        let value = random.chance(1, 4).then(|| {
            let name = random.pick(&["id", "to", "mode"]).to_owned();
            (name, json!(random.pick(&["a", "ord_1", "src"])))
        });
        let times = u32::try_from(1 + random.below(3)).unwrap();
        (uses.into_iter().collect(), times, 60_000 * (1 + i64::try_from(random.below(3)).unwrap()), value)
    }

    pub(crate) fn parameters(&self, random: &mut Random) -> BTreeMap<String, Json> {
        let mut given = BTreeMap::from([
            (
                "p".to_owned(),
                json!(random.pick(&["a", "ord_1", "src", "src/a.rs", "kim@example.org", "*@example.org"])),
            ),
            ("lim".to_owned(), random.pick(&NUMBERS).parse().unwrap()),
        ]);
        if random.chance(1, 2) {
            given.insert("q".to_owned(), json!(random.pick(&["a", "docs"])));
        }
        given
    }

    /// A call, more often than not one that some entry is about
    pub(crate) fn call(
        &self,
        random: &mut Random,
        purpose: &str,
        given: &BTreeMap<String, Json>,
        returned: &BTreeMap<String, Vec<Json>>,
    ) -> (String, Map<String, Json>) {
        let mut arguments = Map::new();
        let own: Vec<&(String, String, toml::Table)> =
            self.entries.iter().filter(|(name, ..)| name == purpose).collect();
        let mut tool = random.pick(&TOOLS).to_owned();
        if random.chance(9, 10) && !own.is_empty() {
            let (_, of, conditions) = random.pick(&own);
            of.clone_into(&mut tool);
            for (path, pattern) in conditions {
                let value = if random.chance(9, 10) { near(random, pattern, given, returned) } else { any(random) };
                put(random, &mut arguments, path, value);
            }
        }
        for _ in 0..random.below(2) {
            arguments.insert(random.pick(&ARGUMENTS).to_owned(), any(random).unwrap_or(Json::Null));
        }
        (tool, arguments)
    }

    /// What a call that these entries let through returns
    pub(crate) fn answer(&self, random: &mut Random, entries: &BTreeSet<String>) -> BTreeMap<String, Vec<Json>> {
        let of = |source: &&String| entries.contains(source.split('.').next().unwrap());
        let sources: Vec<&String> = self.wanted.iter().filter(of).collect();
        sources
            .into_iter()
            .map(|source| (source.clone(), (0..random.below(3)).filter_map(|_| any(random)).collect()))
            .collect()
    }
}

/// Each rule is one line: the naive reader takes it apart by its quotes
fn rules(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(4) {
        let (tool, argument) = (random.pick(&TOOLS), random.pick(&["id", "to", "mode"]));
        let value = random.pick(&["a", "ord_1", "src/a.rs", "kim@example.org"]);
        let ask = if random.chance(1, 3) { "@ask(\"leads\") " } else { "" };
        // The argument's name stands in quotes too, so that the naive reader finds it.
        writeln!(
            text,
            "{ask}forbid (principal, action == Action::\"{tool}\", resource) \
             when {{ context.input has \"{argument}\" && context.input.{argument} == \"{value}\" }};"
        )
        .unwrap();
    }
    text
}

/// A value that a pattern was made for, or nearly
fn near(
    random: &mut Random,
    pattern: &toml::Value,
    given: &BTreeMap<String, Json>,
    returned: &BTreeMap<String, Vec<Json>>,
) -> Option<Json> {
    let operands = match pattern {
        toml::Value::Table(operators) => operators.iter().map(|(name, operand)| (name.as_str(), operand)).collect(),
        operand => vec![("is", operand)],
    };
    let (name, operand) = operands[usize::try_from(random.below(operands.len() as u64)).unwrap()];
    let stands = |operand: &toml::Value| {
        let name = operand.as_str().and_then(|text| text.strip_prefix('{')?.strip_suffix('}'));
        name.map_or_else(
            || crate::matching::to_json(operand),
            |name| given.get(name).cloned().unwrap_or("ord_1".into()),
        )
    };
    match name {
        "absent" => None,
        "is" | "at_most" | "at_least" | "path" => Some(stands(operand)),
        "in" => operand.as_array().and_then(|items| items.get(usize::try_from(random.below(3)).unwrap())).map(stands),
        "prefix" => stands(operand).as_str().map(|text| json!(format!("{text}x"))),
        "under" => operand.as_str().map(|text| json!(format!("{text}/a.rs"))),
        "from" => {
            let values: Vec<&Json> = returned.get(operand.as_str().unwrap()).into_iter().flatten().collect();
            if values.is_empty() { any(random) } else { Some(random.pick(&values).clone()) }
        }
        _ => any(random),
    }
}

fn any(random: &mut Random) -> Option<Json> {
    Some(match random.below(16) {
        0 => return None,
        1 => Json::Null,
        2 => json!([]),
        3 => json!([{ "path": random.pick(&TEXTS).replace("\\\\", "\\") }, { "path": "src/a.rs" }]),
        4 => json!({ "path": "a" }),
        5 => json!(["a", 1]),
        _ => {
            let text = scalar(random);
            text.parse().unwrap_or_else(|_| panic!("{text}"))
        }
    })
}

fn put(random: &mut Random, arguments: &mut Map<String, Json>, path: &str, value: Option<Json>) {
    let Some(value) = value else { return };
    match path {
        "files[*].path" => {
            let mut items = vec![json!({ "path": value })];
            if random.chance(1, 4) {
                items.push(json!({ "path": any(random) }));
            }
            if random.chance(1, 6) {
                items.push(json!({ "path": "src/a.rs", "mode": 1 }));
            }
            arguments.insert("files".to_owned(), Json::Array(items));
        }
        "files[*]" => drop(arguments.insert("files".to_owned(), json!([value]))),
        name => drop(arguments.insert(name.to_owned(), value)),
    }
}
