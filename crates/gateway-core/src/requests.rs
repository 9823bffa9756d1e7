//! What a live client asks for: presence, voice state, members, voice channels.

use std::time::Instant;

use client_wire::gateway::{
    CloseCode, FromClient, RequestChannelInfo, RequestGuildMembers, VoiceStateUpdate,
};
use cluster_wire::guilds::{Call, MembersQuery};
use model::{GuildId, PresenceStatus, SessionId, VoiceFlags};

use crate::connection::ConnId;
use crate::fanout::Key;
use crate::identify::Waiting;
use crate::limits::{MEMBERS_REQUEST_NONCE_BYTES_MAX, MEMBERS_REQUEST_USERS_MAX, WISH_KEEP};
use crate::node::{Node, Notice};
use crate::session::{Follow, Gate, Wish};
use crate::timers::Reason;

impl Node {
    /// Anything but coming in and heartbeats.
    pub(crate) fn request(&mut self, now: Instant, conn: ConnId, frame: FromClient) {
        // An earlier frame of the same turn may have closed the connection.
        let Some(key) = self.live_session(conn) else { return };
        match frame {
            FromClient::PresenceUpdate(update) => self.update_presence(key, update.status()),
            FromClient::VoiceStateUpdate(update) => self.admit_voice_update(now, conn, key, update),
            FromClient::VoiceServerPing(guild) => self.ping_voice_server(key, guild),
            FromClient::RequestGuildMembers(request) => self.request_members(key, request),
            FromClient::RequestChannelInfo(request) => self.request_channel_info(key, &request),
            FromClient::NotOffered(_) => {}
            FromClient::Heartbeat(_) | FromClient::Identify(_) | FromClient::Resume(_) => {
                unreachable!("these are acted upon in every phase")
            }
        }
    }

    fn update_presence(&mut self, key: Key, status: PresenceStatus) {
        let session = &mut self.sessions[key];
        if session.status == status {
            return;
        }
        session.status = status;
        let user = session.user;
        for guild in session.attached() {
            self.call(Call::UpdatePresence { guild, user, status }, Waiting::Told);
        }
    }

    fn admit_voice_update(&mut self, now: Instant, conn: ConnId, key: Key, update: VoiceStateUpdate) {
        let session = &mut self.sessions[key];
        let id = session.id;
        match session.voice.admit(now, update) {
            Gate::Pass(update) => self.update_voice(now, key, &update),
            Gate::Delayed { wake, dropped } => {
                if let Some(at) = wake {
                    self.timers.set(at, Reason::VoiceUpdate(id));
                }
                self.notice(if dropped { Notice::VoiceDropped(id) } else { Notice::VoiceDelayed(id) });
            }
            Gate::Flood => self.close(now, conn, CloseCode::RateLimited),
        }
    }

    pub(crate) fn release_voice_updates(&mut self, now: Instant, id: SessionId) {
        while let Some(&key) = self.by_id.get(&id) {
            match self.sessions[key].voice.release(now) {
                Some(Ok(update)) => self.update_voice(now, key, &update),
                Some(Err(at)) => return self.timers.set(at, Reason::VoiceUpdate(id)),
                None => return,
            }
        }
    }

    /// Outside guilds there are no calls here, and of a guild that is not its own a client is told nothing:
    /// both are passed over in silence, as the protocol has it.
    fn update_voice(&mut self, now: Instant, key: Key, update: &VoiceStateUpdate) {
        let Some(guild) = update.guild_id else { return };
        if !self.reach(key, guild) {
            return;
        }
        let session = &mut self.sessions[key];
        if update.channel_id.is_some() {
            session.voice_guilds.insert(guild);
        } else {
            session.voice_guilds.remove(&guild);
        }
        let flags = VoiceFlags {
            self_mute: update.self_mute,
            self_deaf: update.self_deaf,
            self_video: update.self_video,
            self_stream: false,
        };
        session.wishes.remove(&guild);
        if update.channel_id.is_some() && !session.is_bot {
            // A person goes where it wished to be last.
            session.wishes.retain(|_, wish| wish.channel.is_none());
        }
        self.wish(key, guild, Wish { channel: update.channel_id, flags, at: now });
    }

    fn wish(&mut self, key: Key, guild: GuildId, wish: Wish) {
        let session = &self.sessions[key];
        let (user, id) = (session.user, session.id);
        let call = Call::UpdateVoice { guild, user, session: id, channel: wish.channel, flags: wish.flags };
        self.call(call, Waiting::Voice { session: id, wish: Some((guild, wish)) });
    }

    /// The guild has an owner again: what could not be said to the one before is said to this one.
    pub(crate) fn wish_again(&mut self, now: Instant, key: Key, guild: GuildId) {
        if let Some(wish) = self.sessions[key].wishes.remove(&guild)
            && now.saturating_duration_since(wish.at) <= WISH_KEEP
        {
            self.wish(key, guild, wish);
        }
    }

    /// Whether guilds knows, or is told before anything else, that the session is in this guild. A client
    /// need not wait for its GUILD_CREATE before it joins a channel.
    fn reach(&mut self, key: Key, guild: GuildId) -> bool {
        let session = &mut self.sessions[key];
        match session.guilds.get_mut(&guild) {
            None => false,
            Some(Follow::Attaching | Follow::Following) => true,
            Some(follow) => {
                *follow = Follow::Attaching;
                session.on_the_way += 1;
                self.attach(key, guild);
                true
            }
        }
    }

    fn ping_voice_server(&mut self, key: Key, guild: Option<GuildId>) {
        let session = &self.sessions[key];
        let (user, id) = (session.user, session.id);
        let suspects: Vec<GuildId> = session
            .voice_guilds
            .iter()
            .copied()
            .filter(|joined| guild.is_none_or(|named| named == *joined))
            .collect();
        for guild in suspects {
            self.call(
                Call::VoiceServerPing { guild, user, session: id },
                Waiting::Voice { session: id, wish: None },
            );
        }
    }

    fn request_members(&mut self, key: Key, request: RequestGuildMembers) {
        if !self.reach(key, request.guild_id) {
            return;
        }
        let session = &self.sessions[key];
        let mut users = request.user_ids;
        users.truncate(MEMBERS_REQUEST_USERS_MAX);
        let query = MembersQuery {
            query: request.query,
            users,
            limit: request.limit,
            presences: request.presences,
            nonce: request.nonce.filter(|nonce| nonce.len() <= MEMBERS_REQUEST_NONCE_BYTES_MAX),
        };
        let call =
            Call::RequestMembers { guild: request.guild_id, user: session.user, session: session.id, query };
        self.call(call, Waiting::Told);
    }

    fn request_channel_info(&mut self, key: Key, request: &RequestChannelInfo) {
        let &RequestChannelInfo { guild_id: guild, fields } = request;
        if !self.reach(key, guild) {
            return;
        }
        let session = &self.sessions[key];
        let call = Call::RequestChannelInfo { guild, user: session.user, session: session.id, fields };
        self.call(call, Waiting::Told);
    }
}
