//! The roles as processes of their own: the same services as in `up`, with gRPC between them, etcd as their registry, and one secret.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use ::gateway::{Gateway, GatewayConfig, GatewayHandle, SameOrigin};
use ::guilds::{Guilds, GuildsConfig, GuildsHandle};
use ::voice::{Voice, VoiceConfig, VoiceHandle};
use anyhow::{Context as _, bail};
use cluster::{Caller, ClusterKey, Listener, VoiceNews};
use cluster_wire::envelope::Hello;
use cluster_wire::link::{ORDERS_MAX, ReportSender};
use cluster_wire::record::{Health as ServerHealth, NodeRecord};
use cluster_wire::token::TokenKey;
use cluster_wire::voice::ToVoice;
use model::{RegionId, ServerId};
use operator::{ADDRESS_FILE, Api, OPERATOR_KEY_FILE};
use registry::Registry;
use serde_json::json;
use store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Place};
use crate::health::{self, Health};
use crate::up::{Stop, ca_file, gateway_config, ready_line, registry_at, web_url};
use crate::{demo, descriptors, files};

/// How long a voice server that ends waits until its calls are elsewhere. Because clients need a second or two, and some never go.
const LEAVE_PATIENCE: Duration = Duration::from_secs(15);
/// How long a gateway that ends waits until its clients are elsewhere.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

pub fn make_key(file: &Path) -> anyhow::Result<()> {
    ClusterKey::generate().write_new(file)?;
    eprintln!(
        "The cluster's key is in {file}. Copy it to every node, readable by its owner alone, and name it with --cluster-key.\n\
         Whoever has it can do everything.",
        file = file.display()
    );
    Ok(())
}

/// What every node of a cluster has.
struct Node {
    config: Config,
    key: ClusterKey,
    registry: Registry,
    stop: Stop,
}

impl Node {
    async fn new(mut config: Config) -> anyhow::Result<Self> {
        if config.registry == Place::Memory {
            bail!("configuration: registry: a cluster needs etcd://host:port[,host:port][/prefix]");
        }
        let Some(file) = &config.cluster_key else {
            bail!("configuration: cluster_key: a cluster needs one; `guildhall cluster-key FILE` makes it");
        };
        let key = ClusterKey::read(file)?;
        let folder = format!("data folder {}", config.data.display());
        std::fs::create_dir_all(&config.data).with_context(|| folder.clone())?;
        config.data = config.data.canonicalize().context(folder)?;
        let authority = config.data.join("ca-key.pem");
        if !authority.exists() {
            files::write_private(&authority, &key.authority_pem())?;
        }
        descriptors::raise_for_server();
        let stop = Stop::new()?;
        let registry = registry_at(&config.registry).await?;
        Ok(Self { config, key, registry, stop })
    }

    fn name(&self) -> anyhow::Result<String> {
        let name = self.config.name.clone().filter(|name| !name.is_empty());
        name.context("configuration: name: this node needs one that no other node of its role has")
    }

    fn token_key(&self) -> TokenKey {
        TokenKey::new(&self.key.derive("voice tokens"))
    }

    /// The cluster's port, and where others reach it.
    async fn listen(&self) -> anyhow::Result<(Listener, String)> {
        let address = self.config.cluster;
        let listener = Listener::bind(address).await.with_context(|| format!("cluster port at {address}"))?;
        let bound = listener.local_addr().context("cluster port")?;
        let announced = match &self.config.cluster_announce {
            Some(announced) => announced.clone(),
            None if bound.ip().is_unspecified() => {
                bail!(
                    "configuration: cluster_announce: a node that listens on every interface must say where others reach it"
                )
            }
            None => bound.to_string(),
        };
        Ok((listener, announced))
    }

    /// Returns when this node is to end.
    async fn serve(&mut self) {
        health::tell_systemd("READY=1");
        self.stop.asked().await;
        health::tell_systemd("STOPPING=1");
    }
}

fn say_ready(role: &str, name: &str, cluster: &str) {
    let pid = std::process::id();
    println!("{}", json!({ "ready": true, "role": role, "name": name, "cluster": cluster, "pid": pid }));
}

/// Runs beside what is served until that has ended as well.
fn beside(serving: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(serving)
}

pub async fn guilds(config: Config) -> anyhow::Result<()> {
    let metrics = health::record_metrics()?;
    let mut node = Node::new(config).await?;
    let name = node.name()?;
    if !node.config.has_database {
        bail!("configuration: database: guilds nodes share one, postgres://…, which must be named");
    }
    let store = Store::open(&node.config.database).await.context("database")?;
    let (listener, address) = node.listen().await?;
    let me = Hello::new(name.clone(), rand::random());
    let peers = cluster::route_calls(node.registry.clone(), &node.key, Caller::Node(me.clone()));
    let guilds_config = GuildsConfig {
        node: NodeRecord { name: name.clone(), address: address.clone() },
        operator_key: Some(node.key.operator_key()),
        registration: node.config.registration.into(),
        is_one_of_many: true,
        ..GuildsConfig::default()
    };
    let handle =
        Guilds::start(guilds_config, store, node.registry.clone(), Some(peers), node.token_key()).await;
    let handle = handle.with_context(|| format!("guilds node {name}"))?;
    let voices =
        cluster::attend_voice_servers(node.registry.clone(), &node.key, me.clone(), handle.reports());
    tokio::spawn(follow_voices(handle.clone(), voices));
    let served = handle.clone();
    let health = move || {
        let (registry, guilds) = (served.is_registered(), served.guilds_in_memory());
        (true, json!({ "status": "ok", "registry": registry, "guilds": guilds }))
    };
    if let Some(address) = node.config.metrics {
        health::serve(address, metrics, health).await?;
    }
    let stop = CancellationToken::new();
    let serving = beside({
        let (key, link, stop) = (node.key.clone(), handle.link(), stop.clone());
        async move { cluster::serve_guilds(listener, &key, me, link, stop).await }
    });
    say_ready("guilds", &name, &address);
    node.serve().await;
    // First nobody asks any more; then everything is given up at once, instead of when the lease ends.
    stop.cancel();
    handle.shutdown().await;
    let _ = tokio::time::timeout(DRAIN_PATIENCE, serving).await;
    Ok(())
}

async fn follow_voices(guilds: GuildsHandle, mut news: mpsc::Receiver<VoiceNews>) {
    while let Some(news) = news.recv().await {
        match news {
            VoiceNews::Up(server, link) => guilds.add_voice(server, link),
            VoiceNews::Again(server) => guilds.voice_reconnected(server),
            VoiceNews::Down(server) => guilds.remove_voice(&server),
        }
    }
}

pub async fn voice(config: Config) -> anyhow::Result<()> {
    let metrics = health::record_metrics()?;
    let mut node = Node::new(config).await?;
    let name = node.name()?;
    let (listener, address) = node.listen().await?;
    let config = &node.config;
    let voice_config = VoiceConfig {
        id: ServerId(name.clone()),
        region: RegionId(config.region.clone()),
        listen: config.voice,
        host: config.host.clone(),
        media_ip: config.media_ip,
        media: config.media,
        shards: config.shards,
        capacity: config.capacity,
        modes: config.modes.clone(),
        relay_arguments: config.relay_arguments(),
        certificate: config.voice_tls.clone(),
        data: config.data.clone(),
        cluster: Some(address.clone()),
        ..VoiceConfig::default()
    };
    let (orders, incoming) = mpsc::channel(ORDERS_MAX);
    let (reports, reported): (ReportSender, _) = mpsc::channel(ORDERS_MAX);
    let handle = Voice::start(voice_config, node.registry.clone(), node.token_key(), incoming, reports).await;
    let handle = handle.with_context(|| format!("voice server {name}"))?;
    let stop = CancellationToken::new();
    let serving = beside({
        let (key, orders, stop) = (node.key.clone(), orders.clone(), stop.clone());
        let me = Hello::new(name.clone(), rand::random());
        async move { cluster::serve_voice(listener, &key, me, orders, reported, stop).await }
    });
    if let Some(address) = node.config.metrics {
        health::serve(address, metrics, voice_health(&handle)).await?;
    }
    handle.ready().await;
    say_ready("voice", &name, &address);
    node.serve().await;
    leave(&handle, &orders, &mut node.stop).await;
    handle.shutdown().await;
    stop.cancel();
    let _ = tokio::time::timeout(DRAIN_PATIENCE, serving).await;
    Ok(())
}

fn voice_health(handle: &VoiceHandle) -> impl Fn() -> Health + Clone + Send + Sync + 'static {
    let record = handle.records();
    move || {
        let record = record();
        let status = match record.health {
            ServerHealth::Ok if record.draining => "draining",
            ServerHealth::Ok => "ok",
            ServerHealth::Flooded => "flooded",
            ServerHealth::NoRelay => "relay starts",
            ServerHealth::RelayLost => "no relay",
        };
        let does_its_work = !matches!(status, "draining" | "no relay");
        (does_its_work, json!({ "status": status, "participants": record.load.participants }))
    }
}

/// Calls move to other voice servers before this one ends; asked twice, it does not wait for them.
async fn leave(handle: &VoiceHandle, orders: &mpsc::Sender<ToVoice>, stop: &mut Stop) {
    // Without a hub there is nobody to be moved.
    let _ = orders.send(ToVoice::SetDraining(true)).await;
    tokio::select! {
        () = handle.empty() => {}
        () = tokio::time::sleep(LEAVE_PATIENCE) => tracing::warn!("some calls have nowhere to go and are cut off"),
        () = stop.asked() => {}
    }
}

pub async fn gateway(config: Config) -> anyhow::Result<()> {
    let mut node = Node::new(config).await?;
    let metrics = health::record_metrics()?;
    let config = &node.config;
    let name = config.name.clone().unwrap_or_else(|| config.http.to_string());
    let gateway_config = gateway_config(config, metrics, same_origin(config)?)?;
    let gateway_config = GatewayConfig { is_one_of_many: true, ..gateway_config };
    let me = Hello::new(name, gateway_config.gateway.0);
    let link = cluster::route_calls(node.registry.clone(), &node.key, Caller::Gateway(me));
    let events = link.clone().listen(gateway_config.gateway).await.context("guilds")?;
    let handle = Gateway::start(gateway_config, link, events).await;
    let handle = handle.with_context(|| format!("gateway at {}", config.http))?;
    // For the operator's commands on this machine.
    let http = web_url(config, handle.local_addr());
    let ready = ready_line(config, &http);
    files::write_private(&config.data.join(OPERATOR_KEY_FILE), &format!("{}\n", node.key.operator_key()))?;
    files::write_private(&config.data.join(ADDRESS_FILE), &format!("{ready}\n"))?;
    if config.demo > 0 {
        let api = Api::new(&http, &node.key.operator_key()).trusting(&ca_file(config))?;
        demo::make(&api, &config.data, config.demo).await.context("demonstration")?;
    }
    println!("{ready}");
    node.serve().await;
    drain(&handle, &mut node.stop).await;
    handle.shutdown().await;
    // The address is no longer true.
    let _ = std::fs::remove_file(node.config.data.join(ADDRESS_FILE));
    Ok(())
}

/// Clients are asked to go on at another gateway; asked twice, this one does not wait for them.
async fn drain(handle: &GatewayHandle, stop: &mut Stop) {
    handle.drain().await;
    tokio::select! {
        () = tokio::time::sleep(DRAIN_PATIENCE) => {}
        () = stop.asked() => {}
    }
}

/// Pages reach voice servers through the gateway, unless browsers trust the certificates that the operator gave.
fn same_origin(config: &Config) -> anyhow::Result<Option<SameOrigin>> {
    if config.voice_tls.is_some() {
        return Ok(None);
    }
    // It makes the authority, which it shares with every node.
    ::voice::tls_config(None, &config.data, "gateway", &config.host).context("authority")?;
    Ok(Some(SameOrigin { ca: ca_file(config), at: std::collections::HashMap::new() }))
}
