//! The kernel's help against strangers, where this process may have it.

use std::io;
use std::net::UdpSocket;
use std::time::Instant;

use sfu_core::limits::LEGS_MAX;
use sfu_core::{Known, Shard};
use sfu_wire::DropCount;
use udp_io::limits::{SHIELD_NAMES, SHIELD_STREAMS};

use crate::limits::SHIELD_AGAIN_AFTER;
use crate::log;

const _: () = assert!(
    SHIELD_STREAMS as usize >= LEGS_MAX && SHIELD_NAMES as usize >= LEGS_MAX,
    "the kernel is told of every leg"
);

/// A shard's program in the kernel, kept up with whom the shard knows.
pub struct Shield {
    state: State,
    /// What earlier ones dropped.
    shielded: udp_io::Shielded,
}

enum State {
    /// To be made when there is time: what was going on before a process began has to go on first.
    Later,
    Up(udp_io::Shield),
    /// Until then, or for good.
    Down(Option<Instant>),
}

impl Shield {
    pub fn new(is_wanted: bool) -> Self {
        let state = if is_wanted { State::Later } else { State::Down(None) };
        Self { state, shielded: udp_io::Shielded::default() }
    }

    /// Puts it up if it is not yet. Those whom the shard knows by then are let through from its first datagram on.
    pub fn raise(&mut self, now: Instant, socket: &UdpSocket, shard: &mut Shard) {
        match self.state {
            State::Later => {}
            State::Down(Some(until)) if now >= until => {}
            State::Up(_) | State::Down(_) => return,
        }
        self.state = match udp_io::Shield::new() {
            Ok(shield) => {
                shard.watch_known();
                State::Up(shield)
            }
            // In a container that is as usual as not.
            Err(error) => {
                log::line(log::INFO, "shield", format_args!("is=down reason={:?}", error.to_string()));
                State::Down(None)
            }
        };
        self.follow(socket, shard);
        if let State::Up(shield) = &self.state {
            match shield.attach(socket) {
                Ok(()) => log::line(log::INFO, "shield", format_args!("is=up")),
                Err(error) => self.lower(socket, shard, &error),
            }
        }
    }

    /// Tells it who has come and gone. To be done before anybody is answered.
    pub fn follow(&mut self, socket: &UdpSocket, shard: &mut Shard) {
        let State::Up(shield) = &self.state else { return };
        while let Some(known) = shard.poll_known() {
            let told = match known {
                Known::Address(address, is_known) => shield.set_address(address, is_known),
                Known::Stream(ssrc, is_known) => shield.set_stream(ssrc.0, is_known),
                Known::Name(ufrag, is_known) => shield.set_name(&ufrag, is_known),
            };
            if let Err(error) = told {
                self.lower(socket, shard, &error);
                return;
            }
        }
    }

    /// One that does not know everybody would do harm.
    fn lower(&mut self, socket: &UdpSocket, shard: &mut Shard, error: &io::Error) {
        self.shielded = self.shielded();
        self.state = State::Down(Some(Instant::now() + SHIELD_AGAIN_AFTER));
        shard.ignore_known();
        let taken_off = udp_io::unshield(socket).err().map(|error| error.to_string());
        log::line(
            log::WARN,
            "shield",
            format_args!("is=down reason={:?} left_on={taken_off:?}", error.to_string()),
        );
    }

    /// Whoever comes next puts up another.
    pub fn retire(&mut self, socket: &UdpSocket, shard: &mut Shard) {
        self.shielded = self.shielded();
        self.state = State::Down(None);
        shard.ignore_known();
        if let Err(error) = udp_io::unshield(socket) {
            log::line(log::WARN, "shield", format_args!("left_on={:?}", error.to_string()));
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// What it has dropped since the process began.
    pub fn shielded(&self) -> udp_io::Shielded {
        match &self.state {
            // A count that cannot be read is no reason to end.
            State::Up(shield) => shield.shielded().map_or(self.shielded, |now| self.shielded + now),
            State::Later | State::Down(_) => self.shielded,
        }
    }
}

/// By reason, as the shard's own drops are told.
pub fn counts(shielded: udp_io::Shielded) -> Vec<DropCount> {
    let udp_io::Shielded { malformed, strangers, introductions, elsewhere } = shielded;
    [
        ("malformed", malformed),
        ("strangers", strangers),
        ("introductions", introductions),
        ("elsewhere", elsewhere),
    ]
    .into_iter()
    .filter(|(_, packets)| *packets > 0)
    .map(|(reason, packets)| DropCount { reason: reason.to_owned(), packets })
    .collect()
}

#[cfg(test)]
mod tests {
    use rtp_wire::{Kind, STUN_COOKIE, classify};

    use super::*;

    /// The kernel takes for nothing what the shard does, from somebody whom neither knows, and nothing else.
    #[test]
    fn the_kernel_and_the_shard_tell_datagrams_apart_alike() {
        let socket = udp_io::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let shield = udp_io::Shield::new().unwrap();
        shield.attach(&socket).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(socket.local_addr().unwrap()).unwrap();
        let mut malformed = 0;
        for first in 0..=u8::MAX {
            for second in [0, 1, 2, 111, 120, 191, 192, 223, 224, 248, 254] {
                for len in [1, 2, 8, 12, 13, 15, 16, 17, 19, 20, 73, 74, 75, 200] {
                    for word in [0, STUN_COOKIE] {
                        let mut datagram = [first, second, 0, 70].to_vec();
                        datagram.extend_from_slice(&word.to_be_bytes());
                        datagram.resize(len, 0);
                        let is_nothing = match classify(&datagram) {
                            Kind::Unknown | Kind::Keepalive | Kind::Ping => true,
                            // An alert is of use from somebody who is known.
                            Kind::Dtls => len <= 16,
                            Kind::Discovery | Kind::Stun | Kind::Rtp | Kind::Rtcp => false,
                        };
                        client.send(&datagram).unwrap();
                        malformed += u64::from(is_nothing);
                        assert_eq!(shield.shielded().unwrap().malformed, malformed, "{datagram:?}");
                        let _ = socket.recv(&mut [0; 256]);
                    }
                }
            }
        }
    }
}
