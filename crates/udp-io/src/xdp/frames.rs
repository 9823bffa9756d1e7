//! The memory that packets are made in, all shards' together, since shards that share a queue of a device must share it.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::device::Device;
use crate::headers::HEADROOM;
use crate::limits::{DATAGRAM, FRAME_BYTES, FRAMES, SLOT};

/// Whose a frame is: its shard's, to be written or full, or else the number of the device that has yet to send it.
const FREE: u8 = 0;
const FULL: u8 = u8::MAX;

pub struct Frames {
    memory: NonNull<u8>,
    count: usize,
    whose: Box<[AtomicU8]>,
    shares: AtomicUsize,
    /// Those that are open; looked at when a shard opens one.
    pub(super) devices: Mutex<Vec<Weak<Device>>>,
}

// SAFETY: a frame is touched only by the share that it belongs to, while that has not handed it over.
unsafe impl Send for Frames {}
// SAFETY: as above; all else is atomic or locked.
unsafe impl Sync for Frames {}

impl Frames {
    /// Memory for the packets of so many shards. It is only used once there is a device to send by.
    pub fn for_shards(shards: usize) -> io::Result<Arc<Self>> {
        let count = shards.max(1) * FRAMES;
        // SAFETY: the kernel chooses a place where nothing is.
        let memory = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), count * FRAME_BYTES, protection, flags, -1, 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Arc::new(Self {
            memory: NonNull::new(memory.cast()).ok_or(io::ErrorKind::InvalidData)?,
            count,
            whose: (0..count).map(|_| AtomicU8::new(FREE)).collect(),
            shares: AtomicUsize::new(0),
            devices: Mutex::new(Vec::new()),
        }))
    }

    /// The frames of one shard; none when all have theirs.
    pub(crate) fn share(self: &Arc<Self>) -> Option<Share> {
        let nth = self.shares.fetch_add(1, Ordering::Relaxed);
        ((nth + 1) * FRAMES <= self.count).then(|| Share {
            frames: Arc::clone(self),
            first: nth * FRAMES,
            next: 0,
        })
    }

    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr().addr() as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.count * FRAME_BYTES
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A device has sent what lay at this place.
    pub(super) fn give_back(&self, address: u64) {
        if let Some(whose) = self.whose.get(address as usize / FRAME_BYTES) {
            whose.store(FREE, Ordering::Release);
        }
    }

    /// A device is gone, and with it what it had yet to send.
    pub(super) fn give_back_all_of(&self, device: u8) {
        for whose in &self.whose {
            let _ = whose.compare_exchange(device, FREE, Ordering::Release, Ordering::Relaxed);
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that was made with `self`, and whoever uses it has `self`.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes()) };
    }
}

/// The frames of one shard.
pub(crate) struct Share {
    frames: Arc<Frames>,
    first: usize,
    next: usize,
}

/// A frame that is the shard's own, and no device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame(usize);

impl Share {
    /// One to be written. It stays the next one until it is [filled](Self::fill).
    pub fn free(&mut self) -> Option<Frame> {
        let mut all = (self.next..self.next + FRAMES).map(|at| at % FRAMES);
        let at = all.find(|at| self.whose(*at) == FREE)?;
        self.next = at;
        Some(Frame(at))
    }

    /// It holds a datagram now.
    pub fn fill(&mut self, frame: Frame) {
        self.set(frame, FULL);
        self.next = (frame.0 + 1) % FRAMES;
    }

    /// What it holds is no longer needed.
    pub fn empty(&mut self, frame: Frame) {
        self.set(frame, FREE);
    }

    /// Takes the first again that is free. Because what was sent last is still in the core's caches.
    pub fn begin_again(&mut self) {
        self.next = 0;
    }

    fn whose(&self, at: usize) -> u8 {
        self.frames.whose[self.first + at].load(Ordering::Acquire)
    }

    fn set(&self, frame: Frame, whose: u8) {
        self.frames.whose[self.first + frame.0].store(whose, Ordering::Relaxed);
    }

    /// All bytes of a frame: headroom, then room for a datagram.
    pub fn bytes(&mut self, frame: Frame) -> &mut [u8] {
        assert!(
            frame.0 < FRAMES && matches!(self.whose(frame.0), FREE | FULL),
            "only what is ours is written"
        );
        // SAFETY: the frame is inside the memory and inside this share, which nobody else has and which is borrowed mutably while the bytes are; no
        // device has it, so that the kernel does not read it.
        unsafe {
            let at = self.frames.memory.add((self.first + frame.0) * FRAME_BYTES);
            std::slice::from_raw_parts_mut(at.as_ptr(), FRAME_BYTES)
        }
    }

    /// From now on it is a device's. Returns where in the memory it lies.
    pub(super) fn hand_over(&mut self, frame: Frame, device: u8) -> u64 {
        assert!((FREE + 1..FULL).contains(&device), "devices are numbered between these");
        self.set(frame, device);
        ((self.first + frame.0) * FRAME_BYTES) as u64
    }

    pub(super) fn frames(&self) -> &Arc<Frames> {
        &self.frames
    }
}

const _: () =
    assert!(FRAME_BYTES.is_power_of_two() && FRAME_BYTES >= 2048, "the kernel takes no other chunks");
const _: () = assert!(FRAMES.is_power_of_two(), "rings hold all of them");
const _: () =
    assert!(HEADROOM + SLOT == FRAME_BYTES && SLOT <= DATAGRAM, "a frame holds a datagram and its headers");
