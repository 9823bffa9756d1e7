//! A client's voice connection, as `engine` has it.

use client_wire::voice::{
    ClientFrame, CloseCode, Heartbeat, Identify, Ready, Resume, SelectProtocol, ServerFrame,
    SessionDescription, UdpData, Version,
};
use model::GuildId;
use rtp_wire::Ssrc;
use std::net::SocketAddr;
use transport::{Key, Mode};

use crate::client::PATIENCE;
use crate::event::Timer;
use crate::net::{ServerEnd, SocketId, Up};
use crate::time::{ms, secs};
use crate::world::World;

/// After being disconnected for a move, the new server is told within this or asked for.
const MOVE_TIMEOUT: u64 = secs(5);
/// A voice server that does not let us back in after this many attempts has gone: the gateway knows of another.
const ATTEMPTS: u32 = 3;
/// As HELLO asks for.
const HEARTBEAT: u64 = ms(client_wire::voice::HEARTBEAT_INTERVAL_MS);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Never identified.
    Fresh,
    /// A session exists here.
    Established,
    /// Its session was refused; it is tried once more from the beginning.
    Again,
}

pub struct Voice {
    pub socket: Option<SocketId>,
    endpoint: String,
    guild: GuildId,
    token: String,
    session: String,
    phase: Phase,
    has_begun_again: bool,
    seq_ack: Option<i64>,
    attempts: u32,
    unacknowledged: u32,
}

impl World {
    /// The old connection is left; what it carries is heard until the new one has taken its place.
    pub fn begin_voice(&mut self, client: usize, endpoint: String, token: String) {
        let this = &self.clients[client];
        let Some(session) = this.session_id().map(str::to_owned) else { return };
        let guild = this.guild;
        self.leave_voice(client);
        self.clients[client].voice = Some(Voice {
            socket: None,
            endpoint,
            guild,
            token,
            session,
            phase: Phase::Fresh,
            has_begun_again: false,
            seq_ack: None,
            attempts: 0,
            unacknowledged: 0,
        });
        // An answer to what was asked for the old one would be taken for the new one's.
        self.disarm(client, Timer::Discover);
        if let Some(media) = &mut self.clients[client].media {
            media.has_selected = true;
        }
        self.arm(client, Timer::Deadline, PATIENCE);
        self.open_voice(client);
    }

    pub fn leave_voice(&mut self, client: usize) {
        let Some(voice) = self.clients[client].voice.take() else { return };
        self.disarm(client, Timer::VoiceBeat);
        self.disarm(client, Timer::VoiceConnect);
        if let Some(id) = voice.socket {
            let code = self.clients[client].is_polite.then_some(CloseCode::Normal.number());
            self.up(id, Up::Closed(code));
        }
    }

    pub fn open_voice(&mut self, client: usize) {
        let Some(voice) = &self.clients[client].voice else { return };
        let host = self.hosts.iter().position(|host| host.endpoint == voice.endpoint);
        let host = host.expect("guilds names servers that there are");
        let life = self.hosts[host].life;
        let user = self.clients[client].user;
        let id = self.connect(client, ServerEnd::Voice { host, life });
        let voice = self.clients[client].voice.as_mut().expect("it is still there");
        (voice.socket, voice.unacknowledged) = (Some(id), 0);
        let (guild, session, token) = (voice.guild, voice.session.clone(), voice.token.clone());
        let hello = match voice.phase {
            Phase::Established => ClientFrame::Resume(Resume {
                server_id: guild,
                session_id: session,
                token,
                channel_id: None,
                seq_ack: voice.seq_ack,
            }),
            Phase::Fresh | Phase::Again => ClientFrame::Identify(Identify {
                server_id: guild,
                user_id: user,
                session_id: session,
                token,
                channel_id: None,
                max_dave_protocol_version: None,
            }),
        };
        self.say_voice(client, &hello);
        // Until HELLO says how often to beat, this is how long it is waited for.
        self.arm(client, Timer::VoiceBeat, secs(10));
    }

    fn say_voice(&mut self, client: usize, frame: &ClientFrame) {
        if let Some(id) = self.clients[client].voice.as_ref().and_then(|voice| voice.socket) {
            self.up(id, Up::Text(frame.text(Version::V8)));
        }
    }

    pub fn beat_voice(&mut self, client: usize) {
        let Some(voice) = &mut self.clients[client].voice else { return };
        if voice.unacknowledged == 2 {
            return self.voice_breaks(client);
        }
        voice.unacknowledged += 1;
        let beat = ClientFrame::Heartbeat(Heartbeat { nonce: 1.into(), seq_ack: voice.seq_ack });
        self.say_voice(client, &beat);
        self.arm(client, Timer::VoiceBeat, HEARTBEAT);
    }

    pub fn voice_says(&mut self, client: usize, text: &str) {
        let (frame, seq) = ServerFrame::read(text).expect("what a voice server sends can be read");
        let voice = self.clients[client].voice.as_mut().expect("the caller has looked");
        voice.seq_ack = seq.map(i64::from).or(voice.seq_ack);
        match frame {
            ServerFrame::Hello(_) => self.arm(client, Timer::VoiceBeat, HEARTBEAT),
            ServerFrame::HeartbeatAck(_) => voice.unacknowledged = 0,
            ServerFrame::Ready(ready) => self.voice_ready(client, &ready),
            ServerFrame::SessionDescription(description) => self.voice_described(client, &description),
            ServerFrame::Resumed => {
                (voice.phase, voice.attempts) = (Phase::Established, 0);
                self.trace.note(self.now, || format!("client {client}: voice resumed"));
            }
            _ => {}
        }
    }

    fn voice_ready(&mut self, client: usize, ready: &Ready) {
        let this = &mut self.clients[client];
        let voice = this.voice.as_mut().expect("the caller has looked");
        (voice.phase, voice.attempts) = (Phase::Established, 0);
        let modes: Vec<Mode> = ready.modes.iter().filter_map(|name| name.parse().ok()).collect();
        let mode = *this.random.pick(&modes).expect("modes are offered");
        let server = SocketAddr::from((ready.ip, ready.port));
        self.trace
            .note(self.now, || format!("client {client}: voice ready at {server}, ssrc {}", ready.ssrc));
        self.begin_media(client, server, Ssrc(ready.ssrc), mode);
    }

    /// The relay has said where it sees us.
    pub fn select(&mut self, client: usize, at: SocketAddr, mode: Mode) {
        let data = UdpData { address: at.ip().to_string(), port: at.port(), mode: mode.name().to_owned() };
        let select = SelectProtocol { protocol: "udp".to_owned(), data: Some(data), sdp: None, codecs: None };
        self.say_voice(client, &ClientFrame::SelectProtocol(select));
    }

    fn voice_described(&mut self, client: usize, description: &SessionDescription) {
        self.trace.note(self.now, || format!("client {client}: voice connected, {}", description.mode));
        self.take_key(client, &Key::new(description.secret_key.0));
        self.voice_stands(client);
    }

    pub fn voice_closed(&mut self, client: usize, code: Option<u16>) {
        self.trace.note(self.now, || format!("client {client}: its voice server closed, {code:?}"));
        let this = &mut self.clients[client];
        let gateway_session = this.session_id().map(str::to_owned);
        let voice = this.voice.as_mut().expect("the caller has looked");
        voice.socket = None;
        let is_current = gateway_session.as_ref() == Some(&voice.session);
        match code.and_then(CloseCode::from_number) {
            Some(CloseCode::Disconnected | CloseCode::CallTerminated) => {
                self.voice_lost(client, Some(MOVE_TIMEOUT));
            }
            Some(CloseCode::SessionInvalid)
                if voice.phase == Phase::Established && is_current && !voice.has_begun_again =>
            {
                (voice.phase, voice.seq_ack, voice.has_begun_again) = (Phase::Again, None, true);
                self.voice_breaks(client);
            }
            Some(
                CloseCode::GoingAway
                | CloseCode::UnknownOpcode
                | CloseCode::DecodeError
                | CloseCode::SessionTimeout
                | CloseCode::RelayCrashed
                | CloseCode::ServerCrashed,
            )
            | None => self.voice_breaks(client),
            Some(_) => self.voice_lost(client, None),
        }
    }

    /// Worth another attempt.
    fn voice_breaks(&mut self, client: usize) {
        self.disarm(client, Timer::VoiceBeat);
        let this = &mut self.clients[client];
        let voice = this.voice.as_mut().expect("the caller has looked");
        let socket = voice.socket.take();
        let attempts = voice.attempts;
        voice.attempts += 1;
        let wait = this.backoff(attempts);
        if let Some(id) = socket {
            self.up(id, Up::Closed(None));
        }
        if attempts >= ATTEMPTS {
            return self.voice_lost(client, None);
        }
        self.arm(client, Timer::VoiceConnect, wait);
    }
}
