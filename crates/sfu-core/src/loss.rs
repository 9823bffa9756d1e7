//! Whether a listener loses so much of a stream that it is worth sending everything twice.
//!
//! | state \\ report | much | some | little |
//! |---|---|---|---|
//! | low | high with the second in a row | low | low |
//! | high | high | high | low with the third in a row |

use crate::limits::{RED_LOSS, RED_LOSS_OVER, RED_REPORTS, RED_REPORTS_OVER};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    high: bool,
    /// Reports in a row that speak for the other state.
    against: u8,
}

impl Loss {
    #[inline]
    #[must_use]
    pub fn is_high(self) -> bool {
        self.high
    }

    /// The listener lost this many of 256 packets since it last said so.
    pub fn report(&mut self, fraction: u8) {
        let (against, needed) = match self.high {
            false => (fraction >= RED_LOSS, RED_REPORTS),
            true => (fraction < RED_LOSS_OVER, RED_REPORTS_OVER),
        };
        self.against = if against { self.against + 1 } else { 0 };
        if self.against >= needed {
            *self = Self { high: !self.high, against: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_with_the_second_report_and_falls_with_the_third() {
        let mut loss = Loss::default();
        let mut after = |fraction| {
            loss.report(fraction);
            loss.is_high()
        };
        let reports = [
            (RED_LOSS, false),
            (RED_LOSS - 1, false),
            (255, false),
            (RED_LOSS, true),
            (RED_LOSS_OVER - 1, true),
            (0, true),
            (RED_LOSS_OVER, true),
            (0, true),
            (0, true),
            (0, false),
            (255, false),
        ];
        for (step, (fraction, expect)) in reports.into_iter().enumerate() {
            assert_eq!(after(fraction), expect, "step {step}");
        }
    }
}
