//! The closed set of operators with which a purpose says which values an argument may have.
//!
//! What cannot be read as the operator needs it does not match. Numbers are compared as exact decimals of
//! their text. A placeholder stands for a whole value, never for a piece of text.

use crate::{decimal::Decimal, names::Name, value::Value};
use std::{collections::BTreeMap, fmt};

/// Which values an argument may have
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Exactly this value
    Is(Operand),
    /// One of these values
    In(Vec<Operand>),
    /// A string that begins so, without `..` segments, backslashes or control characters
    Prefix(Operand),
    /// A string of this shape: `*` stands for any run of characters except `/`, `**` for any run; without
    /// `..` segments, backslashes or control characters
    Glob(Operand),
    /// A number that is not greater
    AtMost(Operand),
    /// A number that is not smaller
    AtLeast(Operand),
    /// The argument is not there at all; null is not absent
    Absent,
    /// Anything that the tool's schema admits, also nothing
    Any,
    /// All of these at once
    All(Vec<Self>),
}

/// A value in a pattern: written out, or taken from the task or the user
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The value itself
    Literal(Value),
    /// The task's parameter of this name, written `"{name}"`
    Parameter(Name),
    /// The user's attribute of this name, written `"user.name"`; only in `[open]`
    Attribute(String),
}

/// What placeholders stand for
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The task's parameters
    pub parameters: &'a BTreeMap<Name, Value>,
    /// The user's attributes; empty outside `[open]`
    pub attributes: &'a BTreeMap<String, Value>,
}

impl Scope<'_> {
    fn resolve<'v>(&'v self, operand: &'v Operand) -> Option<&'v Value> {
        match operand {
            Operand::Literal(value) => Some(value),
            Operand::Parameter(name) => self.parameters.get(name),
            Operand::Attribute(name) => self.attributes.get(name),
        }
    }

    fn text<'v>(&'v self, operand: &'v Operand) -> Option<&'v str> {
        self.resolve(operand).and_then(Value::as_str)
    }

    fn number<'v>(&'v self, operand: &'v Operand) -> Option<&'v Decimal> {
        self.resolve(operand).and_then(as_number)
    }
}

impl Pattern {
    /// Whether `value` (`None`: the argument is absent) has the form that the pattern asks for
    #[must_use]
    pub fn matches(&self, value: Option<&Value>, scope: Scope<'_>) -> bool {
        match (self, value) {
            (Self::Any, _) => true,
            (Self::Absent, value) => value.is_none(),
            (Self::All(patterns), value) => patterns.iter().all(|pattern| pattern.matches(value, scope)),
            (_, None) => false,
            (Self::Is(operand), Some(value)) => scope.resolve(operand) == Some(value),
            (Self::In(operands), Some(value)) => operands.iter().any(|operand| scope.resolve(operand) == Some(value)),
            (Self::Prefix(operand), Some(value)) => {
                both(plain_text(value), scope.text(operand), |text, prefix| text.starts_with(prefix))
            }
            (Self::Glob(operand), Some(value)) => both(plain_text(value), scope.text(operand), glob),
            (Self::AtMost(operand), Some(value)) => {
                both(as_number(value), scope.number(operand), |number, bound| number <= bound)
            }
            (Self::AtLeast(operand), Some(value)) => {
                both(as_number(value), scope.number(operand), |number, bound| number >= bound)
            }
        }
    }

    /// Every operand in the pattern
    pub fn operands(&self) -> Box<dyn Iterator<Item = &Operand> + '_> {
        match self {
            Self::Is(operand)
            | Self::Prefix(operand)
            | Self::Glob(operand)
            | Self::AtMost(operand)
            | Self::AtLeast(operand) => Box::new(std::iter::once(operand)),
            Self::In(operands) => Box::new(operands.iter()),
            Self::Absent | Self::Any => Box::new(std::iter::empty()),
            Self::All(patterns) => Box::new(patterns.iter().flat_map(Self::operands)),
        }
    }

    /// The pattern in words, with the values that the placeholders stand for in `scope`, or as they are written
    #[must_use]
    pub fn in_words(&self, scope: Option<Scope<'_>>) -> String {
        let show = |operand: &Operand| match scope {
            Some(scope) => scope.resolve(operand).map_or_else(|| "nothing".to_owned(), Value::canonical),
            None => operand.to_string(),
        };
        match self {
            Self::Is(operand) => show(operand),
            Self::In(operands) => format!("one of {}", operands.iter().map(show).collect::<Vec<_>>().join(", ")),
            Self::Prefix(operand) => format!("text that begins with {}", show(operand)),
            Self::Glob(operand) => format!("text of the form {}", show(operand)),
            Self::AtMost(operand) => format!("a number of at most {}", show(operand)),
            Self::AtLeast(operand) => format!("a number of at least {}", show(operand)),
            Self::Absent => "left out".to_owned(),
            Self::Any => "anything".to_owned(),
            Self::All(patterns) => {
                patterns.iter().map(|pattern| pattern.in_words(scope)).collect::<Vec<_>>().join(" and ")
            }
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => value.fmt(f),
            Self::Parameter(name) => write!(f, "\"{{{name}}}\""),
            Self::Attribute(name) => write!(f, "\"user.{name}\""),
        }
    }
}

fn both<A, B>(left: Option<A>, right: Option<B>, holds: impl FnOnce(A, B) -> bool) -> bool {
    left.zip(right).is_some_and(|(left, right)| holds(left, right))
}

fn as_number(value: &Value) -> Option<&Decimal> {
    match value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// Text in which no server sees another path than we do
fn plain_text(value: &Value) -> Option<&str> {
    let text = value.as_str()?;
    let hidden = text.chars().any(|c| c.is_control() || c == '\\');
    let climbs = text.split('/').any(|segment| {
        // A server may decode percent signs once more.
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
        decoded == ".." || decoded == "." || decoded.contains("%2f") || decoded.contains("%5c")
    });
    (!hidden && !climbs).then_some(text)
}

/// Matches in time proportional to the product of the lengths, whatever the pattern
fn glob(text: &str, pattern: &str) -> bool {
    let tokens = Token::read(pattern);
    // reached[i]: the first i tokens can have consumed what was read so far.
    let mut reached = vec![false; tokens.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    spread(&mut reached, &tokens);
    for c in text.chars() {
        let mut next = vec![false; reached.len()];
        for (index, token) in tokens.iter().enumerate() {
            if !reached.get(index).copied().unwrap_or(false) {
                continue;
            }
            let target = match token {
                Token::Char(expected) if *expected == c => index + 1,
                Token::Star if c != '/' => index,
                Token::StarStar => index,
                _ => continue,
            };
            if let Some(slot) = next.get_mut(target) {
                *slot = true;
            }
        }
        spread(&mut next, &tokens);
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// A star may also consume nothing
fn spread(reached: &mut [bool], tokens: &[Token]) {
    for (index, token) in tokens.iter().enumerate() {
        let here = reached.get(index).copied().unwrap_or(false);
        if here
            && !matches!(token, Token::Char(_))
            && let Some(slot) = reached.get_mut(index + 1)
        {
            *slot = true;
        }
    }
}

enum Token {
    Char(char),
    Star,
    StarStar,
}

impl Token {
    fn read(pattern: &str) -> Vec<Self> {
        let mut tokens = Vec::new();
        for c in pattern.chars() {
            match (c, tokens.last()) {
                ('*', Some(Self::Star)) => {
                    tokens.pop();
                    tokens.push(Self::StarStar);
                }
                ('*', Some(Self::StarStar)) => {}
                ('*', _) => tokens.push(Self::Star),
                (c, _) => tokens.push(Self::Char(c)),
            }
        }
        tokens
    }
}

#[cfg(test)]
mod tests;
