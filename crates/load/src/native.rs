//! A native client's media: one session key, and an empty report now and then to show that it lives.

use std::ops::Range;
use std::time::Instant;

use rtp_wire::{Ssrc, rtcp};
use transport::{Mode, OpenError, ReplayWindow, Session};

use crate::limits::KEEPALIVE;

pub struct Native {
    session: Session,
    /// Of the streams it has opened packets of.
    windows: Vec<(Ssrc, ReplayWindow)>,
    keepalive_due: Option<Instant>,
}

impl Native {
    pub fn new(session: Session) -> Self {
        Self { session, windows: Vec::new(), keepalive_due: None }
    }

    pub fn mode(&self) -> Mode {
        self.session.mode()
    }

    /// From here on it sends keepalives.
    pub fn start(&mut self, first_keepalive: Instant) {
        self.keepalive_due = Some(first_keepalive);
    }

    /// Returns the length of the sealed packet.
    pub fn seal(&mut self, buffer: &mut [u8], plain: usize) -> anyhow::Result<usize> {
        Ok(self.session.seal_rtp(buffer, plain)?)
    }

    /// Opens a packet in place and says where its payload is.
    pub fn open(&mut self, datagram: &mut [u8], ssrc: Ssrc) -> Result<Range<usize>, OpenError> {
        let at = match self.windows.iter().position(|(of, _)| *of == ssrc) {
            Some(at) => at,
            None => {
                self.windows.push((ssrc, ReplayWindow::new()));
                self.windows.len() - 1
            }
        };
        Ok(self.session.open_rtp(datagram, &mut self.windows[at].1)?.body)
    }

    pub fn wake(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        send: &mut impl FnMut(&[u8]) -> bool,
    ) -> anyhow::Result<()> {
        let Some(due) = self.keepalive_due.filter(|due| *due <= now) else { return Ok(()) };
        self.keepalive_due = Some(due + KEEPALIVE);
        let mut buffer = [0_u8; 64];
        let length = rtcp::write_receiver_report(ssrc, &[], &mut buffer)?;
        let length = self.session.seal_rtcp(&mut buffer, length)?;
        // A keepalive that is lost is followed by another.
        send(&buffer[..length]);
        Ok(())
    }
}
