//! RTCP (RFC 3550 section 6, RFC 4585, RFC 5104): compounds are read packet by packet, and the few kinds that
//! a relay and a client send are written.

mod feedback;
mod report;
mod write;

pub use feedback::{Feedback, Fir, Nack, Remb};
pub use report::{Bye, ReceiverReport, ReportBlock, Sdes, SenderInfo, SenderReport};
pub use write::{
    MAX_REPORT_BLOCKS, write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb,
    write_sdes_cname, write_sender_report,
};

use crate::Ssrc;
use crate::bytes::{u16_at, u32_at};

pub(crate) const SR: u8 = 200;
pub(crate) const RR: u8 = 201;
pub(crate) const SDES: u8 = 202;
pub(crate) const BYE: u8 = 203;
pub(crate) const TRANSPORT_FEEDBACK: u8 = 205;
pub(crate) const PAYLOAD_FEEDBACK: u8 = 206;

pub(crate) const FMT_NACK: u8 = 1;
pub(crate) const FMT_TRANSPORT_CC: u8 = 15;
pub(crate) const FMT_PLI: u8 = 1;
pub(crate) const FMT_FIR: u8 = 4;
/// Application layer feedback, in which REMB hides under its four letters.
pub(crate) const FMT_ALFB: u8 = 15;

/// Type, count and length, before anything else.
pub const HEADER_LEN: usize = 4;

/// Why something is not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RtcpError {
    #[error("shorter than its headers say")]
    TooShort,
    #[error("not RTCP version 2")]
    Version,
    #[error("padding that does not fit")]
    Padding,
    #[error("a body that does not fit its type")]
    Body,
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp<'a> {
    SenderReport(SenderReport<'a>),
    ReceiverReport(ReceiverReport<'a>),
    Sdes(Sdes<'a>),
    Bye(Bye<'a>),
    Nack(Nack<'a>),
    /// Transport-wide congestion control feedback, its body unread.
    TransportCc(Feedback<'a>),
    Pli {
        sender: Ssrc,
        media: Ssrc,
    },
    Fir(Fir<'a>),
    Remb(Remb<'a>),
    /// Anything else, to be passed over.
    Other {
        packet_type: u8,
        count: u8,
        body: &'a [u8],
    },
}

/// The packets of a decrypted compound, in order. After an error it ends, because nothing says where the next
/// packet would begin.
#[must_use]
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// The SSRC of the packet's sender, which stands unencrypted in front in every mode that leaves eight bytes
/// clear.
#[must_use]
pub fn peek_ssrc(compound: &[u8]) -> Option<Ssrc> {
    u32_at(compound, HEADER_LEN).map(Ssrc)
}

#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Rtcp<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.packet();
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

impl<'a> Packets<'a> {
    fn packet(&mut self) -> Result<Rtcp<'a>, RtcpError> {
        let header = self.rest.first_chunk::<HEADER_LEN>().ok_or(RtcpError::TooShort)?;
        if header[0] >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        let len = HEADER_LEN + 4 * usize::from(u16_at(header, 2).unwrap_or(0));
        let (packet, rest) = self.rest.split_at_checked(len).ok_or(RtcpError::TooShort)?;
        self.rest = rest;
        let body = strip_padding(header[0] & 0x20 != 0, &packet[HEADER_LEN..])?;
        let count = header[0] & 0x1F;
        parse_body(header[1], count, body).ok_or(RtcpError::Body)
    }
}

fn strip_padding(padded: bool, body: &[u8]) -> Result<&[u8], RtcpError> {
    if !padded {
        return Ok(body);
    }
    let len = usize::from(*body.last().ok_or(RtcpError::Padding)?);
    if len == 0 || !len.is_multiple_of(4) || len > body.len() {
        return Err(RtcpError::Padding);
    }
    Ok(&body[..body.len() - len])
}

fn parse_body(packet_type: u8, count: u8, body: &[u8]) -> Option<Rtcp<'_>> {
    Some(match (packet_type, count) {
        (SR, _) => Rtcp::SenderReport(SenderReport::parse(count, body)?),
        (RR, _) => Rtcp::ReceiverReport(ReceiverReport::parse(count, body)?),
        (SDES, _) => Rtcp::Sdes(Sdes { chunks: body }),
        (BYE, _) => Rtcp::Bye(Bye::parse(count, body)?),
        (TRANSPORT_FEEDBACK, FMT_NACK) => Rtcp::Nack(Nack { feedback: Feedback::parse(body)? }),
        (TRANSPORT_FEEDBACK, FMT_TRANSPORT_CC) => Rtcp::TransportCc(Feedback::parse(body)?),
        (PAYLOAD_FEEDBACK, FMT_PLI) => {
            let feedback = Feedback::parse(body)?;
            Rtcp::Pli { sender: feedback.sender, media: feedback.media }
        }
        (PAYLOAD_FEEDBACK, FMT_FIR) => Rtcp::Fir(Fir { feedback: Feedback::parse(body)? }),
        (PAYLOAD_FEEDBACK, FMT_ALFB) if body.get(8..12) == Some(b"REMB") => Rtcp::Remb(Remb::parse(body)?),
        _ => Rtcp::Other { packet_type, count, body },
    })
}

#[cfg(test)]
mod tests;
