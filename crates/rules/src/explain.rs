//! Why a call is judged as it is: every layer in order, what was looked at, and which input decided.
//!
//! The verdict is the judge's own and nothing here can change it. The layers are looked at once more with the
//! same operators, so that what is shown is what was judged.

mod advice;
mod layers;
mod text;

use crate::{case::in_words, finding::Place, places::Places, stage::Judgement};
use portreeve_core::{
    hash::Hash,
    judge::Shelf,
    names::GrantId,
    pattern::Match,
    reason::{Reason, Verdict, Word},
    request::{Call, Clock},
    state::{State, Task},
    time::Millis,
};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// A call at a place in the record, or on a [`Stage`](crate::Stage)
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// What is true there
    pub state: &'a State,
    /// The versions of the policy that it rests on
    pub shelf: &'a Shelf,
    /// The call
    pub call: &'a Call,
    /// When
    pub clock: Clock,
    /// Where the parts of each version stand, as far as that is known
    pub places: &'a BTreeMap<Hash, Places>,
}

/// Why a call is judged as it is
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// `permit`, `ask` or `deny`
    #[serde(serialize_with = "as_word")]
    pub verdict: Verdict,
    /// The call as a person writes it
    pub call: String,
    /// The time that was judged with, in milliseconds since the Unix epoch
    pub time: Millis,
    /// What was looked at, in order
    pub layers: Vec<Layer>,
    /// Every unmet reason, the most useful one first
    pub reasons: Vec<Unmet>,
    /// What would stand against it too, if grants did not take it out of the way: observe mode, elevations, approvals
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lifted: Vec<Unmet>,
    /// The input that decided
    pub decided: String,
    /// What would have to change for a permit
    pub changes: Vec<String>,
}

/// One layer of a judgement
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// `who`, `door`, `what`, `entry`, `limits`, `rules`, `points`
    pub layer: &'static str,
    /// What it is about, for people
    pub title: String,
    /// Where that stands
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What was looked at
    pub lines: Vec<Line>,
}

/// One thing that was looked at
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whether it stands in the way
    pub mark: Mark,
    /// What it is: an argument, a variant, a limit
    pub name: String,
    /// What was given
    #[serde(skip_serializing_if = "String::is_empty")]
    pub given: String,
    /// What is wanted
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wanted: String,
}

/// Whether something stands in the way
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A fact, which nothing is asked of
    #[default]
    Fact,
    /// It is as it has to be
    Yes,
    /// It is not
    No,
    /// That cannot be told, so it counts as the worse
    Unclear,
    /// People are asked
    Ask,
}

impl From<Match> for Mark {
    fn from(found: Match) -> Self {
        match found {
            Match::Yes => Self::Yes,
            Match::No => Self::No,
            Match::Unclear => Self::Unclear,
        }
    }
}

/// An unmet reason
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// The word
    pub word: Word,
    /// What can remove it: `final`, `standing`, `ask`, `later`
    pub sort: String,
    /// Which purpose, rule or node it comes from
    pub source: String,
    /// What it means, with its data
    pub says: String,
    /// The grant that takes it out of the way
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
}

impl From<&Reason> for Unmet {
    fn from(reason: &Reason) -> Self {
        Self {
            word: reason.word,
            sort: reason.sort().to_string(),
            source: reason.source.clone(),
            says: reason.to_string(),
            grant: None,
        }
    }
}

fn as_word<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word_of(*verdict))
}

/// A verdict as commands write it
#[must_use]
pub fn word_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Permit => "permit",
        Verdict::Hold => "ask",
        Verdict::Deny => "deny",
    }
}

impl Explanation {
    /// Judges a call and says why
    #[must_use]
    pub fn of(position: Position<'_>) -> Self {
        let judgement = Judgement::of(position.state, position.shelf, position.call, position.clock);
        let (now, _) = portreeve_core::judge::now(position.state, position.clock);
        let by = |(grant, reason): (GrantId, &Reason)| Unmet { grant: Some(grant), ..Unmet::from(reason) };
        let observed = judgement.admission.iter().filter_map(|admission| admission.observed.as_ref());
        let observed = observed.flat_map(|observed| observed.reasons.iter().map(|reason| (observed.grant, reason)));
        // Classes that were opened, and the yes of people.
        let used = judgement.admission.iter().flat_map(|admission| &admission.used);
        let used = used.map(|used| (used.grant, &used.reason));
        let current = position.shelf.current(position.state).map(AsRef::as_ref);
        Self {
            verdict: judgement.verdict(),
            call: in_words(&position.call.tool, &position.call.arguments),
            time: now,
            layers: layers::of(position, now, &judgement.reasons),
            reasons: judgement.reasons.iter().map(Unmet::from).collect(),
            lifted: observed.chain(used).map(by).collect(),
            decided: advice::decided(&judgement, position.call, current),
            changes: advice::changes(&judgement.reasons, position.call, current),
        }
    }

    /// Why the task of a call cannot even be opened
    #[must_use]
    pub fn of_opening(call: String, time: Millis, reasons: &[Reason]) -> Self {
        let lines = reasons.iter().map(|reason| Line {
            mark: Mark::No,
            name: reason.word.to_string(),
            given: reason.to_string(),
            wanted: String::new(),
        });
        let title = "the task cannot be opened, so nothing is called in it".to_owned();
        let layers = vec![Layer { layer: "door", title, place: None, lines: lines.collect() }];
        let judgement = Judgement::refused(reasons.to_vec());
        Self {
            verdict: Verdict::Deny,
            call,
            time,
            layers,
            reasons: reasons.iter().map(Unmet::from).collect(),
            lifted: Vec::new(),
            decided: advice::first(&judgement.reasons),
            changes: reasons.iter().map(|reason| reason.word.remedy().to_owned()).collect(),
        }
    }
}

/// The task and its ancestors, the nearest first
fn chain<'a>(position: &Position<'a>) -> Vec<(portreeve_core::names::TaskId, &'a Task)> {
    let first = position.state.task_of(position.call.run);
    let first = first.and_then(|id| Some((id, position.state.task(id)?)));
    let above = |(_, task): &(_, &'a Task)| {
        let parent = task.parent?;
        Some((parent, position.state.task(parent)?))
    };
    std::iter::successors(first, above).collect()
}

#[cfg(test)]
mod tests;
