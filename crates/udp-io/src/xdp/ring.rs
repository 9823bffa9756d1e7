//! Rings that are shared with the kernel: one side puts entries in, the other takes them out.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The kernel's end and ours of a ring of `T`, mapped for as long as this lives.
pub(super) struct Ring<T> {
    map: NonNull<u8>,
    bytes: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
}

// SAFETY: the memory belongs to this struct alone on our side, and moves with it.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps the ring of `size` entries, a power of two, that a socket was told to have.
    pub fn map(socket: &OwnedFd, at: i64, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        assert!(size.is_power_of_two(), "the kernel takes no other size");
        let usize_of = |offset: u64| usize::try_from(offset).expect("rings are small");
        let bytes = usize_of(offsets.desc) + size as usize * size_of::<T>();
        // SAFETY: the kernel chooses a place where nothing is.
        let map = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            libc::mmap(std::ptr::null_mut(), bytes, protection, flags, socket.as_raw_fd(), at)
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast::<u8>()).ok_or(io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel said where in the mapping its parts begin.
        unsafe {
            Ok(Self {
                map,
                bytes,
                producer: map.add(usize_of(offsets.producer)).cast(),
                consumer: map.add(usize_of(offsets.consumer)).cast(),
                entries: map.add(usize_of(offsets.desc)).cast(),
                mask: size - 1,
            })
        }
    }

    /// How many entries were ever put in.
    pub fn produced(&self) -> u32 {
        // SAFETY: it lies in the mapping, and both sides use it atomically only.
        unsafe { self.producer.as_ref() }.load(Ordering::Acquire)
    }

    /// How many were ever taken out.
    pub fn consumed(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }.load(Ordering::Acquire)
    }

    /// Makes all entries up to this one the other side's.
    pub fn publish(&mut self, produced: u32) {
        // SAFETY: as above.
        unsafe { self.producer.as_ref() }.store(produced, Ordering::Release);
    }

    /// Gives all places up to this one back to the other side.
    pub fn release(&mut self, consumed: u32) {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }.store(consumed, Ordering::Release);
    }

    /// Writes the entry of this number, which must not be the other side's.
    pub fn write(&mut self, number: u32, entry: T) {
        // SAFETY: the masked number is a place in the mapping. The kernel reads it only after it was published.
        unsafe { self.entries.add((number & self.mask) as usize).write(entry) }
    }

    /// Reads the entry of this number, which must have been published by the other side.
    pub fn read(&self, number: u32) -> T {
        // SAFETY: the masked number is a place in the mapping, which is never without a value, since any bits are one of the integers that entries
        // are made of.
        unsafe { self.entries.add((number & self.mask) as usize).read() }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` made, and nobody uses it any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.bytes) };
    }
}
