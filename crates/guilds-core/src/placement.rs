//! Which voice server a guild is on.

use cluster_wire::record::{Health, ServerRecord};
use model::{RegionId, ServerId};

/// All voice channels of a guild are on one server, chosen when the first participant joins and given up when the last leaves.
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

/// The least utilised eligible server of the region (any region if None). Ties go to fewer guilds, then to the lower id, so
/// that equal servers fill in turn and the choice is the same everywhere.
pub fn place<'a>(
    servers: impl IntoIterator<Item = &'a ServerRecord>,
    region: Option<&RegionId>,
) -> Option<ServerId> {
    servers
        .into_iter()
        .filter(|server| server.is_eligible() && region.is_none_or(|region| server.region == *region))
        .min_by(|a, b| {
            utilisation(a, b).then(a.load.guilds.cmp(&b.load.guilds)).then_with(|| a.id.cmp(&b.id))
        })
        .map(|server| server.id.clone())
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
            let got = place(servers, region.map(|r| RegionId(r.to_owned())).as_ref());
            assert_eq!(got.map(|id| id.0), expect.map(str::to_owned), "{servers:?} {region:?}");
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
    }
}
