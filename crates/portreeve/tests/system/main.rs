//! Tests of the whole system: the real program, driven from outside.
//!
//! One program for all themes, so that they share their tools and are linked once. A theme alone:
//! `cargo test -p portreeve --test system endpoint::`.

mod connectors;
mod crash;
mod demo;
mod disk;
mod endpoint;
mod first_steps;
mod interop;
mod orphans;
mod stop;
mod support;
