//! The open loop: calls start on a fixed schedule, whatever became of those before.
//!
//! Each connection has a thread and a runtime of its own, so that it can block in an exact alarm.

use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::connection::Connection;
use super::tally::Tally;
use super::{ANSWER_WAIT_MAX, Length, Window};
use crate::clock::{Alarm, NS_PER_SEC, now_ns};

/// Runs all connections and adds their tallies up
pub(super) fn run(connections: Vec<Connection>, length: Length, rate: u32) -> anyhow::Result<Tally> {
    let start = Start { together: Barrier::new(connections.len()), window: OnceLock::new(), length };
    let shares = u64::try_from(connections.len())?;
    let mut total = Tally::new()?;
    thread::scope(|scope| {
        let start = &start;
        let threads: Vec<_> = connections
            .into_iter()
            .zip(0..)
            .map(|(connection, number)| {
                let schedule = Schedule { number, shares, rate };
                scope.spawn(move || call_on_schedule(connection, start, schedule))
            })
            .collect();
        for thread in threads {
            total.add(&thread.join().map_err(|_panic| anyhow!("a connection's thread panicked"))??)?;
        }
        anyhow::Ok(())
    })?;
    Ok(total)
}

/// One beginning for all threads
#[derive(Debug)]
struct Start {
    together: Barrier,
    window: OnceLock<Window>,
    length: Length,
}

/// The share of one connection in the schedule
#[derive(Debug, Clone, Copy)]
struct Schedule {
    number: u64,
    shares: u64,
    rate: u32,
}

impl Schedule {
    /// Intended start of this connection's `turn`th call
    fn at_ns(self, window: Window, turn: u64) -> u64 {
        let call = turn * self.shares + self.number;
        window.begin_ns + call * NS_PER_SEC / u64::from(self.rate)
    }
}

fn call_on_schedule(mut connection: Connection, start: &Start, schedule: Schedule) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime");
    let begun = runtime.and_then(|runtime| {
        runtime.block_on(connection.begin())?;
        Ok((runtime, Alarm::open()?))
    });
    // Comes before the `?`: the other threads wait for this one.
    start.together.wait();
    let window = *start.window.get_or_init(|| Window::starting_now(start.length));
    let (runtime, alarm) = begun?;
    let overrun_ns = u64::try_from(OVERRUN_MAX.as_nanos())?;
    let mut tally = Tally::new()?;
    for turn in 0.. {
        let intended_ns = schedule.at_ns(window, turn);
        if intended_ns >= window.end_ns {
            break;
        }
        if now_ns() > window.end_ns + overrun_ns {
            tally.failed("the schedule overran: calls were never sent".into());
            continue;
        }
        alarm.sleep_until(intended_ns)?;
        let outcome = runtime
            .block_on(async { tokio::time::timeout(ANSWER_WAIT_MAX, connection.call()).await.context("no answer")? });
        tally.note(outcome, now_ns() - intended_ns, intended_ns >= window.measured_ns);
    }
    Ok(tally)
}

/// How late the loop may run before its remaining calls count as errors
const OVERRUN_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::{NS_PER_SEC, Schedule, Window};

    #[test]
    fn connections_share_one_even_schedule() {
        let window = Window { begin_ns: 1_000, measured_ns: 1_000, end_ns: NS_PER_SEC + 1_000 };
        let mut starts: Vec<u64> = (0..8)
            .flat_map(|number| {
                let schedule = Schedule { number, shares: 8, rate: 500 };
                (0..).map(move |turn| schedule.at_ns(window, turn)).take_while(|at| *at < window.end_ns)
            })
            .collect();
        starts.sort_unstable();
        assert_eq!(starts.len(), 500);
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 2_000_000));
    }
}
