//! The smallest server that a client of ours can talk to: REST, gateway, voice gateway over TLS, and a relay, all in
//! the test's own process, and with levers to break each of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use client_wire::gateway::{FromClient, FromServer};
use client_wire::voice::{
    ClientFrame, ClientsConnect, Hello, Ready, SecretKey, ServerFrame, ServerSpeaking, SessionDescription,
    Version,
};
use futures_util::{SinkExt, StreamExt};
use model::{ChannelId, GuildId, UserId};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use transport::{Key, Mode, NonceCounter, ReplayWindow};

pub const GUILD: GuildId = GuildId(100);
pub const CHANNEL: ChannelId = ChannelId(200);

pub struct Server {
    pub http: String,
    pub ca: PathBuf,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    gateway_url: String,
    voice_endpoint: String,
    relay: Option<SocketAddr>,
    /// Whether joins are answered without an endpoint.
    no_endpoint: bool,
    gateways: HashMap<UserId, UnboundedSender<Push>>,
    voices: HashMap<UserId, UnboundedSender<Push>>,
    legs: HashMap<u32, Leg>,
    /// What happened, for the tests to wait for and look at.
    log: watch::Sender<Vec<String>>,
}

struct Leg {
    user: UserId,
    security: transport::Session,
    window: ReplayWindow,
    address: Option<SocketAddr>,
}

enum Push {
    Text(String),
    Close(u16),
    Cut,
}

impl Server {
    pub async fn start(dir: &Path) -> Self {
        let (tls, ca) = certificates(dir);
        let world = Arc::new(Mutex::new(World::default()));
        let rest = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let voice = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let http = format!("http://{}", rest.local_addr().unwrap());
        {
            let mut world = world.lock().unwrap();
            world.gateway_url = format!("ws://{}", gateway.local_addr().unwrap());
            world.voice_endpoint = voice.local_addr().unwrap().to_string();
            world.relay = Some(relay.local_addr().unwrap());
        }
        tokio::spawn(serve_rest(rest, Arc::clone(&world)));
        tokio::spawn(serve_gateway(gateway, Arc::clone(&world)));
        tokio::spawn(serve_voice(voice, tls, Arc::clone(&world)));
        tokio::spawn(serve_relay(relay, Arc::clone(&world)));
        Self { http, ca, world }
    }

    /// Waits until `entry` has happened this often.
    pub async fn happened(&self, entry: &str, times: usize) {
        let mut log = self.world.lock().unwrap().log.subscribe();
        log.wait_for(|log| log.iter().filter(|e| *e == entry).count() >= times).await.unwrap();
    }

    pub fn close_voice(&self, user: u64, code: u16) {
        let _ = self.world.lock().unwrap().voices[&UserId(user)].send(Push::Close(code));
    }

    pub fn cut_voice(&self, user: u64) {
        let _ = self.world.lock().unwrap().voices[&UserId(user)].send(Push::Cut);
    }

    pub fn cut_gateway(&self, user: u64) {
        let _ = self.world.lock().unwrap().gateways[&UserId(user)].send(Push::Cut);
    }

    /// Joins are answered with no endpoint from now on, or those who wait are given one.
    pub fn set_no_endpoint(&self, none: bool) {
        let mut world = self.world.lock().unwrap();
        world.no_endpoint = none;
        if !none {
            let update = world.voice_server();
            world.gateways.values().for_each(|gateway| drop(gateway.send(Push::Text(update.clone()))));
        }
    }

    /// Tells a connected client to connect anew.
    pub fn migrate(&self, user: u64) {
        let world = self.world.lock().unwrap();
        let _ = world.gateways[&UserId(user)].send(Push::Text(world.voice_server()));
    }

    pub fn kick(&self, user: u64) {
        let world = self.world.lock().unwrap();
        let _ = world.gateways[&UserId(user)].send(Push::Text(voice_state(UserId(user), None)));
        let _ = world.voices[&UserId(user)].send(Push::Close(4014));
    }
}

impl World {
    fn log(&self, entry: String) {
        self.log.send_modify(|log| log.push(entry));
    }

    fn voice_server(&self) -> String {
        let endpoint = (!self.no_endpoint).then_some(&self.voice_endpoint);
        dispatch("VOICE_SERVER_UPDATE", &json!({"token": "voice", "guild_id": GUILD, "endpoint": endpoint}))
    }

    fn tell_voices(&self, but: UserId, frame: &ServerFrame) {
        let text = frame.text(Version::V8, Some(1));
        for (_, voice) in self.voices.iter().filter(|(user, _)| **user != but) {
            let _ = voice.send(Push::Text(text.clone()));
        }
    }
}

fn dispatch(t: &str, d: &Value) -> String {
    json!({"op": 0, "s": 7, "t": t, "d": d}).to_string()
}

fn voice_state(user: UserId, channel: Option<ChannelId>) -> String {
    let d = json!({"guild_id": GUILD, "channel_id": channel, "user_id": user, "session_id": "session",
                   "deaf": false, "mute": false, "self_deaf": false, "self_mute": false, "suppress": false});
    dispatch("VOICE_STATE_UPDATE", &d)
}

fn certificates(dir: &Path) -> (tokio_rustls::TlsAcceptor, PathBuf) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let path = dir.join("ca.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (Arc::new(config).into(), path)
}

async fn serve_rest(listener: TcpListener, world: Arc<Mutex<World>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 2048];
        let len = stream.read(&mut request).await.unwrap_or(0);
        let right = request[..len].starts_with(b"GET /api/v10/gateway ");
        let body = json!({"url": world.lock().unwrap().gateway_url}).to_string();
        let status = if right { "200 OK" } else { "404 Not Found" };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    }
}

async fn serve_gateway(listener: TcpListener, world: Arc<Mutex<World>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let Ok(ws) = tokio_tungstenite::accept_async(stream).await else { return };
            let (sender, pushed) = unbounded_channel();
            let _ = sender.send(Push::Text(FromServer::Hello { heartbeat_interval_ms: 40_000 }.encode()));
            let mut user = None;
            serve(ws, pushed, |text| gateway_frame(&world, &sender, &mut user, text)).await;
        });
    }
}

fn gateway_frame(
    world: &Mutex<World>,
    sender: &UnboundedSender<Push>,
    user: &mut Option<UserId>,
    text: &str,
) {
    let mut world = world.lock().unwrap();
    let push = |text: String| drop(sender.send(Push::Text(text)));
    match FromClient::parse(text.as_bytes()).unwrap() {
        FromClient::Identify(identify) => {
            world.log("gateway identify".to_owned());
            let Some(id) = identify.token.strip_prefix("user-").and_then(|id| id.parse().ok()) else {
                let _ = sender.send(Push::Close(4004));
                return;
            };
            *user = Some(UserId(id));
            world.gateways.insert(UserId(id), sender.clone());
            push(dispatch(
                "READY",
                &json!({"v": 10, "user": {"id": UserId(id)}, "session_id": format!("{id}")}),
            ));
        }
        FromClient::Resume(resume) => {
            world.log(format!("gateway resume {}", resume.seq));
            let id = UserId(resume.session_id.parse().unwrap());
            *user = Some(id);
            world.gateways.insert(id, sender.clone());
            push(dispatch("RESUMED", &json!({})));
        }
        FromClient::VoiceStateUpdate(update) => {
            let user = user.expect("identified");
            match update.channel_id {
                None => {
                    world.log(format!("leave {user}"));
                    push(voice_state(user, None));
                }
                Some(CHANNEL) => {
                    world.log(format!("join {user}"));
                    push(voice_state(user, Some(CHANNEL)));
                    // Whoever is there already is not told again.
                    if !world.voices.contains_key(&user) {
                        push(world.voice_server());
                    }
                }
                Some(_) => {}
            }
        }
        FromClient::VoiceServerPing(_) => {
            world.log(format!("ping {}", user.expect("identified")));
            push(world.voice_server());
        }
        FromClient::Heartbeat(_) => push(FromServer::HeartbeatAck.encode()),
        _ => {}
    }
}

async fn serve_voice(listener: TcpListener, tls: tokio_rustls::TlsAcceptor, world: Arc<Mutex<World>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (world, tls) = (Arc::clone(&world), tls.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let Ok(ws) = tokio_tungstenite::accept_async(stream).await else { return };
            let (sender, pushed) = unbounded_channel();
            let hello = ServerFrame::Hello(Hello { v: 8, heartbeat_interval: 200 });
            let _ = sender.send(Push::Text(hello.text(Version::V8, None)));
            let mut me = None;
            serve(ws, pushed, |text| voice_frame(&world, &sender, &mut me, text)).await;
        });
    }
}

fn voice_frame(world: &Mutex<World>, sender: &UnboundedSender<Push>, me: &mut Option<UserId>, text: &str) {
    let mut world = world.lock().unwrap();
    let push = |frame: ServerFrame| drop(sender.send(Push::Text(frame.text(Version::V8, Some(3)))));
    match ClientFrame::read(text).unwrap() {
        ClientFrame::Identify(identify) => {
            world.log(format!("voice identify {}", identify.user_id));
            *me = Some(identify.user_id);
            world.voices.insert(identify.user_id, sender.clone());
            let SocketAddr::V4(relay) = world.relay.unwrap() else { unreachable!() };
            push(ServerFrame::Ready(Ready {
                ssrc: identify.user_id.0 as u32 * 10,
                ip: *relay.ip(),
                port: relay.port(),
                modes: Mode::ALL.iter().map(|mode| mode.name().to_owned()).collect(),
                experiments: Vec::new(),
                streams: Vec::new(),
            }));
        }
        ClientFrame::Resume(resume) => {
            world.log(format!("voice resume {:?}", resume.seq_ack));
            // The test's clients resume one at a time, and there is only one that may.
            let user =
                *world.voices.keys().find(|user| world.voices[user].is_closed()).expect("somebody is away");
            *me = Some(user);
            world.voices.insert(user, sender.clone());
            push(ServerFrame::Resumed);
        }
        ClientFrame::SelectProtocol(select) => {
            let user = me.expect("identified");
            let mode: Mode = select.data.unwrap().mode.parse().unwrap();
            let ssrc = user.0 as u32 * 10;
            let key = [user.0 as u8; 32];
            let nonces = NonceCounter::server(0x9000_0000);
            let security = transport::Session::new(mode, &Key::new(key), nonces, [user.0 as u8; 16]);
            world.legs.insert(ssrc, Leg { user, security, window: ReplayWindow::new(), address: None });
            push(ServerFrame::SessionDescription(SessionDescription {
                mode: mode.name().to_owned(),
                secret_key: SecretKey(key),
                audio_codec: Some("opus".to_owned()),
                video_codec: None,
                media_session_id: None,
                dave_protocol_version: 0,
            }));
            for (ssrc, leg) in world.legs.iter().filter(|(_, leg)| leg.user != user) {
                push(ServerFrame::Speaking(ServerSpeaking { speaking: 0, ssrc: *ssrc, user_id: leg.user }));
            }
            world.tell_voices(user, &ServerFrame::ClientsConnect(ClientsConnect { user_ids: vec![user] }));
        }
        ClientFrame::Speaking(said) => {
            let user = me.expect("identified");
            world.log(format!("speaking {user} {}", said.speaking));
            let ssrc = user.0 as u32 * 10;
            let frame = ServerSpeaking { speaking: said.speaking, ssrc, user_id: user };
            world.tell_voices(user, &ServerFrame::Speaking(frame));
        }
        ClientFrame::Heartbeat(beat) => push(ServerFrame::HeartbeatAck(beat.nonce)),
        ClientFrame::BackendVersion | ClientFrame::Other(_) => {}
    }
}

/// Serves one WebSocket until either side ends it.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut ws: WebSocketStream<S>,
    mut pushed: UnboundedReceiver<Push>,
    mut handle: impl FnMut(&str),
) {
    loop {
        tokio::select! {
            message = ws.next() => match message {
                Some(Ok(Message::Text(text))) => handle(&text),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            push = pushed.recv() => match push {
                Some(Push::Text(text)) => {
                    if ws.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                Some(Push::Close(code)) => {
                    let _ = ws.close(Some(CloseFrame { code: CloseCode::from(code), reason: "".into() })).await;
                    // Read to the end, so that the other side sees the code and no reset.
                    while let Some(Ok(_)) = ws.next().await {}
                    return;
                }
                Some(Push::Cut) | None => return,
            },
        }
    }
}

async fn serve_relay(socket: UdpSocket, world: Arc<Mutex<World>>) {
    let mut buf = [0; 2048];
    // The first discovery of every client gets lost, as it does in real life.
    let mut asked = std::collections::HashSet::new();
    while let Ok((len, from)) = socket.recv_from(&mut buf).await {
        let datagram = &mut buf[..len];
        if let Some(request) = rtp_wire::DiscoveryRequest::parse(datagram) {
            if asked.insert(from) {
                continue;
            }
            let answer = rtp_wire::DiscoveryResponse { ssrc: request.ssrc, ip: from.ip(), port: from.port() };
            let mut out = [0; rtp_wire::DISCOVERY_LEN];
            answer.write(&mut out).unwrap();
            let _ = socket.send_to(&out, from).await;
            continue;
        }
        let mut world = world.lock().unwrap();
        for (datagram, to) in relay(&mut world, datagram, from) {
            let _ = socket.try_send_to(&datagram, to);
        }
    }
}

fn relay(world: &mut World, datagram: &mut [u8], from: SocketAddr) -> Vec<(Vec<u8>, SocketAddr)> {
    let rtcp = rtp_wire::classify(datagram) == rtp_wire::Kind::Rtcp;
    let ssrc =
        if rtcp { rtp_wire::rtcp::peek_ssrc(datagram) } else { rtp_wire::RtpHeader::peek_ssrc(datagram) };
    let Some(leg) = ssrc.and_then(|ssrc| world.legs.get_mut(&ssrc.0)) else { return Vec::new() };
    if rtcp {
        if leg.security.open_rtcp(datagram).is_ok() {
            leg.address = Some(from);
            let user = leg.user;
            world.log(format!("media {user}"));
        }
        return Vec::new();
    }
    let Ok(opened) = leg.security.open_rtp(datagram, &mut leg.window) else { return Vec::new() };
    leg.address = Some(from);
    let user = leg.user;
    let others = world.legs.values_mut().filter(|other| other.user != user);
    others
        .filter_map(|other| {
            let mut copy = vec![0; opened.len + Mode::OVERHEAD_MAX];
            copy[..opened.len].copy_from_slice(&datagram[..opened.len]);
            let len = other.security.seal_rtp(&mut copy, opened.len).ok()?;
            copy.truncate(len);
            Some((copy, other.address?))
        })
        .collect()
}
