//! Texts of definitions: their differences, and what of them nobody sees.

use portreeve_core::value::Value;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};
use unicode_security::skeleton;

/// One line of a difference
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whether it was or is there
    pub sign: Sign,
    /// Where in the definition, and what; every character can be seen
    pub text: String,
}

/// Whether a line was or is there
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Sign {
    /// It was accepted
    #[serde(rename = "-")]
    Minus,
    /// It is offered
    #[serde(rename = "+")]
    Plus,
}

impl Line {
    pub(super) fn new(sign: Sign, path: &str, text: &str) -> Self {
        let at = if path.is_empty() { String::new() } else { format!("{}: ", visible(path)) };
        Self { sign, text: format!("{at}{}", visible(text)) }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.sign {
            Sign::Minus => "- ",
            Sign::Plus => "+ ",
        })?;
        f.write_str(&self.text)
    }
}

/// Every value that holds no others, by where it is; text as it is, the rest as JSON
pub(super) fn leaves(value: &Value) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    gather(value, &mut String::new(), &mut leaves);
    leaves
}

fn gather(value: &Value, path: &mut String, leaves: &mut BTreeMap<String, String>) {
    let length = path.len();
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                path.push_str(if length == 0 { "" } else { "." });
                path.push_str(name);
                gather(member, path, leaves);
                path.truncate(length);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                gather(item, path, leaves);
                path.truncate(length);
            }
        }
        Value::Null => {}
        // Nothing at all, and not something that is empty.
        Value::Object(_) if path.is_empty() => {}
        Value::String(text) => drop(leaves.insert(path.clone(), text.clone())),
        other => drop(leaves.insert(path.clone(), other.canonical())),
    }
}

/// The texts for people in a schema, by where they are
pub(super) fn words_in(value: &Value) -> BTreeMap<String, String> {
    let mut leaves = leaves(value);
    leaves.retain(|path, _| {
        let last = path.rsplit('.').next().unwrap_or(path);
        matches!(last, "description" | "title" | "$comment") || path.contains(".examples[")
    });
    leaves
}

/// The difference of two values, line by line
pub(super) fn difference(old: &Value, new: &Value) -> Vec<Line> {
    lines(&leaves(old), &leaves(new))
}

/// The difference of texts by where they are
pub(super) fn lines(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Line> {
    let paths: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        match (old.get(path), new.get(path)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                let parts = parted(&sentences(old), &sentences(new));
                lines.extend(parts.into_iter().map(|(sign, text)| Line::new(sign, path, text)));
            }
            (old, new) => {
                let whole = |sign: Sign, text: &String| {
                    sentences(text).into_iter().map(|text| Line::new(sign, path, text)).collect::<Vec<_>>()
                };
                lines.extend(old.into_iter().flat_map(|text| whole(Sign::Minus, text)));
                lines.extend(new.into_iter().flat_map(|text| whole(Sign::Plus, text)));
            }
        }
    }
    lines
}

/// A text in pieces that can be compared: lines, and sentences of long ones
fn sentences(text: &str) -> Vec<&str> {
    if text.is_empty() {
        return vec![text];
    }
    text.split_inclusive('\n').flat_map(|line| line.split_inclusive(". ")).collect()
}

/// What two lists of pieces do not have in common, in their order
fn parted<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Sign, &'t str)> {
    if old.len().saturating_mul(new.len()) > PIECES_MAX {
        let old = old.iter().map(|text| (Sign::Minus, *text));
        return old.chain(new.iter().map(|text| (Sign::Plus, *text))).collect();
    }
    // The longest common part of every two ends.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    let at =
        |common: &Vec<Vec<usize>>, i: usize, j: usize| common.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    for (i, one) in old.iter().enumerate().rev() {
        for (j, two) in new.iter().enumerate().rev() {
            let length = if one == two {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut parted = Vec::new();
    loop {
        match (old.get(i), new.get(j)) {
            (Some(one), Some(two)) if one == two => (i, j) = (i + 1, j + 1),
            (Some(one), two) if two.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                parted.push((Sign::Minus, *one));
                i += 1;
            }
            (_, Some(two)) => {
                parted.push((Sign::Plus, *two));
                j += 1;
            }
            _ => return parted,
        }
    }
}

/// Pairs of pieces that are compared with each other
const PIECES_MAX: usize = 1_000_000;

/// Whether two texts say the same words in the same order: case, spaces and punctuation aside
///
/// A sign that is neither, such as `<` or `$`, is a word, so that no mark-up or address comes in as punctuation.
pub(super) fn same_words(old: &str, new: &str) -> bool {
    words(old) == words(new)
}

fn words(text: &str) -> Vec<String> {
    let is_plain = |c: char| {
        c.is_whitespace() || matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '"' | '`' | '-' | '(' | ')')
    };
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
            continue;
        }
        words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        if !is_plain(c) {
            words.push(c.to_string());
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The text with everything written out that nobody sees, or that moves what is seen
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            c if is_invisible(c) => shown.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

/// Whether something in the text cannot be seen, or passes for something else
pub(super) fn is_hidden(text: &str) -> bool {
    let is_space = |c: char| matches!(c, '\n' | '\t' | '\r');
    if text.is_ascii() {
        return text.chars().any(|c| c.is_control() && !is_space(c));
    }
    text.chars().any(|c| is_invisible(c) && !is_space(c))
        || text
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word.chars().any(|c| c.is_ascii_alphabetic()) && word.chars().any(passes_for_ascii))
}

/// Control, format, filler and tag characters, selectors of variants, and what is for private use
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
            | 0x2028..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0
            | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff
            | 0xe000..=0xf8ff | 0xf0000..=0x10ffff)
}

/// A letter that is not Latin and looks like one that is
fn passes_for_ascii(c: char) -> bool {
    // Accented and other Latin letters stand in many languages beside plain ones.
    if c.is_ascii() || u32::from(c) < 0x250 {
        return false;
    }
    let mut buffer = [0; 4];
    let mut like = skeleton(c.encode_utf8(&mut buffer));
    matches!((like.next(), like.next()), (Some(one), None) if one.is_ascii_alphanumeric())
}

/// What a name looks like: case, separators and look-alikes aside
pub(crate) fn folded(name: &str) -> String {
    let skeleton: String = skeleton(&name.to_lowercase()).collect();
    skeleton.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}
