//! The borrowed JSON-RPC envelope: what is decided on is parsed, the rest stays as bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON-RPC request or notification, borrowed from the body
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<'a> {
    /// Absent in a notification
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) params: Option<&'a RawValue>,
}

/// What `tools/call` carries
#[derive(Debug, Deserialize)]
pub(crate) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) arguments: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Parses a whole body
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The id as it stood in the body, `null` for a notification
    pub(crate) fn id_text(&self) -> &'a str {
        self.id.map_or("null", RawValue::get)
    }

    /// The parameters of a `tools/call`
    pub(crate) fn tool_call(&self) -> Result<ToolCall<'a>, serde_json::Error> {
        serde_json::from_str(self.params.map_or("null", RawValue::get))
    }
}

#[cfg(test)]
mod tests {
    use super::Envelope;

    #[test]
    fn keeps_id_and_arguments_as_written() {
        let body = br#"{"jsonrpc":"2.0","id": "a\u0041","method":"tools/call","params":{"name":"echo","arguments":{"text" : "x"}}}"#;
        let envelope = Envelope::parse(body).unwrap();
        assert_eq!(envelope.id_text(), r#""a\u0041""#);
        let call = envelope.tool_call().unwrap();
        assert_eq!(call.name, "echo");
        assert_eq!(call.arguments.unwrap().get(), r#"{"text" : "x"}"#);
    }

    #[test]
    fn refuses_a_batch_and_a_call_without_parameters() {
        assert!(Envelope::parse(br#"[{"method":"tools/call"}]"#).is_err());
        let bare = Envelope::parse(br#"{"method":"tools/call"}"#).unwrap();
        assert!(bare.tool_call().is_err());
    }
}
