//! The reference model: who is in which channel, and who may hear whom. It is told each call when a guild acts upon it, and knows nothing
//! of servers, connections or packets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use client_wire::rest::Patch;
use cluster_wire::guilds::{Call, CallResult, Op, Reply};
use model::{ChannelId, Guild, GuildId, Permissions, SessionId, UserId, VOICE_PERMISSIONS, VoiceFlags};

use crate::time::At;

const TO_ENTER: Permissions = Permissions::VIEW_CHANNEL.union(Permissions::CONNECT);

#[derive(Clone, PartialEq, Eq)]
pub struct State {
    pub channel: ChannelId,
    pub session: SessionId,
    pub flags: VoiceFlags,
    pub mute: bool,
    pub deaf: bool,
    pub suppress: bool,
    admitted_by: Permissions,
}

/// On one line, because there are many in a message.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.session, self.channel)?;
        let is = [self.mute, self.deaf, self.suppress, self.flags.self_mute, self.flags.self_deaf];
        let names = ["mute", "deaf", "suppress", "self_mute", "self_deaf"];
        is.into_iter().zip(names).filter(|(is, _)| *is).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

impl State {
    pub fn speaks(&self) -> bool {
        !self.mute && !self.suppress
    }

    pub fn hears(&self) -> bool {
        !self.deaf && !self.flags.self_deaf
    }
}

#[derive(Debug, Default)]
struct Channel {
    /// What is granted and denied to everyone, and to some.
    everyone: (Permissions, Permissions),
    members: BTreeMap<UserId, (Permissions, Permissions)>,
}

#[derive(Debug)]
pub struct RefGuild {
    owner: UserId,
    /// Muted and deafened by moderators.
    members: BTreeMap<UserId, (bool, bool)>,
    channels: BTreeMap<ChannelId, Channel>,
    sessions: BTreeMap<SessionId, UserId>,
    pub voice: BTreeMap<UserId, State>,
}

impl RefGuild {
    pub fn permissions(&self, user: UserId, channel: ChannelId) -> Permissions {
        let Some(found) = self.channels.get(&channel) else { return Permissions::empty() };
        if !self.members.contains_key(&user) {
            return Permissions::empty();
        }
        if user == self.owner {
            return Permissions::all();
        }
        let apply = |p: Permissions, (allow, deny): (Permissions, Permissions)| p.difference(deny) | allow;
        let mut permissions = apply(Permissions::DEFAULT_EVERYONE, found.everyone);
        if let Some(own) = found.members.get(&user) {
            permissions = apply(permissions, *own);
        }
        if !permissions.contains(Permissions::VIEW_CHANNEL) {
            return Permissions::empty();
        }
        match permissions.contains(Permissions::CONNECT) {
            true => permissions,
            false => permissions.difference(VOICE_PERMISSIONS),
        }
    }

    pub fn may_enter(&self, user: UserId, channel: ChannelId) -> bool {
        self.permissions(user, channel).contains(TO_ENTER)
    }

    pub fn sees(&self, user: UserId, channel: ChannelId) -> bool {
        self.permissions(user, channel).contains(Permissions::VIEW_CHANNEL)
    }

    pub fn channels(&self) -> Vec<ChannelId> {
        self.channels.keys().copied().collect()
    }

    pub fn members(&self) -> Vec<UserId> {
        self.members.keys().copied().collect()
    }

    pub fn may_be_heard(&self, speaker: UserId, listener: UserId) -> bool {
        let (Some(from), Some(to)) = (self.voice.get(&speaker), self.voice.get(&listener)) else {
            return false;
        };
        speaker != listener && from.channel == to.channel && from.speaks() && to.hears()
    }

    fn enter(&mut self, user: UserId, session: SessionId, channel: ChannelId, flags: VoiceFlags) {
        let admitted_by = self.permissions(user, channel) & TO_ENTER;
        let state = State { channel, session, flags, mute: false, deaf: false, suppress: false, admitted_by };
        self.voice.insert(user, state);
        self.judge(user);
    }

    fn judge(&mut self, user: UserId) {
        let Some(state) = self.voice.get(&user) else { return };
        let permissions = self.permissions(user, state.channel);
        let (mute, deaf) = self.members.get(&user).copied().unwrap_or_default();
        let state = self.voice.get_mut(&user).expect("it was just there");
        state.suppress = !permissions.contains(Permissions::SPEAK);
        (state.mute, state.deaf) = (mute, deaf);
        if !permissions.contains(Permissions::STREAM) {
            (state.flags.self_video, state.flags.self_stream) = (false, false);
        }
    }

    /// Whoever has lost what it entered by leaves.
    fn reconcile(&mut self) {
        for user in self.voice.keys().copied().collect::<Vec<_>>() {
            let state = &self.voice[&user];
            let permissions = self.permissions(user, state.channel);
            let stays = self.channels.contains_key(&state.channel) && self.members.contains_key(&user);
            if stays && permissions.contains(state.admitted_by) {
                self.voice.get_mut(&user).expect("it is there").admitted_by |= permissions & TO_ENTER;
                self.judge(user);
            } else {
                self.voice.remove(&user);
            }
        }
    }

    fn update_voice(
        &mut self,
        user: UserId,
        session: SessionId,
        channel: Option<ChannelId>,
        flags: VoiceFlags,
    ) -> bool {
        if self.sessions.get(&session) != Some(&user) {
            return false;
        }
        let at = self.voice.get(&user).map(|state| (state.channel, state.session));
        let Some(channel) = channel else {
            let is_its = at.is_some_and(|(_, holder)| holder == session);
            if is_its {
                self.voice.remove(&user);
            }
            return is_its;
        };
        if at == Some((channel, session)) {
            self.voice.get_mut(&user).expect("it is there").flags = flags;
            self.judge(user);
            return true;
        }
        let may = self.may_enter(user, channel);
        if may {
            self.enter(user, session, channel, flags);
        }
        may
    }

    fn rest(&mut self, op: &Op) {
        match op {
            Op::ModifyMember(_, user, body) => {
                if let Some((mute, deaf)) = self.members.get_mut(user) {
                    *mute = body.mute.unwrap_or(*mute);
                    *deaf = body.deaf.unwrap_or(*deaf);
                }
                self.judge(*user);
                match (body.channel_id, self.voice.get(user).cloned()) {
                    (Patch::Clear, _) => drop(self.voice.remove(user)),
                    (Patch::Set(channel), Some(state)) if channel != state.channel => {
                        self.enter(*user, state.session, channel, state.flags);
                    }
                    _ => {}
                }
            }
            Op::PutOverwrite { channel, id, body } => {
                let Some(found) = self.channels.get_mut(channel) else { return };
                let both = (body.allow.difference(body.deny), body.deny);
                match body.kind {
                    0 => found.everyone = both,
                    _ => drop(found.members.insert(UserId(*id), both)),
                }
                self.reconcile();
            }
            Op::DeleteOverwrite { channel, id } => {
                let Some(found) = self.channels.get_mut(channel) else { return };
                if found.members.remove(&UserId(*id)).is_none() {
                    found.everyone = Default::default();
                }
                self.reconcile();
            }
            Op::DeleteChannel(channel) => {
                self.channels.remove(channel);
                self.reconcile();
            }
            Op::RemoveMember(_, user) => {
                self.members.remove(user);
                self.voice.remove(user);
                self.sessions.retain(|_, of| of != user);
            }
            Op::AdminAddMember(_, user) => drop(self.members.entry(*user).or_default()),
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
pub struct Reference {
    pub guilds: BTreeMap<GuildId, RefGuild>,
    /// Until when the first could be heard by the second, for those who could once and cannot now.
    until: BTreeMap<(UserId, UserId), At>,
    audible: BTreeSet<(UserId, UserId)>,
}

impl Reference {
    pub fn new(guilds: &[Guild]) -> Self {
        let guild = |guild: &Guild| RefGuild {
            owner: guild.owner,
            members: guild.members.keys().map(|user| (*user, (false, false))).collect(),
            channels: guild.channels.iter().map(|channel| (channel.id, Channel::default())).collect(),
            sessions: BTreeMap::new(),
            voice: BTreeMap::new(),
        };
        Self { guilds: guilds.iter().map(|g| (g.id, guild(g))).collect(), ..Self::default() }
    }

    /// A guild has acted upon a call. An error is a decision that the model does not share.
    pub fn hear(&mut self, now: At, id: GuildId, call: &Call, reply: &CallResult) -> Result<(), String> {
        let guild = self.guilds.get_mut(&id).expect("every guild is known");
        let accepts = matches!(reply, Ok(reply) if !matches!(reply, Reply::Refused(_)));
        match call {
            Call::Attach { user, session, .. } => {
                let expected = guild.members.contains_key(user);
                if expected != accepts {
                    return Err(format!("expected {expected}"));
                }
                if accepts {
                    guild.sessions.insert(*session, *user);
                }
            }
            Call::Detach { user, session, .. } => {
                guild.sessions.remove(session);
                if guild.voice.get(user).is_some_and(|state| state.session == *session) {
                    guild.voice.remove(user);
                }
            }
            Call::UpdateVoice { user, session, channel, flags, .. } => {
                let expected = guild.update_voice(*user, *session, *channel, *flags);
                if expected != accepts {
                    return Err(format!("expected {expected}"));
                }
            }
            Call::Rest { op, .. } if accepts => guild.rest(op),
            _ => {}
        }
        self.settle(now);
        Ok(())
    }

    pub fn leave(&mut self, now: At, id: GuildId, user: UserId) {
        self.guilds.get_mut(&id).expect("every guild is known").voice.remove(&user);
        self.settle(now);
    }

    fn settle(&mut self, now: At) {
        let mut audible = BTreeSet::new();
        for guild in self.guilds.values() {
            let pairs = guild.voice.keys().flat_map(|from| guild.voice.keys().map(move |to| (*from, *to)));
            audible.extend(pairs.filter(|(from, to)| guild.may_be_heard(*from, *to)));
        }
        for pair in self.audible.difference(&audible) {
            self.until.insert(*pair, now);
        }
        self.audible = audible;
    }

    /// Since when the first may not be heard by the second any more; `Err` if it never could, `Ok(None)` if it may.
    pub fn silent_since(&self, from: UserId, to: UserId) -> Result<Option<At>, ()> {
        if self.audible.contains(&(from, to)) {
            return Ok(None);
        }
        self.until.get(&(from, to)).copied().map(Some).ok_or(())
    }

    pub fn audible(&self) -> &BTreeSet<(UserId, UserId)> {
        &self.audible
    }

    pub fn participants(&self) -> usize {
        self.guilds.values().map(|guild| guild.voice.len()).sum()
    }
}
