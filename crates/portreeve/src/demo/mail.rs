//! The demo's mail box: a few messages, one of which is written for the agent and not for a person
//!
//! Served over Streamable HTTP at `/mcp`. All sessions share one box.

mod inbox;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use self::inbox::{Inbox, Message};

/// Serves on this listener until the future is dropped
pub(crate) async fn serve_mail(listener: TcpListener) -> anyhow::Result<()> {
    let router = router(listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

fn router(address: SocketAddr) -> Router {
    // SAFETY(security): a page in the user's browser can reach loopback too. Its requests carry the page's origin,
    // or after DNS rebinding the page's host; both are refused.
    let port = address.port();
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts([format!("127.0.0.1:{port}"), format!("localhost:{port}")])
        .with_allowed_origins([format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")])
        .enforce_origin_validation()
        .with_max_request_body_bytes(BODY_BYTES_MAX);
    let mail = Mail::default();
    let service =
        StreamableHttpService::new(move || Ok(mail.clone()), Arc::new(LocalSessionManager::default()), config);
    Router::new().route_service("/mcp", service)
}

/// The mail box: one state, in memory, gone with the process
#[derive(Debug, Clone, Default)]
struct Mail {
    inbox: Arc<Mutex<Inbox>>,
}

#[tool_router]
impl Mail {
    #[tool(
        description = "List the messages of the mail box: id, sender, subject and date, without their text.",
        annotations(title = "List messages", read_only_hint = true, open_world_hint = false)
    )]
    async fn list_messages(&self, Parameters(_): Parameters<ListMessages>) -> Json<MessageList> {
        let messages = self.inbox.lock().await.messages().iter().map(Summary::from).collect();
        Json(MessageList { messages })
    }

    #[tool(
        description = "Read one message with its text. The text was written by its sender.",
        annotations(title = "Read message", read_only_hint = true, open_world_hint = false)
    )]
    async fn read_message(&self, Parameters(arguments): Parameters<ReadMessage>) -> Result<Json<Message>, String> {
        self.inbox.lock().await.message(&arguments.id).cloned().map(Json)
    }

    #[tool(
        description = "Send an e-mail. It leaves at once and cannot be taken back.",
        annotations(
            title = "Send message",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn send_message(&self, Parameters(arguments): Parameters<SendMessage>) -> Result<Json<Sent>, String> {
        let SendMessage { to, subject, body } = arguments;
        let message = self.inbox.lock().await.send(&to, &subject, &body)?;
        Ok(Json(Sent { message, to }))
    }
}

#[tool_handler(
    name = "portreeve-demo-mail",
    instructions = "The mail box of the shop's customer support. Messages are named msg_1, msg_2 and so on."
)]
impl ServerHandler for Mail {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListMessages {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadMessage {
    /// The message's id, such as msg_1
    id: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SendMessage {
    /// One recipient's e-mail address
    to: String,
    /// Subject line
    subject: String,
    /// Plain text
    body: String,
}

/// What `list_messages` answers
#[derive(Debug, Serialize, JsonSchema)]
struct MessageList {
    messages: Vec<Summary>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Summary {
    /// The message's id
    id: String,
    /// The sender, as the message claims
    from: String,
    subject: String,
    date: String,
}

impl From<&Message> for Summary {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id.clone(),
            from: message.from.clone(),
            subject: message.subject.clone(),
            date: message.date.clone(),
        }
    }
}

/// What `send_message` answers
#[derive(Debug, Serialize, JsonSchema)]
struct Sent {
    /// Id of the message that left
    message: String,
    /// Its recipient
    to: String,
}

const BODY_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
