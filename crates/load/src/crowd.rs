//! A crowd at the gateway: what a session that does nothing costs, and how long a change takes to reach them all.
//!
//! One guild, a session for each of its members, and one member more who joins a voice channel and leaves it, again and again. A session's receipt
//! is when this process has read the event's bytes, which is after its own work for all that were read before.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use client_wire::gateway::{FromClient, VoiceStateUpdate};
use engine::Token;
use model::{ChannelId, GuildId};
use serde::Serialize;
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

use crate::histogram::Histogram;
use crate::limits::{
    CHANGE_EVERY, CHANGE_PATIENCE, CROWD_LOOKED_AT, CROWD_SETTLES, HEARTBEATS_EVERY, SESSIONS_IN_WITHIN,
};
use crate::people;
use crate::sessions::{Compression, Gateway, Line, Said, Sessions, is};
use crate::spread::Spread;
use crate::workload::{Numbers, Workload};

#[derive(Debug, Clone)]
pub struct CrowdOptions {
    /// `http://host:port`.
    pub server: String,
    pub operator_key: String,
    /// Of the process with the gateway in it.
    pub server_pid: Option<u32>,
    pub sessions: usize,
    pub compression: Compression,
    /// Joins and leaves, by turns.
    pub changes: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct CrowdReport {
    pub program: &'static str,
    pub compression: &'static str,
    pub sessions: usize,
    /// From the first connection until the last session had its guild.
    pub sessions_in_s: f64,
    /// Resident memory of the server's process: with the guild and its one member in memory, and with all sessions.
    pub rss_before_bytes: Option<u64>,
    pub rss_after_bytes: Option<u64>,
    pub rss_per_session_bytes: Option<f64>,
    /// The same once all changes have been told.
    pub rss_per_session_at_the_end_bytes: Option<f64>,
    pub changes: usize,
    /// From the change's being sent to each session's receipt, of all changes.
    pub receipt_ms: Spread,
    /// The last session's, of each change.
    pub last_ms: Last,
    /// CPU time of the server's process for each session told.
    pub server_cpu_us_per_receipt: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Last {
    pub best: f64,
    pub p50: f64,
    pub worst: f64,
}

/// Runs to its end.
pub async fn crowd(options: CrowdOptions) -> anyhow::Result<CrowdReport> {
    let shape = Workload::Raid.shape(Numbers {
        participants: Some(options.sessions + 1),
        speakers: Some(0),
        room: None,
    })?;
    let people =
        people::make(&options.server, &options.operator_key, &shape).await.context("making accounts")?;
    tracing::info!(accounts = people.tokens.len(), "accounts are made");
    let (guild, channel) = people.rooms[0];
    tokio::task::spawn_blocking(move || run(&options, guild, channel, &people.tokens))
        .await
        .context("the crowd broke")?
}

fn run(
    options: &CrowdOptions,
    guild: GuildId,
    channel: ChannelId,
    tokens: &[Token],
) -> anyhow::Result<CrowdReport> {
    let gateway = Gateway::at(&options.server)?;
    let (changer, members) = tokens.split_first().context("nobody takes part")?;
    let mut alone = Sessions::new(gateway.clone(), Compression::Plain)?;
    alone.open_all(std::slice::from_ref(changer), SESSIONS_IN_WITHIN, |_, said| {
        Ok(matches!(said, Said::Text(text) if is(text, "GUILD_CREATE")))
    })?;
    let mut crowd = Crowd {
        changer: alone.line(0),
        alone,
        sessions: Sessions::new(gateway, options.compression)?,
        readers: Readers::default(),
        guild,
        heartbeats_due: Instant::now() + HEARTBEATS_EVERY,
    };
    let rss = || options.server_pid.map(udp_io::resident_of).transpose();
    crowd.idle(CROWD_SETTLES)?;
    let before = rss()?;
    let began = Instant::now();
    crowd.come(members)?;
    let sessions_in_s = began.elapsed().as_secs_f64();
    crowd.idle(CROWD_SETTLES)?;
    let after = rss()?;

    let cpu = || options.server_pid.map(udp_io::process_cpu_of).transpose();
    let cpu_before = cpu()?;
    let (mut receipts, mut lasts) = (Histogram::default(), Histogram::default());
    for change in 0..options.changes {
        let to = change.is_multiple_of(2).then_some(channel);
        let (times, last) = crowd.change(to).with_context(|| format!("change {change}"))?;
        receipts.add(&times);
        lasts.record(last);
        crowd.idle(CHANGE_EVERY)?;
    }
    let cpu_used = cpu()?.zip(cpu_before).map(|(now, then)| now - then);
    let at_the_end = rss()?;
    let per_session = |now: Option<u64>| {
        now.zip(before).map(|(now, then)| (now as f64 - then as f64) / members.len() as f64)
    };
    let told = (members.len() * options.changes) as f64;
    Ok(CrowdReport {
        program: "crowd",
        compression: options.compression.name(),
        sessions: members.len(),
        sessions_in_s,
        rss_before_bytes: before,
        rss_after_bytes: after,
        rss_per_session_bytes: per_session(after),
        rss_per_session_at_the_end_bytes: per_session(at_the_end),
        changes: options.changes,
        receipt_ms: Spread::of(&receipts),
        last_ms: Last {
            best: lasts.quantile_ms(0.0),
            p50: lasts.quantile_ms(0.5),
            worst: lasts.quantile_ms(1.0),
        },
        server_cpu_us_per_receipt: cpu_used.filter(|_| told > 0.0).map(|cpu| cpu.as_secs_f64() * 1e6 / told),
    })
}

struct Crowd {
    /// Whose voice state changes.
    alone: Sessions,
    changer: Line,
    sessions: Sessions,
    readers: Readers,
    guild: GuildId,
    heartbeats_due: Instant,
}

impl Crowd {
    fn come(&mut self, tokens: &[Token]) -> anyhow::Result<()> {
        // Of most compressed sessions only the count is looked at: HELLO, READY, GUILD_CREATE.
        let mut messages = vec![0_u8; tokens.len()];
        self.sessions.open_all(tokens, SESSIONS_IN_WITHIN, |session, said| {
            messages[session] += 1;
            let name = self.readers.is(session, &said, "GUILD_CREATE")?;
            Ok(name.unwrap_or(messages[session] == 3))
        })
    }

    /// Hears what comes, and beats where it is time.
    fn idle(&mut self, time: Duration) -> anyhow::Result<()> {
        self.hear(time)?;
        if Instant::now() < self.heartbeats_due {
            return Ok(());
        }
        self.heartbeats_due = Instant::now() + HEARTBEATS_EVERY;
        self.changer.say(&FromClient::Heartbeat(None))?;
        self.sessions.beat()?;
        // What answers them must not be taken for what follows.
        self.hear(CHANGE_EVERY)
    }

    fn hear(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.sessions.pump(|session, _, said| self.readers.is(session, &said, "").map(|_| ()))?;
            self.alone.pump(|_, _, _| Ok(()))?;
        }
        Ok(())
    }

    /// Each session's receipt, and the last one's.
    fn change(&mut self, to: Option<ChannelId>) -> anyhow::Result<(Histogram, Duration)> {
        let wish = VoiceStateUpdate {
            guild_id: Some(self.guild),
            channel_id: to,
            self_mute: false,
            self_deaf: false,
            self_video: false,
        };
        let mut is_told = vec![false; self.sessions.len()];
        let (mut times, mut last, mut told) = (Histogram::default(), Duration::ZERO, 0);
        let sent = Instant::now();
        self.changer.say(&FromClient::VoiceStateUpdate(wish))?;
        while told < is_told.len() {
            self.sessions.pump(|session, now, said| {
                // The event is the first that comes of the change.
                let is_it = self.readers.is(session, &said, "VOICE_STATE_UPDATE")?.unwrap_or(true);
                if is_it && !std::mem::replace(&mut is_told[session], true) {
                    told += 1;
                    last = now.duration_since(sent);
                    times.record(last);
                }
                Ok(())
            })?;
            ensure!(
                sent.elapsed() < CHANGE_PATIENCE,
                "{told} of {} sessions were told within {CHANGE_PATIENCE:?}",
                is_told.len()
            );
        }
        Ok((times, last))
    }
}

/// Some compressed sessions are really read, which proves that what is counted of the others is what it is taken for.
#[derive(Default)]
struct Readers(BTreeMap<usize, Decoder<'static>>);

impl Readers {
    /// Whether a message is a dispatch of this name; none where it cannot be read.
    fn is(&mut self, session: usize, said: &Said<'_>, name: &str) -> anyhow::Result<Option<bool>> {
        let bytes = match said {
            Said::Text(text) => return Ok(Some(is(text, name))),
            Said::Compressed(_) if !session.is_multiple_of(CROWD_LOOKED_AT) => return Ok(None),
            Said::Compressed(bytes) => bytes,
        };
        let decoder = match self.0.entry(session) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Decoder::new()?),
        };
        let (mut input, mut text, mut chunk) = (InBuffer::around(bytes), Vec::new(), [0; 4_096]);
        loop {
            let mut output = OutBuffer::around(&mut chunk[..]);
            decoder.run(&mut input, &mut output).context("a compressed message cannot be read")?;
            text.extend_from_slice(output.as_slice());
            // What is left over waits where there was no room for it.
            if input.pos() == bytes.len() && output.as_slice().len() < 4_096 {
                return Ok(Some(is(&text, name)));
            }
        }
    }
}
