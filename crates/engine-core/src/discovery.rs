//! IP discovery: asks the relay until it answers. Datagrams get lost, and nothing else can begin before the answer.

use std::time::{Duration, Instant};

use rtp_wire::{DISCOVERY_LEN, DiscoveryRequest, DiscoveryResponse, Ssrc};

use crate::limits::{DISCOVERY_RETRY, DISCOVERY_RETRY_MAX};

/// Why the machine wants to be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryReason {
    Ask,
}

pub struct Discovery {
    ssrc: Ssrc,
    ask_at: Instant,
    wait: Duration,
    answer: Option<DiscoveryResponse>,
}

impl Discovery {
    #[must_use]
    pub fn new(now: Instant, ssrc: Ssrc) -> Self {
        Self { ssrc, ask_at: now, wait: DISCOVERY_RETRY, answer: None }
    }

    /// The answer, if this datagram is it.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> Option<DiscoveryResponse> {
        let answer = DiscoveryResponse::parse(datagram).filter(|answer| answer.ssrc == self.ssrc)?;
        self.answer = Some(answer);
        Some(answer)
    }

    pub fn poll_transmit(&mut self, now: Instant) -> Option<[u8; DISCOVERY_LEN]> {
        if self.answer.is_some() || now < self.ask_at {
            return None;
        }
        self.ask_at = now + self.wait;
        self.wait = (self.wait * 2).min(DISCOVERY_RETRY_MAX);
        let mut buf = [0; DISCOVERY_LEN];
        DiscoveryRequest { ssrc: self.ssrc }.write(&mut buf).expect("the buffer has the request's length");
        Some(buf)
    }

    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, DiscoveryReason)> {
        self.answer.is_none().then_some((self.ask_at, DiscoveryReason::Ask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_again_until_its_own_answer_comes() {
        let start = Instant::now();
        let mut discovery = Discovery::new(start, Ssrc(7));
        assert!(discovery.poll_transmit(start).is_some());
        assert!(discovery.poll_transmit(start + DISCOVERY_RETRY / 2).is_none());
        assert_eq!(discovery.poll_timeout().unwrap().0, start + DISCOVERY_RETRY);
        assert!(discovery.poll_transmit(start + DISCOVERY_RETRY).is_some());

        let mut buf = [0; DISCOVERY_LEN];
        let answer = |ssrc| DiscoveryResponse { ssrc, ip: [127, 0, 0, 1].into(), port: 4000 };
        answer(Ssrc(8)).write(&mut buf).unwrap();
        assert_eq!(discovery.handle_datagram(&buf), None);
        answer(Ssrc(7)).write(&mut buf).unwrap();
        assert_eq!(discovery.handle_datagram(&buf), Some(answer(Ssrc(7))));
        assert_eq!(discovery.poll_timeout(), None);
        assert!(discovery.poll_transmit(start + DISCOVERY_RETRY_MAX * 9).is_none());
    }
}
