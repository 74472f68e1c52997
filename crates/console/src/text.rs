//! Text of others, made safe to look at.
//!
//! Names, arguments and descriptions may be an attacker's. Escaping keeps them from being markup; it does not keep
//! them from *looking* like something else: letters that turn the reading direction round, characters of no width,
//! controls, spaces that are none, letters buried under accents. Each of these is shown as its code point.

use askama::filters::HtmlSafe;
use portreeve_core::visible::{Piece, pieces};
use std::fmt::{self, Write as _};

/// Text of others in one piece, escaped, with everything that hides shown as its code point
///
/// A line break stays one, behind a mark. Where the text goes in the page, it is isolated (`<code>`, `<bdi>`), so that
/// its direction does not reach its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Visible<T>(pub T);

impl<T: AsRef<str>> fmt::Display for Visible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in pieces(self.0.as_ref()) {
            match piece {
                Piece::Plain('&') => f.write_str("&amp;")?,
                Piece::Plain('<') => f.write_str("&lt;")?,
                Piece::Plain('>') => f.write_str("&gt;")?,
                Piece::Plain('"') => f.write_str("&quot;")?,
                Piece::Plain('\'') => f.write_str("&#39;")?,
                Piece::Plain(one) => f.write_char(one)?,
                Piece::Break => f.write_str("<span class=\"odd\" title=\"line break\">↵</span>\n")?,
                Piece::Edge => f.write_str("<span class=\"odd\" title=\"space at the edge\">␣</span>")?,
                Piece::Odd(one) => odd(one, f)?,
            }
        }
        Ok(())
    }
}

impl<T: AsRef<str>> HtmlSafe for Visible<T> {}

/// JSON on lines of its own with indents, of which nothing but the white space between its parts differs
///
/// Not parsed and written anew: what is shown must be what was said, to the last digit. Text that is no JSON comes out
/// with breaks at odd places, and nothing of it is lost. Line breaks that were in it are marked as in [`Visible`], so
/// that nobody takes them for ours.
#[derive(Clone, Copy, Debug)]
pub struct Pretty<'a>(pub &'a str);

impl fmt::Display for Pretty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (depth, line)) in lines(self.0).into_iter().enumerate() {
            if at > 0 {
                f.write_char('\n')?;
            }
            // Deeper than this nobody reads indents, and an attacker would make the page huge with them.
            f.write_str(&"  ".repeat(depth.min(INDENTS_MAX)))?;
            fmt::Display::fmt(&Visible(&line), f)?;
        }
        Ok(())
    }
}

impl HtmlSafe for Pretty<'_> {}

/// The lines of JSON, each with how deep it stands
fn lines(json: &str) -> Vec<(usize, String)> {
    let (mut lines, mut line, mut at) = (Vec::new(), String::new(), 0);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut rest = json.chars().peekable();
    while let Some(one) = rest.next() {
        if quoted {
            line.push(one);
            quoted = escaped || one != '"';
            escaped = !escaped && one == '\\';
            continue;
        }
        quoted = one == '"';
        let closes = matches!(one, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
            if !line.ends_with(['{', '[']) && !line.is_empty() {
                lines.push((std::mem::replace(&mut at, depth), std::mem::take(&mut line)));
            }
            at = at.min(depth);
        }
        line.push(one);
        let empty = matches!((one, rest.peek()), ('{', Some('}')) | ('[', Some(']')));
        if matches!(one, '{' | '[') {
            depth += 1;
        }
        if one == ',' || matches!(one, '{' | '[') && !empty {
            lines.push((std::mem::replace(&mut at, depth), std::mem::take(&mut line)));
        } else if one == ':' {
            line.push(' ');
        }
    }
    lines.push((at, line));
    lines
}

/// What the best known of them are called
fn name(one: char) -> Option<&'static str> {
    Some(match one {
        '\0' => "null",
        '\t' => "tab",
        '\r' => "carriage return",
        '\u{8}' => "backspace",
        '\u{1b}' => "escape",
        '\u{a0}' => "no-break space",
        '\u{ad}' => "soft hyphen",
        '\u{61c}' | '\u{200e}' | '\u{200f}' => "direction mark",
        '\u{200b}' => "zero width space",
        '\u{200c}' | '\u{200d}' => "zero width joiner",
        '\u{2028}' | '\u{2029}' => "line separator",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "turns the reading direction",
        '\u{2060}' | '\u{feff}' => "zero width no-break space",
        '\u{e0000}'..='\u{e007f}' => "invisible tag",
        _ => return None,
    })
}

fn odd(one: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let code = u32::from(one);
    match name(one) {
        Some(name) => write!(f, "<span class=\"odd\" title=\"{name}\">U+{code:04X}</span>"),
        None => write!(f, "<span class=\"odd\">U+{code:04X}</span>"),
    }
}

/// Levels of indents
const INDENTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Visible(text).to_string()
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(shown("<script>'\"&amp;</script>"), "&lt;script&gt;&#39;&quot;&amp;amp;&lt;/script&gt;");
    }

    #[test]
    fn what_turns_or_hides_is_shown_as_its_code_point() {
        for (text, code) in [
            ("a\u{202e}b", "U+202E"),
            ("a\u{2066}b", "U+2066"),
            ("a\u{200b}b", "U+200B"),
            ("a\u{feff}b", "U+FEFF"),
            ("a\u{ad}b", "U+00AD"),
            ("a\u{0}b", "U+0000"),
            ("a\rb", "U+000D"),
            ("a\tb", "U+0009"),
            ("a\u{9b}b", "U+009B"),
            ("a\u{1b}[2Jb", "U+001B"),
            ("a\u{a0}b", "U+00A0"),
            ("a\u{3164}b", "U+3164"),
            ("a\u{e0041}b", "U+E0041"),
            ("a\u{fe0f}b", "U+FE0F"),
            ("a\u{2028}b", "U+2028"),
            ("a\u{e000}b", "U+E000"),
        ] {
            let html = shown(text);
            assert!(html.contains(code), "{code}: {html}");
            let hidden = text.chars().nth(1).unwrap();
            assert!(!html.contains(hidden), "{code} is still there: {html}");
        }
    }

    #[test]
    fn line_breaks_and_spaces_at_edges_are_marked() {
        assert!(shown("a\nb").contains("↵</span>\n"));
        assert!(shown(" a").starts_with("<span class=\"odd\" title=\"space at the edge\">␣"));
        assert!(shown("a ").ends_with("␣</span>"));
        assert_eq!(shown("a b"), "a b");
    }

    #[test]
    fn ordinary_text_of_any_language_stays() {
        for text in ["Café", "Zoë", "Straße", "שלום", "日本語", "Ελλάδα", "नमस्ते", "👍", "e\u{301}"]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn a_letter_cannot_be_buried() {
        let html = shown(&format!("a{}", "\u{301}".repeat(40)));
        assert_eq!(html.matches("U+0301").count(), 37);
    }

    #[test]
    fn pretty_only_adds_white_space() {
        let json = r#"{"a":[1,2.50,{}],"b":"x, {y}: 'z' \\","c":[],"d":{"e":1e400}}"#;
        assert_eq!(
            Pretty(json).to_string().replace("&quot;", "\"").replace("&#39;", "'"),
            "{\n  \"a\": [\n    1,\n    2.50,\n    {}\n  ],\n  \"b\": \"x, {y}: 'z' \\\\\",\n  \"c\": [],\n  \"d\": {\n    \
             \"e\": 1e400\n  }\n}"
        );
        let bare = |text: &str| text.chars().filter(|one| !one.is_whitespace()).collect::<String>();
        for text in [json, "}}}", "[[[", "\"", "{\"a\\", "", "[]]", "{,,}", "a:b"] {
            let whole: String = lines(text).into_iter().map(|(_, line)| line).collect();
            assert_eq!(bare(&whole), bare(text));
        }
        assert!(Pretty(&"[".repeat(4096)).to_string().len() < 4096 * (INDENTS_MAX * 2 + 3));
    }

    #[test]
    fn their_line_breaks_are_not_ours() {
        let html = Pretty("{\"a\":\"x\ny\"}").to_string();
        assert_eq!(html.matches('↵').count(), 1, "{html}");
        assert_eq!(html.matches('\n').count(), 3, "{html}");
    }
}
