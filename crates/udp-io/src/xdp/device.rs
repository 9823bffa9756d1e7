//! Sockets of AF_XDP that only send, in copy mode: the kernel makes a packet of a frame and gives it straight to the device, whatever device it is.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};

use super::frames::{Frame, Frames, Share};
use super::ring::Ring;
use crate::limits::{FRAME_BYTES, FRAMES, QUEUES, XDP_SEND_BYTES};

/// A queue of a network device that this process has: who has it first has it alone among processes.
pub(super) struct Device {
    socket: OwnedFd,
    /// Under which frames are given to it.
    number: u8,
    interface: u32,
    queue: u32,
    /// Frames that were sent, of all shards that send by it; whoever comes first looks.
    completions: Mutex<Ring<u64>>,
    frames: Arc<Frames>,
}

/// One shard's way into a device.
pub(crate) struct Port {
    /// None: the device's own is used, which was the first.
    socket: Option<OwnedFd>,
    device: Arc<Device>,
    ring: Ring<libc::xdp_desc>,
    produced: u32,
    consumed: u32,
}

impl Port {
    /// A queue of its own if the device has one left, otherwise one of another shard's.
    pub fn open(share: &Share, interface: u32) -> io::Result<Self> {
        let frames = share.frames();
        let mut devices = frames.devices.lock().expect("nobody panics under this lock");
        devices.retain(|device| device.strong_count() > 0);
        let open: Vec<_> = devices.iter().filter_map(Weak::upgrade).collect();
        let number = (1..u8::MAX).find(|number| open.iter().all(|device| device.number != *number));
        let number = number.ok_or(io::ErrorKind::StorageFull)?;
        let is_ours = |device: &Arc<Device>| device.interface == interface;
        for queue in 0..QUEUES {
            match Device::open(frames, number, interface, queue) {
                Ok((device, ring)) => {
                    let device = Arc::new(device);
                    devices.push(Arc::downgrade(&device));
                    return Ok(Self::of(device, None, ring));
                }
                // Somebody has this one.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                // There are no more, or no more memory may be locked; one that is there already can be shared.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && queue > 0 => break,
                Err(_) if open.iter().any(is_ours) => break,
                Err(error) => return Err(error),
            }
        }
        let ours = open.into_iter().filter(is_ours);
        let device = ours.min_by_key(Arc::strong_count).ok_or_else(|| {
            io::Error::new(io::ErrorKind::ResourceBusy, "every queue of it is another process's")
        })?;
        let socket = socket()?;
        let (_, ring) = device.join(&socket)?;
        Ok(Self::of(device, Some(socket), ring))
    }

    fn of(device: Arc<Device>, socket: Option<OwnedFd>, ring: Ring<libc::xdp_desc>) -> Self {
        Self { socket, device, ring, produced: 0, consumed: 0 }
    }

    pub fn queue(&self) -> u32 {
        self.device.queue
    }

    /// Puts a packet into the queue: so many bytes of a frame from `start` on.
    pub fn push(&mut self, share: &mut Share, frame: Frame, start: usize, len: usize) {
        assert!(start + len <= FRAME_BYTES, "a packet ends inside its frame");
        let at = share.hand_over(frame, self.device.number);
        let packet = libc::xdp_desc { addr: at + start as u64, len: len as u32, options: 0 };
        // There are no more frames than places.
        self.ring.write(self.produced, packet);
        self.produced = self.produced.wrapping_add(1);
    }

    /// How many packets the kernel has not taken yet.
    pub fn waiting(&self) -> usize {
        self.produced.wrapping_sub(self.consumed) as usize
    }

    /// Has the kernel send what is in the queue, and returns how many packets it has taken. What the device has no room for now stays there. An
    /// error means that the device is gone.
    pub fn send(&mut self) -> io::Result<usize> {
        let before = self.consumed;
        self.ring.publish(self.produced);
        while self.waiting() > 0 {
            let outcome = kick(self.socket.as_ref().unwrap_or(&self.device.socket));
            let consumed = self.ring.consumed();
            let has_moved = std::mem::replace(&mut self.consumed, consumed) != consumed;
            match outcome {
                // It takes so many at a time.
                Ok(()) if has_moved => {}
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && has_moved => {}
                Ok(()) => break,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => break,
                    _ => return Err(error),
                },
            }
        }
        self.device.collect();
        Ok(self.consumed.wrapping_sub(before) as usize)
    }

    /// Takes back the frames that were sent.
    pub fn collect(&self) {
        self.device.collect();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Nobody has these sent any more.
        let left = self.ring.consumed();
        for nth in 0..self.produced.wrapping_sub(left) {
            self.device.frames.give_back(self.ring.read(left.wrapping_add(nth)).addr);
        }
    }
}

impl Device {
    fn open(
        frames: &Arc<Frames>,
        number: u8,
        interface: u32,
        queue: u32,
    ) -> io::Result<(Self, Ring<libc::xdp_desc>)> {
        let socket = socket()?;
        let memory = libc::xdp_umem_reg {
            addr: frames.address(),
            len: frames.bytes() as u64,
            chunk_size: FRAME_BYTES as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&socket, libc::XDP_UMEM_REG, &memory)?;
        let completions = frames.count().next_power_of_two() as u32;
        // Nothing is received, yet without this ring it cannot be bound.
        set(&socket, libc::XDP_UMEM_FILL_RING, &1_u32)?;
        set(&socket, libc::XDP_UMEM_COMPLETION_RING, &completions)?;
        let (offsets, ring) = ring(&socket)?;
        let at = libc::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed();
        let completions = Mutex::new(Ring::map(&socket, at, &offsets.cr, completions)?);
        bind(&socket, libc::XDP_COPY, interface, queue, None)?;
        let frames = Arc::clone(frames);
        Ok((Self { socket, number, interface, queue, completions, frames }, ring))
    }

    /// Makes a socket one more that sends by this queue.
    fn join(&self, socket: &OwnedFd) -> io::Result<(libc::xdp_mmap_offsets, Ring<libc::xdp_desc>)> {
        let made = ring(socket)?;
        bind(socket, libc::XDP_SHARED_UMEM, self.interface, self.queue, Some(&self.socket))?;
        Ok(made)
    }

    fn collect(&self) {
        // Another shard is at it.
        let Ok(mut completions) = self.completions.try_lock() else { return };
        let (first, end) = (completions.consumed(), completions.produced());
        for nth in 0..end.wrapping_sub(first) {
            self.frames.give_back(completions.read(first.wrapping_add(nth)));
        }
        completions.release(end);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.frames.give_back_all_of(self.number);
    }
}

/// Whether this process may send so at all.
pub(crate) fn is_allowed() -> io::Result<()> {
    socket().map(drop)
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; what comes back is a descriptor of our own, or none.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // Packets are on their way for longer than the system's default holds.
    crate::socket::set_send_buffer(&socket, XDP_SEND_BYTES)?;
    Ok(socket)
}

/// Gives a socket a ring of packets to be sent.
fn ring(socket: &OwnedFd) -> io::Result<(libc::xdp_mmap_offsets, Ring<libc::xdp_desc>)> {
    set(socket, libc::XDP_TX_RING, &(FRAMES as u32))?;
    // SAFETY: offsets are integers, for which all zeros is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&offsets) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most so many bytes to a local.
    let code = unsafe {
        let (fd, into) = (socket.as_raw_fd(), (&raw mut offsets).cast());
        libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, into, &raw mut length)
    };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < size_of_val(&offsets) {
        // Linux before 5.4.
        return Err(io::ErrorKind::Unsupported.into());
    }
    let ring = Ring::map(socket, libc::XDP_PGOFF_TX_RING, &offsets.tx, FRAMES as u32)?;
    Ok((offsets, ring))
}

fn set<T>(socket: &OwnedFd, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads a value of this length.
    let code = unsafe {
        let length = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, std::ptr::from_ref(value).cast(), length)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(
    socket: &OwnedFd,
    flags: u16,
    interface: u32,
    queue: u32,
    shares_with: Option<&OwnedFd>,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shares_with.map_or(0, |fd| fd.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: the descriptor is open, and the kernel reads an address of this length.
    let code = unsafe {
        let length = size_of_val(&address) as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Wakes the kernel, which sends in this call.
fn kick(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and nothing is pointed to.
    let code = unsafe {
        libc::sendto(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
    };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
