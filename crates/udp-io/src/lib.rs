//! Datagrams in batches, and what the media processes need of Linux beside them: waiting in microseconds,
//! handing sockets from process to process, memory that outlives a process, what processes use and where they run.
//!
//! This is the one crate with `unsafe` on the media path. Each use has its reason beside it, and nothing
//! unsafe leaves the crate.
//!
//! A socket's datagrams leave by the socket, or past the kernel's IP stack (`egress`): `routes` knows the way to each destination, `headers` writes what the
//! kernel would, `xdp` gives packets to devices (`docs/adr/0016-egress.md`). What comes may be looked at in the kernel first (`shield`).
//!
//! Absent: any idea of what the bytes mean; threads; allocation once a batch or a poller is made.
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(not(target_os = "linux"))]
compile_error!("the media relay speaks to the Linux kernel directly");

mod addr;
mod cpu;
mod egress;
mod fds;
mod headers;
mod heap;
pub mod limits;
mod memory;
mod pinned;
mod poll;
mod process;
mod recv;
mod routes;
mod send;
mod shield;
mod socket;
mod xdp;

pub use cpu::{process_cpu, process_cpu_of, thread_cpu};
pub use egress::{Backend, Egress, Notice};
pub use fds::{adopt_fd, adopt_udp, inherit_fds, recv_fds, send_fds, set_inheritable};
pub use heap::{heap_in_use, trim_heap};
pub use memory::{make_memory, map_memory};
pub use poll::{Poller, Ready};
pub use process::{cores, kill, resident_of, run_on, run_thread_on};
pub use recv::RecvBatch;
pub use send::{Flushed, SendBatch, SendCounters};
pub use shield::{Shield, Shielded, unshield};
pub use socket::{BufferSizes, bind, buffers, kernel_drops, set_buffers, set_unsent_max};
pub use xdp::Frames;
