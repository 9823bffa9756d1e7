//! The life of a presence as a table: every state, every input, and what the participant, a bystander, guilds and the relay see of it.
#![allow(clippy::unwrap_used)]

mod support;

use client_wire::voice::{MODES, ServerFrame, Version};
use cluster_wire::voice::{OrderKind, Report, Rights};
use support::{ALL, GUILD, OTHER_ROOM, ROOM, World, session_of, user};
use voice_core::ConnId;
use voice_core::limits::{CONFIRM_TIMEOUT, MEDIA_GRACE};

const STATES: [&str; 9] = [
    "placed",
    "unconfirmed",
    "unconfirmed described",
    "identified",
    "described",
    "connected",
    "identified away",
    "described away",
    "connected away",
];

const INPUTS: [&str; 13] = [
    "identify",
    "resume",
    "select",
    "speaking",
    "audio heard",
    "put",
    "muted",
    "moved",
    "removed",
    "lost",
    "closed 1000",
    "grace over",
    "leg connected",
];

/// The participant under test, beside a described bystander.
struct Scene {
    world: World,
    bystander: ConnId,
    conn: ConnId,
    token: String,
}

fn enter(state: &str) -> Scene {
    let mut world = World::new();
    let bystander = world.joined(user(2), Version::V8);
    let token = world.token(user(1), ROOM);
    if !state.starts_with("unconfirmed") {
        world.put(user(1), ROOM, ALL);
    }
    let conn = world.open(Version::V8);
    if state != "placed" {
        world.identify_with(conn, user(1), token.clone());
    }
    if state.contains("described") || state.contains("connected") {
        world.select(conn, MODES[0]);
    }
    if state.contains("connected") {
        let leg = world.leg(conn).unwrap();
        world.relay_says(0, support::connected(leg.id));
    }
    if state.contains("away") {
        world.lose(conn, None);
    }
    world.clear();
    Scene { world, bystander, conn, token }
}

/// Applies the input on the participant's connection, or on a new one where the old one is away or the input needs one. Returns the
/// connections that are the participant's.
fn apply(scene: &mut Scene, state: &str, input: &str) -> Vec<ConnId> {
    let Scene { world, conn, token, .. } = scene;
    let mut conns = vec![*conn];
    let attached = !state.contains("away");
    let mut fresh = |world: &mut World| {
        let fresh = world.open(Version::V8);
        conns.push(fresh);
        fresh
    };
    let on = |world: &mut World, fresh: &mut dyn FnMut(&mut World) -> ConnId| {
        if attached { *conn } else { fresh(world) }
    };
    match input {
        "identify" => {
            let conn = fresh(world);
            world.identify_with(conn, user(1), token.clone());
        }
        "resume" => {
            let conn = fresh(world);
            let session = session_of(user(1));
            let text = format!(
                r#"{{"op":7,"d":{{"server_id":"{GUILD}","session_id":"{session}","token":"{token}","seq_ack":-1}}}}"#
            );
            world.send(conn, &text);
        }
        "select" => {
            let conn = on(world, &mut fresh);
            world.select(conn, MODES[1]);
        }
        "speaking" => {
            let conn = on(world, &mut fresh);
            world.send(conn, r#"{"op":5,"d":{"speaking":1,"ssrc":0}}"#);
        }
        "audio heard" | "leg connected" => {
            let Some(leg) = world.leg(*conn) else { return conns };
            let message =
                if input == "audio heard" { support::speaking(leg.id) } else { support::connected(leg.id) };
            world.relay_says(0, message);
        }
        "put" => world.put(user(1), ROOM, ALL),
        "muted" => world.put(user(1), ROOM, Rights { speak: false, ..ALL }),
        "moved" => world.put(user(1), OTHER_ROOM, ALL),
        "removed" => world.order(OrderKind::Remove { user: user(1), session: session_of(user(1)) }),
        "lost" => world.lose(*conn, None),
        "closed 1000" => world.lose(*conn, Some(1_000)),
        "grace over" => {
            for _ in 0..8 {
                world.send(scene.bystander, r#"{"op":3,"d":{"t":0}}"#);
                if attached {
                    world.send(*conn, r#"{"op":3,"d":{"t":0}}"#);
                }
                world.advance(MEDIA_GRACE.max(CONFIRM_TIMEOUT) / 8);
            }
        }
        other => panic!("{other}"),
    }
    conns
}

fn names(world: &World, conn: ConnId) -> String {
    let frames = world.frames(conn).into_iter();
    let frames = frames.filter(|f| !matches!(f, ServerFrame::HeartbeatAck(_) | ServerFrame::Hello(_)));
    let name = |frame: ServerFrame| match frame {
        ServerFrame::Speaking(s) => format!("Speaking({})", s.speaking),
        frame => format!("{:?}", frame.op()),
    };
    frames.map(name).collect::<Vec<_>>().join(",")
}

fn row(state: &str, input: &str) -> String {
    let mut scene = enter(state);
    let before = scene.world.leg(scene.conn);
    let conns = apply(&mut scene, state, input);
    let world = &scene.world;
    let own: Vec<String> = conns
        .iter()
        .map(|conn| {
            let closed = world.close_of(*conn).map(|code| format!(" closed {code}")).unwrap_or_default();
            format!("[{}{closed}]", names(world, *conn))
        })
        .collect();
    let after = world.shards[0].values().find(|leg| world.ssrcs.get(&scene.bystander) != Some(&leg.ssrc));
    let leg = match (&before, after) {
        (None, None) => "none".to_owned(),
        (Some(_), None) => "removed".to_owned(),
        (Some(b), Some(a)) if b == a => "same".to_owned(),
        (before, Some(a)) => {
            let which = if before.as_ref().is_some_and(|b| b.id == a.id) { "changed" } else { "new" };
            let key = if a.native.is_some() { " keyed" } else { "" };
            format!(
                "{which}{key}{}{}",
                if a.speak { " speaks" } else { "" },
                if a.hear { " hears" } else { "" }
            )
        }
    };
    let reports: Vec<&str> = world
        .reports
        .iter()
        .map(|r| match r {
            Report::Live { .. } => "live",
            Report::Gone { .. } => "gone",
            Report::Held(_) => "held",
        })
        .collect();
    format!(
        "{state:22} {input:14} own {:60} bystander [{:42}] leg {leg:28} guilds {}",
        own.join(" "),
        names(world, scene.bystander),
        reports.join(","),
    )
    .trim_end()
    .to_owned()
}

#[test]
fn every_state_and_input() {
    let rows = STATES.iter().flat_map(|state| INPUTS.iter().map(move |input| row(state, input)));
    insta::assert_snapshot!(rows.collect::<Vec<_>>().join("\n"));
}
