//! The gateways that are told events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cluster_wire::guilds::{Event, GatewayId};
use cluster_wire::link::EventSender;
use tokio::sync::mpsc::error::TrySendError;

/// Everyone is told everything; a gateway knows which of its sessions an event is for. One that does not keep up is
/// cut off at the first event it would miss, and comes back by asking for a new stream: nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    senders: Vec<(GatewayId, EventSender)>,
    /// Those that have listened and are not known to be gone.
    known: BTreeSet<GatewayId>,
    /// Those that listen no more, and since when.
    away: BTreeMap<GatewayId, Instant>,
}

impl Gateways {
    pub fn add(&self, gateway: GatewayId, sender: EventSender) {
        let mut state = self.state();
        state.away.remove(&gateway);
        state.known.insert(gateway);
        state.senders.push((gateway, sender));
    }

    pub fn tell(&self, event: Event) {
        self.state().senders.retain(|(_, sender)| match sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("a gateway fell behind and is cut off from events");
                metrics::counter!("guildhall_guilds_gateways_cut_off_total").increment(1);
                false
            }
        });
    }

    /// Those that have been away for so long that their sessions are over. Each is named once.
    pub fn gone(&self, now: Instant, keep: Duration) -> Vec<GatewayId> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.senders.retain(|(_, sender)| !sender.is_closed());
        let here: BTreeSet<GatewayId> = state.senders.iter().map(|(gateway, _)| *gateway).collect();
        for gateway in state.known.difference(&here) {
            state.away.entry(*gateway).or_insert(now);
        }
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= keep;
        let gone: Vec<GatewayId> =
            state.away.iter().filter(|(_, since)| is_over(since)).map(|(gateway, _)| *gateway).collect();
        state.away.retain(|_, since| !is_over(since));
        state.known.retain(|gateway| !gone.contains(gateway));
        gone
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use model::UserId;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_gateway_that_falls_behind_is_cut_off_and_the_others_are_not() {
        let gateways = Gateways::default();
        let (slow, mut slow_events) = mpsc::channel(1);
        let (quick, mut quick_events) = mpsc::channel(8);
        gateways.add(GatewayId(1), slow);
        gateways.add(GatewayId(2), quick);
        for user in 1..=3 {
            gateways.tell(Event::TokensRevoked { user: UserId(user), token: None });
        }
        assert!(slow_events.try_recv().is_ok());
        assert_eq!(slow_events.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
        for _ in 1..=3 {
            assert!(quick_events.try_recv().is_ok());
        }
    }

    #[test]
    fn a_gateway_is_gone_when_it_has_been_away_for_long_enough() {
        let gateways = Gateways::default();
        let (t0, keep) = (Instant::now(), Duration::from_secs(10));
        let listen = |gateway| {
            let (sender, events) = mpsc::channel(1);
            gateways.add(GatewayId(gateway), sender);
            events
        };
        let first = listen(1);
        let _second = listen(2);
        let gone = |after| gateways.gone(t0 + Duration::from_secs(after), keep);
        assert_eq!(gone(0), []);
        drop(first);
        assert_eq!(gone(1), []);
        let again = listen(1);
        assert_eq!(gone(11), [], "it came back");
        drop(again);
        assert_eq!(gone(20), []);
        assert_eq!(gone(29), []);
        assert_eq!(gone(30), [GatewayId(1)]);
        assert_eq!(gone(99), [], "once");
    }
}
