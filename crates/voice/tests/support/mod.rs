//! A voice server over loopback TLS with a client that trusts it.
#![allow(dead_code)]

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use client_wire::voice::ServerFrame;
use cluster_wire::token::{TokenKey, VoiceToken};
use cluster_wire::voice::{Order, OrderKind, Report, ToVoice};
use futures_util::{SinkExt as _, StreamExt as _};
use model::{ChannelId, GuildId, SessionId, UnixMs, UserId};
use registry::Registry;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use voice::{Voice, VoiceConfig, VoiceError, VoiceHandle};

pub const GUILD: GuildId = GuildId(10);
pub const ROOM: ChannelId = ChannelId(11);
pub const SESSION: SessionId = SessionId(0xabc);
/// Reports that may wait on the way to guilds.
pub const REPORTS: usize = 16;
/// Everything here is over in milliseconds; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub struct Server {
    pub handle: VoiceHandle,
    pub orders: mpsc::Sender<ToVoice>,
    pub reports: mpsc::Receiver<Report>,
    pub registry: Registry,
    _data: tempfile::TempDir,
}

pub fn shell(script: &str) -> Option<Vec<OsString>> {
    Some(vec!["/bin/sh".into(), "-c".into(), script.into()])
}

pub fn key() -> TokenKey {
    TokenKey::new(b"secret")
}

pub async fn start_with(script: &str, edit: impl FnOnce(&mut VoiceConfig)) -> Result<Server, VoiceError> {
    let data = tempfile::tempdir().unwrap();
    let mut config =
        VoiceConfig { data: data.path().join("tls"), relay: shell(script), ..VoiceConfig::default() };
    edit(&mut config);
    let registry = Registry::memory(registry::DEFAULT_TTL);
    let (orders, incoming) = mpsc::channel(16);
    let (reports, reported) = mpsc::channel(REPORTS);
    let handle = Voice::start(config, registry.clone(), key(), incoming, reports).await?;
    Ok(Server { handle, orders, reports: reported, registry, _data: data })
}

pub async fn start() -> Server {
    start_with("exec sleep 1000", |_| {}).await.unwrap()
}

impl Server {
    /// A client that trusts nothing but `ca.pem`.
    pub async fn connect(&self, query: &str) -> Result<Client, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.handle.ca()).unwrap()).unwrap();
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let tcp = TcpStream::connect(self.handle.endpoint()).await.unwrap();
        let url = format!("wss://{}/{query}", self.handle.endpoint());
        let opened =
            client_async_tls_with_config(url, tcp, None, Some(Connector::Rustls(Arc::new(tls)))).await;
        opened.map(|(client, _)| client)
    }

    pub fn token(&self) -> String {
        self.token_of(UserId(7), SESSION)
    }

    pub fn token_of(&self, user: UserId, session: SessionId) -> String {
        VoiceToken {
            user,
            session,
            guild: GUILD,
            channel: ROOM,
            server: self.handle.id().clone(),
            expires_at: UnixMs(u64::MAX),
            serial: 1,
        }
        .sign(&key())
    }

    pub fn identify(&self) -> String {
        self.identify_as(UserId(7), SESSION)
    }

    pub fn identify_as(&self, user: UserId, session: SessionId) -> String {
        let token = self.token_of(user, session);
        format!(
            r#"{{"op":0,"d":{{"server_id":"10","user_id":"{user}","session_id":"{session}","token":"{token}"}}}}"#
        )
    }

    pub async fn order(&self, kind: OrderKind) {
        let order = Order { guild: GUILD, fencing: 1, kind };
        self.orders.send(ToVoice::Order(order)).await.unwrap();
    }
}

pub async fn receive(client: &mut Client) -> Message {
    timeout(PATIENCE, client.next())
        .await
        .expect("the server answers")
        .expect("the connection stays")
        .unwrap()
}

pub async fn frame(client: &mut Client) -> ServerFrame {
    match receive(client).await {
        Message::Text(text) => ServerFrame::read(&text).unwrap().0,
        other => panic!("no text: {other:?}"),
    }
}

pub async fn close_code(client: &mut Client) -> u16 {
    loop {
        if let Message::Close(frame) = receive(client).await {
            return frame.expect("a close says why").code.into();
        }
    }
}

pub async fn send(client: &mut Client, text: impl Into<String>) {
    client.send(Message::text(text.into())).await.unwrap();
}

pub async fn wait_for_marks(path: &std::path::Path, lines: usize) -> String {
    let read = async {
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) if text.lines().count() >= lines => return text,
                // A file in another process's hands announces nothing: it is looked at again.
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, read).await.expect("the relay starts")
}

pub fn kill(pid: u32) {
    let status = std::process::Command::new("kill").arg("-9").arg(pid.to_string()).status().unwrap();
    assert!(status.success());
}
