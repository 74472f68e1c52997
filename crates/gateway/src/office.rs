//! Where people work: what waits for them, what they answer, what they stop.
//!
//! The console, the command line, the API and messages all stand on it, so that they show the same thing.

pub mod view;
