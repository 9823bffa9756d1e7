//! A relay that dies of one person's packets, and so does its successor: that person is left out, and everybody else's call goes on.
//!
//! No packet is known that does this to a relay, or it would not any more. So the real relay is stopped in the middle of one, as its own memory says, and stays there:
//! it hangs at that packet, as it would in a loop without end.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::call::{begin_raid, relay_of, relay_since};
use e2e::{Server, Talk};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sfu_wire::page::{HEAD_WORDS, Work, busy_with};

/// Two relays that hang are each missed after some seconds.
const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn whose_packets_two_relays_hang_at_is_left_out_and_the_others_go_on_talking() {
    let server = Server::start_with(2, &["--shards", "1"]);
    // One speaks to many, so that each packet keeps the relay busy for long enough to be met. Nobody else sends audio yet.
    let _load = begin_raid(&server, &["--speakers", "1", "--participants", "150", "--seconds", "300"]);
    let memory = memory_of(server.process.pid());
    let so_far = server.process.lines.said_so_far();
    let leg = stop_in_packet(relay_of(server.process.pid()), &memory, None);
    let second = relay_since(&server, so_far);

    let talk = |n: usize, options: &[&str]| {
        let channel = server.voice_channel(0);
        let options = [options, &["--seconds", "300"]].concat();
        let mut talk = Talk::start(&server, &server.user(n), &channel, &options);
        talk.connected();
        talk
    };
    let (mut listener, mut speaker) = (talk(0, &[]), talk(1, &["--tone", "440"]));
    let so_far = server.process.lines.said_so_far();
    stop_in_packet(second, &memory, Some(leg));
    relay_since(&server, so_far);
    let start = Instant::now();
    let status = loop {
        let status: Value = serde_json::from_str(&server.ctl(&["servers"])).unwrap();
        if status["relay"]["legs_left_out"] == 1 {
            break status;
        }
        assert!(start.elapsed() < WITHIN, "{status}");
    };
    let last_end = status["relay"]["last_end"].as_str().unwrap();
    assert!(last_end.starts_with("hung"), "{status}");
    assert!(last_end.ends_with(&format!("; shard 0 was busy with rtp of leg {leg}")), "{status}");

    // The others go on, for some seconds.
    std::thread::sleep(Duration::from_secs(3));
    listener.process.signal("INT");
    let heard = listener.report(Duration::from_secs(20));
    let stream = Talk::stream(&heard, &server.user(1)).unwrap_or_else(|| panic!("not heard: {heard}"));
    assert!(stream["received"].as_u64().unwrap() >= 140, "{heard}");
    speaker.process.signal("INT");
    let spoke = speaker.report(Duration::from_secs(20));
    assert_eq!((&heard["reconnects"], &spoke["reconnects"]), (&0.into(), &0.into()), "{heard} {spoke}");
}

/// What outlives the relays of a server with one shard.
fn memory_of(server: u32) -> File {
    let descriptors = Path::new("/proc").join(server.to_string()).join("fd");
    let mut all = std::fs::read_dir(descriptors).unwrap().flatten().map(|entry| entry.path());
    let is_memory = |path: &Path| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("guildhall-shard"))
    };
    File::open(all.find(|path| is_memory(path)).expect("a server keeps its shards' memory")).unwrap()
}

fn busy(memory: &File) -> Option<(u64, Work)> {
    let mut bytes = [0; 8 * HEAD_WORDS];
    memory.read_exact_at(&mut bytes, 0).unwrap();
    let (words, _) = bytes.as_chunks::<8>();
    busy_with(&std::array::from_fn(|at| u64::from_ne_bytes(words[at])))
}

/// Stops the relay while it forwards a packet of the leg, of any if none is given, and leaves it there.
fn stop_in_packet(relay: u32, memory: &File, leg: Option<u64>) -> u64 {
    let pid = Pid::from_raw(relay.cast_signed()).unwrap();
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < WITHIN, "the relay is never met in a packet of {leg:?}");
        let met = busy(memory)
            .filter(|(at, work)| *work == Work::Rtp && *at != 0 && leg.is_none_or(|leg| leg == *at));
        let Some(met) = met else { continue };
        kill_process(pid, Signal::STOP).unwrap();
        while !has_stopped(relay) {}
        if busy(memory) == Some(met) {
            return met.0;
        }
        kill_process(pid, Signal::CONT).unwrap();
    }
}

/// All of its threads have.
fn has_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut states = threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap());
    states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, after)| after.starts_with('T')))
}
