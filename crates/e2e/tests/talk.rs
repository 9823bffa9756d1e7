//! Our own client, through every role: what is said arrives whole, and nothing is sent while nothing is said.

use std::process::Command;
use std::time::Duration;

use e2e::{Server, Talk, speech};
use serde_json::Value;

/// The share of the original's active frames that must be in the recording (log-mel spectra of 20 ms frames, aligned, correlation of 0.8
/// or more; another sentence scores below 0.3).
const FRAMES_MATCHED_MIN: f64 = 0.95;

fn compare(original: &std::path::Path, heard: &std::path::Path) -> Value {
    let out = Command::new(e2e::guildhall())
        .arg("compare")
        .arg(original)
        .arg(heard)
        .output()
        .expect("compare starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("compare prints JSON")
}

#[test]
fn speech_arrives_whole_and_nothing_is_sent_in_its_pauses() {
    let server = Server::start(3);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let original = speech(folder.path());
    let recordings = folder.path().join("heard");
    let recordings_text = recordings.to_str().expect("a temporary path is UTF-8");
    let channel = server.voice_channel(0);
    let (speaker, listener) = (server.user(0), server.user(1));

    let mut hearing = Talk::start(&server, &listener, &channel, &["--record", recordings_text]);
    hearing.connected();
    let mut speaking =
        Talk::start(&server, &speaker, &channel, &["--play", original.to_str().expect("UTF-8")]);
    let said = speaking.report(Duration::from_secs(90));
    hearing.process.signal("INT");
    let heard = hearing.report(Duration::from_secs(30));

    let stream =
        Talk::stream(&heard, &speaker).unwrap_or_else(|| panic!("the speaker was not heard: {heard}"));
    assert_eq!(stream["lost"], 0, "{heard}");
    assert_eq!(stream["received"], said["sent"], "every packet sent is one received: {said} {heard}");
    // The speech has a pause of 1.5 s in it: more than one burst, and fewer packets than 20 ms frames in the file.
    assert!(said["bursts"].as_u64() >= Some(2), "{said}");
    let wav = std::fs::metadata(&original).expect("the speech is a file").len();
    // espeak-ng writes 22,050 samples a second of two bytes.
    let frames = wav as f64 / 44_100.0 * 50.0;
    let sent = said["sent"].as_f64().expect("a number");
    assert!(sent < frames * 0.95, "{sent} packets for a file of {frames} frames with a pause in it");

    let result = compare(&original, &recordings.join(format!("{}.wav", speaker.id)));
    println!("{result} {said} {heard}");
    assert!(result["fraction"].as_f64() >= Some(FRAMES_MATCHED_MIN), "{result}");
    // The measure can tell: the mix of a call in which nobody speaks matches nothing.
    let silence = folder.path().join("silence");
    let mut alone = Talk::start(
        &server,
        &listener,
        &server.voice_channel(1),
        &["--record", silence.to_str().expect("UTF-8"), "--seconds", "1"],
    );
    alone.report(Duration::from_secs(30));
    let nothing = compare(&original, &silence.join("mix.wav"));
    assert!(nothing["fraction"].as_f64() < Some(0.3), "{nothing}");
}

#[test]
fn every_encryption_mode_carries_a_call_in_both_directions() {
    let server = Server::start(2);
    let channel = server.voice_channel(0);
    let modes = [
        "aead_aes256_gcm_rtpsize",
        "aead_xchacha20_poly1305_rtpsize",
        "xsalsa20_poly1305_lite_rtpsize",
        "xsalsa20_poly1305_lite",
        "xsalsa20_poly1305_suffix",
        "xsalsa20_poly1305",
    ];
    for (n, mode) in modes.iter().enumerate() {
        // Each mode speaks to another one: the relay opens with one and seals with the other.
        let other = modes[(n + 1) % modes.len()];
        let start = |user: usize, mode: &str, hz: &str| {
            Talk::start(
                &server,
                &server.user(user),
                &channel,
                &["--tone", hz, "--encryption", mode, "--seconds", "3"],
            )
        };
        let (mut a, mut b) = (start(0, mode, "440"), start(1, other, "660"));
        let (a, b) = (a.report(Duration::from_secs(30)), b.report(Duration::from_secs(30)));
        for (report, speaker, own) in [(&a, server.user(1), *mode), (&b, server.user(0), other)] {
            assert_eq!(report["mode"], own, "{report}");
            let stream =
                Talk::stream(report, &speaker).unwrap_or_else(|| panic!("{own} heard nobody: {report}"));
            assert_eq!(stream["lost"], 0, "{own}: {report}");
            assert!(stream["received"].as_u64() > Some(50), "{own}: {report}");
        }
    }
}

#[test]
fn wrong_tokens_channels_and_servers_are_told_in_words() {
    let server = Server::start(2);
    let talk = |token: &str, channel: &str, address: &str| {
        let out = Command::new(e2e::guildhall())
            .args([
                "talk",
                "--server",
                address,
                "--token",
                token,
                "--guild",
                server.guild(),
                "--channel",
                channel,
            ])
            .arg("--ca")
            .arg(server.ca())
            .args(["--seconds", "1"])
            .output()
            .expect("talk starts");
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let token = server.user(1).token;
    let check = |token: &str, channel: &str, address: &str, expect: &str| {
        let (ok, words) = talk(token, channel, address);
        assert!(!ok && words.contains(expect), "expected {expect:?}, got {words:?}");
    };
    check("nonsense", &server.voice_channel(0), server.http(), "token");
    check(&token, "1", server.http(), "channel");
    check(&token, &server.voice_channel(0), "http://127.0.0.1:9", "127.0.0.1:9");
}
