//! Records to register.

use cluster_wire::record::{Health, RelayStatus, ServerLoad, ServerRecord};
use model::{RegionId, ServerId};

pub fn id(name: &str) -> ServerId {
    ServerId(name.to_owned())
}

pub fn server(name: &str) -> ServerRecord {
    ServerRecord {
        id: id(name),
        region: RegionId("local".to_owned()),
        endpoint: format!("{name}.example:443"),
        health: Health::Ok,
        load: ServerLoad::default(),
        capacity: 100,
        version: "1".to_owned(),
        draining: false,
        cluster: None,
        relay: RelayStatus::default(),
    }
}

pub fn draining(name: &str) -> ServerRecord {
    ServerRecord { draining: true, ..server(name) }
}
