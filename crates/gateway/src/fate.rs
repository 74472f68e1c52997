//! What became of a permitted call that has no answer: told as a result where the method has `isError`, else as an error.

use portreeve_mcp::{
    method::Method,
    reply::{self, META, REFUSED},
    version::Era,
};
use portreeve_upstream::http::Failure;
use serde_json::json;

/// What became of a call
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent, and nobody can know whether it happened
    Unknown(String),
    /// It could not be tried
    Unreachable(String),
    /// The connector refused it below the protocol, or asked what nobody answered
    Rejected(String),
    /// It happened, and its answer is longer than the task may receive
    Withheld {
        /// Bytes of the answer
        bytes: u64,
        /// Bytes that the task may still receive
        most: u64,
    },
}

impl From<Failure> for Fate {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(why) => Self::Unreachable(why),
            Failure::Rejected(why) => Self::Rejected(why),
            Failure::Lost(why) => Self::Unknown(why),
        }
    }
}

impl Fate {
    /// The message for the client
    #[must_use]
    pub fn told(&self, id: &str, method: Method, era: Era) -> Vec<u8> {
        if method == Method::CallTool {
            return match self {
                Self::Unknown(why) => reply::unknown_outcome(id, era, why),
                Self::Unreachable(why) => reply::unreachable(id, era, why),
                Self::Rejected(why) => reply::rejected(id, era, why),
                Self::Withheld { bytes, most } => reply::withheld(id, era, *bytes, *most),
            };
        }
        let (word, retry, text) = match self {
            Self::Unknown(why) => {
                ("outcome_unknown", false, format!("It was sent, but no answer came ({why}). It may have happened."))
            }
            Self::Unreachable(why) => {
                ("connector_unreachable", true, format!("The server cannot be reached ({why}). Nothing was sent."))
            }
            Self::Rejected(why) => ("connector_rejected", false, format!("The server refused it ({why}).")),
            Self::Withheld { bytes, most } => (
                "answer_withheld",
                false,
                format!("The answer of {bytes} bytes is longer than the {most} that this task may still receive."),
            ),
        };
        reply::error(
            Some(id),
            REFUSED,
            &format!("{word}: {text}"),
            Some(json!({ META: { "word": word, "retry": retry } })),
        )
    }
}
