//! What a socket sends, by one of two ways: the socket itself, or past the kernel's IP stack where that is possible and wanted.
//!
//! Owns: which way each datagram goes, and that both are flushed. The socket stays the one that receives, and everything about it (address,
//! port, hop limit) is true of what goes past it.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use crate::headers::HEADROOM;
use crate::limits::{DEVICES, DIRECT_BATCH, REOPEN_AFTER, RUN_MAX, TRAIN_MIN};
use crate::routes::{Exit, Routes};
use crate::xdp::{Frame, Frames, Port, Share, is_allowed};
use crate::{SendBatch, SendCounters};

/// By which way datagrams are to leave.
#[derive(Clone)]
pub enum Backend {
    /// The kernel's sockets.
    Kernel,
    /// Past its IP stack, where there is a plain way; the rest by its sockets.
    Xdp(Arc<Frames>),
}

/// What the operator may want to know.
#[derive(Debug)]
pub enum Notice {
    /// A device is sent by directly.
    Opened { device: String, queue: u32 },
    /// What leaves by a device goes by the kernel's sockets.
    Refused { device: String, error: io::Error },
}

/// Datagrams being made, each written in place into the next slot, which go out when there are enough and at [`flush`](Self::flush).
pub struct Egress<'a> {
    socket: &'a UdpSocket,
    batch: SendBatch,
    direct: Option<Direct>,
    /// The frame that is being written; none: it is the batch's slot.
    frame: Option<Frame>,
    /// Something in the batch must not be overtaken by what goes directly.
    is_in_order: bool,
    /// The socket is unusable; told at the next flush.
    failed: Option<io::Error>,
}

/// The way past the kernel.
struct Direct {
    routes: Routes,
    share: Share,
    /// The last datagrams, all to one destination, for as long as it is open which way they go.
    run: Vec<(Frame, usize)>,
    run_to: SocketAddr,
    /// One for each device that the routes know.
    ports: Vec<Access>,
    sent: u64,
    lost: u64,
    notices: VecDeque<Notice>,
}

/// What there is of a device.
struct Access {
    port: Option<Port>,
    /// When it may be tried again.
    closed_until: Instant,
    is_refused: bool,
}

impl<'a> Egress<'a> {
    /// Everything by the socket.
    pub fn by_kernel(socket: &'a UdpSocket) -> io::Result<Self> {
        let batch = SendBatch::for_socket(socket)?;
        Ok(Self { socket, batch, direct: None, frame: None, is_in_order: false, failed: None })
    }

    /// By the way that is wanted; if it cannot be had by the socket, and with it the reason.
    pub fn new(socket: &'a UdpSocket, backend: &Backend) -> io::Result<(Self, Option<io::Error>)> {
        let mut egress = Self::by_kernel(socket)?;
        let Backend::Xdp(frames) = backend else { return Ok((egress, None)) };
        match Direct::new(socket, frames) {
            Ok(direct) => egress.direct = Some(direct),
            Err(error) => return Ok((egress, Some(error))),
        }
        Ok((egress, None))
    }

    /// The next free slot, of at least [`SLOT`](crate::limits::SLOT) bytes. What is not committed is given out again.
    #[inline]
    pub fn slot(&mut self) -> &mut [u8] {
        self.frame = self.direct.as_mut().and_then(|direct| direct.share.free());
        if self.direct.is_some() && self.frame.is_none() {
            self.make_room();
        }
        if let (Some(direct), Some(frame)) = (&mut self.direct, self.frame) {
            return &mut direct.share.bytes(frame)[HEADROOM..];
        }
        if self.batch.is_full() {
            flush(&mut self.batch, self.socket, &mut self.failed);
        }
        self.batch.slot().expect("a flushed batch has room")
    }

    /// Takes the first `len` bytes of the slot as a datagram to `to`.
    #[inline]
    pub fn commit(&mut self, len: usize, to: SocketAddr) {
        let (Some(direct), Some(frame)) = (&mut self.direct, self.frame.take()) else {
            return self.batch.commit(len, to);
        };
        if !direct.continues(to, len) {
            self.settle();
        }
        if let Some(direct) = &mut self.direct {
            direct.share.fill(frame);
            direct.run.push((frame, len));
            direct.run_to = to;
        }
    }

    /// Every frame is on its way. What is not goes first, and then by the kernel.
    fn make_room(&mut self) {
        self.settle();
        let Some(direct) = &mut self.direct else { return };
        direct.send();
        direct.ports.iter().filter_map(|access| access.port.as_ref()).for_each(Port::collect);
        self.frame = direct.share.free();
        self.is_in_order |= self.frame.is_none();
    }

    /// Decides which way the last datagrams go. Many to one destination pass the kernel together, which costs less than one by one past it.
    fn settle(&mut self) {
        let Some(direct) = &mut self.direct else { return };
        let (to, count) = (direct.run_to, direct.run.len());
        let mut goes = if count >= TRAIN_MIN { direct.way(to) } else { Goes::Directly };
        for nth in 0..count {
            let (frame, len) = direct.run[nth];
            if count < TRAIN_MIN {
                goes = direct.commit(frame, len, to, || {
                    if std::mem::take(&mut self.is_in_order) {
                        flush(&mut self.batch, self.socket, &mut self.failed);
                    }
                });
            }
            match goes {
                Goes::Directly => continue,
                Goes::ByKernel => {}
                Goes::ByKernelInOrder => {
                    direct.send();
                    self.is_in_order = true;
                }
            }
            if self.batch.is_full() {
                flush(&mut self.batch, self.socket, &mut self.failed);
            }
            let datagram = &direct.share.bytes(frame)[HEADROOM..][..len];
            assert!(self.batch.push(datagram, to), "a flushed batch has room");
            direct.share.empty(frame);
        }
        direct.run.clear();
    }

    fn flush_batch(&mut self) {
        flush(&mut self.batch, self.socket, &mut self.failed);
    }

    /// Sends everything. What cannot go out now is dropped and counted; an error means that the socket itself is unusable.
    pub fn flush(&mut self) -> io::Result<()> {
        self.settle();
        self.flush_batch();
        self.is_in_order = false;
        if let Some(direct) = &mut self.direct {
            direct.send();
            direct.routes.turn(Instant::now());
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// What became of all datagrams, whichever way they went.
    pub fn counters(&self) -> SendCounters {
        let mut counters = self.batch.counters();
        if let Some(direct) = &self.direct {
            counters.sent += direct.sent;
            counters.refused += direct.lost;
        }
        counters
    }

    /// How many of those that were sent went past the kernel.
    pub fn sent_directly(&self) -> u64 {
        self.direct.as_ref().map_or(0, |direct| direct.sent)
    }

    /// What is to be waited for, beside the socket; when it is readable there is something to [hear](Self::hear).
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        self.direct.as_ref().map(|direct| direct.routes.as_fd())
    }

    /// Takes in what the kernel tells of routes, neighbours and devices.
    pub fn hear(&mut self) {
        if let Some(direct) = &mut self.direct {
            direct.routes.hear();
            direct.routes.turn(Instant::now());
        }
    }

    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.direct.as_mut()?.notices.pop_front()
    }
}

fn flush(batch: &mut SendBatch, socket: &UdpSocket, failed: &mut Option<io::Error>) {
    if !batch.is_empty()
        && let Err(error) = batch.flush(socket)
    {
        *failed = Some(error);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    Directly,
    ByKernel,
    /// Behind what was committed before it, and before what will be.
    ByKernelInOrder,
}

impl Direct {
    fn new(socket: &UdpSocket, frames: &Arc<Frames>) -> io::Result<Self> {
        is_allowed()?;
        let routes = Routes::new(socket)?;
        let share = frames.share().ok_or(io::ErrorKind::StorageFull)?;
        let (ports, notices) = (Vec::with_capacity(DEVICES), VecDeque::new());
        let (run, run_to) = (Vec::with_capacity(RUN_MAX), socket.local_addr()?);
        Ok(Self { routes, share, run, run_to, ports, sent: 0, lost: 0, notices })
    }

    /// Whether a datagram may go together with the last ones: they are one train, of pieces of one length but for the last.
    fn continues(&self, to: SocketAddr, len: usize) -> bool {
        let Some((_, first)) = self.run.first() else { return true };
        let is_open = self.run.len() < RUN_MAX && self.run.last().is_some_and(|(_, last)| last == first);
        is_open && self.run_to == to && len <= *first && len > 0
    }

    /// How a train goes, which is by the kernel: whether others to its destination go directly.
    fn way(&mut self, to: SocketAddr) -> Goes {
        match self.routes.exit(to, 0) {
            Exit::Kernel => Goes::ByKernel,
            Exit::KernelInOrder | Exit::Direct { .. } => Goes::ByKernelInOrder,
        }
    }

    /// Has a datagram sent directly, after `before`, if it can go so.
    #[inline]
    fn commit(&mut self, frame: Frame, len: usize, to: SocketAddr, before: impl FnOnce()) -> Goes {
        let (headers, next_hop, device) = match self.routes.exit(to, len) {
            Exit::Kernel => return Goes::ByKernel,
            Exit::KernelInOrder => return Goes::ByKernelInOrder,
            Exit::Direct { headers, next_hop, device } => (headers, next_hop, device),
        };
        let Some(port) = self.ports.get_mut(device).and_then(|access| access.port.as_mut()) else {
            self.open(device);
            return Goes::ByKernel;
        };
        before();
        let start = headers.write(self.share.bytes(frame), len, next_hop);
        port.push(&mut self.share, frame, start, HEADROOM + len - start);
        if port.waiting() >= DIRECT_BATCH {
            self.send();
        }
        Goes::Directly
    }

    fn open(&mut self, device: usize) {
        let now = Instant::now();
        while self.ports.len() <= device {
            self.ports.push(Access { port: None, closed_until: now, is_refused: false });
        }
        let access = &mut self.ports[device];
        if now < access.closed_until {
            return;
        }
        let (number, name) = self.routes.device(device);
        match Port::open(&self.share, number) {
            Ok(port) => {
                let (device, queue) = (name.to_owned(), port.queue());
                self.notices.push_back(Notice::Opened { device, queue });
                *access = Access { port: Some(port), closed_until: now, is_refused: false };
            }
            Err(error) => access.refuse(name, error, now, &mut self.notices),
        }
    }

    /// Has the kernel take what waits.
    fn send(&mut self) {
        self.share.begin_again();
        for (device, access) in self.ports.iter_mut().enumerate() {
            let Some(port) = access.port.as_mut().filter(|port| port.waiting() > 0) else { continue };
            match port.send() {
                Ok(sent) => self.sent += sent as u64,
                Err(error) => {
                    self.lost += port.waiting() as u64;
                    let (_, name) = self.routes.device(device);
                    access.refuse(name, error, Instant::now(), &mut self.notices);
                    self.routes.doubt();
                }
            }
        }
    }
}

impl Access {
    fn refuse(&mut self, name: &str, error: io::Error, now: Instant, notices: &mut VecDeque<Notice>) {
        self.port = None;
        self.closed_until = now + REOPEN_AFTER;
        // It is tried again and again, and said once.
        if !std::mem::replace(&mut self.is_refused, true) {
            notices.push_back(Notice::Refused { device: name.to_owned(), error });
        }
    }
}
