//! The real shell over loopback, with a guilds that answers from a table.
#![allow(clippy::unwrap_used)]

mod http;
mod rest;
mod server;
mod sockets;
mod tls;
mod voice;
