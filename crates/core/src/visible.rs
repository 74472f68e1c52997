//! Characters that hide, or that change how others are shown.
//!
//! Names, arguments and descriptions may be an attacker's. Whoever shows them, on a page or at a terminal, shows what is
//! in these lists as code points: letters that turn the reading direction round, characters of no width, controls, spaces
//! that are none, letters buried under accents.

/// One piece of somebody's text as it can be shown
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A character that looks like what it is
    Plain(char),
    /// A space at the edge of a line
    Edge,
    /// A line break
    Break,
    /// A character that hides
    Odd(char),
}

/// The pieces of a text, in order; nothing is left out
pub fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    let (mut accents, mut before) = (0, '\n');
    let mut rest = text.chars().peekable();
    std::iter::from_fn(move || {
        let one = rest.next()?;
        accents = if is_accent(one) { accents + 1 } else { 0 };
        let at_edge = one == ' ' && (before == '\n' || rest.peek().is_none_or(|next| *next == '\n'));
        before = one;
        Some(match one {
            '\n' => Piece::Break,
            _ if at_edge => Piece::Edge,
            _ if hides(one) || accents > ACCENTS_MAX => Piece::Odd(one),
            _ => Piece::Plain(one),
        })
    })
}

/// A text on one line of a terminal: what hides as `<U+202E>`, line breaks as `↵`
///
/// Text with letters that are read from right to left is isolated (U+2068, U+2069), so that it does not move what stands
/// around it.
#[must_use]
pub fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Plain(one) => line.push(one),
            Piece::Edge => line.push(' '),
            Piece::Break => line.push('↵'),
            Piece::Odd(one) => line.push_str(&format!("<U+{:04X}>", u32::from(one))),
        }
    }
    if line.chars().any(is_backward) {
        line.insert(0, '\u{2068}');
        line.push('\u{2069}');
    }
    line
}

/// Whether a letter is read from right to left: the blocks of such scripts (Unicode, DerivedBidiClass)
fn is_backward(one: char) -> bool {
    matches!(u32::from(one), 0x0590..=0x08ff | 0xfb1d..=0xfdff | 0xfe70..=0xfefe | 0x1_0800..=0x1_0fff | 0x1_e800..=0x1_efff)
}

/// Whether a character shows nothing of its own, or changes how others are shown
#[must_use]
pub fn hides(one: char) -> bool {
    let code = u32::from(one);
    one.is_control() || HIDING.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

/// Whether a character is drawn onto the one before
fn is_accent(one: char) -> bool {
    let code = u32::from(one);
    ACCENTS.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

/// Default ignorables, format characters, spaces that are not U+0020, blanks that count as letters, private use
const HIDING: &[(u32, u32)] = &[
    (0x00a0, 0x00a0),
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x115f, 0x1160),
    (0x1680, 0x1680),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x2000, 0x200f),
    (0x2028, 0x202f),
    (0x205f, 0x206f),
    (0x2800, 0x2800),
    (0x3000, 0x3000),
    (0x3164, 0x3164),
    (0xe000, 0xf8ff),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffd),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0xe_0fff),
    (0xf_0000, 0x10_ffff),
];

/// Combining marks: the blocks made of nothing else
const ACCENTS: &[(u32, u32)] =
    &[(0x0300, 0x036f), (0x0483, 0x0489), (0x1ab0, 0x1aff), (0x1dc0, 0x1dff), (0x20d0, 0x20ff), (0xfe20, 0xfe2f)];

/// Accents that one letter may bear; real words have two at most
const ACCENTS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_is_seen_at_a_terminal() {
        for (text, shown) in [
            ("plain text", "plain text"),
            ("a\u{202e}b", "a<U+202E>b"),
            ("a\u{61c}b", "a<U+061C>b"),
            ("a\u{ad}b", "a<U+00AD>b"),
            ("a\u{2028}b", "a<U+2028>b"),
            ("a\u{180b}b", "a<U+180B>b"),
            ("a\u{fe0f}b", "a<U+FE0F>b"),
            ("a\u{115f}b", "a<U+115F>b"),
            ("a\u{3164}b", "a<U+3164>b"),
            ("a\u{2800}b", "a<U+2800>b"),
            ("a\u{1b}[2Jb", "a<U+001B>[2Jb"),
            ("a\nb", "a↵b"),
            ("שלום", "\u{2068}שלום\u{2069}"),
        ] {
            assert_eq!(line(text), shown);
        }
    }
}
