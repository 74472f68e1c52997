//! How deep a rule may be, before Cedar reads it.
//!
//! Cedar's parser and the trees that it makes recurse without a bound, and a stack that overflows takes the
//! whole process with it. So nesting is counted on the text first: brackets, and operators that chain.

use std::ops::Range;

/// The first place where a rule is nested deeper than can be read
pub(crate) fn too_deep(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let (mut depth, mut chain, mut at) = (0usize, 0usize, 0usize);
    while at < bytes.len() {
        match (byte(at), byte(at + 1)) {
            (b'"', _) => at = string_end(bytes, at),
            (b'/', b'/') => {
                at = bytes.iter().skip(at).position(|byte| *byte == b'\n').map_or(bytes.len(), |end| at + end)
            }
            (b'(' | b'[' | b'{', _) => depth += 1,
            (b')' | b']' | b'}', _) => depth = depth.saturating_sub(1),
            (b';', _) => chain = 0,
            (b'.' | b'&' | b'|' | b'+' | b'-' | b'*' | b'!', _) | (b'i', b'f') => chain += 1,
            _ => {}
        }
        if depth > DEPTH_MAX || chain > CHAIN_MAX {
            return Some(at..at + 1);
        }
        at += 1;
    }
    None
}

/// Brackets inside each other
pub(crate) const DEPTH_MAX: usize = 32;
/// Operators in one rule; `&&` counts twice
pub(crate) const CHAIN_MAX: usize = 1000;

/// Where the string that begins at `start` ends
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut escaped = false;
    let end = bytes.iter().enumerate().skip(start + 1).find(|(_, byte)| {
        let ends = **byte == b'"' && !escaped;
        escaped = **byte == b'\\' && !escaped;
        ends
    });
    end.map_or(bytes.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_nests_and_nothing_else() {
        let at = |depth: usize| "(".repeat(depth) + &")".repeat(depth);
        assert_eq!(too_deep(&at(DEPTH_MAX)), None);
        assert_eq!(too_deep(&at(DEPTH_MAX + 1)), Some(DEPTH_MAX..DEPTH_MAX + 1));
        assert_eq!(too_deep(&".a".repeat(CHAIN_MAX)), None);
        assert!(too_deep(&".a".repeat(CHAIN_MAX + 1)).is_some());
        assert_eq!(too_deep(&("a.b;".repeat(CHAIN_MAX + 1))), None);
        let quoted = format!("\"{}\\\"{}\" // {}\n", "(".repeat(100), "[".repeat(100), "(".repeat(100));
        assert_eq!(too_deep(&quoted), None);
        assert!(too_deep(&format!("{quoted}{}", at(DEPTH_MAX + 1))).is_some());
        // A string or comment without an end hides nothing: Cedar refuses it.
        assert_eq!(too_deep("\"(((((\\"), None);
    }
}
