//! JSON checked byte by byte, as strictly as [`scan_distinct`](portreeve_core::json::scan_distinct) checks it whole.

use super::Broken;
use portreeve_core::json::{self, Json, Limits};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// What a byte was in the text
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Something between or within
    Inner,
    /// The quote before a key
    KeyBegins,
    /// The quote after a key
    KeyEnds,
    /// The first byte of a value that stands in so many objects and arrays
    ValueBegins(usize),
    /// The last byte of a value that stands in so many objects and arrays
    ValueEnds(usize),
}

/// Where the text is
#[derive(Debug)]
pub(super) struct Syntax {
    state: State,
    stack: Vec<Open>,
    key: Vec<u8>,
    at: usize,
    limits: Limits,
    nodes_left: usize,
}

/// An object or array that is not closed
#[derive(Debug)]
enum Open {
    /// With the digests of its keys so far
    Object(HashSet<u64>),
    Array,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value has to follow
    Value,
    /// A value or the end of the array
    ValueOrEnd,
    /// A key or the end of the object
    KeyOrEnd,
    /// A key has to follow
    Key,
    /// A colon has to follow
    Colon,
    /// A comma or the end of what is open; or the end of the text
    After,
    /// Within a string, which may be a key
    Text(Text, bool),
    /// Within a number
    Number(Number),
    /// Within `true`, `false` or `null`, of which this is left
    Word(&'static [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Plain,
    Escape,
    /// So many digits are left; the code so far; the high surrogate before it
    Hex(u8, u32, Option<u32>),
    /// The other half of a pair has to follow
    Pair(u32),
    PairU(u32),
    /// So many bytes of a character are left, and the bounds of the next one
    Utf8(u8, u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

/// Bytes of a key at most
pub(super) const KEY_BYTES_MAX: usize = 64 << 10;
/// Levels at most, as where texts are read whole
const DEPTH_CEILING: usize = 512;

impl Syntax {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: State::Value,
            stack: Vec::new(),
            key: Vec::new(),
            at: 0,
            limits: Limits { depth_max: limits.depth_max.min(DEPTH_CEILING), ..limits },
            nodes_left: limits.nodes_max,
        }
    }

    /// How many of these bytes are nothing but text within a string
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let State::Text(Text::Plain, key) = self.state else { return Ok(0) };
        let plain = |byte: &u8| (0x20..0x80).contains(byte) && *byte != b'"' && *byte != b'\\';
        let count = bytes.iter().position(|byte| !plain(byte)).unwrap_or(bytes.len());
        self.advance(count)?;
        if key {
            self.remember(bytes.get(..count).unwrap_or_default())?;
        }
        Ok(count)
    }

    /// Whether a number ends before this byte, and how deep it stands
    pub(super) fn number_ends(&mut self, byte: u8) -> Result<Option<usize>, Broken> {
        let State::Number(number) = self.state else { return Ok(None) };
        if byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-') {
            return Ok(None);
        }
        if !matches!(number, Number::Zero | Number::Whole | Number::Fraction | Number::Power) {
            return Err(self.broken());
        }
        self.state = State::After;
        Ok(Some(self.stack.len()))
    }

    /// Takes one byte, before which [`number_ends`](Self::number_ends) was asked
    pub(super) fn step(&mut self, byte: u8) -> Result<Event, Broken> {
        let event = self.read(byte)?;
        self.advance(1)?;
        Ok(event)
    }

    /// The key that ended last
    pub(super) fn key(&self) -> Option<String> {
        let limits = Limits { bytes_max: KEY_BYTES_MAX, ..Limits::DEFAULT };
        json::scan_distinct(&self.key, &limits).ok().as_ref().and_then(Json::as_str).map(str::to_owned)
    }

    /// How many objects and arrays are open
    pub(super) fn level(&self) -> usize {
        self.stack.len()
    }

    /// Whether the text is over; whitespace may still follow
    pub(super) fn is_whole(&self) -> bool {
        self.stack.is_empty() && self.state == State::After
    }

    fn advance(&mut self, count: usize) -> Result<(), Broken> {
        self.at += count;
        if self.at > self.limits.bytes_max { Err(Broken::Limit) } else { Ok(()) }
    }

    fn read(&mut self, byte: u8) -> Result<Event, Broken> {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::Text(text, key) => return self.text(text, key, byte),
            State::Number(number) => {
                self.state = State::Number(number.then(byte).ok_or_else(|| self.broken())?);
            }
            State::Word(left) => {
                let (first, left) = left.split_first().ok_or_else(|| self.broken())?;
                if *first != byte {
                    return Err(self.broken());
                }
                if left.is_empty() {
                    self.state = State::After;
                    return Ok(Event::ValueEnds(self.stack.len()));
                }
                self.state = State::Word(left);
            }
            _ if blank => {}
            State::Value => return self.value(byte),
            State::ValueOrEnd if byte == b']' => return self.close(byte),
            State::ValueOrEnd => return self.value(byte),
            State::KeyOrEnd if byte == b'}' => return self.close(byte),
            State::KeyOrEnd | State::Key if byte == b'"' => {
                self.key.clear();
                self.remember(b"\"")?;
                self.state = State::Text(Text::Plain, true);
                return Ok(Event::KeyBegins);
            }
            State::Colon if byte == b':' => self.state = State::Value,
            State::After if byte == b',' => match self.stack.last() {
                Some(Open::Object(_)) => self.state = State::Key,
                Some(Open::Array) => self.state = State::Value,
                None => return Err(self.broken()),
            },
            State::After => return self.close(byte),
            State::KeyOrEnd | State::Key | State::Colon => return Err(self.broken()),
        }
        Ok(Event::Inner)
    }

    fn value(&mut self, byte: u8) -> Result<Event, Broken> {
        let level = self.stack.len();
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(Broken::Limit)?;
        self.state = match byte {
            b'{' => {
                self.open(Open::Object(HashSet::new()))?;
                State::KeyOrEnd
            }
            b'[' => {
                self.open(Open::Array)?;
                State::ValueOrEnd
            }
            b'"' => State::Text(Text::Plain, false),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Whole),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            _ => return Err(self.broken()),
        };
        Ok(Event::ValueBegins(level))
    }

    fn open(&mut self, open: Open) -> Result<(), Broken> {
        if self.stack.len() >= self.limits.depth_max {
            return Err(Broken::Limit);
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<Event, Broken> {
        match (self.stack.pop(), byte) {
            (Some(Open::Object(_)), b'}') | (Some(Open::Array), b']') => {
                self.state = State::After;
                Ok(Event::ValueEnds(self.stack.len()))
            }
            _ => Err(self.broken()),
        }
    }

    fn text(&mut self, text: Text, key: bool, byte: u8) -> Result<Event, Broken> {
        if key {
            self.remember(&[byte])?;
        }
        let next = match (text, byte) {
            (Text::Plain, b'"') => return self.text_ends(key),
            (Text::Plain, b'\\') => Text::Escape,
            (Text::Plain, 0x20..=0x7f) => Text::Plain,
            (Text::Plain, _) => utf8(byte).ok_or_else(|| self.broken())?,
            (Text::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Text::Plain,
            (Text::Escape, b'u') => Text::Hex(4, 0, None),
            (Text::Hex(left, code, high), _) => self.hex(left, code, high, byte)?,
            (Text::Pair(high), b'\\') => Text::PairU(high),
            (Text::PairU(high), b'u') => Text::Hex(4, 0, Some(high)),
            (Text::Utf8(left, low, high), _) if (low..=high).contains(&byte) => match left {
                1 => Text::Plain,
                _ => Text::Utf8(left - 1, 0x80, 0xbf),
            },
            _ => return Err(self.broken()),
        };
        self.state = State::Text(next, key);
        Ok(Event::Inner)
    }

    fn hex(&self, left: u8, code: u32, high: Option<u32>, byte: u8) -> Result<Text, Broken> {
        let digit = char::from(byte).to_digit(16).ok_or_else(|| self.broken())?;
        let code = code << 4 | digit;
        if left > 1 {
            return Ok(Text::Hex(left - 1, code, high));
        }
        match (high, code) {
            (None, 0xd800..=0xdbff) => Ok(Text::Pair(code)),
            (None, 0xdc00..=0xdfff) => Err(self.broken()),
            (None, _) | (Some(_), 0xdc00..=0xdfff) => Ok(Text::Plain),
            (Some(_), _) => Err(self.broken()),
        }
    }

    fn text_ends(&mut self, key: bool) -> Result<Event, Broken> {
        if !key {
            self.state = State::After;
            return Ok(Event::ValueEnds(self.stack.len()));
        }
        self.state = State::Colon;
        let known = self.key().ok_or_else(|| self.broken())?;
        let mut hasher = DefaultHasher::new();
        known.hash(&mut hasher);
        // Two keys of one digest break the answer; nobody is worse off than whoever sent them.
        let new = match self.stack.last_mut() {
            Some(Open::Object(keys)) => keys.insert(hasher.finish()),
            _ => false,
        };
        if new { Ok(Event::KeyEnds) } else { Err(self.broken()) }
    }

    fn remember(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.key.extend_from_slice(bytes);
        if self.key.len() > KEY_BYTES_MAX { Err(Broken::Limit) } else { Ok(()) }
    }

    fn broken(&self) -> Broken {
        Broken::Json(self.at)
    }
}

/// What has to follow the first byte of a character that is not ASCII (Unicode, table 3-7)
fn utf8(first: u8) -> Option<Text> {
    match first {
        0xc2..=0xdf => Some(Text::Utf8(1, 0x80, 0xbf)),
        0xe0 => Some(Text::Utf8(2, 0xa0, 0xbf)),
        0xed => Some(Text::Utf8(2, 0x80, 0x9f)),
        0xe1..=0xef => Some(Text::Utf8(2, 0x80, 0xbf)),
        0xf0 => Some(Text::Utf8(3, 0x90, 0xbf)),
        0xf1..=0xf3 => Some(Text::Utf8(3, 0x80, 0xbf)),
        0xf4 => Some(Text::Utf8(3, 0x80, 0x8f)),
        _ => None,
    }
}

impl Number {
    /// The state after one more byte; `None` if no number goes on like this
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            _ => return None,
        })
    }
}
