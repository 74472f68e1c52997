//! Monotonic nanoseconds and an exact alarm.
//!
//! Tokio's timer rounds up to a millisecond and `nanosleep` has 50 µs of slack, which would swamp
//! the latencies measured here: an open loop needs a `timerfd`.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use rustix::io::{read, retry_on_intr};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

/// Nanoseconds of the monotonic clock
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec)
        .unwrap_or_default()
        .saturating_mul(NS_PER_SEC)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// An alarm of one thread, exact to the kernel's high-resolution timer
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    /// Opens the timer
    pub(crate) fn open() -> anyhow::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).context("timerfd_create")?;
        Ok(Self { timer })
    }

    /// Blocks the thread until `at_ns` of the monotonic clock, not at all if that has passed
    pub(crate) fn sleep_until(&self, at_ns: u64) -> anyhow::Result<()> {
        if at_ns <= now_ns() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(at_ns / NS_PER_SEC)?,
                tv_nsec: i64::try_from(at_ns % NS_PER_SEC)?,
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once).context("timerfd_settime")?;
        let mut expirations = [0_u8; 8];
        retry_on_intr(|| read(&self.timer, &mut expirations)).context("read the timer")?;
        Ok(())
    }
}

/// Nanoseconds in a second
pub(crate) const NS_PER_SEC: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::{Alarm, now_ns};

    #[test]
    fn alarm_is_never_early() {
        let alarm = Alarm::open().unwrap();
        for wait_ns in [0, 50_000, 700_000] {
            let at_ns = now_ns() + wait_ns;
            alarm.sleep_until(at_ns).unwrap();
            assert!(now_ns() >= at_ns);
        }
    }
}
