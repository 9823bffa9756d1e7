//! The gateways that are told events.

use std::sync::{Mutex, PoisonError};

use cluster_wire::guilds::Event;
use cluster_wire::link::EventSender;
use tokio::sync::mpsc::error::TrySendError;

/// Everyone is told everything; a gateway knows which of its sessions an event is for. One that does not keep up is
/// cut off at the first event it would miss, and comes back by asking for a new stream: nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    senders: Mutex<Vec<EventSender>>,
}

impl Gateways {
    pub fn add(&self, sender: EventSender) {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }

    pub fn tell(&self, event: Event) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.retain(|sender| match sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("a gateway fell behind and is cut off from events");
                metrics::counter!("guildhall_guilds_gateways_cut_off_total").increment(1);
                false
            }
        });
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
        gateways.add(slow);
        gateways.add(quick);
        for user in 1..=3 {
            gateways.tell(Event::TokensRevoked { user: UserId(user), token: None });
        }
        assert!(slow_events.try_recv().is_ok());
        assert_eq!(slow_events.try_recv().unwrap_err(), mpsc::error::TryRecvError::Disconnected);
        for _ in 1..=3 {
            assert!(quick_events.try_recv().is_ok());
        }
    }
}
