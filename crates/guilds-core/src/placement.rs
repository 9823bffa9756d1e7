//! Which voice servers a guild is on.

use std::collections::BTreeMap;

use cluster_wire::record::{Health, ServerRecord};
use model::{RegionId, ServerId};

/// What a voice channel shares its server with: the channels of the region that it names, or, if it names none or the guild's, the guild's others.
pub(crate) type Zone = Option<RegionId>;

/// All voice channels of a zone are on one server, chosen when the first participant joins and given up when the last leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Nobody is in voice.
    Idle,
    /// There are participants but no server to put them on: they were told an endpoint of null.
    Awaiting,
    On {
        server: ServerId,
        endpoint: String,
    },
}

impl Placement {
    pub fn server(&self) -> Option<&ServerId> {
        match self {
            Self::On { server, .. } => Some(server),
            Self::Idle | Self::Awaiting => None,
        }
    }
}

/// Those of a guild. A zone that is not here is idle.
#[derive(Debug, Default)]
pub(crate) struct Placements(BTreeMap<Zone, Placement>);

impl Placements {
    pub fn of(&self, zone: &Zone) -> &Placement {
        self.0.get(zone).unwrap_or(&Placement::Idle)
    }

    pub fn server(&self, zone: &Zone) -> Option<&ServerId> {
        self.of(zone).server()
    }

    /// What it was before.
    pub fn set(&mut self, zone: &Zone, placement: Placement) -> Placement {
        let before = match placement {
            Placement::Idle => self.0.remove(zone),
            placement => self.0.insert(zone.clone(), placement),
        };
        before.unwrap_or(Placement::Idle)
    }

    pub fn zones(&self) -> Vec<Zone> {
        self.0.keys().cloned().collect()
    }

    pub fn servers(&self) -> impl Iterator<Item = &ServerId> {
        self.0.values().filter_map(Placement::server)
    }

    pub fn is_awaiting(&self) -> bool {
        self.0.values().any(|placement| *placement == Placement::Awaiting)
    }
}

/// So many servers are drawn, and the least utilised of them is taken. Because guilds nodes choose by what servers said up to five seconds ago: did each take the least
/// utilised of all, all of them would take the same one until it says more. Of three one is good enough, and in a region of three none is passed over.
const DRAWN: usize = 3;

/// The least utilised of a few eligible servers of the region, which `draw` chooses; of any region if None, but rather of one that could lose a server. Ties go to fewer
/// guilds, then to the lower id.
pub fn place<'a>(
    servers: impl IntoIterator<Item = &'a ServerRecord, IntoIter: Clone>,
    region: Option<&RegionId>,
    urgency: Urgency,
    draw: u64,
) -> Option<ServerId> {
    let servers = servers.into_iter();
    let is_of_it = |server: &&ServerRecord| region.is_none_or(|region| server.region == *region);
    let takes = |server: &&ServerRecord| server.is_eligible() && urgency.is_met(server);
    let mut fit: Vec<_> = servers.clone().filter(takes).filter(is_of_it).collect();
    if region.is_none() {
        let headroom = rooms(servers);
        let is_safe = |server: &&ServerRecord| headroom.get(&server.region).is_none_or(|room| *room >= 0);
        if fit.iter().any(is_safe) {
            fit.retain(is_safe);
        }
    }
    drawn(&mut fit, DRAWN, draw)
        .iter()
        .min_by(|a, b| {
            let by_load = utilisation(a, b).then(a.load.guilds.cmp(&b.load.guilds));
            by_load.then_with(|| a.id.cmp(&b.id))
        })
        .map(|server| server.id.clone())
}

/// Is there a server to be placed on?
pub(crate) fn is_placeable<'a>(
    mut servers: impl Iterator<Item = &'a ServerRecord>,
    region: Option<&RegionId>,
) -> bool {
    servers.any(|server| {
        server.is_eligible()
            && Urgency::Waiting.is_met(server)
            && region.is_none_or(|region| server.region == *region)
    })
}

/// Whether a guild can wait for a server that surely has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody begins a call, who is worth more than room.
    Joining,
    /// A call that was on a server before, as many others were, all of which would take the only one that is back.
    Waiting,
}

impl Urgency {
    fn is_met(self, server: &ServerRecord) -> bool {
        self == Self::Joining || has_room(server)
    }
}

/// What was placed on it of late does not fill it, for all that is known.
pub(crate) fn has_room(server: &ServerRecord) -> bool {
    server.capacity <= 2 || server.load.participants + 1 < server.capacity
}

/// So many different ones, each as likely as any other.
fn drawn<T>(all: &mut [T], wanted: usize, mut draw: u64) -> &[T] {
    let wanted = wanted.min(all.len());
    for first in 0..wanted {
        let left = (all.len() - first) as u64;
        all.swap(first, first + (draw % left) as usize);
        draw /= left;
    }
    &all[..wanted]
}

/// For each region, how many participants its other servers could take beyond those of its fullest one, were that to die. Below 0 some would have nowhere to go.
pub fn headroom<'a>(servers: impl Iterator<Item = &'a ServerRecord>) -> BTreeMap<RegionId, i64> {
    rooms(servers).into_iter().map(|(region, room)| (region.clone(), room)).collect()
}

fn rooms<'a>(servers: impl Iterator<Item = &'a ServerRecord>) -> BTreeMap<&'a RegionId, i64> {
    #[derive(Default)]
    struct Sum {
        free: i64,
        fullest: (i64, i64),
    }
    let mut sums: BTreeMap<&RegionId, Sum> = BTreeMap::new();
    for server in servers.filter(|server| server.health == Health::Ok && !server.draining) {
        let participants = i64::from(server.load.participants);
        let free = (i64::from(server.capacity) - participants).max(0);
        let sum = sums.entry(&server.region).or_default();
        sum.free += free;
        // Of two that are as full, the one whose death takes more room with it.
        sum.fullest = sum.fullest.max((participants, free));
    }
    let room = |sum: Sum| sum.free - sum.fullest.1 - sum.fullest.0;
    sums.into_iter().map(|(region, sum)| (region, room(sum))).collect()
}

/// Compares participants/capacity of both without dividing: exact, and safe for a capacity of 0.
fn utilisation(a: &ServerRecord, b: &ServerRecord) -> std::cmp::Ordering {
    let share = |x: &ServerRecord, y: &ServerRecord| u64::from(x.load.participants) * u64::from(y.capacity);
    share(a, b).cmp(&share(b, a))
}

/// Should a guild leave this living server as soon as there is another?
pub(crate) fn is_to_be_left(server: &ServerRecord, region: Option<&RegionId>) -> bool {
    server.draining
        || matches!(server.health, Health::Flooded | Health::RelayLost)
        || region.is_some_and(|region| server.region != *region)
}

#[cfg(test)]
mod tests {
    use cluster_wire::record::{RelayStatus, ServerLoad};

    use super::*;

    fn server(id: &str, region: &str, participants: u32, capacity: u32) -> ServerRecord {
        ServerRecord {
            id: ServerId(id.to_owned()),
            region: RegionId(region.to_owned()),
            endpoint: format!("{id}:443"),
            health: Health::Ok,
            load: ServerLoad { participants, ..ServerLoad::default() },
            capacity,
            version: String::new(),
            draining: false,
            cluster: None,
            relay: RelayStatus::default(),
        }
    }

    #[test]
    fn the_least_utilised_eligible_server_of_the_region_is_chosen() {
        let check = |servers: &[ServerRecord], region: Option<&str>, expect: Option<&str>| {
            let region = region.map(|region| RegionId(region.to_owned()));
            for draw in 0..6 {
                let got = place(servers, region.as_ref(), Urgency::Joining, draw);
                assert_eq!(got.map(|id| id.0), expect.map(str::to_owned), "{servers:?} {region:?} {draw}");
            }
        };
        check(&[], None, None);
        check(&[server("a", "eu", 5, 10), server("b", "eu", 5, 100)], None, Some("b"));
        check(&[server("b", "eu", 1, 10), server("a", "eu", 10, 100)], None, Some("a"));
        check(&[server("a", "eu", 0, 10), server("b", "us", 9, 10)], Some("us"), Some("b"));
        check(&[server("a", "eu", 0, 10)], Some("us"), None);
        check(&[server("a", "eu", 10, 10)], None, None);
        let draining = ServerRecord { draining: true, ..server("a", "eu", 0, 10) };
        let flooded = ServerRecord { health: Health::Flooded, ..server("b", "eu", 0, 10) };
        let crashed = ServerRecord { health: Health::NoRelay, ..server("c", "eu", 0, 10) };
        check(&[draining.clone(), flooded.clone(), crashed.clone()], None, None);
        check(&[draining, flooded, crashed, server("d", "eu", 9, 10)], None, Some("d"));
        let mut busy = server("a", "eu", 0, 10);
        busy.load.guilds = 3;
        check(&[busy, server("b", "eu", 0, 10)], None, Some("b"));
        // Anywhere: rather where people would have somewhere to go if a server died.
        let [a, b] = [server("a", "eu", 4, 10), server("b", "eu", 4, 10)];
        let alone = server("c", "us", 10, 100);
        check(&[alone.clone(), a.clone(), b.clone()], None, Some("a"));
        check(&[alone.clone(), a.clone(), b], Some("us"), Some("c"));
        check(&[alone, a, server("b", "eu", 7, 10)], None, Some("c"));
    }

    #[test]
    fn nodes_that_know_the_same_do_not_all_choose_the_same() {
        let servers: Vec<_> = (0..30).map(|n| server(&format!("{n:02}"), "eu", n, 100)).collect();
        let mut chosen = BTreeMap::new();
        for draw in 0..30 * 29 * 28 {
            *chosen.entry(place(&servers, None, Urgency::Joining, draw).unwrap().0).or_insert(0) += 1;
        }
        // The least utilised wherever it is among the three, and so on down to the third from the end, of which no two can be less utilised.
        assert_eq!(chosen.len(), 28);
        assert_eq!(chosen["00"], 3 * 29 * 28);
        assert_eq!(chosen["27"], 6);
    }

    #[test]
    fn headroom_is_what_is_free_elsewhere_beyond_the_fullest_server() {
        let check = |servers: &[ServerRecord], expect: &[(&str, i64)]| {
            let got: Vec<_> = headroom(servers.iter()).into_iter().collect();
            let expect: Vec<_> = expect.iter().map(|(id, n)| (RegionId((*id).to_owned()), *n)).collect();
            assert_eq!(got, expect, "{servers:?}");
        };
        check(&[], &[]);
        check(&[server("a", "eu", 0, 10), server("b", "us", 3, 10)], &[("eu", 0), ("us", -3)]);
        check(&[server("a", "eu", 4, 10), server("b", "eu", 2, 10), server("c", "eu", 1, 10)], &[("eu", 13)]);
        check(&[server("a", "eu", 9, 10), server("b", "eu", 9, 20)], &[("eu", -8)]);
        check(&[server("a", "eu", 12, 10), server("b", "eu", 0, 10)], &[("eu", -2)]);
        let draining = ServerRecord { draining: true, ..server("b", "eu", 0, 100) };
        check(&[server("a", "eu", 1, 10), draining], &[("eu", -1)]);
    }
}
