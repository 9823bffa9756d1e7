//! Where datagrams go.

use std::net::SocketAddr;

/// A batch that datagrams are written into in place: ask for the slot, write, commit. A slot that is not
/// committed is handed out again.
///
/// The relay's process sends what is committed; the tests' network delivers it.
pub trait Sink {
    /// Room for one datagram, at least [`crate::limits::DATAGRAM_BYTES_MAX`] bytes. A full batch makes room
    /// by itself.
    fn slot(&mut self) -> &mut [u8];

    /// The first `len` bytes of the slot are a datagram to `to`.
    fn commit(&mut self, to: SocketAddr, len: usize);
}
