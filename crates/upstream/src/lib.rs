//! The connectors: how Portreeve reaches MCP servers, over HTTP and as child processes, in both eras of the protocol.
//!
//! Start with [`Link`](link::Link). A message of a call leaves only through a [`Pass`](latch::Pass), which
//! checks the latches of everything that the call rests on, and the permit's deadline, in the poll that
//! hands over its first byte.
//!
//! Architecture Invariant: nothing here decides whether a call may happen, and no token that was presented
//! to us is ever in reach of this crate. What cannot be proven unsent is `Lost`.

pub mod ask;
pub mod child;
pub mod clock;
pub mod event;
pub mod fetch;
pub mod given;
pub mod http;
pub mod identity;
pub mod keeper;
pub mod latch;
mod line;
pub mod link;
mod patience;
mod pieces;
mod room;

#[cfg(test)]
mod tests;
