//! Money as whole cents inside and as a JSON number outside

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// Whole cents
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cents(pub(super) u32);

impl Cents {
    /// Adds, and stays at the top rather than wrap
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts, and stays at nothing rather than wrap
    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            serializer.serialize_u32(self.0 / 100)
        } else {
            serializer.serialize_f64(f64::from(self.0) / 100.0)
        }
    }
}

impl JsonSchema for Cents {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cents".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}

/// An amount as the caller wrote it
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Amount(serde_json::Number);

impl Amount {
    /// The exact number of cents, if it is one
    pub(super) fn cents(&self) -> Result<Cents, String> {
        let text = self.0.to_string();
        parse(&text).ok_or_else(|| format!("{text} is not an amount: give euros above 0 with at most two decimals"))
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0 })
    }
}

fn parse(text: &str) -> Option<Cents> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let only_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !only_digits(whole) || !only_digits(fraction) || fraction.len() > 2 {
        return None;
    }
    let cents = fraction.parse::<u32>().ok()?.checked_mul(if fraction.len() == 1 { 10 } else { 1 })?;
    let all = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(cents)?;
    (all > 0).then_some(Cents(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, cents) in [("25", 2500), ("25.0", 2500), ("25.5", 2550), ("25.05", 2505), ("0.01", 1)] {
            assert_eq!(parse(text), Some(Cents(cents)), "{text}");
        }
        for text in ["0", "0.00", "-1", "0.001", "1e3", "42949673", "", ".", "1.", ".5", "+1", " 1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn cents_read_like_euros() {
        assert_eq!(serde_json::to_string(&[Cents(2500), Cents(2505), Cents(10)]).unwrap(), "[25,25.05,0.1]");
        assert_eq!(Cents(2505).to_string(), "25.05");
    }
}
