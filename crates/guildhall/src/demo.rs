//! `--demo N`: something to try at once.

use std::path::Path;

use anyhow::Context as _;
use operator::{Api, text};
use serde_json::{Value, json};

const NAMES: &[&str] = &["ada", "bo", "cleo", "dag", "eve", "finn", "gro", "hal"];

/// A guild with two voice channels, a text channel and N accounts, the first its owner. Made once: a data folder that has one keeps it.
pub async fn make(api: &Api, data: &Path, accounts: u16) -> anyhow::Result<()> {
    let file = data.join("demo.json");
    if file.exists() {
        return Ok(());
    }
    let mut users = Vec::new();
    for n in 0..usize::from(accounts.max(1)) {
        let name = NAMES.get(n).map_or_else(|| format!("guest{n}"), |name| (*name).to_owned());
        let password = format!("{name}-demo-password");
        let user =
            api.create_user(&name, Some(&password)).await.with_context(|| format!("account {name}"))?;
        users.push(json!({"id": user["id"], "name": name, "token": user["token"], "password": password}));
    }
    let owner = text(&users[0], "id")?;
    let guild =
        api.acting_as(&owner).post("/guilds", json!({"name": "The Demo Guild"})).await.context("guild")?;
    let guild = text(&guild, "id")?;
    for user in &users[1..] {
        api.add_member(&guild, &text(user, "id")?).await.context("member")?;
    }
    api.post(&format!("/guilds/{guild}/channels"), json!({"name": "Workshop", "type": 2}))
        .await
        .context("channel")?;
    let channels = api.get(&format!("/guilds/{guild}/channels")).await?;
    let channels: Vec<Value> = channels
        .as_array()
        .context("a list of channels")?
        .iter()
        .map(|c| json!({"id": c["id"], "name": c["name"], "type": c["type"]}))
        .collect();
    let demo = json!({"guild": guild, "channels": channels, "users": users});
    crate::files::write_private(&file, &format!("{demo:#}\n"))
}
