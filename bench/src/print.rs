//! The only module that prints: results to stdout, remarks to stderr.
#![expect(
    clippy::print_stdout,
    reason = "a measuring tool's result is its standard output; every other module calls this one"
)]

use std::io::Write as _;

/// Prints one line of the result and flushes it, since a parent process waits for it
pub(crate) fn line(text: &str) {
    println!("{text}");
    // A parent that closed its end no longer wants the line.
    let _ = std::io::stdout().flush();
}

/// Prints a remark that is no part of the result
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}
