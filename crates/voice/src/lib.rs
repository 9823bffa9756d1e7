//! The voice server: TLS WebSockets around [`voice_core`], the media relay's process, and a record in the registry.
//!
//! Owns: the voice listener and its certificates, the media sockets and what outlives the relay process, that process and its restarts, this server's record.
//! Deliberately does not: decide anything about sessions or rooms (the core does), touch media (the relay does), know permissions.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod certificates;
mod connection;
mod door;
mod dtls;
mod flood;
mod gate;
mod hub;
mod ice_tcp;
mod leftover;
pub mod limits;
mod link;
mod measure;
mod memories;
mod process;
mod relay;
mod reports;
mod shards;
mod tls;

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use client_wire::voice::MODES;
use cluster_wire::link::ReportSender;
use cluster_wire::record::{Health, RelayStatus, ServerLoad, ServerRecord};
use cluster_wire::token::TokenKey;
use cluster_wire::voice::ToVoice;
use model::{RegionId, ServerId};
use registry::{Registration, Registry, RegistryError};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use voice_core::VoiceCore;

use crate::door::Door;
use crate::hub::{Hub, Input, Ways};
use crate::ice_tcp::Carriers;
use crate::leftover::Leftover;
use crate::limits::{
    DTLS_ORDERS_MAX, INPUTS_MAX, MEDIA_RECEIVE_BYTES, MEDIA_SEND_BYTES, PORTS_FREE_WITHIN, PUBLISH_INTERVAL,
    SHUTDOWN_TIMEOUT, WISHES_MAX,
};
use crate::memories::Memories;
use crate::relay::Relay;

#[derive(Debug, Clone)]
pub struct VoiceConfig {
    pub id: ServerId,
    pub region: RegionId,
    /// Where the voice WebSocket listens, with TLS. Port 0 takes any.
    pub listen: SocketAddr,
    /// The name or address by which clients reach the voice WebSocket.
    pub host: String,
    /// The address to which clients send media.
    pub media_ip: Ipv4Addr,
    /// Where media is received: the first shard's port, further shards on the ports after it. Port 0 takes any.
    pub media: SocketAddr,
    pub shards: u16,
    /// The encryption modes on offer; all if not given. Offered in the protocol's order, whatever the order here.
    pub modes: Option<Vec<String>>,
    /// The PEM files of the TLS certificate's chain and key; made under `data` if not given.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where certificates are made and kept; clients trust `ca.pem` in it.
    pub data: PathBuf,
    /// Participants this server is willing to hold.
    pub capacity: u32,
    /// The relay's program and first arguments; this program's own `sfu` if not given.
    pub relay: Option<Vec<OsString>>,
    /// Further arguments, which every program that becomes the relay is given.
    pub relay_arguments: Vec<OsString>,
    /// `host:port` where guilds nodes reach this server; None where guilds is in this process.
    pub cluster: Option<String>,
}

impl Default for VoiceConfig {
    fn default() -> Self {
        Self {
            id: ServerId("voice-0".to_owned()),
            region: RegionId("local".to_owned()),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: "127.0.0.1".to_owned(),
            media_ip: Ipv4Addr::LOCALHOST,
            media: SocketAddr::from(([127, 0, 0, 1], 0)),
            shards: 1,
            modes: None,
            certificate: None,
            data: PathBuf::from("."),
            capacity: 10_000,
            relay: None,
            relay_arguments: Vec::new(),
            cluster: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    #[error("modes: {0:?} is no encryption mode; there are {all}", all = MODES.join(", "))]
    UnknownMode(String),
    #[error("modes: at least one encryption mode must be on offer")]
    NoModes,
    #[error("shards: a voice server has at least one")]
    NoShards,
    #[error("certificate {path}: {error}", path = .path.display())]
    Certificate { path: PathBuf, error: String },
    #[error("{what} cannot be bound to {address}: {error}")]
    Bind { what: &'static str, address: SocketAddr, error: io::Error },
    #[error("the media relay {program:?} cannot be started: {error}")]
    Relay { program: OsString, error: io::Error },
    #[error("memory for the media relay cannot be made: {0}")]
    Memory(io::Error),
    #[error("a certificate for media cannot be made: {0}")]
    Identity(#[from] rcgen::Error),
    #[error("the registry refuses this server: {0}")]
    Registry(#[from] RegistryError),
}

/// A voice server, to be started.
pub struct Voice;

/// A running voice server. Dropping it ends it, less politely than [`VoiceHandle::shutdown`].
#[derive(Debug)]
pub struct VoiceHandle {
    id: ServerId,
    endpoint: String,
    ca: PathBuf,
    inputs: mpsc::Sender<Input>,
    pid: watch::Receiver<Option<u32>>,
    health: watch::Receiver<ServerRecord>,
    connections: TaskTracker,
    publishing: JoinHandle<()>,
    hub: JoinHandle<()>,
    relay: JoinHandle<()>,
    stop: CancellationToken,
    stop_relay: CancellationToken,
}

impl Voice {
    /// Starts a voice server. Everything that can be wrong with the configuration is said here, before anything is served.
    pub async fn start(
        config: VoiceConfig,
        registry: Registry,
        token_key: TokenKey,
        orders: mpsc::Receiver<ToVoice>,
        reports: ReportSender,
    ) -> Result<VoiceHandle, VoiceError> {
        let modes = offered_modes(config.modes.as_deref())?;
        if config.shards == 0 {
            return Err(VoiceError::NoShards);
        }
        let tls = tls_config(config.certificate.as_ref(), &config.data, &config.id.0, &config.host)?;
        let bind = |error| VoiceError::Bind { what: "the voice WebSocket", address: config.listen, error };
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let listens = listener.local_addr().map_err(bind)?;
        let leftover = Leftover::of(&config.data, &config.id.0);
        let sockets = bind_media_after(&leftover, config.media, config.shards).await?;
        let shards = reachable(&sockets).map_err(|error| VoiceError::Bind {
            what: "media",
            address: config.media,
            error,
        })?;

        let memories = Memories::new(sockets.len()).map_err(VoiceError::Memory)?;
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let (pid, pid_watch) = watch::channel(None);
        let (stop, stop_relay) = (CancellationToken::new(), CancellationToken::new());
        let (hung, hung_watch) = watch::channel(None);
        let (wishes, wished) = mpsc::channel(WISHES_MAX);
        let endpoint = format!("{}:{}", config.host, listens.port());
        let (record, records) = watch::channel(first_record(&config, &endpoint));
        let relay = Relay {
            command: relay_command(config.relay.clone(), &config.relay_arguments)?,
            arguments: config.relay_arguments.clone(),
            sockets,
            memories,
            inputs: inputs.clone(),
            pid,
            hung: hung_watch,
            record: record.clone(),
            stop: stop_relay.clone(),
        };
        let first =
            relay.spawn().map_err(|error| VoiceError::Relay { program: relay.command[0].clone(), error })?;

        let registration = register(&config, &registry, &record.borrow().clone()).await?;
        let identity = dtls::Identity::generate()?;
        let core_config = voice_core::Config {
            server: config.id.clone(),
            token_key,
            media_ip: config.media_ip,
            media_ports: shards.iter().map(SocketAddr::port).collect(),
            ice_tcp_port: is_reached_at(listens.ip(), config.media_ip).then(|| listens.port()),
            modes,
            fingerprint: identity.fingerprint,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let core = VoiceCore::new(core_config, Box::new(hub::fill_random));
        let (dtls, dtls_orders) = mpsc::channel(DTLS_ORDERS_MAX);
        tokio::spawn(dtls::Engines::new(identity).run(dtls_orders, inputs.clone()));
        let ways = Ways { reports, record, hung, wishes, dtls };
        let hub = Hub::new(core, usize::from(config.shards), received, orders, ways);

        let connections = TaskTracker::new();
        let carriers = Carriers::new(inputs.clone(), shards, stop.clone());
        let ways = Arc::new(door::Ways { tls, hub: inputs.clone(), carriers });
        let door = Door { listener, connections: connections.clone(), stop: stop.clone(), ways };
        tokio::spawn(door.serve());
        let publishing = tokio::spawn(publish(registry, registration, records.clone(), stop.clone()));
        let relay = tokio::spawn(relay.run(first, wished));
        tokio::spawn(leftover.keep(pid_watch.clone()));
        let hub = tokio::spawn(hub.run());
        tracing::info!(id = %config.id, %endpoint, shards = config.shards, "the voice server is up");
        Ok(VoiceHandle {
            id: config.id,
            endpoint,
            ca: config.data.join("ca.pem"),
            inputs,
            pid: pid_watch,
            health: records,
            connections,
            publishing,
            hub,
            relay,
            stop,
            stop_relay,
        })
    }
}

/// TLS with the given PEM files of a chain and its key, or with a certificate of the authority in `data`: for this voice server
/// and for whatever else on this machine is reached by `host`.
pub fn tls_config(
    certificate: Option<&(PathBuf, PathBuf)>,
    data: &Path,
    name: &str,
    host: &str,
) -> Result<Arc<ServerConfig>, VoiceError> {
    let files = match certificate {
        Some((chain, key)) => certificates::Files { chain: chain.clone(), key: key.clone() },
        None => certificates::ensure(data, name, host, SystemTime::now())?,
    };
    certificates::server_config(&files)
}

impl VoiceHandle {
    pub fn id(&self) -> &ServerId {
        &self.id
    }

    /// `host:port` of the voice WebSocket, as clients are told.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What clients must trust where the certificate is our own.
    pub fn ca(&self) -> &std::path::Path {
        &self.ca
    }

    /// The relay processes that run now.
    pub fn sfu_pids(&self) -> Vec<u32> {
        self.pid.borrow().iter().copied().collect()
    }

    /// Waits for a relay process other than this one.
    pub async fn sfu_after(&self, before: u32) -> Option<u32> {
        let mut pid = self.pid.clone();
        let next = pid.wait_for(|pid| pid.is_some_and(|pid| pid != before)).await;
        next.ok().and_then(|pid| *pid)
    }

    /// What this server says of itself now.
    pub fn record(&self) -> ServerRecord {
        self.health.borrow().clone()
    }

    /// The same, for whoever asks again and again.
    pub fn records(&self) -> impl Fn() -> ServerRecord + Clone + Send + Sync + 'static {
        let health = self.health.clone();
        move || health.borrow().clone()
    }

    /// Waits until what it says of itself is so.
    pub async fn record_when(&self, is_so: impl FnMut(&ServerRecord) -> bool) -> Option<ServerRecord> {
        let mut records = self.health.clone();
        records.wait_for(is_so).await.ok().map(|record| record.clone())
    }

    /// Waits until every shard of the relay runs.
    pub async fn ready(&self) {
        // The sender lives as long as the hub; without it there is nothing to wait for.
        let _ = self.record_when(|record| record.health == Health::Ok).await;
    }

    /// Waits until nobody is in voice here.
    pub async fn empty(&self) {
        let mut record = self.health.clone();
        // The sender lives as long as the hub; without it nobody is here.
        let _ = record.wait_for(|record| record.load.participants == 0).await;
    }

    /// Asks every client to come back elsewhere, then ends the relay.
    pub async fn shutdown(mut self) {
        let end = async {
            self.stop.cancel();
            let _ = self.inputs.send(Input::Shutdown).await;
            let _ = (&mut self.hub).await;
            let _ = (&mut self.publishing).await;
            self.connections.close();
            self.connections.wait().await;
            self.stop_relay.cancel();
            let _ = (&mut self.relay).await;
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, end).await.is_err() {
            tracing::warn!(id = %self.id, "the voice server did not end in time and is cut off");
        }
    }
}

impl Drop for VoiceHandle {
    fn drop(&mut self) {
        self.stop.cancel();
        self.stop_relay.cancel();
        self.hub.abort();
    }
}

/// In a cluster a server of this name that has just died, at another address, keeps the name until its lease ends.
async fn register(
    config: &VoiceConfig,
    registry: &Registry,
    record: &ServerRecord,
) -> Result<Registration, RegistryError> {
    let until = Instant::now() + registry::DEFAULT_TTL + PUBLISH_INTERVAL;
    loop {
        match registry.publish(record.clone()).await {
            Err(RegistryError::IdInUse(_)) if config.cluster.is_some() && Instant::now() < until => {
                tracing::info!(id = %record.id, "waiting for the lease of the last server of this name to end");
                tokio::time::sleep(PUBLISH_INTERVAL).await;
            }
            outcome => return outcome,
        }
    }
}

/// In the protocol's order: clients take the first mode they know.
fn offered_modes(wanted: Option<&[String]>) -> Result<Vec<String>, VoiceError> {
    let Some(wanted) = wanted else { return Ok(MODES.map(str::to_owned).to_vec()) };
    if let Some(unknown) = wanted.iter().find(|mode| !MODES.contains(&mode.as_str())) {
        return Err(VoiceError::UnknownMode(unknown.clone()));
    }
    let modes: Vec<String> =
        MODES.iter().filter(|mode| wanted.iter().any(|w| w == *mode)).map(ToString::to_string).collect();
    if modes.is_empty() { Err(VoiceError::NoModes) } else { Ok(modes) }
}

/// Of a server that was killed the relay may hold the ports.
async fn bind_media_after(
    leftover: &Leftover,
    first: SocketAddr,
    shards: u16,
) -> Result<Vec<UdpSocket>, VoiceError> {
    let is_taken = |error: &VoiceError| matches!(error, VoiceError::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse);
    let bound = bind_media(first, shards);
    if !bound.as_ref().is_err_and(is_taken) || !leftover.end() {
        return bound;
    }
    let until = Instant::now() + PORTS_FREE_WITHIN;
    loop {
        match bind_media(first, shards) {
            Err(error) if is_taken(&error) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

fn bind_media(first: SocketAddr, shards: u16) -> Result<Vec<UdpSocket>, VoiceError> {
    (0..shards)
        .map(|shard| {
            let port = if first.port() == 0 { 0 } else { first.port().saturating_add(shard) };
            let address = SocketAddr::new(first.ip(), port);
            let error = |error| VoiceError::Bind { what: "media", address, error };
            let socket = udp_io::bind(address).map_err(error)?;
            udp_io::set_buffers(&socket, MEDIA_RECEIVE_BYTES, MEDIA_SEND_BYTES).map_err(error)?;
            Ok(socket)
        })
        .collect()
}

fn relay_command(given: Option<Vec<OsString>>, arguments: &[OsString]) -> Result<Vec<OsString>, VoiceError> {
    if let Some(command) = given.filter(|command| !command.is_empty()) {
        return Ok([&command, arguments].concat());
    }
    let program =
        std::env::current_exe().map_err(|error| VoiceError::Relay { program: "sfu".into(), error })?;
    Ok(relay::command_of(program.into(), arguments))
}

fn first_record(config: &VoiceConfig, endpoint: &str) -> ServerRecord {
    ServerRecord {
        id: config.id.clone(),
        region: config.region.clone(),
        endpoint: endpoint.to_owned(),
        health: Health::NoRelay,
        load: ServerLoad::default(),
        capacity: config.capacity,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: false,
        cluster: config.cluster.clone(),
        relay: RelayStatus::default(),
    }
}

/// Where the relay's sockets are reached from this machine.
fn reachable(media: &[UdpSocket]) -> io::Result<Vec<SocketAddr>> {
    let here = |address: SocketAddr| {
        let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
        SocketAddr::new(ip, address.port())
    };
    media.iter().map(|socket| socket.local_addr().map(here)).collect()
}

/// Whether who sends media to `media_ip` reaches the voice port at that address as well.
fn is_reached_at(listen: IpAddr, media_ip: Ipv4Addr) -> bool {
    match listen {
        IpAddr::V4(listen) => !listen.is_loopback() || media_ip.is_loopback(),
        IpAddr::V6(listen) => listen.is_unspecified(),
    }
}

/// Keeps this server's record in the registry true and alive.
async fn publish(
    registry: Registry,
    registration: Registration,
    mut records: watch::Receiver<ServerRecord>,
    stop: CancellationToken,
) {
    let mut registration = Some(registration);
    loop {
        tokio::select! {
            changed = records.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PUBLISH_INTERVAL) => {}
            () = stop.cancelled() => {
                if let Some(registration) = registration
                    && let Err(error) = registration.leave().await
                {
                    tracing::warn!(%error, "the registry could not be told that this server ends");
                }
                return;
            }
        }
        let record = records.borrow_and_update().clone();
        let outcome = match &mut registration {
            Some(registration) => registration.update(record).await,
            None => registry.publish(record).await.map(|made| registration = Some(made)),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the registry was not told of this server");
            // A registry that cannot be reached may still know us, and will be told when it can be.
            if !matches!(error, RegistryError::Unavailable(_)) {
                registration = None;
            }
            // It is tried again at the next interval, not in a tight loop.
            tokio::time::sleep(PUBLISH_INTERVAL).await;
        }
    }
}
