//! The shell: sockets, the step loop, the door's thread, the administration.
//!
//! Start with [`serve`](serve::serve), which wires everything, then [`call`], the way of one call.
//!
//! Architecture Invariant: nothing is decided here. What may happen is judged in the core; this room does
//! what a step says, and reports what happened.

pub mod admin;
pub mod call;
pub mod catalogue;
pub mod door;
pub mod endpoint;
pub mod fence;
pub mod history;
pub mod links;
pub mod listen;
pub mod modes;
pub mod points;
pub mod private;
pub mod reaper;
pub mod serve;
pub mod settings;
pub mod snapshots;
pub mod tasks;
