//! JSON values that Portreeve keeps: exact numbers, and one text per value.
//!
//! Two values are equal exactly if their canonical texts are, so that a digest of the text can stand for
//! the value in a record, an approval or a grant.

use crate::{
    decimal::Decimal,
    hash::Hash,
    json::{self, Limits},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

/// A JSON value with exact numbers and unique keys
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, never rounded
    Number(Decimal),
    /// A string
    String(String),
    /// An array
    Array(Vec<Value>),
    /// An object
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// The RFC 8785 (JCS) text of this value
    ///
    /// One deviation: RFC 8785 sends every number through a double, which would give amounts and ids that
    /// differ in their last digits one text and one digest. Here a number keeps all its digits, written in
    /// the same notation. A number that a double holds in its shortest form has the same text in both.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// The canonical text of an object with these members
    #[must_use]
    pub fn canonical_object(members: &BTreeMap<String, Self>) -> String {
        let mut text = String::new();
        write_object(members, &mut text);
        text
    }

    /// Reads back what [`canonical`](Self::canonical) wrote, and refuses any other text for the value
    ///
    /// This pairs with the write: a record whose text was altered to an equivalent one is noticed. Keys
    /// that are merely confusable are accepted here, because the text is our own.
    pub fn from_canonical(text: &str) -> Result<Self, Error> {
        let value = read_own(text).map_err(Error::Json)?;
        if value.canonical() != text {
            return Err(Error::NotCanonical);
        }
        Ok(value)
    }

    /// The digest of the canonical text
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of(self.canonical().as_bytes())
    }

    /// The members, if it is an object
    #[must_use]
    pub fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The text of a string
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The member `key` of an object
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }

    /// The same tree for code that speaks `serde_json`, such as the JSON Schema validator
    ///
    /// Integers of 64 bits stay exact. Any other number becomes the nearest finite double, so that a bound
    /// still holds for a number beyond the range of doubles. Never forward or digest the result.
    #[must_use]
    pub fn to_serde(&self) -> serde_json::Value {
        use serde_json::Value as Serde;
        match self {
            Self::Null => Serde::Null,
            Self::Bool(truth) => (*truth).into(),
            Self::Number(number) => match (number.to_i64(), number.to_u64()) {
                (Some(integer), _) => integer.into(),
                (None, Some(integer)) => integer.into(),
                (None, None) => number.to_f64().into(),
            },
            Self::String(text) => text.as_str().into(),
            Self::Array(items) => items.iter().map(Self::to_serde).collect(),
            Self::Object(members) => {
                let members = members.iter();
                members.map(|(key, value)| (key.clone(), value.to_serde())).collect()
            }
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => write_object(members, out),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

/// Reads any JSON text as strictly as a message from outside
impl FromStr for Value {
    type Err = json::Error;

    fn from_str(text: &str) -> Result<Self, json::Error> {
        json::scan(text.as_bytes(), &Limits::DEFAULT)?.to_value()
    }
}

/// Writes the value as JSON itself; with `serde_json` that is the canonical text
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => match (number.to_i64(), number.to_u64()) {
                (Some(integer), _) => serializer.serialize_i64(integer),
                (None, Some(integer)) => serializer.serialize_u64(integer),
                (None, None) => {
                    let raw = RawValue::from_string(number.to_string()).map_err(S::Error::custom)?;
                    raw.serialize(serializer)
                }
            },
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(in_canonical_order(members)),
        }
    }
}

/// Reads what [`Serialize`] wrote, through `serde_json` only and without going through doubles
///
/// Not for fields of flattened, untagged or internally tagged types: serde buffers these, which would lose
/// digits, so reading fails there. Duplicate keys are refused; confusable ones are not, because whatever
/// was written must be readable. Messages from outside go through [`json::scan`] first.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        read_own(raw.get()).map_err(D::Error::custom)
    }
}

/// Why a text is not the canonical text of a value
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not JSON that we could have written
    #[error("not a JSON value")]
    Json(#[source] json::Error),
    /// It is another spelling of the value
    #[error("not the canonical text of its value")]
    NotCanonical,
}

fn read_own(text: &str) -> Result<Value, json::Error> {
    json::scan_distinct(text.as_bytes(), &OWN)?.to_value()
}

/// The members by the UTF-16 code units of their keys, as RFC 8785 demands
fn in_canonical_order(members: &BTreeMap<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = members.iter().collect();
    // The map's order is that of code points. It differs only between U+E000..=U+FFFF and the planes
    // above, whose surrogates sort before, so only keys with four-byte characters need the sort.
    if members.iter().any(|(key, _)| key.bytes().any(|byte| byte >= 0xf0)) {
        members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    }
    members
}

fn write_object(members: &BTreeMap<String, Value>, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in in_canonical_order(members).iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        value.write(out);
    }
    out.push('}');
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = json::special_at(rest.as_bytes()) {
        let (Some((plain, tail)), Some(byte)) = (rest.split_at_checked(at), rest.as_bytes().get(at)) else {
            break;
        };
        out.push_str(plain);
        out.push_str(&escape(*byte));
        rest = tail.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out.push('"');
}

fn escape(byte: u8) -> Cow<'static, str> {
    match byte {
        b'"' => "\\\"".into(),
        b'\\' => "\\\\".into(),
        0x08 => "\\b".into(),
        b'\t' => "\\t".into(),
        b'\n' => "\\n".into(),
        0x0c => "\\f".into(),
        b'\r' => "\\r".into(),
        _ => format!("\\u{byte:04x}").into(),
    }
}

/// Wider than [`Limits::DEFAULT`]: canonical text spells `1e20` with 21 digits, and a value that was
/// accepted from outside may be written inside a few more levels. What we wrote must stay readable.
const OWN: Limits = Limits { bytes_max: 64 << 20, depth_max: 128, nodes_max: 1_000_000 };

#[cfg(test)]
mod tests;
