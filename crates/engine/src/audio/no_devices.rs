//! What stands in for `devices.rs` in a build without sound hardware: the same names, and no values of any of the types.

use engine_core::Frame;

use super::DeviceError;

pub enum DeviceStream {}

pub enum Microphone {}

impl Microphone {
    pub(crate) fn read(&mut self, _: &mut Frame) {
        match *self {}
    }
}

pub enum Output {}

impl Output {
    pub(crate) fn write(&mut self, _: &Frame) {
        match *self {}
    }
}

pub fn open_microphone() -> Result<(Microphone, DeviceStream), DeviceError> {
    Err(DeviceError::NotBuilt)
}

pub fn open_speakers() -> Result<(Output, DeviceStream), DeviceError> {
    Err(DeviceError::NotBuilt)
}
