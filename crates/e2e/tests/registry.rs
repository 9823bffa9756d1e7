//! The registry in a real etcd: where voice servers are known, and what its absence means for calls.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use e2e::etcd::Etcd;
use e2e::wire::{self, WITHIN};
use e2e::{Server, Talk};

/// Longer than a lease lives, so that everything of it would have ended.
const ABSENCE: Duration = Duration::from_secs(12);

#[test]
fn calls_and_joins_go_on_without_etcd_and_it_is_told_everything_when_it_is_back() {
    let mut etcd = Etcd::start();
    let server = Server::start_with(4, &["--voice-servers", "2", "--registry", &etcd.url()]);
    let channel = server.voice_channel(0);
    let mut listener = Talk::start(&server, &server.user(1), &channel, &["--seconds", "300"]);
    listener.connected();
    let mut speaker = Talk::start(&server, &server.user(0), &channel, &["--tone", "440", "--seconds", "300"]);
    speaker.connected();

    etcd.kill();
    // Somebody comes while nothing can be registered, and again when every lease would have ended.
    let mut guests = Vec::new();
    for n in [2, 3] {
        let mut guest = Talk::start(&server, &server.user(n), &channel, &["--seconds", "300"]);
        guest.connected();
        guests.push(guest);
        std::thread::sleep(ABSENCE / 2);
    }
    etcd.start_again();
    // A server that could not renew its lease is registered again and taken for a living one: it can be drained.
    let list = server.until_servers("everybody is on one of two", |servers| {
        servers.len() == 2 && servers.iter().any(|one| one["participants"] == 4)
    });
    let used = list.iter().find(|one| one["participants"] == 4).unwrap();
    server.ctl(&["drain", used["id"].as_str().unwrap()]);
    server.until_servers("the call is on the other server", |servers| {
        servers.iter().any(|one| one["participants"] == 4 && one["draining"] == false)
    });

    speaker.process.signal("INT");
    let said = speaker.report(WITHIN);
    listener.process.signal("INT");
    let heard = listener.report(WITHIN);
    let stream = Talk::stream(&heard, &server.user(0)).unwrap();
    assert_eq!((&said["reconnects"], &heard["reconnects"]), (&1.into(), &1.into()), "{said} {heard}");
    assert_eq!(stream["lost"], 0, "{heard}");
    let unheard = said["sent"].as_f64().unwrap() - stream["received"].as_f64().unwrap();
    println!("{unheard} of {} frames were not heard, all in the move at the end", said["sent"]);
    assert!(unheard <= 50.0, "{said} {heard}");
    for guest in &mut guests {
        guest.process.signal("INT");
        let heard = guest.report(WITHIN);
        assert_eq!(Talk::stream(&heard, &server.user(0)).unwrap()["lost"], 0, "{heard}");
    }
}

#[test]
fn a_list_of_guilds_that_cannot_be_read_back_is_refused_and_not_short() {
    let mut etcd = Etcd::start();
    let options = ["--registry", &etcd.url()];
    // Nobody has used the guild since it started, so that it is in the database only.
    let server = Server::start_with(1, &options).start_again(&options);
    etcd.kill();
    let user = server.user(0);
    let list =
        || wire::http(&server, Ipv4Addr::LOCALHOST, Some(&user.token), "GET /api/v10/users/@me/guilds", None);
    let refused = list();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body["message"].as_str().unwrap().contains("Try again"), "{refused:?}");
    etcd.start_again();
    // The server's connections come back in their own time.
    let start = Instant::now();
    let told = loop {
        let told = list();
        if told.status != 503 {
            break told;
        }
        assert!(start.elapsed() < WITHIN, "{told:?}");
    };
    assert_eq!((told.status, told.body[0]["id"].as_str()), (200, Some(server.guild())), "{told:?}");
}

#[test]
fn a_server_whose_registry_is_not_there_says_so() {
    let data = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(e2e::guildhall())
        .args([
            "up",
            "--registry",
            "etcd://127.0.0.1:1",
            "--http",
            "127.0.0.1:0",
            "--voice",
            "127.0.0.1:0",
            "--media",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(said.contains("registry at http://127.0.0.1:1") && said.contains("unavailable"), "{said}");
}
