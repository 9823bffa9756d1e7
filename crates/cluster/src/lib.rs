//! What carries the roles' messages between processes: gRPC streams, to which both ends show that they have the cluster's key.
//!
//! Owns: the cluster's key and what comes from it, listening and dialling, which guilds node a call goes to, when a voice server counts as
//! dead. Deliberately does not: act on any message. Each role sees the channels of [`cluster_wire::link`], as it does within one process.
//!
//! See `docs/adr/0011-cluster.md`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dial;
mod key;
pub mod limits;
mod node;
mod router;
mod serve;
mod tls;
mod voice;

pub use key::{ClusterKey, KeyError};
pub use router::{Caller, route_calls};
pub use serve::{Listener, serve_guilds, serve_voice};
pub use voice::{VoiceNews, attend_voice_servers};

/// What tonic makes of `build.rs`.
#[allow(clippy::all, clippy::pedantic, missing_debug_implementations)]
mod services {
    pub mod guilds {
        include!(concat!(env!("OUT_DIR"), "/guildhall.Guilds.rs"));
    }
    pub mod voice {
        include!(concat!(env!("OUT_DIR"), "/guildhall.Voice.rs"));
    }
}
