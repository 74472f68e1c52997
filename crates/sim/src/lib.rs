//! A deterministic world around the real core: clock, disk, upstream, child processes and crashes.
//!
//! [`run`] plays one seed: agents open tasks and call tools, people stop things, the policy changes, the disk
//! fails, and the process dies between any two steps. An [`oracle`](crate::run) that reads only the durable
//! record and the upstream's own ledger, and shares no code with the core's fold, says what was violated.
//! [`scenario`] is the language of the demos; its files run here on the pure core and elsewhere on the binary.
//!
//! Architecture Invariant: one seed is one history. No clock, no randomness, no thread, no I/O; what a
//! run does follows from its seed and its [`Options`] alone. The model never repairs what the core got wrong.

pub mod disk;
mod gateway;
mod host;
mod latch;
mod library;
mod options;
mod oracle;
mod quiet;
mod random;
mod report;
pub mod scenario;
mod upstream;
mod versions;
mod world;

pub use options::{Crash, Options, Sabotage};
pub use report::{Report, Violation};

/// Plays one seed
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    world::World::new(seed, options).play()
}

#[cfg(test)]
mod tests;
