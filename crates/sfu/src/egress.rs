//! What leaves: the core writes into slots, which go out when there are enough of them and after each turn.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;

use sfu_core::Sink;
use udp_io::{Backend, Notice};

use crate::log;

pub struct Egress<'a>(udp_io::Egress<'a>);

impl<'a> Egress<'a> {
    /// By the kernel's sockets where it cannot be as wanted.
    pub fn new(socket: &'a UdpSocket, backend: &Backend) -> io::Result<Self> {
        let (egress, refused) = udp_io::Egress::new(socket, backend)?;
        match (refused, backend) {
            (Some(error), _) => {
                let why = error.to_string();
                log::line(log::WARN, "egress", format_args!("backend=kernel wanted=xdp reason={why:?}"));
            }
            (None, Backend::Xdp(_)) => log::line(log::INFO, "egress", format_args!("backend=xdp")),
            (None, Backend::Kernel) => {}
        }
        Ok(Self(egress))
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// Datagrams that were sent, and those that could not be.
    pub fn sent_and_failed(&self) -> (u64, u64) {
        let counters = self.0.counters();
        (counters.sent, counters.full + counters.refused)
    }

    /// How many of those sent went past the kernel's IP stack.
    pub fn sent_directly(&self) -> u64 {
        self.0.sent_directly()
    }

    /// Beside the socket to be waited for; see [`hear`](Self::hear).
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        self.0.news()
    }

    /// Takes in what has changed about the ways out of this machine.
    pub fn hear(&mut self) {
        self.0.hear();
    }

    /// Tells the operator which devices are sent by directly.
    pub fn tell(&mut self) {
        while let Some(notice) = self.0.poll_notice() {
            match notice {
                Notice::Opened { device, queue } => {
                    log::line(log::INFO, "egress_device", format_args!("device={device} queue={queue}"));
                }
                Notice::Refused { device, error } => {
                    let why = error.to_string();
                    log::line(log::WARN, "egress_device", format_args!("device={device} refused={why:?}"));
                }
            }
        }
    }
}

impl Sink for Egress<'_> {
    fn slot(&mut self) -> &mut [u8] {
        self.0.slot()
    }

    fn commit(&mut self, to: SocketAddr, len: usize) {
        self.0.commit(len, to);
    }
}
