//! Paths into arguments and results: `files[*].path`.

use crate::value::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// A path to a field: member names, and `[*]` for every item of an array
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(Vec<Step>);

/// One step of a path
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The member of this name
    Member(String),
    /// Every item of an array
    Each,
}

/// The text is no path
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no path to a field: expected names with `.` and `[*]` between them, such as `files[*].path`, at most {STEPS_MAX} steps"
)]
pub struct Invalid;

/// Steps of one path
const STEPS_MAX: usize = 16;

/// What a path leads to in one value
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached<'v> {
    /// One for each place; `None`: nothing is there
    pub values: Vec<Option<&'v Value>>,
    /// Something on the way is neither absent nor of the kind that the path needs
    pub broken: bool,
}

impl FieldPath {
    /// The path to one argument
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self(vec![Step::Member(name.to_owned())])
    }

    /// Its steps
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The name that it begins with; `None` for `[*]`
    #[must_use]
    pub fn root(&self) -> Option<&str> {
        match self.0.first() {
            Some(Step::Member(name)) => Some(name),
            _ => None,
        }
    }

    /// What it leads to in an object
    #[must_use]
    pub fn select<'v>(&self, root: &'v BTreeMap<String, Value>) -> Reached<'v> {
        let mut reached = Reached::default();
        match self.0.split_first() {
            Some((Step::Member(name), rest)) => follow(root.get(name), rest, &mut reached),
            _ => reached.broken = true,
        }
        reached
    }

    /// What it leads to in any value
    #[must_use]
    pub fn select_in<'v>(&self, root: &'v Value) -> Reached<'v> {
        let mut reached = Reached::default();
        follow(Some(root), &self.0, &mut reached);
        reached
    }
}

fn follow<'v>(value: Option<&'v Value>, steps: &[Step], reached: &mut Reached<'v>) {
    let Some((step, rest)) = steps.split_first() else {
        reached.values.push(value);
        return;
    };
    match (step, value) {
        // Where nothing is, nothing is below it either.
        (_, None) => reached.values.push(None),
        (Step::Member(name), Some(Value::Object(members))) => follow(members.get(name), rest, reached),
        (Step::Each, Some(Value::Array(items))) => items.iter().for_each(|item| follow(Some(item), rest, reached)),
        _ => reached.broken = true,
    }
}

/// Places that are told at most: a call could have any number of them
const UNCOVERED_MAX: usize = 8;

/// The places of `arguments` that no path of `named` covers: neither they, nor what they stand in, nor all
/// that stands in them
pub fn uncovered<'p>(
    arguments: &BTreeMap<String, Value>,
    named: impl Iterator<Item = &'p FieldPath> + Clone,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, value) in arguments {
        let below: Vec<&[Step]> = named
            .clone()
            .filter_map(|path| path.0.split_first())
            .filter(|(first, _)| matches!(first, Step::Member(own) if own == name))
            .map(|(_, rest)| rest)
            .collect();
        walk(value, &below, name, &mut found);
    }
    found
}

fn walk(value: &Value, below: &[&[Step]], at: &str, found: &mut BTreeSet<String>) {
    if found.len() >= UNCOVERED_MAX || below.iter().any(|rest| rest.is_empty()) {
        return;
    }
    let within = |step: &Step| -> Vec<&[Step]> {
        below.iter().filter_map(|rest| rest.split_first()).filter(|(first, _)| *first == step).map(|(_, r)| r).collect()
    };
    match value {
        // Nothing leads here, or what leads here needs something of another kind.
        _ if !below.iter().any(|rest| leads_into(rest, value)) => drop(found.insert(at.to_owned())),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            walk(value, &within(&Step::Member(name.clone())), &format!("{at}.{name}"), found);
        }),
        Value::Array(items) => {
            let below = within(&Step::Each);
            let at = format!("{at}[*]");
            items.iter().for_each(|item| walk(item, &below, &at, found));
        }
        _ => drop(found.insert(at.to_owned())),
    }
}

/// Whether the next step of a path fits what it comes to
fn leads_into(rest: &[Step], value: &Value) -> bool {
    matches!((rest.first(), value), (Some(Step::Member(_)), Value::Object(_)) | (Some(Step::Each), Value::Array(_)))
}

impl FromStr for FieldPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut steps = Vec::new();
        for (index, part) in text.split('.').enumerate() {
            let name = part.split('[').next().unwrap_or_default();
            let mut rest = part.get(name.len()..).unwrap_or_default();
            // `[*].id` begins with an array; `a.[*]` is a slip.
            if name.contains(']') || (name.is_empty() && (index > 0 || rest.is_empty())) {
                return Err(Invalid);
            }
            if !name.is_empty() {
                steps.push(Step::Member(name.to_owned()));
            }
            while !rest.is_empty() {
                rest = rest.strip_prefix("[*]").ok_or(Invalid)?;
                steps.push(Step::Each);
            }
        }
        if steps.len() > STEPS_MAX { Err(Invalid) } else { Ok(Self(steps)) }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Member(name) if index == 0 => f.write_str(name)?,
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Each => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> BTreeMap<String, Value> {
        match text.parse().unwrap() {
            Value::Object(members) => members,
            _ => panic!("no object"),
        }
    }

    fn path(text: &str) -> FieldPath {
        text.parse().unwrap()
    }

    #[test]
    fn are_read_and_written_alike() {
        for text in ["a", "a.b", "files[*].path", "a[*][*]", "[*].id", "with space.x"] {
            assert_eq!(path(text).to_string(), text);
        }
        for text in ["", ".", "a.", ".a", "a[0]", "a[*", "a]", "a[*]b", "a..b", "a.[*]", &"a.".repeat(17)] {
            assert_eq!(text.parse::<FieldPath>(), Err(Invalid), "{text}");
        }
    }

    #[test]
    fn lead_to_each_place() {
        let root = object(r#"{"files":[{"path":"a"},{"other":1}],"one":{"x":null},"s":"text","none":[]}"#);
        let texts = |text: &str| {
            let reached = path(text).select(&root);
            let values: Vec<_> =
                reached.values.iter().map(|value| value.map_or("-".to_owned(), Value::canonical)).collect();
            (values.join(" "), reached.broken)
        };
        assert_eq!(texts("files[*].path"), ("\"a\" -".into(), false));
        assert_eq!(texts("one.x"), ("null".into(), false));
        assert_eq!(texts("missing.x[*].y"), ("-".into(), false));
        assert_eq!(texts("none[*].x"), (String::new(), false));
        assert_eq!(texts("s[*]"), (String::new(), true));
        assert_eq!(texts("one.x.y"), (String::new(), true));
    }

    #[test]
    fn what_no_path_covers_is_found() {
        let root =
            object(r#"{"files":[{"path":"a","mode":1},{"path":"b","mode":2}],"x":{"y":1,"z":2},"s":"t","e":[]}"#);
        let check = |named: &[&str]| {
            let named: Vec<FieldPath> = named.iter().map(|text| path(text)).collect();
            uncovered(&root, named.iter()).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(check(&[]), "e files s x");
        assert_eq!(check(&["files[*].path", "x.y", "s", "e[*].q"]), "files[*].mode x.z");
        assert_eq!(check(&["files", "x.y", "x.z", "s", "e"]), "");
        // A path into something that is not what the path needs covers nothing of it.
        assert_eq!(check(&["files.path", "x[*]", "s.t", "e"]), "files s x");
        assert_eq!(check(&["files[*].path[*]", "x", "s", "e.q"]), "e files[*].mode files[*].path");
    }
}
