//! One participant's media: the socket, the stream, and what a packet is sealed and opened by.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rtp_wire::{OPUS_PAYLOAD_TYPE, RtpHeader, RtpTime, SeqNo, Ssrc};
use transport::Mode;

use crate::browser::Browser;
use crate::limits::PAYLOAD;
use crate::native::Native;

/// Which of the two kinds of leg it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Native,
    Browser,
}

pub struct Participant {
    pub socket: UdpSocket,
    pub relay: SocketAddr,
    /// The stream that others hear it by: the server's choice.
    pub ssrc: Ssrc,
    pub media: Media,
}

pub enum Media {
    Native(Box<Native>),
    Browser(Box<Browser>),
}

/// One frame of speech, before anything is sealed.
pub struct Frame {
    pub seq: SeqNo,
    pub time: RtpTime,
    pub payload: [u8; PAYLOAD],
}

/// What became of a speaker's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// With the time that it was sent at, if it was looked at.
    Received(Option<Duration>),
    Unopened,
}

impl Frame {
    /// The payload begins with the time it was sent, so that whoever opens it knows its delay.
    pub fn new(seq: SeqNo, time: RtpTime, sent_at: Duration, speaker: usize) -> Self {
        let mut payload = [0; PAYLOAD];
        payload[..8].copy_from_slice(&(sent_at.as_nanos() as u64).to_be_bytes());
        payload[8..10].copy_from_slice(&(speaker as u16).to_be_bytes());
        Self { seq, time, payload }
    }

    /// As an RTP packet that nothing is sealed of. Returns its length.
    pub fn write(&self, ssrc: Ssrc, buffer: &mut [u8]) -> anyhow::Result<usize> {
        let header = RtpHeader {
            payload_type: OPUS_PAYLOAD_TYPE,
            seq: self.seq.wire(),
            time: self.time,
            ssrc,
            ..RtpHeader::default()
        };
        let at = header.write(&[], buffer)?;
        let end = at + PAYLOAD;
        ensure!(end <= buffer.len(), "the buffer has no room for a frame");
        buffer[at..end].copy_from_slice(&self.payload);
        Ok(end)
    }
}

/// When the speaker sent this payload, on the clock of the run.
pub fn sent_at(payload: &[u8]) -> Option<Duration> {
    Some(Duration::from_nanos(u64::from_be_bytes(*payload.first_chunk()?)))
}

/// Which speaker it is from.
pub fn speaker_of(payload: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(*payload.get(8..10)?.first_chunk()?)))
}

impl Participant {
    pub fn kind(&self) -> Kind {
        match self.media {
            Media::Native(_) => Kind::Native,
            Media::Browser(_) => Kind::Browser,
        }
    }

    /// Bytes of a packet that it is sent.
    pub fn packet_len(&self) -> usize {
        let overhead = match &self.media {
            Media::Native(native) => native.mode().overhead(),
            Media::Browser(_) => Browser::OVERHEAD,
        };
        rtp_wire::FIXED_HEADER_LEN + PAYLOAD + overhead
    }

    /// Whether the frame went out.
    pub fn speak(&mut self, now: Instant, frame: &Frame) -> anyhow::Result<bool> {
        let Self { socket, relay, ssrc, media } = self;
        let mut send = |datagram: &[u8]| socket.send_to(datagram, *relay).is_ok();
        match media {
            Media::Native(native) => {
                let mut buffer = [0_u8; rtp_wire::FIXED_HEADER_LEN + PAYLOAD + Mode::OVERHEAD_MAX];
                let plain = frame.write(*ssrc, &mut buffer)?;
                let length = native.seal(&mut buffer, plain)?;
                Ok(send(&buffer[..length]))
            }
            Media::Browser(browser) => browser.speak(now, frame, &mut send),
        }
    }

    /// Anything that is no packet of a speaker's.
    pub fn take_other(&mut self, now: Instant, datagram: &[u8]) -> anyhow::Result<()> {
        match &mut self.media {
            Media::Native(_) => Ok(()),
            Media::Browser(browser) => {
                let (socket, relay) = (&self.socket, self.relay);
                let mut send = |datagram: &[u8]| socket.send_to(datagram, relay).is_ok();
                browser.receive(now, datagram, &mut send).map(|_| ())
            }
        }
    }

    /// A speaker's packet. A browser opens everything, a native listener what is to be looked at.
    pub fn take_packet(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        ssrc: Ssrc,
        look: bool,
    ) -> anyhow::Result<Taken> {
        match &mut self.media {
            Media::Native(_) if !look => Ok(Taken::Received(None)),
            Media::Native(native) => Ok(match native.open(datagram, ssrc) {
                Ok(payload) => Taken::Received(sent_at(&datagram[payload])),
                Err(_) => Taken::Unopened,
            }),
            Media::Browser(browser) => {
                let (socket, relay) = (&self.socket, self.relay);
                let mut send = |datagram: &[u8]| socket.send_to(datagram, relay).is_ok();
                Ok(match browser.receive(now, datagram, &mut send)? {
                    Some(payload) => Taken::Received(sent_at(&payload).filter(|_| look)),
                    None => Taken::Unopened,
                })
            }
        }
    }

    /// What is due by now: keepalives, checks, reports.
    pub fn wake(&mut self, now: Instant) -> anyhow::Result<()> {
        let Self { socket, relay, ssrc, media } = self;
        let mut send = |datagram: &[u8]| socket.send_to(datagram, *relay).is_ok();
        match media {
            Media::Native(native) => native.wake(now, *ssrc, &mut send),
            Media::Browser(browser) => browser.wake(now, &mut send),
        }
    }
}

#[cfg(test)]
mod tests {
    use rtp_wire::Packet;

    use super::*;

    #[test]
    fn a_frame_says_when_it_was_sent_and_by_whom() {
        let frame = Frame::new(SeqNo(70_000), RtpTime(9), Duration::from_micros(1_234), 3);
        let mut buffer = [0; rtp_wire::FIXED_HEADER_LEN + PAYLOAD];
        let len = frame.write(Ssrc(7), &mut buffer).unwrap();
        let packet = Packet::parse(&buffer[..len]).unwrap();
        assert_eq!(sent_at(packet.payload()), Some(Duration::from_micros(1_234)));
        assert_eq!(speaker_of(packet.payload()), Some(3));
        let header = RtpHeader::parse(&buffer).unwrap();
        assert_eq!((header.seq, header.ssrc), (4_464, Ssrc(7)));
        assert!(frame.write(Ssrc(7), &mut buffer[1..]).is_err());
        assert_eq!((sent_at(&[0; 7]), speaker_of(&[0; 9])), (None, None));
    }
}
