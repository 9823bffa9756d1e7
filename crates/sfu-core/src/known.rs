//! Who is known, for whoever looks at datagrams before they come here.
//!
//! What has changed is noted by name only and looked up when it is asked for, so that the order of changes does not matter and none can be told wrongly.

use std::net::SocketAddr;

use rtp_wire::Ssrc;

use crate::shard::Shard;

/// What may be let through without a look at it, or no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Known {
    /// What comes from there is a leg's, or a browser's that has its keys from it soon.
    Address(SocketAddr, bool),
    /// A leg's stream, whose client may turn up at another address.
    Stream(Ssrc, bool),
    /// What a browser calls us in its checks, from wherever they come.
    Name(Box<str>, bool),
}

#[derive(Debug, Default)]
pub(crate) struct Changes {
    is_watched: bool,
    addresses: Vec<SocketAddr>,
    streams: Vec<Ssrc>,
    names: Vec<Box<str>>,
}

impl Changes {
    pub fn address(&mut self, address: SocketAddr) {
        if self.is_watched {
            self.addresses.push(address);
        }
    }

    pub fn stream(&mut self, ssrc: Ssrc) {
        if self.is_watched {
            self.streams.push(ssrc);
        }
    }

    pub fn name(&mut self, ufrag: &str) {
        if self.is_watched {
            self.names.push(ufrag.into());
        }
    }
}

impl Shard {
    /// From now on [`Self::poll_known`] is asked after each `handle_*`; first it tells of all there are.
    pub fn watch_known(&mut self) {
        self.changes = Changes {
            is_watched: true,
            addresses: self.by_address.keys().chain(self.by_check.keys()).copied().collect(),
            streams: self.by_ssrc.keys().copied().collect(),
            names: self.by_ufrag.keys().cloned().collect(),
        };
    }

    /// Nobody asks any more.
    pub fn ignore_known(&mut self) {
        self.changes = Changes::default();
    }

    /// The next thing that has changed.
    pub fn poll_known(&mut self) -> Option<Known> {
        if let Some(address) = self.changes.addresses.pop() {
            let is_known = self.by_address.contains_key(&address) || self.by_check.contains_key(&address);
            return Some(Known::Address(address, is_known));
        }
        if let Some(ssrc) = self.changes.streams.pop() {
            return Some(Known::Stream(ssrc, self.by_ssrc.contains_key(&ssrc)));
        }
        let name = self.changes.names.pop()?;
        let is_known = self.by_ufrag.contains_key(&name);
        Some(Known::Name(name, is_known))
    }
}
