//! Calls that wait for people: how an agent hears of it, and that a yes is used exactly once.

mod before;
mod clients;
mod elevation;
pub(crate) mod house;
mod tasks;
mod told;
