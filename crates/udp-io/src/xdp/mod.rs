//! Packets past the kernel's IP stack (AF_XDP, sending only).

mod device;
mod frames;
mod ring;

pub use frames::Frames;

pub(crate) use device::{Port, is_allowed};
pub(crate) use frames::{Frame, Share};
