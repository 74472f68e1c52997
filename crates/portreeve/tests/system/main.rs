//! Tests of the whole system: the real program, driven from outside.
//!
//! One program for all themes, so that they share their tools and are linked once. A theme alone:
//! `cargo test -p portreeve --test system endpoint::`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "these are tests, and their tools fail them by panicking"
)]

mod acceptance;
mod accounts;
mod agents;
mod ahead;
mod approvals;
mod author;
mod checklist;
mod ci;
mod clients;
mod conformance;
mod connectors;
mod console;
mod contract;
mod crash;
mod databases;
mod demo;
mod disk;
mod endpoint;
mod exactly_once;
mod first_steps;
mod holds;
mod interop;
mod issuing;
mod keys;
mod killed;
mod language;
mod leases;
mod lossless;
mod methods;
mod minted;
mod modes;
mod mtls;
mod oauth;
mod orphans;
mod outside;
mod peers;
mod people;
mod profiles;
mod programs;
mod roles;
mod rust_client;
mod servers;
mod ship;
mod spiffe;
mod spire;
mod stop;
mod support;
mod undo;
