//! Receiving many datagrams with one system call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use crate::addr::{RAW_ADDR_LEN, RawAddr};
use crate::limits::{BATCH, DATAGRAM};
use crate::pinned::Pinned;

/// Buffers for a batch of datagrams. Everything the kernel needs is laid out once, when this is made.
pub struct RecvBatch {
    headers: Pinned<libc::mmsghdr>,
    /// Pointed to by the headers.
    _iovecs: Pinned<libc::iovec>,
    addrs: Pinned<RawAddr>,
    buffers: Pinned<[u8; DATAGRAM]>,
    received: usize,
    oversized: u64,
}

// SAFETY: the pointers in the headers lead only to the arrays that this struct owns.
unsafe impl Send for RecvBatch {}

impl RecvBatch {
    #[must_use]
    pub fn new() -> Self {
        let addrs = Pinned::new(BATCH, |_| RawAddr::zeroed());
        let buffers: Pinned<[u8; DATAGRAM]> = Pinned::new(BATCH, |_| [0; DATAGRAM]);
        let iovecs =
            Pinned::new(BATCH, |at| libc::iovec { iov_base: buffers.at(at).cast(), iov_len: DATAGRAM });
        let headers = Pinned::new(BATCH, |at| {
            // SAFETY: a message header is integers and pointers, for which all zeros is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = addrs.at(at).cast();
            header.msg_hdr.msg_namelen = RAW_ADDR_LEN;
            header.msg_hdr.msg_iov = iovecs.at(at);
            header.msg_hdr.msg_iovlen = 1;
            header
        });
        Self { headers, _iovecs: iovecs, addrs, buffers, received: 0, oversized: 0 }
    }

    /// Fetches what has arrived, up to a batch; 0 when nothing has. The previous batch is gone.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.received = 0;
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the headers and all they point to are alive, initialised, and `BATCH` in number; the
        // descriptor is borrowed and so open. No reference to the buffers exists, because `datagrams` borrows
        // `self`.
        let count = unsafe {
            libc::recvmmsg(fd, self.headers.at(0), BATCH as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        if let Ok(count) = usize::try_from(count) {
            self.took(count);
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // An ICMP error for something sent before is not the receiver's business.
            Some(libc::EAGAIN | libc::EINTR | libc::ECONNREFUSED) => Ok(0),
            _ => Err(error),
        }
    }

    fn took(&mut self, count: usize) {
        for at in 0..count {
            // SAFETY: the pointer is to a live header, and nobody else has one to it.
            let header = unsafe { &mut *self.headers.at(at) };
            self.oversized += u64::from(is_oversized(header));
            // The kernel wrote the length of the address here; next time it must read how much room there is.
            header.msg_hdr.msg_namelen = RAW_ADDR_LEN;
        }
        self.received = count;
    }

    /// How many datagrams the last call brought, oversized ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// How many datagrams were longer than a buffer, ever. They are left out of
    /// [`datagrams`](Self::datagrams).
    #[must_use]
    pub fn oversized(&self) -> u64 {
        self.oversized
    }

    /// The datagrams of the last call, to be changed in place, and where each came from.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (&mut [u8], SocketAddr)> {
        let batch = &*self;
        (0..batch.received).filter_map(move |at| {
            // SAFETY: the pointer is to a live header, which nobody writes to while `self` is borrowed.
            let header = unsafe { &*batch.headers.at(at) };
            // SAFETY: likewise for the address.
            let from = unsafe { &*batch.addrs.at(at) }.get()?;
            if is_oversized(header) {
                return None;
            }
            // SAFETY: `self` is borrowed mutably for as long as the iterator's items live, and each buffer is
            // given out once.
            let buffer = unsafe { &mut *batch.buffers.at(at) };
            Some((buffer.get_mut(..header.msg_len as usize)?, from))
        })
    }
}

fn is_oversized(header: &libc::mmsghdr) -> bool {
    header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}
