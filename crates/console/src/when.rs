//! Points in time and spans, as people read them: how long from now, and exactly when.

use askama::filters::HtmlSafe;
use portreeve_core::time::Millis;
use std::fmt;

/// A point in time: `in 12 min` with the exact moment behind it
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// The point
    pub at: Millis,
    /// The moment at which the page is made
    pub now: Millis,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.at.since(self.now);
        let exact = Exact(self.at);
        let machine = jiff::Timestamp::from_millisecond(self.at.0).unwrap_or_default();
        write!(f, "<time datetime=\"{machine:.3}\"><span class=\"rel\">")?;
        match span {
            SOON_MS..0 => f.write_str("just now")?,
            0..=999 => f.write_str("now")?,
            1_000.. => write!(f, "in {}", Span(span))?,
            _ => write!(f, "{} ago", Span(span.saturating_neg()))?,
        }
        write!(f, "</span> <span class=\"abs\">{exact}</span></time>")
    }
}

impl HtmlSafe for When {}

/// `2026-11-20 17:38:54 UTC`
#[derive(Clone, Copy, Debug)]
pub struct Exact(pub Millis);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.0) {
            Ok(at) => write!(f, "{} UTC", at.strftime("%Y-%m-%d %H:%M:%S")),
            Err(_) => write!(f, "{} ms", self.0.0),
        }
    }
}

/// A span in its two largest units: `2 h 5 min`
#[derive(Clone, Copy, Debug)]
pub struct Span(pub i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.max(0) / 1000;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let mut parts = parts.iter().skip(first);
        if let Some((count, unit)) = parts.next() {
            write!(f, "{count} {unit}")?;
        }
        match parts.next() {
            // Seconds beside a number of minutes are noise once there are many.
            Some((count, "s")) if minutes < 10 && *count > 0 => write!(f, " {count} s"),
            Some((count, unit)) if *unit != "s" && *count > 0 => write!(f, " {count} {unit}"),
            _ => Ok(()),
        }
    }
}

/// Below this a past moment is not worth a number, in milliseconds
const SOON_MS: i64 = -1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (ms, text) in [
            (0, "0 s"),
            (900, "0 s"),
            (59_000, "59 s"),
            (90_000, "1 min 30 s"),
            (900_000, "15 min"),
            (935_000, "15 min"),
            (3_600_000, "1 h"),
            (7_500_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
            (-5, "0 s"),
        ] {
            assert_eq!(Span(ms).to_string(), text, "{ms}");
        }
    }

    #[test]
    fn a_point_says_both() {
        let now = Millis(1_795_541_934_000);
        let text = When { at: now.plus(90_000), now }.to_string();
        assert!(text.contains("in 1 min 30 s"), "{text}");
        assert!(text.contains("2026-11-2"), "{text}");
        assert!(text.contains(" UTC"), "{text}");
        assert!(When { at: now.plus(-90_000), now }.to_string().contains("1 min 30 s ago"));
        assert!(When { at: Millis(i64::MAX), now }.to_string().contains("in "));
        assert!(When { at: Millis(i64::MIN), now }.to_string().contains("ago"));
    }
}
