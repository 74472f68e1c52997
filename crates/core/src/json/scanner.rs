//! The scan itself: one pass over the bytes, strings and numbers borrowed where they stand.

use super::{Error, Json, Kind, Limits, Member, keys::Keys};
use std::borrow::Cow;

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
    nodes_left: usize,
    keys: Keys,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a [u8], limits: &Limits, keys: Keys) -> Result<Self, Error> {
        if input.len() > limits.bytes_max {
            return Err(Error::TooLarge { offset: limits.bytes_max });
        }
        if input.starts_with(BYTE_ORDER_MARK) {
            return Err(Error::ByteOrderMark { offset: 0 });
        }
        let text = std::str::from_utf8(input).map_err(|error| Error::Utf8 { offset: error.valid_up_to() })?;
        Ok(Self { text, at: 0, depth_left: limits.depth_max.min(DEPTH_CEILING), nodes_left: limits.nodes_max, keys })
    }

    pub(super) fn document(mut self) -> Result<Json<'a>, Error> {
        self.skip_whitespace();
        let json = self.value()?;
        self.skip_whitespace();
        match self.peek() {
            None => Ok(json),
            Some(_) => Err(Error::Trailing { offset: self.at }),
        }
    }

    fn value(&mut self) -> Result<Json<'a>, Error> {
        let start = self.at;
        let too_many = Error::TooManyNodes { offset: start };
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(too_many)?;
        let kind = match self.peek() {
            Some(b'"') => Kind::String(self.string()?),
            Some(b'{') => Kind::Object(self.nested(Self::object)?),
            Some(b'[') => Kind::Array(self.nested(Self::array)?),
            Some(b'-' | b'0'..=b'9') => Kind::Number(self.number()?),
            Some(b't') => self.literal("true", Kind::Bool(true))?,
            Some(b'f') => self.literal("false", Kind::Bool(false))?,
            Some(b'n') => self.literal("null", Kind::Null)?,
            _ => return Err(self.syntax()),
        };
        Ok(Json { raw: self.since(start)?, start, kind })
    }

    // INVARIANT: the only way to recurse, so the stack never holds more than `depth_max` levels.
    fn nested<T>(&mut self, read: fn(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let too_deep = Error::TooDeep { offset: self.at };
        self.depth_left = self.depth_left.checked_sub(1).ok_or(too_deep)?;
        self.at += 1;
        self.skip_whitespace();
        let inner = read(self)?;
        self.depth_left += 1;
        Ok(inner)
    }

    fn object(&mut self) -> Result<Vec<Member<'a>>, Error> {
        let mut members = Vec::new();
        if self.eat(b'}') {
            return Ok(members);
        }
        loop {
            let key_offset = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.syntax());
            }
            let key = self.string()?;
            self.skip_whitespace();
            if !self.eat(b':') {
                return Err(self.syntax());
            }
            self.skip_whitespace();
            let value = self.value()?;
            members.push(Member { key, value, key_offset });
            if self.last(b'}')? {
                break;
            }
        }
        self.keys.check(&members)?;
        Ok(members)
    }

    fn array(&mut self) -> Result<Vec<Json<'a>>, Error> {
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value()?);
            if self.last(b']')? {
                return Ok(items);
            }
        }
    }

    /// Whether `close` follows, and not a comma and the next element
    fn last(&mut self, close: u8) -> Result<bool, Error> {
        self.skip_whitespace();
        if self.eat(close) {
            return Ok(true);
        }
        if !self.eat(b',') {
            return Err(self.syntax());
        }
        self.skip_whitespace();
        Ok(false)
    }

    fn literal(&mut self, word: &str, kind: Kind<'a>) -> Result<Kind<'a>, Error> {
        for byte in word.bytes() {
            if !self.eat(byte) {
                return Err(self.syntax());
            }
        }
        Ok(kind)
    }

    fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        } else if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.syntax());
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        self.since(start)
    }

    fn digits(&mut self) -> Result<(), Error> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.syntax()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let plain = self.plain()?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = String::from(plain);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(self.syntax()),
            }
            text.push_str(self.plain()?);
        }
    }

    /// The text up to the next byte that may not stand for itself in a string
    fn plain(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        let rest = self.rest();
        self.at += special_at(rest).unwrap_or(rest.len());
        self.since(start)
    }

    fn escape(&mut self) -> Result<char, Error> {
        let offset = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(offset);
            }
            _ => return Err(self.syntax()),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self, offset: usize) -> Result<char, Error> {
        let lone = Error::LoneSurrogate { offset };
        let mut code = self.hex4()?;
        if (0xd800..0xdc00).contains(&code) {
            if !(self.eat(b'\\') && self.eat(b'u')) {
                return Err(lone);
            }
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(lone);
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        // All that is left without a character is the second half of a pair.
        char::from_u32(code).ok_or(lone)
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code << 4 | digit.ok_or_else(|| self.syntax())?;
            self.at += 1;
        }
        Ok(code)
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> Result<&'a str, Error> {
        // Both ends stand beside ASCII bytes, hence on character boundaries.
        self.text.get(start..self.at).ok_or_else(|| self.syntax())
    }

    fn syntax(&self) -> Error {
        Error::Syntax { offset: self.at }
    }
}

/// Where the first byte stands that a JSON string has to escape: a quote, a backslash or a control
pub(crate) fn special_at(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // Eight bytes at a time. A borrow reaches only bytes above a hit, so the lowest hit is exact.
        let word = u64::from_le_bytes(*word);
        let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word & (EACH * 0x80);
        let hits =
            below(word, 0x20) | below(word ^ (EACH * u64::from(b'"')), 1) | below(word ^ (EACH * u64::from(b'\\')), 1);
        if hits != 0 {
            return Some(index * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(words.len() * 8 + at)
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Levels that any thread's stack holds, for reading as well as for dropping the tree
const DEPTH_CEILING: usize = 512;
const EACH: u64 = 0x0101_0101_0101_0101;
