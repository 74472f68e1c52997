//! What the schema of a tool's arguments says of one of them.
//!
//! A schema is read as far as it lists things by name; where it leaves something open, anything can be there.

use portreeve_core::{
    path::{FieldPath, Step},
    value::Value,
};
use std::collections::BTreeSet;

/// What a schema says of one place in the arguments: every schema that may apply there
#[derive(Clone, Debug)]
pub struct Schema<'d> {
    root: &'d Value,
    /// All of them together: with what they refer to and are composed of
    parts: Vec<Part<'d>>,
}

#[derive(Clone, Copy, Debug)]
struct Part<'d> {
    schema: &'d Value,
    /// Whether it applies to every value, not only to some
    always: bool,
}

impl<'d> Schema<'d> {
    /// What it says of the arguments as a whole
    pub(super) fn root(root: &'d Value) -> Self {
        let mut schema = Self { root, parts: Vec::new() };
        schema.add(root, true);
        schema
    }

    /// The names that it lists for the members of this place
    #[must_use]
    pub fn names(&self) -> BTreeSet<&'d str> {
        let listed = self.parts.iter().filter_map(|part| members(part.schema, "properties"));
        listed.flatten().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether a member always has to be there
    #[must_use]
    pub fn requires(&self, name: &str) -> bool {
        let parts = self.parts.iter().filter(|part| part.always);
        let mut lists = parts.filter_map(|part| items(part.schema, "required"));
        lists.any(|names| names.iter().any(|required| required.as_str() == Some(name)))
    }

    /// What the server takes if nothing is given, if it says so
    #[must_use]
    pub fn default(&self) -> Option<&'d Value> {
        self.parts.iter().find_map(|part| part.schema.get("default"))
    }

    /// The types that it names, such as `string`; empty: it names none, or not for every value
    #[must_use]
    pub fn types(&self) -> BTreeSet<&'d str> {
        let mut types = BTreeSet::new();
        for part in &self.parts {
            match part.schema.get("type") {
                Some(Value::String(kind)) => drop(types.insert(kind.as_str())),
                Some(Value::Array(kinds)) => types.extend(kinds.iter().filter_map(Value::as_str)),
                _ => {}
            }
        }
        types
    }

    /// The schemas that may apply here, references followed
    pub fn parts(&self) -> impl Iterator<Item = &'d Value> {
        self.parts.iter().map(|part| part.schema)
    }

    /// What it says of the place that a path leads to; `None`: nothing can ever be there
    #[must_use]
    pub fn at(&self, path: &FieldPath) -> Option<Self> {
        path.steps().iter().try_fold(self.clone(), |schema, step| match step {
            Step::Member(name) => schema.member(name),
            Step::Each => schema.each(),
        })
    }

    /// What it says of the member of this name; `None`: there is none
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Self> {
        let mut found = Self { root: self.root, parts: Vec::new() };
        let (mut listed, mut lists, mut open) = (false, false, self.parts.is_empty());
        for part in &self.parts {
            let properties = members(part.schema, "properties");
            // Servers write empty `properties` for an object whose members they do not know, a tool's own apart.
            let unknown = properties.is_none_or(|names| names.is_empty() && !std::ptr::eq(part.schema, self.root));
            lists |= !unknown || part.schema.get("additionalProperties") == Some(&Value::Bool(false));
            if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
                // INVARIANT: `false` stands for what can never be there.
                if *schema == Value::Bool(false) {
                    continue;
                }
                listed = true;
                found.add(schema, part.always);
            }
            let patterns = members(part.schema, "patternProperties").is_some_and(|patterns| !patterns.is_empty());
            let more = matches!(part.schema.get("additionalProperties"), Some(Value::Bool(true) | Value::Object(_)));
            open |= patterns || more;
        }
        if listed {
            return Some(found);
        }
        let possible = open || (!lists && self.may_be("object"));
        possible.then(|| Self { root: self.root, parts: Vec::new() })
    }

    /// What it says of the items of an array; `None`: there are none
    #[must_use]
    pub fn each(&self) -> Option<Self> {
        let mut found = Self { root: self.root, parts: Vec::new() };
        for part in &self.parts {
            match part.schema.get("items") {
                Some(Value::Array(schemas)) => schemas.iter().for_each(|schema| found.add(schema, false)),
                Some(schema) => found.add(schema, part.always),
                None => {}
            }
            for schema in items(part.schema, "prefixItems").into_iter().flatten() {
                found.add(schema, false);
            }
        }
        (!found.parts.is_empty() || self.may_be("array")).then_some(found)
    }

    fn may_be(&self, kind: &str) -> bool {
        let types = self.types();
        types.is_empty() || types.contains(kind)
    }

    /// Adds a schema with what it refers to and is composed of
    fn add(&mut self, schema: &'d Value, always: bool) {
        let mut open = vec![Part { schema, always }];
        while let Some(part) = open.pop() {
            let known = self.parts.iter().any(|known| std::ptr::eq(known.schema, part.schema));
            if known || self.parts.len() >= PARTS_MAX || !matches!(part.schema, Value::Object(_)) {
                continue;
            }
            self.parts.push(part);
            for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
                let target = part.schema.get(key).and_then(Value::as_str).and_then(|target| self.find(target));
                open.extend(target.map(|schema| Part { schema, always: part.always }));
            }
            for (key, always) in [("allOf", part.always), ("anyOf", false), ("oneOf", false)] {
                let schemas = items(part.schema, key).into_iter().flatten();
                open.extend(schemas.map(|schema| Part { schema, always }));
            }
            for key in ["if", "then", "else"] {
                open.extend(part.schema.get(key).map(|schema| Part { schema, always: false }));
            }
            let dependent = members(part.schema, "dependentSchemas").into_iter().flat_map(|schemas| schemas.values());
            open.extend(dependent.map(|schema| Part { schema, always: false }));
        }
    }

    /// What a reference within the document leads to: a JSON pointer, or an anchor nowhere
    fn find(&self, target: &str) -> Option<&'d Value> {
        let pointer = target.strip_prefix('#')?;
        if pointer.is_empty() {
            return Some(self.root);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self.root, |value, token| match value {
            Value::Object(members) => members.get(&token.replace("~1", "/").replace("~0", "~")),
            Value::Array(items) => items.get(token.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

/// Schemas that are looked at for one place
const PARTS_MAX: usize = 256;

fn members<'d>(schema: &'d Value, key: &str) -> Option<&'d std::collections::BTreeMap<String, Value>> {
    match schema.get(key) {
        Some(Value::Object(members)) => Some(members),
        _ => None,
    }
}

fn items<'d>(schema: &'d Value, key: &str) -> Option<&'d [Value]> {
    match schema.get(key) {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
