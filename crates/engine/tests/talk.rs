//! Whole participants against a server in the same process: real sockets, real time, real sound.
#![allow(clippy::unwrap_used)]

mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::talk::{TalkError, TalkOptions, TalkReport, TalkSource, run};
use engine::{
    Client, ClientConfig, ClientEvent, ConnectionState, GatewayConfig, MediaConfig, Play, Token, Trust,
    analysis, audio,
};
use model::{ChannelId, UserId};
use server::{CHANNEL, GUILD, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use transport::Mode;

fn options(server: &Server, user: u64, source: TalkSource) -> TalkOptions {
    let token = Token::new(format!("user-{user}"));
    let options = TalkOptions::new(&server.http, token, GUILD, CHANNEL);
    TalkOptions { source, ca: Some(server.ca.clone()), ..options }
}

/// Somebody who stays until told to leave.
struct Guest {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<TalkReport, TalkError>>,
}

impl Guest {
    fn enter(options: TalkOptions) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(options, async move { drop(stopped.await) }));
        Self { stop, task }
    }

    async fn leave(self) -> TalkReport {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap()
    }
}

fn speech() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/speech.opus")
}

#[tokio::test]
async fn speech_arrives_as_it_was_said_and_pauses_are_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let record = dir.path().join("heard");
    let listener = Guest::enter(TalkOptions {
        record: Some(record.clone()),
        ..options(&server, 2, TalkSource::Nothing)
    });
    server.happened("media 2", 1).await;

    let said = run(options(&server, 1, TalkSource::File(speech())), std::future::pending()).await.unwrap();
    let heard = listener.leave().await;

    let original = audio::load(&speech()).unwrap();
    let frames = original.len() as u64 / 960;
    let stream = &heard.streams[0];
    assert_eq!((heard.streams.len(), stream.user, stream.lost), (1, Some(UserId(1)), 0));
    assert_eq!(stream.received, said.sent);
    assert!(said.bursts >= 2 && said.sent < frames - 20, "{} of {frames} frames sent", said.sent);
    assert!(said.silence_packets >= 5 * said.bursts);
    assert!(said.join_bytes <= 1_000 && said.joined_ms > 0.0 && said.reconnects == 0, "{said:?}");

    let recorded = audio::load(&record.join("1.wav")).unwrap();
    let likeness = analysis::compare(&original, &recorded);
    assert!(likeness.fraction >= 0.95, "{likeness:?}");
    assert_eq!(audio::load(&record.join("mix.wav")).unwrap().len(), recorded.len());
    let likeness = analysis::compare(&original, &audio::load(&record.join("mix.wav")).unwrap());
    assert!(likeness.fraction >= 0.95, "{likeness:?}");
}

#[tokio::test]
async fn every_rung_of_the_ladder_is_climbed_and_the_listener_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let listener = Guest::enter(options(&server, 2, TalkSource::Nothing));
    server.happened("media 2", 1).await;
    let speaker = Guest::enter(options(&server, 1, TalkSource::Tone { hz: 440.0 }));
    server.happened("speaking 1 1", 1).await;

    server.cut_voice(1);
    server.happened("voice resume Some(3)", 1).await;
    server.happened("speaking 1 1", 2).await;
    server.close_voice(1, 4009);
    server.happened("voice resume Some(3)", 2).await;
    server.cut_gateway(1);
    server.happened("gateway resume 7", 1).await;
    // The session is forgotten: identify again with the same token.
    server.close_voice(1, 4006);
    server.happened("voice identify 1", 2).await;
    server.happened("media 1", 2).await;
    // The server does not take us: ask the gateway for one, because it does not answer a wish that is fulfilled.
    server.close_voice(1, 4011);
    server.happened("ping 1", 1).await;
    server.happened("voice identify 1", 3).await;
    server.happened("media 1", 3).await;
    // A new server while connected.
    server.migrate(1);
    server.happened("voice identify 1", 4).await;
    server.happened("media 1", 4).await;

    let said = speaker.leave().await;
    let heard = listener.leave().await;
    server.happened("leave 1", 1).await;
    assert_eq!(said.reconnects, 5);
    let stream = &heard.streams[0];
    assert_eq!((heard.streams.len(), stream.lost), (1, 0), "{heard:?}");
    assert_eq!(stream.received, said.sent);
}

#[tokio::test]
async fn every_encryption_carries_a_tone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    for (i, mode) in Mode::ALL.into_iter().enumerate() {
        let (speaking, listening) = (10 + i as u64, 20 + i as u64);
        let record = dir.path().join(mode.name());
        let encrypted =
            |user, source| TalkOptions { encryption: Some(mode), ..options(&server, user, source) };
        let listener = Guest::enter(TalkOptions {
            record: Some(record.clone()),
            ..encrypted(listening, TalkSource::Nothing)
        });
        server.happened(&format!("media {listening}"), 1).await;
        let speaker = TalkOptions {
            seconds: Some(0.6),
            ..encrypted(speaking, TalkSource::Tone { hz: 500.0 + 100.0 * i as f32 })
        };
        let said = run(speaker, std::future::pending()).await.unwrap();
        let heard = listener.leave().await;
        assert_eq!((said.mode, heard.mode), (mode.name(), mode.name()));
        assert_eq!((heard.streams[0].lost, heard.dropped_datagrams), (0, 0), "{heard:?}");
        let recorded = audio::load(&record.join(format!("{speaking}.wav"))).unwrap();
        let tone = analysis::strongest_tones(&recorded, 1)[0];
        assert!((tone.hz - (500.0 + 100.0 * i as f32)).abs() < 2.0, "{tone:?} by {mode}");
    }
}

#[tokio::test]
async fn without_a_voice_server_the_client_waits_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.set_no_endpoint(true);
    let trust = Trust::only(&server.ca).unwrap();
    let url = engine::gateway_url(&server.http, &trust).await.unwrap();
    let (client, mut events) = Client::join(ClientConfig {
        gateway: GatewayConfig { url, token: Token::new("user-1"), trust, all_dispatches: false },
        guild: GUILD,
        channel: CHANNEL,
        encryption: None,
        self_mute: false,
        self_deaf: false,
        patience: Duration::from_secs(10),
        media: MediaConfig { play: Play::Nothing, ..MediaConfig::default() },
    })
    .unwrap();
    let mut states = Vec::new();
    while states.last() != Some(&ConnectionState::Connected) {
        match events.recv().await.unwrap() {
            ClientEvent::State(state) => {
                states.push(state);
                if state == ConnectionState::AwaitingEndpoint {
                    server.set_no_endpoint(false);
                }
            }
            ClientEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    assert_eq!(
        states,
        [ConnectionState::AwaitingEndpoint, ConnectionState::Connecting, ConnectionState::Connected]
    );
    assert!(client.leave().await.is_some());
}

#[tokio::test]
async fn failures_are_said_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let good = options(&server, 1, TalkSource::Nothing);
    let check = async |options: TalkOptions, expect: &str| {
        let error = run(options, std::future::pending()).await.unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(TalkOptions { token: Token::new("wrong"), ..good.clone() }, "the server refused the token").await;
    let elsewhere = TalkOptions { channel: ChannelId(9), patience: Duration::from_secs(1), ..good.clone() };
    check(elsewhere, "does not exist or you may not join it (no answer in 1 s)").await;
    check(TalkOptions { server: "http://127.0.0.1:1".into(), ..good.clone() }, "cannot be reached").await;
    check(TalkOptions { server: "gopher".into(), ..good.clone() }, "is no URL").await;
    check(TalkOptions { source: TalkSource::File("/nowhere.wav".into()), ..good.clone() }, "/nowhere.wav")
        .await;
    check(TalkOptions { ca: Some("/nowhere.pem".into()), ..good.clone() }, "/nowhere.pem").await;
    let unoffered = TalkOptions { encryption: Some(Mode::Aes256Gcm), ..good.clone() };
    check(unoffered, "does not offer the encryption aead_aes256_gcm").await;
    if !cfg!(feature = "devices") {
        check(TalkOptions { source: TalkSource::Microphone, ..good.clone() }, "without sound devices").await;
    }
    let kicked = Guest::enter(good);
    server.happened("media 1", 1).await;
    server.kick(1);
    let error = kicked.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("disconnected from the channel"), "{error}");
}
