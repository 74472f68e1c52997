//! A TOML file as it is being read: values with their places, and what is wrong with them.
//!
//! Each reader takes the keys that it knows out of a [`Table`]; what is left over is an error. Readers
//! return `None` after they have said what is wrong, so that one reading finds everything.

use crate::{
    finding::{Finding, Place},
    words::suggest,
};
use portreeve_core::{decimal::Decimal, value::Value};
use std::{cell::RefCell, collections::BTreeMap, fmt::Display, ops::Range, str::FromStr};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A value and where it stands
pub(crate) type Cell<'t> = Spanned<DeValue<'t>>;

/// One file and what was found in it
#[derive(Debug)]
pub(crate) struct Document<'t> {
    file: &'t str,
    text: &'t str,
    findings: RefCell<Vec<Finding>>,
}

impl<'t> Document<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, findings: RefCell::default() }
    }

    /// The file as a table, or what keeps it from being TOML
    pub(crate) fn parse(&self) -> Option<Spanned<DeTable<'t>>> {
        match DeTable::parse(self.text) {
            Ok(root) => Some(root),
            Err(error) => {
                let place = error.span().map_or_else(|| Place::file(self.file), |span| self.place(&span));
                let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
                self.findings.borrow_mut().push(Finding::error(place, message, ""));
                None
            }
        }
    }

    pub(crate) fn findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        // The whole file: a place in it would mislead.
        if *span == (0..self.text.len()) { Place::file(self.file) } else { Place::span(self.file, self.text, span) }
    }

    pub(crate) fn error(&self, span: &Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.borrow_mut().push(Finding::error(self.place(span), message, remedy));
    }

    pub(crate) fn warn(&self, span: &Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.borrow_mut().push(Finding::warning(self.place(span), message, remedy));
    }

    /// Says what was found wrong in another file, and belongs to the reading of this one
    pub(crate) fn elsewhere(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    pub(crate) fn later(&self, span: &Range<usize>, what: &str) {
        let remedy = "take it out; a version that enforces it will say so in its notes";
        self.error(span, format!("not enforced by this version yet: {what}"), remedy);
    }

    fn expected(&self, cell: &Cell<'_>, what: &str, example: &str) {
        let message = format!("expected {what}, found {}", kind(cell.get_ref()));
        self.error(&cell.span(), message, format!("for example: {example}"));
    }

    pub(crate) fn table<'d>(&'d self, cell: &'d Cell<'t>, what: &'static str, example: &str) -> Option<Table<'d, 't>> {
        let Some(entries) = cell.get_ref().as_table() else {
            self.expected(cell, "a table", example);
            return None;
        };
        Some(Table::new(self, entries, cell.span(), what))
    }

    pub(crate) fn array<'d>(&'d self, cell: &'d Cell<'t>, example: &str) -> Option<&'d [Cell<'t>]> {
        let array = cell.get_ref().as_array();
        if array.is_none() {
            self.expected(cell, "a list", example);
        }
        array.map(AsRef::as_ref)
    }

    pub(crate) fn text<'d>(&'d self, cell: &'d Cell<'t>, example: &str) -> Option<&'d str> {
        let text = cell.get_ref().as_str();
        if text.is_none() {
            self.expected(cell, "text", example);
        }
        text
    }

    /// Text that somebody has to be able to read
    pub(crate) fn line(&self, cell: &Cell<'t>, example: &str) -> Option<String> {
        let text = self.text(cell, example)?;
        if text.trim().is_empty() || text.len() > LINE_BYTES_MAX || text.chars().any(char::is_control) {
            let message = format!("expected 1 to {LINE_BYTES_MAX} bytes of text on one line");
            self.error(&cell.span(), message, format!("for example: {example}"));
            return None;
        }
        Some(text.to_owned())
    }

    /// Text of a form that a type of the core knows
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, cell: &Cell<'t>, example: &str) -> Option<T> {
        let parsed = self.text(cell, example)?.parse::<T>();
        parsed.map_err(|error| self.error(&cell.span(), error.to_string(), format!("for example: {example}"))).ok()
    }

    /// A list of such texts; what is wrong is said of each
    pub(crate) fn list<T: FromStr<Err: Display>>(&self, cell: &Cell<'t>, example: &str) -> Option<Vec<T>> {
        let items = self.array(cell, example)?;
        let parsed: Vec<Option<T>> = items.iter().map(|item| self.parsed(item, example)).collect();
        parsed.into_iter().collect()
    }

    /// A word of a closed list
    pub(crate) fn word<T: Copy>(&self, cell: &Cell<'t>, words: &[(&'static str, T)]) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        let all = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let Some(text) = cell.get_ref().as_str() else {
            self.expected(cell, &format!("one of {all}"), names().next().unwrap_or_default());
            return None;
        };
        let found = words.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            self.error(&cell.span(), format!("expected one of {all}, found {text:?}"), suggest(text, names()));
        }
        found.map(|(_, value)| *value)
    }

    /// True or false
    pub(crate) fn truth(&self, cell: &Cell<'t>, example: &str) -> Option<bool> {
        let truth = cell.get_ref().as_bool();
        if truth.is_none() {
            self.expected(cell, "true or false", example);
        }
        truth
    }

    /// A count, from one
    pub(crate) fn count(&self, cell: &Cell<'t>, example: &str) -> Option<u32> {
        let integer = cell.get_ref().as_integer();
        let count = integer.and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok());
        let count = count.filter(|count| *count > 0);
        if count.is_none() {
            self.error(&cell.span(), "expected a whole number from 1 up", format!("for example: {example}"));
        }
        count
    }

    /// A time such as `"15m"`, in milliseconds
    pub(crate) fn duration(&self, cell: &Cell<'t>, most_ms: i64, example: &str) -> Option<i64> {
        let ms = duration_ms(self.text(cell, example)?);
        if ms.is_none() {
            self.error(
                &cell.span(),
                "expected a time: a whole number and ms, s, m, h or d",
                format!("for example: {example}"),
            );
        } else if ms.is_some_and(|ms| ms > most_ms) {
            self.error(&cell.span(), format!("longer than {}", in_words(most_ms)), format!("for example: {example}"));
        }
        ms.filter(|ms| *ms <= most_ms)
    }

    /// Any value, numbers by the digits that are written
    pub(crate) fn value(&self, cell: &Cell<'t>) -> Option<Value> {
        let number = |text: Option<String>| {
            let number = text.as_deref().and_then(Decimal::parse).map(Value::Number);
            if number.is_none() {
                let remedy = "numbers have at most 64 digits; infinity and nan are no numbers here";
                self.error(&cell.span(), "not a number that can be compared exactly", remedy);
            }
            number
        };
        match cell.get_ref() {
            DeValue::String(text) => Some(Value::String(text.to_string())),
            DeValue::Integer(integer) if integer.radix() == 10 => number(Some(plain(integer.as_str()))),
            DeValue::Integer(integer) => {
                number(i128::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string()))
            }
            DeValue::Float(float) => number(Some(plain(float.as_str()))),
            DeValue::Boolean(truth) => Some(Value::Bool(*truth)),
            DeValue::Datetime(_) => {
                self.error(&cell.span(), "JSON knows no dates", "write it in quotes, as the tool takes it");
                None
            }
            DeValue::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.value(item)).collect();
                items.into_iter().collect::<Option<_>>().map(Value::Array)
            }
            DeValue::Table(members) => {
                let member = |(key, value): (&Spanned<_>, &Cell<'t>)| {
                    let key: &std::borrow::Cow<'_, str> = key.get_ref();
                    Some((key.to_string(), self.value(value)?))
                };
                let members: Vec<_> = members.iter().map(member).collect();
                members.into_iter().collect::<Option<_>>().map(Value::Object)
            }
        }
    }
}

/// The keys of a table; each is taken once, and what nobody takes is an error
#[derive(Debug)]
pub(crate) struct Table<'d, 't> {
    doc: &'d Document<'t>,
    entries: BTreeMap<&'d str, (Range<usize>, &'d Cell<'t>)>,
    span: Range<usize>,
    what: &'static str,
    known: Vec<&'static str>,
    taken: usize,
}

impl<'d, 't> Table<'d, 't> {
    pub(crate) fn new(doc: &'d Document<'t>, entries: &'d DeTable<'t>, span: Range<usize>, what: &'static str) -> Self {
        let entries = entries.iter().map(|(key, cell)| (key.get_ref().as_ref(), (key.span(), cell))).collect();
        Self { doc, entries, span, what, known: Vec::new(), taken: 0 }
    }

    /// Where the table stands
    pub(crate) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// The table with a better place for what is missing in it, such as its name
    pub(crate) fn at(mut self, span: &Range<usize>) -> Self {
        self.span = span.clone();
        self
    }

    /// The value of a key
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'d Cell<'t>> {
        self.known.push(key);
        #[cfg(test)]
        KNOWN.with_borrow_mut(|known| known.insert((self.doc.file.to_owned(), self.what, key)));
        let cell = self.entries.remove(key).map(|(_, cell)| cell);
        self.taken += usize::from(cell.is_some());
        cell
    }

    /// The value of a key that has to be there
    pub(crate) fn need(&mut self, key: &'static str, example: &str) -> Option<&'d Cell<'t>> {
        let cell = self.take(key);
        if cell.is_none() {
            self.doc.error(
                &self.span,
                format!("{} has no `{key}`", self.what),
                format!("for example: {key} = {example}"),
            );
        }
        cell
    }

    /// Keys of the later language, which nobody would enforce
    pub(crate) fn later(&mut self, keys: &[&'static str]) {
        for key in keys {
            if let Some((span, _)) = self.entries.remove(key) {
                self.doc.later(&span, key);
            }
        }
    }

    /// A key of the later language for which there is something to write instead
    pub(crate) fn refused(&mut self, key: &'static str, instead: &str) {
        if let Some((span, _)) = self.entries.remove(key) {
            self.doc.error(&span, format!("not enforced by this version yet: {key}"), instead);
        }
    }

    /// Whether no key that anybody knows was in it
    pub(crate) fn is_untouched(&self) -> bool {
        self.taken == 0
    }

    /// Every entry that was not taken, to look at
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&&'d str, &(Range<usize>, &'d Cell<'t>))> {
        self.entries.iter()
    }

    /// Every entry, for tables whose keys are names
    pub(crate) fn rest(&mut self) -> impl Iterator<Item = (&'d str, Range<usize>, &'d Cell<'t>)> + use<'d, 't> {
        std::mem::take(&mut self.entries).into_iter().map(|(key, (span, cell))| (key, span, cell))
    }

    /// Says what is left over
    pub(crate) fn finish(self) {
        for (key, (span, _)) in &self.entries {
            let message = format!("{} knows no `{}`", self.what, key.escape_debug());
            self.doc.error(span, message, suggest(key, self.known.iter().copied()));
        }
    }
}

/// Text that is shown to people in one piece
const LINE_BYTES_MAX: usize = 500;

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The digits as JSON spells them: TOML also has a leading plus and `_`
fn plain(text: &str) -> String {
    text.strip_prefix('+').unwrap_or(text).replace('_', "")
}

/// A time in the largest unit that it has one of
pub(crate) fn in_words(ms: i64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1_000, "seconds")];
    let unit = units.into_iter().find(|(unit, _)| ms >= *unit);
    let one = |name: &'static str| name.trim_end_matches('s');
    unit.map_or_else(
        || format!("{ms} ms"),
        |(unit, name)| if ms == unit { format!("1 {}", one(name)) } else { format!("{} {name}", ms / unit) },
    )
}

/// A time as policy files write it, in milliseconds: a whole number and `ms`, `s`, `m`, `h` or `d`; `None` for anything else
#[must_use]
pub fn duration_ms(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_suffix("ms") {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        return digits.parse().ok().filter(|ms| plain && *ms > 0);
    }
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<i64>().ok().filter(|_| plain)?.checked_mul(unit).filter(|ms| *ms > 0)
}

#[cfg(test)]
type Key = (String, &'static str, &'static str);

#[cfg(test)]
thread_local! {
    static KNOWN: RefCell<std::collections::BTreeSet<Key>> = RefCell::default();
}

/// Every key that was asked for in this thread: file, table, key
#[cfg(test)]
pub(crate) fn known() -> std::collections::BTreeSet<Key> {
    KNOWN.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests;
