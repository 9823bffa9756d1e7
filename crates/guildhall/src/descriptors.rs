//! How many connections the system lets a process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer than this a server is told of: each client has up to three connections, and many systems begin with 1,024 for all.
const ENOUGH: u64 = 16_384;

/// Takes as many descriptors as an unprivileged process may, and returns how many that are; none where there is no limit.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, ..limit };
    // Where even that is refused it stays as it was.
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, wanted).is_err() {
        return limit.current;
    }
    limit.maximum
}

/// The same, and says so where that is little.
pub fn raise_for_server() {
    if let Some(limit) = raise().filter(|limit| *limit < ENOUGH) {
        tracing::warn!(
            limit,
            "the system allows few open connections: raise the hard limit of descriptors (`ulimit -Hn`, LimitNOFILE=)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let few = Rlimit { current: Some(64), maximum: hard };
        setrlimit(Resource::Nofile, few).unwrap();
        assert_eq!(raise(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
