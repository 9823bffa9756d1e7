//! How calls and events travel between roles within a process; a role of another process stands behind the same channels.
//!
//! The roles see only [`GuildsLink`] and [`VoiceLink`]; what carries them is decided where the roles are wired together.

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use client_wire::error::ApiError;

use crate::guilds::{Call, CallResult, Event, GatewayId};
use crate::voice::{Order, Report, ToVoice};

/// Calls waiting for guilds. Full: the caller waits, which slows its own client only.
pub const CALLS_MAX: usize = 4_096;
/// Events waiting for one gateway. A gateway that falls this far behind is cut off at the first event it would miss; it ends its
/// sessions, asks for a new stream, and its clients identify anew, by which they are told everything again.
pub const EVENTS_MAX: usize = 65_536;
/// Orders waiting for one voice server. Full: the server's calls go on as they are, orders are left out until it has taken all that
/// waits, and then each guild concerned says the whole truth. Reports waiting for guilds. Full: a voice server keeps the newest of
/// each session until there is room.
pub const ORDERS_MAX: usize = 65_536;

/// What reaches guilds from a gateway.
#[derive(Debug)]
pub enum ToGuilds {
    Call(Call, oneshot::Sender<CallResult>),
    /// This gateway wants every event from now on.
    Listen(GatewayId, EventSender),
}

/// A gateway's way to guilds.
#[derive(Debug, Clone)]
pub struct GuildsLink {
    calls: mpsc::Sender<ToGuilds>,
}

impl GuildsLink {
    pub fn new(calls: mpsc::Sender<ToGuilds>) -> Self {
        Self { calls }
    }

    pub async fn call(&self, call: Call) -> CallResult {
        self.begin(call).await.await
    }

    /// Hands the call over, after those that were handed over before; the answer is another matter.
    pub async fn begin(&self, call: Call) -> impl Future<Output = CallResult> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let is_taken = self.calls.send(ToGuilds::Call(call, reply)).await.is_ok();
        async move {
            if !is_taken {
                return Err(ApiError::new(503, 0, "guilds is shutting down"));
            }
            answer.await.unwrap_or_else(|_| Err(ApiError::internal()))
        }
    }

    /// A stream of events, which begins before any call that is made after this. `None` when guilds is gone.
    pub async fn listen(self, gateway: GatewayId) -> Option<EventReceiver> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        self.calls.send(ToGuilds::Listen(gateway, events)).await.ok().map(|()| receiver)
    }
}

/// What a gateway node hands to guilds to be told events.
pub type EventSender = mpsc::Sender<Event>;
pub type EventReceiver = mpsc::Receiver<Event>;

/// Guilds' way to one voice server.
#[derive(Debug, Clone)]
pub struct VoiceLink {
    orders: mpsc::Sender<ToVoice>,
}

impl VoiceLink {
    pub fn new(orders: mpsc::Sender<ToVoice>) -> Self {
        Self { orders }
    }

    pub fn send(&self, order: Order) -> Result<(), Undelivered> {
        self.try_send(ToVoice::Order(order))
    }

    pub fn set_draining(&self, draining: bool) -> Result<(), Undelivered> {
        self.try_send(ToVoice::SetDraining(draining))
    }

    pub fn upgrade_relay(&self, number: u64, program: Option<String>) -> Result<(), Undelivered> {
        self.try_send(ToVoice::UpgradeRelay { number, program })
    }

    fn try_send(&self, message: ToVoice) -> Result<(), Undelivered> {
        self.orders.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => Undelivered::Behind,
            TrySendError::Closed(_) => Undelivered::Gone,
        })
    }

    /// Waits until the voice server has taken every order that waits. False when it is gone.
    pub async fn caught_up(&self) -> bool {
        self.orders.reserve_many(self.orders.max_capacity()).await.is_ok()
    }
}

/// Why an order did not reach its voice server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// Too many wait already. It may catch up.
    Behind,
    /// It will never take another.
    Gone,
}

pub type ReportSender = mpsc::Sender<Report>;
pub type ReportReceiver = mpsc::Receiver<Report>;
