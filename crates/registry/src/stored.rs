//! A voice server's record as it is written down for others to read, perhaps of another version: names that are missing mean nothing
//! special, names that are not known are skipped.

use cluster_wire::record::{
    Health, NodeRecord, RelayStatus, ServerLoad, ServerRecord, Upgrade, UpgradeOutcome,
};
use model::{RegionId, ServerId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    id: String,
    region: String,
    pub endpoint: String,
    #[serde(default)]
    health: StoredHealth,
    #[serde(default)]
    draining: bool,
    capacity: u32,
    #[serde(default)]
    version: String,
    #[serde(default)]
    guilds: u32,
    #[serde(default)]
    participants: u32,
    #[serde(default)]
    packets_in_per_s: u64,
    #[serde(default)]
    packets_out_per_s: u64,
    #[serde(default)]
    busiest_shard: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(default)]
    relay: StoredRelay,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct StoredRelay {
    version: String,
    restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_start_in_ms: Option<u64>,
    legs_left_out: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade: Option<StoredUpgrade>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredUpgrade {
    number: u64,
    /// Neither this nor `failed`: it is underway.
    #[serde(default)]
    done: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredNode {
    pub name: String,
    pub address: String,
}

impl StoredNode {
    pub fn read(text: &[u8]) -> Option<NodeRecord> {
        read::<Self>(text).map(|Self { name, address }| NodeRecord { name, address })
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a record has string keys and no failing serialisers")
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    let read = serde_json::from_slice(text);
    if let Err(error) = &read {
        tracing::warn!(%error, "a record in the registry is not understood");
    }
    read.ok()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredHealth {
    #[default]
    Ok,
    NoRelay,
    RelayLost,
    Flooded,
    /// Of a later version: nothing to place a guild on.
    #[serde(other)]
    Unknown,
}

impl Stored {
    /// What cannot be read is no server of ours.
    pub fn read(text: &[u8]) -> Option<Self> {
        read(text)
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a record has string keys and no failing serialisers")
    }
}

impl From<&ServerRecord> for Stored {
    fn from(record: &ServerRecord) -> Self {
        let ServerRecord { id, region, endpoint, health, load, capacity, version, draining, cluster, relay } =
            record;
        Self {
            id: id.0.clone(),
            region: region.0.clone(),
            endpoint: endpoint.clone(),
            health: match health {
                Health::Ok => StoredHealth::Ok,
                Health::NoRelay => StoredHealth::NoRelay,
                Health::RelayLost => StoredHealth::RelayLost,
                Health::Flooded => StoredHealth::Flooded,
            },
            draining: *draining,
            capacity: *capacity,
            version: version.clone(),
            guilds: load.guilds,
            participants: load.participants,
            packets_in_per_s: load.packets_in_per_s,
            packets_out_per_s: load.packets_out_per_s,
            busiest_shard: load.busiest_shard,
            cluster: cluster.clone(),
            relay: relay.into(),
        }
    }
}

impl From<&RelayStatus> for StoredRelay {
    fn from(relay: &RelayStatus) -> Self {
        let RelayStatus { version, restarts, last_end, next_start_in_ms, legs_left_out, upgrade } = relay;
        Self {
            version: version.clone(),
            restarts: *restarts,
            last_end: last_end.clone(),
            next_start_in_ms: *next_start_in_ms,
            legs_left_out: *legs_left_out,
            upgrade: upgrade.as_ref().map(|Upgrade { number, outcome }| StoredUpgrade {
                number: *number,
                done: *outcome == UpgradeOutcome::Done,
                failed: match outcome {
                    UpgradeOutcome::Failed(why) => Some(why.clone()),
                    UpgradeOutcome::Underway | UpgradeOutcome::Done => None,
                },
            }),
        }
    }
}

impl From<StoredRelay> for RelayStatus {
    fn from(stored: StoredRelay) -> Self {
        let StoredRelay { version, restarts, last_end, next_start_in_ms, legs_left_out, upgrade } = stored;
        let upgrade = upgrade.map(|StoredUpgrade { number, done, failed }| Upgrade {
            number,
            outcome: match (failed, done) {
                (Some(why), _) => UpgradeOutcome::Failed(why),
                (None, true) => UpgradeOutcome::Done,
                (None, false) => UpgradeOutcome::Underway,
            },
        });
        Self { version, restarts, last_end, next_start_in_ms, legs_left_out, upgrade }
    }
}

impl From<Stored> for ServerRecord {
    fn from(stored: Stored) -> Self {
        Self {
            id: ServerId(stored.id),
            region: RegionId(stored.region),
            endpoint: stored.endpoint,
            health: match stored.health {
                StoredHealth::Ok => Health::Ok,
                StoredHealth::NoRelay | StoredHealth::Unknown => Health::NoRelay,
                StoredHealth::RelayLost => Health::RelayLost,
                StoredHealth::Flooded => Health::Flooded,
            },
            load: ServerLoad {
                guilds: stored.guilds,
                participants: stored.participants,
                packets_in_per_s: stored.packets_in_per_s,
                packets_out_per_s: stored.packets_out_per_s,
                busiest_shard: stored.busiest_shard,
            },
            capacity: stored.capacity,
            version: stored.version,
            draining: stored.draining,
            cluster: stored.cluster,
            relay: stored.relay.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for health in [Health::Ok, Health::NoRelay, Health::RelayLost, Health::Flooded] {
            let record = ServerRecord {
                id: ServerId("eu-0".to_owned()),
                region: RegionId("eu".to_owned()),
                endpoint: "voice.example:8443".to_owned(),
                health,
                load: ServerLoad {
                    guilds: 1,
                    participants: 2,
                    packets_in_per_s: 3,
                    packets_out_per_s: 4,
                    busiest_shard: 0.5,
                },
                capacity: 100,
                version: "1.2".to_owned(),
                draining: true,
                cluster: Some("10.0.0.1:7000".to_owned()),
                relay: RelayStatus::default(),
            };
            let text = Stored::from(&record).text();
            assert_eq!(Stored::read(text.as_bytes()).map(ServerRecord::from), Some(record), "{text}");
        }
    }

    #[test]
    fn what_became_of_the_relay_is_read_as_it_was_written() {
        let failed = UpgradeOutcome::Failed("it ended".to_owned());
        for outcome in [UpgradeOutcome::Underway, UpgradeOutcome::Done, failed] {
            let relay = RelayStatus {
                version: "1.2".to_owned(),
                restarts: 3,
                last_end: Some("aborted".to_owned()),
                next_start_in_ms: Some(1_600),
                legs_left_out: 1,
                upgrade: Some(Upgrade { number: u64::MAX, outcome }),
            };
            let text = serde_json::to_string(&StoredRelay::from(&relay)).unwrap();
            assert_eq!(
                RelayStatus::from(serde_json::from_str::<StoredRelay>(&text).unwrap()),
                relay,
                "{text}"
            );
        }
    }

    #[test]
    fn other_versions_are_understood_as_far_as_can_be() {
        let least = br#"{"id":"a","region":"eu","endpoint":"a:1","capacity":5,"mood":"good"}"#;
        let record = ServerRecord::from(Stored::read(least).unwrap());
        assert!(record.is_eligible());
        let later = br#"{"id":"a","region":"eu","endpoint":"a:1","capacity":5,"health":"melting"}"#;
        assert!(!ServerRecord::from(Stored::read(later).unwrap()).is_eligible());
        for nonsense in ["", "{}", "[]", r#"{"id":1}"#, "\u{0}"] {
            assert_eq!(Stored::read(nonsense.as_bytes()), None, "{nonsense:?}");
        }
    }
}
