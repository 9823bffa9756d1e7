//! `guildhall up`: every role on one machine, wired through the same interfaces as a cluster's.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use cluster_wire::link::ORDERS_MAX;
use cluster_wire::token::TokenKey;
use gateway::{Gateway, GatewayConfig, GatewayHandle, SameOrigin};
use guilds::{Guilds, GuildsConfig, GuildsHandle};
use metrics_exporter_prometheus::PrometheusHandle;
use model::{RegionId, ServerId};
use operator::{ADDRESS_FILE, Api, OPERATOR_KEY_FILE};
use registry::{EtcdTls, Registry};
use serde_json::json;
use store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use voice::{Voice, VoiceConfig, VoiceHandle};

use crate::config::{Config, HttpCertificate, Place, RegistryFiles};
use crate::{demo, descriptors, files, health};

/// Everything that runs, in the order in which it is stopped.
struct Running {
    gateway: GatewayHandle,
    voices: Vec<VoiceHandle>,
    guilds: GuildsHandle,
}

pub async fn run(mut config: Config) -> anyhow::Result<()> {
    let folder = format!("data folder {}", config.data.display());
    std::fs::create_dir_all(&config.data).with_context(|| folder.clone())?;
    // Clients are told of files in it, and they stand elsewhere.
    config.data = config.data.canonicalize().context(folder)?;
    descriptors::raise_for_server();
    let metrics = health::record_metrics()?;
    let mut stop = Stop::new()?;

    let operator_key = operator_key(&config.data)?;
    let running = start(&config, &operator_key, metrics).await?;
    let http = web_url(&config, running.gateway.local_addr());
    let api = Api::new(&http, &operator_key).trusting(&ca_file(&config))?;
    let ready = ready_line(&config, &http);
    files::write_private(&config.data.join(ADDRESS_FILE), &format!("{ready}\n"))?;
    if config.demo > 0 {
        demo::make(&api, &config.data, config.demo).await.context("demonstration")?;
    }
    println!("{ready}");
    // A log that cannot be written is no reason to end.
    let _ = write!(std::io::stderr(), "{}", crate::welcome::text(&config, &http));

    health::tell_systemd("READY=1");
    stop.asked().await;
    health::tell_systemd("STOPPING=1");
    running.stop().await;
    // The address is no longer true.
    let _ = std::fs::remove_file(config.data.join(ADDRESS_FILE));
    Ok(())
}

/// Being asked to stop, by the system or at the terminal.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub fn new() -> anyhow::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        Ok(Self { terminate: terminate.context("signals")?, interrupt: interrupt.context("signals")? })
    }

    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("stopping");
    }
}

async fn start(config: &Config, operator_key: &str, metrics: PrometheusHandle) -> anyhow::Result<Running> {
    let store = Store::open(&config.database).await.context("database")?;
    let secret = store.meta_put_if_absent("cluster_secret", &random_hex()).await.context("database")?;
    let token_key = TokenKey::new(secret.as_bytes());
    let registry = registry_at(&config.registry).await?;
    let guilds_config = GuildsConfig {
        operator_key: Some(operator_key.to_owned()),
        registration: config.registration.into(),
        ..GuildsConfig::default()
    };
    let guilds = Guilds::start(guilds_config, store, registry.clone(), None, token_key.clone())
        .await
        .context("guilds")?;
    let mut voices = Vec::new();
    for n in 0..config.voice_servers {
        voices.push(
            voice_server(config, n, &registry, &token_key, &guilds)
                .await
                .with_context(|| format!("voice server {n}"))?,
        );
    }
    let gateway_config = gateway_config(config, metrics, same_origin(config, &voices))?;
    let events = guilds.link().listen(gateway_config.gateway).await.context("guilds")?;
    let gateway = Gateway::start(gateway_config, guilds.link(), events)
        .await
        .with_context(|| format!("gateway at {}", config.http))?;
    Ok(Running { gateway, voices, guilds })
}

pub(crate) fn gateway_config(
    config: &Config,
    metrics: PrometheusHandle,
    voice: Option<SameOrigin>,
) -> anyhow::Result<GatewayConfig> {
    Ok(GatewayConfig {
        http: config.http,
        tls: http_tls(config)?,
        trusted_proxies: config.trusted_proxies.clone(),
        public_url: config.public_url.clone(),
        metrics: Some(Arc::new(move || metrics.render())),
        voice,
        ..GatewayConfig::default()
    })
}

pub(crate) async fn registry_at(place: &Place) -> anyhow::Result<Registry> {
    match place {
        Place::Memory => Ok(Registry::memory(registry::DEFAULT_TTL)),
        Place::Etcd { endpoints, prefix, tls } => {
            let tls = tls.as_ref().map(etcd_tls).transpose()?;
            Registry::etcd(endpoints, prefix, registry::DEFAULT_TTL, tls)
                .await
                .with_context(|| format!("registry at {}", endpoints.join(", ")))
        }
    }
}

fn etcd_tls(files: &RegistryFiles) -> anyhow::Result<EtcdTls> {
    let read = |file: &Path| std::fs::read(file).with_context(|| format!("registry: {}", file.display()));
    let own = files.own.as_ref().map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?)));
    Ok(EtcdTls { ca: read(&files.ca)?, identity: own.transpose()? })
}

async fn voice_server(
    config: &Config,
    n: u16,
    registry: &Registry,
    token_key: &TokenKey,
    guilds: &GuildsHandle,
) -> anyhow::Result<VoiceHandle> {
    let id = ServerId(format!("{}-{n}", config.region));
    let voice_config = VoiceConfig {
        id: id.clone(),
        region: RegionId(config.region.clone()),
        listen: further(config.voice, n),
        host: config.host.clone(),
        media_ip: config.media_ip,
        media: further(config.media, n * config.shards),
        shards: config.shards,
        capacity: config.capacity,
        modes: config.modes.clone(),
        relay_arguments: config.relay_arguments(),
        certificate: config.voice_tls.clone(),
        data: config.data.clone(),
        ..VoiceConfig::default()
    };
    let (orders, incoming) = mpsc::channel(ORDERS_MAX);
    let handle =
        Voice::start(voice_config, registry.clone(), token_key.clone(), incoming, guilds.reports()).await?;
    guilds.add_voice(id, cluster_wire::link::VoiceLink::new(orders));
    Ok(handle)
}

impl Running {
    async fn stop(self) {
        self.gateway.drain().await;
        for voice in self.voices {
            voice.shutdown().await;
        }
        self.gateway.shutdown().await;
        self.guilds.shutdown().await;
    }
}

/// Pages reach voice servers through the gateway, unless browsers trust the certificates that the operator gave.
fn same_origin(config: &Config, voices: &[VoiceHandle]) -> Option<SameOrigin> {
    if config.voice_tls.is_some() {
        return None;
    }
    let at = voices.iter().filter_map(|voice| {
        let port = voice.endpoint().rsplit_once(':')?.1.parse().ok()?;
        Some((voice.endpoint().to_owned(), reachable(SocketAddr::new(config.voice.ip(), port))))
    });
    Some(SameOrigin { ca: ca_file(config), at: at.collect() })
}

fn http_tls(config: &Config) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    let files = match &config.http_tls {
        None => return Ok(None),
        Some(HttpCertificate::Own) => None,
        Some(HttpCertificate::Files(files)) => Some(files),
    };
    voice::tls_config(files, &config.data, "http", &config.host).map(Some).context("TLS of the gateway")
}

pub(crate) fn ca_file(config: &Config) -> PathBuf {
    config.data.join("ca.pem")
}

/// Where the gateway is found from this machine. A certificate of the operator's is for the name that clients use; our own is
/// also for this machine's address on itself.
pub(crate) fn web_url(config: &Config, bound: SocketAddr) -> String {
    let here = reachable(bound);
    match &config.http_tls {
        None => format!("http://{here}"),
        Some(HttpCertificate::Own) if here.ip() == Ipv4Addr::LOCALHOST => format!("https://{here}"),
        Some(_) => format!("https://{}:{}", config.host, bound.port()),
    }
}

pub(crate) fn ready_line(config: &Config, http: &str) -> serde_json::Value {
    json!({
        "ready": true,
        "http": http,
        // http becomes ws, and https wss.
        "gateway": http.replacen("http", "ws", 1),
        "web": format!("{http}/"),
        "ca": ca_file(config),
        "pid": std::process::id(),
    })
}

/// A wildcard is where we listen, not where we can be reached from this machine.
fn reachable(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], bound.port())) } else { bound }
}

/// The n-th port after this one; port 0 stays "any".
fn further(first: SocketAddr, n: u16) -> SocketAddr {
    SocketAddr::new(first.ip(), if first.port() == 0 { 0 } else { first.port() + n })
}

/// Made at the first start.
fn operator_key(data: &Path) -> anyhow::Result<String> {
    let file = data.join(OPERATOR_KEY_FILE);
    if !file.exists() {
        files::write_private(&file, &format!("{}\n", random_hex()))?;
    }
    operator::operator_key(data)
}

fn random_hex() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}
