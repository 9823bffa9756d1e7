//! The listening socket, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::limits::{HANDSHAKE_PATIENCE, HANDSHAKES_MAX};

pub struct Port {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Port {
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        Ok(Self { tcp, tls: tls.map(TlsAcceptor::from), handshakes: JoinSet::new() })
    }
}

impl Listener for Port {
    type Io = Either<TcpStream, TlsStream<TcpStream>>;
    type Addr = SocketAddr;

    /// A client that is slow in its handshake keeps nobody else waiting.
    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    if let Ok(Some((stream, from))) = done {
                        return (Either::Right(stream), from);
                    }
                }
                (stream, from) = Listener::accept(&mut self.tcp), if self.handshakes.len() < HANDSHAKES_MAX => {
                    // Frames are small and urgent.
                    let _ = stream.set_nodelay(true);
                    let Some(tls) = self.tls.clone() else { return (Either::Left(stream), from) };
                    self.handshakes.spawn(async move {
                        let shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await;
                        shaken.ok()?.ok().map(|stream| (stream, from))
                    });
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
