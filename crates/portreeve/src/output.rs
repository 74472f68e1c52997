//! The one place that prints. Data goes to standard output, everything else to standard error.

use portreeve_core::{time::Millis, visible};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// A line of data
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away wants no more.
    let _ = writeln!(out, "{text}");
}

/// Bytes of data as they are, and a line feed
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// One JSON document
pub(crate) fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Something that went wrong
pub(crate) fn problem(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Something that is good to know
pub(crate) fn tip(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Asks a person; without one at the terminal the answer is no
pub(crate) fn confirm(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = write!(std::io::stderr().lock(), "{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Columns, each as wide as its widest cell
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
        })
        .collect();
    let print = |row: Vec<&str>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    };
    print(head.to_vec());
    for row in rows {
        print(row.iter().map(String::as_str).collect());
    }
}

/// Text of others on one line, with everything seen that a terminal would act on or not show
pub(crate) fn plain(text: &str) -> String {
    visible::line(text)
}

/// A name of others: in quotes unless it is a plain word, so that it does not reach into what stands behind it
pub(crate) fn name(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { text.to_owned() } else { Value::from(text).to_string() }
}

/// A point in time as RFC 3339
pub(crate) fn time(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_end_where_they_end() {
        for plain in ["amount", "order_id", "a-b.c2"] {
            assert_eq!(name(plain), plain);
        }
        assert_eq!(name("amount = 5 (chosen by: parameter)"), "\"amount = 5 (chosen by: parameter)\"");
        assert_eq!((name(""), name("a\"b")), ("\"\"".to_owned(), "\"a\\\"b\"".to_owned()));
        assert_eq!(plain(&name("a\u{202e}b")), "\"a<U+202E>b\"");
    }
}
