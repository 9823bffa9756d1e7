use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtp_wire::{DiscoveryRequest, SeqNo, Ssrc};
use sfu_wire::{Leg, Native, RemoveLeg, Snapshot, Start, ToSfu};

use super::write::{BODY_TURN_AT, OWNER_AT, PEER_TURN_AT, SENT_AT};
use super::*;
use crate::absence::Missed;
use crate::limits::{DATAGRAM_BYTES_MAX, TORN_JUMP};
use crate::outgoing::OutgoingState;
use crate::shard::Shard;
use crate::sink::Sink;
use crate::state::SecurityState;

fn memory(legs: usize) -> Memory {
    (0..HEAD_WORDS + legs * UNIT_WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak()
}

/// Open and empty.
fn page(legs: usize) -> Page {
    let (mut page, predecessor) = Page::open(memory(legs));
    assert!(predecessor.legs.is_empty() && !predecessor.knew_more);
    assert_eq!(page.take_slot(), None, "not before what was there is taken over");
    page.take_over(&[], &[]);
    page.complete(true);
    page
}

struct Void([u8; DATAGRAM_BYTES_MAX]);

impl Sink for Void {
    fn slot(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn commit(&mut self, _to: std::net::SocketAddr, _len: usize) {}
}

fn leg(id: u64) -> Leg {
    let native = Native {
        mode: "aead_aes256_gcm_rtpsize".into(),
        key: vec![id as u8; 32],
        claimed_address: format!("10.0.0.{id}:5"),
    };
    let ssrc = 10 + id as u32;
    Leg { id, room: 1, ssrc, speak: true, hear: true, native: Some(native), ..Leg::default() }
}

/// A shard with connected legs, each of which was sent one packet.
fn shard(memory: Memory, ids: &[u64]) -> Shard {
    let now = Instant::now();
    let start =
        Start { protocol: 1, shard: 0, seed: vec![1; 32], sender_packets_per_s_max: 0, ..Start::default() };
    let mut shard = Shard::with_memory(now, &start, memory);
    let mut void = Void([0; _]);
    let snapshot = Snapshot { legs: ids.iter().map(|id| leg(*id)).collect() };
    shard.handle_message(now, ToSfu::Snapshot(snapshot), &mut void).unwrap();
    for id in ids {
        let mut datagram = [0; 74];
        DiscoveryRequest { ssrc: Ssrc(10 + *id as u32) }.write(&mut datagram).unwrap();
        let from = format!("10.0.0.{id}:5").parse().unwrap();
        shard.handle_datagram(now, from, &mut datagram, &mut void);
    }
    shard.handle_timeout(now + Duration::from_secs(1), &mut void);
    shard
}

fn next_nonce(found: &Found) -> u32 {
    let SecurityState::Native(session) = &found.state.security else { panic!("it is native") };
    session.nonces.next
}

#[test]
fn a_writer_that_dies_anywhere_leaves_the_copy_before() {
    let memory = memory(1);
    let cells = Cells(memory);
    let values = |n: u64| [n, n + 1, n + 2];
    for n in 0..5 {
        cells.write(0, 1, &values(10 * n));
        assert_eq!(cells.read(0, 1), (values(10 * n), false));
        // What the next write does, up to each of its words: it begins, then fills the other copy.
        let turn = cells.get(0);
        let other = 1 + 3 * ((turn / 2 + 1) % 2) as usize;
        for at in 0..=3 {
            memory[0].store(turn + 1, Ordering::Relaxed);
            (0..at).for_each(|at| memory[other + at].store(77, Ordering::Relaxed));
            assert_eq!(cells.read(0, 1), (values(10 * n), true), "{at} words were written");
        }
        // Whoever goes on there writes over what was broken off.
        cells.write(0, 1, &values(500));
        assert_eq!(cells.read(0, 1), (values(500), false));
    }
}

#[test]
fn what_was_broken_off_is_moved_on_and_nothing_else_is() {
    let memory = memory(4);
    let shard = shard(memory, &[1, 2]);
    let before = shard.page.read().legs;
    assert_eq!(before.len(), 2);
    assert!(before.iter().all(|found| !found.is_torn));
    for turn in [BODY_TURN_AT, PEER_TURN_AT] {
        let at = shard.page.slot(before[0].slot) + turn;
        memory[at].fetch_add(1, Ordering::Relaxed);
        let after = shard.page.read().legs;
        // A native leg has nothing but a body.
        let jump = if turn == BODY_TURN_AT { TORN_JUMP } else { 0 };
        assert_eq!(next_nonce(&after[0]), next_nonce(&before[0]).wrapping_add(jump.into()));
        assert_eq!((after[0].is_torn, &after[1]), (jump > 0, &before[1]));
        memory[at].fetch_sub(1, Ordering::Relaxed);
    }
    // A packet that is sent is one word, and that is enough.
    let at = shard.page.slot(before[1].slot) + SENT_AT;
    memory[at].fetch_add(5, Ordering::Relaxed);
    assert_eq!(next_nonce(&shard.page.read().legs[1]), next_nonce(&before[1]).wrapping_add(5));
}

#[test]
fn a_successor_goes_on_in_the_same_places_and_those_of_the_gone_are_used_again() {
    let memory = memory(4);
    let before = shard(memory, &[1, 2, 3]).page.read().legs;
    // The second is gone, and there is a new one.
    let mut next = shard(memory, &[1, 3, 4]);
    assert_eq!(next.counters().restored, 2);
    let after = next.page.read().legs;
    let place = |legs: &[Found], id| legs.iter().find(|found| found.state.id == id).map(|found| found.slot);
    for id in [1, 3] {
        assert_eq!(place(&after, id), place(&before, id));
    }
    assert_eq!(place(&after, 4), place(&before, 2));
    assert_eq!((after.len(), place(&after, 2)), (3, None));
    let mut void = Void([0; _]);
    next.handle_message(Instant::now(), ToSfu::RemoveLeg(RemoveLeg { id: 1 }), &mut void).unwrap();
    assert_eq!(next.page.read().legs.len(), 2);
    next.handle_message(Instant::now(), ToSfu::PutLeg(leg(5)), &mut void).unwrap();
    assert_eq!(place(&next.page.read().legs, 5), place(&before, 1));
    // Many relays later no more places are used than legs were there at a time.
    for n in 0..50 {
        drop(shard(memory, &[6 + n % 5, 20, 30]));
    }
    assert!(Cells(memory).get(SLOTS_AT) <= 4);
}

#[test]
fn legs_and_streams_beyond_the_places_are_counted() {
    let mut page = page(2);
    let slots = [page.take_slot().unwrap(), page.take_slot().unwrap()];
    assert_eq!((page.take_slot(), page.unwritten), (None, 1));
    assert!(page.read().knew_more);
    let stream = |ssrc| OutgoingState {
        ssrc: Ssrc(ssrc),
        offset: 0,
        highest: SeqNo(9),
        packets: 1,
        octets: 2,
        record: None,
    };
    let records: Vec<_> = (0..2 * STREAMS_PER_LEG as u32)
        .map(|n| page.begin_outgoing(slots[n as usize % 2], &stream(n)).unwrap())
        .collect();
    let missed = Missed { ssrc: Ssrc(5), left_at: None, count: 3, floor: SeqNo(4), record: None };
    assert_eq!((page.missed(slots[0], &missed), page.unwritten), (None, 2));
    assert_eq!((page.begin_outgoing(slots[1], &stream(99)), page.unwritten), (None, 3));
    page.free_record(records[7]);
    assert_eq!(page.missed(slots[0], &missed), Some(records[7]));
    page.free_slot(slots[0]);
    assert_eq!(page.take_slot(), Some(slots[0]));
}

#[test]
fn streams_whose_leg_is_gone_or_that_were_never_whole_are_nobodys() {
    let memory = memory(4);
    let mut shard = shard(memory, &[1, 2]);
    let slot = shard.page.read().legs[0].slot;
    let missed = Missed { ssrc: Ssrc(5), left_at: Some(SeqNo(8)), count: 3, floor: SeqNo(4), record: None };
    let record = shard.page.missed(slot, &missed).unwrap();
    let expect = Missed { record: Some(record), ..missed };
    assert_eq!(shard.page.read().legs[0].state.missed, [expect]);
    let at = shard.page.record(record);
    let owner = memory[at + OWNER_AT].swap(0, Ordering::Relaxed);
    assert_eq!(shard.page.read().legs[0].state.missed, [], "its writer died before it was whole");
    memory[at + OWNER_AT].store(owner, Ordering::Relaxed);
    shard.page.free_slot(slot);
    assert_eq!(shard.page.read().legs.len(), 1);
    let mut page = Page::open(memory).0;
    page.take_over(&[], &[]);
    assert_eq!(memory[at + OWNER_AT].load(Ordering::Relaxed), 0);
}

#[test]
fn memory_that_was_full_says_so_until_every_leg_has_its_place() {
    let memory = memory(2);
    drop(shard(memory, &[1, 2, 3]));
    let (mut page, predecessor) = Page::open(memory);
    assert!(predecessor.knew_more);
    let slots: Vec<_> = predecessor.legs.iter().map(|found| found.slot).collect();
    page.take_over(&slots, &[]);
    assert!(page.read().knew_more, "there may be one that used its keys and has no place yet");
    page.complete(false);
    assert!(page.read().knew_more);
    drop(shard(memory, &[1, 2, 3]));
    assert!(page.read().knew_more, "it is as full as before");
    drop(shard(memory, &[1, 3]));
    assert!(!page.read().knew_more, "now all have their places");
}

#[test]
fn nothing_is_read_from_another_version_or_from_too_little() {
    let memory = memory(2);
    drop(shard(memory, &[1]));
    memory[HEAD_AT].store(HEAD + 1, Ordering::Relaxed);
    let (mut page, predecessor) = Page::open(memory);
    assert!(predecessor.legs.is_empty() && predecessor.knew_more);
    page.take_over(&[], &[]);
    assert!(page.read().knew_more, "a process that ends here leaves it another version's");
    page.complete(true);
    assert_eq!(memory[HEAD_AT].load(Ordering::Relaxed), HEAD);
    assert!(page.read().legs.is_empty(), "what the other version had left is not taken for ours");
    let (mut page, predecessor) = Page::open(&memory[..HEAD_WORDS]);
    assert!(predecessor.legs.is_empty());
    page.take_over(&[], &[]);
    assert_eq!(page.take_slot(), None);
    page.busy(1, Work::Rtp);
    page.idle();
}
