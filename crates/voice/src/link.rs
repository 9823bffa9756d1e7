//! The way to one shard of a running relay.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sfu_wire::{Framed as _, ToSfu};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

use crate::limits::RELAY_WAITING_BYTES_MAX;

/// Writes a message at once, as far as the stream takes it, so that what a client is told afterwards the relay knows first: some clients ask
/// it for their address once, right after READY, and never again.
#[derive(Debug)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: OwnedWriteHalf,
    /// What the stream did not take yet.
    waiting: Mutex<Vec<u8>>,
    begins_to_wait: Notify,
}

/// So much waits that the relay cannot be reading any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangs;

impl Link {
    /// The second half goes on with what has to wait. It ends with the stream.
    pub fn new(stream: OwnedWriteHalf) -> (Self, impl Future<Output = ()> + Send) {
        let shared = Shared { stream, waiting: Mutex::default(), begins_to_wait: Notify::new() };
        let shared = Arc::new(shared);
        (Self(Arc::clone(&shared)), async move { shared.go_on().await })
    }

    pub fn tell(&self, message: ToSfu) -> Result<(), Hangs> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = !waiting.is_empty();
        message.append_to(&mut waiting);
        if !behind {
            self.0.write(&mut waiting);
            if !waiting.is_empty() {
                self.0.begins_to_wait.notify_one();
            }
        }
        if waiting.len() > RELAY_WAITING_BYTES_MAX { Err(Hangs) } else { Ok(()) }
    }
}

impl Shared {
    async fn go_on(&self) {
        loop {
            self.begins_to_wait.notified().await;
            loop {
                if self.stream.writable().await.is_err() {
                    return;
                }
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                self.write(&mut waiting);
                if waiting.is_empty() {
                    break;
                }
            }
        }
    }

    fn write(&self, waiting: &mut Vec<u8>) {
        let mut written = 0;
        while written < waiting.len() {
            match self.stream.try_write(&waiting[written..]) {
                Ok(len) => written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The process is dying; whoever waits for it takes over.
                Err(_) => written = waiting.len(),
            }
        }
        waiting.drain(..written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::{Deframer, RemoveLeg};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

    fn message(id: u64) -> ToSfu {
        ToSfu::RemoveLeg(RemoveLeg { id })
    }

    #[tokio::test]
    async fn what_is_told_can_be_read_at_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_, write) = ours.into_split();
        let (link, _) = Link::new(write);
        // Until then the runtime has not looked at the new stream, and takes nothing for it.
        link.0.stream.writable().await.unwrap();
        link.tell(message(7)).unwrap();
        let theirs = theirs.into_std().unwrap();
        let mut bytes = [0; 64];
        let read = std::io::Read::read(&mut &theirs, &mut bytes).unwrap();
        let mut deframer = Deframer::default();
        deframer.push(&bytes[..read]);
        assert_eq!(deframer.next_message::<ToSfu>(), Ok(Some(message(7))));
    }

    #[tokio::test]
    async fn a_slow_reader_gets_everything_in_order_and_one_that_hangs_is_noticed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (_, write) = ours.into_split();
        let (link, go_on) = Link::new(write);
        let mut told = 0;
        while link.tell(message(told)).is_ok() {
            told += 1;
        }
        tokio::spawn(go_on);
        let (mut heard, mut deframer, mut bytes) = (0, Deframer::default(), vec![0; 64 << 10]);
        while heard <= told {
            let read = theirs.read(&mut bytes).await.unwrap();
            deframer.push(&bytes[..read]);
            while let Some(next) = deframer.next_message::<ToSfu>().unwrap() {
                assert_eq!(next, message(heard));
                heard += 1;
            }
        }
        assert_eq!(link.tell(message(0)), Ok(()));
    }

    #[tokio::test]
    async fn a_dead_relay_is_no_failure_here() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_, write) = ours.into_split();
        let (link, _) = Link::new(write);
        link.0.stream.writable().await.unwrap();
        drop(theirs);
        assert_eq!(link.tell(message(1)), Ok(()));
        assert!(link.0.waiting.lock().unwrap().is_empty());
    }
}
