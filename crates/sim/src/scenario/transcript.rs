//! What was played and seen, for people and as JSON.

use super::{Action, Expect, Saw, Step};
use serde::Serialize;
use std::fmt;

/// A played scenario
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transcript {
    /// What it was about
    pub title: String,
    /// Step by step
    pub lines: Vec<Line>,
}

/// A played step
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Counted from 1
    pub step: usize,
    /// The line of prose
    pub say: String,
    /// What was done
    pub action: String,
    /// What had to be seen
    pub expected: String,
    /// What was seen
    pub saw: Saw,
    /// Whether that is the same; `None`: this stage cannot show it
    pub met: Option<bool>,
}

impl Transcript {
    /// Whether nothing else was seen than had to be
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lines.iter().all(|line| line.met != Some(false))
    }
}

impl Line {
    pub(super) fn new(step: usize, played: &Step, saw: Saw) -> Self {
        let expected = match &played.expect {
            Expect::Word(word) => word.clone(),
            Expect::Names(names) => names.join(", "),
        };
        let met = played.expect.is_met(&saw);
        Self { step, say: played.say.clone(), action: played.action.to_string(), expected, saw, met }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for line in &self.lines {
            write!(f, "\n{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>2}. {}", self.step, self.say)?;
        writeln!(f, "    {}", self.action)?;
        match &self.saw {
            Saw::Listed(names) => writeln!(f, "    -> {}", names.join(", "))?,
            Saw::Refused(refusal) => {
                writeln!(f, "    -> refused: {}", refusal.word)?;
                writeln!(f, "       {}", refusal.says)?;
                writeln!(f, "       {}", refusal.remedy)?;
            }
            Saw::Held(asked) => writeln!(f, "    -> held: {} is asked, code {}", asked.who.join(", "), asked.code)?,
            Saw::Undone(all) => {
                writeln!(f, "    -> undone")?;
                for one in all {
                    match (&one.by, &one.why) {
                        (Some(by), _) => writeln!(f, "       {} is taken back by {by}", one.tool)?,
                        (None, why) => writeln!(f, "       {} stays: {}", one.tool, why.as_deref().unwrap_or("?"))?,
                    }
                }
            }
            Saw::Failed(says) => writeln!(f, "    -> failed: {says}")?,
            Saw::Keys(classes) if !classes.is_empty() => writeln!(f, "    -> live: {}", classes.join(", "))?,
            saw => writeln!(f, "    -> {}", saw.word())?,
        }
        match self.met {
            Some(true) => Ok(()),
            Some(false) => writeln!(f, "    !! expected {}", self.expected),
            None => writeln!(f, "    (skipped here)"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { opening, name } => {
                write!(f, "open {name}: {} for {}", opening.purpose, opening.agent)?;
                if let Some(user) = &opening.user {
                    write!(f, " on behalf of {user}")?;
                }
                opening.parameters.iter().try_for_each(|(name, value)| write!(f, ", {name} = {value}"))
            }
            Self::List { connector } => write!(f, "list {connector}"),
            Self::Call { tool, arguments } => {
                let arguments: Vec<_> = arguments.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                write!(f, "call {tool}({})", arguments.join(", "))
            }
            Self::Answer { yes, by, why } => {
                write!(f, "{} as {by}: \"{why}\"", if *yes { "approve" } else { "deny" })
            }
            Self::Stop { task } => write!(f, "stop {task}"),
            Self::Undo { task } => write!(f, "undo {task}"),
            Self::Keys { task } => write!(f, "keys of {task}"),
            Self::Verify => f.write_str("verify the record"),
            Self::Tamper => f.write_str("tamper with the record"),
        }
    }
}
