//! A client's connection to its gateway: it identifies, beats and resumes, and takes note of what it is told.

use std::collections::BTreeMap;

use client_wire::gateway::{CloseCode, FromClient, FromServer, Identify, Intents, Ready, Resume};
use client_wire::object;
use model::GuildId;
use serde_json::value::RawValue;

use crate::client::PATIENCE;
use crate::event::Timer;
use crate::gateway::HEARTBEAT;
use crate::net::{ServerEnd, Up};
use crate::time::{ms, secs};
use crate::world::World;

impl World {
    pub fn connect_gateway(&mut self, client: usize) {
        let nodes = self.gateways.len() as u64;
        let this = &mut self.clients[client];
        // Where its session is not to be had it is tried elsewhere.
        if this.session.is_none() || this.attempts > 1 {
            this.node = this.random.below(nodes) as usize;
        }
        let node = this.node;
        let id = self.connect(client, ServerEnd::Gateway(node));
        let this = &mut self.clients[client];
        (this.gateway, this.is_live, this.is_acknowledged) = (Some(id), false, true);
        // A greeting that does not come is waited for no longer than this.
        self.arm(client, Timer::GatewayBeat, secs(5));
    }

    pub fn say(&mut self, client: usize, frame: &FromClient) {
        if let Some(id) = self.clients[client].gateway {
            self.up(id, Up::Text(frame.encode()));
        }
    }

    pub fn gateway_says(&mut self, client: usize, text: &str) {
        match FromServer::parse(text.as_bytes()).expect("what a gateway sends can be read") {
            FromServer::Hello { .. } => self.introduce(client),
            FromServer::HeartbeatAck => self.clients[client].is_acknowledged = true,
            FromServer::Heartbeat => self.say(client, &FromClient::Heartbeat(None)),
            FromServer::Reconnect => self.lose_gateway(client, 0),
            FromServer::InvalidSession { may_resume } => {
                if !may_resume {
                    self.clients[client].session = None;
                }
                let wait = self.clients[client].random.between(secs(1), secs(2));
                self.lose_gateway(client, wait);
            }
            FromServer::Dispatch { seq, t, d } => {
                if let Some((_, last)) = &mut self.clients[client].session {
                    // A resumed session counts on, a live one has no gap.
                    if seq != *last + 1 {
                        let last = *last;
                        return self.fail(format!("client {client} was sent number {seq} after {last}"));
                    }
                    *last = seq;
                }
                self.dispatch(client, seq, &t, &d);
            }
        }
    }

    fn introduce(&mut self, client: usize) {
        let this = &mut self.clients[client];
        let token = format!("token-{}", this.user);
        let hello = match &this.session {
            Some((session_id, seq)) => {
                FromClient::Resume(Resume { token, session_id: session_id.clone(), seq: *seq })
            }
            None => FromClient::Identify(Box::new(Identify {
                token,
                intents: Some((Intents::GUILDS | Intents::GUILD_VOICE_STATES).bits()),
                shard: None,
                presence: None,
                properties: Default::default(),
            })),
        };
        self.say(client, &hello);
        self.arm(client, Timer::GatewayBeat, HEARTBEAT.as_micros() as u64);
    }

    pub fn beat_gateway(&mut self, client: usize) {
        let this = &mut self.clients[client];
        if this.gateway.is_none() {
            return;
        }
        if !std::mem::take(&mut this.is_acknowledged) || !this.is_live {
            return self.lose_gateway(client, 0);
        }
        let seq = this.session.as_ref().map(|(_, seq)| *seq);
        self.say(client, &FromClient::Heartbeat(seq));
        self.arm(client, Timer::GatewayBeat, HEARTBEAT.as_micros() as u64);
    }

    pub fn gateway_closed(&mut self, client: usize, code: Option<u16>) {
        self.trace.note(self.now, || format!("client {client}: its gateway closed, {code:?}"));
        let known = code.and_then(CloseCode::from_number);
        if known.is_some_and(CloseCode::is_fatal) {
            return self.fail(format!("client {client} is refused by its gateway: {known:?}"));
        }
        if matches!(
            known,
            Some(
                CloseCode::Normal
                    | CloseCode::NotAuthenticated
                    | CloseCode::AlreadyAuthenticated
                    | CloseCode::InvalidSeq
                    | CloseCode::SessionTimedOut
            )
        ) {
            self.clients[client].session = None;
        }
        self.lose_gateway(client, 0);
    }

    /// Tries again, after this and the usual wait.
    fn lose_gateway(&mut self, client: usize, wait: u64) {
        if let Some(id) = self.clients[client].gateway.take() {
            self.up(id, Up::Closed(None));
        }
        let this = &mut self.clients[client];
        this.is_live = false;
        let wait = wait + this.backoff(this.attempts);
        this.attempts += 1;
        self.disarm(client, Timer::GatewayBeat);
        self.arm(client, Timer::GatewayConnect, wait);
    }

    /// Somebody has pressed a button, instead of waiting for the next attempt.
    pub fn try_gateway_at_once(&mut self, client: usize) {
        let this = &mut self.clients[client];
        this.attempts = 0;
        if this.gateway.is_none() {
            self.arm(client, Timer::GatewayConnect, ms(100));
        }
    }

    fn dispatch(&mut self, client: usize, seq: u64, t: &str, d: &RawValue) {
        match t {
            "READY" => {
                let ready: Ready = read(d);
                let node = self.clients[client].node;
                self.clients[client].began_at = (node, self.gateways[node].life);
                self.clients[client].is_adopted = false;
                let this = &mut self.clients[client];
                this.session = Some((ready.session_id.clone(), seq));
                (this.is_live, this.attempts) = (true, 0);
                // What the old session was granted is void.
                (this.admitted, this.joined) = (false, false);
                this.seen.clear();
                self.trace.note(self.now, || format!("client {client}: READY {}", &ready.session_id[..8]));
                self.ask(client);
            }
            "RESUMED" => {
                let node = self.clients[client].node;
                let at = (node, self.gateways[node].life);
                let this = &mut self.clients[client];
                this.is_adopted |= this.began_at != at;
                (this.is_live, this.attempts) = (true, 0);
                this.has_asked = false;
                self.repeat_wish(client);
            }
            "GUILD_CREATE" => {
                let guild: object::GuildCreate = read(d);
                let id = guild.guild.id;
                let states: BTreeMap<_, _> =
                    guild.voice_states.into_iter().map(|state| (state.user_id, state)).collect();
                let own = states.get(&self.clients[client].user).cloned();
                self.clients[client].seen.insert(id, states);
                self.see_own_place(client, id, own);
            }
            "GUILD_DELETE" => {
                let guild: GuildEnd = read(d);
                self.clients[client].seen.remove(&guild.id);
                // In an outage it stays where it is.
                if self.clients[client].guild == guild.id && !guild.unavailable {
                    self.put_out(client);
                }
            }
            "CHANNEL_DELETE" => {
                let channel: object::Channel = read(d);
                for states in self.clients[client].seen.values_mut() {
                    states.retain(|_, state| state.channel_id != Some(channel.id));
                }
            }
            "VOICE_STATE_UPDATE" => self.see_voice_state(client, read(d)),
            "VOICE_SERVER_UPDATE" => self.see_voice_server(client, read(d)),
            _ => {}
        }
    }

    /// What it missed of itself: where it was moved, or that it is in no channel, which it asks for again.
    fn see_own_place(&mut self, client: usize, guild: GuildId, own: Option<object::VoiceState>) {
        let this = &mut self.clients[client];
        if guild != this.guild || this.wants.is_none() {
            return;
        }
        let own = own.filter(|own| this.session_id() == Some(own.session_id.as_str()));
        match own.and_then(|own| own.channel_id) {
            Some(channel) => this.wants = Some(channel),
            None if this.admitted => {
                this.admitted = false;
                self.ask(client);
            }
            None => {}
        }
    }

    /// Nothing says whether a wish sent just before an interruption was heard.
    fn repeat_wish(&mut self, client: usize) {
        let this = &self.clients[client];
        if this.wants.is_none() {
            let is_in = |(guild, seen): (&GuildId, &BTreeMap<_, _>)| seen.get(&this.user).map(|_| *guild);
            let left: Vec<GuildId> = this.seen.iter().filter_map(is_in).collect();
            return left.into_iter().for_each(|guild| self.say_voice_state(client, guild, None));
        }
        let own = this.seen.get(&this.guild).and_then(|seen| seen.get(&this.user));
        let is_heard = own.is_some_and(|own| {
            own.channel_id == this.wants && (own.self_mute, own.self_deaf) == (this.mute, this.deaf)
        });
        match this.voice {
            None if is_heard || own.is_none() => self.client_deadline(client),
            // Otherwise it would be sent back to where it no longer wishes to be.
            None => self.ask(client),
            Some(_) if is_heard => {}
            Some(_) => self.say_wish(client),
        }
    }

    fn see_voice_state(&mut self, client: usize, state: object::VoiceState) {
        let this = &mut self.clients[client];
        let Some(guild) = state.guild_id else { return };
        let Some(seen) = this.seen.get_mut(&guild) else {
            return self.fail(format!("client {client} is told of a voice state before its guild"));
        };
        match state.channel_id {
            Some(_) => seen.insert(state.user_id, state.clone()),
            None => seen.remove(&state.user_id),
        };
        let is_own = state.user_id == this.user
            && this.session.as_ref().is_some_and(|(id, _)| *id == state.session_id);
        // A wish to be in another guild is fulfilled.
        if is_own && guild != this.guild && state.channel_id.is_some() {
            (this.guild, this.wants, this.joined) = (guild, state.channel_id, false);
            self.arm(client, Timer::Deadline, PATIENCE);
        }
        let this = &mut self.clients[client];
        if !is_own || guild != this.guild {
            return;
        }
        match state.channel_id {
            Some(channel) => {
                this.admitted = true;
                match this.wants {
                    Some(_) => this.wants = Some(channel),
                    // A wish was fulfilled that it has no more.
                    None => self.say_wish(client),
                }
            }
            None if this.joined || this.voice.is_some() => self.put_out(client),
            None => {}
        }
    }

    fn see_voice_server(&mut self, client: usize, server: object::VoiceServer) {
        let this = &self.clients[client];
        if server.guild_id != this.guild || this.wants.is_none() {
            return;
        }
        self.trace.note(self.now, || format!("client {client}: sent to {:?}", server.endpoint));
        match server.endpoint {
            None => {
                self.leave_voice(client);
                self.disarm(client, Timer::Deadline);
            }
            Some(endpoint) => {
                self.clients[client].has_pinged = false;
                self.begin_voice(client, endpoint, server.token);
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct GuildEnd {
    id: GuildId,
    #[serde(default)]
    unavailable: bool,
}

fn read<T: serde::de::DeserializeOwned>(d: &RawValue) -> T {
    serde_json::from_str(d.get()).expect("what is dispatched can be read")
}
