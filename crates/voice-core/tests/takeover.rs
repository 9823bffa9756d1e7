//! A guild whose owner is dead: what its next one is told, and from when on the old one is not obeyed.
#![allow(clippy::unwrap_used)]

mod support;

use client_wire::voice::Version;
use cluster_wire::voice::{ChannelMemo, Held, Memo, OrderKind, Participant, Report};
use model::{ServerId, UnixMs, VoiceFlags};
use support::{ALL, GUILD, OTHER_ROOM, ROOM, World, session_of, user};
use voice_core::Event;
use voice_core::limits::CHANNEL_MEMOS_MAX;

fn participant(n: u64, joined_at: u64) -> Participant {
    let memo = Memo {
        flags: VoiceFlags { self_mute: true, ..VoiceFlags::default() },
        suppress: false,
        request_to_speak: None,
        joined_at: UnixMs(joined_at),
        terms: None,
    };
    Participant { user: user(n), session: session_of(user(n)), channel: ROOM, rights: ALL, memo: Some(memo) }
}

fn status(channel: u64, status: Option<&str>) -> ChannelMemo {
    let status = status.map(str::to_owned);
    ChannelMemo { channel: model::ChannelId(channel), since: None, status, stage: None }
}

impl World {
    /// The answer to the next owner's question, or none to one who is not the next.
    fn claim(&mut self, fencing: u64) -> Option<Held> {
        self.clear();
        self.fencing = fencing;
        self.order(OrderKind::Claim);
        match self.reports.pop() {
            Some(Report::Held(held)) => Some(*held),
            None => None,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_next_owner_is_told_what_the_last_one_had_ordered() {
    let mut world = World::new();
    let nothing = world.claim(5).unwrap();
    assert_eq!((nothing.server, nothing.claim, nothing.fencing), (ServerId("voice-1".into()), 5, 0));
    assert!(nothing.participants.is_empty() && nothing.channels.is_empty());

    world.joined(user(1), Version::V8);
    world.order(OrderKind::Push(vec![participant(1, 1), participant(2, 2), participant(3, 3)]));
    world.order(OrderKind::Put(Participant { channel: OTHER_ROOM, ..participant(2, 7) }));
    world.remove(user(3));
    for memo in [status(ROOM.0, Some("tea")), status(1, Some("gone")), status(1, None)] {
        world.order(OrderKind::Channel(memo));
    }
    // A client whose placement never came is nobody's.
    let token = world.token(user(4), ROOM);
    let early = world.open(Version::V8);
    world.identify_with(early, user(4), token);

    let held = world.claim(9).unwrap();
    assert_eq!((held.guild, held.claim, held.fencing), (GUILD, 9, 5));
    let expected = [participant(1, 1), Participant { channel: OTHER_ROOM, ..participant(2, 7) }];
    assert_eq!(held.participants, expected);
    assert_eq!(held.live, [session_of(user(1))].into());
    assert_eq!(held.channels, [status(ROOM.0, Some("tea"))]);

    // Asked by one who was not in time, and ordered by the one before.
    assert_eq!(world.claim(8), None);
    world.remove(user(1));
    assert_eq!(world.events, [Event::StaleOrder, Event::StaleOrder]);
    let again = world.claim(10).unwrap();
    assert_eq!((again.fencing, again.participants.len()), (5, 2), "a question is no order");

    // The first order of the new owner's, after which it is told again who is here.
    world.clear();
    world.order(OrderKind::Push(vec![participant(1, 1)]));
    assert!(matches!(world.reports[..], [Report::Live { .. }, Report::Live { .. }]), "{:?}", world.reports);
    let held = world.claim(11).unwrap();
    assert_eq!((held.fencing, held.participants.len(), held.channels.len()), (10, 1, 0));
}

#[test]
fn what_is_kept_of_channels_is_bounded_and_goes_with_the_guild() {
    let mut world = World::new();
    for n in 0..=CHANNEL_MEMOS_MAX as u64 {
        world.order(OrderKind::Channel(status(n, Some("tea"))));
    }
    world.order(OrderKind::Channel(status(0, Some("coffee"))));
    let held = world.claim(2).unwrap();
    assert_eq!(held.channels.len(), CHANNEL_MEMOS_MAX);
    assert_eq!(held.channels[0], status(0, Some("coffee")));
    world.order(OrderKind::Drop);
    assert!(world.claim(3).unwrap().channels.is_empty());
}

#[test]
fn an_owner_of_old_places_nobody_where_the_next_one_has_asked() {
    let mut world = World::new();
    assert!(world.claim(9).unwrap().participants.is_empty());
    world.clear();
    // It hung, and wakes up.
    world.fencing = 8;
    world.order(OrderKind::Push(vec![participant(1, 1)]));
    assert_eq!(world.events, [Event::StaleOrder]);
    assert!(world.claim(10).unwrap().participants.is_empty());
}
