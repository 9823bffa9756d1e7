//! Everything that begins with an HTTP request.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use client_wire::error::ApiError;
use client_wire::gateway::{CloseCode, VERSIONS};
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;

use crate::compress::Compression;
use crate::limits::{SOCKET_MESSAGE_BYTES_MAX, SOCKET_READ_BYTES, SOCKET_WRITE_BYTES};
use crate::peer;
use crate::port::Port;
use crate::socket::{self, Upgrade};
use crate::upgrade::Upgrading;
use crate::{App, rest, site, voice};

pub async fn serve(port: Port, app: Arc<App>, stop: CancellationToken) {
    // A tapped listener, unlike a plain one of ours, tells handlers the peer's address.
    let listener = port.tap_io(|_| ());
    let router = router(app).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

fn router(app: Arc<App>) -> Router {
    rest::routes(Router::new())
        .route("/", get(upgrade_or_page))
        .route("/gateway", get(upgrade_or_page))
        .route("/voice", get(voice::upgrade))
        .route("/client.json", get(client))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .fallback(site::serve)
        .method_not_allowed_fallback(async || rest::error(ApiError::new(405, 0, "405: Method Not Allowed")))
        .with_state(app)
}

async fn upgrade_or_page(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    query: Result<Query<HashMap<String, String>>, axum::extract::rejection::QueryRejection>,
    upgrade: Result<Upgrading, ()>,
) -> Response {
    let Ok(upgrade) = upgrade else { return site::index(&app, &headers) };
    if app.draining.load(Ordering::Relaxed) {
        // Whoever is sent away would otherwise come back at once, to be sent away again.
        return rest::error(ApiError::new(503, 0, "draining"));
    }
    let Ok(permit) = app.sockets.clone().try_acquire_owned() else {
        return rest::error(ApiError::new(503, 0, "this node is full"));
    };
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let refusal = refusal(&query);
    let terms = Upgrade {
        compression: Compression::from_query(query.get("compress").map(String::as_str)),
        resume_url: app.gateway_url(peer, &headers),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(SOCKET_READ_BYTES)
        .write_buffer_size(SOCKET_WRITE_BYTES)
        .max_message_size(Some(SOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(SOCKET_MESSAGE_BYTES_MAX));
    upgrade.into_response(config, move |mut socket| {
        let inputs = app.inputs.clone();
        let conversation = async move {
            match refusal {
                Some(code) => socket::close(&mut socket, code).await,
                None => socket::run(socket, terms, inputs).await,
            }
            drop(permit);
        };
        app.tasks.track_future(conversation)
    })
}

/// Why a connection is closed before it has begun.
fn refusal(query: &HashMap<String, String>) -> Option<CloseCode> {
    let is_known = query.get("v").is_none_or(|v| v.parse().is_ok_and(|v: u8| VERSIONS.contains(&v)));
    if !is_known {
        return Some(CloseCode::InvalidVersion);
    }
    // Erlang's term format is the one other encoding of the protocol; JSON is the one encoding here.
    let is_json = query.get("encoding").is_none_or(|encoding| encoding == "json");
    (!is_json).then_some(CloseCode::DecodeError)
}

impl App {
    /// Where clients find the gateway: scheme, host and port only, since they append their own path and
    /// query.
    pub fn gateway_url(&self, peer: SocketAddr, headers: &HeaderMap) -> String {
        if let Some(url) = &self.config.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| is_authority(host));
        let by_tls =
            self.config.tls.is_some() || peer::came_by_tls(&self.config.trusted_proxies, peer.ip(), headers);
        format!("{}://{}", if by_tls { "wss" } else { "ws" }, host.unwrap_or("localhost"))
    }

    /// Whose connection it is.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        peer::client(&self.config.trusted_proxies, peer.ip(), headers)
    }
}

/// The header comes back in our own answers, so it must look like a host and nothing else.
fn is_authority(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

/// What the web client must know before it connects.
async fn client(State(app): State<Arc<App>>) -> Response {
    let voice = if app.voice.is_some() { "same-origin" } else { "direct" };
    rest::json(StatusCode::OK, json!({ "voice": voice, "version": env!("CARGO_PKG_VERSION") }).to_string())
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match &app.config.metrics {
        Some(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page()).into_response(),
        None => rest::error(ApiError::new(404, 0, "404: Not Found")),
    }
}

async fn health(State(app): State<Arc<App>>) -> Response {
    if app.draining.load(Ordering::Relaxed) {
        return rest::error(ApiError::new(503, 0, "draining"));
    }
    rest::json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_encodings_that_are_not_spoken_are_refused() {
        let check = |query: &[(&str, &str)], expect| {
            let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(refusal(&query), expect, "{query:?}");
        };
        check(&[], None);
        check(&[("v", "10")], None);
        check(&[("v", "9"), ("encoding", "json")], None);
        check(&[("v", "8")], Some(CloseCode::InvalidVersion));
        check(&[("v", "ten")], Some(CloseCode::InvalidVersion));
        check(&[("v", "10"), ("encoding", "etf")], Some(CloseCode::DecodeError));
    }

    #[test]
    fn only_hosts_are_hosts() {
        let check = |host: &str, expect| assert_eq!(is_authority(host), expect, "{host}");
        check("127.0.0.1:8080", true);
        check("[::1]:8080", true);
        check("voice.example.org", true);
        check("", false);
        check("a\"b", false);
        check("a/b", false);
        check(&"a".repeat(300), false);
    }
}
