//! Sending many datagrams with one system call, and those to one address with one passage through the kernel.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use crate::addr::RawAddr;
use crate::limits::{BATCH, DATAGRAM, TRAIN};
use crate::pinned::Pinned;

/// Datagrams being made. Each is written in place into the next free slot and goes out with the rest at
/// [`flush`](Self::flush).
///
/// Datagrams to the same address that are committed one after the other go as a train (UDP generic segmentation offload): the kernel looks for the way,
/// makes the headers and passes the whole on once, and cuts it as late as it can. All of a train are as long as its first,
/// but for the last, which may be shorter.
pub struct SendBatch {
    headers: Pinned<libc::mmsghdr>,
    addrs: Pinned<RawAddr>,
    segment_sizes: Pinned<SegmentSize>,
    /// One a datagram; those of a message lie together.
    iovecs: Pinned<libc::iovec>,
    /// Packed, so that they stay in few cache lines.
    bytes: Pinned<u8>,
    /// How many bytes, datagrams and messages are taken.
    end: usize,
    len: usize,
    messages: usize,
    /// The last message, while more may be added to it.
    open: Option<Train>,
    trains: bool,
    v6_socket: bool,
    counters: SendCounters,
}

struct Train {
    to: SocketAddr,
    segment: usize,
    len: usize,
    /// Bytes, which have the same bound as those of one datagram.
    bytes: usize,
}

/// The control message that says how long the pieces are.
#[repr(C, align(8))]
struct SegmentSize([u8; SEGMENT_SIZE_LEN]);

// SAFETY: both compute a length from a length.
const SEGMENT_SIZE_LEN: usize = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as usize;

/// The longest payload of an IPv6 packet without its UDP header; of an IPv4 packet it is 20 more, which nobody needs.
const TRAIN_BYTES: usize = 65_535 - 8 - 40;
/// Where the next datagram may begin.
const ALIGN: usize = 16;

/// What became of everything that was ever flushed; `sent + full + refused` is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendCounters {
    pub sent: u64,
    /// The socket's buffer was full. Media that waits is worthless, so these are dropped.
    pub full: u64,
    /// The kernel refused the datagram itself: no route, too long, filtered.
    pub refused: u64,
    /// Those of `sent` that had company to the same address.
    pub in_trains: u64,
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
        let bytes = Pinned::new(BATCH * DATAGRAM, |_| 0);
        let iovecs = Pinned::new(BATCH, |_| libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 });
        let headers = Pinned::new(BATCH, |at| {
            // SAFETY: a message header is integers and pointers, for which all zeros is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = addrs.at(at).cast();
            header
        });
        Self {
            headers,
            addrs,
            segment_sizes: Pinned::new(BATCH, |_| SegmentSize::new()),
            iovecs,
            bytes,
            end: 0,
            len: 0,
            messages: 0,
            open: None,
            trains: true,
            v6_socket,
            counters: SendCounters::default(),
        }
    }

    /// Each datagram by itself.
    #[must_use]
    pub fn without_trains(self) -> Self {
        Self { trains: false, ..self }
    }

    /// Room for the next datagram, the longest that there may be; none when the batch is full and must be flushed.
    #[inline]
    #[must_use]
    pub fn slot(&mut self) -> Option<&mut [u8; DATAGRAM]> {
        if self.is_full() {
            return None;
        }
        debug_assert!(self.end + DATAGRAM <= BATCH * DATAGRAM, "no datagram is longer than its share");
        // SAFETY: at `end` there is room for a datagram, since no earlier one took more than one's share;
        // `self` is borrowed mutably while the reference lives, and the kernel reads only during `flush`.
        Some(unsafe { &mut *self.bytes.at(self.end).cast() })
    }

    /// Takes the first `len` bytes of the slot as a datagram to `to`.
    #[inline]
    pub fn commit(&mut self, len: usize, to: SocketAddr) {
        assert!(!self.is_full() && len <= DATAGRAM, "only what was written to a slot is committed");
        // SAFETY: the pointer is to a live item at a place inside the batch, and nobody else has one to it.
        unsafe {
            *self.iovecs.at(self.len) =
                libc::iovec { iov_base: self.bytes.at(self.end).cast(), iov_len: len };
        }
        if !self.join(len, to) {
            self.begin(len, to);
        }
        self.len += 1;
        self.end += len.next_multiple_of(ALIGN);
    }

    /// Adds the datagram to the last message, if it may be.
    #[inline]
    fn join(&mut self, len: usize, to: SocketAddr) -> bool {
        let Some(train) = &mut self.open else { return false };
        if train.to != to
            || len > train.segment
            || train.len == TRAIN
            || train.bytes + len > TRAIN_BYTES
            || len == 0
        {
            return false;
        }
        train.len += 1;
        train.bytes += len;
        let message = self.messages - 1;
        // SAFETY: both pointers are to live items at a place inside the batch, and nobody else has any to them.
        unsafe {
            let header = &mut (*self.headers.at(message)).msg_hdr;
            header.msg_iovlen += 1;
            if header.msg_controllen == 0 {
                (*self.segment_sizes.at(message)).set(train.segment);
                header.msg_control = self.segment_sizes.at(message).cast();
                header.msg_controllen = SEGMENT_SIZE_LEN;
            }
        }
        if len < train.segment {
            self.open = None;
        }
        true
    }

    fn begin(&mut self, len: usize, to: SocketAddr) {
        // SAFETY: all pointers are to live items at a place inside the batch, and nobody else has any to them.
        unsafe {
            let header = &mut (*self.headers.at(self.messages)).msg_hdr;
            header.msg_namelen = (*self.addrs.at(self.messages)).set(to, self.v6_socket);
            header.msg_iov = self.iovecs.at(self.len);
            header.msg_iovlen = 1;
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
        }
        self.messages += 1;
        self.open = self.trains.then_some(Train { to, segment: len, len: 1, bytes: len });
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
        let total = std::mem::take(&mut self.messages);
        (self.len, self.end, self.open) = (0, 0, None);
        let mut done = 0;
        let mut flushed = Flushed::default();
        while done < total {
            match self.send(socket, done, total) {
                Ok(sent) => {
                    (done..done + sent).for_each(|message| self.took(message, &mut flushed));
                    done += sent;
                }
                Err(error) => match error.raw_os_error() {
                    // A signal, or an ICMP error for an earlier datagram, which this call has now cleared.
                    Some(libc::EINTR | libc::ECONNREFUSED) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        let left: usize = (done..total).map(|message| self.datagrams_of(message)).sum();
                        flushed.dropped += left;
                        self.counters.full += left as u64;
                        done = total;
                    }
                    Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT) => {
                        let left: usize = (done..total).map(|message| self.datagrams_of(message)).sum();
                        self.counters.refused += left as u64;
                        return Err(error);
                    }
                    // Anything else is about the first message of the call.
                    code => {
                        if self.datagrams_of(done) == 1 {
                            flushed.dropped += 1;
                            self.counters.refused += 1;
                        } else {
                            // A device that cannot compute checksums takes no trains at all.
                            self.trains &= code != Some(libc::EIO);
                            self.send_one_by_one(socket, done, &mut flushed);
                        }
                        done += 1;
                    }
                },
            }
        }
        Ok(flushed)
    }

    fn datagrams_of(&self, message: usize) -> usize {
        // SAFETY: the pointer is to a live header, which nobody writes to now.
        unsafe { (*self.headers.at(message)).msg_hdr.msg_iovlen }
    }

    fn took(&mut self, message: usize, flushed: &mut Flushed) {
        let datagrams = self.datagrams_of(message);
        flushed.sent += datagrams;
        self.counters.sent += datagrams as u64;
        if datagrams > 1 {
            self.counters.in_trains += datagrams as u64;
        }
    }

    /// What the kernel did not take as a train.
    fn send_one_by_one(&mut self, socket: &impl AsFd, message: usize, flushed: &mut Flushed) {
        for at in 0..self.datagrams_of(message) {
            // SAFETY: the header and all it points to are alive; the copy has one of its datagrams and no control message.
            let sent = unsafe {
                let mut header = (*self.headers.at(message)).msg_hdr;
                header.msg_iov = header.msg_iov.add(at);
                header.msg_iovlen = 1;
                header.msg_control = std::ptr::null_mut();
                header.msg_controllen = 0;
                libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, FLAGS)
            };
            let full =
                || matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
            if sent >= 0 {
                flushed.sent += 1;
                self.counters.sent += 1;
            } else {
                flushed.dropped += 1;
                *(if full() { &mut self.counters.full } else { &mut self.counters.refused }) += 1;
            }
        }
    }

    fn send(&self, socket: &impl AsFd, from: usize, to: usize) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the headers from `from` up to `to` are inside the batch, were committed, and all they point
        // to is alive; the descriptor is borrowed and so open.
        let count = unsafe { libc::sendmmsg(fd, self.headers.at(from), (to - from) as u32, FLAGS) };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count.cast_unsigned() as usize) }
    }
}

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

impl SegmentSize {
    fn new() -> Self {
        let mut bytes = [0; SEGMENT_SIZE_LEN];
        let header = libc::cmsghdr {
            // SAFETY: computes a length from a length.
            cmsg_len: unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as usize,
            cmsg_level: libc::SOL_UDP,
            cmsg_type: libc::UDP_SEGMENT,
        };
        // SAFETY: the bytes begin with room for a header, which is plain integers; nothing is assumed of how they are aligned.
        unsafe { bytes.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header) };
        Self(bytes)
    }

    fn set(&mut self, len: usize) {
        let at = size_of::<libc::cmsghdr>();
        self.0[at..at + size_of::<u16>()].copy_from_slice(&(len as u16).to_ne_bytes());
    }
}
