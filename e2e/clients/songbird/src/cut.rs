//! Cutting TCP connections from under the library, as a network would.
//!
//! serenity and songbird keep their sockets to themselves, so the process looks through its own descriptors for
//! those that lead to the address in question. Neither side gets a closing handshake.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};

use socket2::{SockRef, Type};

/// `endpoint` is `host:port` or the URL of a WebSocket.
pub async fn streams_to(endpoint: &str) -> Result<(), String> {
    let peers = resolve(endpoint).await?;
    let mut found = false;
    for fd in descriptors()? {
        found |= cut(fd, &peers);
    }
    found.then_some(()).ok_or(format!("no connection to {endpoint} to cut"))
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

fn cut(fd: RawFd, peers: &[SocketAddr]) -> bool {
    // SAFETY: the number was a live descriptor of this process a moment ago. Should another thread have closed it
    // since, each call below fails, or meets a new socket, which is left alone unless it leads to the same address.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&borrowed);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let peer = socket.peer_addr().ok().and_then(|address| address.as_socket());
    is_stream && peer.is_some_and(|peer| peers.contains(&peer)) && socket.shutdown(Shutdown::Both).is_ok()
}
