//! The kernel's help against strangers, where this process may have it.

use std::io;
use std::net::UdpSocket;

use sfu_core::{Known, Shard};
use sfu_wire::DropCount;

use crate::log;

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
    Down,
}

impl Shield {
    pub fn new(is_wanted: bool) -> Self {
        let state = if is_wanted { State::Later } else { State::Down };
        Self { state, shielded: udp_io::Shielded::default() }
    }

    /// Puts it up if it is not yet. Those whom the shard knows by then are let through from its first datagram on.
    pub fn raise(&mut self, socket: &UdpSocket, shard: &mut Shard) {
        if !matches!(self.state, State::Later) {
            return;
        }
        self.state = match udp_io::Shield::new() {
            Ok(shield) => {
                shard.watch_known();
                State::Up(shield)
            }
            // In a container that is as usual as not.
            Err(error) => {
                log::line(log::INFO, "shield", format_args!("is=down reason={:?}", error.to_string()));
                State::Down
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
        self.state = State::Down;
        shard.ignore_known();
        let taken_off = udp_io::unshield(socket).err().map(|error| error.to_string());
        log::line(
            log::WARN,
            "shield",
            format_args!("is=down reason={:?} left_on={taken_off:?}", error.to_string()),
        );
    }

    /// What it has dropped since the process began.
    pub fn shielded(&self) -> udp_io::Shielded {
        match &self.state {
            // A count that cannot be read is no reason to end.
            State::Up(shield) => shield.shielded().unwrap_or(self.shielded),
            State::Later | State::Down => self.shielded,
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
