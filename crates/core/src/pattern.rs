//! The closed set of operators with which a purpose says which values an argument may have.
//!
//! Matching is three-valued. What cannot be read as the operator needs it is *unclear*: it never lets a call
//! through, and never hides one from a stricter class or from a question. Numbers are compared as exact
//! decimals of their text. A placeholder stands for a whole value, never for a piece of text.

mod compare;
mod text;

use crate::{
    decimal::Decimal,
    hash::Hash,
    names::Name,
    path::{FieldPath, Reached},
    value::Value,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};
use text::{Email, EmailShape, FilePath, UrlShape};

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
    Glob(String),
    /// The path of a file or folder, or of something in it
    Under(Operand),
    /// The path of exactly this file or folder
    Path(Operand),
    /// The address of a page: scheme, host, port, and a path at or below; `*.` before the host stands for any
    /// host below it, `?*` at the end for any query
    Url(Operand),
    /// The address of one person; `*@host` stands for everybody there
    Email(Operand),
    /// A number that is not greater
    AtMost(Operand),
    /// A number that is not smaller
    AtLeast(Operand),
    /// Text of at most so many bytes of UTF-8; of anything else, its canonical JSON
    MaxBytes(u64),
    /// A value that a field of an earlier step's result had in this task
    From(Source),
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

/// A field of the results of a step, written `look.items[*].id`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The step
    pub step: Name,
    /// The field in its structured result
    pub field: FieldPath,
}

/// Whether a value has the form that a pattern asks for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It has
    Yes,
    /// It has not
    No,
    /// It is of another type, or two readers could take it for different things
    Unclear,
}

impl Match {
    fn of(holds: Option<bool>) -> Self {
        holds.map_or(Self::Unclear, |holds| if holds { Self::Yes } else { Self::No })
    }

    /// Both at once
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unclear, _) | (_, Self::Unclear) => Self::Unclear,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

/// What placeholders stand for
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The task's parameters
    pub parameters: &'a BTreeMap<Name, Value>,
    /// The user's attributes; empty outside `[open]`
    pub attributes: &'a BTreeMap<String, Value>,
    /// Digests of the values that earlier steps returned
    pub returned: &'a BTreeMap<Source, BTreeSet<Hash>>,
}

static NO_PARAMETERS: BTreeMap<Name, Value> = BTreeMap::new();
static NO_ATTRIBUTES: BTreeMap<String, Value> = BTreeMap::new();
static NO_RESULTS: BTreeMap<Source, BTreeSet<Hash>> = BTreeMap::new();

impl<'a> Scope<'a> {
    /// Nothing stands for anything: facts, which know no task
    pub const NONE: Scope<'static> =
        Scope { parameters: &NO_PARAMETERS, attributes: &NO_ATTRIBUTES, returned: &NO_RESULTS };

    /// The opening of a task
    #[must_use]
    pub fn opening(parameters: &'a BTreeMap<Name, Value>, attributes: Option<&'a BTreeMap<String, Value>>) -> Self {
        Self { parameters, attributes: attributes.unwrap_or(&NO_ATTRIBUTES), returned: &NO_RESULTS }
    }

    /// A task under way
    #[must_use]
    pub fn task(parameters: &'a BTreeMap<Name, Value>, returned: &'a BTreeMap<Source, BTreeSet<Hash>>) -> Self {
        Self { parameters, attributes: &NO_ATTRIBUTES, returned }
    }

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

impl Operand {
    /// Only what the policy itself writes may hold `*`: a value never widens a pattern
    fn may_be_wild(&self) -> bool {
        matches!(self, Self::Literal(_))
    }
}

impl Pattern {
    /// Whether `value` (`None`: the argument is absent) has the form that the pattern asks for
    #[must_use]
    pub fn test(&self, value: Option<&Value>, scope: Scope<'_>) -> Match {
        let Some(value) = value else {
            return match self {
                Self::Any | Self::Absent => Match::Yes,
                Self::All(patterns) => {
                    patterns.iter().fold(Match::Yes, |so_far, each| so_far.and(each.test(None, scope)))
                }
                _ => Match::No,
            };
        };
        match self {
            Self::Any => Match::Yes,
            Self::Absent => Match::No,
            Self::All(patterns) => {
                patterns.iter().fold(Match::Yes, |so_far, each| so_far.and(each.test(Some(value), scope)))
            }
            Self::Is(operand) => Match::of(scope.resolve(operand).map(|known| known == value)),
            Self::In(operands) => Match::of(Some(operands.iter().any(|operand| scope.resolve(operand) == Some(value)))),
            Self::Prefix(operand) => {
                both(plain_text(value), scope.text(operand), |text, prefix| text.starts_with(prefix))
            }
            Self::Glob(shape) => Match::of(plain_text(value).map(|text| glob(text, shape))),
            Self::Under(operand) => {
                both(file(value), scope.text(operand).and_then(FilePath::read), |path, base| path.is_under(&base))
            }
            Self::Path(operand) => {
                both(file(value), scope.text(operand).and_then(FilePath::read), |path, other| path == other)
            }
            Self::Url(operand) => {
                let shape = scope.text(operand).and_then(|text| UrlShape::read(text, operand.may_be_wild()));
                both(value.as_str().and_then(text::url), shape, |url, shape| shape.covers(&url))
            }
            Self::Email(operand) => {
                let shape = scope.text(operand).and_then(|text| EmailShape::read(text, operand.may_be_wild()));
                both(value.as_str().and_then(Email::read), shape, |email, shape| shape.covers(&email))
            }
            Self::AtMost(operand) => both(as_number(value), scope.number(operand), |number, bound| number <= bound),
            Self::AtLeast(operand) => both(as_number(value), scope.number(operand), |number, bound| number >= bound),
            Self::MaxBytes(most) => Match::of(Some(bytes_of(value) <= *most)),
            Self::From(source) => {
                Match::of(Some(scope.returned.get(source).is_some_and(|known| known.contains(&value.digest()))))
            }
        }
    }

    /// Whether all that a path leads to has the form
    ///
    /// Empty arrays hold nothing that could be outside.
    #[must_use]
    pub fn holds(&self, reached: &Reached<'_>, scope: Scope<'_>) -> bool {
        !reached.broken && reached.values.iter().all(|value| self.test(*value, scope) == Match::Yes)
    }

    /// Whether what a path leads to has the form: unclear where some of it has and some has not
    #[must_use]
    pub fn picks(&self, reached: &Reached<'_>, scope: Scope<'_>) -> Match {
        if reached.broken {
            return Match::Unclear;
        }
        let mut values = reached.values.iter().map(|value| self.test(*value, scope));
        let first = values.next().unwrap_or(Match::No);
        if values.all(|each| each == first) { first } else { Match::Unclear }
    }

    /// Every operand in the pattern
    pub fn operands(&self) -> Box<dyn Iterator<Item = &Operand> + '_> {
        match self {
            Self::Is(operand)
            | Self::Prefix(operand)
            | Self::Under(operand)
            | Self::Path(operand)
            | Self::Url(operand)
            | Self::Email(operand)
            | Self::AtMost(operand)
            | Self::AtLeast(operand) => Box::new(std::iter::once(operand)),
            Self::In(operands) => Box::new(operands.iter()),
            Self::Glob(_) | Self::MaxBytes(_) | Self::From(_) | Self::Absent | Self::Any => {
                Box::new(std::iter::empty())
            }
            Self::All(patterns) => Box::new(patterns.iter().flat_map(Self::operands)),
        }
    }

    /// Every field of an earlier result that the pattern needs
    pub fn sources(&self) -> Box<dyn Iterator<Item = &Source> + '_> {
        match self {
            Self::From(source) => Box::new(std::iter::once(source)),
            Self::All(patterns) => Box::new(patterns.iter().flat_map(Self::sources)),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Whether a text can be the operand of `under` and `path`, `url`, or `email` as it is written in a policy
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let text = |operand: &Operand| match operand {
            Operand::Literal(value) => Some(value.as_str().map(ToOwned::to_owned)),
            Operand::Parameter(_) | Operand::Attribute(_) => None,
        };
        let good = |operand: &Operand, read: fn(&str) -> bool| {
            text(operand).is_none_or(|text| text.is_some_and(|text| read(&text)))
        };
        match self {
            Self::Under(operand) | Self::Path(operand) => good(operand, |text| FilePath::read(text).is_some()),
            Self::Url(operand) => good(operand, |text| UrlShape::read(text, true).is_some()),
            Self::Email(operand) => good(operand, |text| EmailShape::read(text, true).is_some()),
            Self::All(patterns) => patterns.iter().all(Self::is_readable),
            _ => true,
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
            Self::Glob(shape) => format!("text of the form {}", Value::String(shape.clone())),
            Self::Under(operand) => format!("a path at or below {}", show(operand)),
            Self::Path(operand) => format!("the path {}", show(operand)),
            Self::Url(operand) => format!("an address at or below {}", show(operand)),
            Self::Email(operand) => format!("the mail address {}", show(operand)),
            Self::AtMost(operand) => format!("a number of at most {}", show(operand)),
            Self::AtLeast(operand) => format!("a number of at least {}", show(operand)),
            Self::MaxBytes(most) => format!("at most {most} bytes long"),
            Self::From(source) => format!("a value of `{}` that `{}` returned", source.field, source.step),
            Self::Absent => "left out".to_owned(),
            Self::Any => "anything".to_owned(),
            Self::All(patterns) => {
                patterns.iter().map(|pattern| pattern.in_words(scope)).collect::<Vec<_>>().join(" and ")
            }
        }
    }
}

/// Patterns of several arguments, by their paths
pub type Conditions = BTreeMap<FieldPath, Pattern>;

/// Whether a call with these arguments is picked out by conditions: a variant, a matcher
#[must_use]
pub fn picks(conditions: &Conditions, arguments: &BTreeMap<String, Value>) -> Match {
    let each = |(path, pattern): (&FieldPath, &Pattern)| pattern.picks(&path.select(arguments), Scope::NONE);
    conditions.iter().map(each).fold(Match::Yes, Match::and)
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

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.field.root().is_some() { "." } else { "" };
        write!(f, "{}{dot}{}", self.step, self.field)
    }
}

/// The text names no field of a step's result
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no field of a step's result: expected a step and a path, such as `look.items[*].id`")]
pub struct NoSource;

impl FromStr for Source {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        let at = text.find(['.', '[']).ok_or(NoSource)?;
        let (step, field) = text.split_at_checked(at).ok_or(NoSource)?;
        let field = field.strip_prefix('.').unwrap_or(field);
        Ok(Self { step: step.parse().map_err(|_| NoSource)?, field: field.parse().map_err(|_| NoSource)? })
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn both<A, B>(left: Option<A>, right: Option<B>, holds: impl FnOnce(A, B) -> bool) -> Match {
    Match::of(left.zip(right).map(|(left, right)| holds(left, right)))
}

fn as_number(value: &Value) -> Option<&Decimal> {
    match value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

fn plain_text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| text::plain(text))
}

fn file(value: &Value) -> Option<FilePath<'_>> {
    value.as_str().and_then(FilePath::read)
}

/// Bytes of a text, or of the canonical JSON of anything else
fn bytes_of(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.canonical().len(), str::len) as u64
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
