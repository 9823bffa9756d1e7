use super::*;

#[test]
fn the_query_says_the_version() {
    let check = |query: &str, expect: Option<u8>| {
        assert_eq!(Version::from_query(query).map(Version::number), expect, "{query}");
    };
    check("v=4", Some(4));
    check("v=8", Some(8));
    check("encoding=json&v=9", Some(9));
    check("v=3", None);
    check("v=10", None);
    check("v=", None);
    check("v=4x", None);
    check("", None);
    check("ev=8", None);
}

#[test]
fn clients_frames_are_read_as_the_libraries_send_them() {
    let check = |text: &str, expect: Result<ClientFrame, FrameError>| {
        assert_eq!(ClientFrame::read(text), expect, "{text}");
    };
    let identify = Identify {
        server_id: GuildId(1),
        user_id: UserId(u64::MAX),
        session_id: "s".into(),
        token: "t".into(),
        channel_id: None,
        max_dave_protocol_version: Some(1),
    };
    // songbird: payload before opcode; browsers: video, streams and a null channel; discord.py: ids as integers.
    check(
        r#"{"d":{"max_dave_protocol_version":1,"server_id":"1","session_id":"s","token":"t","user_id":"18446744073709551615"},"op":0}"#,
        Ok(ClientFrame::Identify(identify.clone())),
    );
    check(
        r#"{"op":0,"d":{"server_id":1,"channel_id":null,"user_id":18446744073709551615,"session_id":"s","token":"t",
           "video":true,"streams":[{"type":"video","rid":"100","quality":100}],"max_dave_protocol_version":1}}"#,
        Ok(ClientFrame::Identify(identify)),
    );
    check(
        r#"{"op":1,"d":{"protocol":"webrtc","data":"a=ice","sdp":"a=ice","codecs":[]}}"#,
        Ok(ClientFrame::SelectProtocol(SelectProtocol {
            protocol: "webrtc".into(),
            data: None,
            sdp: Some("a=ice".into()),
            codecs: Some(vec![]),
        })),
    );
    // The fragment where only one of the two is there, and the codecs' word for Opus.
    for text in [r#"{"protocol":"webrtc","data":"a=x"}"#, r#"{"protocol":"webrtc","sdp":"a=x","data":null}"#]
    {
        let select: SelectProtocol = serde_json::from_str(text).unwrap();
        assert!(select.data.is_none() && select.codecs.is_none());
        assert_eq!(select.sdp.as_deref(), Some("a=x"));
    }
    let codecs = r#"{"protocol":"webrtc","codecs":[{"name":"VP8","payload_type":96},{"name":"opus","payload_type":109}]}"#;
    assert_eq!(serde_json::from_str::<SelectProtocol>(codecs).unwrap().opus(), Some(109));
    let bare = Heartbeat { nonce: 18_446_744_073_709_551_615_u64.into(), seq_ack: None };
    check(r#"{"d":18446744073709551615,"op":3}"#, Ok(ClientFrame::Heartbeat(bare)));
    let object = Heartbeat { nonce: 5.into(), seq_ack: Some(-1) };
    check(r#"{"op":3,"d":{"t":5,"seq_ack":-1}}"#, Ok(ClientFrame::Heartbeat(object)));
    let speaking = |speaking| Ok(ClientFrame::Speaking(ClientSpeaking { speaking, ssrc: Some(7) }));
    check(r#"{"op":5,"d":{"delay":0,"speaking":5,"ssrc":7,"user_id":null}}"#, speaking(5));
    check(r#"{"op":5,"d":{"delay":0,"speaking":true,"ssrc":7}}"#, speaking(1));
    check(r#"{"op":16,"d":{}}"#, Ok(ClientFrame::BackendVersion));
    check(r#"{"op":32}"#, Ok(ClientFrame::Other(Op::NoRoute)));
    check(r#"{"op":99,"d":1}"#, Err(FrameError::UnknownOp));
    check(r#"{"op":-1,"d":1}"#, Err(FrameError::UnknownOp));
    check(r#"{"op":2,"d":{}}"#, Err(FrameError::UnknownOp));
    check(r#"{"op":3,"d":{}}"#, Err(FrameError::Malformed));
    check(r#"{"op":3,"d":null}"#, Err(FrameError::Malformed));
    check(r#"{"op":"3","d":1}"#, Err(FrameError::Malformed));
    check(r#"{"op":0,"d":{"server_id":"1"}}"#, Err(FrameError::Malformed));
    check("{}", Err(FrameError::Malformed));
    check("", Err(FrameError::Malformed));
}

#[test]
fn what_one_side_writes_the_other_reads() {
    for version in [Version::V4, Version::V8] {
        let udp = UdpData { address: "1.2.3.4".into(), port: 5, mode: MODES[0].into() };
        let frames = [
            ClientFrame::SelectProtocol(SelectProtocol {
                protocol: "udp".into(),
                data: Some(udp),
                sdp: None,
                codecs: None,
            }),
            ClientFrame::Speaking(ClientSpeaking { speaking: 1, ssrc: Some(9) }),
            ClientFrame::Heartbeat(Heartbeat {
                nonce: 7.into(),
                seq_ack: version.is_numbered().then_some(3),
            }),
        ];
        for frame in frames {
            assert_eq!(ClientFrame::read(&frame.text(version)), Ok(frame));
        }
        let frames = [
            ServerFrame::Hello(Hello { v: version.number(), heartbeat_interval: HEARTBEAT_INTERVAL_MS }),
            ServerFrame::HeartbeatAck(7.into()),
            ServerFrame::Resumed,
            ServerFrame::ClientDisconnect(ClientDisconnect { user_id: UserId(3) }),
            ServerFrame::BackendVersion(BackendVersion { voice: "a".into(), rtc_worker: "b".into() }),
        ];
        for frame in frames {
            assert_eq!(ServerFrame::read(&frame.text(version, None)), Ok((frame, None)));
        }
    }
    let hello = r#"{"op":8,"d":{"heartbeat_interval":41250.0}}"#;
    assert_eq!(
        ServerFrame::read(hello),
        Ok((ServerFrame::Hello(Hello { v: 0, heartbeat_interval: 41_250 }), None))
    );
}

#[test]
fn the_version_governs_the_bytes() {
    let check = |frame: &ServerFrame, v4: &str, v8: &str| {
        assert_eq!(frame.text(Version::V4, Some(3)), v4);
        assert_eq!(frame.text(Version::V8, frame.op().is_replayable().then_some(3)), v8);
    };
    check(&ServerFrame::Resumed, r#"{"op":9,"d":null}"#, r#"{"op":9,"d":null}"#);
    check(&ServerFrame::HeartbeatAck(7.into()), r#"{"op":6,"d":7}"#, r#"{"op":6,"d":{"t":7}}"#);
    check(
        &ServerFrame::Speaking(ServerSpeaking { speaking: 1, ssrc: 2, user_id: UserId(3) }),
        r#"{"op":5,"d":{"speaking":1,"ssrc":2,"user_id":"3"}}"#,
        r#"{"op":5,"d":{"speaking":1,"ssrc":2,"user_id":"3"},"seq":3}"#,
    );
    check(
        &ServerFrame::Ready(Ready {
            ssrc: 1,
            ip: Ipv4Addr::LOCALHOST,
            port: 2,
            modes: vec![MODES[0].into()],
            experiments: vec![],
            streams: vec![],
        }),
        r#"{"op":2,"d":{"ssrc":1,"ip":"127.0.0.1","port":2,"modes":["aead_aes256_gcm_rtpsize"]}}"#,
        r#"{"op":2,"d":{"ssrc":1,"ip":"127.0.0.1","port":2,"modes":["aead_aes256_gcm_rtpsize"]}}"#,
    );
}

#[test]
fn keys_and_tokens_do_not_reach_a_log() {
    let text = format!("{:?}", SecretKey([77; 32]));
    assert!(!text.contains("77"));
    let resume = Resume {
        server_id: GuildId(1),
        session_id: "hidden".into(),
        token: "hidden".into(),
        channel_id: None,
        seq_ack: None,
    };
    assert!(!format!("{resume:?}").contains("hidden"));
}
