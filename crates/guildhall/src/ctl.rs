//! `guildhall ctl`: the operator's hand.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use client_wire::object::VoiceServerStatus;
use operator::Api;
use serde_json::{Value, json};

use crate::server_args::Server;

/// Longer than a voice server waits for a relay to say hello and for another to go, and its record takes to come round.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
const UPGRADE_LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct Ctl {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Voice servers with their health and load
    Servers,
    /// A voice server takes no new guilds, and those on it move to others; to be stopped when it has none left
    Drain {
        server: String,
    },
    /// A drained voice server takes guilds again
    Restore {
        server: String,
    },
    /// Replaces a voice server's relay while people talk, by a new process of its program; nothing changes where that does not start
    UpgradeSfu {
        /// A voice server, or `all` of them, one after the other
        server: String,
        /// Another program, on the voice server's machine
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Accounts
    #[command(subcommand)]
    User(User),
    /// A new token for an account; its older ones end
    Token {
        user: String,
    },
    /// Guilds and their members
    #[command(subcommand)]
    Guild(Guild),
    /// Channels of a guild
    #[command(subcommand)]
    Channel(Channel),
    /// Removes a member from a guild
    Kick {
        guild: String,
        user: String,
    },
    /// Ends a member's stay in voice
    Disconnect {
        guild: String,
        user: String,
    },
    /// Nobody hears this member any more
    Mute {
        guild: String,
        user: String,
    },
    Unmute {
        guild: String,
        user: String,
    },
    /// This member hears nobody any more
    Deafen {
        guild: String,
        user: String,
    },
    Undeafen {
        guild: String,
        user: String,
    },
    /// Where a guild's voice is: all who are in voice move there, but for those in channels that name another region
    Region {
        guild: String,
        /// Of a voice server, or `any` for whichever has most room (of a channel: where its guild is)
        region: String,
        /// Of this voice channel of the guild alone
        #[arg(long)]
        channel: Option<String>,
    },
    /// Moves a member to another voice channel
    Move {
        guild: String,
        user: String,
        channel: String,
    },
}

#[derive(Debug, Subcommand)]
enum User {
    /// Makes an account; prints it with a token
    Create {
        name: String,
        /// Without one, nobody can log in by name and password
        #[arg(long, env = "GUILDHALL_PASSWORD", hide_env_values = true)]
        password: Option<String>,
    },
    List,
}

#[derive(Debug, Subcommand)]
enum Guild {
    Create {
        name: String,
        /// The account that will own it
        #[arg(long)]
        owner: String,
    },
    /// Shows a guild
    Show {
        guild: String,
    },
    Members {
        guild: String,
    },
    /// Makes an account a member, without an invite
    Add {
        guild: String,
        user: String,
    },
}

#[derive(Debug, Subcommand)]
enum Channel {
    Create {
        guild: String,
        name: String,
        #[arg(long, default_value = "voice", value_parser = ["voice", "text", "stage"])]
        kind: String,
    },
    List {
        guild: String,
    },
    Delete {
        channel: String,
    },
}

impl Ctl {
    /// Prints the answer as JSON, one object a line for lists.
    pub async fn run(self) -> anyhow::Result<()> {
        let api = self.server.api()?;
        match execute(&api, self.command).await? {
            Value::Null => println!("{}", json!({"ok": true})),
            Value::Array(rows) => rows.iter().for_each(|row| println!("{row}")),
            value => println!("{value}"),
        }
        Ok(())
    }
}

/// Replaces the relays of one voice server or all. The first that fails ends it, and its reason is the error.
async fn upgrade_sfu(api: &Api, server: &str, binary: Option<PathBuf>) -> anyhow::Result<Value> {
    let program = binary.map(std::path::absolute).transpose()?;
    let servers = match server {
        "all" => statuses(api).await?.into_iter().map(|status| status.id).collect(),
        one => vec![one.to_owned()],
    };
    let mut upgraded = Vec::new();
    for server in servers {
        let wish = json!({"upgrade_relay": {"program": program}});
        let asked = api.patch(&format!("/admin/servers/{server}"), wish).await?;
        let number =
            asked["relay"]["upgrade"]["number"].as_str().context("the server does not know this wish")?;
        upgraded.push(upgrade_done(api, &server, number).await.with_context(|| server.clone())?);
    }
    Ok(Value::Array(upgraded))
}

/// Waits for what becomes of a wish, which the voice server says in its record.
async fn upgrade_done(api: &Api, server: &str, number: &str) -> anyhow::Result<Value> {
    let until = Instant::now() + UPGRADE_TIMEOUT;
    while Instant::now() < until {
        let status = statuses(api).await?.into_iter().find(|status| status.id == server);
        let status = status.context("the voice server is gone")?;
        // Until the record has come round, it names the wish before, or none.
        if let Some(upgrade) = status.relay.upgrade.as_ref().filter(|upgrade| upgrade.number == number) {
            match upgrade.state.as_str() {
                "done" => return Ok(serde_json::to_value(status)?),
                "failed" => {
                    bail!("the relay was not replaced: {}", upgrade.error.as_deref().unwrap_or_default())
                }
                _ => {}
            }
        }
        tokio::time::sleep(UPGRADE_LOOK_EVERY).await;
    }
    bail!("it is not known what became of it; `guildhall ctl servers` may show it later")
}

async fn statuses(api: &Api) -> anyhow::Result<Vec<VoiceServerStatus>> {
    Ok(serde_json::from_value(api.get("/admin/servers").await?)?)
}

async fn set_draining(api: &Api, server: &str, draining: bool) -> anyhow::Result<Value> {
    api.patch(&format!("/admin/servers/{server}"), json!({"draining": draining})).await
}

async fn execute(api: &Api, command: Command) -> anyhow::Result<Value> {
    let member = |guild: &str, user: &str| format!("/guilds/{guild}/members/{user}");
    match command {
        Command::Servers => api.get("/admin/servers").await,
        Command::Drain { server } => set_draining(api, &server, true).await,
        Command::Restore { server } => set_draining(api, &server, false).await,
        Command::UpgradeSfu { server, binary } => upgrade_sfu(api, &server, binary).await,
        Command::User(User::List) => api.get("/admin/users").await,
        Command::User(User::Create { name, password }) => api.create_user(&name, password.as_deref()).await,
        Command::Token { user } => api.post(&format!("/admin/users/{user}/token"), json!({})).await,
        Command::Guild(Guild::Create { name, owner }) => {
            api.acting_as(&owner).post("/guilds", json!({"name": name})).await
        }
        Command::Guild(Guild::Show { guild }) => api.get(&format!("/guilds/{guild}")).await,
        Command::Guild(Guild::Members { guild }) => {
            api.get(&format!("/guilds/{guild}/members?limit=1000")).await
        }
        Command::Guild(Guild::Add { guild, user }) => api.add_member(&guild, &user).await,
        Command::Channel(Channel::List { guild }) => api.get(&format!("/guilds/{guild}/channels")).await,
        Command::Channel(Channel::Delete { channel }) => api.delete(&format!("/channels/{channel}")).await,
        Command::Channel(Channel::Create { guild, name, kind }) => {
            let number = match kind.as_str() {
                "text" => 0,
                "stage" => 13,
                _ => 2,
            };
            api.post(&format!("/guilds/{guild}/channels"), json!({"name": name, "type": number})).await
        }
        Command::Kick { guild, user } => api.delete(&member(&guild, &user)).await,
        Command::Disconnect { guild, user } => {
            api.patch(&member(&guild, &user), json!({"channel_id": null})).await
        }
        Command::Mute { guild, user } => api.patch(&member(&guild, &user), json!({"mute": true})).await,
        Command::Unmute { guild, user } => api.patch(&member(&guild, &user), json!({"mute": false})).await,
        Command::Deafen { guild, user } => api.patch(&member(&guild, &user), json!({"deaf": true})).await,
        Command::Undeafen { guild, user } => api.patch(&member(&guild, &user), json!({"deaf": false})).await,
        Command::Region { guild, region, channel } => {
            let region = (region != "any").then_some(region);
            match channel {
                Some(channel) => {
                    api.patch(&format!("/channels/{channel}"), json!({"rtc_region": region})).await
                }
                None => api.patch(&format!("/guilds/{guild}"), json!({ "region": region })).await,
            }
        }
        Command::Move { guild, user, channel } => {
            api.patch(&member(&guild, &user), json!({"channel_id": channel})).await
        }
    }
}
