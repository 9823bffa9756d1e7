//! The system call `bpf(2)`: maps, and programs that the kernel proves harmless before it takes them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::assembler::Instruction;

/// Commands (`enum bpf_cmd` of include/uapi/linux/bpf.h).
mod command {
    pub const MAP_CREATE: i32 = 0;
    pub const MAP_LOOKUP_ELEM: i32 = 1;
    pub const MAP_UPDATE_ELEM: i32 = 2;
    pub const MAP_DELETE_ELEM: i32 = 3;
    pub const PROG_LOAD: i32 = 5;
}

const SOCKET_FILTER: u32 = 1;
/// A map takes memory as it fills.
const NO_PREALLOC: u32 = 1;
/// That one of the kernel's functions may be used only by programs under a free licence is decided by this text.
const LICENCE: &CStr = c"Dual MIT/GPL";

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Hash,
    Array,
}

/// The beginning of the kernel's `union bpf_attr` for [`command::MAP_CREATE`]; what is not given counts as zeros.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
}

#[repr(C)]
struct MapElement {
    map: u32,
    _gap: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions_len: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}

/// # Safety
/// `attributes` must be those of `command`, and every pointer in it lead to what the command reads or writes there.
unsafe fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes as many bytes of the attributes as they have; the rest is the caller's to see to.
    let code = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code as i32) }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made it for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A map of the kernel from `K` to `V`, which are plain bytes.
pub struct Map<const K: usize, const V: usize>(OwnedFd);

impl<const K: usize, const V: usize> Map<K, V> {
    pub fn new(kind: Kind, entries_max: u32) -> io::Result<Self> {
        let (kind, flags) = match kind {
            Kind::Hash => (1, NO_PREALLOC),
            Kind::Array => (2, 0),
        };
        let mut create = MapCreate { kind, key_bytes: K as u32, value_bytes: V as u32, entries_max, flags };
        // SAFETY: there are no pointers in it.
        unsafe { bpf(command::MAP_CREATE, &mut create) }.map(|fd| Self(owned(fd)))
    }

    pub fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    fn element(&self, key: &[u8; K], value: u64) -> MapElement {
        MapElement {
            map: self.fd() as u32,
            _gap: 0,
            key: key.as_ptr().expose_provenance() as u64,
            value,
            flags: 0,
        }
    }

    pub fn put(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        let mut element = self.element(key, value.as_ptr().expose_provenance() as u64);
        // SAFETY: the kernel reads a key and a value, of the lengths with which the map was made.
        unsafe { bpf(command::MAP_UPDATE_ELEM, &mut element) }.map(drop)
    }

    /// Nothing happens where there is none.
    pub fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        let mut element = self.element(key, 0);
        // SAFETY: the kernel reads a key, of the length with which the map was made.
        match unsafe { bpf(command::MAP_DELETE_ELEM, &mut element) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    pub fn get(&self, key: &[u8; K]) -> io::Result<[u8; V]> {
        let mut value = [0; V];
        let mut element = self.element(key, value.as_mut_ptr().expose_provenance() as u64);
        // SAFETY: the kernel reads a key and writes a value, of the lengths with which the map was made.
        unsafe { bpf(command::MAP_LOOKUP_ELEM, &mut element) }.map(|_| value)
    }
}

/// Has the kernel check and take a program for sockets. `log` is where it writes why it refuses one.
pub fn load(code: &[Instruction], log: Option<&mut Vec<u8>>) -> io::Result<OwnedFd> {
    let (log_level, log_bytes, log) = match log {
        Some(log) => {
            log.resize(1 << 20, 0);
            (1, log.len() as u32, log.as_mut_ptr().expose_provenance() as u64)
        }
        None => (0, 0, 0),
    };
    let mut load = ProgramLoad {
        kind: SOCKET_FILTER,
        instructions_len: code.len() as u32,
        instructions: code.as_ptr().expose_provenance() as u64,
        licence: LICENCE.as_ptr().expose_provenance() as u64,
        log_level,
        log_bytes,
        log,
    };
    // SAFETY: the kernel reads as many instructions as there are and a text that ends, and writes no more than the log has room for.
    unsafe { bpf(command::PROG_LOAD, &mut load) }.map(owned)
}
