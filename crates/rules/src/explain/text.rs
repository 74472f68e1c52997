//! An explanation as people read it.

use super::{Explanation, Layer, Line, Mark};
use portreeve_core::reason::Verdict;
use std::fmt;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Permit => "PERMITTED",
            Verdict::Hold => "ASKS PEOPLE",
            Verdict::Deny => "REFUSED",
        };
        let at = jiff::Timestamp::from_millisecond(self.time.0).map_or_else(|_| String::new(), |at| format!("{at:.0}"));
        writeln!(f, "{verdict}  {}", clean(&self.call))?;
        writeln!(f, "decided by {}", clean(&self.decided))?;
        for layer in &self.layers {
            write!(f, "\n{layer}")?;
        }
        writeln!(f, "\nverdict at {at}: {}", verdict.to_lowercase())?;
        for reason in &self.reasons {
            writeln!(f, "  {} ({}) from {}", reason.word, reason.sort, clean(&reason.source))?;
            writeln!(f, "      {}", clean(&reason.says))?;
        }
        for reason in &self.lifted {
            let grant = reason.grant.map(|grant| format!(" {grant}")).unwrap_or_default();
            writeln!(f, "  lifted by the grant{grant}: {} from {}", reason.word, clean(&reason.source))?;
            writeln!(f, "      {}", clean(&reason.says))?;
        }
        if !self.changes.is_empty() {
            writeln!(f, "\nwhat would have to change")?;
        }
        for change in &self.changes {
            writeln!(f, "  - {}", clean(change))?;
        }
        Ok(())
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => writeln!(f, "{}  ({place})", clean(&self.title))?,
            None => writeln!(f, "{}", clean(&self.title))?,
        }
        let width = |text: &dyn Fn(&Line) -> usize| self.lines.iter().map(text).max().unwrap_or_default();
        let name = width(&|line| line.name.chars().count()).min(NAME_CHARS_MAX);
        // Only what has something beside it has to be aligned.
        let given = width(&|line| if line.wanted.is_empty() { 0 } else { line.given.chars().count() });
        let given = given.min(GIVEN_CHARS_MAX);
        for line in &self.lines {
            let mark = match line.mark {
                Mark::Fact => "",
                Mark::Yes => "ok",
                Mark::No => "NO",
                Mark::Unclear => "??",
                Mark::Ask => "ask",
            };
            let (own, is) = (clean(&line.name), clean(&line.given));
            let text = match line.wanted.as_str() {
                "" => format!("  {mark:<4}{own:<name$}  {is}"),
                wanted => format!("  {mark:<4}{own:<name$}  {is:<given$}  wanted: {}", clean(wanted)),
            };
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Text without anything that a terminal would act on: arguments are an attacker's
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c }).collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

const NAME_CHARS_MAX: usize = 40;
const GIVEN_CHARS_MAX: usize = 48;
