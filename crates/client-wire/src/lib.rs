//! The public protocol: frames and bodies as clients see them, in both directions.
//!
//! Owns: names, shapes and numbers of the main gateway (version 10), the voice gateway (versions 4 to 9) and the REST
//! interface. Deliberately does not: decide anything, hold state, or touch a socket.
//!
//! What clients send is read leniently (unknown fields, nulls, ids as integers); what we send is exact.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod error;
pub mod fragment;
pub mod fuzz;
pub mod gateway;
pub mod object;
pub mod rest;
pub mod voice;
