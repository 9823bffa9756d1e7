//! The memory of each shard, which outlives the relay's process.
//!
//! Owns: that it is there before the first relay and the same for each, and who was being served when a relay died. Does not know what
//! relays write for each other.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use sfu_wire::page::{BYTES, HEAD_AT, HEAD_WORDS, LEG_AT, Work, busy_with, has_failed, version};

pub struct Memories(Vec<File>);

/// A leg that a shard was busy with when its process crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blamed {
    pub shard: u32,
    pub leg: u64,
    pub work: Work,
}

impl Memories {
    pub fn new(shards: usize) -> io::Result<Self> {
        (0..shards)
            .map(|_| udp_io::make_memory(c"guildhall-shard", BYTES))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    pub fn of_shard(&self, shard: usize) -> io::Result<OwnedFd> {
        Ok(self.0[shard].try_clone()?.into())
    }

    /// The version in which relays wrote it, the first of several; nothing before there was one.
    pub fn version(&self) -> io::Result<Option<u16>> {
        let heads = self.0.iter().map(read_head).collect::<io::Result<Vec<_>>>()?;
        Ok(heads.iter().find_map(|head| version(head[HEAD_AT])))
    }

    /// The legs that the crashed process was busy with, each told once. A shard that says that it was the one speaks for the others.
    pub fn blamed(&self) -> io::Result<Vec<Blamed>> {
        let heads = self.0.iter().map(read_head).collect::<io::Result<Vec<_>>>()?;
        let one_says_so = heads.iter().any(has_failed);
        let mut blamed = Vec::new();
        for ((shard, head), file) in (0..).zip(&heads).zip(&self.0) {
            if let Some((leg, work)) = busy_with(head).filter(|_| has_failed(head) || !one_says_so) {
                blamed.push(Blamed { shard, leg, work });
            }
            // A process that dies before it has begun is not to be taken for this one.
            let rest = [0; (HEAD_WORDS - LEG_AT) * size_of::<u64>()];
            file.write_all_at(&rest, (LEG_AT * size_of::<u64>()) as u64)?;
        }
        // Of a datagram whose leg was not found yet nobody is known.
        blamed.retain(|blamed| blamed.leg != 0);
        Ok(blamed)
    }
}

fn read_head(file: &File) -> io::Result<[u64; HEAD_WORDS]> {
    let mut bytes = [0; HEAD_WORDS * size_of::<u64>()];
    file.read_exact_at(&mut bytes, 0)?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(std::array::from_fn(|at| u64::from_ne_bytes(words[at])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::page::{FAILED_AT, HEAD, VERSION, WORK_AT};

    fn write(memories: &Memories, shard: usize, words: &[(usize, u64)]) {
        for (at, word) in words {
            memories.0[shard].write_all_at(&word.to_ne_bytes(), 8 * *at as u64).unwrap();
        }
    }

    #[test]
    fn whoever_was_busy_is_blamed_once_and_whoever_failed_alone() {
        let memories = Memories::new(3).unwrap();
        assert_eq!(memories.blamed().unwrap(), [], "before any relay");
        assert_eq!(memories.version().unwrap(), None);
        let busy = |leg: u64| [(HEAD_AT, HEAD), (LEG_AT, leg), (WORK_AT, Work::Rtp as u64)];
        for (shard, leg) in [7, 0, 9].into_iter().enumerate() {
            write(&memories, shard, &busy(leg));
        }
        let blamed = |shard, leg| Blamed { shard, leg, work: Work::Rtp };
        assert_eq!(memories.blamed().unwrap(), [blamed(0, 7), blamed(2, 9)]);
        assert_eq!(memories.blamed().unwrap(), []);
        for (shard, leg) in [7, 8, 9].into_iter().enumerate() {
            write(&memories, shard, &busy(leg));
        }
        write(&memories, 1, &[(FAILED_AT, 1)]);
        assert_eq!(memories.blamed().unwrap(), [blamed(1, 8)]);
        assert_eq!(memories.version().unwrap(), Some(VERSION));
    }
}
