//! ICE-lite (RFC 8445 section 2.5): who asks whether this path works, with the password that we gave out, gets an answer.
//!
//! A check is the only thing that proves where a browser is, and it is what lets it make us do a handshake. So nothing
//! is said before a check has authenticated, not even that it failed: RFC 8489 section 9.1.3 would answer 400 and 401,
//! to whoever asks, at whatever address they claim.

use std::fmt;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use rtp_wire::NoRoom;
use rtp_wire::stun::{Integrity, StunBuilder, StunMessage, UnknownRequired};
use sha1::Sha1;

/// No answer is longer. A check that authenticates has sixty bytes at least, and those of browsers have a hundred.
pub const ANSWER_MAX_LEN: usize = 92;

/// What each side tells the other of itself through signalling (RFC 8445 section 5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Names the leg, in the open.
    pub ufrag: String,
    pub pwd: String,
}

/// Never shows the password.
impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Whom a check is for: our part of the user name, by which its leg is found.
#[must_use]
pub fn local_ufrag<'a>(message: &StunMessage<'a>) -> Option<&'a str> {
    message.username()?.split_once(':').map(|(ours, _)| ours)
}

/// Why a check was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IceReject {
    /// An indication keeps a path open and wants no answer; a response is to nothing of ours, because we ask nothing.
    #[error("not a binding request")]
    NotABindingRequest,
    #[error("not authenticated")]
    NoIntegrity,
    #[error("not the two user name fragments of this leg")]
    WrongUser,
    #[error("does not authenticate")]
    WrongIntegrity,
    #[error("a fingerprint that is not the message's")]
    WrongFingerprint,
    /// Who is lite is controlled (RFC 8445 section 6.1.1), so the other side must not be.
    #[error("the peer wants to be controlled")]
    RoleConflict,
    #[error("a required attribute that we do not know")]
    UnknownAttribute(UnknownRequired),
}

impl IceReject {
    /// What the peer is told (RFC 8445 section 7.3.1.1, RFC 8489 section 6.3.1); only of what authenticated.
    #[must_use]
    pub fn answer(&self) -> Option<(u16, &'static str)> {
        match self {
            IceReject::RoleConflict => Some((487, "Role Conflict")),
            IceReject::UnknownAttribute(_) => Some((420, "Unknown Attribute")),
            IceReject::NotABindingRequest
            | IceReject::NoIntegrity
            | IceReject::WrongUser
            | IceReject::WrongIntegrity
            | IceReject::WrongFingerprint => None,
        }
    }
}

/// A check that authenticated and is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IceCheck {
    /// The peer has chosen this path.
    pub nominated: bool,
    pub transaction: [u8; 12],
}

/// One leg's end of ICE.
pub struct IceAgent {
    /// Has taken in our password and nothing else; copied for each message.
    mac: Hmac<Sha1>,
    local_ufrag: String,
    remote_ufrag: String,
}

impl IceAgent {
    #[must_use]
    pub fn new(local: &IceCredentials, remote_ufrag: &str) -> Self {
        Self {
            mac: Hmac::new_from_slice(local.pwd.as_bytes()).expect("HMAC takes keys of any length"),
            local_ufrag: local.ufrag.clone(),
            remote_ufrag: remote_ufrag.to_owned(),
        }
    }

    /// Whether `message` is a check of this leg's peer. The cheap reasons against it come first.
    pub fn verify(&self, message: &StunMessage<'_>) -> Result<IceCheck, IceReject> {
        if !message.is_binding_request() {
            return Err(IceReject::NotABindingRequest);
        }
        let integrity = message.integrity().ok_or(IceReject::NoIntegrity)?;
        let user = message.username().and_then(|name| name.split_once(':'));
        if user != Some((&self.local_ufrag, &self.remote_ufrag)) {
            return Err(IceReject::WrongUser);
        }
        if message.fingerprint_ok() == Some(false) {
            return Err(IceReject::WrongFingerprint);
        }
        if !self.is_authentic(&integrity) {
            return Err(IceReject::WrongIntegrity);
        }
        let unknown = message.unknown_required();
        if !unknown.is_empty() {
            return Err(IceReject::UnknownAttribute(unknown));
        }
        if message.controlled().is_some() {
            return Err(IceReject::RoleConflict);
        }
        Ok(IceCheck { nominated: message.use_candidate(), transaction: message.transaction_id() })
    }

    /// Tells the peer that the path works, and where it was seen to come from.
    pub fn write_success(
        &self,
        check: &IceCheck,
        mapped: SocketAddr,
        out: &mut [u8],
    ) -> Result<usize, NoRoom> {
        let mut answer = StunBuilder::success(check.transaction, out)?;
        answer.xor_mapped_address(mapped)?;
        self.finish(answer)
    }

    /// Tells the peer why not; nothing is written where silence is the answer.
    pub fn write_error(
        &self,
        transaction: [u8; 12],
        reject: &IceReject,
        out: &mut [u8],
    ) -> Result<Option<usize>, NoRoom> {
        let Some((code, reason)) = reject.answer() else { return Ok(None) };
        let mut answer = StunBuilder::refusal(transaction, out)?;
        answer.error(code, reason)?;
        if let IceReject::UnknownAttribute(unknown) = reject {
            answer.unknown_attributes(unknown.types())?;
        }
        self.finish(answer).map(Some)
    }

    /// In both directions a message is authenticated with the password of whoever answers (RFC 8489 section 9.1.4).
    fn finish(&self, mut answer: StunBuilder<'_>) -> Result<usize, NoRoom> {
        answer.integrity(|header, body| self.mac_of(header, body).finalize().into_bytes().into())?;
        answer.fingerprint()?;
        Ok(answer.finish())
    }

    /// Takes as long for a wrong code as for the right one.
    fn is_authentic(&self, integrity: &Integrity<'_>) -> bool {
        self.mac_of(&integrity.header, integrity.body).verify_slice(&integrity.mac).is_ok()
    }

    fn mac_of(&self, header: &[u8], body: &[u8]) -> Hmac<Sha1> {
        self.mac.clone().chain_update(header).chain_update(body)
    }
}
