//! The command line.

use std::os::fd::RawFd;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongArgument {
    #[error("unknown argument {0:?}; expected --shard UDP_FD,CONTROL_FD[,MEMORY_FD]")]
    Unknown(String),
    #[error("--shard {0:?} is not file descriptors UDP_FD,CONTROL_FD[,MEMORY_FD]")]
    Shard(String),
    #[error("no --shard is given")]
    NoShard,
}

/// The descriptors of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardFds {
    pub udp: RawFd,
    pub control: RawFd,
    /// What outlives this process; none from signalling that knows of no such thing.
    pub memory: Option<RawFd>,
}

pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Vec<ShardFds>, WrongArgument> {
    let mut args = args.into_iter();
    let mut shards = Vec::new();
    while let Some(arg) = args.next() {
        let value = match arg.split_once('=') {
            Some(("--shard", value)) => value.to_owned(),
            None if arg == "--shard" => args.next().unwrap_or_default(),
            _ => return Err(WrongArgument::Unknown(arg)),
        };
        shards.push(parse_shard(&value).ok_or(WrongArgument::Shard(value))?);
    }
    if shards.is_empty() { Err(WrongArgument::NoShard) } else { Ok(shards) }
}

fn parse_shard(value: &str) -> Option<ShardFds> {
    let fds: Vec<RawFd> = value.split(',').map(|fd| fd.parse().ok()).collect::<Option<_>>()?;
    match fds[..] {
        [udp, control] => Some(ShardFds { udp, control, memory: None }),
        [udp, control, memory] => Some(ShardFds { udp, control, memory: Some(memory) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fds = (RawFd, RawFd, Option<RawFd>);

    #[track_caller]
    fn check(line: &str, expect: Result<&[Fds], WrongArgument>) {
        let got = parse(line.split_whitespace().map(str::to_owned));
        let shard = |&(udp, control, memory): &Fds| ShardFds { udp, control, memory };
        assert_eq!(got, expect.map(|shards| shards.iter().map(shard).collect()));
    }

    #[test]
    fn lines() {
        check("--shard 3,4,5", Ok(&[(3, 4, Some(5))]));
        check("--shard 3,4,5 --shard=6,7,8", Ok(&[(3, 4, Some(5)), (6, 7, Some(8))]));
        // From signalling of before there was a third.
        check("--shard 3,4 --shard=5,6", Ok(&[(3, 4, None), (5, 6, None)]));
        check("", Err(WrongArgument::NoShard));
        check("--shard", Err(WrongArgument::Shard(String::new())));
        check("--shard 3", Err(WrongArgument::Shard("3".into())));
        check("--shard 3,x", Err(WrongArgument::Shard("3,x".into())));
        check("--shard 3,4,5,6", Err(WrongArgument::Shard("3,4,5,6".into())));
        check("--port 3", Err(WrongArgument::Unknown("--port".into())));
    }
}
