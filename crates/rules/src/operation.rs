//! What the protocol says of the methods that are judged as tools are, written down as a server would.

use crate::{
    definition::{Definition, Validator},
    pins::Pins,
    words::{nearest, suggest},
};
use portreeve_core::{names::ToolName, operation::Operation};
use std::sync::LazyLock;

/// What an operation takes
///
/// Of `prompts/get` this is the general form; what a server says of its own prompts is a pin, and what calls are held
/// against.
#[must_use]
pub fn definition(operation: Operation) -> &'static Definition {
    &made(operation).0
}

/// Holds the arguments of an operation against [`definition`]
#[must_use]
pub fn validator(operation: Operation) -> &'static Validator {
    &made(operation).1
}

/// The definition that calls of a tool or operation are held against; `None`: the server has no such thing
pub(crate) fn defined<'p>(pins: &'p Pins, tool: &ToolName) -> Option<&'p Definition> {
    match tool.operation() {
        Some(operation) if !operation.is_pinned() => Some(definition(operation)),
        Some(_) => pins.get(tool),
        None => pins.get(tool).filter(|_| tool.is_tool()),
    }
}

/// The tools that a server has by its definitions
pub(crate) fn names(pins: &Pins) -> impl Iterator<Item = &str> {
    pins.keys().filter(|name| name.is_tool()).map(ToolName::as_str)
}

/// What was meant by a name: of the tools, and where it looks like one, of the operations
pub(crate) fn near<'n>(given: &str, tools: impl IntoIterator<Item = &'n str>) -> String {
    let tools = tools.into_iter().filter(|name| Operation::read(name).is_none());
    let method = given.contains('/') || nearest(given, operations()).is_some();
    suggest(given, tools.chain(operations().filter(|_| method)))
}

/// The names of all operations
pub(crate) fn operations<'n>() -> impl Iterator<Item = &'n str> {
    Operation::ALL.into_iter().map(|operation| -> &'n str { operation.as_str() })
}

fn made(operation: Operation) -> &'static (Definition, Validator) {
    type Made = LazyLock<(Definition, Validator)>;
    static READ: Made = LazyLock::new(|| make(READ_RESOURCE));
    static SUBSCRIBE: Made = LazyLock::new(|| make(SUBSCRIBE_RESOURCE));
    static PROMPT: Made = LazyLock::new(|| make(GET_PROMPT));
    static COMPLETION: Made = LazyLock::new(|| make(COMPLETE));
    static LEVEL: Made = LazyLock::new(|| make(SET_LEVEL));
    static SAMPLING: Made = LazyLock::new(|| make(SAMPLE));
    static ELICITATION: Made = LazyLock::new(|| make(ELICIT));
    static ROOTS: Made = LazyLock::new(|| make(LIST_ROOTS));
    match operation {
        Operation::ReadResource => &READ,
        Operation::Subscribe => &SUBSCRIBE,
        Operation::GetPrompt => &PROMPT,
        Operation::Complete => &COMPLETION,
        Operation::SetLevel => &LEVEL,
        Operation::Sample => &SAMPLING,
        Operation::Elicit => &ELICITATION,
        Operation::ListRoots => &ROOTS,
    }
}

#[expect(clippy::expect_used, reason = "the texts are constants of this file, and a test reads each")]
fn make(text: &str) -> (Definition, Validator) {
    let definition = Definition::read(text.as_bytes()).expect("a definition");
    let validator = Validator::new(&definition).expect("a schema");
    (definition, validator)
}

const READ_RESOURCE: &str = r#"{ "name": "resources/read", "annotations": { "readOnlyHint": true }, "inputSchema": {
    "type": "object", "properties": { "uri": { "type": "string", "minLength": 1 } }, "required": ["uri"] } }"#;

const SUBSCRIBE_RESOURCE: &str = r#"{ "name": "resources/subscribe", "annotations": { "readOnlyHint": true },
    "inputSchema": {
    "type": "object", "properties": { "uri": { "type": "string", "minLength": 1 } }, "required": ["uri"] } }"#;

const GET_PROMPT: &str = r#"{ "name": "prompts/get", "annotations": { "readOnlyHint": true }, "inputSchema": {
    "type": "object", "properties": {
        "name": { "type": "string", "minLength": 1 },
        "arguments": { "type": "object", "additionalProperties": { "type": "string" } }
    }, "required": ["name"] } }"#;

const COMPLETE: &str = r#"{ "name": "completion/complete", "annotations": { "readOnlyHint": true }, "inputSchema": {
    "type": "object", "properties": {
        "ref": { "type": "object", "properties": {
            "type": { "enum": ["ref/prompt", "ref/resource"] },
            "name": { "type": "string" },
            "uri": { "type": "string" }
        }, "required": ["type"] },
        "argument": { "type": "object", "properties": {
            "name": { "type": "string" },
            "value": { "type": "string" }
        }, "required": ["name", "value"] },
        "context": { "type": "object", "properties": {
            "arguments": { "type": "object", "additionalProperties": { "type": "string" } }
        } }
    }, "required": ["ref", "argument"] } }"#;

const SET_LEVEL: &str = r#"{ "name": "logging/setLevel", "annotations": { "readOnlyHint": true }, "inputSchema": {
    "type": "object", "properties": {
        "level": { "enum": ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"] }
    }, "required": ["level"] } }"#;

// Content may be one block or several, and blocks of kinds that are not known yet are the client's business.
const SAMPLE: &str = r#"{ "name": "sampling/createMessage", "inputSchema": {
    "type": "object", "properties": {
        "messages": { "type": "array", "items": { "type": "object", "properties": {
            "role": { "enum": ["user", "assistant"] }, "content": { "type": ["object", "array"] }
        }, "required": ["role", "content"] } },
        "systemPrompt": { "type": "string" },
        "modelPreferences": { "type": "object" },
        "includeContext": { "enum": ["none", "thisServer", "allServers"] },
        "maxTokens": { "type": "integer", "minimum": 0 },
        "temperature": { "type": "number" },
        "stopSequences": { "type": "array", "items": { "type": "string" } },
        "metadata": { "type": "object" },
        "tools": { "type": "array", "items": { "type": "object" } },
        "toolChoice": { "type": "object" },
        "answer": { "type": "object" }
    }, "required": ["messages", "maxTokens"] } }"#;

const ELICIT: &str = r#"{ "name": "elicitation/create", "inputSchema": {
    "type": "object", "properties": {
        "mode": { "enum": ["form", "url"] },
        "message": { "type": "string" },
        "requestedSchema": { "type": "object" },
        "elicitationId": { "type": "string" },
        "url": { "type": "string" },
        "answer": { "type": "object", "properties": {
            "action": { "enum": ["accept", "decline", "cancel"] },
            "content": { "type": "object" }
        }, "required": ["action"] }
    }, "required": ["message"] } }"#;

const LIST_ROOTS: &str = r#"{ "name": "roots/list", "annotations": { "readOnlyHint": true }, "inputSchema": {
    "type": "object", "properties": {
        "answer": { "type": "object", "properties": {
            "roots": { "type": "array", "items": { "type": "object", "properties": {
                "uri": { "type": "string" }, "name": { "type": "string" }
            }, "required": ["uri"] } }
        }, "required": ["roots"] }
    } } }"#;

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_core::value::Value;

    #[test]
    fn every_operation_is_defined_under_its_name_with_what_its_profile_names() {
        for operation in Operation::ALL {
            let definition = definition(operation);
            assert_eq!(definition.name.operation(), Some(operation));
            let schema = definition.schema();
            let roles = &operation.profile().arguments;
            assert!(roles.keys().all(|path| schema.at(path).is_some()), "{operation}");
            assert_eq!(roles.len(), schema.names().len(), "{operation}");
        }
    }

    #[test]
    fn arguments_are_held_against_it() {
        let fit = |operation, text: &str| validator(operation).fit(&text.parse::<Value>().unwrap()).is_none();
        assert!(fit(Operation::ReadResource, r#"{"uri":"file:///a"}"#));
        assert!(!fit(Operation::ReadResource, r#"{"uri":7}"#));
        assert!(!fit(Operation::ReadResource, "{}"));
        assert!(fit(Operation::SetLevel, r#"{"level":"info"}"#));
        assert!(!fit(Operation::SetLevel, r#"{"level":"loud"}"#));
        assert!(fit(Operation::Elicit, r#"{"message":"Name?","requestedSchema":{},"answer":{"action":"decline"}}"#));
        assert!(!fit(Operation::Elicit, r#"{"message":"Name?","answer":{"action":"perhaps"}}"#));
        assert!(fit(Operation::ListRoots, "{}"));
    }
}
