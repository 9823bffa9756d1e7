//! Channels: listing, making, changing, deleting.

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use client_wire::rest::{ChannelBody, Patch};
use cluster_wire::guilds::{CallResult, Dispatch};
use model::{Channel, ChannelId, ChannelKind, Permissions, RegionId, UnixMs, VideoQuality, Write};

use crate::access::Who;
use crate::guild::require_region;
use crate::limits::{
    BITRATE_MAX, BITRATE_MIN, CHANNELS_MAX, NAME_CHARS_MAX, TOPIC_CHARS_MAX, USER_LIMIT_STAGE_MAX,
    USER_LIMIT_VOICE_MAX,
};
use crate::turn::{Turn, created, json, ok};
use crate::visibility::Scope;
use crate::{GuildCore, forms};

impl GuildCore {
    pub(crate) fn channel_object(&self, channel: &Channel) -> object::Channel {
        object::Channel::new(self.guild.id, channel)
    }

    /// Those the caller may see.
    pub(crate) fn list_channels(&self, who: Who, now: UnixMs) -> CallResult {
        self.permissions(who, now)?;
        let seen =
            self.guild.channels.iter().filter(|channel| self.permissions_in(who, channel, now).is_ok());
        ok(&seen.map(|channel| self.channel_object(channel)).collect::<Vec<_>>())
    }

    pub(crate) fn get_channel(&self, who: Who, channel: ChannelId, now: UnixMs) -> CallResult {
        ok(&self.channel_object(self.require_in(who, channel, Permissions::VIEW_CHANNEL, now)?))
    }

    pub(crate) fn create_channel(&mut self, turn: &mut Turn<'_>, who: Who, body: ChannelBody) -> CallResult {
        self.require(who, Permissions::MANAGE_CHANNELS, turn.now)?;
        if self.guild.channels.len() >= CHANNELS_MAX {
            return Err(ApiError::new(
                400,
                code::TOO_MANY_CHANNELS,
                "Maximum number of guild channels reached",
            ));
        }
        let kind = ChannelKind::from_number(body.kind.unwrap_or(ChannelKind::Text as u8));
        let kind = kind
            .ok_or_else(|| ApiError::field("type", "BASE_TYPE_CHOICES", "No such type of channel here."))?;
        forms::required("name", body.name.as_ref())?;
        let mut channel = Channel::new(ChannelId(turn.next_id()), kind, "");
        let same_kind = self.guild.channels.iter().filter(|other| other.kind.is_voice() == kind.is_voice());
        channel.position = same_kind.map(|other| other.position + 1).max().unwrap_or(0);
        self.fill_channel(turn, who, &mut channel, ChannelBody { kind: None, ..body })?;
        let object = self.channel_object(&channel);
        turn.write(Write::PutChannel(self.guild.id, channel.clone()));
        let id = channel.id;
        self.guild.channels.push(channel);
        self.tell_channel(turn, "CHANNEL_CREATE", id);
        created(&object)
    }

    pub(crate) fn modify_channel(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        id: ChannelId,
        body: ChannelBody,
    ) -> CallResult {
        let mut channel = self.require_in(who, id, Permissions::MANAGE_CHANNELS, turn.now)?.clone();
        self.fill_channel(turn, who, &mut channel, body)?;
        let before = self.sight(Scope::Channel(id), turn.now);
        self.put_channel(turn, channel);
        self.after_change(turn, Scope::Channel(id), before);
        self.review_placement(turn, None);
        ok(&self.channel_object(self.known_channel(id)?))
    }

    /// Replaces a channel, makes it durable and tells those who see it.
    pub(crate) fn put_channel(&mut self, turn: &mut Turn<'_>, channel: Channel) {
        let id = channel.id;
        turn.write(Write::PutChannel(self.guild.id, channel.clone()));
        let slot = self.guild.channels.iter_mut().find(|slot| slot.id == id).expect("the channel is there");
        let overwrites_changed = slot.overwrites != channel.overwrites;
        *slot = channel;
        if overwrites_changed {
            self.hidden.remove(&id);
        }
        self.tell_channel(turn, "CHANNEL_UPDATE", id);
    }

    pub(crate) fn delete_channel(&mut self, turn: &mut Turn<'_>, who: Who, id: ChannelId) -> CallResult {
        let channel = self.require_in(who, id, Permissions::MANAGE_CHANNELS, turn.now)?.clone();
        let inside: Vec<_> =
            self.voice.values().filter(|e| e.state.channel == id).map(|entry| entry.state.user).collect();
        for user in inside {
            self.leave_voice(turn, user);
        }
        self.end_stage(turn, id);
        if self.gatherings.remove(&id).is_some() {
            self.tell_memo(turn, id);
        }
        turn.write(Write::DeleteChannel(id));
        self.tell_channel(turn, "CHANNEL_DELETE", id);
        self.guild.channels.retain(|other| other.id != id);
        self.hidden.remove(&id);
        let orphans: Vec<Channel> =
            self.guild.channels.iter().filter(|c| c.parent == Some(id)).cloned().collect();
        for orphan in orphans {
            self.put_channel(turn, Channel { parent: None, ..orphan });
        }
        ok(&self.channel_object(&channel))
    }

    fn tell_channel(&mut self, turn: &mut Turn<'_>, t: &'static str, id: ChannelId) {
        let audience = self.audience_of(id, turn.now);
        let channel = self.guild.channel(id).expect("told of while it is there");
        let d = json(&self.channel_object(channel));
        turn.dispatch(Dispatch {
            t,
            d,
            without_content: None,
            intents: Intents::GUILDS.bits(),
            audience,
            always: None,
            note: None,
        });
    }

    /// Applies a form to a channel after checking all of it.
    pub(crate) fn fill_channel(
        &self,
        turn: &Turn<'_>,
        who: Who,
        channel: &mut Channel,
        body: ChannelBody,
    ) -> Result<(), ApiError> {
        if body.kind.is_some_and(|kind| kind != channel.kind as u8) {
            return Err(ApiError::field(
                "type",
                "CHANNEL_TYPE_FIXED",
                "The type of a channel cannot be changed.",
            ));
        }
        if let Some(name) = &body.name {
            channel.name = forms::text("name", name, 1..=NAME_CHARS_MAX)?;
        }
        channel.topic = forms::patch_text("topic", body.topic, TOPIC_CHARS_MAX)?.apply(channel.topic.take());
        channel.position = body.position.unwrap_or(channel.position);
        if let Patch::Set(parent) = body.parent_id {
            let found = self.guild.channel(parent).filter(|parent| parent.kind == ChannelKind::Category);
            if found.is_none() || channel.kind == ChannelKind::Category {
                return Err(ApiError::field("parent_id", "CHANNEL_PARENT_INVALID", "No such category."));
            }
        }
        channel.parent = body.parent_id.apply(channel.parent);
        if let Some(bitrate) = body.bitrate {
            channel.bitrate = forms::number("bitrate", bitrate, BITRATE_MIN..=BITRATE_MAX)?;
        }
        if let Some(limit) = body.user_limit {
            let max = match channel.kind {
                ChannelKind::Stage => USER_LIMIT_STAGE_MAX,
                _ => USER_LIMIT_VOICE_MAX,
            };
            channel.user_limit = forms::number("user_limit", limit, 0..=max)?;
        }
        if let Patch::Set(region) = &body.rtc_region {
            require_region(turn, "rtc_region", region)?;
        }
        let region = channel.region.take().map(|region| region.0);
        channel.region = body.rtc_region.apply(region).map(RegionId);
        channel.video_quality = match body.video_quality_mode {
            Patch::Keep => channel.video_quality,
            Patch::Clear => VideoQuality::Auto,
            Patch::Set(mode) => VideoQuality::from_number(mode).ok_or_else(|| {
                ApiError::field("video_quality_mode", "BASE_TYPE_CHOICES", "1 is auto, 2 is 720p.")
            })?,
        };
        if let Some(entries) = body.permission_overwrites {
            channel.overwrites = self.checked_overwrites(turn, who, channel, &entries)?;
        }
        Ok(())
    }
}
