//! The rules of the protocol that bind whoever stands in between, by their numbers in `docs/protocol.md`, from outside.

pub(crate) mod agent;
mod aggregated;
mod lists;
mod questions;
mod resource_server;
mod sessions;
mod shop;
mod streams;
mod table;
mod tasks;
mod trace;
mod transport;
