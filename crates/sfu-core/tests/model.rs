//! Random lives of rooms against the plain meaning: who hears whom, and in what numbers.
#![allow(clippy::unwrap_used)]

mod net;

use std::collections::HashMap;

use net::{Heard, World};
use proptest::prelude::*;
use rtp_wire::Ssrc;
use sfu_core::Shard;
use sfu_wire::{Snapshot, Start, ToSfu};
use transport::{Key, NonceCounter, Session};

const PEOPLE: usize = 5;

#[derive(Debug, Clone)]
enum Act {
    Talk(usize),
    Silence(usize),
    Speak(usize, bool),
    Hear(usize, bool),
    Move(usize, u64),
    Leave(usize),
    Return(usize),
    Rekey(usize),
    Replay(usize),
    Noise(usize, Vec<u8>),
    Wait(u64),
    /// The relay's process ends, and another one goes on.
    Die,
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0..PEOPLE;
    prop_oneof![
        12 => who.clone().prop_map(Act::Talk),
        2 => who.clone().prop_map(Act::Silence),
        2 => (who.clone(), any::<bool>()).prop_map(|(n, to)| Act::Speak(n, to)),
        2 => (who.clone(), any::<bool>()).prop_map(|(n, to)| Act::Hear(n, to)),
        1 => (who.clone(), 1u64..3).prop_map(|(n, room)| Act::Move(n, room)),
        1 => who.clone().prop_map(Act::Leave),
        2 => who.clone().prop_map(Act::Return),
        1 => who.clone().prop_map(Act::Rekey),
        1 => who.clone().prop_map(Act::Replay),
        1 => (who, proptest::collection::vec(any::<u8>(), 0..100)).prop_map(|(n, bytes)| Act::Noise(n, bytes)),
        4 => (1u64..60).prop_map(Act::Wait),
        1 => Just(Act::Die),
    ]
}

/// What must be true, kept beside the shard.
struct Model {
    world: World,
    present: [bool; PEOPLE],
    /// The last frame that a listener heard of a stream, while both stay in one room.
    last: HashMap<(usize, Ssrc), Heard>,
    last_frame: Vec<Option<Vec<u8>>>,
    keys: u8,
}

impl Model {
    fn new() -> Self {
        let mut world = World::with_rate(10_000);
        for _ in 0..PEOPLE {
            world.join(1);
        }
        Self { world, present: [true; PEOPLE], last: HashMap::new(), last_frame: vec![None; PEOPLE], keys: 0 }
    }

    fn ssrc(&self, n: usize) -> Ssrc {
        Ssrc(self.world.clients[n].leg.ssrc)
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Talk(n) => self.talk(n, net::VOICE),
            Act::Silence(n) => self.talk(n, &rtp_wire::SILENCE_FRAME),
            Act::Speak(n, speak) if self.present[n] => self.world.set(n, |leg| leg.speak = speak),
            Act::Hear(n, hear) if self.present[n] => self.world.set(n, |leg| leg.hear = hear),
            Act::Move(n, room) if self.present[n] && self.world.clients[n].leg.room != room => {
                self.world.set(n, |leg| leg.room = room);
                let ssrc = self.ssrc(n);
                self.last.retain(|(listener, of), _| *listener != n && *of != ssrc);
            }
            Act::Leave(n) if self.present[n] => {
                self.present[n] = false;
                self.world.remove(n);
                self.last.retain(|(listener, _), _| *listener != n);
            }
            Act::Return(n) if !self.present[n] => {
                self.present[n] = true;
                self.world.clients[n].leg.id += PEOPLE as u64;
                self.world.set(n, |leg| leg.native = None);
                self.rekey(n);
            }
            Act::Rekey(n) if self.present[n] => self.rekey(n),
            Act::Replay(n) => {
                if let Some(frame) = self.last_frame[n].clone() {
                    self.world.send(self.world.clients[n].address, &frame);
                }
            }
            Act::Noise(n, bytes) => self.world.send(self.world.clients[n].address, &bytes),
            Act::Wait(ms) => self.world.wait(ms),
            Act::Die => self.die(),
            _ => {}
        }
        self.check_numbers();
    }

    /// Nothing is forgotten, of those who are not there at the time neither.
    fn die(&mut self) {
        let here = (0..PEOPLE).filter(|n| self.present[*n]);
        let legs: Vec<_> = here.map(|n| self.world.clients[n].leg.clone()).collect();
        let start = Start {
            protocol: 1,
            shard: 3,
            seed: vec![6; 32],
            sender_packets_per_s_max: 10_000,
            ..Start::default()
        };
        let count = legs.len() as u64;
        self.world.shard = Shard::with_memory(self.world.now, &start, self.world.memory);
        self.world.tell(ToSfu::Snapshot(Snapshot { legs }));
        assert_eq!(self.world.shard.counters().restored, count);
    }

    /// A new session key, as after selecting a protocol again: numbers begin anywhere.
    fn rekey(&mut self, n: usize) {
        self.keys += 1;
        let key = Key::new([self.keys; 32]);
        let client = &mut self.world.clients[n];
        let mode = client.session.mode();
        client.session = Session::new(mode, &key, NonceCounter::client(0), [self.keys; 16]);
        client.key = key;
        client.seq = client.seq.wrapping_mul(31).wrapping_add(7000);
        client.time = client.time.wrapping_mul(31);
        let address = client.address.to_string();
        self.world.discover(n);
        self.world.select(n, &address);
        self.last_frame[n] = None;
    }

    fn talk(&mut self, n: usize, payload: &[u8]) {
        let counters: Vec<usize> = self.world.clients.iter().map(|client| client.heard.len()).collect();
        let frame = self.world.frame(n, payload);
        self.world.send(self.world.clients[n].address, &frame);
        self.last_frame[n] = Some(frame);
        let speaker = self.world.clients[n].leg.clone();
        for (listener, before) in counters.into_iter().enumerate() {
            let client = &self.world.clients[listener];
            let expect = listener != n
                && self.present[n]
                && self.present[listener]
                && speaker.speak
                && client.leg.hear
                && client.leg.room == speaker.room;
            assert_eq!(client.heard.len() - before, usize::from(expect), "{n} to {listener}");
        }
    }

    /// Nothing was lost on this network, so nobody may see a gap.
    fn check_numbers(&mut self) {
        for listener in 0..PEOPLE {
            for heard in self.world.heard(listener) {
                if let Some(last) = self.last.get(&(listener, heard.ssrc)) {
                    assert_eq!(heard.seq.wire(), last.seq.next().wire(), "{listener} hears a gap");
                    assert!(heard.time.since(last.time) > 0, "{listener} hears time go back");
                }
                self.last.insert((listener, heard.ssrc), heard);
            }
        }
    }
}

proptest! {
    #[test]
    fn rooms_live_as_they_should(acts in proptest::collection::vec(act(), 1..250)) {
        let mut model = Model::new();
        for act in acts {
            model.act(act);
        }
    }
}
