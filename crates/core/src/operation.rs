//! The methods of the protocol that carry data and are no calls of tools, judged under names of their own.
//!
//! `shop.refund` is a tool; `shop.resources/read` is what reading a resource of the same connector is judged as, with
//! the parameters of the method as its arguments. The names are reserved: what a server calls so is never offered.

use crate::{
    names::{Tool, ToolName},
    path::FieldPath,
    policy::{Class, Label, Profile, Role},
};
use std::{fmt, sync::LazyLock};

/// A method that is judged as the call of a tool is
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A resource is read; its argument is `uri`
    ReadResource,
    /// The client wants to be told when a resource changes; its argument is `uri`
    Subscribe,
    /// A prompt is taken; its arguments are `name` and `arguments`
    GetPrompt,
    /// An argument of a prompt or a resource template is completed; its arguments are `ref`, `argument` and `context`
    Complete,
    /// The client says how much it wants to be told; its argument is `level`
    SetLevel,
    /// The server asks the client's model; its arguments are those of the question, and `answer`
    Sample,
    /// The server asks the client's user; its arguments are those of the question, and `answer`
    Elicit,
    /// The server asks which folders the client works in; its argument is `answer`
    ListRoots,
}

impl Operation {
    /// Every operation
    pub const ALL: [Self; 8] = [
        Self::ReadResource,
        Self::Subscribe,
        Self::GetPrompt,
        Self::Complete,
        Self::SetLevel,
        Self::Sample,
        Self::Elicit,
        Self::ListRoots,
    ];

    /// The name of the method, which is the name of the operation
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadResource => "resources/read",
            Self::Subscribe => "resources/subscribe",
            Self::GetPrompt => "prompts/get",
            Self::Complete => "completion/complete",
            Self::SetLevel => "logging/setLevel",
            Self::Sample => "sampling/createMessage",
            Self::Elicit => "elicitation/create",
            Self::ListRoots => "roots/list",
        }
    }

    /// The operation of that name
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == name)
    }

    /// Whether it rests on what the server says of itself, so that this has to be accepted as a tool's definition is
    ///
    /// The others are defined by the protocol, and here.
    #[must_use]
    pub fn is_pinned(self) -> bool {
        self == Self::GetPrompt
    }

    /// Whether it is something that the server asks of the client: what is judged is the client's answer
    #[must_use]
    pub fn is_question(self) -> bool {
        matches!(self, Self::Sample | Self::Elicit | Self::ListRoots)
    }

    /// Whether nothing of it comes back to the client but that it was done
    #[must_use]
    pub fn is_silent(self) -> bool {
        self.is_question() || matches!(self, Self::Subscribe | Self::SetLevel)
    }

    /// What it is where a connector's profile says nothing else; a profile can add to it, and never make it less
    #[must_use]
    pub fn profile(self) -> &'static Profile {
        static PROFILES: LazyLock<[Profile; 8]> = LazyLock::new(|| Operation::ALL.map(Operation::make));
        let place = Self::ALL.iter().position(|operation| *operation == self);
        place.and_then(|place| PROFILES.get(place)).unwrap_or(&UNKNOWN)
    }

    fn make(self) -> Profile {
        use Role::{Content, Destination, Paging, Selector};
        let (class, roles): (Class, &[(&str, Role)]) = match self {
            Self::ReadResource | Self::Subscribe => (Class::Read, &[("uri", Selector)]),
            // Prompts are made by programs too: one that takes an address may well go there.
            Self::GetPrompt => (Class::Read, &[("name", Selector), ("arguments", Selector)]),
            Self::Complete => (Class::Read, &[("ref", Content), ("argument", Content), ("context", Content)]),
            Self::SetLevel => (Class::Read, &[("level", Paging)]),
            Self::ListRoots => (Class::Read, &[(ANSWER, Content)]),
            Self::Elicit => (
                Class::Write,
                &[
                    ("mode", Content),
                    ("message", Content),
                    ("requestedSchema", Content),
                    ("elicitationId", Content),
                    ("url", Destination),
                    (ANSWER, Content),
                ],
            ),
            Self::Sample => (
                Class::Execute,
                &[
                    ("messages", Content),
                    ("systemPrompt", Content),
                    ("modelPreferences", Content),
                    ("includeContext", Content),
                    ("maxTokens", Content),
                    ("temperature", Content),
                    ("stopSequences", Content),
                    ("metadata", Content),
                    ("tools", Content),
                    ("toolChoice", Content),
                    (ANSWER, Content),
                ],
            ),
        };
        let mut profile = Profile::new(class);
        profile.arguments = roles.iter().map(|(name, role)| (FieldPath::name(name), *role)).collect();
        // Nothing comes back.
        profile.label = (self == Self::SetLevel).then_some(Label::Public);
        profile
    }
}

static UNKNOWN: Profile = Profile::new(Class::Escalate);

/// The argument of a question of the server that holds what the client answers
pub const ANSWER: &str = "answer";

/// The made item of an offer that holds what a server tells agents about itself; it is accepted, and never called
pub const INSTRUCTIONS: &str = "server/discover";

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ToolName {
    /// The operation of this name, if it is one and no tool
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        Operation::read(self.as_str())
    }

    /// Whether a server can have a tool of this name that is offered: no operation, and no made item of an offer
    #[must_use]
    pub fn is_tool(&self) -> bool {
        self.as_str() != INSTRUCTIONS && self.operation().is_none()
    }
}

impl From<Operation> for ToolName {
    fn from(operation: Operation) -> Self {
        Self::known(operation.as_str())
    }
}

impl Tool {
    /// The operation that it is, if it is no tool
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.name.operation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_and_a_profile() {
        for operation in Operation::ALL {
            assert_eq!(Operation::read(operation.as_str()), Some(operation));
            assert_eq!(operation.as_str().parse(), Ok(ToolName::from(operation)));
            assert_ne!(operation.profile().class, Class::Escalate, "{operation}");
            assert_eq!(operation.is_question(), operation.profile().arguments.contains_key(&FieldPath::name(ANSWER)));
        }
        assert_eq!(Operation::read("tools/call"), None);
        assert_eq!("resources/read2".parse::<ToolName>().ok().and_then(|name| name.operation()), None);
    }

    #[test]
    fn what_says_where_something_goes_is_never_free() {
        let free =
            |operation: Operation, name: &str| operation.profile().free().any(|path| *path == FieldPath::name(name));
        assert!(!free(Operation::ReadResource, "uri"));
        assert!(!free(Operation::Subscribe, "uri"));
        assert!(!free(Operation::GetPrompt, "name") && !free(Operation::GetPrompt, "arguments"));
        assert!(!free(Operation::Elicit, "url"));
        assert!(free(Operation::Elicit, "message"));
    }
}
