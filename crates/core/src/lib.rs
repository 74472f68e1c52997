//! The heart of Portreeve: what may happen next, what has happened, and what is owed.
//!
//! [`judge`] answers whether a request may happen, [`State::apply`](state::State::apply) folds what did
//! happen, [`due`](due::due) lists what follows from it. [`Engine`](engine::Engine) joins the three over the
//! ports [`Log`](log::Log) and [`Rules`](rules::Rules); [`Life`](life::Life) is one call on its way through.
//!
//! Architecture Invariant: no I/O, no clock, no randomness, no async, no Cedar, no SQL. Time, ids and
//! salts are arguments. The same input gives the same output, byte for byte.

pub mod commit;
pub mod decimal;
pub mod due;
pub mod engine;
pub mod event;
pub mod hash;
pub mod json;
pub mod judge;
pub mod life;
pub mod log;
pub mod names;
pub mod node;
pub mod offer;
pub mod operation;
pub mod outside;
pub mod path;
pub mod pattern;
pub mod policy;
pub mod proof;
pub mod reason;
pub mod request;
pub mod rules;
pub mod state;
pub mod time;
pub mod undo;
pub mod value;
pub mod visible;
