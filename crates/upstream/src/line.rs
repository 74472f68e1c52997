//! Lines of a child, cut out of what it writes: short ones as a whole, long answers piece by piece.

use bytes::Bytes;
use tokio::sync::mpsc;

/// A long line on its way: `None` is its end, and a channel that is closed without one broke
pub(crate) type Pieces = mpsc::Receiver<Option<Bytes>>;

/// Pieces of a long line that may wait for who reads it
pub(crate) const PIECES_MAX: usize = 4;

/// What the beginning of a message says of it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// An answer to this request of ours
    Answer(u64),
    /// Something else, or not yet to be seen
    Unclear,
}

/// Looks for the id of an answer in the beginning of a message
///
/// Nothing is decided by it but where the message goes: who gets it reads it strictly, the id included.
pub(crate) fn beginning(bytes: &[u8]) -> Beginning {
    let mut at = Scan { bytes, next: 0 };
    at.beginning().map_or(Beginning::Unclear, Beginning::Answer)
}

struct Scan<'b> {
    bytes: &'b [u8],
    next: usize,
}

impl Scan<'_> {
    /// `None` as soon as it cannot be an answer that says whose it is
    fn beginning(&mut self) -> Option<u64> {
        self.expect(b'{')?;
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            match key {
                (start, end) if self.bytes.get(start..end) == Some(b"id") => return self.number(),
                (start, end) if self.bytes.get(start..end) == Some(b"method") => return None,
                _ => self.value()?,
            }
            self.expect(b',')?;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.next).copied()?;
        self.next += 1;
        Some(byte)
    }

    fn blank(&mut self) {
        while self.bytes.get(self.next).is_some_and(u8::is_ascii_whitespace) {
            self.next += 1;
        }
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.blank();
        (self.byte()? == wanted).then_some(())
    }

    /// Where the text of a string stands
    fn string(&mut self) -> Option<(usize, usize)> {
        self.expect(b'"')?;
        let start = self.next;
        loop {
            match self.byte()? {
                b'"' => return Some((start, self.next - 1)),
                b'\\' => drop(self.byte()?),
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.blank();
        let start = self.next;
        while self.bytes.get(self.next).is_some_and(u8::is_ascii_digit) {
            self.next += 1;
        }
        // A number that ends with the bytes may go on.
        self.bytes.get(self.next)?;
        std::str::from_utf8(self.bytes.get(start..self.next)?).ok()?.parse().ok()
    }

    /// Skips a value
    fn value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            self.blank();
            match self.bytes.get(self.next).copied()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.next += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.next += 1;
                }
                b',' | b':' if depth > 0 => self.next += 1,
                b',' | b':' => return None,
                _ => {
                    while self.bytes.get(self.next).is_some_and(|byte| !b",:{}[]\"".contains(byte)) {
                        self.next += 1;
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_its_id_where_that_comes_early() {
        for text in [
            r#"{"jsonrpc":"2.0","id":17,"result":{"#,
            r#" { "id" : 17 , "#,
            r#"{"x":{"id":1,"y":[{"id":2}]},"z":"\"id\":3","n":-1.5,"id":17}"#,
            r#"{"result":null,"ok":true,"id":17}"#,
        ] {
            assert_eq!(beginning(text.as_bytes()), Beginning::Answer(17), "{text}");
        }
        for text in [
            "",
            "[",
            r#"{"id":"17","result":{"#,
            r#"{"id":1"#,
            r#"{"id":-1,"#,
            r#"{"method":"x","id":17,"#,
            r#"{"result":{"id":17"#,
            r#"{"result":"\"},\"id\":17"#,
            r#"{,"id":17,"#,
            r#"{"a":,"id":17,"#,
            r#"{"a"]"id":17,"#,
            r#"{"id":99999999999999999999999,"#,
        ] {
            assert_eq!(beginning(text.as_bytes()), Beginning::Unclear, "{text}");
        }
    }
}
