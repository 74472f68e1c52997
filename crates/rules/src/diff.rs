//! What another version of a policy permits more, or less: by comparing what the files say, not by trying calls.
//!
//! The comparison is sound and not complete. [`Verdict::Narrower`] is a proof: in the same task, with the same
//! history, no call is permitted that was not permitted before. What cannot be proven is said to be unclear.

mod facts;
mod people;
mod purpose;

use crate::{bundle::Loaded, files::Files};
use cedar_policy::PolicySet;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// Everything in which two versions differ
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// What all of it comes to
    pub verdict: Verdict,
    /// One for each thing that differs
    pub changes: Vec<Change>,
}

/// One thing in which two versions differ
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where: `purpose refund-order, step refund`
    pub place: String,
    /// What is different, in words
    pub what: String,
    /// What that does
    pub verdict: Verdict,
}

/// What a difference does to what is permitted
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing
    Same,
    /// No call is newly permitted
    Narrower,
    /// It depends on what the files do not say: look at it, or replay recorded calls
    Unclear,
    /// More is permitted
    Wider,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Narrower => "narrower",
            Self::Unclear => "unclear",
            Self::Wider => "wider",
        })
    }
}

/// Compares two versions of a policy
#[must_use]
pub fn diff(old: &Loaded, new: &Loaded) -> Difference {
    let mut changes = Changes::default();
    facts::compare(old, new, &mut changes);
    purpose::compare(&old.bundle, &new.bundle, &mut changes);
    texts(old, new, &mut changes);
    let verdict = changes.0.iter().map(|change| change.verdict).max().unwrap_or(Verdict::Same);
    Difference { verdict, changes: changes.0 }
}

#[derive(Debug, Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, place: &str, verdict: Verdict, what: impl Into<String>) {
        self.0.push(Change { place: place.to_owned(), what: what.into(), verdict });
    }
}

/// Something that is only in one of two versions, or in both
fn sides<'a, K: Ord, T>(
    old: &'a BTreeMap<K, T>,
    new: &'a BTreeMap<K, T>,
) -> impl Iterator<Item = (&'a K, Option<&'a T>, Option<&'a T>)> {
    let gone = old.iter().map(|(name, one)| (name, Some(one), new.get(name)));
    gone.chain(new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(name, one)| (name, None, Some(one))))
}

/// Rules, decision points and definitions, which are compared as text
fn texts(old: &Loaded, new: &Loaded, changes: &mut Changes) {
    let (Some(old), Some(new)) = (Files::from_blob(&old.blob), Files::from_blob(&new.blob)) else {
        changes.push("the policy", Verdict::Unclear, "a version cannot be read back");
        return;
    };
    let [before, after] = [&old, &new].map(rules);
    for (id, text) in &before {
        match after.get(id) {
            None => changes.push(&format!("rule {id}"), Verdict::Wider, "it is gone"),
            Some(now) if now != text => changes.push(&format!("rule {id}"), Verdict::Unclear, "it says something else"),
            Some(_) => {}
        }
    }
    for id in after.keys().filter(|id| !before.contains_key(*id)) {
        changes.push(&format!("rule {id}"), Verdict::Narrower, "it is new");
    }
    for (folder, what) in [("extra/", "decision point"), ("pins/", "definitions")] {
        let [before, after] = [&old, &new].map(|files| files.under(folder));
        for (path, text) in &before {
            match (after.get(path), folder) {
                // What a point decides by may permit or refuse; only the point as a whole takes away.
                (None, "extra/") if is_whole(path, &after) => {
                    changes.push(&format!("{what} {path}"), Verdict::Wider, "it is gone")
                }
                (now, _) if now != Some(text) => {
                    changes.push(&format!("{what} {path}"), Verdict::Unclear, "it says something else");
                }
                _ => {}
            }
        }
        for path in after.keys().filter(|path| !before.contains_key(*path)) {
            // Definitions are the base of what rules see of arguments.
            let narrower = folder == "extra/" && is_whole(path, &before);
            let verdict = if narrower { Verdict::Narrower } else { Verdict::Unclear };
            changes.push(&format!("{what} {path}"), verdict, "it is new");
        }
    }
}

/// Whether a file comes or goes with the decision point that it belongs to, `extra/NAME.toml`
fn is_whole(path: &str, other: &BTreeMap<&str, &str>) -> bool {
    let name = path.strip_prefix("extra/").and_then(|rest| rest.split_once('/'));
    name.is_none_or(|(name, _)| !other.contains_key(format!("extra/{name}.toml").as_str()))
}

/// The rules by what their reasons call them, each as Cedar writes it
fn rules(files: &Files) -> BTreeMap<String, String> {
    let mut rules = BTreeMap::new();
    for (path, text) in files.under("rules/") {
        // What cannot be parsed is compared as a whole.
        let Ok(set) = text.parse::<PolicySet>() else {
            rules.insert(path.to_owned(), text.to_owned());
            continue;
        };
        for policy in set.policies() {
            let text = policy.to_cedar().unwrap_or_else(|| policy.to_string());
            let id = policy.annotation("id").map_or_else(|| format!("{path}#{}", policy.id()), ToOwned::to_owned);
            rules.insert(id, text);
        }
    }
    rules
}

#[cfg(test)]
mod tests;
