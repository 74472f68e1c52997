//! Which keys of one object some parser could take for the same.

use super::{Error, Member};
use std::borrow::Cow;

/// What lenient parsers may make of `key`: two keys with one skeleton must not stand in one object
///
/// Letter case is folded, control characters (NUL suffixes), zero-width and other default-ignorable code
/// points are dropped, and compatibility forms of ASCII letters and digits (fullwidth, mathematical,
/// circled, ligatures) become what they look like. Canonical composition is not considered: `é` as one
/// code point or as two are different keys.
#[must_use]
pub fn skeleton(key: &str) -> Cow<'_, str> {
    if is_plain(key) {
        return if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(key.to_ascii_lowercase())
        } else {
            Cow::Borrowed(key)
        };
    }
    let visible = key.chars().filter(|c| !c.is_control() && !is_default_ignorable(*c));
    // Up and down again, because one step leaves `ſ`, `ı`, `ς`, `ß` and the ligatures as they are.
    let folded =
        visible.map(compatible).flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    Cow::Owned(folded.collect())
}

/// The protocol key that `key` could be taken for without being it
///
/// The envelope of a message refuses such keys even when the real one is absent: `Method` alone is nothing
/// to Portreeve and a method to a parser that ignores case.
#[must_use]
pub fn confusable_with<'p>(key: &str, protocol: &[&'p str]) -> Option<&'p str> {
    if protocol.contains(&key) {
        return None;
    }
    // A plain key needs no skeleton of its own: the comparison ignores ASCII case anyway.
    let looks = if is_plain(key) { Cow::Borrowed(key) } else { skeleton(key) };
    let same = |known: &&&'p str| {
        if is_plain(known) { known.eq_ignore_ascii_case(&looks) } else { skeleton(known).eq_ignore_ascii_case(&looks) }
    };
    protocol.iter().find(same).copied()
}

/// How different the keys of one object have to be
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys {
    /// Not equal
    Distinct,
    /// Not taken for each other by any parser
    Unmistakable,
}

impl Keys {
    /// Refuses the first key that collides with an earlier one
    pub(super) fn check(self, members: &[Member<'_>]) -> Result<(), Error> {
        let collision = match self {
            _ if members.len() < 2 => None,
            Self::Unmistakable if members.len() <= PAIRWISE_MAX && all_plain(members) => collision_pairwise(members),
            Self::Unmistakable => collision_sorted(members, skeleton),
            Self::Distinct => collision_sorted(members, |key| Cow::Borrowed(key)),
        };
        match collision {
            None => Ok(()),
            Some((earlier, later)) if earlier.key == later.key => Err(Error::DuplicateKey { offset: later.key_offset }),
            Some((_, later)) => Err(Error::ConfusableKey { offset: later.key_offset }),
        }
    }
}

type Collision<'m, 'a> = Option<(&'m Member<'a>, &'m Member<'a>)>;

/// Few plain keys: comparing all pairs allocates nothing and is the common case
fn collision_pairwise<'m, 'a>(members: &'m [Member<'a>]) -> Collision<'m, 'a> {
    members.iter().enumerate().find_map(|(index, later)| {
        let mut before = members.iter().take(index);
        let earlier = before.find(|earlier| equal_ignoring_case(&earlier.key, &later.key))?;
        Some((earlier, later))
    })
}

/// Any keys: sorted, so that an object of 100,000 members is not quadratic
fn collision_sorted<'m, 'a>(members: &'m [Member<'a>], looks: fn(&str) -> Cow<'_, str>) -> Collision<'m, 'a> {
    let mut sorted: Vec<_> = members.iter().map(|member| (looks(&member.key), member)).collect();
    sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
    // The sort is stable: in a group of equal looks the first two are the first two of the source.
    let pairs = sorted.windows(2).filter_map(|pair| match pair {
        [(left, earlier), (right, later)] if left == right => Some((*earlier, *later)),
        _ => None,
    });
    pairs.min_by_key(|(_, later)| later.key_offset)
}

/// Looks at the last byte first, because keys of one object often share their beginning
fn equal_ignoring_case(left: &str, right: &str) -> bool {
    let last = |key: &str| key.as_bytes().last().map(u8::to_ascii_lowercase);
    left.len() == right.len() && last(left) == last(right) && left.eq_ignore_ascii_case(right)
}

fn all_plain(members: &[Member<'_>]) -> bool {
    members.iter().all(|member| is_plain(&member.key))
}

/// Printable ASCII, where the skeleton is the lower case
fn is_plain(key: &str) -> bool {
    key.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte))
}

/// The ASCII character whose compatibility form `c` is, or `c`
fn compatible(c: char) -> char {
    let code = u32::from(c);
    let ascii = match code {
        // `İ`, whose lower case keeps a combining dot that simple folding drops
        0x0130 => Some(u32::from('i')),
        0xff01..=0xff5e => Some(code - 0xff01 + 0x21),
        0x1d400..=0x1d6a3 => Some(latin((code - 0x1d400) % 52)),
        0x1d7ce..=0x1d7ff => Some((code - 0x1d7ce) % 10 + u32::from('0')),
        0x24b6..=0x24e9 => Some(latin(code - 0x24b6)),
        _ => letterlike(c).map(u32::from),
    };
    ascii.and_then(char::from_u32).unwrap_or(c)
}

/// `A` to `Z`, then `a` to `z`
fn latin(index: u32) -> u32 {
    if index < 26 { u32::from('A') + index } else { u32::from('a') + index - 26 }
}

/// The letters that Unicode had before it gave the mathematical ones a block of their own
fn letterlike(c: char) -> Option<char> {
    let ascii = match c {
        'ª' => 'a',
        'º' | 'ℴ' => 'o',
        'ℬ' => 'b',
        'ℂ' | 'ℭ' => 'c',
        'ⅅ' | 'ⅆ' => 'd',
        'ℯ' | 'ℰ' | 'ⅇ' => 'e',
        'ℱ' => 'f',
        'ℊ' => 'g',
        'ℋ' | 'ℌ' | 'ℍ' | 'ℎ' => 'h',
        'ℐ' | 'ℑ' | 'ℹ' | 'ⅈ' | 'ⁱ' => 'i',
        'ⅉ' => 'j',
        'ℒ' | 'ℓ' => 'l',
        'ℳ' => 'm',
        'ℕ' | 'ⁿ' => 'n',
        'ℙ' => 'p',
        'ℚ' => 'q',
        'ℛ' | 'ℜ' | 'ℝ' => 'r',
        'ℤ' | 'ℨ' => 'z',
        _ => return None,
    };
    Some(ascii)
}

/// Unicode's `Default_Ignorable_Code_Point`: drawn as nothing, and dropped by some readers
fn is_default_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Up to here comparing pairs is cheaper than sorting
const PAIRWISE_MAX: usize = 16;
