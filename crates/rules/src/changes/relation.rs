//! Whether one schema admits less than another one.
//!
//! Only what can be told from the keywords one by one is told; the rest is [`Relation::Other`], which is read with
//! care. A member that is listed anew is something new to do, however open the schema was: servers act on what they
//! list.

use portreeve_core::value::Value;
use std::collections::BTreeMap;

/// What a new schema admits, beside an old one
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Same,
    Narrower,
    Wider,
    Other,
}

impl Relation {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Same, one) | (one, Self::Same) => one,
            (one, two) if one == two => one,
            _ => Self::Other,
        }
    }

    fn of(narrower: bool, wider: bool) -> Self {
        match (narrower, wider) {
            (true, true) => Self::Same,
            (true, false) => Self::Narrower,
            (false, true) => Self::Wider,
            (false, false) => Self::Other,
        }
    }
}

/// What `new` admits beside `old`
pub(super) fn relation(old: &Value, new: &Value) -> Relation {
    compared(old, new, 0)
}

fn compared(old: &Value, new: &Value, depth: usize) -> Relation {
    if old == new {
        return Relation::Same;
    }
    if depth > DEPTH_MAX {
        return Relation::Other;
    }
    let (old, new) = match (old, new) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        (_, Value::Bool(false)) => return Relation::Narrower,
        (Value::Bool(false), _) => return Relation::Wider,
        (open, Value::Object(_)) if is_open(open) => return Relation::Narrower,
        (Value::Object(_), open) if is_open(open) => return Relation::Wider,
        _ => return Relation::Other,
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut all = Relation::Same;
    for name in names {
        all = all.and(match (name.as_str(), old.get(name), new.get(name)) {
            (_, one, two) if one == two => Relation::Same,
            ("properties", one, two) => properties(one, two, new.get("additionalProperties"), depth),
            ("additionalProperties" | "items" | "contains" | "propertyNames", one, two) => {
                compared(one.unwrap_or(&Value::Bool(true)), two.unwrap_or(&Value::Bool(true)), depth + 1)
            }
            ("type", Some(one), Some(two)) => {
                Relation::of(all_in(&types(two), &types(one)), all_in(&types(one), &types(two)))
            }
            ("enum" | "anyOf" | "const", Some(one), Some(two)) => {
                Relation::of(all_in(&listed(two), &listed(one)), all_in(&listed(one), &listed(two)))
            }
            ("required" | "allOf", one, two) => {
                let (one, two) = (one.map(listed).unwrap_or_default(), two.map(listed).unwrap_or_default());
                Relation::of(all_in(&one, &two), all_in(&two, &one))
            }
            ("minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties", Some(one), Some(two)) => {
                bound(two, one)
            }
            ("maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties", Some(one), Some(two)) => {
                bound(one, two)
            }
            (name, None, Some(_)) if BOUNDS.contains(&name) => Relation::Narrower,
            (name, Some(_), None) if BOUNDS.contains(&name) => Relation::Wider,
            // A default is done where nothing is given, and what is referred to can be anything.
            _ => Relation::Other,
        });
    }
    all
}

/// Keywords that only ever take something away
const BOUNDS: [&str; 18] = [
    "type",
    "enum",
    "const",
    "anyOf",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "uniqueItems",
    "pattern",
    "format",
];

/// Deeper than any schema that is taken for one
const DEPTH_MAX: usize = 64;

/// What is not listed any more may still be given, unless the rest is closed
fn properties(old: Option<&Value>, new: Option<&Value>, rest: Option<&Value>, depth: usize) -> Relation {
    let none = BTreeMap::new();
    let [old, new] = [old, new].map(|members| members.and_then(Value::as_object).unwrap_or(&none));
    let mut all = Relation::Same;
    for (name, schema) in new {
        all = all.and(old.get(name).map_or(Relation::Wider, |known| compared(known, schema, depth + 1)));
    }
    for (_, schema) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        all = all.and(match compared(schema, rest.unwrap_or(&Value::Bool(true)), depth + 1) {
            Relation::Same | Relation::Narrower => Relation::Narrower,
            Relation::Wider | Relation::Other => Relation::Other,
        });
    }
    all
}

fn is_open(schema: &Value) -> bool {
    matches!(schema, Value::Null | Value::Bool(true))
}

/// A bound of which a greater one admits less
fn bound(new: &Value, old: &Value) -> Relation {
    match (new, old) {
        (Value::Number(new), Value::Number(old)) => Relation::of(new >= old, new <= old),
        _ => Relation::Other,
    }
}

/// Types by name; a whole number is a number
fn types(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = listed(value).iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    if names.iter().any(|name| name == "number") {
        names.push("integer".to_owned());
    }
    names
}

fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    }
}

fn all_in<T: PartialEq>(few: &[T], many: &[T]) -> bool {
    few.iter().all(|item| many.contains(item))
}

/// A schema without what is only for people to read
pub(super) fn without_words(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let is_word = |name: &str, value: &Value| match name {
                "description" | "title" | "$comment" => matches!(value, Value::String(_)),
                "examples" => matches!(value, Value::Array(_)),
                _ => false,
            };
            let kept = members.iter().filter(|(name, value)| !is_word(name, value));
            Value::Object(kept.map(|(name, value)| (name.clone(), without_words(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_words).collect()),
        other => other.clone(),
    }
}
