//! Which of two patterns is wider.
//!
//! The set of operators is closed so that this can be answered from the policy alone. The answer is sound and
//! not complete: `true` is a proof, `false` may only mean that none was found.

use super::{EmailShape, FilePath, Match, Operand, Pattern, Scope, UrlShape};
use crate::{
    decimal::Decimal,
    names::Name,
    policy::{Kind, Parameter},
    value::Value,
};
use std::collections::BTreeMap;

/// What parameters may be
type Parameters = BTreeMap<Name, Parameter>;

impl Pattern {
    /// Whether every value that `other` matches is matched too, in the same task
    ///
    /// `parameters` are declarations that the values of the task are known to keep to.
    #[must_use]
    pub fn covers(&self, other: &Self, parameters: &Parameters) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (one, two) if one == two => true,
            (Self::All(all), other) => all.iter().all(|each| each.covers(other, parameters)),
            (one, Self::All(all)) => all.iter().any(|each| one.covers(each, parameters)),
            (one, Self::Is(operand)) => one.covers_operand(operand, parameters),
            (one, Self::In(operands)) => operands.iter().all(|operand| one.covers_operand(operand, parameters)),
            (Self::AtMost(bound), Self::AtMost(other)) => {
                least(bound, parameters).zip(greatest(other, parameters)).is_some_and(|(bound, other)| bound >= other)
            }
            (Self::AtLeast(bound), Self::AtLeast(other)) => {
                greatest(bound, parameters).zip(least(other, parameters)).is_some_and(|(bound, other)| bound <= other)
            }
            (Self::MaxBytes(most), Self::MaxBytes(other)) => most >= other,
            (Self::Prefix(own), Self::Prefix(other)) => starts(text(other), own),
            (Self::Prefix(own), Self::Glob(shape)) => starts(Some(head(shape)), own),
            (Self::Under(base), Self::Prefix(other)) => text(other).is_some_and(|text| begins_under(text, base)),
            (Self::Under(base), Self::Glob(shape)) => begins_under(head(shape), base),
            (Self::Under(base), Self::Under(other) | Self::Path(other)) => {
                texts(base, other, FilePath::read).is_some_and(|(base, other)| other.is_under(&base))
            }
            (Self::Path(own), Self::Path(other)) => {
                texts(own, other, FilePath::read).is_some_and(|(own, other)| own == other)
            }
            (Self::Url(own), Self::Url(other)) => texts(own, other, |text| UrlShape::read(text, true))
                .is_some_and(|(own, other)| own.covers_shape(&other)),
            (Self::Email(own), Self::Email(other)) => texts(own, other, |text| EmailShape::read(text, true))
                .is_some_and(|(own, other)| own.covers_shape(&other)),
            _ => false,
        }
    }

    /// Whether no value is matched by both
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All(all), other) | (other, Self::All(all)) => all.iter().any(|each| each.excludes(other)),
            (Self::Is(Operand::Literal(value)), other) | (other, Self::Is(Operand::Literal(value))) => {
                other.cannot_be(value)
            }
            (Self::In(operands), other) | (other, Self::In(operands)) => operands.iter().all(|operand| match operand {
                Operand::Literal(value) => other.cannot_be(value),
                Operand::Parameter(_) | Operand::Attribute(_) => false,
            }),
            (
                Self::AtMost(Operand::Literal(Value::Number(most))),
                Self::AtLeast(Operand::Literal(Value::Number(least))),
            )
            | (
                Self::AtLeast(Operand::Literal(Value::Number(least))),
                Self::AtMost(Operand::Literal(Value::Number(most))),
            ) => most < least,
            (Self::Absent, other) | (other, Self::Absent) => other.test(None, Scope::NONE) == Match::No,
            _ => false,
        }
    }

    fn cannot_be(&self, value: &Value) -> bool {
        let is_written_out = self.operands().all(|operand| matches!(operand, Operand::Literal(_)));
        is_written_out && self.sources().next().is_none() && self.test(Some(value), Scope::NONE) != Match::Yes
    }

    fn covers_operand(&self, operand: &Operand, parameters: &Parameters) -> bool {
        let parameter = match operand {
            Operand::Literal(value) => return self.test(Some(value), Scope::NONE) == Match::Yes,
            Operand::Attribute(_) => return false,
            Operand::Parameter(name) => name,
        };
        if let Self::In(operands) = self
            && operands.contains(operand)
        {
            return true;
        }
        match (self, parameters.get(parameter).map(|parameter| &parameter.kind)) {
            (one, Some(Kind::Choice(values))) => {
                values.iter().all(|value| one.test(Some(value), Scope::NONE) == Match::Yes)
            }
            (Self::AtMost(bound), Some(Kind::Decimal { .. })) => {
                least(bound, parameters).zip(greatest(operand, parameters)).is_some_and(|(bound, most)| bound >= most)
            }
            (Self::AtLeast(bound), Some(Kind::Decimal { .. })) => {
                greatest(bound, parameters).zip(least(operand, parameters)).is_some_and(|(bound, least)| bound <= least)
            }
            (Self::MaxBytes(most), Some(Kind::Text { bytes_max, .. })) => *most >= *bytes_max as u64,
            _ => false,
        }
    }
}

impl Kind {
    /// Whether every value that `other` reads is read too, and as the same value
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text { pattern: own, bytes_max }, Self::Text { pattern, bytes_max: other_max }) => {
                let same = match (own, pattern) {
                    (None, _) => true,
                    (Some(own), Some(pattern)) => own.as_str() == pattern.as_str(),
                    (Some(_), None) => false,
                };
                same && bytes_max >= other_max
            }
            (Self::Decimal { min, max }, Self::Decimal { min: other_min, max: other_max }) => {
                let at_least = min.as_ref().is_none_or(|min| other_min.as_ref().is_some_and(|other| min <= other));
                let at_most = max.as_ref().is_none_or(|max| other_max.as_ref().is_some_and(|other| max >= other));
                at_least && at_most
            }
            (Self::Bool, Self::Bool) => true,
            (Self::Choice(own), Self::Choice(other)) => other.iter().all(|value| own.contains(value)),
            _ => false,
        }
    }
}

/// The least number that an operand can be
fn least<'a>(operand: &'a Operand, parameters: &'a Parameters) -> Option<&'a Decimal> {
    match operand {
        Operand::Literal(Value::Number(number)) => Some(number),
        Operand::Parameter(name) => match &parameters.get(name)?.kind {
            Kind::Decimal { min, .. } => min.as_ref(),
            _ => None,
        },
        _ => None,
    }
}

/// The greatest number that an operand can be
fn greatest<'a>(operand: &'a Operand, parameters: &'a Parameters) -> Option<&'a Decimal> {
    match operand {
        Operand::Literal(Value::Number(number)) => Some(number),
        Operand::Parameter(name) => match &parameters.get(name)?.kind {
            Kind::Decimal { max, .. } => max.as_ref(),
            _ => None,
        },
        _ => None,
    }
}

fn text(operand: &Operand) -> Option<&str> {
    match operand {
        Operand::Literal(value) => value.as_str(),
        Operand::Parameter(_) | Operand::Attribute(_) => None,
    }
}

fn texts<'a, T>(one: &'a Operand, two: &'a Operand, read: impl Fn(&'a str) -> Option<T>) -> Option<(T, T)> {
    Some((read(text(one)?)?, read(text(two)?)?))
}

fn starts(begin: Option<&str>, prefix: &Operand) -> bool {
    begin.zip(text(prefix)).is_some_and(|(begin, prefix)| begin.starts_with(prefix))
}

/// What every text of a shape begins with
fn head(shape: &str) -> &str {
    shape.split('*').next().unwrap_or_default()
}

/// Whether every plain text that begins so is a path at or below `base`
fn begins_under(begin: &str, base: &Operand) -> bool {
    let folder = begin.rfind('/').and_then(|at| begin.get(..=at));
    let paths = folder.and_then(FilePath::read).zip(text(base).and_then(FilePath::read));
    paths.is_some_and(|(folder, base)| folder.is_under(&base))
}
