//! The voice port: who comes to it, how many strangers at a time, and which of the two things that are spoken here they speak.
//!
//! Owns: the listener, the places of strangers, the look at a connection's first byte. Deliberately does not: speak either.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use voice_core::ConnId;

use crate::connection;
use crate::gate::{Gate, Pass};
use crate::hub::Input;
use crate::ice_tcp::Carriers;
use crate::ice_tcp::frames::begins_a_frame;
use crate::limits::{HANDSHAKE_TIMEOUT, UNAUTHENTICATED_MAX, UNAUTHENTICATED_PER_ADDRESS_MAX};

pub struct Door {
    pub listener: TcpListener,
    pub connections: TaskTracker,
    pub stop: CancellationToken,
    pub ways: Arc<Ways>,
}

/// Where connections go.
pub struct Ways {
    pub tls: Arc<ServerConfig>,
    pub hub: mpsc::Sender<Input>,
    pub carriers: Carriers,
}

impl Door {
    pub async fn serve(self) {
        let gate = Gate::new(UNAUTHENTICATED_MAX, UNAUTHENTICATED_PER_ADDRESS_MAX);
        for number in 1.. {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((tcp, from)) => match gate.enter(from.ip()) {
                    Some(pass) => {
                        self.connections.spawn(enter(tcp, from, ConnId(number), self.ways.clone(), pass));
                    }
                    None => metrics::counter!("guildhall_voice_refused_connections_total").increment(1),
                },
                Err(error) => {
                    // Out of descriptors, most likely: others must end before more can come.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn enter(
    tcp: TcpStream,
    from: SocketAddr,
    conn: ConnId,
    ways: Arc<Ways>,
    pass: Pass<std::net::IpAddr>,
) {
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    let mut first = [0];
    match timeout_at(deadline, tcp.peek(&mut first)).await {
        Ok(Ok(1)) if begins_a_frame(first[0]) => {
            // What one way needs is not held by those who went the other.
            Box::pin(ways.carriers.serve(tcp, from.ip(), pass, deadline)).await;
        }
        Ok(Ok(1)) => {
            let serving =
                connection::serve(tcp, Arc::clone(&ways.tls), conn, ways.hub.clone(), pass, deadline);
            Box::pin(serving).await;
        }
        Ok(_) => tracing::debug!(?conn, "a connection said nothing"),
        Err(_) => tracing::debug!(?conn, "a handshake took too long"),
    }
}
