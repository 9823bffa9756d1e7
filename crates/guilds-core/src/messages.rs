//! Messages in channels of every kind: voice channels have text too.

use std::collections::HashSet;
use std::sync::Arc;

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use client_wire::rest::MessageBody;
use cluster_wire::guilds::{Audience, CallResult, Dispatch, Reply};
use model::{ChannelId, ChannelKind, Message, MessageId, Permissions, RoleId, UserId, Write};

use crate::access::Who;
use crate::limits::{BULK_DELETE_MAX, MENTIONS_MAX, MESSAGE_CHARS_MAX, MESSAGE_NONCE_BYTES_MAX};
use crate::turn::{Turn, json, ok};
use crate::visibility::except;
use crate::{GuildCore, forms};

const READ: Permissions = Permissions::VIEW_CHANNEL.union(Permissions::READ_MESSAGE_HISTORY);
const SEND: Permissions = Permissions::VIEW_CHANNEL.union(Permissions::SEND_MESSAGES);

impl GuildCore {
    /// Without READ_MESSAGE_HISTORY the list is empty, as the protocol has it.
    pub(crate) fn list_messages(&self, turn: &Turn<'_>, who: Who, channel: ChannelId) -> CallResult {
        let found = self.require_in(who, channel, Permissions::VIEW_CHANNEL, turn.now)?;
        if !self.permissions_in(who, found, turn.now)?.contains(READ) {
            return ok(&Vec::<object::Message>::new());
        }
        let messages = turn.facts.messages.iter().filter(|message| message.channel == channel);
        ok(&messages.map(|message| self.message_object(turn, message)).collect::<Vec<_>>())
    }

    pub(crate) fn get_message(
        &self,
        turn: &Turn<'_>,
        who: Who,
        channel: ChannelId,
        id: MessageId,
    ) -> CallResult {
        self.require_in(who, channel, READ, turn.now)?;
        ok(&self.message_object(turn, known_message(turn, channel, id)?))
    }

    pub(crate) fn create_message(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
        body: MessageBody,
    ) -> CallResult {
        let author = who.require_user()?;
        let found = self.require_in(who, channel, SEND, turn.now)?;
        // An operator may do everything, but the author of a message is a member.
        self.known_member(author)?;
        if found.kind == ChannelKind::Category {
            return Err(ApiError::wrong_channel_type());
        }
        let content = checked_content(body.content)?;
        let nonce = body.nonce.filter(|nonce| nonce.to_string().len() <= MESSAGE_NONCE_BYTES_MAX);
        let message = Message { id: MessageId(turn.next_id()), channel, author, content, edited_at: None };
        turn.write(Write::PutMessage(message.clone()));
        let slot = self.guild.channels.iter_mut().find(|slot| slot.id == channel).expect("found above");
        slot.last_message = Some(message.id);
        let object = object::Message { nonce, ..self.message_object(turn, &message) };
        self.tell_message(turn, "MESSAGE_CREATE", &object);
        ok(&object)
    }

    /// Only its author edits a message.
    pub(crate) fn edit_message(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
        id: MessageId,
        body: MessageBody,
    ) -> CallResult {
        let author = who.require_user()?;
        self.require_in(who, channel, Permissions::VIEW_CHANNEL, turn.now)?;
        let mut message = known_message(turn, channel, id)?.clone();
        if message.author != author {
            return Err(ApiError::new(
                403,
                code::NOT_THE_AUTHOR,
                "Cannot edit a message authored by another user",
            ));
        }
        message.content = checked_content(body.content)?;
        message.edited_at = Some(turn.now);
        turn.write(Write::PutMessage(message.clone()));
        let object = self.message_object(turn, &message);
        self.tell_message(turn, "MESSAGE_UPDATE", &object);
        ok(&object)
    }

    pub(crate) fn delete_message(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
        id: MessageId,
    ) -> CallResult {
        self.require_in(who, channel, Permissions::VIEW_CHANNEL, turn.now)?;
        if who.user != Some(known_message(turn, channel, id)?.author) {
            self.require_in(who, channel, Permissions::MANAGE_MESSAGES, turn.now)?;
        }
        turn.write(Write::DeleteMessage(id));
        let event = object::MessageDelete { id, channel_id: channel, guild_id: self.guild.id };
        let audience = self.audience_of(channel, turn.now);
        turn.tell("MESSAGE_DELETE", Intents::GUILD_MESSAGES, audience, &event);
        Ok(Reply::Empty)
    }

    pub(crate) fn bulk_delete(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
        ids: &[MessageId],
    ) -> CallResult {
        self.require_in(who, channel, Permissions::MANAGE_MESSAGES, turn.now)?;
        if !(2..=BULK_DELETE_MAX).contains(&ids.len()) {
            return Err(forms::bad_length("messages", 2, BULK_DELETE_MAX));
        }
        let found: Vec<MessageId> = turn
            .facts
            .messages
            .iter()
            .filter(|message| message.channel == channel)
            .map(|message| message.id)
            .collect();
        if found.is_empty() {
            return Ok(Reply::Empty);
        }
        for id in &found {
            turn.write(Write::DeleteMessage(*id));
        }
        let event = object::MessageDeleteBulk { ids: found, channel_id: channel, guild_id: self.guild.id };
        let audience = self.audience_of(channel, turn.now);
        turn.tell("MESSAGE_DELETE_BULK", Intents::GUILD_MESSAGES, audience, &event);
        Ok(Reply::Empty)
    }

    pub(crate) fn typing(&mut self, turn: &mut Turn<'_>, who: Who, channel: ChannelId) -> CallResult {
        let user = who.require_user()?;
        self.require_in(who, channel, SEND, turn.now)?;
        let event = object::TypingStart {
            channel_id: channel,
            guild_id: self.guild.id,
            user_id: user,
            timestamp: turn.now.0 / 1000,
            member: self.member_object(self.known_member(user)?),
        };
        let audience = self.audience_of(channel, turn.now);
        turn.tell("TYPING_START", Intents::GUILD_MESSAGE_TYPING, audience, &event);
        Ok(Reply::Empty)
    }

    /// The author and the mentioned get the content whatever their intents say of content, so they are told apart.
    fn tell_message(&mut self, turn: &mut Turn<'_>, t: &'static str, object: &object::Message) {
        let author = object.author.id;
        let event = object::Message {
            guild_id: Some(self.guild.id),
            member: self.guild.member(author).map(object::Member::without_user),
            ..object.clone()
        };
        let bare = object::Message { content: String::new(), ..event.clone() };
        let hidden = self.hidden_from(object.channel_id, turn.now);
        let concerned: HashSet<UserId> = std::iter::once(author)
            .chain(object.mentions.iter().map(|user| user.id))
            .filter(|user| self.attached.contains_key(user) && !hidden.contains(user))
            .collect();
        let others = hidden.union(&concerned).copied().collect();
        let dispatch = Dispatch {
            t,
            d: json(&event),
            without_content: Some(json(&bare)),
            intents: Intents::GUILD_MESSAGES.bits(),
            audience: except(Arc::new(others)),
            always: None,
            note: None,
        };
        if !concerned.is_empty() {
            let audience = Audience::Users(Arc::new(concerned));
            turn.dispatch(Dispatch { without_content: None, audience, ..dispatch.clone() });
        }
        turn.dispatch(dispatch);
    }

    fn message_object(&self, turn: &Turn<'_>, message: &Message) -> object::Message {
        let author = self.user_object(turn, message.author);
        let mut object = object::Message::new(message, &known_as(&author));
        let mentions = mentions(&message.content);
        let known = |id: &UserId| self.users.get(id).map(object::User::from);
        object.mentions = mentions.users.iter().filter_map(known).collect();
        object.mention_roles =
            mentions.roles.into_iter().filter(|role| self.guild.role(*role).is_some()).collect();
        object.mention_everyone = mentions.everyone && {
            let permissions = self.member_permissions_in(message.author, message.channel, turn.now);
            permissions.contains(Permissions::MENTION_EVERYONE)
        };
        object
    }
}

fn known_as(user: &object::User) -> model::User {
    model::User {
        id: user.id,
        name: user.username.clone(),
        display_name: user.global_name.clone(),
        bot: user.bot,
    }
}

fn known_message<'a>(turn: &'a Turn<'_>, channel: ChannelId, id: MessageId) -> Result<&'a Message, ApiError> {
    let found = turn.facts.messages.iter().find(|message| message.id == id && message.channel == channel);
    found.ok_or_else(|| ApiError::not_found(code::UNKNOWN_MESSAGE, "Message"))
}

fn checked_content(content: Option<String>) -> Result<String, ApiError> {
    let content = content.unwrap_or_default();
    if content.trim().is_empty() {
        return Err(ApiError::new(400, code::EMPTY_MESSAGE, "Cannot send an empty message"));
    }
    match content.chars().count() <= MESSAGE_CHARS_MAX {
        true => Ok(content),
        false => Err(forms::bad_length("content", 1, MESSAGE_CHARS_MAX)),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Mentions {
    users: Vec<UserId>,
    roles: Vec<RoleId>,
    everyone: bool,
}

/// `<@1>`, `<@!1>` users, `<@&1>` roles, `@everyone` and `@here`; each once, in order.
fn mentions(content: &str) -> Mentions {
    let mut found = Mentions {
        everyone: content.contains("@everyone") || content.contains("@here"),
        ..Mentions::default()
    };
    for piece in content.split("<@").skip(1) {
        let Some((inside, _)) = piece.split_once('>') else { continue };
        if let Some(role) = inside.strip_prefix('&') {
            push_once(&mut found.roles, role.parse().ok());
        } else {
            push_once(&mut found.users, inside.strip_prefix('!').unwrap_or(inside).parse().ok());
        }
    }
    found
}

fn push_once<T: PartialEq>(list: &mut Vec<T>, item: Option<T>) {
    if let Some(item) = item.filter(|item| !list.contains(item) && list.len() < MENTIONS_MAX) {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_read_from_the_content() {
        let check = |content: &str, users: &[u64], roles: &[u64], everyone: bool| {
            let expect = Mentions {
                users: users.iter().copied().map(UserId).collect(),
                roles: roles.iter().copied().map(RoleId).collect(),
                everyone,
            };
            assert_eq!(mentions(content), expect, "{content}");
        };
        check("hello", &[], &[], false);
        check("<@1> and <@!2>, <@1> again", &[1, 2], &[], false);
        check("<@&3> <@&x> <@> <@4", &[], &[3], false);
        check("hey @everyone <@5>", &[5], &[], true);
        check("<@99999999999999999999>", &[], &[], false);
    }
}
