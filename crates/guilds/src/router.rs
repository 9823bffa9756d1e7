//! Where a call goes: to a guild's actor, or to a task of its own.

use std::sync::Arc;

use client_wire::error::{ApiError, code};
use cluster_wire::guilds::{Call, CallResult, Op, Reply as CallReply};
use cluster_wire::link::ToGuilds;
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
pub(crate) async fn run(shared: Arc<Shared>, mut calls: mpsc::Receiver<ToGuilds>) {
    while let Some(Some(message)) = shared.stopping.run_until_cancelled(calls.recv()).await {
        match message {
            ToGuilds::Call(call, reply) => route(&shared, call, reply),
            ToGuilds::Listen(gateway, events) => shared.gateways.add(gateway, events),
        }
    }
}

fn route(shared: &Arc<Shared>, call: Call, reply: Reply) {
    let call = without_nobody(call);
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

/// A guild of another node's is named as such, for whoever carries the call to ask there. Passing it on would never end while a dead node's lease has yet to.
async fn answer(shared: &Arc<Shared>, call: Call) -> CallResult {
    match target(&call) {
        Target::Guild(guild) => shared.call_here(guild, call).await,
        Target::Channel(channel) => {
            let guild = shared.channel_guild(channel).await.map_err(storage)?;
            let guild = guild.ok_or_else(|| ApiError::not_found(code::UNKNOWN_CHANNEL, "Channel"))?;
            shared.call_here(guild, call).await
        }
        Target::Invite(invite) => {
            let found = shared.store.invite(&invite).await.map_err(storage)?;
            let found = found.ok_or_else(|| ApiError::not_found(code::UNKNOWN_INVITE, "Invite"))?;
            if let Call::Rest { actor: Some(user), op: Op::AcceptInvite(_), .. } = &call {
                global::require_room_for(shared, *user, GUILDS_PER_USER_MAX, found.guild).await?;
            }
            shared.call_here(found.guild, call).await
        }
        Target::Here => match call {
            Call::Authenticate { token } => accounts::authenticate(shared, &token).await,
            Call::Rest { actor, operator, op, .. } => global::rest(shared, actor, operator, op).await,
            Call::LeaveElsewhere { user, guild, since } => {
                shared.entered_voice_elsewhere(user, guild, since).await;
                Ok(CallReply::Done)
            }
            _ => Err(ApiError::internal()),
        },
    }
}

fn target(call: &Call) -> Target {
    match (call.guild(), call) {
        (Some(guild), _) => Target::Guild(guild),
        (None, Call::Rest { op, .. }) => op_target(op),
        (None, _) => Target::Here,
    }
}

/// Of those that name no guild.
fn op_target(op: &Op) -> Target {
    match op {
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
        _ => Target::Here,
    }
}
