//! From what was measured to what a core, a machine and a fleet carry: the arithmetic of `docs/capacity.md`, which shows these tables.

use std::fmt::Write as _;

use crate::fleet_model;

/// What goes into it. Newer figures are put in here, and what is printed then into the document.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// CPU for a packet that is received and sent with nothing in between, by kernel sockets, in microseconds.
    pub floor_us: f64,
    /// What a relay takes for a packet sent, as a multiple of that.
    pub ratio_native: f64,
    pub ratio_browser: f64,
    /// Of all listeners.
    pub browsers: f64,
    /// Of a core or a network card, what is used in the busiest hour.
    pub busy: f64,
    pub packets_per_s: f64,
    /// Bytes of a packet: sound; RTP, tag and nonce; UDP and IPv4; Ethernet with preamble and gap.
    pub payload: f64,
    pub sealed: f64,
    pub ip: f64,
    pub ethernet: f64,
    /// Others whose speech somebody in voice is sent, in the mean over time and people.
    pub heard: f64,
    /// Of a machine.
    pub cores: f64,
    pub gbit_per_s: f64,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            floor_us: 4.0,
            ratio_native: 1.11,
            ratio_browser: 1.23,
            browsers: 0.3,
            busy: 0.7,
            packets_per_s: 50.0,
            payload: 100.0,
            sealed: 32.0,
            ip: 28.0,
            ethernet: 38.0,
            heard: fleet_model::heard_in_the_mean(),
            cores: 8.0,
            gbit_per_s: 10.0,
        }
    }
}

/// The fleet that was published in 2018.
mod published {
    pub const SERVERS: f64 = 850.0;
    pub const USERS: f64 = 2_600_000.0;
    pub const BITS_PER_S: f64 = 220e9;
    pub const PACKETS_PER_S: f64 = 120e6;
}

impl Inputs {
    /// CPU for a packet sent, in microseconds.
    fn cost_us(&self) -> f64 {
        self.floor_us * (self.ratio_native * (1.0 - self.browsers) + self.ratio_browser * self.browsers)
    }

    /// To one person in voice.
    fn user_packets_per_s(&self) -> f64 {
        self.packets_per_s * self.heard
    }

    fn packet_bytes(&self) -> f64 {
        self.payload + self.sealed + self.ip
    }

    fn core_packets_per_s(&self) -> f64 {
        self.busy * 1e6 / self.cost_us()
    }

    fn core_users(&self) -> f64 {
        self.core_packets_per_s() / self.user_packets_per_s()
    }

    fn card_packets_per_s(&self) -> f64 {
        self.busy * self.gbit_per_s * 1e9 / 8.0 / (self.packet_bytes() + self.ethernet)
    }
}

pub fn tables(inputs: &Inputs) -> String {
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes everything");
    };
    let measured = "measured, 2-core EPYC virtual machine, Linux 6.18";
    line(&["input", "value", "unit", "from"]);
    line(&["---"; 4]);
    line(&[
        "floor",
        &format!("{:.2}", inputs.floor_us),
        "µs of CPU a packet sent",
        &format!("{measured}: 3.9 to 4.1"),
    ]);
    line(&[
        "ratio, native",
        &format!("{:.2}", inputs.ratio_native),
        "relay / floor",
        &format!("{measured}, 200 people, 5 speak"),
    ]);
    line(&["ratio, browser", &format!("{:.2}", inputs.ratio_browser), "relay / floor", "the same"]);
    line(&["browsers", &format!("{:.2}", inputs.browsers), "of all listeners", "assumed"]);
    line(&[
        "busy",
        &format!("{:.2}", inputs.busy),
        "of a core, of a card",
        "chosen: where the alarm is (`sfu_busy`)",
    ]);
    line(&["packets", &format!("{:.0}", inputs.packets_per_s), "a second a speaker", "20 ms of Opus each"]);
    line(&["payload", &format!("{:.0}", inputs.payload), "bytes", "chosen, 40 kbit/s; 64 kbit/s are 160"]);
    line(&["sealed", &format!("{:.0}", inputs.sealed), "bytes", "RTP 12, tag 16, nonce 4"]);
    line(&["ip", &format!("{:.0}", inputs.ip), "bytes", "IPv4 20, UDP 8"]);
    line(&[
        "ethernet",
        &format!("{:.0}", inputs.ethernet),
        "bytes",
        "header 14, checksum 4, preamble 8, gap 12",
    ]);
    line(&[
        "heard",
        &format!("{:.3}", inputs.heard),
        "others who speak, for each person",
        "assumed: in every call one speaks at any time; sizes as in the simulation",
    ]);
    line(&["cores", &format!("{:.0}", inputs.cores), "of a machine, all for shards", "chosen"]);
    line(&["card", &format!("{:.0}", inputs.gbit_per_s), "Gbit/s of a machine", "chosen"]);
    text.push('\n');
    outputs(inputs, &mut text);
    text.push('\n');
    comparison(inputs, &mut text);
    text
}

fn outputs(inputs: &Inputs, text: &mut String) {
    let mut line = |name: &str, formula: &str, value: String| {
        writeln!(text, "| {name} | {formula} | {value} |").expect("a string takes everything");
    };
    line("what follows", "from", "value".to_owned());
    line("---", "---", "---".to_owned());
    line(
        "CPU a packet sent",
        "floor × (native × (1 − browsers) + browser × browsers)",
        format!("{:.2} µs", inputs.cost_us()),
    );
    line("packets to one person", "packets × heard", format!("{:.1} a second", inputs.user_packets_per_s()));
    line("bytes of a packet", "payload + sealed + ip", format!("{:.0}", inputs.packet_bytes()));
    let user_bits = inputs.user_packets_per_s() * inputs.packet_bytes() * 8.0;
    line("bandwidth to one person", "the two", format!("{:.0} kbit/s", user_bits / 1e3));
    line(
        "packets a core sends",
        "busy / CPU a packet",
        format!("{} a second", round(inputs.core_packets_per_s())),
    );
    line("people a core carries", "that / packets to one person", round(inputs.core_users()));
    let by_cores = inputs.core_users() * inputs.cores;
    let by_card = inputs.card_packets_per_s() / inputs.user_packets_per_s();
    line("people a machine carries, by its cores", "that × cores", round(by_cores));
    line(
        "people a machine carries, by its card",
        "busy × card / (8 × (bytes of a packet + ethernet)) / packets to one person",
        round(by_card),
    );
    let balanced = inputs.card_packets_per_s() / inputs.core_packets_per_s();
    line("cores that fill the card", "the card's packets / a core's", format!("{balanced:.1}"));
    let idle = published::USERS / by_cores.min(by_card);
    line("machines for 2,600,000 people", "by the scarcer of the two", round(idle.ceil()));
}

fn comparison(inputs: &Inputs, text: &mut String) {
    use published::{BITS_PER_S, PACKETS_PER_S, SERVERS, USERS};
    let mut line = |name: &str, theirs: String, ours: String| {
        writeln!(text, "| {name} | {theirs} | {ours} |").expect("a string takes everything");
    };
    line("2,600,000 people on 850 servers", "published".to_owned(), "by our inputs".to_owned());
    line("---", "---".to_owned(), "---".to_owned());
    line("people a server", round(USERS / SERVERS), "the same".to_owned());
    let ours_per_s = USERS * inputs.user_packets_per_s();
    line("packets sent, millions a second", "120".to_owned(), format!("{:.0}", ours_per_s / 1e6));
    line(
        "packets a second to one person",
        format!("{:.1}", PACKETS_PER_S / USERS),
        format!("{:.1}", inputs.user_packets_per_s()),
    );
    line(
        "bytes of a packet",
        format!("{:.0}", BITS_PER_S / 8.0 / PACKETS_PER_S),
        format!("{:.0}", inputs.packet_bytes()),
    );
    line("Gbit/s in all", "220".to_owned(), format!("{:.0}", ours_per_s * inputs.packet_bytes() * 8.0 / 1e9));
    line("packets a second from one server", round(PACKETS_PER_S / SERVERS), round(ours_per_s / SERVERS));
    line(
        "Mbit/s from one server",
        round(BITS_PER_S / SERVERS / 1e6),
        round(ours_per_s * inputs.packet_bytes() * 8.0 / SERVERS / 1e6),
    );
    let cores = |per_s: f64| format!("{:.2}", per_s / SERVERS * inputs.cost_us() / 1e6);
    line(
        "cores of one server that these packets keep busy with our relay",
        cores(PACKETS_PER_S),
        cores(ours_per_s),
    );
}

/// To three digits, in groups of three.
fn round(value: f64) -> String {
    let unit = 10_f64.powi((value.log10().floor() as i32 - 2).max(0));
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
