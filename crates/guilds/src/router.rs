//! Where a call goes: to a guild's actor, or to a task of its own.

use std::sync::Arc;

use client_wire::error::{ApiError, code};
use cluster_wire::guilds::{Call, CallResult, Op, Reply as CallReply};
use cluster_wire::link::CallEnvelope;
use model::{ChannelId, GuildId, UserId};
use tokio::sync::mpsc;

use crate::limits::GUILDS_PER_USER_MAX;
use crate::shared::{Reply, Shared, storage};
use crate::{accounts, global};

enum Target {
    Guild(GuildId),
    Channel(ChannelId),
    Invite(String),
    /// No guild's business.
    Here,
}

/// Calls of one session to one guild keep their order.
pub(crate) async fn run(shared: Arc<Shared>, mut calls: mpsc::Receiver<CallEnvelope>) {
    loop {
        let (call, reply) = tokio::select! {
            () = shared.stopping.cancelled() => return,
            call = calls.recv() => match call {
                Some(call) => call,
                None => return,
            },
        };
        route(&shared, call, reply);
    }
}

fn route(shared: &Arc<Shared>, call: Call, reply: Reply) {
    let call = match call {
        // Needs no place among the calls at work: it is refused by nothing but the end.
        Call::Listen { events } => {
            shared.gateways.add(events);
            // Whoever asked and went away is noticed at the next event.
            let _ = reply.send(Ok(CallReply::Done));
            return;
        }
        call => without_nobody(call),
    };
    let known = match target(&call) {
        Target::Guild(guild) => Some(guild),
        Target::Channel(channel) => shared.known_channel(channel),
        Target::Invite(_) | Target::Here => None,
    };
    if let Some(guild) = known {
        return shared.send_call(guild, call, reply);
    }
    // Whoever asked and went away needs no answer.
    let Ok(permit) = Arc::clone(&shared.global_calls).try_acquire_owned() else {
        let _ = reply.send(Err(ApiError::new(503, 0, "Overloaded. Try again soon.")));
        return;
    };
    let task_shared = Arc::clone(shared);
    shared.tasks.spawn(async move {
        let result = answer(&task_shared, call).await;
        let _ = reply.send(result);
        drop(permit);
    });
}

/// An operator's key authenticates as user 0, which is nobody.
fn without_nobody(mut call: Call) -> Call {
    if let Call::Rest { actor, .. } = &mut call {
        *actor = actor.filter(|user| *user != UserId(0));
    }
    call
}

async fn answer(shared: &Arc<Shared>, call: Call) -> CallResult {
    match target(&call) {
        Target::Guild(guild) => shared.call(guild, call).await,
        Target::Channel(channel) => {
            let guild = shared.channel_guild(channel).await.map_err(storage)?;
            let guild = guild.ok_or_else(|| ApiError::not_found(code::UNKNOWN_CHANNEL, "Channel"))?;
            shared.call(guild, call).await
        }
        Target::Invite(invite) => {
            let found = shared.store.invite(&invite).await.map_err(storage)?;
            let found = found.ok_or_else(|| ApiError::not_found(code::UNKNOWN_INVITE, "Invite"))?;
            if let Call::Rest { actor: Some(user), op: Op::AcceptInvite(_), .. } = &call {
                global::require_room_for(shared, *user, GUILDS_PER_USER_MAX, found.guild).await?;
            }
            shared.call(found.guild, call).await
        }
        Target::Here => match call {
            Call::Authenticate { token } => accounts::authenticate(shared, &token).await,
            Call::Rest { actor, operator, op, .. } => global::rest(shared, actor, operator, op).await,
            _ => Err(ApiError::internal()),
        },
    }
}

fn target(call: &Call) -> Target {
    match call {
        Call::Authenticate { .. } | Call::Listen { .. } => Target::Here,
        Call::Attach { guild, .. }
        | Call::Detach { guild, .. }
        | Call::UpdateVoice { guild, .. }
        | Call::VoiceServerPing { guild, .. }
        | Call::UpdatePresence { guild, .. }
        | Call::RequestMembers { guild, .. }
        | Call::RequestChannelInfo { guild, .. } => Target::Guild(*guild),
        Call::Rest { op, .. } => op_target(op),
    }
}

fn op_target(op: &Op) -> Target {
    match op {
        Op::Register(_)
        | Op::Login(..)
        | Op::Logout(_)
        | Op::GetUser(_)
        | Op::CreateBot(_)
        | Op::ResetToken(_)
        | Op::ListGuilds
        | Op::CreateGuild(_)
        | Op::ListRegions
        | Op::AdminCreateUser(_)
        | Op::AdminListUsers
        | Op::AdminAddMember(..)
        | Op::AdminServers
        | Op::AdminModifyServer(..) => Target::Here,
        Op::GetGuild(guild)
        | Op::ModifyGuild(guild, _)
        | Op::DeleteGuild(guild)
        | Op::ListChannels(guild)
        | Op::CreateChannel(guild, _)
        | Op::ReorderChannels(guild, _)
        | Op::ListRoles(guild)
        | Op::GetRole(guild, _)
        | Op::CreateRole(guild, _)
        | Op::ReorderRoles(guild, _)
        | Op::ModifyRole(guild, ..)
        | Op::DeleteRole(guild, _)
        | Op::AddMemberRole(guild, ..)
        | Op::RemoveMemberRole(guild, ..)
        | Op::ListMembers { guild, .. }
        | Op::SearchMembers { guild, .. }
        | Op::GetMember(guild, _)
        | Op::ModifyMember(guild, ..)
        | Op::RemoveMember(guild, _)
        | Op::ListBans(guild)
        | Op::GetBan(guild, _)
        | Op::Ban(guild, ..)
        | Op::Unban(guild, _)
        | Op::GetVoiceState(guild, _)
        | Op::ModifyVoiceState(guild, ..)
        | Op::ListInvites(guild) => Target::Guild(*guild),
        Op::GetChannel(channel)
        | Op::ModifyChannel(channel, _)
        | Op::DeleteChannel(channel)
        | Op::PutOverwrite { channel, .. }
        | Op::DeleteOverwrite { channel, .. }
        | Op::CreateStageInstance(channel, _)
        | Op::GetStageInstance(channel)
        | Op::ModifyStageInstance(channel, _)
        | Op::DeleteStageInstance(channel)
        | Op::SetVoiceStatus(channel, _)
        | Op::ListMessages { channel, .. }
        | Op::GetMessage(channel, _)
        | Op::CreateMessage(channel, _)
        | Op::EditMessage(channel, ..)
        | Op::DeleteMessage(channel, _)
        | Op::BulkDeleteMessages(channel, _)
        | Op::Typing(channel)
        | Op::CreateInvite(channel, _) => Target::Channel(*channel),
        Op::GetInvite(code) | Op::AcceptInvite(code) | Op::DeleteInvite(code) => Target::Invite(code.clone()),
    }
}
