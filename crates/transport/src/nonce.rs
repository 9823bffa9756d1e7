//! The counter that makes nonces, and how two directions that share one key keep apart.

/// The two sides should be this far apart at first: half the circle.
const HALF: u32 = 1 << 31;
/// Nearer than this, the side that can moves away.
const TOO_NEAR: u32 = 1 << 30;

/// Counts the nonces of our direction.
///
/// Both directions of a native leg use the same key, and clients begin to count anywhere (at random, at 0, at
/// 1). So the server's counter, which begins at a random point, moves half a circle away when the first nonce
/// that the client has authenticated is near to it; it refuses to go where either of
/// them has been; and [`headroom`](Self::headroom) tells when it is time for a new key, long before that.
#[derive(Debug, Clone)]
pub struct NonceCounter {
    first: u32,
    next: u32,
    /// How many more may be taken before one would be used a second time.
    left: u32,
    /// What was used before the move.
    early: Option<Run>,
    /// The highest nonce that the peer has used.
    peer: Option<u32>,
    moves: bool,
}

/// What a restart must carry of a server's counter.
///
/// If packets may have been sent since this was taken, whoever restores it first [moves it](Self::move_on) beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NonceState {
    /// Where the present run began, and the next nonce.
    pub first: u32,
    pub next: u32,
    /// How many more may be taken.
    pub left: u32,
    /// The run before the move, up to, not including, its end.
    pub early: Option<(u32, u32)>,
    /// The highest nonce of the peer.
    pub peer: Option<u32>,
}

impl NonceState {
    /// As if so many more had been taken.
    pub fn move_on(&mut self, packets: u32) {
        let packets = packets.min(self.left);
        self.next = self.next.wrapping_add(packets);
        self.left -= packets;
    }

    /// The same counter later, when its [progress](NonceCounter::progress) was another.
    #[must_use]
    pub fn later(mut self, progress: u64) -> Self {
        let has_met = progress & MET != 0;
        if has_met && self.peer.is_none() {
            // Written in another order than they ever are: what lies between is not known.
            self.move_on(1 << 15);
        } else if has_met || self.early.is_none() {
            let used = progress as u32;
            self.left = self.left.wrapping_add(self.next.wrapping_sub(self.first)).wrapping_sub(used);
            self.next = self.first.wrapping_add(used);
        }
        self
    }
}

/// In a counter's progress: the peer's first nonce is known, and so this one has moved if it had to.
const MET: u64 = 1 << 63;

/// How many packets may still pass in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    pub ours: u32,
    pub peers: u32,
}

/// Used nonces: from `first` up to, not including, `end`, around the circle.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u32,
    end: u32,
}

impl Run {
    fn contains(self, nonce: u32) -> bool {
        nonce.wrapping_sub(self.first) < self.end.wrapping_sub(self.first)
    }
}

impl NonceCounter {
    /// A server's counter. `start` is random, or, after a restart, beyond anything that can have been used.
    #[must_use]
    pub fn server(start: u32) -> Self {
        Self { first: start, next: start, left: u32::MAX, early: None, peer: None, moves: true }
    }

    /// A client's counter, which stays where it is: the server is the one that moves.
    #[must_use]
    pub fn client(start: u32) -> Self {
        Self { moves: false, ..Self::server(start) }
    }

    /// What must be written down to go on after a restart.
    #[must_use]
    pub fn state(&self) -> NonceState {
        let Self { first, next, left, peer, .. } = *self;
        NonceState { first, next, left, early: self.early.map(|run| (run.first, run.end)), peer }
    }

    /// Goes on where another counter of the same kind and key stopped.
    pub(crate) fn restore(&mut self, state: NonceState) {
        let NonceState { first, next, left, early, peer } = state;
        *self =
            Self { first, next, left, early: early.map(|(first, end)| Run { first, end }), peer, ..*self };
    }

    /// What changes with every packet we seal, in one number that can be written down at once: how much of the present run was used, and whether
    /// it is the run of after the meeting.
    #[inline]
    #[must_use]
    pub fn progress(&self) -> u64 {
        let met = if self.peer.is_some() { MET } else { 0 };
        met | u64::from(self.next.wrapping_sub(self.first))
    }

    /// How many packets may still pass before the two directions could meet. A new key is due long before either is zero.
    #[must_use]
    pub fn headroom(&self) -> Headroom {
        let peers = self.peer.map_or(u32::MAX, |peer| {
            let to_early = self.early.map_or(u32::MAX, |early| early.first.wrapping_sub(peer));
            self.first.wrapping_sub(peer).min(to_early)
        });
        Headroom { ours: self.left, peers }
    }

    /// Whether this is a server's counter.
    pub(crate) fn moves(&self) -> bool {
        self.moves
    }

    /// Takes the next nonce; none is left when all others have been used.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let nonce = self.next;
        self.next = nonce.wrapping_add(1);
        Some(nonce)
    }

    /// Whether we have used this nonce ourselves, so that a packet with it is one of ours sent back.
    pub(crate) fn is_ours(&self, nonce: u32) -> bool {
        let run = Run { first: self.first, end: self.next };
        run.contains(nonce) || self.early.is_some_and(|early| early.contains(nonce))
    }

    /// Learns of a nonce that the peer has used in a packet that authenticated.
    pub(crate) fn observe(&mut self, nonce: u32) {
        match &mut self.peer {
            Some(peer) => {
                if nonce.wrapping_sub(*peer).cast_signed() > 0 {
                    *peer = nonce;
                }
            }
            None => self.meet(nonce),
        }
    }

    fn meet(&mut self, nonce: u32) {
        self.peer = Some(nonce);
        if !self.moves {
            return;
        }
        let ahead = self.next.wrapping_sub(nonce);
        if !(TOO_NEAR..=TOO_NEAR.wrapping_neg()).contains(&ahead) {
            if self.next != self.first {
                self.early = Some(Run { first: self.first, end: self.next });
            }
            // From where it is, not from where the client is: a server that starts again with the same key begins at another
            // random point, and so never goes where it has been before but by a rare chance.
            self.first = self.next.wrapping_add(HALF);
            self.next = self.first;
        }
        let to_peer = nonce.wrapping_sub(self.next);
        let to_early = self.early.map_or(u32::MAX, |early| early.first.wrapping_sub(self.next));
        self.left = to_peer.min(to_early);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_around_the_circle() {
        let mut counter = NonceCounter::client(u32::MAX);
        assert_eq!([counter.take(), counter.take()], [Some(u32::MAX), Some(0)]);
        assert_eq!(counter.state().next, 1);
    }

    #[test]
    fn a_near_server_moves_half_a_circle_away() {
        let mut server = NonceCounter::server(1000);
        server.take();
        server.observe(900);
        assert_eq!(server.state().next, 1001 + HALF);
        assert!(server.is_ours(1000) && !server.is_ours(1001) && !server.is_ours(999));
        assert_eq!(server.headroom().peers, 100);
        assert_eq!(server.take(), Some(1001 + HALF));
        assert!(server.is_ours(1001 + HALF) && !server.is_ours(1002 + HALF));
    }

    #[test]
    fn a_far_server_stays() {
        let mut server = NonceCounter::server(HALF);
        server.observe(1);
        assert_eq!(server.state().next, HALF);
        assert_eq!(server.headroom().peers, HALF - 1);
        server.observe(11);
        assert_eq!(server.headroom().peers, HALF - 11);
        // An older one, arriving late, changes nothing.
        server.observe(5);
        assert_eq!(server.headroom().peers, HALF - 11);
    }

    #[test]
    fn only_the_first_nonce_moves_it() {
        let mut server = NonceCounter::server(0);
        server.observe(5);
        server.take();
        server.observe(6 + HALF);
        assert_eq!(server.state().next, 1 + HALF);
    }

    #[test]
    fn a_client_stays() {
        let mut client = NonceCounter::client(7);
        client.observe(7);
        assert_eq!(client.state().next, 7);
    }

    #[test]
    fn nothing_is_used_twice() {
        let mut server = NonceCounter::server(3);
        server.left = 1;
        assert_eq!([server.take(), server.take(), server.take()], [Some(3), None, None]);
    }

    #[test]
    fn a_counter_written_down_goes_on_exactly_or_beyond() {
        let mut counter = NonceCounter::server(1000);
        counter.take();
        counter.observe(900);
        counter.take();
        let mut again = NonceCounter::server(77);
        again.restore(counter.state());
        assert_eq!((again.state(), again.headroom()), (counter.state(), counter.headroom()));
        assert!(again.is_ours(1000) && again.is_ours(1001 + HALF) && !again.is_ours(77));
        let mut state = counter.state();
        state.move_on(10);
        again.restore(state);
        assert_eq!(again.take(), Some(1012 + HALF));
        assert!(again.is_ours(1005 + HALF));
        state.move_on(u32::MAX);
        again.restore(state);
        assert_eq!(again.take(), None, "not into what the peer has used");
    }

    #[test]
    fn a_state_and_its_later_progress_say_all() {
        for (start, met_at) in [(1_000, 900), (1_000, HALF), (u32::MAX, 5)] {
            let mut counter = NonceCounter::server(start);
            counter.take();
            let before = counter.state();
            counter.take();
            assert_eq!(before.later(counter.progress()), counter.state());
            let progress_before = counter.progress();
            counter.observe(met_at);
            let met = counter.state();
            assert_eq!(met.later(progress_before), met, "the meeting was written down, its progress not yet");
            counter.take();
            counter.take();
            assert_eq!(met.later(counter.progress()), counter.state());
            assert_ne!(
                before.later(counter.progress()).next,
                before.next,
                "an impossible order goes forward"
            );
        }
    }

    proptest! {
        /// Wherever both begin: once they have met, the server keeps a quarter of the circle away from the
        /// client, has about as much before it, and never comes back to what it used before.
        #[test]
        fn they_keep_apart(start: u32, sent in 0u32..3, peer: u32) {
            let mut server = NonceCounter::server(start);
            for _ in 0..sent {
                server.take();
            }
            let early = Run { first: start, end: start.wrapping_add(sent) };
            server.observe(peer);
            let ahead = server.state().next.wrapping_sub(peer);
            prop_assert!((TOO_NEAR..=TOO_NEAR.wrapping_neg()).contains(&ahead));
            prop_assert!(server.left >= TOO_NEAR - 3);
            let last = server.state().next.wrapping_add(server.left - 1);
            let ours = Run { first: server.state().next, end: last.wrapping_add(1) };
            prop_assert!(!ours.contains(peer));
            prop_assert!((0..sent).all(|at| !ours.contains(start.wrapping_add(at))));
            prop_assert!((0..sent).all(|at| server.is_ours(start.wrapping_add(at))));
            prop_assert_eq!(server.is_ours(peer), early.contains(peer));
        }
    }
}
