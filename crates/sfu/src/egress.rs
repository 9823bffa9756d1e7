//! What leaves: the core writes into a batch of the socket's, which goes out when it is full and after each
//! turn.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use sfu_core::Sink;
use udp_io::SendBatch;

pub struct Egress<'a> {
    socket: &'a UdpSocket,
    batch: SendBatch,
    /// The socket is unusable; told at the next flush of our own.
    failed: Option<io::Error>,
}

impl<'a> Egress<'a> {
    pub fn new(socket: &'a UdpSocket) -> io::Result<Self> {
        Ok(Self { socket, batch: SendBatch::for_socket(socket)?, failed: None })
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.flush_batch();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Datagrams that the kernel took, and those that it did not.
    pub fn sent_and_failed(&self) -> (u64, u64) {
        let counters = self.batch.counters();
        (counters.sent, counters.full + counters.refused)
    }

    fn flush_batch(&mut self) {
        if !self.batch.is_empty()
            && let Err(error) = self.batch.flush(self.socket)
        {
            self.failed = Some(error);
        }
    }
}

impl Sink for Egress<'_> {
    fn slot(&mut self) -> &mut [u8] {
        if self.batch.is_full() {
            self.flush_batch();
        }
        self.batch.slot().expect("a flushed batch has room")
    }

    fn commit(&mut self, to: SocketAddr, len: usize) {
        self.batch.commit(len, to);
    }
}
