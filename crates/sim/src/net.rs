//! What lies between the roles: ordered streams that take their time and break, and datagrams that are late, lost, doubled and overtaken.

use std::net::SocketAddr;

use crate::event::Event;
use crate::random::Random;
use crate::time::{At, ms};
use crate::world::World;

/// A WebSocket, numbered in the order of their making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEnd {
    Gateway(usize),
    /// A voice server in one of its lives.
    Voice {
        host: usize,
        life: u64,
    },
}

/// From a client.
#[derive(Debug, Clone)]
pub enum Up {
    Open,
    Text(String),
    /// With the number of the close frame, if there was one.
    Closed(Option<u16>),
}

/// To a client.
#[derive(Debug, Clone)]
pub enum Down {
    Text(String),
    Closed(Option<u16>),
}

#[derive(Debug)]
pub struct Socket {
    pub client: usize,
    pub end: ServerEnd,
    last_up: At,
    last_down: At,
    /// Whether each end still takes this connection for alive.
    pub client_open: bool,
    pub server_open: bool,
    /// Nothing gets through any more, whether or not the ends know.
    broken: bool,
}

#[derive(Debug)]
pub struct Net {
    random: Random,
    sockets: Vec<Socket>,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, "network"), sockets: Vec::new() }
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    pub fn socket(&self, id: SocketId) -> &Socket {
        &self.sockets[id.0]
    }

    pub fn socket_mut(&mut self, id: SocketId) -> &mut Socket {
        &mut self.sockets[id.0]
    }

    /// Sockets that some end takes for alive, of which this is true.
    pub fn open_sockets(&self, wanted: impl Fn(&Socket) -> bool) -> Vec<SocketId> {
        let all = self.sockets.iter().enumerate();
        let open = all.filter(|(_, socket)| (socket.client_open || socket.server_open) && wanted(socket));
        open.map(|(n, _)| SocketId(n)).collect()
    }
}

/// The next moment on an ordered way.
pub fn in_order(last: &mut At, at: At) -> At {
    *last = at.max(*last);
    *last
}

impl World {
    /// Between two roles.
    pub fn link_delay(&mut self) -> u64 {
        let max = self.settings.link_delay_max;
        let random = &mut self.net.random;
        // Most often it is quick.
        if random.chance(800) { random.between(50, ms(1)) } else { random.between(50, max) }
    }

    fn client_delay(&mut self) -> u64 {
        let max = self.settings.delay_max;
        self.net.random.between(max / 2, max)
    }

    pub fn connect(&mut self, client: usize, end: ServerEnd) -> SocketId {
        let id = SocketId(self.net.sockets.len());
        let (now, delay) = (self.now, self.client_delay());
        self.net.sockets.push(Socket {
            client,
            end,
            last_up: now,
            // Whatever a server says comes at the earliest after its side of the handshake.
            last_down: now.plus(delay),
            client_open: true,
            server_open: true,
            broken: false,
        });
        self.up(id, Up::Open);
        id
    }

    /// When what is sent now gets through, and whether the connection breaks instead: some outages end before it is given up.
    fn passes(&mut self, id: SocketId) -> (At, bool) {
        let at = self.now.plus(self.client_delay());
        match self.clients[self.net.socket(id).client].outage.filter(|outage| self.now < outage.until) {
            Some(outage) => (at.max(outage.until), !outage.is_gentle),
            None => (at, false),
        }
    }

    pub fn up(&mut self, id: SocketId, up: Up) {
        let (at, breaks) = self.passes(id);
        let socket = self.net.socket_mut(id);
        if !socket.client_open {
            return;
        }
        socket.client_open = !matches!(up, Up::Closed(_));
        socket.broken |= breaks;
        if socket.broken {
            return;
        }
        let at = in_order(&mut socket.last_up, at);
        self.at(at, Event::Up(id, up));
    }

    pub fn down(&mut self, id: SocketId, down: Down) {
        let (at, breaks) = self.passes(id);
        let socket = self.net.socket_mut(id);
        if !socket.server_open {
            return;
        }
        socket.server_open = !matches!(down, Down::Closed(_));
        socket.broken |= breaks;
        if socket.broken {
            return;
        }
        let at = in_order(&mut socket.last_down, at);
        self.at(at, Event::Down(id, down));
    }

    /// Whether what arrives now arrives at all; the end that hears of the end takes the connection for dead.
    pub fn arrives_up(&mut self, id: SocketId, up: &Up) -> bool {
        let socket = self.net.socket_mut(id);
        let arrives = socket.server_open && (!socket.broken || matches!(up, Up::Closed(None)));
        if matches!(up, Up::Closed(_)) {
            socket.server_open = false;
        }
        arrives
    }

    pub fn arrives_down(&mut self, id: SocketId, down: &Down) -> bool {
        let socket = self.net.socket_mut(id);
        let arrives = socket.client_open && (!socket.broken || matches!(down, Down::Closed(None)));
        if matches!(down, Down::Closed(_)) {
            socket.client_open = false;
        }
        arrives
    }

    /// The connection breaks. Each end notices it some time later, or only when it misses something.
    pub fn break_socket(&mut self, id: SocketId) {
        self.net.socket_mut(id).broken = true;
        let (client_notices, server_notices) = (self.net.random.chance(800), self.net.random.chance(700));
        let (soon, late) = (self.net.random.between(0, ms(500)), self.net.random.between(0, ms(2_000)));
        if client_notices {
            self.after(soon, Event::Down(id, Down::Closed(None)));
        }
        if server_notices {
            self.after(late, Event::Up(id, Up::Closed(None)));
        }
    }

    /// Connections that nothing gets through any more are ended, so that nobody has to find out by missing something.
    pub fn end_broken_sockets(&mut self) {
        for id in self.net.open_sockets(|socket| socket.broken) {
            self.after(ms(200), Event::Down(id, Down::Closed(None)));
            self.after(ms(200), Event::Up(id, Up::Closed(None)));
        }
    }

    /// The server's process is gone, and its system says so.
    pub fn reset_socket(&mut self, id: SocketId) {
        let delay = self.client_delay();
        let socket = self.net.socket_mut(id);
        socket.server_open = false;
        let at = in_order(&mut socket.last_down, self.now.plus(delay));
        if !self.is_out(self.net.socket(id).client) {
            self.at(at, Event::Down(id, Down::Closed(None)));
        }
    }

    /// A datagram between a client and a relay, which may not arrive, or twice, or after a later one.
    pub fn datagram(&mut self, client: usize, event: impl Fn() -> Event) {
        let calm = self.now.0 >= self.settings.calm_at;
        if self.is_out(client) || !calm && self.net.random.chance(self.settings.loss) {
            return;
        }
        let copies = if !calm && self.net.random.chance(self.settings.duplicates) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.client_delay();
            self.after(delay, event());
        }
    }

    /// To an address, wherever that leads by now.
    pub fn datagram_to(&mut self, host: usize, to: SocketAddr, bytes: Vec<u8>) {
        let Some(client) = self.client_at(to) else { return };
        self.datagram(client, || Event::UdpDown { host, to, bytes: bytes.clone() });
    }
}
