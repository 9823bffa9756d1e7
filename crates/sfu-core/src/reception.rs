//! What arrives of a browser's stream, as it is reported back to it (RFC 3550 section 6.4 and appendix A).

use std::time::Instant;

use rtp_wire::rtcp::ReportBlock;
use rtp_wire::{RtpTime, SAMPLE_RATE_HZ, SeqNo, Ssrc};

#[derive(Debug, Clone, Default)]
pub struct Reception {
    first: Option<SeqNo>,
    received: u64,
    /// Both as of the last report.
    expected_before: u64,
    received_before: u64,
    /// In 16ths of a sample, as the RFC keeps it.
    jitter: u32,
    transit: Option<(RtpTime, Instant)>,
    /// The middle of the last sender report's clock, and when it came.
    sender_report: Option<(u32, Instant)>,
}

impl Reception {
    pub fn received(&mut self, now: Instant, seq: SeqNo, time: RtpTime) {
        self.first = Some(self.first.map_or(seq, |first| first.min(seq)));
        self.received += 1;
        if let Some((last_time, last_at)) = self.transit.replace((time, now)) {
            let elapsed_us = now.saturating_duration_since(last_at).as_micros() as u64;
            let elapsed = (elapsed_us * u64::from(SAMPLE_RATE_HZ / 1000) / 1000) as i64;
            // More than a second off is another beginning of the clock, not jitter.
            let off = (elapsed - i64::from(time.since(last_time))).unsigned_abs();
            if let Some(off) = u32::try_from(off).ok().filter(|off| *off < SAMPLE_RATE_HZ) {
                self.jitter = self.jitter + off - (self.jitter + 8) / 16;
            }
        }
    }

    pub fn sender_report(&mut self, now: Instant, ntp: u64) {
        self.sender_report = Some(((ntp >> 16) as u32, now));
    }

    pub fn report(&mut self, now: Instant, ssrc: Ssrc, highest: SeqNo) -> ReportBlock {
        let expected = self.first.map_or(0, |first| (highest.0 + 1).saturating_sub(first.0));
        let expected_now = expected.saturating_sub(self.expected_before);
        let lost_now = expected_now.saturating_sub(self.received - self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let (last_sr, delay_since_sr) = match self.sender_report {
            Some((middle, at)) => {
                let delay_us = now.saturating_duration_since(at).as_micros() as u64;
                (middle, (delay_us * 65_536 / 1_000_000) as u32)
            }
            None => (0, 0),
        };
        // 24 bits, signed.
        let lost = (expected as i64 - self.received as i64).clamp(-0x80_0000, 0x7F_FFFF) as i32;
        ReportBlock {
            ssrc,
            fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
            lost,
            highest_seq: highest.0 as u32,
            jitter: self.jitter / 16,
            last_sr,
            delay_since_sr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn loss_jitter_and_the_way_back() {
        let start = Instant::now();
        let mut reception = Reception::default();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for n in (0..100_u64).filter(|n| n % 4 != 3) {
            reception.received(at(n * 20), SeqNo(n), RtpTime(960 * n as u32));
        }
        reception.sender_report(at(2_000), 0x1234_5678_9ABC_DEF0);
        let report = reception.report(at(2_500), Ssrc(3), SeqNo(98));
        assert_eq!((report.ssrc, report.highest_seq, report.jitter), (Ssrc(3), 98, 0));
        assert_eq!((report.lost, report.fraction_lost), (24, 62));
        assert_eq!((report.last_sr, report.delay_since_sr), (0x5678_9ABC, 32_768));

        reception.received(at(2_100), SeqNo(99), RtpTime(960 * 99));
        let report = reception.report(at(2_500), Ssrc(3), SeqNo(99));
        assert_eq!((report.lost, report.fraction_lost), (24, 0));
        // 110 ms late after the one before, of which a sixteenth counts.
        assert!((300..400).contains(&report.jitter), "{}", report.jitter);
    }
}
