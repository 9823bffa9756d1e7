//! Memory that outlives a process: made by one that keeps it, written by others, one after the other.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

/// Makes memory of so many bytes, all zero, which the system gives only as they are used. It can neither shrink nor grow, so that nobody who has it
/// mapped finds a hole in it. As a file it can be read and written as well.
pub fn make_memory(name: &CStr, bytes: usize) -> io::Result<File> {
    let memory = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    memory.set_len(bytes as u64)?;
    fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memory)
}

/// Maps memory that [`make_memory`] made, and nothing else, for as long as this process lives.
pub fn map_memory(memory: &impl AsFd) -> io::Result<&'static [AtomicU64]> {
    if !fcntl_get_seals(memory)?.contains(SealFlags::SHRINK) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes =
        usize::try_from(rustix::fs::fstat(memory)?.st_size).map_err(|_| io::ErrorKind::InvalidInput)?;
    let words = bytes / size_of::<AtomicU64>();
    if words == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the kernel chooses a place where nothing is.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            memory.as_fd().as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let first = NonNull::new(at.cast::<AtomicU64>()).ok_or(io::ErrorKind::InvalidData)?;
    // SAFETY: so many words are there, at the beginning of a page; they are never unmapped, and because of the seal they never go. Any bits
    // are a value, and whoever else writes them in another process does so in whole words, or through the file, which is no more than
    // another value.
    Ok(unsafe { std::slice::from_raw_parts(first.as_ptr(), words) })
}
