//! Medians over the rounds, ratios to the yardstick, and the bar.

use serde::Serialize;

use super::round::Turn;
use crate::load::as_f64;

/// One subject's medians over all rounds
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) open_p50_us: f64,
    pub(crate) open_p99_us: f64,
    /// Over `direct` of the same round
    pub(crate) added_p50_us: f64,
    pub(crate) added_p50_range_us: (f64, f64),
    pub(crate) added_p99_us: f64,
    pub(crate) added_p99_range_us: (f64, f64),
    pub(crate) closed_per_second: f64,
    pub(crate) closed_p50_us: f64,
    pub(crate) closed_p99_us: f64,
    pub(crate) cpu_us_per_call: f64,
    pub(crate) idle_mib: f64,
    pub(crate) resident_mib: f64,
    /// Shares of a core in the closed loop
    pub(crate) proxy_share: f64,
    pub(crate) load_share: f64,
    pub(crate) foreign_on_proxy_core: f64,
    pub(crate) foreign_on_load_core: f64,
    /// Other work on either core in the open loop, of the worst round
    pub(crate) foreign_in_open_max: f64,
    /// Of all rounds together
    pub(crate) errors: u64,
}

impl Figures {
    /// Takes medians; `direct` holds the turns of the same rounds without a proxy
    pub(crate) fn of(turns: &[Turn], direct: &[Turn]) -> Self {
        let over = |value: &dyn Fn(&Turn) -> f64| sorted(turns.iter().map(value).collect());
        let added = |value: &dyn Fn(&Turn) -> f64| {
            sorted(turns.iter().zip(direct).map(|(turn, direct)| value(turn) - value(direct)).collect())
        };
        let added_p50 = added(&|turn| turn.open.p50_us);
        let added_p99 = added(&|turn| turn.open.p99_us);
        Self {
            open_p50_us: median(&over(&|turn| turn.open.p50_us)),
            open_p99_us: median(&over(&|turn| turn.open.p99_us)),
            added_p50_us: median(&added_p50),
            added_p50_range_us: range(&added_p50),
            added_p99_us: median(&added_p99),
            added_p99_range_us: range(&added_p99),
            closed_per_second: median(&over(&|turn| turn.closed.per_second)),
            closed_p50_us: median(&over(&|turn| turn.closed.p50_us)),
            closed_p99_us: median(&over(&|turn| turn.closed.p99_us)),
            cpu_us_per_call: median(&over(&Turn::cpu_us_per_call)),
            idle_mib: median(&over(&|turn| as_f64(turn.idle_kib) / 1024.0)),
            resident_mib: median(&over(&|turn| as_f64(turn.resident_kib) / 1024.0)),
            proxy_share: median(&over(&|turn| turn.closed_usage.proxy_share())),
            load_share: median(&over(&|turn| turn.closed_usage.load_share())),
            foreign_on_proxy_core: median(&over(&|turn| turn.closed_usage.foreign_on_proxy_core())),
            foreign_on_load_core: median(&over(&|turn| turn.closed_usage.foreign_on_load_core())),
            foreign_in_open_max: range(&over(&|turn| {
                turn.open_usage.foreign_on_proxy_core().max(turn.open_usage.foreign_on_load_core())
            }))
            .1,
            errors: turns.iter().map(Turn::errors).sum(),
        }
    }

    /// Calls per second of the proxy's CPU time; none without a proxy
    pub(crate) fn calls_per_core_second(&self) -> Option<f64> {
        (self.cpu_us_per_call > 0.0).then(|| 1_000_000.0 / self.cpu_us_per_call)
    }

    /// Which core was full in the closed loop
    pub(crate) fn saturated(&self) -> Saturated {
        // The whole core counts: the disk's interrupts and kernel threads run where the proxy runs.
        // Without a proxy nothing of the run is on that core.
        let proxy_core = if self.proxy_share > 0.0 { self.proxy_share + self.foreign_on_proxy_core } else { 0.0 };
        let load_core = self.load_share + self.foreign_on_load_core;
        match (proxy_core >= FULL, load_core >= FULL) {
            (true, true) => Saturated::Both,
            (true, false) => Saturated::Proxy,
            (false, true) => Saturated::Load,
            (false, false) => Saturated::Neither,
        }
    }
}

/// Which core was full
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saturated {
    Proxy,
    /// Upstream and load: the proxy could do more than was measured
    Load,
    Both,
    /// Calls wait, for the disk or for a timer
    Neither,
}

/// One subject measured by another
#[derive(Debug, Clone)]
pub(crate) struct Ratios {
    pub(crate) added_p50: f64,
    pub(crate) added_p99: f64,
    pub(crate) cpu: f64,
    pub(crate) per_second: f64,
    pub(crate) per_core_second: f64,
}

impl Ratios {
    /// `subject` ÷ `yardstick`
    pub(crate) fn of(subject: &Figures, yardstick: &Figures) -> Self {
        Self {
            added_p50: subject.added_p50_us / yardstick.added_p50_us,
            added_p99: subject.added_p99_us / yardstick.added_p99_us,
            cpu: subject.cpu_us_per_call / yardstick.cpu_us_per_call,
            per_second: subject.closed_per_second / yardstick.closed_per_second,
            per_core_second: yardstick.cpu_us_per_call / subject.cpu_us_per_call,
        }
    }
}

/// One line of the bar
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) what: &'static str,
    pub(crate) measured: f64,
    pub(crate) limit: Limit,
}

/// A bound and its direction
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Mark {
    /// Whether the bar is met
    pub(crate) fn met(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.measured <= limit,
            Limit::AtLeast(limit) => self.measured >= limit,
        }
    }
}

/// Portreeve against the bar
pub(crate) fn bar(portreeve: &Figures, yardstick: &Figures) -> [Mark; 6] {
    let ratios = Ratios::of(portreeve, yardstick);
    let mark = |what, measured, limit| Mark { what, measured, limit };
    [
        mark("added p50 ÷ yardstick's", ratios.added_p50, Limit::AtMost(1.35)),
        mark("added p99 ÷ yardstick's", ratios.added_p99, Limit::AtMost(1.5)),
        mark("CPU per call ÷ yardstick's", ratios.cpu, Limit::AtMost(1.9)),
        mark("calls per second of one core ÷ yardstick's", ratios.per_second, Limit::AtLeast(0.55)),
        mark("calls per second of CPU time ÷ yardstick's", ratios.per_core_second, Limit::AtLeast(0.55)),
        mark("idle memory, MiB", portreeve.idle_mib, Limit::AtMost(30.0)),
    ]
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of sorted values, the mean of the two middle ones if their number is even
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    let upper = sorted.get(half).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 {
        return upper;
    }
    let lower = half.checked_sub(1).and_then(|at| sorted.get(at)).copied().unwrap_or(f64::NAN);
    f64::midpoint(lower, upper)
}

fn range(sorted: &[f64]) -> (f64, f64) {
    (sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN))
}

/// From this share on a core counts as full
const FULL: f64 = 0.9;

#[cfg(test)]
mod tests;
