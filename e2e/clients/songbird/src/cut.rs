//! Cutting TCP connections from under the library, as a network would.
//!
//! serenity and songbird keep their sockets to themselves, so the process looks through its own descriptors for
//! those that lead to the address in question. Neither side gets a closing handshake.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};

use socket2::{SockRef, Socket, Type};

/// `endpoint` is `host:port` or the URL of a WebSocket.
pub async fn streams_to(endpoint: &str) -> Result<(), String> {
    let peers = resolve(endpoint).await?;
    // All of them before the first is cut: the library opens a new one within a millisecond, which is to live.
    let streams: Vec<Socket> = descriptors()?.into_iter().filter_map(|fd| stream_to(&peers, fd)).collect();
    let cut = streams.iter().filter(|stream| stream.shutdown(Shutdown::Both).is_ok()).count();
    (cut > 0).then_some(()).ok_or(format!("no connection to {endpoint} to cut"))
}

async fn resolve(endpoint: &str) -> Result<Vec<SocketAddr>, String> {
    let (_, authority) = endpoint.split_once("://").unwrap_or(("", endpoint));
    let authority = authority.split(['/', '?']).next().unwrap_or(authority);
    let found = tokio::net::lookup_host(authority).await;
    found.map(Iterator::collect).map_err(|why| format!("cannot resolve {authority}: {why}"))
}

fn descriptors() -> Result<Vec<RawFd>, String> {
    let entries =
        std::fs::read_dir("/proc/self/fd").map_err(|why| format!("cannot list descriptors: {why}"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// A descriptor of our own for the TCP connection behind this one, if it leads to one of these addresses.
fn stream_to(peers: &[SocketAddr], fd: RawFd) -> Option<Socket> {
    // SAFETY: the number was a live descriptor of this process a moment ago. Should another thread have closed it
    // since, each call below fails, or meets a new socket, which is left alone unless it leads to the same address.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&borrowed);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let peer = socket.peer_addr().ok()?.as_socket()?;
    (is_stream && peers.contains(&peer)).then(|| socket.try_clone().ok()).flatten()
}
