//! The scenario language: a story in steps, played on any [`Stage`].
//!
//! A file says what happens and what must be seen. The same file runs on the pure core ([`Pure`]) and, by
//! the binary, on the real thing.
//!
//! ```toml
//! title = "A refund"
//! world = "refund"
//!
//! [[step]]
//! say = "Lea starts the bot for one order."
//! open = { purpose = "refund-order", agent = "support-bot", user = "lea", with = { order = "ord_1" } }
//! as = "t1"
//! expect = "open"
//! ```

mod pure;
mod stage;
mod transcript;
mod worlds;

pub use pure::{Pure, written};
pub use stage::{Asked, Refusal, Saw, Stage, TakenBack};
pub use transcript::{Line, Transcript};
pub use worlds::{Answers, DEMO_POLICY, Key, World, world};

use portreeve_core::value::Value;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A story with what must be seen
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is about, in a few words
    pub title: String,
    /// Which policy and which servers it plays with
    pub world: String,
    /// What happens, in order
    pub steps: Vec<Step>,
}

/// One thing that happens
#[derive(Clone, Debug)]
pub struct Step {
    /// One line of prose
    pub say: String,
    /// What is done
    pub action: Action,
    /// In which task; without it, in the one that was opened last
    pub task: Option<String>,
    /// What must be seen
    pub expect: Expect,
}

/// What is done
#[derive(Clone, Debug)]
pub enum Action {
    /// A task is opened and goes by this name from now on
    Open {
        /// How
        opening: Opening,
        /// Its name in this scenario
        name: String,
    },
    /// The agent asks for a connector's tools
    List {
        /// Which
        connector: String,
    },
    /// The agent calls a tool
    Call {
        /// Written `shop.refund`
        tool: String,
        /// With which arguments
        arguments: BTreeMap<String, Value>,
    },
    /// A person answers the question that was put last
    Answer {
        /// Yes or no
        yes: bool,
        /// Who, a user of the policy
        by: String,
        /// Why, in their words
        why: String,
    },
    /// A person stops a task
    Stop {
        /// Its name in this scenario
        task: String,
    },
    /// A person takes back what a task did
    Undo {
        /// Its name in this scenario
        task: String,
    },
    /// Somebody looks which credentials of a task its servers still know
    Keys {
        /// Its name in this scenario
        task: String,
    },
    /// The record is verified; only where there is one on disk
    Verify,
    /// Somebody changes the record behind Portreeve's back; only where there is one on disk
    Tamper,
}

/// The opening of a task
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Under which purpose
    pub purpose: String,
    /// Who works
    pub agent: String,
    /// On whose behalf
    pub user: Option<String>,
    /// With which values
    pub parameters: BTreeMap<String, Value>,
}

/// What must be seen
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Expect {
    /// A word: `open`, `ok`, `failed`, `held`, `approved`, `declined`, `stopped`, `undone`, `unknown_tool`, `none` or
    /// `live` of keys, or that of a reason
    Word(String),
    /// The names of the listed tools
    Names(Vec<String>),
}

/// Why a scenario cannot be read
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no TOML of the expected form
    #[error("the scenario cannot be read")]
    Form(#[from] toml::de::Error),
    /// A step has no action, or several
    #[error("step {step} needs exactly one action, has {count}")]
    Actions {
        /// Counted from 1
        step: usize,
        /// How many it has
        count: usize,
    },
    /// A value cannot be an argument or a parameter
    #[error("step {step} has a value that is no JSON: {value}")]
    Value {
        /// Counted from 1
        step: usize,
        /// Which
        value: String,
    },
}

impl Scenario {
    /// Reads a scenario file
    ///
    /// # Errors
    /// [`Error`]: what of the file cannot be played.
    pub fn read(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text)?;
        let steps = file.step.into_iter().enumerate().map(|(index, step)| step.read(index + 1));
        Ok(Self { title: file.title, world: file.world, steps: steps.collect::<Result<_, _>>()? })
    }

    /// Plays the steps in order on one stage
    pub fn play(&self, stage: &mut impl Stage) -> Transcript {
        self.play_with(stage, |_| {})
    }

    /// Plays the steps in order on one stage, and shows each line as soon as it is known
    pub fn play_with(&self, stage: &mut impl Stage, mut show: impl FnMut(&Line)) -> Transcript {
        let mut last = String::new();
        let mut lines = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let task = step.task.as_ref().unwrap_or(&last).clone();
            let saw = match &step.action {
                Action::Open { opening, name } => {
                    last.clone_from(name);
                    stage.open(name, opening)
                }
                Action::List { connector } => stage.list(&task, connector),
                Action::Call { tool, arguments } => stage.call(&task, tool, arguments),
                Action::Answer { yes, by, why } => stage.answer(by, *yes, why),
                Action::Stop { task } => stage.stop(task),
                Action::Undo { task } => stage.undo(task),
                Action::Keys { task } => stage.keys(task),
                Action::Verify => stage.verify(),
                Action::Tamper => stage.tamper(),
            };
            let line = Line::new(index + 1, step, saw);
            show(&line);
            lines.push(line);
        }
        Transcript { title: self.title.clone(), lines }
    }
}

impl Expect {
    /// Whether what was seen is what must be seen; `None` if the stage cannot show it
    #[must_use]
    pub fn is_met(&self, saw: &Saw) -> Option<bool> {
        match (self, saw) {
            (_, Saw::Unsupported) => None,
            (Self::Names(expected), Saw::Listed(names)) => Some(expected == names),
            (Self::Word(expected), saw) => Some(saw.word() == *expected),
            (Self::Names(_), _) => Some(false),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    world: String,
    step: Vec<StepFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    say: String,
    #[serde(rename = "as")]
    name: Option<String>,
    #[serde(rename = "in")]
    task: Option<String>,
    expect: Expect,
    open: Option<OpenFile>,
    list: Option<ListFile>,
    call: Option<CallFile>,
    approve: Option<AnswerFile>,
    deny: Option<AnswerFile>,
    stop: Option<StopFile>,
    undo: Option<StopFile>,
    keys: Option<StopFile>,
    verify: Option<Nothing>,
    tamper: Option<Nothing>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenFile {
    purpose: String,
    agent: String,
    user: Option<String>,
    #[serde(default)]
    with: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    connector: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallFile {
    tool: String,
    #[serde(default)]
    args: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerFile {
    by: String,
    why: String,
}

impl AnswerFile {
    fn read(self, yes: bool) -> Action {
        Action::Answer { yes, by: self.by, why: self.why }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopFile {
    task: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl StepFile {
    fn read(self, step: usize) -> Result<Step, Error> {
        let mut actions = Vec::new();
        if let Some(open) = self.open {
            let parameters = values(step, open.with)?;
            let opening = Opening { purpose: open.purpose, agent: open.agent, user: open.user, parameters };
            actions.push(Action::Open { opening, name: self.name.unwrap_or_else(|| format!("task-{step}")) });
        }
        if let Some(list) = self.list {
            actions.push(Action::List { connector: list.connector });
        }
        if let Some(call) = self.call {
            actions.push(Action::Call { tool: call.tool, arguments: values(step, call.args)? });
        }
        actions.extend(self.approve.map(|answer| answer.read(true)));
        actions.extend(self.deny.map(|answer| answer.read(false)));
        actions.extend(self.undo.map(|undo| Action::Undo { task: undo.task }));
        actions.extend(self.keys.map(|keys| Action::Keys { task: keys.task }));
        actions.extend(self.stop.map(|stop| Action::Stop { task: stop.task }));
        actions.extend(self.verify.map(|_| Action::Verify));
        actions.extend(self.tamper.map(|_| Action::Tamper));
        let count = actions.len();
        match (actions.pop(), count) {
            (Some(action), 1) => Ok(Step { say: self.say, action, task: self.task, expect: self.expect }),
            _ => Err(Error::Actions { step, count }),
        }
    }
}

fn values(step: usize, given: BTreeMap<String, toml::Value>) -> Result<BTreeMap<String, Value>, Error> {
    let value = |(name, value): (String, toml::Value)| {
        let read = serde_json::to_string(&value).ok().and_then(|text| text.parse().ok());
        Ok((name, read.ok_or_else(|| Error::Value { step, value: value.to_string() })?))
    };
    given.into_iter().map(value).collect()
}

#[cfg(test)]
mod tests;
