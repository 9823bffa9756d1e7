//! What a datagram costs by the kernel's sockets and past them (AF_XDP), over a wire between two namespaces with live receivers. Prints one line of JSON.
//!
//! Processor time is that of the sending thread and of what the kernel does in its name, receiving included, since on such a wire the sender's core does the
//! receivers' half as well; under `elsewhere` that half is done by the receivers' core, as between machines. Receivers are drained each millisecond. The
//! least of several rounds, which alternate. Needs root and two cores.
#![allow(unsafe_code)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{CLIENTS_V4, Net, ip};
use udp_io::{Backend, Egress, Frames, RecvBatch, set_buffers, thread_cpu};

const DATAGRAM: [u8; 148] = [0x5A; 148];
/// To one destination after the other, this many a millisecond.
const PER_MS: u32 = 200;
const BURSTS: usize = 100;
const ROUNDS: usize = 8;

fn main() {
    pin(0);
    let net = Net::enter();
    ip(&format!("-n {} route add local 10.10.0.0/16 dev lo", net.clients()));
    ip(&format!("-n {} route add 10.10.0.0/16 via {CLIENTS_V4}", net.server()));
    let mut runs = Vec::new();
    for elsewhere in [false, true] {
        let cores = if elsewhere { "2" } else { "0" };
        // Which cores take over what comes in. `ip` shows the namespace's devices, and not the machine's.
        let choose = format!("echo {cores} > /sys/class/net/wire/queues/rx-0/rps_cpus");
        let chosen = Command::new("ip").args(["netns", "exec", &net.clients(), "sh", "-c", &choose]).status();
        assert!(chosen.is_ok_and(|status| status.success()), "the receivers' core cannot be chosen");
        for destinations in [200, 1_000] {
            runs.push(run(&net, destinations, elsewhere));
        }
    }
    println!("{{\"backend\":\"xdp\",\"bytes\":{},\"runs\":[{}]}}", DATAGRAM.len(), runs.join(","));
}

fn run(net: &Net, destinations: u32, elsewhere: bool) -> String {
    let to: Vec<SocketAddr> =
        (1..=destinations).map(|n| SocketAddr::from((Ipv4Addr::from_bits(0x0A0A_0000 + n), 5_000))).collect();
    let receivers: Vec<UdpSocket> = net.among_clients(|| {
        let bind = |to: &SocketAddr| {
            let socket = udp_io::bind(*to).expect("the address is there");
            set_buffers(&socket, 1 << 20, 1 << 16).expect("sockets take buffers");
            socket
        };
        to.iter().map(bind).collect()
    });
    let socket = udp_io::bind("0.0.0.0:0".parse().expect("an address")).expect("a port is free");
    set_buffers(&socket, 1 << 20, 4 << 20).expect("sockets take buffers");
    let frames = Frames::for_shards(1).expect("there is memory");
    let (xdp, refused) = Egress::new(&socket, &Backend::Xdp(frames)).expect("the socket works");
    assert!(refused.is_none(), "{refused:?}");
    let mut ways = [Egress::by_kernel(&socket).expect("the socket works"), xdp];
    let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut least = [f64::MAX; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| drain(&receivers, &stop, &received));
        for round in 0..=ROUNDS {
            for (way, least) in ways.iter_mut().zip(&mut least) {
                let cost = bursts(way, &to);
                // In the first one the ways are found out.
                if round > 0 {
                    *least = least.min(cost);
                }
            }
        }
        // What is on its way arrives meanwhile.
        std::thread::sleep(Duration::from_millis(20));
        stop.store(true, Ordering::Relaxed);
    });
    let sent: u64 = ways.iter().map(|way| way.counters().sent).sum();
    let lost = sent - received.into_inner();
    let direct = ways[1].sent_directly() as f64 / ways[1].counters().sent as f64;
    let [kernel, xdp] = least;
    format!(
        "{{\"destinations\":{destinations},\"elsewhere\":{elsewhere},\"kernel_ns\":{kernel:.0},\"xdp_ns\":{xdp:.0},\"ratio\":{:.2},\
         \"direct\":{direct:.4},\"lost\":{lost}}}",
        xdp / kernel
    )
}

/// Returns the nanoseconds of processor time a datagram.
fn bursts(way: &mut Egress, to: &[SocketAddr]) -> f64 {
    let period = Duration::from_micros(1_000 * to.len() as u64 / u64::from(PER_MS));
    let mut next = Instant::now();
    let mut spent = Duration::ZERO;
    let softirq = ksoftirqd();
    for _ in 0..BURSTS {
        let began = thread_cpu();
        for to in to {
            way.slot()[..DATAGRAM.len()].copy_from_slice(&DATAGRAM);
            way.commit(DATAGRAM.len(), *to);
        }
        way.flush().expect("the socket works");
        spent += thread_cpu() - began;
        way.hear();
        next += period;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    spent += ksoftirqd().saturating_sub(softirq);
    spent.as_nanos() as f64 / (BURSTS * to.len()) as f64
}

/// What the kernel did of our core's receiving in its own name.
fn ksoftirqd() -> Duration {
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let is_it = std::fs::read_to_string(path.join("comm")).ok()? == "ksoftirqd/0\n";
        let stat = std::fs::read_to_string(is_it.then(|| path.join("schedstat"))?).ok()?;
        stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    std::fs::read_dir("/proc").expect("it is there").find_map(of).unwrap_or_default()
}

fn drain(receivers: &[UdpSocket], stop: &AtomicBool, received: &AtomicU64) {
    pin(1);
    let mut batch = RecvBatch::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
        for receiver in receivers {
            loop {
                let count = batch.receive(receiver).expect("the socket works");
                received.fetch_add(count as u64, Ordering::Relaxed);
                if count < udp_io::limits::BATCH {
                    break;
                }
            }
        }
    }
}

/// The calling thread runs on this core only.
fn pin(core: usize) {
    // SAFETY: a set of cores is bits, for which all zeros is a value.
    let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a local, and the kernel reads so many bytes of it.
    unsafe {
        libc::CPU_SET(core, &mut cores);
        libc::sched_setaffinity(0, size_of_val(&cores), &raw const cores);
    }
}
