//! The types that Cedar gives to values: to arguments from the schema of their tool, to what is said of users
//! from what is said.

use portreeve_core::{decimal::Decimal, value::Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What Cedar takes a value for
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bool,
    /// A whole number of 64 bits
    Long,
    /// A number of at most four fraction digits
    Decimal,
    /// An array, of which Cedar keeps neither order nor repetition
    Set(Box<Self>),
    Record(Shape),
    /// Cedar has no type for it, and why: a rule can only see that it is there
    Opaque(&'static str),
}

/// The members of an object
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) members: BTreeMap<String, Member>,
    /// Whether an object of this shape may have other members too
    pub(crate) open: bool,
}

/// One of them
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

impl Kind {
    /// The member that a path of names leads to
    pub(crate) fn at<'k>(&'k self, path: &[&str]) -> Option<&'k Self> {
        match (path.split_first(), self) {
            (None, _) => Some(self),
            (Some(_), Self::Record(shape)) => shape.at(path),
            (Some(_), _) => None,
        }
    }
}

impl Shape {
    /// The arguments of a tool whose input has this JSON Schema
    ///
    /// Whatever else a schema demands only narrows what it says of types, so a keyword that is not read here
    /// makes no type wrong.
    pub(crate) fn of_schema(schema: &Value) -> Self {
        let mut reader = Reader { root: schema, within: BTreeSet::new(), left: NODES_MAX };
        match reader.kind(schema) {
            Kind::Record(shape) => shape,
            // No properties: the tool takes nothing that anybody could name.
            _ => Self { members: BTreeMap::new(), open: open(schema) },
        }
    }

    /// What several objects have in common
    pub(crate) fn of_values<'v>(objects: &[&'v BTreeMap<String, Value>]) -> Self {
        let mut values: BTreeMap<&str, Vec<&'v Value>> = BTreeMap::new();
        for (name, value) in objects.iter().copied().flatten() {
            values.entry(name).or_default().push(value);
        }
        let member = |(name, values): (&str, Vec<&Value>)| {
            (name.to_owned(), Member { kind: kind_of(&values), required: values.len() == objects.len() })
        };
        Self { members: values.into_iter().map(member).collect(), open: false }
    }

    pub(crate) fn at<'k>(&'k self, path: &[&str]) -> Option<&'k Kind> {
        let (name, rest) = path.split_first()?;
        self.members.get(*name)?.kind.at(rest)
    }
}

/// Types in one schema; a reference may be followed many times
const NODES_MAX: usize = 2_000;

struct Reader<'s> {
    root: &'s Value,
    /// References that are being followed
    within: BTreeSet<&'s str>,
    left: usize,
}

impl<'s> Reader<'s> {
    fn kind(&mut self, schema: &'s Value) -> Kind {
        let Some(left) = self.left.checked_sub(1) else { return Kind::Opaque("its schema is too large") };
        self.left = left;
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(target);
        }
        let Some(kind) = schema.get("type") else { return self.untyped(schema) };
        let names: BTreeSet<&str> = match kind {
            Value::String(name) => BTreeSet::from([name.as_str()]),
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => BTreeSet::new(),
        };
        // SAFETY(security): null stays what it is at run time, an entity that fails every comparison.
        let names: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
        match names.as_slice() {
            ["string"] => Kind::Text,
            ["boolean"] => Kind::Bool,
            ["integer"] => Kind::Long,
            ["number"] | ["integer", "number"] => Kind::Decimal,
            ["array"] => self.array(schema),
            ["object"] => self.object(schema),
            [] => Kind::Opaque("its schema names no type"),
            _ => Kind::Opaque(SEVERAL),
        }
    }

    fn reference(&mut self, target: &'s str) -> Kind {
        if !self.within.insert(target) {
            return Kind::Opaque("it may contain itself");
        }
        let steps = target.strip_prefix('#').unwrap_or_default().split('/').skip(1);
        let found =
            steps.map(|step| step.replace("~1", "/").replace("~0", "~")).try_fold(self.root, |at, step| at.get(&step));
        let kind = match found {
            Some(schema) if target.starts_with("#/") => self.kind(schema),
            _ => Kind::Opaque("its schema stands elsewhere"),
        };
        self.within.remove(target);
        kind
    }

    /// A schema without `type`: its values, or the branches that agree, may still tell
    fn untyped(&mut self, schema: &'s Value) -> Kind {
        let values: Option<Vec<&Value>> = match (schema.get("const"), schema.get("enum")) {
            (Some(only), _) => Some(vec![only]),
            (None, Some(Value::Array(values))) => Some(values.iter().collect()),
            _ => None,
        };
        if let Some(values) = values {
            let values: Vec<&Value> = values.into_iter().filter(|value| **value != Value::Null).collect();
            let whole = |value: &&Value| matches!(value, Value::Number(number) if number.to_i64().is_some());
            return if !values.is_empty() && values.iter().all(whole) { Kind::Long } else { kind_of(&values) };
        }
        let branches = ["anyOf", "oneOf", "allOf"].into_iter().find_map(|key| match schema.get(key) {
            Some(Value::Array(branches)) => Some(branches),
            _ => None,
        });
        let is_null = |branch: &&Value| branch.get("type").and_then(Value::as_str) == Some("null");
        let mut kinds: Vec<Kind> = Vec::new();
        for branch in branches.into_iter().flatten().filter(|branch| !is_null(branch)) {
            let kind = self.kind(branch);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        match (kinds.pop(), kinds.is_empty()) {
            (Some(kind), true) => kind,
            (Some(_), false) => Kind::Opaque(SEVERAL),
            (None, _) => Kind::Opaque("its schema names no type"),
        }
    }

    fn array(&mut self, schema: &'s Value) -> Kind {
        match schema.get("items") {
            Some(items @ Value::Object(_)) if schema.get("prefixItems").is_none() => {
                Kind::Set(Box::new(self.kind(items)))
            }
            _ => Kind::Opaque("its schema does not say what its items are"),
        }
    }

    fn object(&mut self, schema: &'s Value) -> Kind {
        let Some(Value::Object(properties)) = schema.get("properties") else {
            return Kind::Opaque("its schema does not say what its members are");
        };
        let required: BTreeSet<&str> = match schema.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => BTreeSet::new(),
        };
        let member = |(name, schema): (&String, &'s Value)| {
            (name.clone(), Member { kind: self.kind(schema), required: required.contains(name.as_str()) })
        };
        Kind::Record(Shape { members: properties.iter().map(member).collect(), open: open(schema) })
    }
}

const SEVERAL: &str = "it may be of several types";

fn open(schema: &Value) -> bool {
    schema.get("additionalProperties") != Some(&Value::Bool(false)) || schema.get("patternProperties").is_some()
}

/// What several values have in common
fn kind_of(values: &[&Value]) -> Kind {
    let numbers = || values.iter().all(|value| matches!(value, Value::Number(number) if decimal(number).is_some()));
    let arrays: Option<Vec<&Vec<Value>>> =
        values.iter().map(|value| if let Value::Array(items) = value { Some(items) } else { None }).collect();
    let objects: Option<Vec<&BTreeMap<String, Value>>> =
        values.iter().map(|value| if let Value::Object(members) = value { Some(members) } else { None }).collect();
    match (values.first(), arrays, objects) {
        (None, ..) => Kind::Opaque("nothing says what it is"),
        (Some(Value::String(_)), ..) if values.iter().all(|value| value.as_str().is_some()) => Kind::Text,
        (Some(Value::Bool(_)), ..) if values.iter().all(|value| matches!(value, Value::Bool(_))) => Kind::Bool,
        (Some(Value::Number(_)), ..) if numbers() => Kind::Decimal,
        (_, Some(arrays), _) => {
            let items: Vec<&Value> = arrays.into_iter().flatten().collect();
            Kind::Set(Box::new(if items.is_empty() { Kind::Text } else { kind_of(&items) }))
        }
        (.., Some(objects)) => Kind::Record(Shape::of_values(&objects)),
        (Some(Value::Number(_)), ..) if values.iter().all(|value| matches!(value, Value::Number(_))) => {
            Kind::Opaque("Cedar holds at most four fraction digits and 15 digits before them")
        }
        _ => Kind::Opaque(SEVERAL),
    }
}

/// The text of a number that Cedar's decimals hold: a 64-bit count of ten-thousandths
pub(crate) fn decimal(number: &Decimal) -> Option<String> {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
    let fits = (1..=4).contains(&fraction.len()) && format!("{whole}{fraction:0<4}").parse::<i64>().is_ok();
    fits.then(|| format!("{whole}.{fraction}"))
}

/// As a Cedar schema writes it, on one line
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("String"),
            Self::Bool => f.write_str("Bool"),
            Self::Long => f.write_str("Long"),
            Self::Decimal => f.write_str("decimal"),
            Self::Set(items) => write!(f, "Set<{items}>"),
            Self::Record(shape) => shape.fmt(f),
            Self::Opaque(_) => f.write_str("Unreadable"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, member)) in self.members.iter().enumerate() {
            let sign = if member.required { "" } else { "?" };
            write!(f, "{} {}{sign}: {}", if index == 0 { "" } else { "," }, key(name), member.kind)?;
        }
        f.write_str(if self.members.is_empty() { "}" } else { " }" })
    }
}

/// The name of a member, in quotes where it is no plain word
pub(crate) fn key(name: &str) -> String {
    if is_word(name) && !KEYWORDS.contains(&name) { name.to_owned() } else { quoted(name) }
}

/// What leads from a record to its member
pub(crate) fn step(name: &str) -> String {
    if is_word(name) && !KEYWORDS.contains(&name) { format!(".{name}") } else { format!("[{}]", quoted(name)) }
}

/// Cedar's text for a text
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// Whether it can stand without quotes
pub(crate) fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Words of Cedar and of its schemas
const KEYWORDS: [&str; 25] = [
    "true",
    "false",
    "if",
    "then",
    "else",
    "in",
    "is",
    "like",
    "has",
    "__cedar",
    "entity",
    "action",
    "type",
    "namespace",
    "tags",
    "enum",
    "appliesTo",
    "principal",
    "resource",
    "context",
    "attributes",
    "Set",
    "Long",
    "String",
    "Bool",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(schema: &str) -> String {
        Shape::of_schema(&schema.parse().unwrap()).to_string()
    }

    fn property(schema: &str) -> String {
        let text = of(&format!(
            r##"{{"type":"object","properties":{{"x":{schema}}},"required":["x"],
            "$defs":{{"Text":{{"type":"string"}},"Tree":{{"type":"array","items":{{"$ref":"#/$defs/Tree"}}}}}}}}"##
        ));
        text.strip_prefix("{ x: ").and_then(|rest| rest.strip_suffix(" }")).unwrap().to_owned()
    }

    #[test]
    fn schemas_become_types() {
        for (schema, expected) in [
            (r#"{"type":"string","pattern":"a"}"#, "String"),
            (r#"{"enum":["a","b"]}"#, "String"),
            (r#"{"enum":["a",1]}"#, "Unreadable"),
            (r#"{"enum":[1,2]}"#, "Long"),
            (r#"{"const":1.5}"#, "decimal"),
            (r#"{"type":"integer"}"#, "Long"),
            (r#"{"type":"number"}"#, "decimal"),
            (r#"{"type":["integer","number"]}"#, "decimal"),
            (r#"{"type":"boolean"}"#, "Bool"),
            (r#"{"type":["string","null"]}"#, "String"),
            (r#"{"anyOf":[{"type":"string"},{"type":"null"}],"default":null}"#, "String"),
            (r#"{"anyOf":[{"type":"string"},{"type":"integer"}]}"#, "Unreadable"),
            (r#"{"oneOf":[{"const":"a"},{"const":"b"}]}"#, "String"),
            (r#"{"type":["string","integer"]}"#, "Unreadable"),
            (r#"{"type":"null"}"#, "Unreadable"),
            (r#"{}"#, "Unreadable"),
            (r#"true"#, "Unreadable"),
            (r#"{"type":"array","items":{"type":"number"}}"#, "Set<decimal>"),
            (r#"{"type":"array"}"#, "Unreadable"),
            (r#"{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"string"}}"#, "Unreadable"),
            (r#"{"type":"object"}"#, "Unreadable"),
            (r##"{"$ref":"#/$defs/Text"}"##, "String"),
            (r##"{"$ref":"#/$defs/Tree"}"##, "Set<Unreadable>"),
            (r##"{"$ref":"#/$defs/Missing"}"##, "Unreadable"),
            (
                r#"{"type":"object","properties":{"a b":{"type":"string"},"in":{"type":"boolean"}},"required":["in"]}"#,
                r#"{ "a b"?: String, "in": Bool }"#,
            ),
        ] {
            assert_eq!(property(schema), expected, "{schema}");
        }
        assert_eq!(of(r#"{"type":"object"}"#), "{}");
    }

    #[test]
    fn references_are_bounded() {
        let level = |n: usize| {
            let next = format!(r##"{{"$ref":"#/$defs/d{}"}}"##, n + 1);
            format!(r#""d{n}":{{"type":"object","properties":{{"a":{next},"b":{next},"c":{next}}}}}"#)
        };
        let levels: Vec<String> = (0..20).map(level).collect();
        let schema = format!(
            r##"{{"type":"object","properties":{{"x":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{},"d20":{{"type":"string"}}}}}}"##,
            levels.join(",")
        );
        assert!(of(&schema).len() < 100_000);
    }

    #[test]
    fn attributes_become_types() {
        let users = [
            r#"{"limit":50,"level":"a","on":true,"odd":1,"tags":["x"],"far":1e30}"#,
            r#"{"limit":50.5,"odd":"b","tags":[]}"#,
        ];
        let users: Vec<BTreeMap<String, Value>> = users
            .into_iter()
            .map(|text| match text.parse().unwrap() {
                Value::Object(members) => members,
                other => panic!("{other}"),
            })
            .collect();
        let shape = Shape::of_values(&users.iter().collect::<Vec<_>>());
        assert_eq!(
            shape.to_string(),
            "{ far?: Unreadable, level?: String, limit: decimal, odd: Unreadable, on?: Bool, \"tags\": Set<String> }"
        );
    }
}
