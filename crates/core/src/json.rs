//! The one strict reading of JSON from outside.
//!
//! What Portreeve judges must be what the other side will read. Parsers differ on duplicate keys, letter
//! case, NUL suffixes, lone surrogates and depth; an attacker who knows two of them can show each another
//! message. So one scan refuses every message that parsers could disagree on, and keeps the source spans:
//! what policy did not touch is forwarded byte for byte.
//!
//! Start at [`scan`].

mod keys;
mod scanner;

pub use keys::{confusable_with, skeleton};
pub(crate) use scanner::special_at;

use crate::{decimal::Decimal, value::Value};
use keys::Keys;
use scanner::Scanner;
use std::{borrow::Cow, ops::Range};

/// Reads one JSON text from outside, or says where it stops being one that all parsers agree on
///
/// SAFETY(security): the input is an attacker's. Time is O(n log n) in its length, recursion is bounded by
/// `depth_max` and by a fixed ceiling, memory by `nodes_max`.
pub fn scan<'a>(input: &'a [u8], limits: &Limits) -> Result<Json<'a>, Error> {
    Scanner::new(input, limits, Keys::Unmistakable)?.document()
}

/// As [`scan`], for text in which nothing is decided by the name of a member: keys need only be distinct
///
/// What Portreeve wrote itself, and what connectors answer: their data may well have both `ID` and `id`.
pub fn scan_distinct<'a>(input: &'a [u8], limits: &Limits) -> Result<Json<'a>, Error> {
    Scanner::new(input, limits, Keys::Distinct)?.document()
}

/// How much one text may hold
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole input
    pub bytes_max: usize,
    /// Objects and arrays inside each other; never more than 512, whatever is asked for
    pub depth_max: usize,
    /// Values of all kinds, the outermost included
    pub nodes_max: usize,
}

impl Limits {
    /// What one message may hold unless the configuration says otherwise
    pub const DEFAULT: Self = Self { bytes_max: 4 << 20, depth_max: 64, nodes_max: 200_000 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One value of a scanned text, with the place that it was read from
#[derive(Clone, Debug)]
pub struct Json<'a> {
    raw: &'a str,
    start: usize,
    kind: Kind<'a>,
}

impl<'a> Json<'a> {
    /// The exact source text, without surrounding whitespace
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Where [`raw`](Self::raw) stands in the input, in bytes; for splicing
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.raw.len()
    }

    /// What was read
    #[must_use]
    pub fn kind(&self) -> &Kind<'a> {
        &self.kind
    }

    /// The member `key` of an object; exact, since keys that are nearly the same were refused
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json<'a>> {
        let member = self.as_object()?.iter().find(|member| member.key == key)?;
        Some(&member.value)
    }

    /// The members of an object, in source order
    #[must_use]
    pub fn as_object(&self) -> Option<&[Member<'a>]> {
        match &self.kind {
            Kind::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The items of an array
    #[must_use]
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        match &self.kind {
            Kind::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a string, unescaped
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The source text of a number
    #[must_use]
    pub fn as_number(&self) -> Option<&'a str> {
        match self.kind {
            Kind::Number(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.kind {
            Kind::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// Whether this is `null`
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// An owned copy with exact numbers; fails on a number beyond the bounds of [`Decimal::parse`]
    pub fn to_value(&self) -> Result<Value, Error> {
        Ok(match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(truth) => Value::Bool(*truth),
            Kind::Number(text) => {
                let offset = self.start;
                Value::Number(Decimal::parse(text).ok_or(Error::Number { offset })?)
            }
            Kind::String(text) => Value::String(text.clone().into_owned()),
            Kind::Array(items) => Value::Array(items.iter().map(Self::to_value).collect::<Result<_, _>>()?),
            Kind::Object(members) => {
                let members = members.iter();
                let members = members.map(|member| Ok((member.key.to_string(), member.value.to_value()?)));
                Value::Object(members.collect::<Result<_, _>>()?)
            }
        })
    }
}

/// What a scanned value is
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// The source text of a number, which may be beyond the bounds of [`Decimal::parse`]
    Number(&'a str),
    /// A string, borrowed unless it had escapes
    String(Cow<'a, str>),
    /// The items of an array
    Array(Vec<Json<'a>>),
    /// The members of an object, in source order
    Object(Vec<Member<'a>>),
}

/// One member of a scanned object
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The key, unescaped
    pub key: Cow<'a, str>,
    /// Its value
    pub value: Json<'a>,
    key_offset: usize,
}

impl Member<'_> {
    /// Where the key stands in the input, in bytes, at its opening quote
    #[must_use]
    pub fn key_offset(&self) -> usize {
        self.key_offset
    }
}

/// Why a text was refused, and at which byte of the input
///
/// No part of the input is repeated: it is hostile, and these messages reach logs and terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More bytes than `bytes_max`
    #[error("JSON is longer than {offset} bytes")]
    TooLarge {
        /// The first byte too many
        offset: usize,
    },
    /// A byte order mark
    #[error("byte order mark at byte {offset}")]
    ByteOrderMark {
        /// Where it stands
        offset: usize,
    },
    /// Not UTF-8
    #[error("invalid UTF-8 at byte {offset}")]
    Utf8 {
        /// The first invalid byte
        offset: usize,
    },
    /// Not JSON
    #[error("JSON syntax error at byte {offset}")]
    Syntax {
        /// The first byte that does not fit, or the length if the text ends early
        offset: usize,
    },
    /// More than one value
    #[error("data after the JSON value at byte {offset}")]
    Trailing {
        /// The first byte after the value that is no whitespace
        offset: usize,
    },
    /// More levels than `depth_max`
    #[error("JSON nested too deep at byte {offset}")]
    TooDeep {
        /// The bracket too many
        offset: usize,
    },
    /// More values than `nodes_max`
    #[error("too many JSON values at byte {offset}")]
    TooManyNodes {
        /// The value too many
        offset: usize,
    },
    /// An escaped surrogate without its other half
    #[error("lone surrogate at byte {offset}")]
    LoneSurrogate {
        /// Its backslash
        offset: usize,
    },
    /// Two equal keys in one object, compared after unescaping
    #[error("duplicate key at byte {offset}")]
    DuplicateKey {
        /// The later key
        offset: usize,
    },
    /// Two keys in one object that some parser takes for the same, see [`skeleton`]
    #[error("confusable key at byte {offset}")]
    ConfusableKey {
        /// The later key
        offset: usize,
    },
    /// A number beyond the bounds of [`Decimal::parse`]
    #[error("number out of bounds at byte {offset}")]
    Number {
        /// Where it starts
        offset: usize,
    },
}

impl Error {
    /// The byte of the input that the refusal is about
    #[must_use]
    pub fn offset(&self) -> usize {
        match *self {
            Self::TooLarge { offset }
            | Self::ByteOrderMark { offset }
            | Self::Utf8 { offset }
            | Self::Syntax { offset }
            | Self::Trailing { offset }
            | Self::TooDeep { offset }
            | Self::TooManyNodes { offset }
            | Self::LoneSurrogate { offset }
            | Self::DuplicateKey { offset }
            | Self::ConfusableKey { offset }
            | Self::Number { offset } => offset,
        }
    }
}

#[cfg(test)]
mod tests;
