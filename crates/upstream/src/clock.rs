//! The clocks of this machine: one that nobody can set, anchored to the one on the wall.

use portreeve_core::{request::Clock, time::Millis};
use rustix::time::{ClockId, clock_gettime};

/// Reads both clocks
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    /// Wall clock minus steady clock at start
    anchor: i64,
}

impl SteadyClock {
    /// Anchored now
    #[must_use]
    pub fn start() -> Self {
        Self { anchor: read(ClockId::Realtime) - read(ClockId::Boottime) }
    }

    /// Both clocks now
    #[must_use]
    pub fn read(&self) -> Clock {
        Clock { steady: self.now(), wall: Millis(read(ClockId::Realtime)) }
    }

    /// The steady clock now; it counts while the machine sleeps
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(read(ClockId::Boottime).saturating_add(self.anchor))
    }
}

fn read(id: ClockId) -> i64 {
    let time = clock_gettime(id);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}
