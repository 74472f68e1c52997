//! Why something may not happen: the closed list of words, and reasons made of them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

/// What can remove a reason
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Nothing: this request will never be permitted
    Final,
    /// Only a grant given beforehand; a call never asks for it
    Standing,
    /// People of the named group, who are asked
    Ask,
    /// Time: try again, nobody is asked
    Later,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Final => "final",
            Self::Standing => "standing",
            Self::Ask => "ask",
            Self::Later => "later",
        })
    }
}

macro_rules! words {
    ($($variant:ident $word:literal $sort:ident $says:literal $remedy:literal;)*) => {
        /// One word of the closed list; the only family of codes
        ///
        /// In the order in which they are told: the first of several reasons is the most useful one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Word {$(
            #[doc = $says]
            $variant,
        )*}

        impl Word {
            /// Every word, in order
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable word
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $word),*}
            }

            /// What can remove a reason of this word
            #[must_use]
            pub fn sort(self) -> Sort {
                match self {$(Self::$variant => Sort::$sort),*}
            }

            /// One sentence for the agent and the person
            #[must_use]
            pub fn says(self) -> &'static str {
                match self {$(Self::$variant => $says),*}
            }

            /// What to do about it
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self {$(Self::$variant => $remedy),*}
            }
        }
    };
}

words! {
    TaskOver "task_over" Final
        "The task that this run works on is over."
        "Stop. Report what was done; a person can open a new task.";
    TaskUnknown "task_unknown" Final
        "No task of this name is known here."
        "List the open tasks with `portreeve task list`.";
    TenantStopped "tenant_stopped" Final
        "Everything in this data folder has been stopped."
        "Only a change of the data folder's policy starts it again.";
    AgentStopped "agent_stopped" Final
        "This agent has been stopped."
        "Take its file out of the policy, apply, and add it again once it may work.";
    UserStopped "user_stopped" Final
        "The user on whose behalf this runs has been stopped."
        "Take the user's file out of the policy, apply, and add it again.";
    PurposeStopped "purpose_stopped" Final
        "This purpose has been stopped or is no longer in the policy."
        "Open a task under a purpose of the current policy: `portreeve policy show`.";
    ConnectorStopped "connector_stopped" Final
        "This connector has been stopped or is no longer in the policy."
        "Use another connector, or have it added again with `portreeve connector add`.";
    ClockUnreliable "clock_unreliable" Later
        "The clock of this machine disagrees with itself or with the record."
        "Set the clock right; nothing is permitted until then.";
    RecordUnavailable "record_unavailable" Later
        "The record could not be written, so nothing may happen."
        "Try again. If it stays: `portreeve status`, then disk space and health.";
    RecordFull "record_full" Later
        "No space is left for the record, so nothing may happen."
        "Free disk space or raise `log.bytes_max`; stopping still works.";
    PolicyUnavailable "policy_unavailable" Final
        "The policy that this task was opened under cannot be read any more."
        "Open a new task under the current policy.";
    ToolOutsidePurpose "tool_outside_purpose" Standing
        "The purpose of this task does not name this tool."
        "Use one of the listed tools; if the work needs this one, it needs another purpose.";
    MethodNotEnforced "method_not_enforced" Final
        "This version cannot judge this method or field yet, so it refuses it."
        "Use tools/list and tools/call without MCP tasks.";
    DefinitionChanged "definition_changed" Final
        "The server changed the definition of this tool since it was accepted."
        "Look at the change and accept it: `portreeve connector accept NAME`.";
    DefinitionMissing "definition_missing" Final
        "The server no longer offers this tool as it was accepted."
        "Look at what it offers now: `portreeve connector show NAME`.";
    ArgumentsInvalid "arguments_invalid" Standing
        "The arguments do not fit the accepted input schema of the tool."
        "Send arguments that fit the tool's inputSchema.";
    ArgumentOutsideTask "argument_outside_task" Standing
        "An argument is outside what this task was opened for."
        "Use a value inside the task's parameters; other values need another task.";
    ArgumentNotNamed "argument_not_named" Standing
        "An argument was given that the purpose does not mention."
        "Leave this argument out.";
    ArgumentUnclear "argument_unclear" Final
        "An argument can be read in more than one way, so nobody can tell what this call would do."
        "Write it plainly: no `..`, no escapes, the type that the schema names; or split the call.";
    TargetUnclear "target_unclear" Final
        "The arguments do not tell what this call is about."
        "Give the arguments that name it, as the tool's schema has them.";
    AboveCeiling "above_ceiling" Standing
        "The results of this tool may be more confidential than this task may see."
        "Use another tool; more confidential data needs another purpose.";
    ClassNotOpen "class_not_open" Standing
        "Tools of this class are not open in this task."
        "The purpose has to list the class under `standing`.";
    OutOfOrder "out_of_order" Standing
        "Another step of the purpose has to succeed first."
        "Do the named step first.";
    CountSpent "count_spent" Standing
        "This step has been used as often as the purpose allows."
        "Do not repeat it; more needs another task.";
    CallsSpent "calls_spent" Standing
        "The task has used all of its calls."
        "Stop. Report what was done; a person can open a new task.";
    BytesSpent "bytes_spent" Standing
        "The task has used all of its bytes."
        "Stop. Report what was done; a person can open a new task.";
    BytesHeld "bytes_held" Later
        "Other calls under way hold the rest of the task's bytes."
        "Wait until one of them has ended.";
    TooManyOpen "too_many_open" Later
        "Too many calls of this run are under way at once."
        "Wait until one of them has ended.";
    RuleForbids "rule_forbids" Final
        "A rule of the policy forbids this."
        "Do something else; the rule's owner can explain it.";
    RuleFailed "rule_failed" Final
        "A rule of the policy could not be evaluated, so it counts as forbidding."
        "The rule's owner has to mend it: `portreeve policy check`.";
    OutsideRefuses "outside_refuses" Final
        "A decision point outside of Portreeve does not permit this."
        "Do something else; the point's owner can explain it.";
    OutsideSilent "outside_silent" Later
        "A decision point outside of Portreeve gave no answer in time, and without one nothing is permitted."
        "Try again. If it stays, the point's owner has to look after it.";
    OutsideFailed "outside_failed" Later
        "A decision point outside of Portreeve gave an answer that cannot be understood."
        "Try again. If it stays, the point's owner has to mend it.";
    ApprovalNeeded "approval_needed" Ask
        "A person has to agree to this first, and this version cannot ask yet."
        "Leave this step to a person.";
    NobodyToAsk "nobody_to_ask" Standing
        "A person would have to agree to this, and this purpose has nobody wait for one."
        "Leave this step to a person, or open a task under a purpose with `on_hold = \"ask\"`.";
    AgentUnknown "agent_unknown" Final
        "No agent of this name is in the policy."
        "Add `agents/NAME.toml` and apply the policy.";
    UserUnknown "user_unknown" Final
        "This account is no user of the policy."
        "Add `users/NAME.toml` with this account and apply the policy.";
    PurposeUnknown "purpose_unknown" Final
        "No purpose of this name is in the policy."
        "List the purposes with `portreeve policy show`.";
    PurposeNotOpen "purpose_not_open" Standing
        "This agent and user may not open this purpose."
        "The purpose's `[open]` table says who may; ask its owner.";
    PurposeOverdue "purpose_overdue" Standing
        "The review of this purpose is overdue, so no new task may open it."
        "Its owner reviews it and moves `review_by`.";
    ParameterMissing "parameter_missing" Standing
        "A parameter of the purpose has no value."
        "Give it with `--param NAME=VALUE`.";
    ParameterUnknown "parameter_unknown" Standing
        "The purpose has no parameter of this name."
        "Leave it out; `portreeve policy show PURPOSE` lists them.";
    ParameterOutsidePurpose "parameter_outside_purpose" Standing
        "A parameter has a value that the purpose does not allow."
        "Choose a value inside the purpose's bounds.";
    RunHasTask "run_has_task" Final
        "This run has a task already, and a run has at most one."
        "Start another run for other work.";
    TooDeep "too_deep" Final
        "Delegation is nested too deeply."
        "Do the work in the task at hand.";
    TooManyTasks "too_many_tasks" Later
        "Too many tasks are open in this data folder."
        "End tasks that are done: `portreeve task list`.";
    NotYours "not_yours" Final
        "Only the owner of the data folder may do this."
        "Ask the person who runs Portreeve here.";
    Withheld "withheld" Later
        "What this rested on was stopped, or took too long, before anything was sent."
        "Try again if the task is still live.";
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Word {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or(Unknown)
    }
}

/// The text is no word of the closed list
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such reason word")]
pub struct Unknown;

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// One unmet reason why a request may not happen: the word, where it comes from, and its data
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// The word
    pub word: Word,
    /// Which purpose, entry, rule or node it comes from
    pub source: String,
    /// What it is about, in words that are fit for the agent: argument, step, limit
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub about: BTreeMap<Cow<'static, str>, String>,
}

impl Reason {
    /// A reason without data
    #[must_use]
    pub fn new(word: Word, source: impl fmt::Display) -> Self {
        Self { word, source: source.to_string(), about: BTreeMap::new() }
    }

    /// The reason with one more datum
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.about.insert(Cow::Borrowed(key), value.to_string());
        self
    }

    /// What can remove it
    #[must_use]
    pub fn sort(&self) -> Sort {
        self.word.sort()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word.says())?;
        for (index, (key, value)) in self.about.iter().enumerate() {
            write!(f, "{}{key}: {value}", if index == 0 { " (" } else { "; " })?;
        }
        f.write_str(if self.about.is_empty() { "" } else { ")" })
    }
}

/// What follows from a set of unmet reasons
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No reason is left
    Permit,
    /// Only questions to people are left
    Hold,
    /// Something is left that nobody can answer
    Deny,
}

/// The verdict that the set of reasons earns
#[must_use]
pub fn verdict(reasons: &[Reason]) -> Verdict {
    if reasons.is_empty() {
        Verdict::Permit
    } else if reasons.iter().all(|reason| reason.sort() == Sort::Ask) {
        Verdict::Hold
    } else {
        Verdict::Deny
    }
}
