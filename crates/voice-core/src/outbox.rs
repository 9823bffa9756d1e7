//! Numbering and replay of the messages of one voice session.

use std::collections::VecDeque;
use std::sync::Arc;

use client_wire::voice::Op;

use crate::limits::OUTBOX_MESSAGES_MAX;

/// A message's payload, encoded once and shared by everyone it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub op: Op,
    pub data: Arc<str>,
}

/// The numbered messages a client may not have received. Numbers start at 1 (a library takes 0 for "none") and wrap at 16 bits.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages numbered so far; the last one's number is this, cut to 16 bits.
    sent: u64,
    kept: VecDeque<Payload>,
}

impl Outbox {
    /// Numbers a message and keeps it.
    pub fn push(&mut self, payload: Payload) -> u16 {
        if self.kept.len() == OUTBOX_MESSAGES_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(payload);
        self.sent += 1;
        self.sent as u16
    }

    /// How many messages after `ack` the client has not seen, if all of them are still here.
    fn missed(&self, ack: i64) -> Option<usize> {
        let missed = match u16::try_from(ack) {
            Ok(ack) => u64::from((self.sent as u16).wrapping_sub(ack)),
            Err(_) if ack < 0 => self.sent,
            Err(_) => return None,
        };
        usize::try_from(missed).ok().filter(|missed| *missed <= self.kept.len())
    }

    /// The client has received everything up to `ack`. A number that fits nothing here is ignored: one library carries it over from
    /// an earlier connection.
    pub fn acknowledge(&mut self, ack: i64) {
        if let Some(missed) = self.missed(ack) {
            self.kept.drain(..self.kept.len() - missed);
            // Many were told at once when it came, and few are later.
            if self.kept.is_empty() {
                self.kept = VecDeque::new();
            }
        }
    }

    /// What the client missed after `ack` (negative: everything), with the original numbers. `None` when some of it is gone.
    pub fn replay(&self, ack: i64) -> Option<impl Iterator<Item = (u16, &Payload)>> {
        let missed = self.missed(ack)?;
        let first = self.sent - missed as u64 + 1;
        let messages = self.kept.iter().skip(self.kept.len() - missed);
        Some(messages.enumerate().map(move |(i, payload)| ((first + i as u64) as u16, payload)))
    }

    /// Gives up what is kept, for clients that cannot ask for it.
    pub fn forget(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(n: u64) -> Payload {
        Payload { op: Op::Speaking, data: n.to_string().into() }
    }

    fn replayed(outbox: &Outbox, ack: i64) -> Option<Vec<(u16, String)>> {
        outbox.replay(ack).map(|r| r.map(|(seq, p)| (seq, p.data.to_string())).collect())
    }

    #[test]
    fn numbers_start_at_one_and_a_fresh_client_gets_everything() {
        let mut outbox = Outbox::default();
        assert_eq!(replayed(&outbox, -1), Some(vec![]));
        assert_eq!(replayed(&outbox, 1), None, "a number never sent");
        assert_eq!(outbox.push(payload(1)), 1);
        assert_eq!(outbox.push(payload(2)), 2);
        assert_eq!(replayed(&outbox, -1), Some(vec![(1, "1".into()), (2, "2".into())]));
        assert_eq!(replayed(&outbox, 70_000), None);
        outbox.acknowledge(1);
        assert_eq!(replayed(&outbox, -1), None, "the first is gone");
        assert_eq!(replayed(&outbox, 1), Some(vec![(2, "2".into())]));
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_and_refuses_to_pretend() {
        let mut outbox = Outbox::default();
        for n in 1..=OUTBOX_MESSAGES_MAX as u64 + 1 {
            outbox.push(payload(n));
        }
        assert_eq!(replayed(&outbox, 0), None);
        assert_eq!(replayed(&outbox, 1).map(|r| r.len()), Some(OUTBOX_MESSAGES_MAX));
    }

    proptest! {
        /// Whatever is sent, received, acknowledged and lost: a resume brings the client exactly what it missed, or fails.
        #[test]
        fn a_resume_is_complete_or_refused(
            start in 0_u64..200_000,
            steps in prop::collection::vec((0_u8..4, 1_u64..200), 1..60),
        ) {
            let mut outbox = Outbox { sent: start, kept: VecDeque::new() };
            let (mut received, mut sent) = (start, start);
            for (step, count) in steps {
                match step {
                    // Delivered messages.
                    0 => for _ in 0..count {
                        sent += 1;
                        prop_assert_eq!(outbox.push(payload(sent)), sent as u16);
                        if received + 1 == sent {
                            received = sent;
                        }
                    },
                    // Messages lost with the connection.
                    1 => for _ in 0..count {
                        sent += 1;
                        outbox.push(payload(sent));
                    },
                    2 => outbox.acknowledge(i64::from(received as u16)),
                    _ => {
                        let missing: Vec<_> = (received + 1..=sent).map(|n| (n as u16, n.to_string())).collect();
                        match replayed(&outbox, i64::from(received as u16)) {
                            Some(got) => {
                                prop_assert_eq!(got, missing);
                                received = sent;
                            }
                            None => prop_assert!(missing.len() > OUTBOX_MESSAGES_MAX),
                        }
                    }
                }
            }
        }
    }
}
