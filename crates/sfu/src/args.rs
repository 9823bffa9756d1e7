//! The command line.

use std::os::fd::RawFd;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongArgument {
    #[error(
        "unknown argument {0:?}; expected --shard UDP_FD,CONTROL_FD[,MEMORY_FD], --egress kernel|xdp or --shield auto|off"
    )]
    Unknown(String),
    #[error("--shard {0:?} is not file descriptors UDP_FD,CONTROL_FD[,MEMORY_FD]")]
    Shard(String),
    #[error("--egress {0:?} is neither kernel nor xdp")]
    Egress(String),
    #[error("--shield {0:?} is neither auto nor off")]
    Shield(String),
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

/// How what is sent leaves this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    #[default]
    Kernel,
    Xdp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    pub shards: Vec<ShardFds>,
    pub egress: Wanted,
    /// Whether the kernel looks at what comes, where it may be asked to.
    pub is_shielded: bool,
}

pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Args, WrongArgument> {
    let mut args = args.into_iter();
    let (mut shards, mut egress, mut is_shielded) = (Vec::new(), Wanted::default(), true);
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (arg.clone(), None),
        };
        let value =
            |args: &mut dyn Iterator<Item = String>| value.or_else(|| args.next()).unwrap_or_default();
        match name.as_str() {
            "--shard" => {
                let value = value(&mut args);
                shards.push(parse_shard(&value).ok_or(WrongArgument::Shard(value))?);
            }
            "--egress" => {
                let value = value(&mut args);
                egress = match value.as_str() {
                    "kernel" => Wanted::Kernel,
                    "xdp" => Wanted::Xdp,
                    _ => return Err(WrongArgument::Egress(value)),
                };
            }
            "--shield" => {
                let value = value(&mut args);
                is_shielded = match value.as_str() {
                    "auto" => true,
                    "off" => false,
                    _ => return Err(WrongArgument::Shield(value)),
                };
            }
            _ => return Err(WrongArgument::Unknown(arg)),
        }
    }
    if shards.is_empty() { Err(WrongArgument::NoShard) } else { Ok(Args { shards, egress, is_shielded }) }
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
    fn check_with(line: &str, expect: Result<(&[Fds], Wanted, bool), WrongArgument>) {
        let got = parse(line.split_whitespace().map(str::to_owned));
        let shard = |&(udp, control, memory): &Fds| ShardFds { udp, control, memory };
        let expect = expect.map(|(shards, egress, is_shielded)| Args {
            shards: shards.iter().map(shard).collect(),
            egress,
            is_shielded,
        });
        assert_eq!(got, expect);
    }

    #[track_caller]
    fn check(line: &str, expect: Result<&[Fds], WrongArgument>) {
        check_with(line, expect.map(|shards| (shards, Wanted::Kernel, true)));
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
        check("--port=3", Err(WrongArgument::Unknown("--port=3".into())));
        check_with("--egress xdp --shard 3,4", Ok((&[(3, 4, None)], Wanted::Xdp, true)));
        check_with("--shard 3,4 --egress=kernel", Ok((&[(3, 4, None)], Wanted::Kernel, true)));
        check_with("--shield off --shard 3,4", Ok((&[(3, 4, None)], Wanted::Kernel, false)));
        check_with("--shard 3,4 --shield=auto", Ok((&[(3, 4, None)], Wanted::Kernel, true)));
        check("--shield on --shard 3,4", Err(WrongArgument::Shield("on".into())));
        check("--egress fast --shard 3,4", Err(WrongArgument::Egress("fast".into())));
        check("--shard 3,4 --egress", Err(WrongArgument::Egress(String::new())));
    }
}
