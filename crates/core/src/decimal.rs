//! Exact decimal numbers, as JSON text spells them.
//!
//! A limit such as "at most 100.10" must never depend on how a double rounds, and two spellings of one
//! number (`1`, `1.0`, `10e-1`) must never be two numbers. So numbers stay digits and an exponent.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{cmp::Ordering, fmt, str::FromStr};

/// A decimal number, exact and normalised: equality, order and hash are those of the number
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    // INVARIANT: zero is never negative.
    negative: bool,
    // INVARIANT: the power of ten of the first digit, within ±EXPONENT_MAX; 0 for zero.
    exponent: i32,
    // INVARIANT: ASCII digits, neither first nor last is `0`, at most DIGITS_MAX; empty for zero.
    digits: Box<str>,
}

impl Decimal {
    /// Reads a JSON number; `None` if the text is not one, or needs more than 64 significant digits or an
    /// exponent beyond ±4096
    ///
    /// The bounds are on the number, not on its spelling: `1000e-3` and `1` are accepted or refused
    /// together. They keep hostile numbers such as `1e999999999` from costing memory later.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, rest) = split_digits(rest)?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest)?,
            None => ("", rest),
        };
        let shift = match rest.strip_prefix(['e', 'E']) {
            Some(rest) => parse_exponent(rest)?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        Self::normalised(negative, whole, fraction, shift)
    }

    /// The number as a signed 64-bit integer, if it is one exactly
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        self.to_i128()?.try_into().ok()
    }

    /// The number as an unsigned 64-bit integer, if it is one exactly
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        self.to_i128()?.try_into().ok()
    }

    /// The nearest finite double, for code that knows no exact numbers
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        // The canonical text is always a number that std can read.
        let double: f64 = self.to_string().parse().unwrap_or_default();
        double.clamp(f64::MIN, f64::MAX)
    }

    fn normalised(negative: bool, whole: &str, fraction: &str, shift: i64) -> Option<Self> {
        let digits = || whole.bytes().chain(fraction.bytes());
        let is_zero = |byte: &u8| *byte == b'0';
        let length = whole.len() + fraction.len();
        let leading = digits().take_while(is_zero).count();
        if leading == length {
            return Some(Self::zero());
        }
        let trailing = digits().rev().take_while(is_zero).count();
        let significant = length - leading - trailing;
        if significant > DIGITS_MAX {
            return None;
        }
        let first = i64::try_from(whole.len()).ok()? - 1 - i64::try_from(leading).ok()?;
        let exponent = i32::try_from(first.checked_add(shift)?).ok()?;
        if !(-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent) {
            return None;
        }
        let digits: String = digits().skip(leading).take(significant).map(char::from).collect();
        Some(Self { negative, exponent, digits: digits.into() })
    }

    fn zero() -> Self {
        Self { negative: false, exponent: 0, digits: "".into() }
    }

    fn signum(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Digits before the decimal point; zero or less if the number starts behind it
    fn point(&self) -> i32 {
        self.exponent.saturating_add(1)
    }

    fn to_i128(&self) -> Option<i128> {
        let point = usize::try_from(self.point()).ok()?;
        let zeros = point.checked_sub(self.digits.len())?;
        // 38 digits may not fit, and no caller wants more than 20.
        if point > 37 {
            return None;
        }
        let digits = self.digits.bytes().chain(std::iter::repeat_n(b'0', zeros));
        let magnitude = digits.fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.signum();
        // Without leading and trailing zeros the text order of the digits is their numeric order.
        let magnitude = || (self.exponent, &self.digits).cmp(&(other.exponent, &other.digits));
        sign.cmp(&other.signum()).then_with(|| match sign {
            0 => Ordering::Equal,
            1 => magnitude(),
            _ => magnitude().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Canonical text, chosen as ECMAScript chooses it: plain from 1e-6 up to 21 digits before the point,
/// otherwise `d.ddde±x`
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let point = self.point();
        if !PLAIN_POINTS.contains(&point) {
            let (first, rest) = self.digits.split_at_checked(1).ok_or(fmt::Error)?;
            let dot = if rest.is_empty() { "" } else { "." };
            return write!(f, "{first}{dot}{rest}e{:+}", self.exponent);
        }
        let Ok(before @ 1..) = usize::try_from(point) else {
            let zeros = usize::try_from(point.unsigned_abs()).map_err(|_| fmt::Error)?;
            return write!(f, "0.{:0<zeros$}{}", "", self.digits);
        };
        match self.digits.split_at_checked(before) {
            Some((whole, "")) => f.write_str(whole),
            Some((whole, fraction)) => write!(f, "{whole}.{fraction}"),
            None => write!(f, "{:0<before$}", self.digits),
        }
    }
}

/// The text is no JSON number, or one beyond the bounds of [`Decimal::parse`]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a JSON number of at most 64 digits and an exponent within ±4096")]
pub struct NotADecimal;

impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        Self::parse(text).ok_or(NotADecimal)
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        let digits = number.unsigned_abs().to_string();
        Self::normalised(number < 0, &digits, "", 0).unwrap_or_else(Self::zero)
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        Self::normalised(false, &number.to_string(), "", 0).unwrap_or_else(Self::zero)
    }
}

/// As a string: a JSON number would be read back as a double by whoever reads the record
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The leading digits, at least one, and what follows them
fn split_digits(text: &str) -> Option<(&str, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, "") = split_digits(rest)? else {
        return None;
    };
    // Saturated far beyond what the longest text could shift back into the bounds.
    let magnitude = digits.bytes().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(SHIFT_MAX));
    Some(if negative { -magnitude } else { magnitude })
}

const DIGITS_MAX: usize = 64;
const EXPONENT_MAX: i32 = 4096;
const SHIFT_MAX: i64 = 1 << 50;
const PLAIN_POINTS: std::ops::RangeInclusive<i32> = -5..=21;

#[cfg(test)]
mod tests;
