//! The voice WebSocket at the gateway's own origin, with a voice server behind it that shows a private certificate.

use std::collections::HashMap;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use gateway::{GatewayConfig, SameOrigin};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, connect_async};

use super::http;
use super::server::{Client, PATIENCE, Server};
use super::tls::Certified;

/// The name in the certificate; it is looked up nowhere.
const HOST: &str = "voice.test";

/// A voice server that waits for its clients.
struct VoiceServer {
    listener: TcpListener,
    tls: TlsAcceptor,
    folder: TempDir,
}

impl VoiceServer {
    async fn start() -> Self {
        let Certified { folder, config, .. } = Certified::new(HOST);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, tls: TlsAcceptor::from(config), folder }
    }

    fn endpoint(&self) -> String {
        format!("{HOST}:{}", self.listener.local_addr().unwrap().port())
    }

    /// A gateway that carries pages here.
    async fn gateway(&self) -> Server {
        let at = HashMap::from([(self.endpoint(), self.listener.local_addr().unwrap())]);
        let voice = Some(SameOrigin { ca: self.folder.path().join("ca.pem"), at });
        Server::with(GatewayConfig { voice, ..GatewayConfig::default() }).await
    }

    /// The next client, with the head of its request.
    async fn client(&self) -> (WebSocketStream<TlsStream<TcpStream>>, String) {
        let accept = async {
            let (tcp, _) = self.listener.accept().await.unwrap();
            let tls = self.tls.accept(tcp).await.unwrap();
            let mut head = String::new();
            #[allow(clippy::result_large_err)]
            let read = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
                head = format!("{} {:?}", request.uri(), request.headers()).to_lowercase();
                Ok(response)
            };
            let socket = accept_hdr_async(tls, read).await.unwrap();
            (socket, head)
        };
        tokio::time::timeout(PATIENCE, accept).await.expect("a client comes in time")
    }
}

/// Somebody's gateway session is told of a voice server.
async fn tell(server: &Server, endpoint: &str) -> Client {
    let (mut session, _) = server.live().await;
    let d = format!(r#"{{"token":"t","guild_id":"10","endpoint":"{endpoint}"}}"#);
    server.dispatch("VOICE_SERVER_UPDATE", &d).await;
    session.dispatch("VOICE_SERVER_UPDATE").await;
    session
}

fn url(addr: SocketAddr, endpoint: &str) -> String {
    format!("ws://{addr}/voice?v=8&endpoint={endpoint}")
}

/// The HTTP status with which an upgrade is refused.
async fn refusal(url: &str) -> u16 {
    match connect_async(url).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code: code.into(), reason: reason.into() }
}

#[tokio::test]
async fn frames_and_closes_pass_as_they_are() {
    let voice = VoiceServer::start().await;
    let server = voice.gateway().await;
    let _session = tell(&server, &voice.endpoint()).await;
    let url = url(server.addr, &voice.endpoint());

    let ((mut upstream, head), mut page) = tokio::join!(voice.client(), Client::connect(&url));
    assert!(head.starts_with("/?v=8 "), "{head}");
    for telling in ["forwarded", "127.0.0.1", "via", "real-ip"] {
        assert!(!head.contains(telling), "the page's address is nobody's business: {head}");
    }
    upstream.send(Message::text(r#"{"op":8}"#)).await.unwrap();
    assert_eq!(page.message().await, Some(Message::text(r#"{"op":8}"#)));
    let binary = Message::binary(vec![0, 255, 128, 7]);
    page.socket.send(binary.clone()).await.unwrap();
    assert_eq!(upstream.next().await.unwrap().unwrap(), binary);
    upstream.send(binary.clone()).await.unwrap();
    assert_eq!(page.message().await, Some(binary));
    // Longer than a voice server reads: that is for the voice server to say.
    let long = Message::text("x".repeat(40_000));
    page.socket.send(long.clone()).await.unwrap();
    assert_eq!(upstream.next().await.unwrap().unwrap(), long);
    upstream.send(Message::Close(Some(close(4014, "Disconnected.")))).await.unwrap();
    assert_eq!(page.message().await, Some(Message::Close(Some(close(4014, "Disconnected.")))));
    let answer = upstream.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Close(Some(close(4014, "Disconnected."))));

    let ((mut upstream, _), mut page) = tokio::join!(voice.client(), Client::connect(&url));
    page.socket.send(Message::Close(Some(close(4999, "mine")))).await.unwrap();
    assert_eq!(upstream.next().await.unwrap().unwrap(), Message::Close(Some(close(4999, "mine"))));
    assert_eq!(page.close_code().await, Some(4999));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_side_that_is_cut_off_cuts_off_the_other() {
    let voice = VoiceServer::start().await;
    let server = voice.gateway().await;
    let _session = tell(&server, &voice.endpoint()).await;
    let url = url(server.addr, &voice.endpoint());
    let ((upstream, _), mut page) = tokio::join!(voice.client(), Client::connect(&url));
    drop(upstream);
    assert_eq!(page.message().await, None, "no close that nobody sent");
    let ((mut upstream, _), page) = tokio::join!(voice.client(), Client::connect(&url));
    drop(page);
    let end = tokio::time::timeout(PATIENCE, upstream.next()).await.expect("it ends in time");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    server.handle.shutdown().await;
}

#[tokio::test]
async fn only_voice_servers_that_a_session_was_told_of_are_reached() {
    let voice = VoiceServer::start().await;
    let server = voice.gateway().await;
    let url_of = |endpoint: &str| url(server.addr, endpoint);
    assert_eq!(refusal(&url_of(&voice.endpoint())).await, 403);
    let _session = tell(&server, &voice.endpoint()).await;
    assert_eq!(refusal(&url_of("127.0.0.1:22")).await, 403);
    assert_eq!(refusal(&url_of(&format!("{}/x", voice.endpoint()))).await, 403);
    assert_eq!(refusal(&format!("ws://{}/voice?v=8", server.addr)).await, 400);
    assert_eq!(http::get(server.addr, "/voice?v=8&endpoint=x", "").await.status, 426);
    let url = url_of(&voice.endpoint());
    let _upgraded = tokio::join!(voice.client(), Client::connect(&url));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_voice_server_of_another_authority_is_not_trusted() {
    let (voice, stranger) = (VoiceServer::start().await, VoiceServer::start().await);
    let at = HashMap::from([(voice.endpoint(), voice.listener.local_addr().unwrap())]);
    let config = Some(SameOrigin { ca: stranger.folder.path().join("ca.pem"), at });
    let server = Server::with(GatewayConfig { voice: config, ..GatewayConfig::default() }).await;
    let _session = tell(&server, &voice.endpoint()).await;
    let accept = async {
        let (tcp, _) = voice.listener.accept().await.unwrap();
        voice.tls.accept(tcp).await.map(drop)
    };
    let url = url(server.addr, &voice.endpoint());
    let (accepted, status) = tokio::join!(accept, refusal(&url));
    assert!(accepted.is_err());
    assert_eq!(status, 502);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_page_is_told_where_its_voice_connection_goes() {
    let voice = VoiceServer::start().await;
    let server = voice.gateway().await;
    assert_eq!(http::get(server.addr, "/client.json", "").await.json()["voice"], "same-origin");
    let page = http::get(server.addr, "/", "").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self';") && !policy.contains("wss:"), "{policy}");
    server.handle.shutdown().await;

    let server = Server::start().await;
    assert_eq!(http::get(server.addr, "/client.json", "").await.json()["voice"], "direct");
    let page = http::get(server.addr, "/", "").await;
    assert!(page.header("content-security-policy").unwrap().contains("connect-src 'self' wss:"));
    assert_eq!(refusal(&url(server.addr, &voice.endpoint())).await, 404);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_gateway_that_stops_says_so_to_pages() {
    let voice = VoiceServer::start().await;
    let server = voice.gateway().await;
    let _session = tell(&server, &voice.endpoint()).await;
    let url = url(server.addr, &voice.endpoint());
    let ((mut upstream, _), mut page) = tokio::join!(voice.client(), Client::connect(&url));
    let watch = async { while let Some(Ok(_)) = upstream.next().await {} };
    let (code, (), ()) = tokio::join!(page.close_code(), watch, server.handle.shutdown());
    assert_eq!(code, Some(1001));
}
