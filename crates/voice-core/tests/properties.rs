//! Random lives of many clients, and what must hold whatever happens.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client_wire::voice::{MODES, ServerFrame, Version};
use cluster_wire::voice::{OrderKind, Participant, Rights};
use proptest::prelude::*;
use support::{ALL, OTHER_ROOM, ROOM, World, session_of, user};
use voice_core::ConnId;

const USERS: u64 = 5;

#[derive(Debug, Clone)]
enum Step {
    Put { user: u64, other_room: bool, rights: u8 },
    Remove { user: u64 },
    Push { users: u8 },
    Identify { user: u64, other_room: bool, v8: bool },
    Resume { user: u64, ack: i64 },
    Select { user: u64, mode: usize },
    Speak { user: u64, flags: u8 },
    Heard { user: u64 },
    Lose { user: u64, goodbye: bool },
    Wait { ms: u64 },
    Drop,
    Release { user: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let user = || 0..USERS;
    let step = prop_oneof![
        4 => (user(), prop::bool::weighted(0.2), 0_u8..8).prop_map(|(user, other_room, rights)| Step::Put { user, other_room, rights }),
        1 => user().prop_map(|user| Step::Remove { user }),
        1 => any::<u8>().prop_map(|users| Step::Push { users }),
        6 => (user(), prop::bool::weighted(0.2), any::<bool>()).prop_map(|(user, other_room, v8)| Step::Identify { user, other_room, v8 }),
        2 => (user(), -1_i64..8).prop_map(|(user, ack)| Step::Resume { user, ack }),
        5 => (user(), 0..MODES.len()).prop_map(|(user, mode)| Step::Select { user, mode }),
        3 => (user(), 0_u8..8).prop_map(|(user, flags)| Step::Speak { user, flags }),
        2 => user().prop_map(|user| Step::Heard { user }),
        2 => (user(), any::<bool>()).prop_map(|(user, goodbye)| Step::Lose { user, goodbye }),
        2 => (1_u64..40_000).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Drop),
        1 => user().prop_map(|user| Step::Release { user }),
    ];
    prop::collection::vec(step, 1..120)
}

fn rights(bits: u8) -> Rights {
    Rights { speak: bits & 1 != 0, hear: bits & 2 != 0, video: false, priority: bits & 4 != 0 }
}

struct Clients {
    world: World,
    conns: BTreeMap<u64, ConnId>,
    tokens: BTreeMap<u64, String>,
}

impl Clients {
    fn step(&mut self, step: &Step) {
        let Self { world, conns, tokens } = self;
        let room = |other: bool| if other { OTHER_ROOM } else { ROOM };
        match *step {
            Step::Put { user: u, other_room, rights: bits } => {
                world.put(user(u), room(other_room), rights(bits))
            }
            Step::Remove { user: u } => world.remove(user(u)),
            Step::Push { users } => {
                let listed = (0..USERS).filter(|u| users & (1 << u) != 0);
                let participants = listed
                    .map(|u| Participant {
                        user: user(u),
                        session: session_of(user(u)),
                        channel: ROOM,
                        rights: ALL,
                        memo: None,
                    })
                    .collect();
                world.order(OrderKind::Push(participants));
            }
            Step::Identify { user: u, other_room, v8 } => {
                let token = world.token(user(u), room(other_room));
                tokens.insert(u, token.clone());
                let conn = world.open(if v8 { Version::V8 } else { Version::V4 });
                world.identify_with(conn, user(u), token);
                conns.insert(u, conn);
            }
            Step::Resume { user: u, ack } => {
                let Some(token) = tokens.get(&u) else { return };
                let (guild, session) = (support::GUILD, session_of(user(u)));
                let text = format!(
                    r#"{{"op":7,"d":{{"server_id":"{guild}","session_id":"{session}","token":"{token}","seq_ack":{ack}}}}}"#
                );
                let conn = world.open(Version::V8);
                world.send(conn, &text);
                conns.insert(u, conn);
            }
            Step::Select { user: u, mode } => {
                if let Some(conn) = conns.get(&u) {
                    world.select(*conn, MODES[mode]);
                }
            }
            Step::Speak { user: u, flags } => {
                if let Some(conn) = conns.get(&u) {
                    world.send(*conn, &format!(r#"{{"op":5,"d":{{"speaking":{flags},"ssrc":0}}}}"#));
                }
            }
            Step::Heard { user: u } => {
                if let Some(leg) = conns.get(&u).and_then(|conn| world.leg(*conn)) {
                    world.relay_says(0, support::speaking(leg.id));
                }
            }
            Step::Lose { user: u, goodbye } => {
                if let Some(conn) = conns.remove(&u) {
                    world.lose(conn, goodbye.then_some(1_000));
                }
            }
            Step::Wait { ms } => world.advance(Duration::from_millis(ms)),
            Step::Drop => world.order(OrderKind::Drop),
            Step::Release { user: u } => {
                world.order(OrderKind::Release([(user(u), session_of(user(u)))].into()));
            }
        }
    }
}

/// What one connection received makes sense by itself.
fn check_connection(texts: &[String]) {
    let mut ready = false;
    let mut resumed = false;
    let mut known = BTreeSet::new();
    let mut last_seq = None;
    for text in texts {
        let (frame, seq) = ServerFrame::read(text).expect("what we write, we can read");
        if let Some(seq) = seq {
            assert!(
                last_seq.is_none_or(|last: u16| seq == last.wrapping_add(1)),
                "a gap in the numbers: {texts:#?}"
            );
            last_seq = Some(seq);
        }
        match frame {
            ServerFrame::Ready(_) => ready = true,
            ServerFrame::Resumed => (ready, resumed) = (true, true),
            ServerFrame::ClientsConnect(c) => {
                assert!(ready, "CLIENTS CONNECT before READY");
                for user in c.user_ids {
                    assert!(known.insert(user) || resumed, "{user} came twice: {texts:#?}");
                }
            }
            ServerFrame::ClientDisconnect(d) => {
                assert!(
                    known.remove(&d.user_id) || resumed,
                    "{} left without having come: {texts:#?}",
                    d.user_id
                );
            }
            ServerFrame::Speaking(s) => {
                assert!(
                    known.contains(&s.user_id) || resumed,
                    "{} spoke without having come: {texts:#?}",
                    s.user_id
                );
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens(steps in steps()) {
        let mut clients = Clients { world: World::new(), conns: BTreeMap::new(), tokens: BTreeMap::new() };
        for step in &steps {
            clients.step(step);
            let legs = clients.world.shards[0].values();
            let mut ssrcs = BTreeSet::new();
            for leg in legs {
                prop_assert!(ssrcs.insert(leg.ssrc), "two legs with one stream id");
            }
        }
        for texts in clients.world.texts.values() {
            check_connection(texts);
        }
        // Everyone leaves, and nothing is left.
        clients.world.order(OrderKind::Drop);
        clients.world.advance(Duration::from_secs(300));
        prop_assert_eq!(clients.world.core.stats(), voice_core::Stats::default());
        prop_assert!(clients.world.shards[0].is_empty());
    }
}
