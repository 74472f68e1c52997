//! What came of a task, for the agent whose task it was: counts and words, none of its values.

use super::{Office, past::Story, unreadable};
use crate::failure::Failure;
use portreeve_core::{
    event::{Event, HeldWhat, To, What},
    names::{HoldId, Name, RunId, TaskId},
    node::{Node, Why},
    policy::Class,
    reason::{Reason, Word},
    time::Millis,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Records of a task that are read for its outcome
const RECORDS: usize = 4_000;
/// Tools, refusals and questions that are listed at most, each
const LISTED_MAX: usize = 50;
/// Characters of what was asked for, as far as it is shown
const WHAT_CHARS: usize = 120;

/// What came of a task
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The task
    pub task: TaskId,
    /// Who works
    pub agent: Name,
    /// Under which purpose
    pub purpose: Name,
    /// When it was opened
    pub opened: Millis,
    /// When it is over at the latest
    pub expires: Millis,
    /// Why it is over; nothing while it lives
    pub over: Option<Why>,
    /// How many calls there were
    pub calls: Calls,
    /// How the calls ended that were let through, by word
    pub ends: BTreeMap<String, u64>,
    /// The same for each tool, the first used first
    pub tools: Vec<Used>,
    /// What was refused, the latest last
    pub refusals: Vec<Refusal>,
    /// What people were asked, the latest last
    pub holds: Vec<Asked>,
    /// Whether there was more than is listed, or than was read
    pub cut: bool,
}

/// How many calls there were
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Let through; legs of one call are one
    pub allowed: u64,
    /// Refused
    pub refused: u64,
    /// People were asked about
    pub asked: u64,
}

/// A tool that was used
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Which
    pub tool: String,
    /// Of which class the calls were
    pub class: Class,
    /// How many ended how
    pub ends: BTreeMap<String, u64>,
}

/// Something that was refused
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What was asked for
    pub what: String,
    /// Why, as words
    pub words: BTreeSet<Word>,
    /// What would help, for the first of the words
    pub remedy: &'static str,
    /// How often
    pub times: u64,
}

/// Something that people were asked
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The question
    pub hold: HoldId,
    /// What people type
    pub code: String,
    /// What about
    pub what: String,
    /// What came of it: `waiting`, `agreed`, `used`, `declined` or `over`
    pub state: &'static str,
}

impl Office {
    /// What came of a task of this agent
    ///
    /// # Errors
    /// The agent has no such task, or the record cannot be read.
    pub(crate) async fn outcome(&self, agent: &Name, task: TaskId) -> Result<Outcome, Failure> {
        let story = self.past.story(task, RECORDS).await.map_err(unreadable)?;
        // Another agent's task and none at all are the same to whoever asks.
        let missing = || Failure::missing(&[Reason::new(Word::TaskUnknown, task)]);
        let (opened, began) = story.began.as_ref().filter(|(_, began)| began.agent == *agent).ok_or_else(missing)?;
        let now = self.now();
        let found = self.door.ask(move |engine| {
            let state = engine.state();
            let live = state.task(task).map(|live| (live.deadline(), live.passed(now).map(|(why, _)| why)));
            let over = state.ended().find(|(ended, _)| *ended == task).map(|(_, over)| over.why);
            (live, over, engine.gathered(task))
        });
        let (live, over, gathered) = found.await.ok_or_else(Failure::unavailable)?;
        let over = match live {
            Some((_, passed)) => passed,
            None => over.or_else(|| ended(&story, task, began.run)).or(Some(Why::Ended)),
        };
        let mut outcome = Outcome {
            task,
            agent: agent.clone(),
            purpose: began.purpose.clone(),
            opened: *opened,
            expires: live.map_or(began.expires, |(deadline, _)| deadline),
            over,
            calls: Calls::default(),
            ends: BTreeMap::new(),
            tools: Vec::new(),
            refusals: Vec::new(),
            holds: Vec::new(),
            cut: story.cut,
        };
        outcome.add_calls(&story);
        for placed in &story.records {
            match &placed.record.event {
                Event::Refused(refused) => outcome.refuse(&refused.what, &refused.words, refused.count),
                event => outcome.ask(event),
            }
        }
        // What is gathered to be recorded as one event was refused all the same.
        for (what, words, times) in gathered {
            outcome.refuse(&what, &words, times);
        }
        outcome.shorten();
        Ok(outcome)
    }
}

/// Why a task is over that has left memory
fn ended(story: &Story, task: TaskId, run: RunId) -> Option<Why> {
    story.records.iter().rev().find_map(|placed| match &placed.record.event {
        Event::Stopped(stopped) if [Node::Task(task), Node::Run(run)].contains(&stopped.node) => Some(stopped.why),
        _ => None,
    })
}

impl Outcome {
    fn add_calls(&mut self, story: &Story) {
        for made in story.calls() {
            self.calls.allowed = self.calls.allowed.saturating_add(1);
            more(&mut self.ends, &made.view.end);
            let room = self.tools.len() < LISTED_MAX;
            let same = |used: &&mut Used| used.tool == made.view.tool && used.class == made.view.class;
            match self.tools.iter_mut().find(same) {
                Some(used) => more(&mut used.ends, &made.view.end),
                None if room => {
                    let ends = BTreeMap::from([(made.view.end.clone(), 1)]);
                    self.tools.push(Used { tool: made.view.tool, class: made.view.class, ends });
                }
                None => self.cut = true,
            }
        }
    }

    fn refuse(&mut self, what: &str, words: &BTreeSet<Word>, times: u64) {
        self.calls.refused = self.calls.refused.saturating_add(times);
        let what: String = what.chars().take(WHAT_CHARS).collect();
        match self.refusals.iter_mut().find(|known| known.what == what && known.words == *words) {
            Some(known) => known.times = known.times.saturating_add(times),
            None => {
                let remedy = words.first().map(|word| word.remedy()).unwrap_or_default();
                self.refusals.push(Refusal { what, words: words.clone(), remedy, times });
            }
        }
    }

    /// Questions to people, and what came of them
    fn ask(&mut self, event: &Event) {
        let (hold, state) = match event {
            Event::Held(held) => {
                let what = match &held.what {
                    HeldWhat::Call(call) => call.tool.to_string(),
                    HeldWhat::Elevation(elevation) => format!("opening {}", elevation.class),
                    HeldWhat::Opening(_) => format!("opening {}", held.purpose),
                };
                self.calls.asked = self.calls.asked.saturating_add(1);
                self.holds.push(Asked { hold: held.hold, code: held.hold.code(), what, state: "waiting" });
                return;
            }
            Event::Granted(granted) => match (&granted.to, granted.hold) {
                (To::Approval { hold, .. }, _) => (*hold, "agreed"),
                (To::Elevation(_), Some(hold)) => (hold, "used"),
                _ => return,
            },
            Event::Declined(declined) => (declined.hold, "declined"),
            Event::Admitted(admitted) if !matches!(admitted.what, What::Notice { .. }) => match admitted.hold {
                Some(hold) => (hold, "used"),
                None => return,
            },
            Event::Stopped(stopped) => match stopped.node {
                Node::Hold(hold) => (hold, "over"),
                _ => return,
            },
            _ => return,
        };
        if let Some(asked) = self.holds.iter_mut().find(|asked| asked.hold == hold) {
            // What was used or declined stays so when its time is over.
            if !["used", "declined"].contains(&asked.state) {
                asked.state = state;
            }
        }
    }

    fn shorten(&mut self) {
        let surplus = [self.refusals.len(), self.holds.len()].map(|len| len.saturating_sub(LISTED_MAX));
        self.cut |= surplus != [0, 0];
        let [refusals, holds] = surplus;
        self.refusals.drain(..refusals);
        self.holds.drain(..holds);
    }
}

fn more(ends: &mut BTreeMap<String, u64>, end: &str) {
    let count = ends.entry(end.to_owned()).or_default();
    *count = count.saturating_add(1);
}
