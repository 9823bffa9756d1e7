//! Where sound comes from and goes to: files, tones, devices. Everything inside is 48 kHz mono.

mod file;
mod record;
mod source;

#[cfg(feature = "devices")]
mod devices;

pub use file::{AudioError, load, read_wav, write_wav};
pub use record::Recorder;
pub(crate) use source::Source;

#[cfg(feature = "devices")]
pub use devices::{DeviceStream, Microphone, Output, open_microphone, open_speakers};
