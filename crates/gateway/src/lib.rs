//! The shell: sockets, the step loop, the door's thread, the administration.
//!
//! Start with [`serve`](serve::serve), which wires everything. A message of an agent comes in at [`endpoint`], is read
//! and shared out in [`dispatch`], and goes its way in [`call`].
//!
//! Architecture Invariant: nothing is decided here. What may happen is judged in the core; this room does
//! what a step says, and reports what happened.

pub mod admin;
mod ahead;
pub mod asks;
mod bells;
pub mod call;
pub mod catalogue;
pub mod children;
pub mod client;
pub mod dispatch;
pub mod door;
pub mod elevating;
pub mod endpoint;
pub mod failure;
pub mod fate;
pub mod fence;
pub mod front;
pub mod held;
pub mod history;
pub mod hooks;
mod identities;
pub mod issuers;
pub mod keys;
pub mod leases;
pub mod links;
pub mod listen;
pub mod lists;
pub mod modes;
pub mod office;
pub mod outcomes;
pub mod outlet;
pub mod own;
pub mod people;
pub mod points;
pub mod polls;
pub mod private;
pub mod proving;
pub mod reaper;
pub mod serve;
pub mod session;
pub mod settings;
pub mod sign_in;
pub mod site;
pub mod snapshots;
pub mod streams;
pub mod tasks;
pub mod teller;
pub mod terms;
pub mod tls;
pub mod trace;
mod turns;
pub mod under_way;
pub mod undo;
pub mod using;
pub mod waiting;
pub mod workload;
