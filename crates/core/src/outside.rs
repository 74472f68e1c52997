//! Decision points outside of the policy's own language: which calls they are asked about, what they are
//! told, and what their answers mean.
//!
//! A point can only add reasons: what it does not permit is one, and so are silence and an answer that cannot
//! be understood. The core asks nobody. [`judge_call`](crate::judge::judge_call) says which questions a call
//! needs, the shell asks them, and the call is judged again with the [`Answer`]s. Each answer names the one
//! question that it answers, by digest over the point's definition and everything that the point was told but
//! the time, so no answer can stand for another call, another policy or another point.

mod wire;

pub use wire::{ANSWER_BYTES_MAX, body, one_line, read_authzen, read_opa, read_result, timed};

use crate::{
    hash::Hash,
    names::{EffectId, Name, TaskId, Tool},
    policy::{Class, Resource, Usage},
    proof::{BY_ACCOUNT, Proven},
    reason::{Reason, Word},
    rules::Question,
    time::Millis,
    value::Value,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A decision point that is asked over the network
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The name of its file
    pub name: Name,
    /// What it speaks
    pub wire: Wire,
    /// Where it is asked
    pub url: String,
    /// Milliseconds that it has for an answer
    pub timeout_ms: i64,
    /// Milliseconds for which an answer may serve another call with the very same question; 0 is never
    pub reuse_ms: i64,
    /// What it is told of the arguments
    pub sends: Sends,
    /// Which calls it is asked about
    pub covers: Covers,
}

/// What a point speaks
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The Data API of Open Policy Agent
    Opa,
    /// OpenID AuthZEN, Authorization API 1.0
    Authzen,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opa => "opa",
            Self::Authzen => "authzen",
        })
    }
}

/// What a point is told of the arguments
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// A digest of each
    Digests,
    /// All of them, whole; each asking is recorded before it leaves
    Arguments,
}

impl fmt::Display for Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digests => "digests",
            Self::Arguments => "arguments",
        })
    }
}

/// Which calls a point is asked about
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Covers {
    /// Every call
    #[default]
    All,
    /// Calls that one of these fits
    Some(Vec<Cover>),
}

/// One kind of call
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Calls of a tool, or of a variant of it; a tool without a variant means every call of it
    Usage(Usage),
    /// Calls of every tool of a connector
    Connector(Name),
    /// Calls of a class
    Class(Class),
}

impl Covers {
    /// Whether a call of `tool` that fits `variants` and is of `class` is asked about
    #[must_use]
    pub fn cover(&self, tool: &Tool, variants: &[&Name], class: Class) -> bool {
        let Self::Some(covers) = self else { return true };
        covers.iter().any(|cover| match cover {
            Cover::Usage(usage) => {
                usage.tool == *tool && usage.variant.as_ref().is_none_or(|variant| variants.contains(&variant))
            }
            Cover::Connector(connector) => *connector == tool.connector,
            Cover::Class(of) => *of == class,
        })
    }
}

/// What a decision point is told of a call, the time aside
///
/// The same members for every kind of point. With [`Sends::Digests`] the arguments stand as `digests`, one
/// [`argument_digest`] for each; with [`Sends::Arguments`] as `arguments`, whole.
#[must_use]
pub fn document(question: &Question<'_>, bundle: Hash, sends: Sends) -> BTreeMap<String, Value> {
    let text = |text: &dyn fmt::Display| Value::String(text.to_string());
    let link = |link: &crate::rules::Link<'_>| {
        let members = [("agent", text(link.agent)), ("purpose", text(link.purpose))];
        Value::Object(members.map(|(key, value)| (key.to_owned(), value)).into())
    };
    let matches = question.matches.iter().map(|(name, matches)| (name.to_string(), Value::Bool(*matches)));
    let (name, arguments) = match sends {
        Sends::Digests => {
            let digest = |(name, value): (&String, &Value)| {
                (name.clone(), Value::String(format!("sha256:{}", argument_digest(question.task, name, value))))
            };
            ("digests", question.arguments.iter().map(digest).collect())
        }
        Sends::Arguments => ("arguments", question.arguments.clone()),
    };
    let members = [
        ("agent", text(question.agent)),
        ("purpose", text(question.purpose)),
        ("task", text(&question.task)),
        ("chain", Value::Array(question.above.iter().map(link).collect())),
        ("proof", proof(question.proven)),
        ("tool", text(question.tool)),
        ("connector", text(&question.tool.connector)),
        ("variants", Value::Array(question.variants.iter().map(|name| text(name)).collect())),
        ("class", text(&question.class)),
        ("bundle", text(&bundle)),
        ("match", Value::Object(matches.collect())),
        (name, Value::Object(arguments)),
    ];
    let user = question.user.map(|user| ("user", text(user)));
    let target = question.target.map(|target| ("target", resource(target, question.task, sends)));
    // It may be the value of an argument.
    let environment = question.environment.filter(|_| sends == Sends::Arguments);
    let environment = environment.map(|environment| ("environment", text(&environment)));
    let more = user.into_iter().chain(target).chain(environment);
    members.into_iter().chain(more).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// How the agent has proven itself, and what is needed beside its token
fn proof(proven: Option<&Proven>) -> Value {
    let said = [
        ("how", Some(proven.map_or(BY_ACCOUNT, |proven| proven.how.as_str()))),
        ("bound", Some(Proven::bound(proven))),
        ("issuer", proven.and_then(|proven| proven.issuer.as_ref()).map(Name::as_str)),
        ("subject", proven.map(|proven| proven.subject.as_str())),
    ];
    let said = said.into_iter().filter_map(|(name, said)| Some((name.to_owned(), Value::String(said?.to_owned()))));
    Value::Object(said.collect())
}

/// What a call is about; its name is made of arguments, and so is told as they are
fn resource(target: &Resource, task: TaskId, sends: Sends) -> Value {
    let id = Value::String(target.id.clone());
    let name = match sends {
        Sends::Digests => ("digest", Value::String(format!("sha256:{}", argument_digest(task, &target.kind, &id)))),
        Sends::Arguments => ("id", id),
    };
    let within = target.within.iter().map(|outer| resource(outer, task, sends)).collect();
    let members = [("type", Value::String(target.kind.clone())), name, ("in", Value::Array(within))];
    Value::Object(members.map(|(key, value)| (key.to_owned(), value)).into())
}

/// The digest under which a point knows an argument: SHA-256 over the lines `portreeve argument`, task, name
/// and canonical value
///
/// Whoever knows the value can compute it, which is what it is for; so can whoever can guess the value. The
/// task in it keeps points from telling that two tasks used the same value.
#[must_use]
pub fn argument_digest(task: TaskId, name: &str, value: &Value) -> Hash {
    // A name may hold anything, so it stands as the canonical text of a string, which has no line breaks.
    let name = Value::String(name.to_owned()).canonical();
    Hash::of(format!("portreeve argument\n{task}\n{name}\n{}", value.canonical()).as_bytes())
}

/// One question that has to be put to a point
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Whom
    pub point: Arc<Point>,
    /// What it is told, the time aside
    pub document: BTreeMap<String, Value>,
    /// The digest that its answer has to name
    pub question: Hash,
}

impl Asking {
    /// The question about a call
    #[must_use]
    pub fn new(point: &Arc<Point>, question: &Question<'_>, bundle: Hash) -> Self {
        let document = document(question, bundle, point.sends);
        let told = Value::Object(document.clone()).canonical();
        // Everything that makes the point answer what it answers; not its name, time-out and reach.
        let (wire, sends) = (point.wire.to_string(), point.sends.to_string());
        let parts = ["portreeve question", &wire, &point.url, &sends, &told];
        let question = Hash::of_parts(&parts.map(str::as_bytes));
        Self { point: Arc::clone(point), document, question }
    }
}

/// What a point said to one question
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who
    pub point: Name,
    /// To which question
    pub question: Hash,
    /// For which call it was asked
    pub effect: EffectId,
    /// When it was asked, on the steady clock
    pub at: Millis,
    /// What
    pub said: Said,
}

/// What came of asking
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing against it
    Permit,
    /// No, and perhaps why, fit for the agent
    Refuse(Option<String>),
    /// Nothing: no connection, no answer in time
    Silent(String),
    /// Something that cannot be understood
    Failed(String),
}

/// What the answers at hand mean for a call
#[derive(Clone, Debug, Default)]
pub(crate) struct Weighed {
    /// What is not permitted
    pub(crate) reasons: Vec<Reason>,
    /// What nobody has answered yet, or too long ago
    pub(crate) unanswered: Vec<Asking>,
    /// The answers that were judged with
    pub(crate) heard: Vec<Answer>,
}

/// Holds answers against the questions of a call
pub(crate) fn weigh(askings: Vec<Asking>, effect: EffectId, answers: &[Answer], now: Millis) -> Weighed {
    let mut weighed = Weighed::default();
    if askings.len() > QUESTIONS_MAX {
        let reason = Reason::new(Word::OutsideFailed, "extra").with("limit", QUESTIONS_MAX);
        weighed.reasons.push(reason.with("because", "too many outside decision points cover this call"));
        return weighed;
    }
    for asking in askings {
        let point = &asking.point;
        let fits = |answer: &&Answer| {
            let allowed = if answer.effect == effect { point.reuse_ms.max(FRESH_MS) } else { point.reuse_ms };
            let age = now.since(answer.at);
            // Nothing is as young as an answer from the future, which only a broken clock or shell has.
            answer.point == point.name
                && answer.question == asking.question
                && allowed > 0
                && (0..=allowed).contains(&age)
        };
        // If there are several, the one that permits least counts.
        let Some(answer) = answers.iter().filter(fits).max_by_key(|answer| answer.said != Said::Permit) else {
            weighed.unanswered.push(asking);
            continue;
        };
        weighed.reasons.extend(answer.said.reason(&point.name));
        weighed.heard.push(answer.clone());
    }
    weighed
}

impl Said {
    /// The reason that it is, unless it permits
    #[must_use]
    pub fn reason(&self, point: &Name) -> Option<Reason> {
        let (word, because) = match self {
            Self::Permit => return None,
            Self::Refuse(because) => (Word::OutsideRefuses, because.as_deref()),
            Self::Silent(why) => (Word::OutsideSilent, Some(why.as_str())),
            Self::Failed(why) => (Word::OutsideFailed, Some(why.as_str())),
        };
        let reason = Reason::new(word, source(point)).with("point", point);
        Some(match because {
            Some(because) => reason.with("because", because),
            None => reason,
        })
    }
}

/// Where the reasons of a point say that they come from
#[must_use]
pub fn source(point: &Name) -> String {
    format!("extra:{point}")
}

/// How long an answer serves the call that it was asked for: a child process may have to be started meanwhile
pub const FRESH_MS: i64 = 10_000;
/// Questions about one call: every point of several versions of the policy
pub const QUESTIONS_MAX: usize = 64;

#[cfg(test)]
mod tests;
