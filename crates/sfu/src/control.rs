//! The stream to signalling: whole messages in, events out, never waiting.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sfu_wire::{Deframer, Framed as _, FromSfu, ToSfu, WireError};

use crate::limits::{CONTROL_READ_BYTES, CONTROL_READS_A_WAKE, CONTROL_WRITE_BYTES};

pub struct Control {
    stream: UnixStream,
    deframer: Deframer,
    chunk: Box<[u8]>,
    out: Vec<u8>,
    written: usize,
    open: bool,
}

impl Control {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let chunk = vec![0; CONTROL_READ_BYTES].into_boxed_slice();
        Ok(Self { stream, deframer: Deframer::default(), chunk, out: Vec::new(), written: 0, open: true })
    }

    /// False from when signalling is gone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes in what has come, a turn's worth.
    pub fn read(&mut self) {
        for _ in 0..CONTROL_READS_A_WAKE {
            if !self.open {
                return;
            }
            match self.stream.read(&mut self.chunk) {
                Ok(0) => self.open = false,
                Ok(len) => {
                    self.deframer.push(&self.chunk[..len]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.open = error.kind() == io::ErrorKind::WouldBlock,
            }
            return;
        }
    }

    /// The next whole message of what was read.
    pub fn next(&mut self) -> Result<Option<ToSfu>, WireError> {
        self.deframer.next_message()
    }

    /// Whether another event may be added.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.open && self.out.len() - self.written < CONTROL_WRITE_BYTES
    }

    pub fn push(&mut self, event: FromSfu) {
        if self.written > 0 {
            self.out.drain(..self.written);
            self.written = 0;
        }
        event.append_to(&mut self.out);
    }

    /// Writes all that is left, and waits for signalling to make room for it. The stream is of no further use.
    pub fn finish(&mut self, within: Duration) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_write_timeout(Some(within))?;
        self.stream.write_all(&self.out[self.written..])
    }

    /// Writes what can be written, and says whether more is waiting.
    pub fn write(&mut self) -> bool {
        while self.open && self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // What it last wrote may still be readable, so that only reading decides that it is gone.
                Err(_) => break,
            }
        }
        self.out.clear();
        self.written = 0;
        false
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::LegSpeaking;

    #[test]
    fn signalling_that_does_not_read_holds_up_nothing_and_misses_nothing() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let mut control = Control::new(ours).unwrap();
        let mut pushed = 0;
        loop {
            while control.has_room() {
                control.push(FromSfu::LegSpeaking(LegSpeaking { id: pushed, speaking: true }));
                pushed += 1;
            }
            if control.write() && !control.has_room() {
                break;
            }
        }
        assert!(control.out.len() < CONTROL_WRITE_BYTES + 100);

        let mut deframer = Deframer::default();
        let mut heard = 0;
        let mut chunk = [0; 10_000];
        while heard < pushed {
            let len = theirs.read(&mut chunk).unwrap();
            deframer.push(&chunk[..len]);
            while let Some(FromSfu::LegSpeaking(event)) = deframer.next_message().unwrap() {
                assert_eq!(event.id, heard);
                heard += 1;
            }
            control.write();
        }
        assert!(!control.write());
        assert!(control.is_open());
    }

    #[test]
    fn a_closed_stream_is_read_to_its_end() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let mut control = Control::new(ours).unwrap();
        control.read();
        assert!(control.is_open());
        let mut bytes = Vec::new();
        ToSfu::RemoveLeg(sfu_wire::RemoveLeg { id: 4 }).append_to(&mut bytes);
        theirs.write_all(&bytes).unwrap();
        drop(theirs);
        control.read();
        assert!(!control.is_open());
        assert_eq!(control.next(), Ok(Some(ToSfu::RemoveLeg(sfu_wire::RemoveLeg { id: 4 }))));
        assert!(!control.has_room());
        control.push(FromSfu::LegSpeaking(LegSpeaking { id: 1, speaking: true }));
        assert!(!control.write());
    }
}
