//! Simulated time: one clock, in the three forms in which the cores take it.

use std::fmt;
use std::time::{Duration, Instant};

use model::UnixMs;

/// Microseconds since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct At(pub u64);

pub const fn ms(ms: u64) -> u64 {
    ms * 1_000
}

pub const fn secs(s: u64) -> u64 {
    s * 1_000_000
}

impl At {
    #[must_use]
    pub fn plus(self, us: u64) -> Self {
        Self(self.0 + us)
    }

    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What the world's beginning is on the cores' clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Instant,
}

/// Of no importance, but the same in every run.
const WALL: u64 = 1_795_381_607_000;

impl Clock {
    pub fn new() -> Self {
        // Some cores reckon back from now.
        Self { base: Instant::now() + Duration::from_secs(86_400) }
    }

    pub fn instant(self, at: At) -> Instant {
        self.base + Duration::from_micros(at.0)
    }

    pub fn wall(self, at: At) -> UnixMs {
        UnixMs(WALL + at.0 / 1_000)
    }

    pub fn voice(self, at: At) -> voice_core::Now {
        voice_core::Now { instant: self.instant(at), wall: self.wall(at) }
    }

    /// The first microsecond that is not before it.
    pub fn at(self, instant: Instant) -> At {
        let since = instant.saturating_duration_since(self.base);
        At(u64::try_from(since.as_nanos().div_ceil(1_000)).expect("a run is shorter than centuries"))
    }

    pub fn at_wall(self, wall: UnixMs) -> At {
        At(wall.0.saturating_sub(WALL) * 1_000)
    }
}
