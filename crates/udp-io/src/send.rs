//! Sending many datagrams with one system call.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use crate::addr::RawAddr;
use crate::limits::{BATCH, DATAGRAM};
use crate::pinned::Pinned;

/// Datagrams being made. Each is written in place into the next free slot and goes out with the rest at
/// [`flush`](Self::flush).
pub struct SendBatch {
    headers: Pinned<libc::mmsghdr>,
    iovecs: Pinned<libc::iovec>,
    addrs: Pinned<RawAddr>,
    buffers: Pinned<[u8; DATAGRAM]>,
    len: usize,
    v6_socket: bool,
    counters: SendCounters,
}

/// What became of everything that was ever flushed; `sent + full + refused` is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendCounters {
    pub sent: u64,
    /// The socket's buffer was full. Media that waits is worthless, so these are dropped.
    pub full: u64,
    /// The kernel refused the datagram itself: no route, too long, filtered.
    pub refused: u64,
}

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flushed {
    pub sent: usize,
    pub dropped: usize,
}

// SAFETY: the pointers in the headers lead only to the arrays that this struct owns.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// A batch for sockets of the family of `socket`.
    pub fn for_socket(socket: &UdpSocket) -> io::Result<Self> {
        Ok(Self::new(socket.local_addr()?.is_ipv6()))
    }

    #[must_use]
    pub fn new(v6_socket: bool) -> Self {
        let addrs = Pinned::new(BATCH, |_| RawAddr::zeroed());
        let buffers: Pinned<[u8; DATAGRAM]> = Pinned::new(BATCH, |_| [0; DATAGRAM]);
        let iovecs = Pinned::new(BATCH, |at| libc::iovec { iov_base: buffers.at(at).cast(), iov_len: 0 });
        let headers = Pinned::new(BATCH, |at| {
            // SAFETY: a message header is integers and pointers, for which all zeros is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = addrs.at(at).cast();
            header.msg_hdr.msg_iov = iovecs.at(at);
            header.msg_hdr.msg_iovlen = 1;
            header
        });
        Self { headers, iovecs, addrs, buffers, len: 0, v6_socket, counters: SendCounters::default() }
    }

    /// The next free buffer, all of it; none when the batch is full and must be flushed.
    #[must_use]
    pub fn slot(&mut self) -> Option<&mut [u8; DATAGRAM]> {
        if self.is_full() {
            return None;
        }
        // SAFETY: `self` is borrowed mutably while the reference lives, and the kernel reads only during
        // `flush`.
        Some(unsafe { &mut *self.buffers.at(self.len) })
    }

    /// Takes the first `len` bytes of the slot as a datagram to `to`.
    pub fn commit(&mut self, len: usize, to: SocketAddr) {
        assert!(!self.is_full() && len <= DATAGRAM, "only what was written to a slot is committed");
        // SAFETY: all three pointers are to live items at a place inside the batch, and nobody else has any
        // to them.
        unsafe {
            (*self.iovecs.at(self.len)).iov_len = len;
            (*self.headers.at(self.len)).msg_hdr.msg_namelen =
                (*self.addrs.at(self.len)).set(to, self.v6_socket);
        }
        self.len += 1;
    }

    /// Copies a finished datagram into the batch; false when it is full.
    #[must_use]
    pub fn push(&mut self, datagram: &[u8], to: SocketAddr) -> bool {
        let Some(slot) = self.slot() else { return false };
        let Some(room) = slot.get_mut(..datagram.len()) else { return false };
        room.copy_from_slice(datagram);
        self.commit(datagram.len(), to);
        true
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == BATCH
    }

    #[must_use]
    pub fn counters(&self) -> SendCounters {
        self.counters
    }

    /// Sends everything and empties the batch. What cannot go out now is dropped and counted; an error means
    /// that the socket itself is unusable.
    pub fn flush(&mut self, socket: &impl AsFd) -> io::Result<Flushed> {
        let total = std::mem::take(&mut self.len);
        let mut done = 0;
        let mut flushed = Flushed::default();
        while done < total {
            match self.send(socket, done, total) {
                Ok(sent) => {
                    done += sent;
                    flushed.sent += sent;
                    self.counters.sent += sent as u64;
                }
                Err(error) => match error.raw_os_error() {
                    // A signal, or an ICMP error for an earlier datagram, which this call has now cleared.
                    Some(libc::EINTR | libc::ECONNREFUSED) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        flushed.dropped += total - done;
                        self.counters.full += (total - done) as u64;
                        done = total;
                    }
                    Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT) => {
                        self.counters.refused += (total - done) as u64;
                        return Err(error);
                    }
                    // Anything else is about the first datagram of the call: leave it out and go on behind
                    // it.
                    _ => {
                        done += 1;
                        flushed.dropped += 1;
                        self.counters.refused += 1;
                    }
                },
            }
        }
        Ok(flushed)
    }

    fn send(&self, socket: &impl AsFd, from: usize, to: usize) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the headers from `from` up to `to` are inside the batch, were committed, and all they point
        // to is alive; the descriptor is borrowed and so open.
        let count = unsafe {
            libc::sendmmsg(
                fd,
                self.headers.at(from),
                (to - from) as u32,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count.cast_unsigned() as usize) }
    }
}
