//! Hostile bytes: a corpus of them, random changes of it, and what other parsers read in what is taken here.
//!
//! `FUZZ_SEEDS=100000` tries more changes, `FUZZ_FROM=N` begins at a seed that was reported.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod corpus;
mod fuzz;
mod mutation;
mod readers;

#[path = "../../../../fuzz/wire.rs"]
mod wire;
