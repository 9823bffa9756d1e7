//! The security of one leg: what a native client's and a browser's packets look like on the wire and how they are
//! sealed and opened.
//!
//! Owns: the encryption modes, the keys while they are in use, the nonce counter of our direction, the replay
//! windows. A [`Session`] is one key with one native peer, used in both directions, as the protocol has it; a [`Srtp`] is
//! the keys of both directions with a browser, and an [`IceAgent`] is what proves where that browser is.
//!
//! Inputs: packets in caller's buffers, which are sealed and opened in place; randomness and keying material, handed in.
//! Outputs: the same packets, or a typed reason why not.
//!
//! Invariants: nothing is allocated for a packet. No nonce is used twice by our direction of a key. Nothing
//! becomes visible of a packet that did not authenticate, and it changes no state.
//!
//! Absent: sockets, clocks, random numbers of its own, DTLS, which SSRCs belong to whom. Whoever opens a native packet
//! has already checked that its SSRC belongs to the peer: both directions share one key, so a packet of ours that
//! somebody sends back authenticates, and in the modes without a counter only its SSRC gives it away.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cipher;
pub mod fuzz;
mod guard;
pub mod ice;
mod key;
mod mode;
mod nonce;
mod replay;
mod session;
pub mod srtp;

pub use ice::{IceAgent, IceCheck, IceCredentials, IceReject};
pub use key::Key;
pub use mode::{Mode, UnknownMode};
pub use nonce::{Headroom, NonceCounter, NonceState};
pub use replay::{ReplayWindow, Replayed, WindowState};
pub use session::{OpenError, Opened, SealError, Session, SessionState};
pub use srtp::{DtlsRole, RTCP_SOURCES_MAX, RtcpSource, Srtp, SrtpProfile, SrtpState};
