//! Stage instances: that something is on on a stage, and what it is about.
//!
//! They are kept in memory with the voice states, and not in the database: an instance is over soon after its last speaker has left, and
//! whatever makes a guild forget its voice states (a restart) makes it forget that anybody spoke. One that outlived them in the
//! database would be a stage that is on with nobody there, until somebody found out. The guild's voice server keeps a copy for the next owner.

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object::StageInstance;
use client_wire::rest::StageInstanceBody;
use cluster_wire::guilds::{CallResult, Reply};
use model::{ChannelId, ChannelKind, Permissions, StageInstanceId, UnixMs};

use crate::access::Who;
use crate::limits::{STAGE_SPEAKERLESS_MS, STAGE_TOPIC_CHARS_MAX};
use crate::turn::{Turn, ok};
use crate::{GuildCore, forms};

/// Who has these on a stage moderates it.
const MODERATE: Permissions =
    Permissions::MANAGE_CHANNELS.union(Permissions::MUTE_MEMBERS).union(Permissions::MOVE_MEMBERS);

#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub id: StageInstanceId,
    pub topic: String,
    /// Since when nobody on the stage may speak. None while somebody may.
    pub speakerless_since: Option<UnixMs>,
}

impl Stage {
    fn ends_at(&self) -> Option<UnixMs> {
        self.speakerless_since.map(|since| UnixMs(since.0 + STAGE_SPEAKERLESS_MS))
    }
}

impl GuildCore {
    pub(crate) fn create_stage_instance(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
        body: StageInstanceBody,
    ) -> CallResult {
        self.require_moderator(who, channel, turn.now)?;
        let topic = forms::required("topic", body.topic)?;
        let topic = forms::text("topic", &topic, 1..=STAGE_TOPIC_CHARS_MAX)?;
        check_privacy(body.privacy_level)?;
        if self.stages.contains_key(&channel) {
            return Err(ApiError::new(400, code::STAGE_ALREADY_OPEN, "The Stage is already open"));
        }
        let stage = Stage { id: StageInstanceId(turn.next_id()), topic, speakerless_since: None };
        self.stages.insert(channel, stage);
        self.note_speakers(channel, turn.now);
        self.tell_memo(turn, channel);
        self.tell_stage(turn, "STAGE_INSTANCE_CREATE", channel);
        ok(&self.known_stage(channel)?)
    }

    pub(crate) fn get_stage_instance(&self, who: Who, channel: ChannelId, now: UnixMs) -> CallResult {
        self.require_in(who, channel, Permissions::VIEW_CHANNEL, now)?;
        ok(&self.known_stage(channel)?)
    }

    pub(crate) fn modify_stage_instance(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
        body: StageInstanceBody,
    ) -> CallResult {
        self.require_moderator(who, channel, turn.now)?;
        let old = self.known_stage(channel)?;
        let topic = match body.topic {
            Some(topic) => forms::text("topic", &topic, 1..=STAGE_TOPIC_CHARS_MAX)?,
            None => old.topic.clone(),
        };
        check_privacy(body.privacy_level)?;
        if topic != old.topic {
            self.stages.get_mut(&channel).expect("known above").topic = topic;
            self.tell_memo(turn, channel);
            self.tell_stage(turn, "STAGE_INSTANCE_UPDATE", channel);
        }
        ok(&self.known_stage(channel)?)
    }

    pub(crate) fn delete_stage_instance(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
    ) -> CallResult {
        self.require_moderator(who, channel, turn.now)?;
        self.known_stage(channel)?;
        self.end_stage(turn, channel);
        Ok(Reply::Empty)
    }

    /// Nothing if nothing is on there. The channel must still be there, if whoever sees it is to hear.
    pub(crate) fn end_stage(&mut self, turn: &mut Turn<'_>, channel: ChannelId) {
        if self.stages.contains_key(&channel) {
            self.tell_stage(turn, "STAGE_INSTANCE_DELETE", channel);
            self.stages.remove(&channel);
            self.tell_memo(turn, channel);
        }
    }

    /// What is on on the stage, as clients see it.
    pub(crate) fn stage_object(&self, channel: ChannelId) -> Option<StageInstance> {
        let stage = self.stages.get(&channel)?;
        Some(StageInstance::new(stage.id, self.guild.id, channel, &stage.topic))
    }

    /// Who may speak in this channel may have changed.
    pub(crate) fn note_speakers(&mut self, channel: ChannelId, now: UnixMs) {
        let Some(stage) = self.stages.get_mut(&channel) else { return };
        let mut inside = self.voice.values().filter(|entry| entry.state.channel == channel);
        stage.speakerless_since = match inside.any(|entry| !entry.state.suppress) {
            true => None,
            false => stage.speakerless_since.or(Some(now)),
        };
    }

    pub(crate) fn speakerless_stage_due(&self) -> Option<UnixMs> {
        self.stages.values().filter_map(Stage::ends_at).min()
    }

    pub(crate) fn end_speakerless_stages(&mut self, turn: &mut Turn<'_>) {
        let is_over = |stage: &Stage| stage.ends_at().is_some_and(|at| at <= turn.now);
        let over: Vec<ChannelId> =
            self.stages.iter().filter(|(_, stage)| is_over(stage)).map(|(channel, _)| *channel).collect();
        for channel in over {
            self.end_stage(turn, channel);
        }
    }

    /// After a reload: nothing is on in channels that are no more.
    pub(crate) fn forget_lost_channels(&mut self, turn: &mut Turn<'_>) {
        let lost: Vec<ChannelId> =
            self.stages.keys().copied().filter(|channel| self.guild.channel(*channel).is_none()).collect();
        for channel in lost {
            self.end_stage(turn, channel);
        }
        self.gatherings.retain(|channel, _| self.guild.channel(*channel).is_some());
    }

    fn require_moderator(&self, who: Who, channel: ChannelId, now: UnixMs) -> Result<(), ApiError> {
        let found = self.require_in(who, channel, Permissions::VIEW_CHANNEL, now)?;
        if found.kind != ChannelKind::Stage {
            return Err(ApiError::wrong_channel_type());
        }
        self.require_in(who, channel, MODERATE, now).map(drop)
    }

    fn known_stage(&self, channel: ChannelId) -> Result<StageInstance, ApiError> {
        self.stage_object(channel)
            .ok_or_else(|| ApiError::not_found(code::UNKNOWN_STAGE_INSTANCE, "Stage Instance"))
    }

    pub(crate) fn tell_stage(&mut self, turn: &mut Turn<'_>, t: &'static str, channel: ChannelId) {
        let audience = self.audience_of(channel, turn.now);
        let event = self.stage_object(channel).expect("told of while it is on");
        turn.tell(t, Intents::GUILDS, audience, &event);
    }
}

fn check_privacy(level: Option<u64>) -> Result<(), ApiError> {
    match level.is_none_or(|level| level == u64::from(StageInstance::GUILD_ONLY)) {
        true => Ok(()),
        false => Err(ApiError::field(
            "privacy_level",
            "BASE_TYPE_CHOICES",
            "A stage is for the guild alone, which is 2.",
        )),
    }
}
