//! Making a socket for media.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What the kernel gave; it doubles the request for its own bookkeeping and cuts it at a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSizes {
    pub recv_bytes: usize,
    pub send_bytes: usize,
}

/// Binds a socket that never blocks. An IPv6 one on the wildcard address takes IPv4 too.
pub fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Asks for socket buffers of these sizes: beyond the system's limit where this process may, up to it
/// otherwise.
pub fn set_buffers(socket: &impl AsFd, recv_bytes: usize, send_bytes: usize) -> io::Result<BufferSizes> {
    set_buffer(socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, recv_bytes)?;
    set_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_bytes)?;
    buffers(socket)
}

/// The same for what it sends alone.
pub(crate) fn set_send_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    set_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, bytes)
}

/// What a socket has.
pub fn buffers(socket: &impl AsFd) -> io::Result<BufferSizes> {
    let socket = SockRef::from(socket);
    Ok(BufferSizes { recv_bytes: socket.recv_buffer_size()?, send_bytes: socket.send_buffer_size()? })
}

/// Lets a TCP socket take no more than about this many bytes that it cannot send yet.
pub fn set_unsent_max(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)
}

fn set_buffer(socket: &impl AsFd, force: i32, plain: i32, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The first needs a privilege that containers often lack.
    set_option(socket, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, plain, bytes))
}

pub(crate) fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and so open; the kernel reads four bytes of a local.
    let code =
        unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as u32) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many datagrams the kernel has thrown away since the socket was made, because nobody read them in time.
/// It wraps.
pub fn kernel_drops(socket: &impl AsFd) -> io::Result<u32> {
    /// Which of the counters of `SO_MEMINFO` this is (include/uapi/linux/sock_diag.h).
    const SK_MEMINFO_DROPS: usize = 8;
    let mut info = [0u32; SK_MEMINFO_DROPS + 1];
    let mut len = size_of_val(&info) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and so open; the kernel writes at most `len` bytes to a local of
    // that size.
    let code = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if code == 0 { Ok(info[SK_MEMINFO_DROPS]) } else { Err(io::Error::last_os_error()) }
}
