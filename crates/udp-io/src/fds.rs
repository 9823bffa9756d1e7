//! Handing descriptors to other processes: over a Unix socket, and to a child when it is started.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;

use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::limits::PASSED_FDS;

/// Sends `data` and with it the descriptors; returns how much of `data` was taken. There must be at least one
/// byte.
pub fn send_fds(socket: &impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if data.is_empty() || fds.len() > PASSED_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(socket, &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives data and adds the descriptors that came with it to `fds`; they are not inherited further. Nothing
/// received means that the other side is gone.
pub fn recv_fds(socket: &impl AsFd, data: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(data)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            fds.extend(passed);
        }
    }
    Ok(message.bytes)
}

/// Whether a descriptor stays open in every program that this process starts.
///
/// For one particular child, [`inherit_fds`] is safer: this one reaches all that are started at that moment.
pub fn set_inheritable(fd: &impl AsFd, inheritable: bool) -> io::Result<()> {
    let mut flags = rustix::io::fcntl_getfd(fd)?;
    flags.set(FdFlags::CLOEXEC, !inheritable);
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

/// Gives the child of `command` each descriptor under the number beside it. They stay open in this process
/// for as long as `command` lives.
pub fn inherit_fds(command: &mut Command, fds: Vec<(OwnedFd, RawFd)>) -> io::Result<()> {
    let lowest = 1 + fds.iter().map(|(_, number)| *number).max().unwrap_or(2);
    // All are first moved above the numbers they shall get, so that giving one its number overwrites no
    // other.
    let fds = fds
        .into_iter()
        .map(|(fd, number)| Ok((rustix::io::fcntl_dupfd_cloexec(&fd, lowest)?, number)))
        .collect::<io::Result<Vec<_>>>()?;
    let give = move || {
        for (fd, number) in &fds {
            // SAFETY: both are plain numbers to the kernel; the source is open, and what the target number
            // meant before meant it only in the child.
            if unsafe { libc::dup2(fd.as_raw_fd(), *number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may be called; `dup2` is, and
    // nothing is allocated.
    unsafe { command.pre_exec(give) };
    Ok(())
}

/// Takes over a descriptor that this process was started with, by its number, once; and keeps it from going
/// on to its own children. To be called at the start, before anything else is opened.
pub fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    static ADOPTED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: this only asks about the number, and says so when it is not open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if !ADOPTED.lock().expect("nothing panics under this lock").insert(number) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: the descriptor is open, came from the parent, and was not handed out before.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    set_inheritable(&fd, false)?;
    Ok(fd)
}

/// The same for a UDP socket; anything else is refused.
pub fn adopt_udp(number: RawFd) -> io::Result<UdpSocket> {
    let fd = adopt_fd(number)?;
    if rustix::net::sockopt::socket_type(&fd)? != rustix::net::SocketType::DGRAM {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = UdpSocket::from(fd);
    socket.local_addr()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
