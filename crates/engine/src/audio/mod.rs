//! Where sound comes from and goes to: files, tones, devices. Everything inside is 48 kHz mono.

#[cfg(feature = "devices")]
mod devices;
#[cfg(not(feature = "devices"))]
#[path = "no_devices.rs"]
mod devices;
mod file;
mod record;
mod source;

pub use devices::{DeviceStream, Microphone, Output, open_microphone, open_speakers};
pub use file::{AudioError, load, write_wav};
pub use record::Recorder;
pub(crate) use source::Source;

/// Why there is no sound from or to the machine.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("this program was built without sound devices (cargo feature `devices`)")]
    NotBuilt,
    #[error("there is no {0}")]
    Missing(&'static str),
    #[error("the {device} cannot be used: {reason}")]
    Unusable { device: &'static str, reason: String },
}
