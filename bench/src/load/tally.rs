//! Latencies and errors of a loop, and their summary.

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What happened on one connection, or on all
#[derive(Debug)]
pub(crate) struct Tally {
    latency_ns: Histogram<u64>,
    /// Calls made, warm-up included
    calls: u64,
    errors: u64,
    first_error: Option<String>,
}

/// What surrounds a tally
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) form: &'static str,
    pub(crate) seconds: u32,
    pub(crate) wall_us: u64,
    pub(crate) cpu_us: u64,
}

/// What `load` prints
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// `open` or `closed`
    pub(crate) form: String,
    /// Measured calls that got a result
    pub(crate) count: u64,
    /// Calls that did not, warm-up included
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// All calls with a result, warm-up included
    pub(crate) calls_total: u64,
    /// From the first connection to the last answer
    pub(crate) wall_us: u64,
    /// CPU time of the load itself
    pub(crate) cpu_us: u64,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).context("histogram")?;
        Ok(Self { latency_ns, calls: 0, errors: 0, first_error: None })
    }

    /// Takes one call in
    pub(crate) fn note(&mut self, outcome: anyhow::Result<()>, latency_ns: u64, measured: bool) {
        match outcome {
            Err(error) => self.failed(format!("{error:#}")),
            Ok(()) => {
                self.calls += 1;
                if measured {
                    self.latency_ns.saturating_record(latency_ns);
                }
            }
        }
    }

    /// Takes a call in that got no result
    pub(crate) fn failed(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    /// Errors so far
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// Takes another connection's tally in
    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency_ns.add(&other.latency_ns).context("add histograms")?;
        self.calls += other.calls;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        Ok(())
    }

    /// Percentiles and rates
    pub(crate) fn summary(&self, frame: &Frame) -> Summary {
        let at = |quantile: f64| tenth_us(self.latency_ns.value_at_quantile(quantile));
        let count = self.latency_ns.len();
        Summary {
            form: frame.form.into(),
            count,
            errors: self.errors,
            first_error: self.first_error.clone(),
            per_second: as_f64(count) / f64::from(frame.seconds),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: tenth_us(self.latency_ns.max()),
            calls_total: self.calls,
            wall_us: frame.wall_us,
            cpu_us: frame.cpu_us,
        }
    }
}

/// Microseconds with one decimal
pub(crate) fn tenth_us(ns: u64) -> f64 {
    as_f64(ns / 100) / 10.0
}

/// A count as a float; counts here stay far below 2^53
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "no lossless conversion exists")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

const LATENCY_NS_MAX: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::{Frame, Tally};

    #[test]
    fn warm_up_and_errors_are_no_latencies() {
        let mut tally = Tally::new().unwrap();
        tally.note(Ok(()), 9_000_000, false);
        for _ in 0..99 {
            tally.note(Ok(()), 100_000, true);
        }
        tally.note(Ok(()), 5_000_000, true);
        tally.note(Err(anyhow::anyhow!("refused")), 1_000, true);
        let mut total = Tally::new().unwrap();
        total.add(&tally).unwrap();
        let summary = total.summary(&Frame { form: "open", seconds: 2, wall_us: 1, cpu_us: 1 });
        assert_eq!((summary.count, summary.calls_total, summary.errors), (100, 101, 1));
        assert!((summary.p50_us - 100.0).abs() < 0.2);
        assert!((summary.max_us - 5_000.0).abs() < 5.0);
        assert!((summary.per_second - 50.0).abs() < f64::EPSILON);
        assert_eq!(summary.first_error.as_deref(), Some("refused"));
    }
}
