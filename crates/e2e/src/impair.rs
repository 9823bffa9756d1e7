//! Loss and delay on the clients' wire of a [`Net`](crate::Net).
//!
//! Owns: what may be wrong with a path, and the two means by which it is made so: netem where the kernel has it, our own wire
//! (`e2e/net/wire.py`) where it has not. Deliberately does not: judge what clients make of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Running;
use crate::net::inside;

/// A wire takes what it is told between two packets.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Which way packets go that fare badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    Clients,
    Server,
}

impl Towards {
    /// The server is on the wire's left.
    fn side(self) -> &'static str {
        match self {
            Self::Clients => "right",
            Self::Server => "left",
        }
    }

    /// The namespace from which packets of this direction leave.
    fn leaving<'a>(self, server: &'a str, clients: &'a str) -> &'a str {
        match self {
            Self::Clients => server,
            Self::Server => clients,
        }
    }
}

/// How the packets of one direction fare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// The share of packets that is lost.
    pub loss: f64,
    /// How many are lost in a row on average; up to 1 each is lost by chance alone.
    pub burst: f64,
    pub delay: Duration,
    /// Each packet takes longer by a time of its own, evenly between nothing and this.
    pub jitter: Duration,
    /// Packets wait for those before them instead of overtaking.
    pub keeps_order: bool,
    /// No UDP comes through, as in many companies. Only our own wire can do that.
    pub blocks_udp: bool,
}

impl Path {
    pub const GOOD: Self = Self {
        loss: 0.0,
        burst: 1.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        keeps_order: false,
        blocks_udp: false,
    };
    pub const WITHOUT_UDP: Self = Self { blocks_udp: true, ..Self::GOOD };

    pub const fn losing(loss: f64) -> Self {
        Self { loss, ..Self::GOOD }
    }

    pub const fn jittering(jitter: Duration) -> Self {
        Self { jitter, ..Self::GOOD }
    }

    fn command(&self, towards: Towards) -> Value {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
        json!({
            "towards": towards.side(),
            "loss": self.loss,
            "burst": self.burst,
            "delay_ms": milliseconds(self.delay),
            "jitter_ms": milliseconds(self.jitter),
            "keeps_order": self.keeps_order,
            "blocks_udp": self.blocks_udp,
        })
    }

    /// The same in netem's words, which gives jitter as a deviation to both sides.
    fn netem(&self) -> String {
        let half = self.jitter / 2;
        let mut words =
            format!("netem limit 1000 delay {}us {}us", (self.delay + half).as_micros(), half.as_micros());
        if self.burst > 1.0 {
            let leave = 1.0 / self.burst;
            let enter = leave * self.loss / (1.0 - self.loss);
            words += &format!(" loss gemodel {:.4}% {:.4}%", enter * 100.0, leave * 100.0);
        } else {
            words += &format!(" loss random {:.4}%", self.loss * 100.0);
        }
        words
    }
}

/// What has become of the packets of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    pub sent: u64,
    pub lost: u64,
}

impl Carried {
    fn read(counts: &Value, sent: &str, lost: &str) -> Self {
        let number = |key: &str| counts[key].as_u64().unwrap_or_else(|| panic!("no {key} in {counts}"));
        Self { sent: number(sent), lost: number(lost) }
    }

    /// The share lost since an earlier look.
    pub fn loss_since(&self, earlier: &Self) -> f64 {
        let (sent, lost) = (self.sent - earlier.sent, self.lost - earlier.lost);
        lost as f64 / (sent + lost) as f64
    }
}

/// What makes a path bad.
pub(crate) enum Impairment {
    /// Queueing disciplines at both ends, in the namespaces of the server and of the clients.
    Netem { server: String, clients: String },
    /// A process in a namespace between the two.
    Wire(Running),
}

impl Impairment {
    /// Whether the kernel has netem, asked where it changes nothing.
    pub(crate) fn is_in_kernel(namespace: &str) -> bool {
        tc(namespace, "add dev lo root netem").is_ok() && tc(namespace, "del dev lo root").is_ok()
    }

    /// Carries packets between the interfaces `left` and `right` of a namespace until dropped.
    pub(crate) fn wire(namespace: &str, seed: u64) -> Self {
        let mut command = inside(namespace);
        command.arg("python3").arg(crate::root().join("e2e/net/wire.py"));
        command.args(["left", "right", "--seed", &seed.to_string()]);
        let mut wire = Running::start("wire", command);
        wire.lines.event("ready", ANSWER_WITHIN);
        Self::Wire(wire)
    }

    pub(crate) fn set(&mut self, towards: Towards, path: &Path) {
        match self {
            Self::Wire(wire) => {
                wire.send(&path.command(towards));
                wire.lines.event("counts", ANSWER_WITHIN);
            }
            Self::Netem { server, clients } => {
                assert!(!path.blocks_udp, "netem knows no protocols: take a net with our own wire");
                let from = towards.leaving(server, clients);
                // There is none the first time. What waits in the old one is lost, as when a path changes.
                let _ = tc(from, "del dev wire root");
                let mut commands = vec![format!("add dev wire root handle 1: {}", path.netem())];
                if path.keeps_order {
                    // In the place of netem's own queue, which sorts by time.
                    commands.push("add dev wire parent 1:1 pfifo limit 1000".to_owned());
                }
                commands.iter().for_each(|command| tc(from, command).expect("netem takes what it documents"));
            }
        }
    }

    pub(crate) fn carried(&mut self, towards: Towards) -> Carried {
        match self {
            Self::Wire(wire) => {
                wire.send(&json!({}));
                let counts = wire.lines.event("counts", ANSWER_WITHIN);
                Carried::read(&counts[towards.side()], "sent", "lost")
            }
            Self::Netem { server, clients } => {
                let mut command = inside(towards.leaving(server, clients));
                let out =
                    command.args(["tc", "-json", "-statistics", "qdisc", "show", "dev", "wire"]).output();
                let out = out.expect("iproute2 is installed").stdout;
                let list: Value = serde_json::from_slice(&out).expect("tc prints JSON");
                Carried::read(&list[0], "packets", "drops")
            }
        }
    }
}

/// Runs `tc qdisc`; what it says when it fails is the error.
fn tc(namespace: &str, arguments: &str) -> Result<(), String> {
    let mut command = inside(namespace);
    command.args(["tc", "qdisc"]).args(arguments.split(' '));
    let out = command.output().expect("iproute2 is installed");
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}
