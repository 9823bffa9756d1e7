//! The guild as clients see it.

use client_wire::gateway::Intents;
use client_wire::object;
use model::{Member, PresenceStatus, User, UserId, VoiceState};

use crate::GuildCore;
use crate::guild::Session;
use crate::limits::{LARGE_GUILD_MEMBERS, ONLINE_LISTED_MAX};
use crate::turn::Turn;

impl GuildCore {
    /// The user behind a member.
    pub(crate) fn user(&self, user: UserId) -> &User {
        self.users.get(&user).expect("every member has a user: `new` and `join` see to it")
    }

    pub(crate) fn member_object(&self, member: &Member) -> object::Member {
        object::Member::new(member, self.user(member.user))
    }

    /// A user who need not be a member any more: an author, an inviter.
    pub(crate) fn user_object(&self, turn: &Turn<'_>, user: UserId) -> object::User {
        let known = self.users.get(&user).or_else(|| turn.facts.users.iter().find(|known| known.id == user));
        match known {
            Some(known) => known.into(),
            None => (&User { id: user, name: "unknown".to_owned(), display_name: None, bot: false }).into(),
        }
    }

    /// The state with guild and member: discord.js ignores its own state without the member.
    pub(crate) fn voice_state_event(&self, state: &VoiceState) -> object::VoiceState {
        object::VoiceState {
            guild_id: Some(self.guild.id),
            member: self.guild.member(state.user).map(|member| self.member_object(member)),
            ..state.into()
        }
    }

    pub(crate) fn presence_object(&self, user: UserId) -> object::Presence {
        object::Presence::new(self.guild.id, user, self.presence(user))
    }

    pub(crate) fn presence(&self, user: UserId) -> PresenceStatus {
        self.presences.get(&user).copied().unwrap_or_default()
    }

    /// GUILD_CREATE for a session. A large guild lists only oneself, those in voice, and (for sessions that follow
    /// presences) those online.
    pub(crate) fn guild_create(&self, turn: &Turn<'_>, session: Session) -> object::GuildCreate {
        let me =
            self.guild.member(session.user).expect("a session is attached only while its user is a member");
        let channels: Vec<_> = self
            .guild
            .channels
            .iter()
            .filter(|channel| self.can_see(session.user, channel, turn.now))
            .collect();
        let voice_states: Vec<_> = self
            .voice
            .values()
            .filter(|entry| channels.iter().any(|channel| channel.id == entry.state.channel))
            .map(|entry| &entry.state)
            .collect();
        let stage_instances = channels.iter().filter_map(|channel| self.stage_object(channel.id)).collect();
        let large = self.guild.members.len() >= LARGE_GUILD_MEMBERS;
        let online: Vec<UserId> = match session.intents().contains(Intents::GUILD_PRESENCES) {
            false => Vec::new(),
            true => self.online().take(ONLINE_LISTED_MAX).collect(),
        };
        let mut members = Vec::new();
        if large {
            let mut listed = vec![session.user];
            listed.extend(voice_states.iter().map(|state| state.user));
            listed.extend(&online);
            listed.sort_unstable();
            listed.dedup();
            let listed = listed.iter().filter_map(|user| self.guild.member(*user));
            members.extend(listed.map(|member| self.member_object(member)));
        } else {
            members.extend(self.guild.members.values().map(|member| self.member_object(member)));
        }
        object::GuildCreate {
            guild: self.guild_object(),
            unavailable: false,
            joined_at: me.joined_at.iso8601(),
            large,
            member_count: self.guild.members.len() as u32,
            voice_states: voice_states.into_iter().map(object::VoiceState::from).collect(),
            members,
            channels: channels.iter().map(|channel| object::Channel::new(self.guild.id, channel)).collect(),
            threads: Vec::new(),
            presences: online.iter().map(|user| self.presence_object(*user)).collect(),
            stage_instances,
            guild_scheduled_events: Vec::new(),
            soundboard_sounds: Vec::new(),
        }
    }

    fn online(&self) -> impl Iterator<Item = UserId> + '_ {
        let visible = self.presences.iter().filter(|(_, status)| **status != PresenceStatus::Offline);
        visible.map(|(user, _)| *user)
    }
}
