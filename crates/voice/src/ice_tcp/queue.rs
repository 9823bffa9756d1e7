//! What waits to be written to one connection: never much, and media never for long.
//!
//! TCP delivers everything however late, but a word that comes late is worse than one that is lost: it keeps the next one waiting. So media
//! that has waited too long is dropped, and where there is more than fits, the oldest goes first.

use std::collections::VecDeque;
use std::time::Instant;

use crate::ice_tcp::frames;
use crate::limits::{ICE_TCP_QUEUE_BYTES_MAX, ICE_TCP_WAIT_MAX, ICE_TCP_WRITE_BYTES};

#[derive(Debug, Default)]
pub struct SendQueue {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    waiting_bytes: usize,
    /// Frames on their way: what of them has been written cannot be taken back.
    under_way: Vec<u8>,
    written: usize,
    dropped: Dropped,
}

/// Packets that were not written, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Media that had waited too long.
    pub late: u64,
    /// The oldest, when there was no room.
    pub overflowed: u64,
}

impl SendQueue {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.written == self.under_way.len()
    }

    pub fn push(&mut self, now: Instant, packet: &[u8]) {
        self.waiting_bytes += packet.len();
        self.waiting.push_back((now, packet.to_vec()));
        while self.waiting_bytes > ICE_TCP_QUEUE_BYTES_MAX {
            self.pop();
            self.dropped.overflowed += 1;
        }
    }

    /// What is to be written next; empty when there is nothing.
    pub fn next(&mut self, now: Instant) -> &[u8] {
        if self.written == self.under_way.len() {
            self.written = 0;
            self.under_way.clear();
            while self.under_way.len() < ICE_TCP_WRITE_BYTES
                && let Some((since, packet)) = self.pop()
            {
                if is_media(&packet) && now.saturating_duration_since(since) > ICE_TCP_WAIT_MAX {
                    self.dropped.late += 1;
                } else {
                    frames::append(&packet, &mut self.under_way);
                }
            }
        }
        &self.under_way[self.written..]
    }

    /// So much of what was to be written is.
    pub fn wrote(&mut self, len: usize) {
        self.written += len;
    }

    /// What was dropped since the last time this was asked.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    fn pop(&mut self) -> Option<(Instant, Vec<u8>)> {
        let (since, packet) = self.waiting.pop_front()?;
        self.waiting_bytes -= packet.len();
        Some((since, packet))
    }
}

/// SRTP and SRTCP, as against checks and handshakes (RFC 7983 section 7).
fn is_media(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(128..=191))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MEDIA: u8 = 0x80;

    /// The first two bytes of each packet that is written from now on: what it is, and its number.
    fn rest(queue: &mut SendQueue, now: Instant) -> Vec<(u8, u8)> {
        let mut stream = Vec::new();
        loop {
            let next = queue.next(now);
            if next.is_empty() {
                break;
            }
            // A connection takes a few bytes at a time.
            let len = next.len().min(100);
            stream.extend_from_slice(&next[..len]);
            queue.wrote(len);
        }
        let mut found = Vec::new();
        let mut left = &stream[..];
        while let Some((len, after)) = left.split_first_chunk::<2>() {
            let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*len)));
            found.push((packet[0], packet[1]));
            left = after;
        }
        found
    }

    #[test]
    fn media_is_written_at_once_or_not_at_all() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        queue.push(now, &[MEDIA, 1]);
        queue.push(now, &[0, 2]);
        queue.push(now, &[22, 3]);
        queue.push(now + Duration::from_millis(1), &[MEDIA, 4]);
        let late = now + ICE_TCP_WAIT_MAX + Duration::from_millis(1);
        assert_eq!(rest(&mut queue, late), [(0, 2), (22, 3), (MEDIA, 4)]);
        assert_eq!(queue.take_dropped(), Dropped { late: 1, overflowed: 0 });
        assert_eq!(queue.take_dropped(), Dropped::default());
        assert!(queue.is_empty());
    }

    #[test]
    fn what_has_begun_is_finished_however_late() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        queue.push(now, &[MEDIA, 1, 5, 5]);
        assert_eq!(queue.next(now), [0, 4, MEDIA, 1, 5, 5]);
        queue.wrote(3);
        queue.push(now, &[MEDIA, 2]);
        let late = now + Duration::from_secs(10);
        assert_eq!(queue.next(late), [1, 5, 5]);
        queue.wrote(3);
        assert!(queue.next(late).is_empty());
        assert!(queue.is_empty());
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        let size = 1_000;
        let fit = ICE_TCP_QUEUE_BYTES_MAX / size;
        for n in 0..fit + 3 {
            let mut packet = vec![0; size];
            packet[1] = n as u8;
            queue.push(now, &packet);
            assert!(queue.waiting_bytes <= ICE_TCP_QUEUE_BYTES_MAX);
        }
        assert_eq!(queue.take_dropped(), Dropped { late: 0, overflowed: 3 });
        let numbers: Vec<u8> = rest(&mut queue, now).into_iter().map(|(_, n)| n).collect();
        assert_eq!(numbers, (3..fit as u8 + 3).collect::<Vec<_>>());
        assert_eq!(queue.waiting_bytes, 0);
    }

    #[test]
    fn little_is_under_way_at_a_time() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        for _ in 0..40 {
            queue.push(now, &[MEDIA; 1_400]);
        }
        assert!(queue.next(now).len() < ICE_TCP_WRITE_BYTES + 1_402);
    }
}
