//! What must always be true, and what must become true once there is calm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use client_wire::object;
use cluster_wire::guilds::{Audience, Dispatch};
use cluster_wire::voice::{Held, Order, OrderKind, Participant};
use model::{ChannelId, GuildId, ServerId, SessionId, UserId};
use rtp_wire::{FIXED_HEADER_LEN, Kind, RtpHeader, Ssrc, classify};
use transport::{Mode, ReplayWindow};

use crate::limits::{GRACE, SPLIT_MAX};
use crate::reference::State;
use crate::router::Process;
use crate::time::{At, secs};
use crate::world::World;

type Participants = BTreeMap<(UserId, SessionId), Participant>;

/// What the taps have seen.
#[derive(Default)]
pub struct Taps {
    /// Each nonce of each way, and of which packet it was. Never gone through, so that its order is of no matter.
    nonces: HashMap<(u64, [u8; 24]), Vec<u8>>,
    windows: BTreeMap<(u64, Ssrc), ReplayWindow>,
    /// What a client of each guild that sees everything would know.
    announced: BTreeMap<GuildId, BTreeMap<UserId, object::VoiceState>>,
    /// What each voice server would hold, had it obeyed every order that was given since it was last lost.
    ordered: BTreeMap<GuildId, BTreeMap<ServerId, Participants>>,
    /// Who was told to leave there since the guild has its owner; `None` stands for everybody who was there before.
    left: BTreeSet<(GuildId, ServerId, Option<SessionId>)>,
    /// Guilds whose server is lost, which they have yet to hear.
    astray: BTreeSet<GuildId>,
    split_since: BTreeMap<GuildId, At>,
    /// By gateway in one of its lives: the newest ownership of a guild that it was told of.
    owners: BTreeMap<(usize, u64, GuildId), u64>,
    /// Who was heard by whom in the last window, and how often.
    heard: BTreeMap<(UserId, UserId), u64>,
    pub heard_ever: u64,
}

impl World {
    // Packets.

    /// Whatever is sent under a key, by either side, over all processes that ever have it.
    pub fn tap(&mut self, address: SocketAddr, bytes: &[u8]) {
        if !matches!(classify(bytes), Kind::Rtp | Kind::Rtcp) {
            return;
        }
        let Some((path, mode)) = self.paths.get(&address).copied() else { return };
        let mut nonce = [0; 24];
        let is_header = mode == Mode::XSalsa20Poly1305;
        match mode {
            Mode::XSalsa20Poly1305Suffix => nonce.copy_from_slice(&bytes[bytes.len() - 24..]),
            Mode::XSalsa20Poly1305 if classify(bytes) == Kind::Rtcp => {
                nonce[..8].copy_from_slice(&bytes[..8])
            }
            Mode::XSalsa20Poly1305 => nonce[..FIXED_HEADER_LEN].copy_from_slice(&bytes[..FIXED_HEADER_LEN]),
            _ => nonce[..4].copy_from_slice(&bytes[bytes.len() - 4..]),
        }
        let before = self.taps.nonces.insert((path, nonce), bytes.to_vec());
        // An empty report has nothing else to make a nonce of, and is the same packet every time.
        if before.is_some_and(|before| !is_header || before != bytes) {
            self.fail(format!("a nonce is used twice on the way to {address} ({mode}): {nonce:?}"));
        }
    }

    /// What listeners of a stream are sent, over all processes: each number once, and none that they would take for an old one.
    pub fn tap_number(&mut self, to: SocketAddr, bytes: &[u8]) {
        let Some(header) = RtpHeader::parse(bytes).ok().filter(|_| classify(bytes) == Kind::Rtp) else {
            return;
        };
        let Some((path, _)) = self.paths.get(&to).copied() else { return };
        let window = self.taps.windows.entry((path, header.ssrc)).or_default();
        let seq = window.extend(header.seq);
        if window.check(seq).is_err() {
            let highest = window.highest();
            return self.fail(format!(
                "{to} is sent number {} of {:?} after {highest:?}: it takes that for an old one",
                header.seq, header.ssrc
            ));
        }
        window.commit(seq);
    }

    pub fn hear_voice(&mut self, host: usize, client: usize, speaker: UserId, said_at: At) {
        let listener = self.clients[client].user;
        self.trace.mix(self.now, 4, &[speaker.0 as u8, listener.0 as u8]);
        *self.taps.heard.entry((speaker, listener)).or_default() += 1;
        self.taps.heard_ever += 1;
        let since = match self.reference.silent_since(speaker, listener) {
            Ok(None) => return,
            Ok(Some(since)) => since,
            Err(()) => At::default(),
        };
        // Where orders are late, so is what follows from them.
        let since = since.max(self.hosts[host].lagging_until);
        if self.is_unseen(host) {
            return;
        }
        if self.now.since(since) > GRACE {
            self.fail(format!(
                "{listener} hears {speaker} through voice-{host}, who said it at {said_at} and may not be heard since {since}"
            ));
        }
    }

    // Guilds.

    /// The guild has another owner from here on, which knows what the database holds.
    pub fn begin_ownership(&mut self, guild: GuildId, fencing: u64, facts: &model::Guild) {
        self.taps.announced.remove(&guild);
        self.taps.ordered.remove(&guild);
        self.taps.left.retain(|(left, _, _)| *left != guild);
        self.taps.astray.remove(&guild);
        if let Err(why) = self.reference.begin_ownership(self.now, guild, fencing, facts) {
            self.fail(format!("guild {guild} is owned by #{fencing}: {why}"));
        }
    }

    /// A gateway is told something of a guild by this ownership.
    pub fn check_owner(&mut self, gateway: usize, guild: GuildId, fencing: u64) {
        let life = self.gateways[gateway].life;
        let newest = self.taps.owners.entry((gateway, life, guild)).or_default();
        if fencing < *newest {
            let newest = *newest;
            self.fail(format!("gateway {gateway} hears #{fencing} of guild {guild} after #{newest}"));
        } else {
            *newest = fencing;
        }
    }

    pub fn hear_dispatch(&mut self, guild: GuildId, fencing: u64, dispatch: &Dispatch) {
        if !self.reference.is_current(guild, fencing) {
            return;
        }
        if dispatch.t != "VOICE_STATE_UPDATE" || !is_for_all(&dispatch.audience) {
            return;
        }
        let state: object::VoiceState =
            serde_json::from_str(dispatch.d.get()).expect("what is dispatched can be read");
        let announced = self.taps.announced.entry(guild).or_default();
        match state.channel_id {
            Some(_) => announced.insert(state.user_id, state),
            None => announced.remove(&state.user_id),
        };
    }

    pub fn hear_order(&mut self, server: &ServerId, order: &Order) {
        if matches!(order.kind, OrderKind::Push(_)) {
            self.reference.is_whole(self.now, order.guild, order.fencing);
        }
        if !self.reference.is_current(order.guild, order.fencing) {
            return;
        }
        let left: Vec<Option<SessionId>> = match &order.kind {
            OrderKind::Push(_) | OrderKind::Drop => vec![None],
            OrderKind::Remove { session, .. } => vec![Some(*session)],
            OrderKind::Release(released) => released.iter().map(|(_, session)| Some(*session)).collect(),
            _ => Vec::new(),
        };
        self.taps.left.extend(left.into_iter().map(|who| (order.guild, server.clone(), who)));
        let held = self.taps.ordered.entry(order.guild).or_default().entry(server.clone()).or_default();
        match &order.kind {
            OrderKind::Push(all) => {
                self.taps.astray.remove(&order.guild);
                *held = all.iter().map(|one| ((one.user, one.session), one.clone())).collect();
            }
            OrderKind::Put(one) => {
                held.retain(|(user, _), _| *user != one.user);
                held.insert((one.user, one.session), one.clone());
            }
            OrderKind::Remove { user, session } => drop(held.remove(&(*user, *session))),
            OrderKind::Drop => held.clear(),
            OrderKind::Release(released) => held.retain(|who, _| !released.contains(who)),
            OrderKind::Channel(_) | OrderKind::Claim => {}
        }
    }

    /// The owner is told what a voice server had when the guild was claimed; what was ordered since is newer.
    pub fn hear_held(&mut self, guild: GuildId, fencing: u64, held: &Held) {
        self.reference.held(self.now, guild, fencing, held);
        if !self.reference.is_current(guild, fencing) {
            return;
        }
        let taps = &mut self.taps;
        let there = taps.ordered.entry(guild).or_default().entry(held.server.clone()).or_default();
        for one in &held.participants {
            let has_left = |who: Option<SessionId>| taps.left.contains(&(guild, held.server.clone(), who));
            let is_newer = there.keys().any(|(user, _)| *user == one.user);
            if !is_newer && !has_left(None) && !has_left(Some(one.session)) {
                there.insert((one.user, one.session), one.clone());
            }
        }
    }

    /// The registry has lost sight of it, or somebody who owns a guild has: it is not told that it was left.
    fn is_unseen(&self, host: usize) -> bool {
        let id = &self.hosts[host].id;
        let owns = |node: &crate::node::Node| node.active().iter().any(|guild| node.owns(*guild).is_some());
        let loses_sight =
            |node: &crate::node::Node| node.is_alive && owns(node) && !node.fleet.usable.contains_key(id);
        self.hosts[host].is_unseen || self.nodes.iter().any(loses_sight)
    }

    /// After each input of a guild: what it has announced and ordered is what the model says.
    pub fn check_guild(&mut self, guild: GuildId, fencing: u64) {
        if !self.reference.is_current(guild, fencing) {
            return;
        }
        let expected = &self.reference.guilds[&guild].voice;
        let announced = self.taps.announced.entry(guild).or_default();
        let differs = expected.len() != announced.len()
            || expected
                .iter()
                .any(|(user, state)| announced.get(user).is_none_or(|seen| !is_same(state, seen)));
        if differs {
            let message = format!(
                "guild {guild} has announced {:?}\nthe model has {expected:?}",
                announced.values().map(brief).collect::<Vec<_>>()
            );
            return self.fail(message);
        }
        if self.taps.astray.contains(&guild) {
            return;
        }
        let held = self.taps.ordered.entry(guild).or_default();
        held.retain(|_, held| !held.is_empty());
        if held.len() > 1 {
            let message = format!("guild {guild} has people on several voice servers: {:?}", held.keys());
            return self.fail(message);
        }
        let Some((server, held)) = held.iter().next() else { return };
        let agrees = |state: &State, one: &Participant| {
            (state.channel, state.speaks(), state.hears()) == (one.channel, one.rights.speak, one.rights.hear)
        };
        let is_held = |(user, state): (&UserId, &State)| {
            held.get(&(*user, state.session)).is_some_and(|one| agrees(state, one))
        };
        if held.len() != expected.len() || !expected.iter().all(is_held) {
            let message = format!(
                "guild {guild} has told {server} {:?}\nthe model has {expected:?}",
                held.values().collect::<Vec<_>>()
            );
            self.fail(message);
        }
    }

    /// This server is lost to guilds: nobody is there any more.
    pub fn forget_orders(&mut self, node: usize, server: &ServerId) {
        let owned = |guild: &GuildId| {
            self.nodes[node].owns(*guild).is_some_and(|fencing| self.reference.is_current(*guild, fencing))
        };
        for (guild, held) in self.taps.ordered.iter_mut().filter(|(guild, _)| owned(guild)) {
            if held.remove(server).is_some_and(|held| !held.is_empty()) {
                self.taps.astray.insert(*guild);
            }
        }
    }

    pub fn check_absence(&mut self, guild: GuildId, user: UserId) {
        if self.now.0 < secs(90) {
            self.fail(format!(
                "{user} is taken out of voice in {guild} for an absence that cannot have been"
            ));
        }
    }

    // All the time.

    /// The living voice servers with people of this guild who speak or hear.
    fn serving(&self, guild: GuildId) -> BTreeSet<usize> {
        let rooms: BTreeSet<u64> = self.all_channels[&guild].iter().map(|channel| channel.0).collect();
        let serves = |number: usize| {
            let host = &self.hosts[number];
            let Some(core) = &host.core else { return false };
            let legs = (0..host.shards as u32).flat_map(|shard| core.snapshot(shard).legs);
            legs.into_iter().any(|leg| rooms.contains(&leg.room) && (leg.speak || leg.hear))
        };
        (0..self.hosts.len()).filter(|host| serves(*host)).collect()
    }

    pub fn look(&mut self) {
        let guilds: Vec<GuildId> = self.reference.guilds.keys().copied().collect();
        for guild in guilds {
            let serving = self.serving(guild);
            // One that takes no orders, or cannot be reached, is told later.
            let lags = serving
                .iter()
                .any(|host| self.is_unseen(*host) || self.hosts[*host].lagging_until > self.now);
            let hangs = |node: usize| {
                self.nodes[node].owns(guild).is_some() && self.frozen.contains_key(&Process::Node(node))
            };
            let says_nothing = (0..self.nodes.len()).any(hangs);
            if serving.len() < 2 || lags || says_nothing {
                self.taps.split_since.remove(&guild);
                continue;
            }
            let since = *self.taps.split_since.entry(guild).or_insert(self.now);
            if self.now.since(since) > SPLIT_MAX {
                return self.fail(format!("guild {guild} is served by {serving:?} at once, since {since}"));
            }
        }
    }

    // At the end.

    pub fn window_begins(&mut self) {
        self.taps.heard.clear();
    }

    pub fn check_rest(&mut self) {
        self.check_everyone_is_in();
        self.check_everyone_hears();
        self.check_everyone_sees();
        self.check_servers();
    }

    fn check_everyone_is_in(&mut self) {
        for client in 0..self.clients.len() {
            let this = &self.clients[client];
            if this.has_vanished {
                continue;
            }
            if !this.is_live {
                return self.fail(format!("client {client} has no gateway"));
            }
            let Some(channel) = this.wants else { continue };
            let guild = &self.reference.guilds[&this.guild];
            let state = guild.voice.get(&this.user);
            if guild.may_enter(this.user, channel) && state.is_none_or(|state| state.channel != channel) {
                return self
                    .fail(format!("client {client} wants to be in {channel} and may, but is: {state:?}"));
            }
        }
        for guild in self.reference.guilds.values() {
            for user in guild.voice.keys() {
                let client = self.clients.iter().position(|client| client.user == *user);
                let this = &self.clients[client.expect("every user has a client")];
                // Nobody but its voice server knows it, until it has been absent for long enough.
                let is_missed = this.has_vanished && !guild.is_hearsay(*user);
                if is_missed || !this.has_vanished && this.wants.is_none() {
                    let message =
                        format!("{user} is still in voice, but its client is gone or wants nothing");
                    return self.fail(message);
                }
            }
        }
    }

    fn check_everyone_hears(&mut self) {
        let talks = |user: &UserId| {
            let client = self.clients.iter().find(|client| client.user == *user);
            client.is_some_and(|client| !client.mute && !client.has_vanished)
        };
        let hears = |user: &UserId| self.clients.iter().any(|c| c.user == *user && !c.has_vanished);
        let pairs = self.reference.audible().iter().filter(|(from, to)| talks(from) && hears(to));
        let missing: Vec<_> = pairs.filter(|pair| !self.taps.heard.contains_key(pair)).copied().collect();
        if !missing.is_empty() {
            let heard = self.taps.heard.clone();
            self.fail(format!("these should be heard by those, and are not: {missing:?}; heard: {heard:?}"));
        }
    }

    /// What each client was told is what the model says of the channels that it sees.
    fn check_everyone_sees(&mut self) {
        for client in 0..self.clients.len() {
            let this = &self.clients[client];
            if this.has_vanished {
                continue;
            }
            for (id, guild) in &self.reference.guilds {
                if !guild.members().contains(&this.user) {
                    // Known fault: what a session that goes on at another gateway has lost meanwhile is not taken from its client.
                    if this.seen.contains_key(id) && !this.is_adopted {
                        return self
                            .fail(format!("client {client} still sees guild {id}, which it is not in"));
                    }
                    continue;
                }
                let Some(seen) = this.seen.get(id) else {
                    return self.fail(format!("client {client} does not see guild {id}, which it is in"));
                };
                let visible =
                    |user: &UserId, channel: ChannelId| *user == this.user || guild.sees(this.user, channel);
                let expected: BTreeMap<_, _> =
                    guild.voice.iter().filter(|(user, state)| visible(user, state.channel)).collect();
                let same =
                    |(user, state): (&&UserId, &&State)| seen.get(user).is_some_and(|s| is_same(state, s));
                if seen.len() != expected.len() || !expected.iter().all(same) {
                    let message = format!(
                        "client {client} sees {:?}\nthe model has {expected:?}",
                        seen.values().map(brief).collect::<Vec<_>>()
                    );
                    return self.fail(message);
                }
            }
        }
    }

    fn check_servers(&mut self) {
        let mut held = 0;
        for host in 0..self.hosts.len() {
            let this = &self.hosts[host];
            let Some(core) = &this.core else {
                return self.fail(format!("voice-{host} was not started again"));
            };
            held += core.stats().participants;
            let wanted: usize = (0..this.shards as u32).map(|shard| core.snapshot(shard).legs.len()).sum();
            let running = this.process.as_ref().map(crate::relay::Process::legs);
            if running != Some(wanted) {
                return self
                    .fail(format!("the relay of voice-{host} has {running:?} legs instead of {wanted}"));
            }
        }
        let participants = self.reference.participants();
        if held != participants {
            self.fail(format!("the voice servers hold {held} participants, and there are {participants}"));
        }
        for guild in self.reference.guilds.keys().copied().collect::<Vec<_>>() {
            let serving = self.serving(guild);
            if serving.len() > 1 {
                self.fail(format!("guild {guild} is served by {serving:?} at rest"));
            }
        }
    }
}

fn is_for_all(audience: &Audience) -> bool {
    matches!(audience, Audience::Guild | Audience::GuildExcept(_))
}

fn brief(seen: &object::VoiceState) -> String {
    let object::VoiceState {
        user_id,
        channel_id,
        session_id,
        mute,
        deaf,
        suppress,
        self_mute,
        self_deaf,
        ..
    } = seen;
    let channel = channel_id.map(|channel| channel.0);
    let flags = (mute, deaf, suppress, self_mute, self_deaf);
    format!("{user_id}: {}… in {channel:?} {flags:?}", &session_id[..8])
}

fn is_same(state: &State, seen: &object::VoiceState) -> bool {
    let flags = state.flags;
    seen.channel_id == Some(state.channel)
        && seen.session_id == state.session.to_string()
        && (seen.mute, seen.deaf, seen.suppress) == (state.mute, state.deaf, state.suppress)
        && (seen.self_mute, seen.self_deaf) == (flags.self_mute, flags.self_deaf)
}
