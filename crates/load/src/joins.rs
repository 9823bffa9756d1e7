//! Joins on a schedule that waits for nobody, while some talk: from the click to the first packet that is heard, and what those hear of it who are
//! in already.
//!
//! The click is a message of a gateway session that is there long since; the first packet is one of a speaker's that was opened.

mod sitting;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::{Trust, VoiceEvents, VoiceSignalling};
use model::{ChannelId, GuildId};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use transport::Mode;

use self::sitting::{Person, Sitting};
use crate::ear::Ear;
use crate::histogram::Histogram;
use crate::join::{self, Entered, Way, enter};
use crate::limits::{AUDIBLE_WITHIN, LEAD, TALKING_FIRST};
use crate::participant::Participant;
use crate::processes::Processes;
use crate::spread::Spread;
use crate::tally::Measured;
use crate::workload::{Numbers, Transport, Workload};
use crate::{Options, media, people};

#[derive(Debug, Clone)]
pub struct JoinOptions {
    pub program: &'static str,
    /// `http://host:port`.
    pub server: String,
    pub operator_key: String,
    /// The authority that signed the voice server's certificate.
    pub ca: Option<PathBuf>,
    /// Of the process with gateway, guilds and signalling in it, whose CPU time is counted.
    pub server_pid: Option<u32>,
    pub transport: Transport,
    pub mode: Mode,
    pub clicks: usize,
    pub rate_per_s: f64,
    /// Who come, in turn.
    pub people: usize,
    /// Each leaves so long after its click; none stay to the end.
    pub stay: Option<Duration>,
    /// Those who are in before: they talk, and others listen.
    pub speakers: usize,
    pub listeners: usize,
    /// The speakers go on for so long after the last click.
    pub after: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct JoinReport {
    pub program: &'static str,
    pub transport: &'static str,
    pub rate_per_s: f64,
    pub people: usize,
    pub joins: usize,
    /// Of them, those who heard nobody.
    pub failed: usize,
    /// Clicks that nobody was there for.
    pub left_out: usize,
    /// All from the moment at which the click was due.
    pub audible_ms: Spread,
    pub server_named_ms: Spread,
    pub voice_open_ms: Spread,
    pub voice_ready_ms: Spread,
    pub described_ms: Spread,
    /// From the first click until the last to come heard somebody.
    pub everybody_in_s: f64,
    /// What those got who were in before.
    pub speakers: usize,
    pub listeners: usize,
    pub expected: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub longest_gap_ms: f64,
    pub generator_late_ms: Spread,
    pub generator_dropped: u64,
    /// CPU time of the server's process, all that it did meanwhile, for each join.
    pub server_cpu_ms_per_join: Option<f64>,
}

/// Runs to its end.
pub async fn joins(options: JoinOptions) -> anyhow::Result<JoinReport> {
    if options.rate_per_s <= 0.0 || options.speakers == 0 || options.people == 0 {
        bail!("nobody joins, or nobody could be heard");
    }
    let trust = options.ca.as_deref().map_or_else(|| Ok(Trust::system()), Trust::only)?;
    let before = options.speakers + options.listeners;
    let crowd = |participants| {
        let numbers =
            Numbers { participants: Some(participants), speakers: Some(options.speakers), room: None };
        Workload::Raid.shape(numbers)
    };
    let (shape, shape_before) = (crowd(before + options.people)?, crowd(before)?);
    let mut people = people::make(&options.server, &options.operator_key, &shape).await?;
    let (guild, channel) = people.rooms[0];
    let sitting = Sitting::take(&options, people.tokens.split_off(before)).await?;
    tracing::info!(people = options.people, "everyone has a gateway session");

    let mut those_in = join::everyone(&raid(&options, before), people).await.context("joining")?;
    let speakers = those_in.participants[..options.speakers].iter().map(|speaker| speaker.ssrc).collect();
    let (ear, hearing) = Ear::new(speakers)?;
    let last_click = Duration::from_secs_f64(options.clicks as f64 / options.rate_per_s);
    let settings = media::Settings {
        shape: shape_before,
        duration: TALKING_FIRST + last_click + options.after,
        processes: Processes::default(),
    };
    let participants = std::mem::take(&mut those_in.participants);
    let talk = tokio::spawn(media::run_on_thread(participants, settings, those_in.moved));
    tokio::time::sleep(LEAD + TALKING_FIRST).await;

    let (end, is_over) = watch::channel(false);
    let scene = Arc::new(Scene { options, trust, guild, channel, ear, is_over });
    let cpu = || scene.options.server_pid.map(udp_io::process_cpu_of).transpose();
    let cpu_before = cpu()?;
    let mut visits = JoinSet::new();
    let came = come(&scene, &sitting, &mut visits).await;
    let cpu_used = cpu()?.zip(cpu_before).map(|(now, then)| now - then);
    let (_, measured) = talk.await.context("the speakers broke")??;
    let report = report(&scene.options, &came, &measured, cpu_used);

    // Whoever is still there leaves.
    let _ = end.send(true);
    while visits.join_next().await.is_some() {}
    those_in.connections.close().await;
    sitting.leave()?;
    drop(scene);
    hearing.join().expect("the ear does not panic")?;
    Ok(report)
}

/// Those who are in before.
fn raid(options: &JoinOptions, before: usize) -> Options {
    Options {
        server: options.server.clone(),
        operator_key: options.operator_key.clone(),
        ca: options.ca.clone(),
        workload: Workload::Raid,
        numbers: Numbers { participants: Some(before), speakers: Some(options.speakers), room: None },
        duration: options.after,
        transport: options.transport,
        mode: options.mode,
        processes: Processes::default(),
        relay_core: None,
        floor: false,
    }
}

/// What every join needs.
struct Scene {
    options: JoinOptions,
    trust: Trust,
    guild: GuildId,
    channel: ChannelId,
    ear: Ear,
    is_over: watch::Receiver<bool>,
}

/// How long after its click somebody had come how far.
#[derive(Debug, Clone, Copy)]
struct Delays {
    late: Duration,
    named: Duration,
    opened: Duration,
    ready: Duration,
    described: Duration,
    audible: Duration,
}

#[derive(Default)]
struct Came {
    delays: Vec<Delays>,
    failed: usize,
    left_out: usize,
    everybody_in: Duration,
}

async fn come(scene: &Arc<Scene>, sitting: &Sitting, visits: &mut JoinSet<()>) -> Came {
    let mut came = Came::default();
    let (tell, mut outcomes) = mpsc::unbounded_channel();
    let began = Instant::now();
    for click in 0..scene.options.clicks {
        let due = began + Duration::from_secs_f64(click as f64 / scene.options.rate_per_s);
        sleep_until(due.into()).await;
        match sitting.next() {
            Some(person) => {
                let back = sitting.back();
                drop(visits.spawn(visit(Arc::clone(scene), person, due, tell.clone(), back)));
            }
            None => came.left_out += 1,
        }
        while visits.try_join_next().is_some() {}
    }
    drop(tell);
    while let Some(outcome) = outcomes.recv().await {
        match outcome {
            Ok((delays, at)) => {
                came.delays.push(delays);
                came.everybody_in = came.everybody_in.max(Instant::duration_since(&at, began));
            }
            Err(error) => {
                came.failed += 1;
                tracing::warn!(error = format!("{error:#}"), "a join failed");
            }
        }
    }
    came
}

type Outcome = anyhow::Result<(Delays, Instant)>;

/// One person's: comes, is told of as soon as it hears somebody, stays, and leaves.
async fn visit(
    scene: Arc<Scene>,
    mut person: Person,
    due: Instant,
    tell: mpsc::UnboundedSender<Outcome>,
    back: mpsc::UnboundedSender<Person>,
) {
    let joined = join_in(&scene, &mut person, due).await;
    let here = match joined {
        Ok((delays, here)) => {
            let _ = tell.send(Ok((delays, Instant::now())));
            Some(here)
        }
        Err(error) => {
            let _ = tell.send(Err(error.context(format!("person {}", person.number))));
            None
        }
    };
    drop(tell);
    if let Some(mut here) = here {
        let mut is_over = scene.is_over.clone();
        let until = scene.options.stay.map(|stay| due + stay);
        tokio::select! {
            _ = is_over.wait_for(|is_over| *is_over) => {}
            () = until_some(until) => {}
            () = read_on(&mut here.events) => {}
        }
        person.wish(scene.guild, None);
        scene.ear.forget(person.number);
        tokio::select! {
            () = here.voice.close() => {}
            () = read_on(&mut here.events) => {}
        }
    }
    let _ = back.send(person);
}

struct Here {
    voice: VoiceSignalling,
    events: VoiceEvents,
}

async fn join_in(scene: &Scene, person: &mut Person, due: Instant) -> anyhow::Result<(Delays, Here)> {
    person.forget_what_was_told();
    let late = due.elapsed();
    person.wish(scene.guild, Some(scene.channel));
    let until = due + AUDIBLE_WITHIN;
    let (token, endpoint) = within(until, "VOICE_SERVER_UPDATE", person.server()).await?;
    let named = due.elapsed();
    let way = Way {
        trust: scene.trust.clone(),
        guild: scene.guild,
        channel: scene.channel,
        user: person.user,
        session: person.session.clone(),
        kind: scene.options.transport.kind_of(person.number),
        mode: scene.options.mode,
        speaks: false,
    };
    let Entered { voice, mut events, ssrc, relay, transport, at } =
        within(until, "session description", enter(&way, endpoint, token)).await?;
    let (socket, media) = transport.ready().await?;
    let heard = scene.ear.listen(person.number, Participant { socket, relay, ssrc, media });
    let hearing = async {
        tokio::select! {
            heard = heard => heard.context("nobody listens any more"),
            () = read_on(&mut events) => bail!("the voice connection ended before anything was heard"),
        }
    };
    let audible = within(until, "packet of a speaker", hearing).await?;
    let after = |at: Instant| at.saturating_duration_since(due);
    let delays = Delays {
        late,
        named,
        opened: after(at.opened),
        ready: after(at.ready),
        described: after(at.described),
        audible: after(audible),
    };
    Ok((delays, Here { voice, events }))
}

async fn within<T>(
    until: Instant,
    what: &str,
    coming: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let come = timeout_at(until.into(), coming).await;
    come.with_context(|| format!("no {what} within {AUDIBLE_WITHIN:?}"))?
}

/// Until the connection ends: unread, it would stall.
async fn read_on(events: &mut VoiceEvents) {
    while events.recv().await.is_some() {}
}

async fn until_some(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

fn report(options: &JoinOptions, came: &Came, run: &Measured, cpu: Option<Duration>) -> JoinReport {
    let spread = |step: fn(&Delays) -> Duration| {
        let mut samples = Histogram::default();
        came.delays.iter().for_each(|delays| samples.record(step(delays)));
        Spread::of(&samples)
    };
    let heard = run.all();
    let joins = came.delays.len() + came.failed;
    JoinReport {
        program: options.program,
        transport: options.transport.name(),
        rate_per_s: options.rate_per_s,
        people: options.people,
        joins,
        failed: came.failed,
        left_out: came.left_out,
        audible_ms: spread(|delays| delays.audible),
        server_named_ms: spread(|delays| delays.named),
        voice_open_ms: spread(|delays| delays.opened),
        voice_ready_ms: spread(|delays| delays.ready),
        described_ms: spread(|delays| delays.described),
        everybody_in_s: came.everybody_in.as_secs_f64(),
        speakers: options.speakers,
        listeners: options.listeners,
        expected: heard.expected,
        received: heard.received,
        lost: heard.expected.saturating_sub(heard.received),
        duplicates: heard.duplicates,
        longest_gap_ms: run.longest_gaps.quantile_ms(1.0),
        generator_late_ms: spread(|delays| delays.late),
        generator_dropped: run.generator_dropped,
        server_cpu_ms_per_join: cpu.map(|cpu| cpu.as_secs_f64() * 1e3 / joins.max(1) as f64),
    }
}
