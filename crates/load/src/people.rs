//! Accounts, a guild and channels of this run's own.

use engine::Token;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{ChannelId, GuildId};
use operator::{Api, text};
use serde_json::json;

use crate::limits::MAKING_MAX;
use crate::workload::Shape;

pub struct People {
    pub guild: GuildId,
    /// One a room.
    pub channels: Vec<ChannelId>,
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
    let guild = api.acting_as(&users[0].0).post("/guilds", json!({"name": format!("load {run}")})).await?;
    let guild = text(&guild, "id")?;
    let mut channels = Vec::new();
    for n in 0..shape.rooms() {
        let body = json!({"name": format!("room-{n}"), "type": 2});
        let channel = api.post(&format!("/guilds/{guild}/channels"), body).await?;
        channels.push(text(&channel, "id")?.parse()?);
    }
    let guild_ref = &guild;
    stream::iter(&users[1..])
        .map(|(id, _)| api.add_member(guild_ref, id))
        .buffer_unordered(MAKING_MAX)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(People {
        guild: guild.parse()?,
        channels,
        tokens: users.into_iter().map(|(_, token)| token).collect(),
    })
}
