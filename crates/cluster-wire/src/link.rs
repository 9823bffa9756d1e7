//! How calls and events travel between roles that live in one process.
//!
//! The roles see only [`GuildsLink`] and [`VoiceLink`]; what carries them is decided where the roles are wired together.

use tokio::sync::{mpsc, oneshot};

use client_wire::error::ApiError;

use crate::guilds::{Call, CallResult, Event};
use crate::voice::{Order, Report};

/// Calls waiting for guilds. Full: the caller waits, which slows its own client only.
pub const CALLS_MAX: usize = 4_096;
/// Events waiting for one gateway. A gateway that falls this far behind is cut off, and its clients resume elsewhere.
pub const EVENTS_MAX: usize = 65_536;
/// Orders waiting for one voice server, and reports waiting for guilds.
pub const ORDERS_MAX: usize = 65_536;

pub type CallEnvelope = (Call, oneshot::Sender<CallResult>);

/// A gateway's way to guilds.
#[derive(Debug, Clone)]
pub struct GuildsLink {
    calls: mpsc::Sender<CallEnvelope>,
}

impl GuildsLink {
    pub fn new(calls: mpsc::Sender<CallEnvelope>) -> Self {
        Self { calls }
    }

    pub async fn call(&self, call: Call) -> CallResult {
        let (reply, answer) = oneshot::channel();
        if self.calls.send((call, reply)).await.is_err() {
            return Err(ApiError::new(503, 0, "guilds is shutting down"));
        }
        answer.await.unwrap_or_else(|_| Err(ApiError::internal()))
    }
}

/// What a gateway node hands to guilds to be told events.
pub type EventSender = mpsc::Sender<Event>;
pub type EventReceiver = mpsc::Receiver<Event>;

/// Guilds' way to one voice server.
#[derive(Debug, Clone)]
pub struct VoiceLink {
    orders: mpsc::Sender<Order>,
}

impl VoiceLink {
    pub fn new(orders: mpsc::Sender<Order>) -> Self {
        Self { orders }
    }

    /// False when the voice server is gone or hopelessly behind; the caller treats both as its death.
    pub fn send(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

pub type ReportSender = mpsc::Sender<Report>;
pub type ReportReceiver = mpsc::Receiver<Report>;
