//! The command line, the same for each of the three bots.

pub const USAGE: &str = "usage: songbird-bot --api URL --token TOKEN --guild ID [--gateway URL]";

pub struct Options {
    pub api: String,
    pub token: String,
    pub guild: u64,
    /// serenity always asks the REST API where the gateway is; this only tells which sockets are the gateway's.
    pub gateway: Option<String>,
}

impl Options {
    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut api, mut token, mut guild, mut gateway) = (None, None, None, None);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--api" => api = Some(value),
                "--token" => token = Some(value),
                "--guild" => guild = Some(value.parse().map_err(|_| format!("--guild {value} is no id"))?),
                "--gateway" => gateway = Some(value),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(Self {
            api: api.ok_or("--api is missing")?,
            token: token.ok_or("--token is missing")?,
            guild: guild.ok_or("--guild is missing")?,
            gateway,
        })
    }

    /// serenity replaces only the scheme and host of Discord's address and keeps the path `/api/v10`.
    pub fn origin(&self) -> &str {
        let api = self.api.trim_end_matches('/');
        api.strip_suffix("/api").unwrap_or(api)
    }
}
