//! What clients say: IDENTIFY, RESUME, SELECT PROTOCOL, heartbeats.

use std::net::SocketAddrV4;

use client_wire::voice::{
    BackendVersion, CURRENT_MODES, ClientFrame, CloseCode, FrameError, Heartbeat, Identify, MODES, Op, Ready,
    Resume, SecretKey, SelectProtocol, ServerFrame, SessionDescription,
};
use cluster_wire::token::{TokenError, VoiceToken};
use model::{ChannelId, GuildId, UnixMs};
use sfu_wire::Native;

use crate::core::{VoiceCore, payload};
use crate::limits::{CONFIRM_TIMEOUT, LEGS_PER_SHARD_MAX, MESSAGE_BYTES_MAX};
use crate::outbox::{Outbox, Payload};
use crate::session::{Link, Presence, Session, Speaking, Stage};
use crate::timers::Reason;
use crate::{ConnId, Event, Now, Output, SessionKey};

impl VoiceCore {
    pub fn handle_text(&mut self, now: Now, conn: ConnId, text: &str) {
        if !self.admit(now, conn) {
            return;
        }
        if text.len() > MESSAGE_BYTES_MAX {
            return self.handle_oversize(conn);
        }
        match ClientFrame::read(text) {
            Ok(frame) => self.handle_frame(now, conn, frame),
            Err(FrameError::Malformed) => self.fault(conn, CloseCode::DecodeError),
            Err(FrameError::UnknownOp) => self.fault(conn, CloseCode::UnknownOpcode),
        }
    }

    /// Binary messages belong to end-to-end encryption, which no session of ours uses: the known ones are without effect.
    pub fn handle_binary(&mut self, now: Now, conn: ConnId, bytes: &[u8]) {
        if !self.admit(now, conn) {
            return;
        }
        let Some(state) = self.conns.get(&conn) else { return };
        let identified = state.session.is_some();
        match bytes.first().copied().and_then(Op::from_number) {
            _ if bytes.len() > MESSAGE_BYTES_MAX || bytes.is_empty() => {
                self.fault(conn, CloseCode::DecodeError)
            }
            Some(Op::DaveKeyPackage | Op::DaveCommitWelcome) if identified => {}
            Some(Op::DaveKeyPackage | Op::DaveCommitWelcome) => self.fault(conn, CloseCode::NotAuthenticated),
            _ => self.fault(conn, CloseCode::UnknownOpcode),
        }
    }

    /// The shell refused to read a message that is too long.
    pub fn handle_oversize(&mut self, conn: ConnId) {
        self.fault(conn, CloseCode::DecodeError);
    }

    fn admit(&mut self, now: Now, conn: ConnId) -> bool {
        let Some(state) = self.conns.get_mut(&conn) else { return false };
        let admitted = state.admit(now.instant);
        if !admitted {
            self.fault(conn, CloseCode::RateLimited);
        }
        admitted
    }

    fn handle_frame(&mut self, now: Now, conn: ConnId, frame: ClientFrame) {
        let Some(state) = self.conns.get(&conn) else { return };
        match (frame, state.session) {
            (ClientFrame::Heartbeat(heartbeat), session) => self.heartbeat(now, conn, session, heartbeat),
            (ClientFrame::Identify(identify), None) => self.identify(now, conn, &identify),
            (ClientFrame::Resume(resume), None) => self.resume(conn, &resume),
            (_, None) => self.fault(conn, CloseCode::NotAuthenticated),
            (ClientFrame::Identify(_) | ClientFrame::Resume(_), Some(_)) => {
                self.fault(conn, CloseCode::AlreadyAuthenticated);
            }
            (ClientFrame::SelectProtocol(select), Some(key)) => self.select(now, conn, key, &select),
            (ClientFrame::Speaking(speaking), Some(key)) => self.client_speaking(key, speaking.speaking),
            (ClientFrame::BackendVersion, Some(_)) => {
                let version = self.config.version.clone();
                let versions = BackendVersion { voice: version.clone(), rtc_worker: version };
                self.send(conn, &ServerFrame::BackendVersion(versions));
            }
            (ClientFrame::Other(_), Some(_)) => {}
        }
    }

    /// The client broke the protocol: its connection is closed, and with it its presence, since no library resumes after these codes.
    pub(crate) fn fault(&mut self, conn: ConnId, code: CloseCode) {
        match self.conns.get(&conn).and_then(|state| state.session) {
            Some(key) => self.end_presence(key, Some(code)),
            None => self.close(conn, code),
        }
    }

    fn heartbeat(&mut self, now: Now, conn: ConnId, session: Option<SessionKey>, heartbeat: Heartbeat) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.last_heartbeat = now.instant;
        }
        if let (Some(presence), Some(ack)) =
            (session.and_then(|key| self.presence_mut(key)), heartbeat.seq_ack)
        {
            // Here a negative number says "nothing yet", which acknowledges nothing.
            if ack >= 0 {
                presence.outbox.acknowledge(ack);
            }
        }
        self.send(conn, &ServerFrame::HeartbeatAck(heartbeat.nonce));
    }

    /// Reads a token. An expired one is still good for a session that guilds keeps placed here: libraries use theirs for as long as
    /// the session lives.
    fn claims(
        &self,
        now: UnixMs,
        token: &str,
        guild: GuildId,
        session: &str,
    ) -> Result<VoiceToken, CloseCode> {
        let session = session.parse().map_err(|_| CloseCode::AuthenticationFailed)?;
        let verify = |now| VoiceToken::verify(token, &self.config.token_key, now, guild, session);
        let claims = match verify(now) {
            Err(TokenError::Expired) => verify(UnixMs(0)).ok().filter(|claims| {
                self.session(key_of(claims)).is_some_and(|session| session.placed.is_some())
            }),
            other => other.ok(),
        };
        let claims = claims.ok_or(CloseCode::AuthenticationFailed)?;
        if claims.server != self.config.server {
            return Err(CloseCode::ServerNotFound);
        }
        Ok(claims)
    }

    fn identify(&mut self, now: Now, conn: ConnId, identify: &Identify) {
        let claims = match self.claims(now.wall, &identify.token, identify.server_id, &identify.session_id) {
            Ok(claims) => claims,
            Err(code) => return self.close(conn, code),
        };
        if claims.user != identify.user_id {
            return self.close(conn, CloseCode::AuthenticationFailed);
        }
        let key = key_of(&claims);
        // An earlier connection of the session is replaced. Libraries wait for this very code on it when they have moved.
        self.withdraw(key, Some(CloseCode::Disconnected));
        let channel = self.channel_of(&claims);
        let shard = self.rooms.shard_for(channel);
        if self.rooms.load(shard) >= LEGS_PER_SHARD_MAX {
            self.end_presence(key, None);
            return self.close(conn, CloseCode::RateLimited);
        }
        self.begin_presence(now, conn, identify, &claims, channel);
    }

    /// Where this token's bearer belongs: where guilds has placed it, unless the token is newer than any seen before and says otherwise;
    /// then the placement is on its way.
    fn channel_of(&self, claims: &VoiceToken) -> ChannelId {
        let session = self.session(key_of(claims));
        match session.and_then(|s| s.placed.map(|placed| (placed.channel, s.serial))) {
            Some((channel, serial)) if claims.serial <= serial => channel,
            _ => claims.channel,
        }
    }

    fn begin_presence(
        &mut self,
        now: Now,
        conn: ConnId,
        identify: &Identify,
        claims: &VoiceToken,
        channel: ChannelId,
    ) {
        let key = key_of(claims);
        let shard = self.rooms.add_leg(channel);
        self.last_leg += 1;
        let leg = self.last_leg;
        self.legs[shard as usize].insert(leg, key);

        let sessions = &mut self.guilds.entry(key.guild).or_default().sessions;
        let session = sessions.entry(key.session).or_insert_with(|| Session::new(claims.user));
        session.serial = session.serial.max(claims.serial);
        // Guilds may have told the client where to go anew, and waits to hear that it came.
        session.reported_live = false;
        let ssrc = *session.ssrc.get_or_insert_with(|| self.ssrcs.allocate(&mut self.random));
        session.presence = Some(Presence {
            channel,
            shard,
            leg,
            stage: Stage::Identified,
            link: Link::Attached(conn),
            native: None,
            webrtc: None,
            identified_at: now.instant,
            outbox: Outbox::default(),
            speaking: Speaking::default(),
        });
        let confirmed = session.is_confirmed();
        if let Some(state) = self.conns.get_mut(&conn) {
            state.session = Some(key);
            // Silence counts from here: a client that is slow to identify has not missed a beat.
            state.last_heartbeat = now.instant;
        }

        self.put_leg(key);
        self.authenticated(conn);
        let ready = Ready {
            ssrc,
            ip: self.config.media_ip,
            port: self.config.media_ports[shard as usize],
            modes: self.offer(identify),
            experiments: vec![],
            streams: vec![],
        };
        self.send(conn, &ServerFrame::Ready(ready));
        self.report_live(key);
        if confirmed {
            self.enter_room(key);
        } else {
            self.timers.arm(now.instant + CONFIRM_TIMEOUT, Reason::Confirm { key, leg });
        }
    }

    /// The modes this client is offered. One that knows of end-to-end encryption, be it only to say that it has none, is of a time
    /// after the retired modes, and spared reading of them; it may still choose one.
    fn offer(&self, identify: &Identify) -> Vec<String> {
        let modes = &self.config.modes;
        let current = modes.iter().filter(|mode| MODES[..CURRENT_MODES].contains(&mode.as_str()));
        match identify.max_dave_protocol_version {
            Some(_) if current.clone().next().is_some() => current.cloned().collect(),
            _ => modes.clone(),
        }
    }

    fn select(&mut self, now: Now, conn: ConnId, key: SessionKey, select: &SelectProtocol) {
        match select.protocol.as_str() {
            "udp" => self.select_udp(now, conn, key, select),
            "webrtc" => self.select_webrtc(now, conn, key, select),
            _ => self.fault(conn, CloseCode::UnknownProtocol),
        }
    }

    fn select_udp(&mut self, now: Now, conn: ConnId, key: SessionKey, select: &SelectProtocol) {
        let Some(data) = &select.data else { return self.fault(conn, CloseCode::DecodeError) };
        if !self.config.modes.contains(&data.mode) {
            return self.fault(conn, CloseCode::UnknownMode);
        }
        // A fresh key for each selection, so that no counter has ever run under it.
        let mut secret = [0; 32];
        (self.random)(&mut secret);
        let claimed = data.address.parse().map(|ip| SocketAddrV4::new(ip, data.port).to_string());
        let native = Native {
            mode: data.mode.clone(),
            key: secret.to_vec(),
            claimed_address: claimed.unwrap_or_default(),
        };
        // Bots name no codecs and get no answer about them: a join costs them a thousand bytes at most.
        let video = select.codecs.is_some();
        let description = SessionDescription {
            mode: data.mode.clone(),
            secret_key: SecretKey(secret),
            audio_codec: Some("opus".to_owned()),
            video_codec: video.then(|| "H264".to_owned()),
            media_session_id: video.then(|| self.media_session_id()),
            dave_protocol_version: 0,
        };
        let Some(presence) = self.presence_mut(key) else { return };
        presence.native = Some(native);
        if let Some(webrtc) = presence.webrtc.take() {
            let leg = presence.leg;
            self.ufrags.remove(&webrtc.ufrag);
            self.outputs.push_back(Output::EndDtls { leg });
        }
        self.describe(now, key, &ServerFrame::SessionDescription(description));
    }

    pub(crate) fn media_session_id(&mut self) -> String {
        let mut id = [0; 16];
        (self.random)(&mut id);
        format!("{:032x}", u128::from_le_bytes(id))
    }

    /// A protocol has been agreed upon: the relay is told first, then the client, and with the first time everyone else.
    pub(crate) fn describe(&mut self, now: Now, key: SessionKey, description: &ServerFrame) {
        let Some(presence) = self.presence_mut(key) else { return };
        let first = presence.stage == Stage::Identified;
        let after = now.instant.saturating_duration_since(presence.identified_at);
        presence.stage = Stage::Described;
        self.put_leg(key);
        self.tell(key, payload(description));
        if first {
            self.event(Event::Described { after });
            self.appear(key);
        }
    }

    fn resume(&mut self, conn: ConnId, resume: &Resume) {
        // Whether the token has expired is no matter for a session that lives, and no other is resumed.
        let claims = match self.claims(UnixMs(0), &resume.token, resume.server_id, &resume.session_id) {
            Ok(claims) => claims,
            Err(code) => return self.close(conn, code),
        };
        let key = key_of(&claims);
        let numbered = self.conns.get(&conn).is_some_and(|state| state.version.is_numbered());
        let Some(missed) = self.missed(key, numbered, resume.seq_ack.unwrap_or(-1)) else {
            self.event(Event::ResumeRefused);
            // With the connection that it still has, should that one not know yet that it is dead.
            self.end_presence(key, Some(CloseCode::SessionInvalid));
            return self.close(conn, CloseCode::SessionInvalid);
        };
        self.attach(key, conn);
        self.authenticated(conn);
        self.send(conn, &ServerFrame::Resumed);
        for (seq, payload) in missed {
            self.send_numbered(conn, seq, &payload);
        }
        self.report_live(key);
        self.event(Event::Resumed);
    }

    /// What a resuming client must be told again; `None` when there is no session or not all of it is left.
    fn missed(&mut self, key: SessionKey, numbered: bool, ack: i64) -> Option<Vec<(u16, Payload)>> {
        let presence = self.presence_mut(key)?;
        if numbered {
            let replay = presence.outbox.replay(ack)?;
            return Some(replay.map(|(seq, payload)| (seq, payload.clone())).collect());
        }
        // Before version 8 nothing is numbered, so nothing can be asked for again.
        presence.outbox.forget();
        Some(Vec::new())
    }

    fn attach(&mut self, key: SessionKey, conn: ConnId) {
        let Some(presence) = self.presence_mut(key) else { return };
        let before = std::mem::replace(&mut presence.link, Link::Attached(conn));
        if let Link::Attached(before) = before {
            self.close(before, CloseCode::SessionInvalid);
        }
        if let Some(state) = self.conns.get_mut(&conn) {
            state.session = Some(key);
        }
    }
}

fn key_of(claims: &VoiceToken) -> SessionKey {
    SessionKey { guild: claims.guild, session: claims.session }
}
