//! MCP on the wire, without I/O: messages, versions, framing.
//!
//! What was judged is what is sent: a message is read once, strictly, and its own bytes are forwarded; only
//! the id is spliced. Start with [`Message`](message::Message).
//!
//! Architecture Invariant: no sockets, no clock, no policy. Nothing here re-serialises what it forwards.

pub mod asked;
pub mod can;
pub mod client;
pub mod edit;
pub mod flow;
pub mod header;
pub mod message;
pub mod method;
pub mod mirror;
pub mod outcome;
pub mod outgoing;
pub mod params;
pub mod reply;
pub mod sse;
pub mod translate;
pub mod version;
