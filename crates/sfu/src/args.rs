//! The command line.

use std::os::fd::RawFd;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongArgument {
    #[error("unknown argument {0:?}; expected --shard UDP_FD,CONTROL_FD")]
    Unknown(String),
    #[error("--shard {0:?} is not two file descriptors UDP_FD,CONTROL_FD")]
    Shard(String),
    #[error("no --shard is given")]
    NoShard,
}

/// The descriptors of each shard: its UDP socket, its control stream.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Vec<(RawFd, RawFd)>, WrongArgument> {
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

fn parse_shard(value: &str) -> Option<(RawFd, RawFd)> {
    let (udp, control) = value.split_once(',')?;
    Some((udp.parse().ok()?, control.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: Result<&[(RawFd, RawFd)], WrongArgument>) {
        let got = parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(got, expect.map(<[_]>::to_vec));
    }

    #[test]
    fn lines() {
        check("--shard 3,4", Ok(&[(3, 4)]));
        check("--shard 3,4 --shard=5,6", Ok(&[(3, 4), (5, 6)]));
        check("", Err(WrongArgument::NoShard));
        check("--shard", Err(WrongArgument::Shard(String::new())));
        check("--shard 3", Err(WrongArgument::Shard("3".into())));
        check("--shard 3,x", Err(WrongArgument::Shard("3,x".into())));
        check("--port 3", Err(WrongArgument::Unknown("--port".into())));
    }
}
