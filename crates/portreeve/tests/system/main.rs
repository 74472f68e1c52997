//! Tests of the whole system: the real program, driven from outside.
//!
//! One program for all themes, so that they share their tools and are linked once. A theme alone:
//! `cargo test -p portreeve --test system endpoint::`.

mod connectors;
mod crash;
mod endpoint;
mod orphans;
mod stop;
mod support;
