//! The voice WebSocket at the gateway's own origin, for pages: a browser trusts no private authority's certificate, so
//! the gateway carries the frames between the page and the voice server.
//!
//! Owns: which voice servers may be reached this way, the way itself. Deliberately does not: read frames. Media never
//! passes here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{self, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use client_wire::error::ApiError;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, protocol};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    CLOSE_PATIENCE, SOCKET_MESSAGE_BYTES_MAX, SOCKET_READ_BYTES, SOCKET_WRITE_BYTES, VOICE_CONNECT_PATIENCE,
    VOICE_MESSAGE_BYTES_MAX, VOICE_SERVERS_MAX, VOICE_WAYS_MAX, VOICE_WAYS_PER_ADDRESS_MAX, WRITE_PATIENCE,
};
use crate::{App, observe, rest};

/// How the gateway reaches voice servers in a page's place.
#[derive(Debug, Clone, Default)]
pub struct SameOrigin {
    /// The authority whose certificates voice servers show: a PEM file.
    pub ca: PathBuf,
    /// Where endpoints really listen, for those that stand on this very machine: it may not be able to reach itself by
    /// the name that others know it by. Any other endpoint is looked up.
    pub at: HashMap<String, SocketAddr>,
}

/// The way of pages to voice servers.
pub struct VoiceDoor {
    tls: Arc<ClientConfig>,
    at: HashMap<String, SocketAddr>,
    known: Mutex<Known>,
    ways: Ways,
    stop: CancellationToken,
}

/// Endpoints that some session here was told, with the turn at which it last was.
#[derive(Default)]
struct Known {
    turn: u64,
    endpoints: HashMap<String, u64>,
}

/// The places of pages that are being carried.
#[derive(Clone, Default)]
struct Ways(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One page's place.
struct Pass {
    ways: Ways,
    address: IpAddr,
}

type Upstream = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl VoiceDoor {
    pub fn new(config: SameOrigin, stop: CancellationToken) -> io::Result<Self> {
        let tls = Arc::new(client_config(&config.ca)?);
        Ok(Self { tls, at: config.at, known: Mutex::default(), ways: Ways::default(), stop })
    }

    /// A session was told of a voice server; `d` is its VOICE_SERVER_UPDATE.
    pub fn told(&self, d: &str) {
        #[derive(Deserialize)]
        struct Told {
            endpoint: Option<String>,
        }
        let Ok(Told { endpoint: Some(endpoint) }) = serde_json::from_str(d) else { return };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).tell(endpoint);
    }

    fn knows(&self, endpoint: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).endpoints.contains_key(endpoint)
    }

    async fn connect(&self, endpoint: &str, version: u8) -> Result<Upstream, tungstenite::Error> {
        let connecting = async {
            let tcp = match self.at.get(endpoint) {
                Some(address) => TcpStream::connect(address).await?,
                None => TcpStream::connect(endpoint).await?,
            };
            tcp.set_nodelay(true)?;
            let config = WebSocketConfig::default()
                .read_buffer_size(SOCKET_READ_BYTES)
                .write_buffer_size(0)
                .max_write_buffer_size(SOCKET_WRITE_BYTES + SOCKET_MESSAGE_BYTES_MAX)
                .max_message_size(Some(VOICE_MESSAGE_BYTES_MAX))
                .max_frame_size(Some(VOICE_MESSAGE_BYTES_MAX));
            let url = format!("wss://{endpoint}/?v={version}");
            let connector = Connector::Rustls(self.tls.clone());
            let (upstream, _) = client_async_tls_with_config(url, tcp, Some(config), Some(connector)).await?;
            Ok(upstream)
        };
        match tokio::time::timeout(VOICE_CONNECT_PATIENCE, connecting).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }
}

impl Known {
    fn tell(&mut self, endpoint: String) {
        self.turn += 1;
        self.endpoints.insert(endpoint, self.turn);
        if self.endpoints.len() > VOICE_SERVERS_MAX {
            let oldest =
                self.endpoints.iter().min_by_key(|(_, turn)| **turn).map(|(endpoint, _)| endpoint.clone());
            oldest.and_then(|endpoint| self.endpoints.remove(&endpoint));
        }
    }
}

impl Ways {
    /// None when there is no place left.
    fn enter(&self, address: IpAddr) -> Option<Pass> {
        let mut taken = self.taken();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= VOICE_WAYS_MAX || here >= VOICE_WAYS_PER_ADDRESS_MAX {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        drop(taken);
        Some(Pass { ways: self.clone(), address })
    }

    /// Counts are right whatever the panic of another task left behind.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut taken = self.ways.taken();
        taken.all -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

fn client_config(ca: &Path) -> io::Result<ClientConfig> {
    let wrong = |error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the voice servers' authority {}: {error}", ca.display()),
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|e| wrong(&e))? {
        roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of the default versions");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// What a page asks for: the protocol's version and one of the endpoints its gateway session was told.
#[derive(Deserialize)]
pub struct Wanted {
    v: u8,
    endpoint: String,
}

pub async fn upgrade(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let refuse = |status, message| rest::error(ApiError::new(status, 0, message));
    let Some(door) = &app.voice else { return refuse(404, "404: Not Found") };
    let Ok(upgrade) = upgrade else { return refuse(426, "this is a WebSocket") };
    let Ok(Query(Wanted { v, endpoint })) = wanted else { return refuse(400, "v and endpoint are needed") };
    if !door.knows(&endpoint) {
        return refuse(403, "no session here was told of that voice server");
    }
    let Some(pass) = door.ways.enter(app.client(peer, &headers)) else {
        return refuse(503, "too many voice connections");
    };
    let upstream = match door.connect(&endpoint, v).await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::warn!(endpoint, %error, "a voice server cannot be reached for a page");
            return refuse(502, "the voice server cannot be reached");
        }
    };
    let upgrade = upgrade
        .read_buffer_size(SOCKET_READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(SOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(SOCKET_MESSAGE_BYTES_MAX);
    let stop = door.stop.clone();
    upgrade
        .on_upgrade(move |page| {
            let carrying = async move {
                observe::voice_way(1.0);
                carry(page, upstream, stop).await;
                observe::voice_way(-1.0);
                drop(pass);
            };
            app.tasks.track_future(carrying)
        })
        .into_response()
}

/// How a way ends.
enum End {
    PageClosed(Option<ws::CloseFrame>),
    ServerClosed(Option<protocol::CloseFrame>),
    /// One side was cut off, and so the other is: a close that nobody sent would tell it something untrue.
    Cut,
    Stopped,
}

/// Carries frames both ways, one at a time each way, until one side ends.
async fn carry(page: WebSocket, server: Upstream, stop: CancellationToken) {
    let (mut to_page, mut from_page) = page.split();
    let (mut to_server, mut from_server) = server.split();
    let end = {
        let up = async {
            loop {
                let message = match from_page.next().await {
                    Some(Ok(ws::Message::Text(text))) => tungstenite::Message::text(text.as_str()),
                    Some(Ok(ws::Message::Binary(bytes))) => tungstenite::Message::Binary(bytes),
                    // The library answers pings; each side has its own.
                    Some(Ok(ws::Message::Ping(_) | ws::Message::Pong(_))) => continue,
                    Some(Ok(ws::Message::Close(frame))) => return End::PageClosed(frame),
                    Some(Err(_)) | None => return End::Cut,
                };
                if !sent(&mut to_server, message).await {
                    return End::Cut;
                }
            }
        };
        let down = async {
            loop {
                let message = match from_server.next().await {
                    Some(Ok(tungstenite::Message::Text(text))) => ws::Message::text(text.as_str()),
                    Some(Ok(tungstenite::Message::Binary(bytes))) => ws::Message::Binary(bytes),
                    Some(Ok(tungstenite::Message::Close(frame))) => return End::ServerClosed(frame),
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return End::Cut,
                };
                if !sent(&mut to_page, message).await {
                    return End::Cut;
                }
            }
        };
        tokio::select! {
            end = up => end,
            end = down => end,
            () = stop.cancelled() => End::Stopped,
        }
    };
    match end {
        End::PageClosed(frame) => {
            sent(&mut to_server, tungstenite::Message::Close(frame.map(for_server))).await;
        }
        End::ServerClosed(frame) => {
            sent(&mut to_page, ws::Message::Close(frame.map(for_page))).await;
        }
        End::Stopped => {
            let away = ws::CloseFrame { code: ws::close_code::AWAY, reason: "the gateway stops".into() };
            sent(&mut to_page, ws::Message::Close(Some(away))).await;
        }
        End::Cut => return,
    }
    // Reading on lets both closes be answered before the connections end.
    tokio::join!(read_out(&mut from_page), read_out(&mut from_server));
}

fn for_server(frame: ws::CloseFrame) -> protocol::CloseFrame {
    protocol::CloseFrame { code: frame.code.into(), reason: frame.reason.as_str().into() }
}

fn for_page(frame: protocol::CloseFrame) -> ws::CloseFrame {
    ws::CloseFrame { code: frame.code.into(), reason: frame.reason.as_str().into() }
}

async fn sent<M>(sink: &mut (impl Sink<M> + Unpin), message: M) -> bool {
    in_time(WRITE_PATIENCE, sink.send(message)).await.is_some_and(|result| result.is_ok())
}

async fn read_out<M, E>(stream: &mut (impl Stream<Item = Result<M, E>> + Unpin)) {
    in_time(CLOSE_PATIENCE, async { while let Some(Ok(_)) = stream.next().await {} }).await;
}

async fn in_time<T>(patience: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(patience, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let (ways, here, there) = (Ways::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut passes: Vec<Pass> = (0..VOICE_WAYS_PER_ADDRESS_MAX).map_while(|_| ways.enter(here)).collect();
        assert_eq!(passes.len(), VOICE_WAYS_PER_ADDRESS_MAX);
        assert!(ways.enter(here).is_none());
        assert!(ways.enter(there).is_some());
        passes.pop();
        assert!(ways.enter(here).is_some(), "a place that was given back");
        passes.clear();
        let taken = ways.taken();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn the_endpoint_that_was_told_longest_ago_is_forgotten_first() {
        let mut known = Known::default();
        for n in 0..VOICE_SERVERS_MAX {
            known.tell(format!("voice-{n}:443"));
        }
        known.tell("voice-0:443".to_owned());
        known.tell("new:443".to_owned());
        assert_eq!(known.endpoints.len(), VOICE_SERVERS_MAX);
        assert!(known.endpoints.contains_key("voice-0:443") && known.endpoints.contains_key("new:443"));
        assert!(!known.endpoints.contains_key("voice-1:443"));
    }
}
