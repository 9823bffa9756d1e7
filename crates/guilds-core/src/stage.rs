//! Voice states by REST: looking one up, and the audience and speakers of stage channels.

use client_wire::error::{ApiError, code};
use client_wire::rest;
use cluster_wire::guilds::{CallResult, Reply};
use model::{ChannelKind, Permissions, UnixMs, UserId};

use crate::GuildCore;
use crate::access::Who;
use crate::turn::{Turn, ok};

impl GuildCore {
    pub(crate) fn get_voice_state(&self, who: Who, user: UserId, now: UnixMs) -> CallResult {
        self.permissions(who, now)?;
        let entry = self.voice.get(&user).ok_or_else(unknown_voice_state)?;
        if who.user != Some(user) {
            self.require_in(who, entry.state.channel, Permissions::VIEW_CHANNEL, now)?;
        }
        ok(&self.voice_state_event(&entry.state))
    }

    /// Asking to speak, being invited to, going back to the audience.
    pub(crate) fn modify_voice_state(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        user: UserId,
        body: rest::ModifyVoiceState,
    ) -> CallResult {
        self.permissions(who, turn.now)?;
        let entry = self.voice.get(&user).ok_or_else(unknown_voice_state)?;
        let channel = self.known_channel(entry.state.channel)?;
        if body.channel_id.is_some_and(|named| named != channel.id) {
            return Err(unknown_voice_state());
        }
        if channel.kind != ChannelKind::Stage {
            return Err(ApiError::wrong_channel_type());
        }
        let permissions = self.permissions_in(who, channel, turn.now)?;
        let is_own = who.user == Some(user);
        let moderates = permissions.contains(Permissions::MUTE_MEMBERS);
        let wants_to_speak = body.suppress == Some(false);
        if (!is_own || wants_to_speak) && !moderates {
            return Err(ApiError::missing_permissions());
        }
        let asks = matches!(body.request_to_speak_timestamp, rest::Patch::Set(_));
        if asks && !(is_own && permissions.contains(Permissions::REQUEST_TO_SPEAK)) {
            return Err(ApiError::missing_permissions());
        }
        let entry = self.voice.get_mut(&user).expect("found above");
        let before = entry.clone();
        entry.state.request_to_speak = match body.request_to_speak_timestamp {
            rest::Patch::Keep => entry.state.request_to_speak,
            rest::Patch::Clear => None,
            // Whatever time the client names: the order of hands is the server's to tell.
            rest::Patch::Set(_) => Some(turn.now),
        };
        if let Some(suppress) = body.suppress {
            entry.is_speaker = !suppress;
            entry.state.request_to_speak = None;
        }
        self.rejudge_since(turn, &before, false);
        Ok(Reply::Empty)
    }
}

fn unknown_voice_state() -> ApiError {
    ApiError::not_found(code::UNKNOWN_VOICE_STATE, "Voice State")
}
