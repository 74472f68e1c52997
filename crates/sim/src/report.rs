//! What a run found.

use std::fmt;

/// What one seed showed
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The seed: the same one with the same options plays the same history
    pub seed: u64,
    /// Steps that were played
    pub steps: u64,
    /// Times that the process died
    pub crashes: u64,
    /// Calls that agents made
    pub calls: u64,
    /// Permits that the door gave
    pub permits: u64,
    /// Calls and openings that the door refused
    pub refusals: u64,
    /// Calls that people were asked about
    pub held: u64,
    /// Answers of people that are on the record
    pub answers: u64,
    /// Calls that were admitted because people had agreed
    pub approved: u64,
    /// Classes that were opened
    pub opened: u64,
    /// Calls whose bytes reached a connector
    pub sent: u64,
    /// Groups on the record at the end
    pub groups: u64,
    /// What should not have happened
    pub violations: Vec<Violation>,
    /// Every step in words, if asked for
    pub trace: Vec<String>,
}

/// Something that should not have happened
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant it breaks, as `ARCHITECTURE.md` numbers them
    pub invariant: &'static str,
    /// What happened
    pub what: String,
    /// At which step
    pub step: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "seed {}: {} steps, {} crashes, {} calls, {} permits, {} refusals, {} held, {} answers, {} approved, {} opened, {} sent, {} groups",
            self.seed,
            self.steps,
            self.crashes,
            self.calls,
            self.permits,
            self.refusals,
            self.held,
            self.answers,
            self.approved,
            self.opened,
            self.sent,
            self.groups
        )?;
        for violation in &self.violations {
            writeln!(f, "  {} at step {}: {}", violation.invariant, violation.step, violation.what)?;
        }
        Ok(())
    }
}
