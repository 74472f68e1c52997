//! The heart of Portreeve: what may happen next, what has happened, and what is owed.
//!
//! [`judge`](judge::judge) answers whether a request may happen, [`State::apply`](state::State::apply)
//! folds what did happen, [`due`](due::due) lists what follows from it. [`Engine`](engine::Engine) joins
//! the three over the ports [`Log`](log::Log) and [`Rules`](rules::Rules).
//!
//! Architecture Invariant: no I/O, no clock, no randomness, no async, no Cedar, no SQL. Time, ids and
//! salts are arguments. The same input gives the same output, byte for byte.

pub mod hash;
pub mod json;
pub mod log;
pub mod time;
pub mod value;
