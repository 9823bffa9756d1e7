//! A client, as our own behaves (`engine`): it resumes where it can, and asks its gateway anew where it cannot.

use std::collections::BTreeMap;

use client_wire::gateway::{
    CloseCode, FromClient, FromServer, Identify, Intents, Ready, Resume, VoiceStateUpdate,
};
use client_wire::object;
use model::{ChannelId, GuildId, UserId};
use serde_json::value::RawValue;

use crate::event::{Event, Timer};
use crate::gateway::HEARTBEAT;
use crate::media::Media;
use crate::net::{Down, ServerEnd, SocketId, Up};
use crate::random::Random;
use crate::time::{At, ms, secs};
use crate::voice::Voice;
use crate::world::World;

/// An unanswered wish to join means no.
pub const PATIENCE: u64 = secs(10);
/// Waits between attempts double from the first to the last of these.
const RETRY_FIRST: u64 = ms(250);
const RETRY_LAST: u64 = secs(15);

/// It reaches nobody, and nobody reaches it.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    pub until: At,
    /// Connections survive it.
    pub is_gentle: bool,
}

pub struct Client {
    pub user: UserId,
    pub guild: GuildId,
    /// Where it wants to be.
    pub wants: Option<ChannelId>,
    pub mute: bool,
    pub deaf: bool,
    /// Says goodbye to a voice server that it leaves, as some libraries do; the others just go.
    pub is_polite: bool,
    pub outage: Option<Outage>,
    pub has_vanished: bool,

    gateway: Option<SocketId>,
    node: usize,
    session: Option<(String, u64)>,
    /// READY or RESUMED has come on this connection.
    pub is_live: bool,
    is_acknowledged: bool,
    attempts: u32,

    /// Its voice state was seen in a channel, so whatever is missing, it is not permission.
    admitted: bool,
    /// It has asked for its place, and it was not to be had if nothing has come of it in time.
    has_asked: bool,
    /// It has asked for its voice server last, and not for its place.
    has_pinged: bool,
    pub joined: bool,
    pub voice: Option<Voice>,
    voice_attempts: u32,
    pub media: Option<Media>,
    /// What it was told of voice states.
    pub seen: BTreeMap<GuildId, BTreeMap<UserId, object::VoiceState>>,
    /// How often each timer was set.
    timers: BTreeMap<u8, u64>,
    pub random: Random,
}

impl Client {
    pub fn new(seed: u64, number: usize, guild: GuildId) -> Self {
        let mut random = Random::new(seed, &format!("client {number}"));
        Self {
            user: UserId(number as u64 + 1),
            guild,
            wants: None,
            mute: false,
            deaf: false,
            is_polite: random.chance(500),
            outage: None,
            has_vanished: false,
            gateway: None,
            node: 0,
            session: None,
            is_live: false,
            is_acknowledged: true,
            attempts: 0,
            admitted: false,
            has_asked: false,
            has_pinged: false,
            joined: false,
            voice: None,
            voice_attempts: 0,
            media: None,
            seen: BTreeMap::new(),
            timers: BTreeMap::new(),
            random,
        }
    }

    pub fn session_id(&self) -> Option<&str> {
        self.session.as_ref().map(|(id, _)| id.as_str())
    }

    pub fn backoff(&mut self, attempts: u32) -> u64 {
        let full = (RETRY_FIRST << attempts.min(10)).min(RETRY_LAST);
        self.random.between(full / 2, full)
    }
}

impl World {
    pub fn arm(&mut self, client: usize, timer: Timer, delay: u64) {
        let count = self.clients[client].timers.entry(timer as u8).or_default();
        *count += 1;
        let count = *count;
        self.after(delay, Event::Client(client, timer, count));
    }

    pub fn disarm(&mut self, client: usize, timer: Timer) {
        *self.clients[client].timers.entry(timer as u8).or_default() += 1;
    }

    pub fn client_wakes(&mut self, client: usize, timer: Timer, count: u64) {
        let this = &self.clients[client];
        if this.has_vanished || this.timers.get(&(timer as u8)) != Some(&count) {
            return;
        }
        match timer {
            Timer::GatewayConnect => self.connect_gateway(client),
            Timer::GatewayBeat => self.beat_gateway(client),
            Timer::VoiceConnect => self.open_voice(client),
            Timer::VoiceBeat => self.beat_voice(client),
            Timer::Deadline => self.client_deadline(client),
            Timer::Discover => self.discover(client),
            Timer::Talk => self.talk(client),
            Timer::Keepalive => self.keep_alive(client),
        }
    }

    pub fn client_hears(&mut self, client: usize, id: SocketId, down: Down) {
        if self.clients[client].has_vanished {
            return;
        }
        if self.clients[client].gateway == Some(id) {
            match down {
                Down::Text(text) => self.gateway_says(client, &text),
                Down::Closed(code) => self.gateway_closed(client, code),
            }
        } else if self.clients[client].voice.as_ref().is_some_and(|voice| voice.socket == Some(id)) {
            match down {
                Down::Text(text) => self.voice_says(client, &text),
                Down::Closed(code) => self.voice_closed(client, code),
            }
        }
    }

    // The gateway.

    fn connect_gateway(&mut self, client: usize) {
        let nodes = self.gateways.len() as u64;
        let this = &mut self.clients[client];
        if this.session.is_none() {
            this.node = this.random.below(nodes) as usize;
        }
        let node = this.node;
        let id = self.connect(client, ServerEnd::Gateway(node));
        let this = &mut self.clients[client];
        (this.gateway, this.is_live, this.is_acknowledged) = (Some(id), false, true);
        // A greeting that does not come is waited for no longer than this.
        self.arm(client, Timer::GatewayBeat, secs(5));
    }

    fn say(&mut self, client: usize, frame: &FromClient) {
        if let Some(id) = self.clients[client].gateway {
            self.up(id, Up::Text(frame.encode()));
        }
    }

    fn gateway_says(&mut self, client: usize, text: &str) {
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

    fn beat_gateway(&mut self, client: usize) {
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

    fn gateway_closed(&mut self, client: usize, code: Option<u16>) {
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
                let this = &mut self.clients[client];
                (this.is_live, this.attempts) = (true, 0);
                this.has_asked = false;
                self.repeat_wish(client);
            }
            "GUILD_CREATE" => {
                let guild: object::GuildCreate = read(d);
                let states = guild.voice_states.into_iter().map(|state| (state.user_id, state)).collect();
                self.clients[client].seen.insert(guild.guild.id, states);
            }
            "GUILD_DELETE" => {
                let guild: client_wire::gateway::UnavailableGuild =
                    serde_json::from_str(&d.get().replace('}', r#","unavailable":true}"#))
                        .expect("a guild's end can be read");
                self.clients[client].seen.remove(&guild.id);
                if self.clients[client].guild == guild.id {
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
            None => self.client_deadline(client),
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
        }
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

    // What it wants.

    /// Asks the gateway for a place in the channel, and waits for the answer for a while.
    pub fn ask(&mut self, client: usize) {
        if self.clients[client].wants.is_some() {
            self.clients[client].has_asked = self.clients[client].is_live;
            self.arm(client, Timer::Deadline, PATIENCE);
            self.say_wish(client);
        }
    }

    pub fn say_wish(&mut self, client: usize) {
        let this = &self.clients[client];
        let (guild, channel) = (this.guild, this.wants);
        self.say_voice_state(client, guild, channel);
    }

    fn say_voice_state(&mut self, client: usize, guild: GuildId, channel: Option<ChannelId>) {
        let this = &self.clients[client];
        if this.is_live {
            let update = VoiceStateUpdate {
                guild_id: Some(guild),
                channel_id: channel,
                self_mute: this.mute,
                self_deaf: this.deaf,
                self_video: false,
            };
            self.say(client, &FromClient::VoiceStateUpdate(update));
        }
    }

    pub fn want(&mut self, client: usize, guild: GuildId, channel: Option<ChannelId>) {
        self.trace.note(self.now, || format!("client {client} wants to be in {channel:?} of {guild}"));
        let this = &mut self.clients[client];
        if this.wants.is_some() && this.guild != guild {
            // It stays where it is until it hears that it is elsewhere.
            return self.say_voice_state(client, guild, channel);
        }
        if this.wants.is_none() {
            (this.admitted, this.joined) = (false, false);
        }
        if channel.is_none() {
            this.wants = None;
            self.say_wish(client);
            return self.put_out(client);
        }
        (this.guild, this.wants) = (guild, channel);
        match self.clients[client].voice {
            // Whoever is there already is told where to go, or is not.
            Some(_) => self.say_wish(client),
            None => self.ask(client),
        }
    }

    /// It is in no channel any more, and wants nothing.
    fn put_out(&mut self, client: usize) {
        self.trace.note(self.now, || format!("client {client} is out"));
        let this = &mut self.clients[client];
        (this.wants, this.joined, this.admitted, this.has_asked) = (None, false, false, false);
        self.disarm(client, Timer::Deadline);
        self.leave_voice(client);
        self.clients[client].media = None;
    }

    fn client_deadline(&mut self, client: usize) {
        let this = &self.clients[client];
        if this.wants.is_none() {
            return;
        }
        if !this.is_live {
            // It is asked when there is somebody to ask.
            return self.leave_voice(client);
        }
        if !this.joined && !this.admitted && this.has_asked {
            self.put_out(client);
            // The wish may be fulfilled yet.
            return self.say_wish(client);
        }
        self.leave_voice(client);
        // Guilds may believe that it is well where it was, and says nothing to a wish that is fulfilled. If it knows nothing of it, the
        // wish is next.
        let this = &mut self.clients[client];
        this.has_pinged = this.admitted && !this.has_pinged;
        if !this.has_pinged {
            return self.ask(client);
        }
        let guild = this.guild;
        self.arm(client, Timer::Deadline, PATIENCE);
        self.say(client, &FromClient::VoiceServerPing(Some(guild)));
    }

    /// A voice connection is beyond its own mending.
    pub fn voice_lost(&mut self, client: usize, wait: Option<u64>) {
        let this = &mut self.clients[client];
        let wait = wait.unwrap_or_else(|| {
            let wait = this.backoff(this.voice_attempts);
            this.voice_attempts += 1;
            wait
        });
        self.leave_voice(client);
        self.arm(client, Timer::Deadline, wait);
    }

    pub fn voice_stands(&mut self, client: usize) {
        let this = &mut self.clients[client];
        (this.joined, this.has_pinged, this.voice_attempts) = (true, false, 0);
        self.disarm(client, Timer::Deadline);
    }
}

fn read<T: serde::de::DeserializeOwned>(d: &RawValue) -> T {
    serde_json::from_str(d.get()).expect("what is dispatched can be read")
}
