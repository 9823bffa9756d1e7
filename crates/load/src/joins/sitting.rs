//! Those who are to join: each with a gateway session, read by one thread for all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context as _;
use client_wire::gateway::{FromClient, FromServer, VoiceStateUpdate};
use client_wire::object::VoiceServer;
use engine::Token;
use model::{ChannelId, GuildId, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::JoinOptions;
use crate::limits::{HEARTBEATS_EVERY, SESSIONS_IN_WITHIN};
use crate::sessions::{Compression, Gateway, Line, Said, Sessions, is};

pub struct Person {
    pub number: usize,
    pub user: UserId,
    pub session: String,
    line: Line,
    told: mpsc::UnboundedReceiver<VoiceServer>,
}

impl Person {
    /// Where to be in voice. A session that takes nothing any more is noticed by what does not come back.
    pub fn wish(&self, guild: GuildId, channel: Option<ChannelId>) {
        let update = VoiceStateUpdate {
            guild_id: Some(guild),
            channel_id: channel,
            self_mute: false,
            self_deaf: false,
            self_video: false,
        };
        if let Err(error) = self.line.say(&FromClient::VoiceStateUpdate(update)) {
            tracing::warn!(person = self.number, %error);
        }
    }

    pub fn forget_what_was_told(&mut self) {
        while self.told.try_recv().is_ok() {}
    }

    /// Where to connect to.
    pub async fn server(&mut self) -> anyhow::Result<(Token, String)> {
        loop {
            let server = self.told.recv().await.context("the gateway sessions are no more")?;
            if let Some(endpoint) = server.endpoint {
                return Ok((Token::new(server.token), endpoint));
            }
        }
    }
}

pub struct Sitting {
    free: Mutex<mpsc::UnboundedReceiver<Person>>,
    back: mpsc::UnboundedSender<Person>,
    is_over: Arc<AtomicBool>,
    reading: JoinHandle<anyhow::Result<()>>,
}

#[derive(Deserialize)]
struct Ready {
    user: ReadyUser,
    session_id: String,
}

#[derive(Deserialize)]
struct ReadyUser {
    id: UserId,
}

impl Sitting {
    pub async fn take(options: &JoinOptions, tokens: Vec<Token>) -> anyhow::Result<Self> {
        let server = options.server.clone();
        tokio::task::spawn_blocking(move || Self::open(&server, &tokens))
            .await
            .context("the gateway sessions broke")?
    }

    fn open(server: &str, tokens: &[Token]) -> anyhow::Result<Self> {
        let mut sessions = Sessions::new(Gateway::at(server)?, Compression::Plain)?;
        let mut greeted: Vec<Option<Ready>> = tokens.iter().map(|_| None).collect();
        sessions.open_all(tokens, SESSIONS_IN_WITHIN, |session, said| {
            if let Some(ready) = dispatch(&said, "READY")? {
                greeted[session] = Some(ready);
            }
            Ok(matches!(said, Said::Text(text) if is(text, "GUILD_CREATE")))
        })?;
        let (back, free) = mpsc::unbounded_channel();
        let mut tell = Vec::new();
        for (number, ready) in greeted.into_iter().enumerate() {
            let Ready { user, session_id: session } =
                ready.context("a session had its guild before READY")?;
            let (told, heard) = mpsc::unbounded_channel();
            tell.push(told);
            let line = sessions.line(number);
            let _ = back.send(Person { number, user: user.id, session, line, told: heard });
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let reading = std::thread::Builder::new()
            .name("gateway sessions".to_owned())
            .spawn(move || read(sessions, &tell, &over))
            .context("the gateway sessions' thread")?;
        Ok(Self { free: Mutex::new(free), back, is_over, reading })
    }

    /// Whoever has been back for longest.
    pub fn next(&self) -> Option<Person> {
        self.free.lock().expect("nothing panics under this lock").try_recv().ok()
    }

    pub fn back(&self) -> mpsc::UnboundedSender<Person> {
        self.back.clone()
    }

    pub fn leave(self) -> anyhow::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.reading.join().expect("the reader does not panic")
    }
}

fn read(
    mut sessions: Sessions,
    tell: &[mpsc::UnboundedSender<VoiceServer>],
    is_over: &AtomicBool,
) -> anyhow::Result<()> {
    let mut heartbeats_due = Instant::now() + HEARTBEATS_EVERY;
    while !is_over.load(Ordering::Relaxed) {
        sessions.pump(|session, _, said| {
            if let Some(server) = dispatch(&said, "VOICE_SERVER_UPDATE")? {
                // Nobody waits for it where the run is over.
                let _ = tell[session].send(server);
            }
            Ok(())
        })?;
        if Instant::now() >= heartbeats_due {
            heartbeats_due += HEARTBEATS_EVERY;
            sessions.beat()?;
        }
    }
    Ok(())
}

/// A dispatch of this name; anything else is not even parsed.
fn dispatch<T: DeserializeOwned>(said: &Said<'_>, name: &str) -> anyhow::Result<Option<T>> {
    match said {
        Said::Text(text) if is(text, name) => match FromServer::parse(text)? {
            FromServer::Dispatch { d, .. } => Ok(Some(serde_json::from_str(d.get())?)),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}
