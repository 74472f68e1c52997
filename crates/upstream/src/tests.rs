//! Links against servers that say what a test tells them, byte for byte.
//!
//! A test plays both sides: what the link does runs beside what the server does, and each waits for the other. The
//! numbers are those of the checklist of the protocol's rules for a gateway.

mod calls;
mod children;
mod eras;
mod identity;
mod listen;
mod long;
mod sessions;
mod support;
