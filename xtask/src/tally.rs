//! Counting what passed, failed and was skipped

use std::fmt;

/// Counts of a test run
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// Adds what a line of the test harness says, if it is its `test result:` line
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some((_, counts)) = line.trim().strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Adds one check
    pub(crate) fn add(&mut self, result: &anyhow::Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// A test that passed only because it left everything out
    pub(crate) fn skip_passed(&mut self) {
        self.passed = self.passed.saturating_sub(1);
        self.skipped += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 14 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.02s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test tests::test_result ... ok",
        ] {
            tally.add_line(line);
        }
        assert_eq!(tally, Tally { passed: 17, failed: 2, skipped: 1 });
        assert_eq!(tally.to_string(), "17 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_left_everything_out_did_not_pass() {
        let mut tally = Tally { passed: 1, ..Tally::default() };
        tally.skip_passed();
        assert_eq!(tally, Tally { passed: 0, failed: 0, skipped: 1 });
    }
}
