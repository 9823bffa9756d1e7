//! `guildhall ctl`: the operator's hand.

use clap::Subcommand;
use operator::Api;
use serde_json::{Value, json};

use crate::server_args::Server;

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

async fn set_draining(api: &Api, server: &str, draining: bool) -> anyhow::Result<Value> {
    api.patch(&format!("/admin/servers/{server}"), json!({"draining": draining})).await
}

async fn execute(api: &Api, command: Command) -> anyhow::Result<Value> {
    let member = |guild: &str, user: &str| format!("/guilds/{guild}/members/{user}");
    match command {
        Command::Servers => api.get("/admin/servers").await,
        Command::Drain { server } => set_draining(api, &server, true).await,
        Command::Restore { server } => set_draining(api, &server, false).await,
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
        Command::Move { guild, user, channel } => {
            api.patch(&member(&guild, &user), json!({"channel_id": channel})).await
        }
    }
}
