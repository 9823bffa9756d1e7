//! Gatherings: what is true of a voice channel because people are in it. When the first of them came, and what they say they are at.
//!
//! Kept in memory alone: all of it ends when the last person leaves, and who is in voice is kept in memory alone as well. The guild's voice server keeps a copy
//! for the next owner.

use std::collections::HashSet;

use client_wire::error::ApiError;
use client_wire::gateway::{ChannelFields, Intents};
use client_wire::object::{self, Asked};
use client_wire::rest::VoiceStatusBody;
use cluster_wire::guilds::{CallResult, Reply};
use model::{ChannelId, ChannelKind, Permissions, SessionId, UnixMs, UserId, VoiceState};

use crate::access::Who;
use crate::limits::STATUS_CHARS_MAX;
use crate::turn::Turn;
use crate::{GuildCore, forms};

#[derive(Debug, Clone, Default)]
pub(crate) struct Gathering {
    /// In the channel now. Of none there is only a status, set by somebody who is to come.
    pub people: usize,
    /// When the first of them came.
    pub since: Option<UnixMs>,
    pub status: Option<String>,
}

impl GuildCore {
    /// Somebody has entered the channel, and all that is to be told first has been told.
    pub(crate) fn note_arrival(&mut self, turn: &mut Turn<'_>, channel: ChannelId) {
        let gathering = self.gatherings.entry(channel).or_default();
        gathering.people += 1;
        self.note_start(turn, channel, turn.now);
    }

    /// Somebody was there then, perhaps before whoever is known to have been.
    pub(crate) fn note_start(&mut self, turn: &mut Turn<'_>, channel: ChannelId, at: UnixMs) {
        let gathering = self.gatherings.get_mut(&channel).expect("people are in the channel");
        if gathering.since.is_none_or(|since| at < since) {
            gathering.since = Some(at);
            self.tell_memo(turn, channel);
            self.tell_start(turn, channel, Some(at));
        }
    }

    /// Somebody was in a channel and is no more; the same.
    pub(crate) fn note_departure(&mut self, turn: &mut Turn<'_>, was: &VoiceState) {
        let channel = was.channel;
        if !was.suppress {
            self.note_speakers(channel, turn.now);
        }
        let gathering = self.gatherings.get_mut(&channel).expect("whoever leaves was counted on arrival");
        gathering.people -= 1;
        if gathering.people > 0 {
            return;
        }
        let ended = self.gatherings.remove(&channel).expect("found above");
        self.tell_memo(turn, channel);
        if ended.status.is_some() {
            self.tell_status(turn, channel, None);
        }
        self.tell_start(turn, channel, None);
    }

    /// A channel's status is for those in it to set; from elsewhere it takes who manages the channel.
    pub(crate) fn set_voice_status(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        id: ChannelId,
        body: VoiceStatusBody,
    ) -> CallResult {
        let at = who.user.and_then(|user| self.voice.get(&user)).map(|entry| entry.state.channel);
        let wanted = match at == Some(id) {
            true => Permissions::SET_VOICE_CHANNEL_STATUS,
            false => Permissions::SET_VOICE_CHANNEL_STATUS | Permissions::MANAGE_CHANNELS,
        };
        // A stage says by its instance what it is about.
        if self.require_in(who, id, Permissions::VIEW_CHANNEL, turn.now)?.kind != ChannelKind::Voice {
            return Err(ApiError::wrong_channel_type());
        }
        self.require_in(who, id, wanted, turn.now)?;
        forms::required("status", (!body.status.is_keep()).then_some(()))?;
        let status = forms::patch_text("status", body.status, STATUS_CHARS_MAX)?.apply(None);
        let mut gathering = self.gatherings.remove(&id).unwrap_or_default();
        let changed = gathering.status != status;
        gathering.status.clone_from(&status);
        if gathering.people > 0 || status.is_some() {
            self.gatherings.insert(id, gathering);
        }
        if changed {
            self.tell_memo(turn, id);
            self.tell_status(turn, id, status);
        }
        Ok(Reply::Empty)
    }

    /// Gateway op 43. Channels where nobody is and nothing is said are left out.
    pub(crate) fn request_channel_info(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        session: SessionId,
        fields: ChannelFields,
    ) -> CallResult {
        if self.sessions.get(&session).is_none_or(|known| known.user != user) {
            return Err(ApiError::missing_access());
        }
        let entry = |(id, gathering): (&ChannelId, &Gathering)| object::ChannelInfoEntry {
            id: *id,
            status: Asked::when(fields.status, gathering.status.clone()),
            voice_start_time: Asked::when(fields.voice_start_time, gathering.since.map(object::unix_seconds)),
        };
        let seen = self.gatherings.iter().filter(|(id, _)| {
            self.guild.channel(**id).is_some_and(|channel| self.can_see(user, channel, turn.now))
        });
        let info = object::ChannelInfo { guild_id: self.guild.id, channels: seen.map(entry).collect() };
        turn.tell_session("CHANNEL_INFO", session, &info);
        Ok(Reply::Done)
    }

    /// To those who begin to see the channel.
    pub(crate) fn show_gathering(&self, turn: &mut Turn<'_>, channel: ChannelId, gained: &HashSet<UserId>) {
        let Some(Gathering { since, status, .. }) = self.gatherings.get(&channel) else { return };
        if status.is_some() {
            let event = self.status_event(channel, status.clone());
            turn.tell_users("VOICE_CHANNEL_STATUS_UPDATE", Intents::GUILDS, gained.clone(), &event);
        }
        if since.is_some() {
            let event = object::VoiceChannelStartTime::new(self.guild.id, channel, *since);
            turn.tell_users("VOICE_CHANNEL_START_TIME_UPDATE", Intents::GUILDS, gained.clone(), &event);
        }
    }

    pub(crate) fn tell_status(&mut self, turn: &mut Turn<'_>, channel: ChannelId, status: Option<String>) {
        let audience = self.audience_of(channel, turn.now);
        turn.tell(
            "VOICE_CHANNEL_STATUS_UPDATE",
            Intents::GUILDS,
            audience,
            &self.status_event(channel, status),
        );
    }

    fn tell_start(&mut self, turn: &mut Turn<'_>, channel: ChannelId, since: Option<UnixMs>) {
        let audience = self.audience_of(channel, turn.now);
        let event = object::VoiceChannelStartTime::new(self.guild.id, channel, since);
        turn.tell("VOICE_CHANNEL_START_TIME_UPDATE", Intents::GUILDS, audience, &event);
    }

    fn status_event(&self, channel: ChannelId, status: Option<String>) -> object::VoiceChannelStatus {
        object::VoiceChannelStatus { id: channel, guild_id: self.guild.id, status }
    }
}
