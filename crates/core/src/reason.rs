//! Why something may not happen: the closed list of words, and reasons made of them.

use crate::{event::Question, policy::Quorum};
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

impl Sort {
    /// Whether anything can remove a reason of this sort: a grant, people, time
    #[must_use]
    pub fn is_answerable(self) -> bool {
        self != Self::Final
    }
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
    ($($variant:ident $word:literal $sort:ident $interop:literal $says:literal $person:literal $remedy:literal;)*) => {
        /// One word of the closed list; the only family of codes
        ///
        /// In the order in which they are told, the most useful first: what ends the task; what ends its calls; what
        /// is wrong with this call; what is missing before it; questions; then what concerns openings and grants.
        /// What time removes comes last, so that nobody is told to try again while something else stands.
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

            /// One sentence for the agent
            #[must_use]
            pub fn says(self) -> &'static str {
                match self {$(Self::$variant => $says),*}
            }

            /// One sentence for the person who answers for it
            #[must_use]
            pub fn to_person(self) -> &'static str {
                match self {$(Self::$variant => $person),*}
            }

            /// The denial reason of the Mission-Bound Authorization drafts that comes closest
            #[must_use]
            pub fn interop(self) -> &'static str {
                match self {$(Self::$variant => $interop),*}
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
    TaskOver "task_over" Final "mission_inactive"
        "The task that this run works on is over."
        "The task ended, expired, was idle for too long or was stopped; what it had open ends with it."
        "Stop. Report what was done; a person can open a new task.";
    TaskUnknown "task_unknown" Final "mission_inactive"
        "No task of this name is known here."
        "The name is wrong, the task ended more than ten minutes ago, or it belongs to another data folder."
        "List the open tasks with `portreeve task list`.";
    TenantStopped "tenant_stopped" Final "mission_inactive"
        "Everything in this data folder has been stopped."
        "Somebody stopped everything with `portreeve kill all`; nothing happens until the policy is applied again."
        "Only a change of the data folder's policy starts it again.";
    AgentStopped "agent_stopped" Final "mission_inactive"
        "This agent has been stopped."
        "Somebody stopped this agent; all of its tasks are refused and none can be opened."
        "Take its file out of the policy, apply, and add it again once it may work.";
    UserStopped "user_stopped" Final "mission_inactive"
        "The user on whose behalf this runs has been stopped."
        "Somebody stopped this user; every task on their behalf is refused, and so are the grants that they gave."
        "Take the user's file out of the policy, apply, and add it again.";
    PurposeStopped "purpose_stopped" Final "mission_inactive"
        "This purpose has been stopped or is no longer in the policy."
        "The purpose was stopped or taken out of the policy, so its running tasks are refused."
        "Open a task under a purpose of the current policy: `portreeve policy show`.";
    ConnectorStopped "connector_stopped" Final "resource_policy"
        "This connector has been stopped or is no longer in the policy."
        "The server behind these tools was stopped or taken out of the policy; the task goes on without it."
        "Use another connector, or have it added again with `portreeve connector add`.";
    PolicyUnavailable "policy_unavailable" Final "stale_state"
        "The policy that this task was opened under cannot be read any more."
        "A version of the policy that a task rests on is missing from the record, or this version of Portreeve does not understand it."
        "Open a new task under the current policy.";
    CallsSpent "calls_spent" Standing "quota_exceeded"
        "The task has used all of its calls."
        "The task made as many calls as `[task] calls` of its purpose allows, its child tasks included."
        "Stop. Report what was done; a person can open a new task.";
    BytesSpent "bytes_spent" Standing "quota_exceeded"
        "The task has used all of its bytes."
        "The task sent or received as many bytes as `max_bytes` of its purpose allows."
        "Stop. Report what was done; a person can open a new task.";
    ToolOutsidePurpose "tool_outside_purpose" Standing "out_of_authority"
        "The purpose of this task does not name this tool."
        "No entry of the purpose lets this tool be used, or a rule hides it, or nobody has accepted its definition."
        "Use one of the listed tools; if the work needs this one, it needs another purpose.";
    MethodNotEnforced "method_not_enforced" Final "unsupported_authorization_type"
        "This version cannot judge this method or field yet, so it refuses it."
        "The client used a part of MCP that Portreeve does not judge yet, and what is not judged does not pass."
        "Use tools/list and tools/call without MCP tasks.";
    ConnectorChanged "connector_changed" Final "capability_drift"
        "The server is not the one that was accepted."
        "Its TLS key, or the program that is started for it, is another one than when somebody accepted what it offers."
        "Look at it and accept it: `portreeve connector show NAME`, then `portreeve connector accept NAME`.";
    DefinitionMissing "definition_missing" Final "capability_drift"
        "The server no longer offers this tool as it was accepted."
        "The server took away a tool that somebody had accepted."
        "Look at what it offers now: `portreeve connector show NAME`.";
    DefinitionChanged "definition_changed" Final "capability_drift"
        "The server changed the definition of this tool since it was accepted."
        "The description or schema of a tool is not the one that somebody read and accepted: an update, or a rug pull."
        "Look at the change and accept it: `portreeve connector accept NAME`.";
    ContinuationUnknown "continuation_unknown" Final "stale_state"
        "There is no open call of this task that this goes on with."
        "The state that came with it was used already, belongs to another task or tool, or is too old."
        "Begin the call anew, without the state.";
    ArgumentsInvalid "arguments_invalid" Standing "parameter_violation"
        "The arguments do not fit the accepted input schema of the tool."
        "The model sent arguments that the tool itself would not take."
        "Send arguments that fit the tool's inputSchema.";
    TargetUnclear "target_unclear" Final "parameter_violation"
        "The arguments do not tell what this call is about."
        "The profile says which arguments name the target of the call, and they are missing or of another form."
        "Give the arguments that name it, as the tool's schema has them.";
    ArgumentUnclear "argument_unclear" Final "parameter_violation"
        "An argument can be read in more than one way, so nobody can tell what this call would do."
        "Which variant of the tool this is depends on an argument whose form can be read in two ways, so it was taken for the worst."
        "Write it plainly: no `..`, no escapes, the type that the schema names; or split the call.";
    ArgumentOutsideTask "argument_outside_task" Standing "parameter_violation"
        "An argument is outside what this task was opened for."
        "The agent used a value that the purpose does not allow with the parameters that this task was opened with."
        "Use a value inside the task's parameters; other values need another task.";
    ArgumentNotNamed "argument_not_named" Standing "parameter_violation"
        "An argument was given that the purpose does not mention."
        "Arguments are closed: one that neither the purpose names nor the profile marks as free must be left out."
        "Leave this argument out.";
    RuleForbids "rule_forbids" Final "resource_policy"
        "A rule of the policy forbids this."
        "A Cedar rule in `rules/` forbids this call, whatever the purpose says; no grant lifts it."
        "Do something else; the rule's owner can explain it.";
    RuleFailed "rule_failed" Final "constraint_unsupported"
        "A rule of the policy could not be evaluated, so it counts as forbidding."
        "A Cedar rule met a value that it cannot compare: it fails closed until somebody mends it."
        "The rule's owner has to mend it: `portreeve policy check`.";
    OutsideRefuses "outside_refuses" Final "resource_policy"
        "An outside decision point refuses this."
        "A decision point of `extra/` (OPA, AuthZEN, Rego, Cedar) did not permit this call."
        "Do something else; the owner of that decision point can explain it.";
    AboveCeiling "above_ceiling" Standing "out_of_authority"
        "The results of this tool may be more confidential than this task may see."
        "The label of the tool's results is above the `ceiling` of the purpose; a tool without a label counts as secret."
        "Use another tool; more confidential data needs another purpose.";
    ClassNotOpen "class_not_open" Standing "step_up_required"
        "Tools of this class are not open in this task."
        "Reading, writing, executing and escalating are four separate paths, and the purpose opens only some."
        "Ask for it with the tool request_elevation if it is listed; otherwise the purpose has to let it stand.";
    CredentialClass "credential_class" Final "resource_policy"
        "This server has no credentials for tools of this class."
        "The source in `credentials/` from which this connector gets its credentials issues none of this class."
        "Use a tool of another class; the source's owner can add a grant for this one.";
    CredentialScope "credential_scope" Final "parameter_violation"
        "The task has no value by which its credentials would be narrowed."
        "The source in `credentials/` narrows what it issues by a parameter that the purpose of this task does not have, or that is no plain text or number."
        "Open a task under a purpose that has this parameter.";
    CredentialOutlives "credential_outlives" Final "parameter_violation"
        "The credential that it needs would outlive the task."
        "The back end of its source issues for no less time than it says, and cannot take back what it issued; the task, or what its class rests on, ends before."
        "Open a task that lasts longer, or have the connector use a source that can take back.";
    OutOfOrder "out_of_order" Standing "out_of_authority"
        "Another step of the purpose has to succeed first."
        "The entry of the purpose says `after`, and that step has not succeeded in this task yet."
        "Do the named step first.";
    CountSpent "count_spent" Standing "quota_exceeded"
        "This step has been used as often as the purpose allows."
        "The entry of the purpose says `times`, and so many calls were permitted already, failed and unknown ones included."
        "Do not repeat it; more needs another task.";
    ApprovalNeeded "approval_needed" Ask "action_approval_required"
        "People have to agree to exactly this first; they have been asked."
        "The purpose or a rule wants members of a group to agree to this very call."
        "Answer it on the console, or with `portreeve approve CODE` or `portreeve deny CODE`.";
    NobodyToAsk "nobody_to_ask" Standing "action_approval_required"
        "A person would have to agree to this, and this purpose has nobody wait for one."
        "The call needs an approval, and the purpose says `on_hold = \"deny\"`: it is for agents that nobody watches."
        "Leave this step to a person, or open a task under a purpose with `on_hold = \"ask\"`.";
    ApprovalDeclined "approval_declined" Final "action_approval_required"
        "A person was asked about exactly this call, and said no."
        "Somebody who may answer declined this call; the same call is not put to anybody again in this task."
        "Do not repeat it. Report that it was declined.";
    TooLongToShow "too_long_to_show" Final "action_approval_required"
        "People would have to agree to this, and it is longer than a person can read."
        "The arguments of a call that needs a yes are longer than 64 KiB, so nobody could say what they agree to."
        "Split it into calls that a person can read.";
    ArgumentNotShown "argument_not_shown" Final "action_approval_required"
        "People would have to agree to this, and it has an argument that they cannot be shown."
        "The record keeps only a digest of an argument (`recording = \"digest\"` of the profile), so nobody who is asked could see it."
        "Record the argument in full, bound it in the purpose and let the question go, or have people call it themselves.";
    ElevationRefused "elevation_refused" Final "step_up_required"
        "This class cannot be opened so in this task."
        "The purpose has no `[elevate]`, does not name these tools, or what was asked for is more than it lets anybody open."
        "Ask for less: tools that the purpose names, all of one class, within its minutes and counts.";
    NotYours "not_yours" Final "out_of_authority"
        "Only the owner of the data folder may do this."
        "A run asked for something that only a person at the administrator's socket may ask for."
        "Ask the person who runs Portreeve here.";
    RoleMissing "role_missing" Standing "out_of_authority"
        "This needs a role that you do not have."
        "What people do beside working through agents needs a role: approver, operator, auditor, author or owner; none includes another."
        "Ask somebody who has it, or have it granted in users/NAME.toml or roles.toml: `portreeve role list`.";
    OwnRights "own_rights" Final "out_of_authority"
        "Nobody gives themselves more rights."
        "This version of the policy would give whoever puts it into force another role, group or attribute."
        "Somebody else who may has to put it into force.";
    AgentUnknown "agent_unknown" Final "credential_invalid"
        "No agent of this name is in the policy."
        "The name is misspelt, or the agent has no file in the policy that is in force."
        "Add `agents/NAME.toml` and apply the policy.";
    AgentOverdue "agent_overdue" Standing "stale_state"
        "The review of this agent is overdue, so it gets nothing."
        "The `review_by` of the agent's file has passed; its tasks ended with that day, and none can be opened."
        "Its owner reviews it and moves `review_by`.";
    ProofWrong "proof_wrong" Final "credential_invalid"
        "What was shown is not how this agent proves itself."
        "The agent's file names ways to prove itself with `[[proof]]`, and what was shown fits none of them."
        "Show what the agent's file asks for: `portreeve agent show NAME`.";
    UserUnknown "user_unknown" Final "credential_invalid"
        "This account is no user of the policy."
        "The account that speaks at the socket stands in no file of `users/`."
        "Add `users/NAME.toml` with this account and apply the policy.";
    PurposeUnknown "purpose_unknown" Final "unsupported_authorization_type"
        "No purpose of this name is in the policy."
        "The name is misspelt, or the purpose is not in the policy that is in force."
        "List the purposes with `portreeve policy show`.";
    PurposeNotOpen "purpose_not_open" Standing "out_of_authority"
        "This agent and user may not open this purpose."
        "The `[open]` table of the purpose names other agents or users than these."
        "The purpose's `[open]` table says who may; ask its owner.";
    PurposeOverdue "purpose_overdue" Standing "stale_state"
        "The review of this purpose is overdue, so no new task may open it."
        "Its `review_by` has passed; running tasks go on, new ones wait for its owner."
        "Its owner reviews it and moves `review_by`.";
    ParameterUnknown "parameter_unknown" Standing "parameter_violation"
        "The purpose has no parameter of this name."
        "A value was given for a parameter that the purpose does not have."
        "Leave it out; `portreeve policy show PURPOSE` lists them.";
    ParameterMissing "parameter_missing" Standing "parameter_violation"
        "A parameter of the purpose has no value."
        "The purpose wants to be told this when a task is opened, and has no default."
        "Give it with `--param NAME=VALUE`.";
    ParameterOutsidePurpose "parameter_outside_purpose" Standing "parameter_violation"
        "A parameter has a value that the purpose does not allow."
        "The value does not have the form that the purpose wants, or is beyond what `[open].where` lets this user choose."
        "Choose a value inside the purpose's bounds.";
    RunHasTask "run_has_task" Final "out_of_authority"
        "This run has a task already, and a run has at most one."
        "A run works on one task for its whole life, so that what it learns there stays in bounds."
        "Start another run for other work.";
    TooDeep "too_deep" Final "out_of_authority"
        "Delegation is nested too deeply."
        "Tasks below tasks end at three levels, so that somebody can still follow who works for whom."
        "Do the work in the task at hand.";
    HoldUnknown "hold_unknown" Final "mission_inactive"
        "No question of this code is known here."
        "The code is wrong, or its task ended more than ten minutes ago."
        "List the open ones with `portreeve approvals`.";
    HoldOver "hold_over" Final "mission_inactive"
        "This question does not wait for an answer any more."
        "It was answered, used, or nobody answered in time, or the task that it belongs to is over."
        "Nothing is left to do; `portreeve audit show CODE` tells what became of it.";
    HoldChanged "hold_changed" Final "stale_state"
        "What is asked is not what was shown."
        "The answer names another digest than the question has: it was meant for something else."
        "Look at the question again, and answer what it says now.";
    NotApprover "not_approver" Standing "out_of_authority"
        "You are not among those who are asked."
        "Only members of the group that is asked, with the role approver in the policy in force, may answer."
        "Leave it to a member of that group.";
    OwnCall "own_call" Final "out_of_authority"
        "Nobody answers for their own agent or task."
        "Who opened the task, on whose behalf it runs and who owns the agent may not approve what it asks."
        "Somebody else of the group has to answer.";
    AnsweredAlready "answered_already" Final "mission_inactive"
        "You have answered this already."
        "A person counts once."
        "Others of the group may have to answer too.";
    StepUpNeeded "step_up_needed" Standing "step_up_required"
        "A yes to this needs a passkey."
        "The policy asks for a passkey, used for this very answer."
        "Open it on the console, where you have a passkey, and answer there.";
    AnswerUnbounded "answer_unbounded" Final "parameter_violation"
        "A no needs a reason, and a reason has at most 1,000 bytes."
        "The reason of an answer goes to the record and to whoever asked."
        "Say why, in a sentence.";
    ReviewUnknown "review_unknown" Final "mission_inactive"
        "No review of this task is open."
        "The task was no emergency, still lives, or was reviewed already."
        "List the open ones with `portreeve reviews`.";
    UndoImpossible "undo_impossible" Final "parameter_violation"
        "There is nothing of this task that could be undone."
        "Nothing that it did has an undo, or what is needed for it was not recorded."
        "Look at `portreeve task undo TASK --plan`.";
    GrantUnknown "grant_unknown" Final "mission_inactive"
        "No live grant of this name is known here."
        "The grant was ended, its time has passed, or what it was about is gone."
        "List the live ones with `portreeve policy modes`.";
    GrantUnbounded "grant_unbounded" Final "parameter_violation"
        "A grant has to be about something, with a reason, and end within seven days."
        "Observe mode without an end, an owner and a reason would be a policy that nobody wrote."
        "Say --for with at most 7d, --why with a sentence, and --purpose, --connector or --all.";
    TooManyOpen "too_many_open" Later "quota_exceeded"
        "Too many calls of this run are under way at once."
        "The run has 64 calls under way, so that no run can take all of the room."
        "Wait until one of them has ended.";
    BytesHeld "bytes_held" Later "quota_exceeded"
        "Other calls under way hold the rest of the task's bytes."
        "Calls under way are charged at their worst until their answers have come; what they do not use is given back."
        "Wait until one of them has ended.";
    TooManyTasks "too_many_tasks" Later "quota_exceeded"
        "Too many tasks are open in this data folder."
        "The bound of open tasks is reached; something opens tasks and never ends them."
        "End tasks that are done: `portreeve task list`.";
    TooManyGrants "too_many_grants" Later "quota_exceeded"
        "Too many grants are live in this data folder."
        "So many exceptions at once are a policy that nobody wrote."
        "End some: `portreeve policy modes`, `portreeve policy enforce`.";
    TooManyHolds "too_many_holds" Later "quota_exceeded"
        "Too many questions of this task wait for people, or were put to them."
        "A task may have 8 questions waiting and 64 in its life, and a data folder 1,024, so that nobody is drowned in them."
        "Wait until the open ones are answered; report what is missing.";
    OutsideSilent "outside_silent" Later "stale_state"
        "An outside decision point does not answer."
        "A decision point of `extra/` did not answer in time, and silence is no yes."
        "Try again; if it stays, its owner has to look at it.";
    OutsideFailed "outside_failed" Later "stale_state"
        "The answer of an outside decision point cannot be understood."
        "A decision point of `extra/` answered with something that is neither yes nor no."
        "Its owner has to mend it; then try again.";
    TooManyLeases "too_many_leases" Later "quota_exceeded"
        "Too many credentials of this task are not taken back yet."
        "A task may have 32 credentials that are live or could not be taken back; a back end that does not answer adds up."
        "Wait until some are taken back: `portreeve lease list`.";
    CredentialUnavailable "credential_unavailable" Later "stale_state"
        "No credential for this could be had now."
        "The back end that issues credentials for this connector refused or did not answer; nothing was called."
        "Try again; if it stays, `portreeve lease sources` tells what the back end says.";
    Paused "paused" Later "mission_inactive"
        "This is halted for now."
        "Somebody halted this agent, user, connector or purpose; what rests on it is refused until it goes on."
        "Ask whoever halted it; with `portreeve agent resume NAME` it goes on.";
    ClockUnreliable "clock_unreliable" Later "stale_state"
        "The clock of this machine disagrees with itself or with the record."
        "The wall clock jumped by more than a minute, or is behind the last record: no limit in time can be trusted."
        "Set the clock right; nothing is permitted until then.";
    Withheld "withheld" Later "stale_state"
        "What this rested on was stopped, or took too long, before anything was sent."
        "The call was permitted and then held back at the last moment; nothing left, and nothing was used up."
        "Try again if the task is still live.";
    RecordFull "record_full" Later "stale_state"
        "No space is left for the record, so nothing may happen."
        "What cannot be recorded does not happen; room for stops and settlements is kept back."
        "Free disk space or raise `log.bytes_max`; stopping still works.";
    RecordUnavailable "record_unavailable" Later "stale_state"
        "The record could not be written, so nothing may happen."
        "The log failed or the process is ending; whatever was asked has not happened."
        "Try again. If it stays: `portreeve status`, then disk space and health.";
}

impl Word {
    /// Whether it says only that there is nothing of a name, or not any more
    #[must_use]
    pub fn is_nothing_there(self) -> bool {
        matches!(
            self,
            Self::TaskOver
                | Self::TaskUnknown
                | Self::GrantUnknown
                | Self::HoldOver
                | Self::HoldUnknown
                | Self::ReviewUnknown
        )
    }

    /// Whether it only says that a call is outside of the envelope of its purpose
    ///
    /// This is all that observe mode can lift; a word that is new is not among them until somebody has thought
    /// about it.
    #[must_use]
    pub fn is_outside_envelope(self) -> bool {
        matches!(
            self,
            Self::ToolOutsidePurpose
                | Self::ArgumentOutsideTask
                | Self::ArgumentNotNamed
                | Self::OutOfOrder
                | Self::CountSpent
                | Self::CallsSpent
                | Self::BytesSpent
                | Self::ClassNotOpen
        )
    }
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
    /// Who has to agree, where people are asked
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Box<Quorum>>,
}

impl Reason {
    /// A reason without data
    #[must_use]
    pub fn new(word: Word, source: impl fmt::Display) -> Self {
        Self { word, source: source.to_string(), about: BTreeMap::new(), ask: None }
    }

    /// A question to people
    #[must_use]
    pub fn asking(source: impl fmt::Display, quorum: &Quorum) -> Self {
        let reason = Self { ask: Some(Box::new(quorum.clone())), ..Self::new(Word::ApprovalNeeded, source) };
        let reason = if quorum.people > 1 { reason.with("people", quorum.people) } else { reason };
        let reason = if quorum.passkey { reason.with("sign_in", "passkey") } else { reason };
        reason.with("who", &quorum.who)
    }

    /// What is asked of whom, if it is a question to people
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        let quorum = self.ask.as_deref()?.clone();
        Some(Question { source: self.source.clone(), step: self.about.get("step").cloned(), quorum })
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
