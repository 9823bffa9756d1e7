//! A client, as our own behaves (`engine`): it resumes where it can, and asks its gateway anew where it cannot.

use std::collections::BTreeMap;

use client_wire::gateway::{FromClient, VoiceStateUpdate};
use client_wire::object;
use model::{ChannelId, GuildId, UserId};

use crate::event::{Event, Timer};
use crate::media::Media;
use crate::net::{Down, SocketId};
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

    pub gateway: Option<SocketId>,
    pub node: usize,
    pub session: Option<(String, u64)>,
    /// READY or RESUMED has come on this connection.
    pub is_live: bool,
    pub is_acknowledged: bool,
    /// Its session began at another gateway, or in another life of this one.
    pub is_adopted: bool,
    pub began_at: (usize, u64),
    pub attempts: u32,

    /// Its voice state was seen in a channel, so whatever is missing, it is not permission.
    pub admitted: bool,
    /// It has asked for its place, and it was not to be had if nothing has come of it in time.
    pub has_asked: bool,
    /// It has asked for its voice server last, and not for its place.
    pub has_pinged: bool,
    pub joined: bool,
    pub voice: Option<Voice>,
    pub voice_attempts: u32,
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
            is_adopted: false,
            began_at: (0, 0),
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

    pub fn say_voice_state(&mut self, client: usize, guild: GuildId, channel: Option<ChannelId>) {
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
    pub fn put_out(&mut self, client: usize) {
        self.trace.note(self.now, || format!("client {client} is out"));
        let this = &mut self.clients[client];
        (this.wants, this.joined, this.admitted, this.has_asked) = (None, false, false, false);
        self.disarm(client, Timer::Deadline);
        self.leave_voice(client);
        self.clients[client].media = None;
    }

    pub fn client_deadline(&mut self, client: usize) {
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
