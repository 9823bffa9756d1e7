//! Configuration of `guildhall up`: defaults, then a TOML file, then the environment, then the command line.
//!
//! It is read whole before anything is bound; a wrong key or value is refused, naming it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

/// Variables with our prefix that belong to the client commands, not to the server's configuration.
const CLIENT_VARIABLES: &[&str] = &["server", "token", "guild", "channel", "ca", "password", "log", "config"];

/// Participants of a voice server. Because a core carries more, and whoever knows the machine says otherwise.
const CAPACITY_DEFAULT: u32 = 10_000;

/// What may be said on the command line, in the environment (`GUILDHALL_HTTP`, …) and in the file (`http = …`).
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where everything is kept: database, keys, certificates.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Address of the gateway and REST interface (default 127.0.0.1:8090).
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// `self`: gateway, REST and web client over TLS, with a certificate of the server's own authority.
    #[arg(long, value_enum, value_name = "self", conflicts_with = "http_tls_cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_tls: Option<HttpTls>,
    /// The PEM file of a certificate chain for gateway, REST and web client, with its key in `http_tls_key`.
    #[arg(long, value_name = "FILE", requires = "http_tls_key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_tls_cert: Option<PathBuf>,
    /// The PEM file of that certificate's key.
    #[arg(long, value_name = "FILE", requires = "http_tls_cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_tls_key: Option<PathBuf>,
    /// Addresses and networks of proxies before this server that are believed when they say for whom they speak.
    #[arg(long, value_name = "IP[/N]", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<Vec<String>>,
    /// What clients are told to connect the gateway's WebSocket to, `wss://host[:port]` (default: the host that they asked).
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Address of the first voice server's WebSocket, TLS (default 127.0.0.1:8443); further ones take the ports after it.
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<SocketAddr>,
    /// The PEM file of a certificate chain for the voice WebSocket that browsers trust, with its key in `voice_tls_key` (default: one
    /// of the server's own authority, and pages reach the voice WebSocket through the gateway).
    #[arg(long, value_name = "FILE", requires = "voice_tls_key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_tls_cert: Option<PathBuf>,
    /// The PEM file of that certificate's key.
    #[arg(long, value_name = "FILE", requires = "voice_tls_cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_tls_key: Option<PathBuf>,
    /// Address of the first shard's UDP port (default 127.0.0.1:50000); further ones take the ports after it.
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<SocketAddr>,
    /// The host name or IPv4 address that clients reach this machine by. Given, it makes the defaults above listen on every
    /// interface instead of this machine alone.
    #[arg(long, value_name = "HOST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce: Option<String>,
    /// How many voice servers, each with a relay process of its own (default 1).
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_servers: Option<u16>,
    /// Threads and UDP ports of each relay (default: one for each core, four at the most).
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u16>,
    /// How many participants each voice server takes before guilds are placed elsewhere (default 10000).
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// Name of this machine's region (default `local`).
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `sqlite:PATH` or `postgres://…` (default: a SQLite file in the data folder).
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Where voice servers make themselves known: `memory` (default), `etcd://host:port[,host:port…][/prefix]`, or `etcds://…` over TLS.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The PEM file of the authority of etcd's certificate, for `etcds://`.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_ca: Option<PathBuf>,
    /// The PEM file of our own certificate for etcd, if it asks for one, with its key in `registry_key`.
    #[arg(long, value_name = "FILE", requires = "registry_key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_cert: Option<PathBuf>,
    /// The PEM file of that certificate's key.
    #[arg(long, value_name = "FILE", requires = "registry_cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_key: Option<PathBuf>,
    /// This node's name in the cluster, unique among nodes of its role.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address of the cluster's port, where guilds nodes and voice servers are reached by other nodes (default 127.0.0.1:7000).
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<SocketAddr>,
    /// `host:port` by which other nodes reach that port (default: its address, which must then say something).
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_announce: Option<String>,
    /// The file with the cluster's key, the same on every node; `guildhall cluster-key` makes one.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_key: Option<PathBuf>,
    /// Address of `/metrics` and `/healthz` for a role that has no HTTP port (default: nowhere).
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// How media leaves this machine: `kernel`, by its sockets, or `xdp`, past its IP stack, firewall and queues where it can (default kernel).
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Whether the kernel drops what cannot be for us before the relay is woken, where it may be told to (BPF): `auto` or `off` (default auto).
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shield: Option<Shield>,
    /// Encryption modes offered to native clients, in order (default: all six).
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modes: Option<Vec<String>>,
    /// Who may make an account: `open`, `invited` (whoever holds an invite) or `closed` (default open).
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// Make a guild with two voice channels, a text channel and N accounts, and write DIR/demo.json.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demo: Option<u16>,
}

/// A certificate that needs no files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum HttpTls {
    #[serde(rename = "self")]
    #[value(name = "self")]
    Own,
}

/// With which certificate the gateway's port speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpCertificate {
    /// Of our own authority.
    Own,
    /// Chain and key.
    Files((PathBuf, PathBuf)),
}

/// How media leaves this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    #[default]
    Kernel,
    Xdp,
}

/// Whether the kernel is asked to drop strangers' packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shield {
    #[default]
    Auto,
    Off,
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    #[default]
    Open,
    Invited,
    Closed,
}

impl From<Registration> for guilds::Registration {
    fn from(registration: Registration) -> Self {
        match registration {
            Registration::Open => Self::Open,
            Registration::Invited => Self::Invited,
            Registration::Closed => Self::Closed,
        }
    }
}

/// Where voice servers make themselves known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Memory,
    Etcd {
        endpoints: Vec<String>,
        /// Ends in a slash, so that no other prefix begins with it.
        prefix: String,
        tls: Option<RegistryFiles>,
    },
}

/// PEM files for etcd over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryFiles {
    pub ca: PathBuf,
    /// Chain and key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// The same, with every default resolved.
#[derive(Debug, Clone)]
pub struct Config {
    pub data: PathBuf,
    pub http: SocketAddr,
    /// None: no TLS.
    pub http_tls: Option<HttpCertificate>,
    pub trusted_proxies: Vec<gateway::Network>,
    pub public_url: Option<String>,
    pub voice: SocketAddr,
    /// Chain and key.
    pub voice_tls: Option<(PathBuf, PathBuf)>,
    pub media: SocketAddr,
    /// As clients are told: in endpoints and certificates.
    pub host: String,
    /// As clients are told: where media goes. The protocol wants an IPv4 literal.
    pub media_ip: Ipv4Addr,
    pub voice_servers: u16,
    pub shards: u16,
    pub capacity: u32,
    pub region: String,
    pub database: String,
    /// The database was named.
    pub has_database: bool,
    pub registry: Place,
    pub modes: Option<Vec<String>>,
    pub egress: Egress,
    pub shield: Shield,
    pub registration: Registration,
    pub demo: u16,
    pub name: Option<String>,
    pub cluster: SocketAddr,
    pub cluster_announce: Option<String>,
    pub cluster_key: Option<PathBuf>,
    pub metrics: Option<SocketAddr>,
}

impl Config {
    /// What the relay's program is told. By default nothing, so that one of before there was a choice can still take over.
    pub fn relay_arguments(&self) -> Vec<OsString> {
        let egress: &[&str] = match self.egress {
            Egress::Kernel => &[],
            Egress::Xdp => &["--egress", "xdp"],
        };
        let shield: &[&str] = match self.shield {
            Shield::Auto => &[],
            Shield::Off => &["--shield", "off"],
        };
        egress.iter().chain(shield).map(OsString::from).collect()
    }

    /// Merges the sources; `file` must exist if it is named.
    pub fn read(file: Option<PathBuf>, command_line: Options) -> anyhow::Result<Self> {
        let mut figment = Figment::new();
        if let Some(file) = file {
            if !file.is_file() {
                bail!("the configuration file {} does not exist", file.display());
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed("GUILDHALL_").ignore(CLIENT_VARIABLES);
        let options: Options = figment
            .merge(environment)
            .merge(Serialized::defaults(command_line))
            .extract()
            .map_err(|error| anyhow::anyhow!("configuration: {error}"))?;
        options.resolve()
    }
}

impl Options {
    fn resolve(self) -> anyhow::Result<Config> {
        let any = if self.announce.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let address =
            |given: Option<SocketAddr>, port| given.unwrap_or_else(|| SocketAddr::from((any, port)));
        let (http, voice, media) =
            (address(self.http, 8090), address(self.voice, 8443), address(self.media, 50_000));
        let (host, media_ip) = announced(self.announce.as_deref(), voice, media)?;
        let data = self.data.unwrap_or_else(|| PathBuf::from("guildhall-data"));
        let voice_servers = at_least_one("voice_servers", self.voice_servers.unwrap_or(1))?;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get().min(4) as u16);
        let shards = at_least_one("shards", self.shards.unwrap_or(cores))?;
        if self.capacity == Some(0) {
            bail!("configuration: capacity must be at least 1");
        }
        let last_port = u32::from(media.port()) + u32::from(voice_servers) * u32::from(shards);
        if media.port() != 0 && last_port > u32::from(u16::MAX) {
            bail!(
                "configuration: media: {voice_servers} voice servers with {shards} shards do not fit above port {}",
                media.port()
            );
        }
        Ok(Config {
            has_database: self.database.is_some(),
            database: self
                .database
                .unwrap_or_else(|| format!("sqlite:{}", data.join("guildhall.db").display())),
            region: self.region.unwrap_or_else(|| "local".to_owned()),
            registry: place(
                self.registry.as_deref().unwrap_or("memory"),
                self.registry_ca,
                both("registry_cert", self.registry_cert, "registry_key", self.registry_key)?,
            )?,
            capacity: self.capacity.unwrap_or(CAPACITY_DEFAULT),
            modes: self.modes,
            egress: self.egress.unwrap_or_default(),
            shield: self.shield.unwrap_or_default(),
            registration: self.registration.unwrap_or_default(),
            demo: self.demo.unwrap_or(0),
            name: self.name,
            cluster: self.cluster.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 7_000))),
            cluster_announce: self.cluster_announce.map(cluster_address).transpose()?,
            cluster_key: self.cluster_key,
            metrics: self.metrics,
            data,
            http,
            http_tls: http_certificate(
                self.http_tls,
                both("http_tls_cert", self.http_tls_cert, "http_tls_key", self.http_tls_key)?,
            )?,
            trusted_proxies: networks(self.trusted_proxies.as_deref().unwrap_or_default())?,
            public_url: self.public_url.map(websocket_origin).transpose()?,
            voice,
            voice_tls: both("voice_tls_cert", self.voice_tls_cert, "voice_tls_key", self.voice_tls_key)?,
            media,
            host,
            media_ip,
            voice_servers,
            shards,
        })
    }
}

fn http_certificate(
    own: Option<HttpTls>,
    files: Option<(PathBuf, PathBuf)>,
) -> anyhow::Result<Option<HttpCertificate>> {
    match (own, files) {
        (Some(_), Some(_)) => bail!("configuration: http_tls and http_tls_cert exclude each other"),
        (Some(HttpTls::Own), None) => Ok(Some(HttpCertificate::Own)),
        (None, files) => Ok(files.map(HttpCertificate::Files)),
    }
}

fn place(text: &str, ca: Option<PathBuf>, own: Option<(PathBuf, PathBuf)>) -> anyhow::Result<Place> {
    let wrong = || {
        anyhow::anyhow!(
            "configuration: registry: {text:?} is neither `memory` nor of the form etcd://host:port[,host:port][/prefix] or etcds://…"
        )
    };
    let tls = match (text.starts_with("etcds://"), ca) {
        (true, Some(ca)) => Some(RegistryFiles { ca, own }),
        (true, None) => bail!(
            "configuration: registry_ca: etcds:// needs the PEM file of the authority of etcd's certificate"
        ),
        (false, None) if own.is_none() => None,
        (false, _) => bail!("configuration: registry_ca and registry_cert are for a registry at etcds://"),
    };
    if text == "memory" {
        return Ok(Place::Memory);
    }
    let rest = text.strip_prefix(if tls.is_some() { "etcds://" } else { "etcd://" }).ok_or_else(wrong)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_host = |host: &str| {
        host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
    };
    if !hosts.split(',').all(is_host) {
        return Err(wrong());
    }
    let prefix = Some(prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty()).unwrap_or("guildhall");
    Ok(Place::Etcd {
        endpoints: hosts.split(',').map(|host| format!("{scheme}://{host}")).collect(),
        prefix: format!("{prefix}/"),
        tls,
    })
}

fn networks(texts: &[String]) -> anyhow::Result<Vec<gateway::Network>> {
    let parsed = texts.iter().map(|text| text.trim().parse());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow::anyhow!("configuration: trusted_proxies: {error}"))
}

fn cluster_address(text: String) -> anyhow::Result<String> {
    let is_whole = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    if !is_whole {
        bail!("configuration: cluster_announce: {text:?} is not of the form host:port");
    }
    Ok(text)
}

/// Clients append `/?v=…` themselves, and one with a path or a query of its own would break every resume.
fn websocket_origin(url: String) -> anyhow::Result<String> {
    let url = url.trim_end_matches('/').to_owned();
    let host = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => Ok(url),
        _ => bail!("configuration: public_url: {url:?} is not of the form wss://host[:port]"),
    }
}

/// Two files that are of use only together.
fn both(
    cert_name: &str,
    cert: Option<PathBuf>,
    key_name: &str,
    key: Option<PathBuf>,
) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("configuration: {cert_name} needs {key_name}"),
        (None, Some(_)) => bail!("configuration: {key_name} needs {cert_name}"),
    }
}

fn at_least_one(key: &str, n: u16) -> anyhow::Result<u16> {
    if n == 0 {
        bail!("configuration: {key} must be at least 1");
    }
    Ok(n)
}

/// What clients are told: the announced host, or the bound addresses where they say something.
fn announced(
    announce: Option<&str>,
    voice: SocketAddr,
    media: SocketAddr,
) -> anyhow::Result<(String, Ipv4Addr)> {
    if let Some(host) = announce {
        let found = (host, 0)
            .to_socket_addrs()
            .with_context(|| format!("configuration: announce: {host:?} does not resolve"))?;
        let v4 = found.filter_map(|a| if let IpAddr::V4(ip) = a.ip() { Some(ip) } else { None }).next();
        let ip = v4.with_context(|| {
            format!("configuration: announce: {host:?} has no IPv4 address, which native clients need")
        })?;
        return Ok((host.to_owned(), ip));
    }
    let IpAddr::V4(media_ip) = media.ip() else {
        bail!(
            "configuration: media: {media} is IPv6; native clients need an IPv4 address (or set `announce`)"
        );
    };
    if voice.ip().is_unspecified() || media_ip.is_unspecified() {
        bail!(
            "configuration: listening on every interface needs `announce`: the host that clients reach this machine by"
        );
    }
    let host = match voice.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Ok((host, media_ip))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn from_file(text: &str, command_line: Options) -> anyhow::Result<Config> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::read(Some(file.path().to_owned()), command_line)
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
        let command_line = Options { shards: Some(3), ..Options::default() };
        let config = from_file("shards = 2\nregion = \"eu\"\n", command_line).unwrap();
        assert_eq!((config.shards, config.region.as_str(), config.voice_servers), (3, "eu", 1));
        assert_eq!(config.http, "127.0.0.1:8090".parse().unwrap());
    }

    #[test]
    fn wrong_keys_and_values_are_refused_by_name() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", from_file(text, Options::default()).expect_err(text));
            assert!(error.contains(expect), "{text:?} gave {error:?}, not {expect:?}");
        };
        check("shard = 2", "shard");
        check("shards = \"many\"", "shards");
        check("egress = \"fast\"", "egress");
        check("shield = \"on\"", "shield");
        check("shards = 0", "shards must be at least 1");
        check("capacity = 0", "capacity must be at least 1");
        check("http = \"here\"", "http");
        check("media = \"127.0.0.1:65530\"\nshards = 20", "media");
        check("media = \"[::1]:5000\"", "IPv6");
        check("voice = \"0.0.0.0:8443\"", "announce");
        check("voice_tls_cert = \"a.pem\"", "voice_tls_cert needs voice_tls_key");
        check("http_tls = \"yes\"", "http_tls");
        check("http_tls = \"self\"\nhttp_tls_cert = \"a\"\nhttp_tls_key = \"b\"", "exclude each other");
        check("http_tls_cert = \"a.pem\"", "http_tls_cert needs http_tls_key");
        check("trusted_proxies = [\"10.0.0.0/40\"]", "trusted_proxies: \"10.0.0.0/40\"");
        check("trusted_proxies = [\"proxy\"]", "trusted_proxies");
        for url in ["https://voice.example.org", "wss://", "wss://a.example/path", "wss://a.example?v=10"] {
            check(&format!("public_url = {url:?}"), "public_url");
        }
        check("voice_tls_key = \"a.pem\"", "voice_tls_key needs voice_tls_cert");
        let missing = Config::read(Some("/nonexistent/guildhall.toml".into()), Options::default());
        assert!(missing.unwrap_err().to_string().contains("does not exist"));
    }

    #[test]
    fn the_public_url_is_a_host_that_clients_append_to() {
        let config = from_file("public_url = \"wss://voice.example.org/\"", Options::default()).unwrap();
        assert_eq!(config.public_url.as_deref(), Some("wss://voice.example.org"));
    }

    #[test]
    fn the_registry_is_memory_or_an_etcd() {
        let etcd = |hosts: &[&str], prefix: &str| Place::Etcd {
            endpoints: hosts.iter().map(|host| (*host).to_owned()).collect(),
            prefix: prefix.to_owned(),
            tls: None,
        };
        let place = |text: &str| place(text, None, None);
        assert_eq!(place("memory").unwrap(), Place::Memory);
        assert_eq!(place("etcd://e:2379").unwrap(), etcd(&["http://e:2379"], "guildhall/"));
        let two = etcd(&["http://a:1", "http://[::1]:2"], "chat/eu/");
        assert_eq!(place("etcd://a:1,[::1]:2/chat/eu/").unwrap(), two);
        for wrong in
            ["", "etcd", "etcd://", "etcd://a", "etcd://a:b", "etcd://a:1,", "http://a:1", "etcd:///x"]
        {
            let said = place(wrong).unwrap_err().to_string();
            assert!(said.contains("registry") && said.contains("etcd://host:port"), "{said}");
        }
    }

    #[test]
    fn the_registry_over_tls_names_its_authority() {
        let ca = || Some(PathBuf::from("ca.pem"));
        let own = || Some((PathBuf::from("a.pem"), PathBuf::from("a.key")));
        let found = place("etcds://e:2379/x", ca(), own()).unwrap();
        let tls = Some(RegistryFiles { ca: "ca.pem".into(), own: own() });
        let endpoints = vec!["https://e:2379".to_owned()];
        assert_eq!(found, Place::Etcd { endpoints, prefix: "x/".to_owned(), tls });
        for (text, ca, own) in
            [("etcds://e:1", None, own()), ("etcd://e:1", ca(), None), ("memory", None, own())]
        {
            let said = place(text, ca, own).unwrap_err().to_string();
            assert!(said.contains("registry_ca"), "{text}: {said}");
        }
    }

    #[test]
    fn announcing_a_host_listens_everywhere() {
        let config = from_file("announce = \"127.0.0.1\"", Options::default()).unwrap();
        assert!(config.http.ip().is_unspecified() && config.voice.ip().is_unspecified());
        assert_eq!((config.host.as_str(), config.media_ip), ("127.0.0.1", Ipv4Addr::LOCALHOST));
    }
}
