//! The destinations of datagrams, and what was found out about the way to each.

use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};

use crate::headers::Headers;
use crate::limits::DESTINATIONS;

/// Places in which a destination may stand: their tags are in one cache line or two.
const BUCKET: usize = 8;
const _: () = assert!(DESTINATIONS.is_power_of_two() && DESTINATIONS > BUCKET, "buckets are found by bits");

/// How datagrams go to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Kernel,
    /// To this next hop, in datagrams of at most so many bytes.
    Direct {
        hop: u16,
        max: u16,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Destination {
    pub headers: Headers,
    ip: u128,
    port: u16,
    pub way: Way,
    /// Of the routes, as they were when this was found out.
    pub generation: u32,
    /// When it must be found out anew.
    pub until_s: u32,
}

impl Destination {
    fn is(&self, ip: u128, port: u16) -> bool {
        self.port == port && self.ip == ip
    }
}

/// Remembers as many as have room; then the one that must soonest be found out anew makes way.
pub(super) struct Destinations {
    /// Beside each place a part of the hash of who is there; 0 is nobody.
    tags: Box<[u32]>,
    places: Box<[Destination]>,
    seeds: [u64; 2],
}

impl Destinations {
    pub fn new() -> Self {
        let nobody = Destination {
            headers: Headers::NONE,
            ip: 0,
            port: 0,
            way: Way::Kernel,
            generation: 0,
            until_s: 0,
        };
        let random = std::hash::RandomState::new();
        Self {
            tags: vec![0; DESTINATIONS].into_boxed_slice(),
            places: vec![nobody; DESTINATIONS].into_boxed_slice(),
            seeds: [random.hash_one(1), random.hash_one(2)],
        }
    }

    /// Where what is known of it stands.
    pub fn find(&self, to: SocketAddr) -> Option<usize> {
        let (ip, port) = key(to);
        let (first, tag) = self.bucket(ip, port);
        let is_it = |at: &usize| self.tags[*at] == tag && self.places[*at].is(ip, port);
        (first..first + BUCKET).find(is_it)
    }

    pub fn at(&self, at: usize) -> &Destination {
        &self.places[at]
    }

    /// A number of 20 bits that is the same for all datagrams of a flow, and different for most flows (RFC 6437).
    pub fn flow_label(&self, to: SocketAddr) -> u32 {
        let (ip, port) = key(to);
        // Nobody learns from it where in the table a destination stands.
        mix(u64::from(self.bucket(ip, port).1), self.seeds[1] | 1) as u32 >> 12
    }

    pub fn put(&mut self, to: SocketAddr, headers: Headers, way: Way, generation: u32, until_s: u32) {
        let (ip, port) = key(to);
        let (first, tag) = self.bucket(ip, port);
        let rank = |at: &usize| {
            let place = &self.places[*at];
            // Itself, else nobody, else who must soonest be asked about.
            (self.tags[*at] != tag || !place.is(ip, port), self.tags[*at] != 0, place.until_s)
        };
        let at = (first..first + BUCKET).min_by_key(rank).expect("a bucket has places");
        self.tags[at] = tag;
        self.places[at] = Destination { headers, ip, port, way, generation, until_s };
    }

    fn bucket(&self, ip: u128, port: u16) -> (usize, u32) {
        let (low, high) = (ip as u64, (ip >> 64) as u64);
        let hash = mix(low ^ self.seeds[0], high ^ self.seeds[1]);
        let hash = mix(hash ^ u64::from(port), self.seeds[0] | 1);
        let bucket = hash as usize & (DESTINATIONS / BUCKET - 1);
        (bucket * BUCKET, (hash >> 32) as u32 | 1)
    }
}

fn key(to: SocketAddr) -> (u128, u16) {
    let ip = match to.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    (ip, to.port())
}

fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0A00_0000 + n / 7), 1_000 + (n % 7) as u16))
    }

    #[test]
    fn what_was_put_is_found_until_there_is_no_room() {
        let mut table = Destinations::new();
        // Few enough that no bucket has more of them than places, whatever the seeds.
        let many = DESTINATIONS as u32 / 32;
        for n in 0..many {
            assert!(table.find(to(n)).is_none());
            table.put(to(n), Headers::NONE, Way::Direct { hop: n as u16, max: 9 }, 1, 5);
        }
        for n in 0..many {
            let found = table.find(to(n)).map(|at| table.at(at).way);
            assert_eq!(found, Some(Way::Direct { hop: n as u16, max: 9 }), "{n}");
        }
        // Told anew it does not stand there twice.
        table.put(to(7), Headers::NONE, Way::Kernel, 2, 9);
        let found = table.find(to(7)).map(|at| table.at(at));
        assert_eq!(found.map(|found| (found.way, found.generation)), Some((Way::Kernel, 2)));
        // The oldest make way for what is newer.
        let (newer, too_many) = (many, 20 * DESTINATIONS as u32);
        for n in newer..too_many {
            table.put(to(n), Headers::NONE, Way::Kernel, 2, 6 + n);
        }
        assert!((too_many - 100..too_many).all(|n| table.find(to(n)).is_some()));
        assert!((0..many).all(|n| table.find(to(n)).is_none()));
    }
}
