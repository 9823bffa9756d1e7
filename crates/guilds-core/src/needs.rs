//! What a call needs from the database before the guild can judge it.

use cluster_wire::guilds::{Call, Op};
use model::{Ban, ChannelId, Invite, Message, MessageId, User, UserId};

use crate::limits::{BULK_DELETE_MAX, MESSAGES_PAGE_MAX};

/// One thing to fetch. Where users are behind it (authors, inviters, the banned), they are fetched with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    Messages {
        channel: ChannelId,
        limit: u32,
        before: Option<MessageId>,
        after: Option<MessageId>,
    },
    MessagesById(Vec<MessageId>),
    /// All bans of the guild.
    Bans,
    Ban(UserId),
    /// All invites of the guild.
    Invites,
    Invite(String),
    User(UserId),
}

/// What was fetched. Anything not found is simply not there.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub messages: Vec<Message>,
    pub bans: Vec<Ban>,
    pub invites: Vec<Invite>,
    pub users: Vec<User>,
}

pub fn needs(call: &Call) -> Vec<Need> {
    let Call::Rest { op, actor, .. } = call else { return Vec::new() };
    match op {
        Op::ListMessages { channel, limit, before, after } => {
            let limit = (*limit).clamp(1, MESSAGES_PAGE_MAX);
            vec![Need::Messages { channel: *channel, limit, before: *before, after: *after }]
        }
        Op::GetMessage(_, id) | Op::EditMessage(_, id, _) | Op::DeleteMessage(_, id) => {
            vec![Need::MessagesById(vec![*id])]
        }
        Op::BulkDeleteMessages(_, ids) => {
            vec![Need::MessagesById(ids.iter().copied().take(BULK_DELETE_MAX).collect())]
        }
        Op::ListBans(_) => vec![Need::Bans],
        Op::GetBan(_, user) | Op::Unban(_, user) => vec![Need::Ban(*user), Need::User(*user)],
        Op::Ban(_, user, _) | Op::AdminAddMember(_, user) => vec![Need::User(*user)],
        Op::ListInvites(_) | Op::CreateInvite(..) => vec![Need::Invites],
        Op::GetInvite(code) | Op::DeleteInvite(code) => vec![Need::Invite(code.clone())],
        Op::AcceptInvite(code) => {
            let mut needs = vec![Need::Invite(code.clone())];
            if let Some(user) = actor {
                needs.extend([Need::Ban(*user), Need::User(*user)]);
            }
            needs
        }
        _ => Vec::new(),
    }
}
