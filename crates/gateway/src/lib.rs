//! The gateway's shell: WebSockets, REST, and the loop around [`gateway_core::Node`].
//!
//! Owns: the listening socket, one task a WebSocket, compression, REST routes and their rate limits,
//! the web client's files, the way of pages to voice servers.
//! Deliberately does not: decide who is told what (`gateway_core`), or what anything means (guilds).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod compress;
mod http;
mod limits;
mod node;
mod observe;
mod peer;
mod port;
mod rest;
mod site;
mod socket;
mod upgrade;
mod voice;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_wire::guilds::GatewayId;
use cluster_wire::link::{EventReceiver, GuildsLink};
use rustls::ServerConfig;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::limits::Quota;
use crate::limits::{INPUTS_MAX, SHUTDOWN_PATIENCE, SOCKETS_MAX, SUSPECTS_AT_ONCE};
use crate::node::Input;
pub use crate::peer::{Network, NotANetwork};
use crate::port::Port;
pub use crate::voice::SameOrigin;
use crate::voice::VoiceDoor;

/// Renders the process's metrics as Prometheus text.
pub type MetricsPage = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
pub struct GatewayConfig {
    /// Where to listen. Port 0 chooses one.
    pub http: SocketAddr,
    /// Serve HTTP and WebSockets over TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Peers that are believed when they say for whom they speak (X-Forwarded-For, X-Forwarded-Proto).
    pub trusted_proxies: Vec<Network>,
    /// What clients are told to connect to: `ws://` or `wss://`, host and port, nothing more. None tells each
    /// client the host that it has itself asked for.
    pub public_url: Option<String>,
    pub heartbeat_interval: Duration,
    /// How long a session waits for a lost client to resume.
    pub session_keep: Duration,
    /// Registrations and logins from one address.
    pub sign_ins: Quota,
    /// Served at /metrics; None serves none.
    pub metrics: Option<MetricsPage>,
    /// How pages reach the voice WebSocket through this gateway. None: browsers trust the voice servers' certificates,
    /// and pages go there directly.
    pub voice: Option<SameOrigin>,
    /// Who this is, for guilds: another one in each life.
    pub gateway: GatewayId,
    /// There are other gateways, at which this one's sessions can go on.
    pub is_one_of_many: bool,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            http: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            trusted_proxies: Vec::new(),
            public_url: None,
            heartbeat_interval: gateway_core::limits::HEARTBEAT_INTERVAL,
            session_keep: gateway_core::limits::SESSION_KEEP,
            sign_ins: limits::SIGN_INS,
            metrics: None,
            voice: None,
            gateway: GatewayId(rand::random()),
            is_one_of_many: false,
        }
    }
}

/// What every request and every socket can reach.
struct App {
    config: GatewayConfig,
    guilds: GuildsLink,
    inputs: mpsc::Sender<Input>,
    quotas: rest::Quotas,
    suspects: Semaphore,
    voice: Option<Arc<VoiceDoor>>,
    sockets: Arc<Semaphore>,
    tasks: TaskTracker,
    draining: AtomicBool,
}

pub struct Gateway;

impl Gateway {
    /// Binds, and serves until [`GatewayHandle::shutdown`].
    pub async fn start(
        config: GatewayConfig,
        guilds: GuildsLink,
        events: EventReceiver,
    ) -> io::Result<GatewayHandle> {
        observe::describe();
        let stop = CancellationToken::new();
        let door = |voice| VoiceDoor::new(voice, stop.clone()).map(Arc::new);
        let voice = config.voice.clone().map(door).transpose()?;
        let port = Port::bind(config.http, config.tls.clone()).await?;
        let local_addr = axum::serve::Listener::local_addr(&port)?;
        let (inputs, node_inputs) = mpsc::channel(INPUTS_MAX);
        let app = Arc::new(App {
            guilds: guilds.clone(),
            inputs,
            quotas: rest::Quotas::default(),
            suspects: Semaphore::new(SUSPECTS_AT_ONCE),
            voice: voice.clone(),
            sockets: Arc::new(Semaphore::new(SOCKETS_MAX)),
            tasks: TaskTracker::new(),
            draining: AtomicBool::new(false),
            config,
        });
        let node = tokio::spawn(node::run(app.config.clone(), node_inputs, events, guilds, voice));
        let server = tokio::spawn(http::serve(port, app.clone(), stop.clone()));
        tracing::info!(%local_addr, "gateway is listening");
        Ok(GatewayHandle { local_addr, app, node, server, stop })
    }
}

/// A running gateway.
pub struct GatewayHandle {
    local_addr: SocketAddr,
    app: Arc<App>,
    node: JoinHandle<()>,
    server: JoinHandle<()>,
    stop: CancellationToken,
}

impl GatewayHandle {
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Sends clients away, a few at a time, and lets none in. What is here goes on until [`Self::shutdown`].
    pub async fn drain(&self) {
        self.app.draining.store(true, Ordering::Relaxed);
        // The node ends only in shutdown, after which there is nothing left to drain.
        let _ = self.app.inputs.send(Input::Drain).await;
    }

    /// Ends every session, tells guilds and clients so, and stops.
    pub async fn shutdown(mut self) {
        self.app.draining.store(true, Ordering::Relaxed);
        self.stop.cancel();
        let _ = self.app.inputs.send(Input::Shutdown).await;
        let all = async {
            let _ = (&mut self.node).await;
            self.app.tasks.close();
            self.app.tasks.wait().await;
            let _ = (&mut self.server).await;
        };
        if tokio::time::timeout(SHUTDOWN_PATIENCE, all).await.is_err() {
            tracing::warn!("some clients did not take note of the shutdown in time");
            self.node.abort();
            self.server.abort();
        }
    }
}
