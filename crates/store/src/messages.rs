//! Reading messages.

use std::collections::HashMap;

use model::{ChannelId, GuildId, Message, MessageId};

use crate::backend::{row, rows};
use crate::limits::MAX_PAGE_ROWS;
use crate::rows::{MessageRow, NewestRow, bits};
use crate::{Result, Store};

const FOLLOWING: &str = "SELECT id, channel_id, author_id, content, edited_at FROM messages \
    WHERE channel_id = $1 AND id >= $2 AND id <= $3 ORDER BY id LIMIT $4";
const NEWEST: &str = "SELECT id, channel_id, author_id, content, edited_at FROM messages \
    WHERE channel_id = $1 AND id >= $2 AND id <= $3 ORDER BY id DESC LIMIT $4";
const ONE: &str = "SELECT id, channel_id, author_id, content, edited_at FROM messages WHERE id = $1";

/// One look at an index for each channel.
const NEWEST_OF_EACH: &str = "SELECT id AS channel_id, (SELECT MAX(m.id) FROM messages m WHERE m.channel_id = channels.id) AS newest_id \
    FROM channels WHERE guild_id = $1";

impl Store {
    /// Of each channel of a guild that has any.
    pub async fn newest_messages(&self, guild: GuildId) -> Result<HashMap<ChannelId, MessageId>> {
        let found = rows!(self.backend.read(), NewestRow, NEWEST_OF_EACH, bits(guild.0))?;
        Ok(found.into_iter().filter_map(NewestRow::newest).collect())
    }

    /// Newest first. With `after` alone: the `limit` messages that follow it; otherwise the newest `limit` that fit.
    pub async fn messages(
        &self,
        channel: ChannelId,
        limit: u32,
        before: Option<MessageId>,
        after: Option<MessageId>,
    ) -> Result<Vec<Message>> {
        let Some((first, last)) = bounds(before, after) else { return Ok(Vec::new()) };
        let following = after.is_some() && before.is_none();
        let sql = if following { FOLLOWING } else { NEWEST };
        let limit = i64::from(limit.min(MAX_PAGE_ROWS));
        let found = rows!(self.backend.read(), MessageRow, sql, bits(channel.0), first, last, limit)?;
        let mut messages: Vec<_> = found.into_iter().map(MessageRow::message).collect();
        if following {
            messages.reverse();
        }
        Ok(messages)
    }

    pub async fn message(&self, id: MessageId) -> Result<Option<Message>> {
        Ok(row!(self.backend.read(), MessageRow, ONE, bits(id.0))?.map(MessageRow::message))
    }
}

/// The first and last id wanted. Clients ask for ids beyond the signed range ("before the end of time"), which no
/// message has.
fn bounds(before: Option<MessageId>, after: Option<MessageId>) -> Option<(i64, i64)> {
    let first = match after {
        Some(id) => i64::try_from(id.0.checked_add(1)?).ok()?,
        None => 0,
    };
    let last = match before {
        Some(id) => i64::try_from(id.0.checked_sub(1)?).unwrap_or(i64::MAX),
        None => i64::MAX,
    };
    Some((first, last))
}
