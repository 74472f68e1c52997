//! What a connector says beside its answers: on the way of a call, and of itself.

use crate::{http::Failure, latch::Pass, link::Back, patience::Open};
use portreeve_mcp::method::{Method, Notice};
use tokio::sync::oneshot;

/// What a connector says on the way of a call
#[derive(Debug)]
pub enum Event {
    /// A notification as it was sent: progress, what was logged; for
    /// [`notification`](portreeve_mcp::translate::notification)
    Told(Vec<u8>),
    /// A question; only legacy connectors put them so
    Asks(Ask),
}

/// What a legacy connector asks of the client while a call is under way
///
/// As long as this lives the time of its call stands still, for ten minutes at most. Dropped without an answer, it is
/// declined with an error.
#[derive(Debug)]
pub struct Ask {
    /// What is asked: something that the client can do
    pub method: Method,
    /// Its parameters as they were written, an object; `{}` if there were none
    pub params: String,
    pub(crate) id: String,
    pub(crate) back: Option<Back>,
    pub(crate) withdrawn: Option<oneshot::Receiver<()>>,
    pub(crate) _open: Open,
}

/// Why nobody answered
const UNANSWERED: (i64, &str) = (-32_603, "nobody answered");

impl Ask {
    /// Answers with a raw result, or with the code and text of an error
    ///
    /// A result is data of the client and leaves through a pass; that there is none needs none.
    ///
    /// # Errors
    /// [`Failure`]: whether the answer was sent.
    pub async fn answer(mut self, answer: Result<String, (i64, String)>, pass: Option<Pass>) -> Result<(), Failure> {
        let Some(back) = self.back.take() else { return Ok(()) };
        let message = match answer {
            Ok(result) => portreeve_mcp::reply::result_text(&self.id, &result),
            Err((code, text)) => portreeve_mcp::reply::error(Some(&self.id), code, &text, None),
        };
        back.answer(message, pass).await
    }

    /// Returns once the connector does not want to know any more; as long as it does, never
    pub async fn withdrawn(&mut self) {
        if let Some(withdrawn) = self.withdrawn.take()
            && withdrawn.await.is_ok()
        {
            // What is withdrawn wants no answer.
            self.back = None;
            return;
        }
        std::future::pending().await
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let (code, text) = UNANSWERED;
            back.say(portreeve_mcp::reply::error(Some(&self.id), code, text, None));
        }
    }
}

/// What a connector tells that was asked to tell it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What happened: a list changed, a resource or a task was updated, or, with a legacy connector, something was
    /// logged beside any call
    pub what: Notice,
    /// Which resource or task was updated
    pub of: Option<String>,
    /// The notification as it was sent; for [`notification`](portreeve_mcp::translate::notification)
    pub raw: Vec<u8>,
}
