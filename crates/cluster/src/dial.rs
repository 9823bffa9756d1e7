//! Connecting to another node.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::limits::{CONNECT_WITHIN, PING_EVERY, PING_PATIENCE, REDIAL_FIRST, REDIAL_LAST, WINDOW_BYTES};
use crate::tls::Credentials;

/// Why nobody could be reached.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Unreachable {
    text: String,
    /// The machine is there, and no process listens at the address.
    pub is_refused: bool,
}

impl Unreachable {
    /// It did not speak as expected.
    pub fn silent(text: &str) -> Self {
        Self { text: text.to_owned(), is_refused: false }
    }
}

pub async fn dial(address: &str, credentials: &Credentials) -> Result<Channel, Unreachable> {
    let wrong = |error: tonic::transport::Error| Unreachable {
        is_refused: is_refused(&error),
        text: error.source().map_or_else(|| error.to_string(), ToString::to_string),
    };
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(wrong)?;
    let endpoint = endpoint
        .tls_config(credentials.client())
        .map_err(wrong)?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    match tokio::time::timeout(2 * CONNECT_WITHIN, endpoint.connect()).await {
        Ok(connected) => connected.map_err(wrong),
        Err(_) => Err(Unreachable::silent("no answer in time")),
    }
}

fn is_refused(error: &tonic::transport::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::ConnectionRefused;
        }
        source = cause.source();
    }
    false
}

/// The pause before the next attempt.
#[derive(Debug, Default)]
pub struct Redial {
    last: Duration,
}

impl Redial {
    pub async fn pause(&mut self) {
        self.last = (self.last * 2).clamp(REDIAL_FIRST, REDIAL_LAST);
        tokio::time::sleep(self.last).await;
    }

    pub fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}
