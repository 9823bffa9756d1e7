//! Accounts, guilds and channels of this run's own.

use engine::Token;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{ChannelId, GuildId};
use operator::{Api, text};
use serde_json::json;

use crate::limits::MAKING_MAX;
use crate::workload::Shape;

pub struct People {
    /// A channel for each room, and its guild.
    pub rooms: Vec<(GuildId, ChannelId)>,
    pub tokens: Vec<Token>,
}

pub async fn make(server: &str, operator_key: &str, shape: &Shape) -> anyhow::Result<People> {
    let api = Api::new(server, operator_key);
    // Names are taken once and for all, and another run may begin in the same instant.
    let run = format!("{:016x}", rand::random::<u64>());
    let (api, run) = (&api, &run);
    let users: Vec<(String, Token)> = stream::iter(0..shape.participants)
        .map(|n| async move {
            let user = api.create_user(&format!("load-{run}-{n}"), None).await?;
            anyhow::Ok((text(&user, "id")?, Token::new(text(&user, "token")?)))
        })
        .buffered(MAKING_MAX)
        .try_collect()
        .await?;
    let mut rooms = Vec::new();
    for first in (0..shape.rooms()).step_by(shape.rooms_a_guild) {
        let ours = first..(first + shape.rooms_a_guild).min(shape.rooms());
        let members = &users[ours.start * shape.room..(ours.end * shape.room).min(users.len())];
        let named = json!({"name": format!("load {run}")});
        let guild = text(&api.acting_as(&members[0].0).post("/guilds", named).await?, "id")?;
        for n in ours {
            let body = json!({"name": format!("room-{n}"), "type": 2});
            let channel = api.post(&format!("/guilds/{guild}/channels"), body).await?;
            rooms.push((guild.parse()?, text(&channel, "id")?.parse()?));
        }
        let guild = &guild;
        stream::iter(&members[1..])
            .map(|(id, _)| api.add_member(guild, id))
            .buffer_unordered(MAKING_MAX)
            .try_collect::<Vec<_>>()
            .await?;
    }
    Ok(People { rooms, tokens: users.into_iter().map(|(_, token)| token).collect() })
}
