//! Media over TCP on the voice port, with the relay's real process behind it: who is let in, how many, and what becomes of the slow. That
//! sound comes through is tested with the whole server.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use client_wire::fragment::ServerFragment;
use client_wire::voice::ServerFrame;
use cluster_wire::voice::{OrderKind, Participant, Rights};
use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{SessionId, UserId};
use rtp_wire::stun::{StunBuilder, StunMessage};
use sha1::Sha1;
use support::{Client, PATIENCE, ROOM, Server, close_code, frame, send, start_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use voice::limits::{
    HANDSHAKE_TIMEOUT, ICE_TCP_FRAME_BYTES_MAX, ICE_TCP_PER_LEG_MAX, UNAUTHENTICATED_MAX,
    UNAUTHENTICATED_PER_ADDRESS_MAX, WRITE_TIMEOUT,
};

/// The relay of these tests is this very program, started again with the relay's arguments in its environment.
#[test]
fn relay_process() {
    let Ok(arguments) = std::env::var("RELAY_ARGUMENTS") else { return };
    let code = sfu::run(arguments.split(' ').map(str::to_owned));
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

async fn start() -> Server {
    let program = std::env::current_exe().unwrap();
    // The shell's first argument is its name.
    let script =
        format!(r#"RELAY_ARGUMENTS="$0 $*" exec {} relay_process --exact --nocapture"#, program.display());
    let server = start_with(&script, |_| {}).await.unwrap();
    timeout(PATIENCE, server.handle.ready()).await.expect("the relay starts");
    server
}

/// A browser's voice connection: what the server said of its end.
async fn select(server: &Server, n: u64) -> (Client, ServerFragment) {
    let (user, session) = (UserId(n), SessionId(u128::from(n)));
    let rights = Rights { speak: true, hear: true, video: true, priority: false };
    server.order(OrderKind::Put(Participant { user, session, channel: ROOM, rights, memo: None })).await;
    let mut client = server.connect("?v=8").await.unwrap();
    send(&mut client, server.identify_as(user, session)).await;
    let fingerprint = vec!["AB"; 32].join(":");
    let fragment = format!(
        r"a=ice-ufrag:page\na=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 {fingerprint}\na=rtpmap:111 opus/48000/2"
    );
    send(&mut client, format!(r#"{{"op":1,"d":{{"protocol":"webrtc","data":"{fragment}"}}}}"#)).await;
    loop {
        if let ServerFrame::WebRtcDescription(description) = frame(&mut client).await {
            return (client, ServerFragment::parse(&description.sdp).unwrap());
        }
    }
}

fn check(ufrag: &str, pwd: &str) -> Vec<u8> {
    let mut buf = [0; 200];
    let mut request = StunBuilder::request([7; 12], &mut buf).unwrap();
    request.username(&format!("{ufrag}:page")).unwrap();
    request.priority(1).unwrap();
    request.controlling(5).unwrap();
    request.use_candidate().unwrap();
    request
        .integrity(|header, body| {
            let mut mac = Hmac::<Sha1>::new_from_slice(pwd.as_bytes()).unwrap();
            mac.update(header);
            mac.update(body);
            mac.finalize().into_bytes().into()
        })
        .unwrap();
    request.fingerprint().unwrap();
    let len = request.finish();
    buf[..len].to_vec()
}

fn good_check(server: &ServerFragment) -> Vec<u8> {
    check(&server.ufrag, &server.pwd)
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&u16::try_from(packet.len()).unwrap().to_be_bytes(), packet].concat()
}

/// `buffers` is what the kernel keeps at this end.
async fn connect_from(from: Ipv4Addr, to: SocketAddr, buffers: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = buffers {
        socket.set_recv_buffer_size(bytes).unwrap();
        socket.set_send_buffer_size(bytes).unwrap();
    }
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    timeout(PATIENCE, socket.connect(to)).await.expect("the voice port listens").unwrap()
}

fn door(fragment: &ServerFragment) -> SocketAddr {
    SocketAddr::from((*fragment.address.ip(), fragment.tcp_port.unwrap()))
}

async fn connect(fragment: &ServerFragment) -> TcpStream {
    connect_from(Ipv4Addr::LOCALHOST, door(fragment), None).await
}

/// The next frame; `None` when the connection has ended.
async fn receive(tcp: &mut TcpStream) -> Option<Vec<u8>> {
    let read = async {
        let mut packet = vec![0; usize::from(tcp.read_u16().await.ok()?)];
        tcp.read_exact(&mut packet).await.ok()?;
        Some(packet)
    };
    timeout(PATIENCE, read).await.expect("an answer or an end")
}

/// Whether a good check is answered.
async fn is_answered(tcp: &mut TcpStream, fragment: &ServerFragment) -> bool {
    if tcp.write_all(&framed(&good_check(fragment))).await.is_err() {
        return false;
    }
    let Some(packet) = receive(tcp).await else { return false };
    let answer = StunMessage::parse(&packet).unwrap();
    assert!(answer.is_binding_success());
    // Of the local socket that carries it: nobody's address is told to anybody.
    let mapped = answer.xor_mapped_address().unwrap();
    assert_ne!(Some(mapped), tcp.local_addr().ok());
    mapped.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)
}

#[tokio::test]
async fn checks_and_websockets_come_through_one_door() {
    let server = start().await;
    let (mut first, fragment) = select(&server, 1).await;
    assert_eq!(door(&fragment).to_string(), server.handle.endpoint());
    let mut tcp = connect(&fragment).await;
    assert!(is_answered(&mut tcp, &fragment).await);
    // Two at once, cut in the middle of a length, with nothing between them but a frame that means nothing.
    let both = [framed(&good_check(&fragment)), vec![0, 0], framed(&good_check(&fragment))].concat();
    for part in both.chunks(both.len() - 121) {
        tcp.write_all(part).await.unwrap();
        tcp.flush().await.unwrap();
    }
    for _ in 0..2 {
        assert!(StunMessage::parse(&receive(&mut tcp).await.unwrap()).unwrap().is_binding_success());
    }
    let (_second, other) = select(&server, 2).await;
    let mut also = connect(&other).await;
    assert!(is_answered(&mut also, &other).await);
    send(&mut first, r#"{"op":3,"d":{"t":1,"seq_ack":1}}"#).await;
    while !matches!(frame(&mut first).await, ServerFrame::HeartbeatAck(_)) {}
    server.handle.shutdown().await;
    assert_eq!(receive(&mut tcp).await, None, "it ends with the server");
}

#[tokio::test]
async fn who_knows_no_password_is_closed_without_a_word() {
    let server = start().await;
    let (_client, fragment) = select(&server, 1).await;
    let good = good_check(&fragment);
    let mut changed = good.clone();
    changed[30] ^= 1;
    let too_long = u16::try_from(ICE_TCP_FRAME_BYTES_MAX + 1).unwrap().to_be_bytes().to_vec();
    let indication = [&[0, 0x11, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[5; 12]].concat();
    let discovery = [&[0, 1, 0, 70][..], &[0; 70]].concat();
    let strangers = [
        ("a wrong password", framed(&check(&fragment.ufrag, "wrong"))),
        ("a wrong name", framed(&check("nobody", &fragment.pwd))),
        ("a changed check", framed(&changed)),
        ("a check cut short", framed(&good[..good.len() - 8])),
        ("no check", framed(&[0x80; 60])),
        ("a handshake", framed(&[22; 60])),
        ("an indication", framed(&indication)),
        ("a discovery", framed(&discovery)),
        ("nothing", framed(&[])),
        ("too much", too_long),
    ];
    for (what, bytes) in strangers {
        let mut tcp = connect(&fragment).await;
        tcp.write_all(&bytes).await.unwrap();
        let mut heard = Vec::new();
        let _ =
            timeout(PATIENCE, tcp.read_to_end(&mut heard)).await.unwrap_or_else(|_| panic!("{what} stays"));
        assert!(heard.is_empty(), "{what}: {heard:?}");
    }
    // One who was let in and then goes wrong ends as well.
    let mut tcp = connect(&fragment).await;
    assert!(is_answered(&mut tcp, &fragment).await);
    tcp.write_all(&[0xFF; 4]).await.unwrap();
    assert_eq!(receive(&mut tcp).await, None);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_leg_has_so_many_connections_and_no_more() {
    let server = start().await;
    let (mut client, fragment) = select(&server, 1).await;
    let mut all = Vec::new();
    for _ in 0..ICE_TCP_PER_LEG_MAX {
        let mut tcp = connect(&fragment).await;
        assert!(is_answered(&mut tcp, &fragment).await);
        all.push(tcp);
    }
    let mut more = connect(&fragment).await;
    assert!(!is_answered(&mut more, &fragment).await);
    let (_other, fragment_of_other) = select(&server, 2).await;
    let mut others = connect(&fragment_of_other).await;
    assert!(is_answered(&mut others, &fragment_of_other).await, "it is nobody else's matter");
    all.pop();
    let answered = async {
        // The server notices the end when it next looks at the connection.
        while !is_answered(&mut connect(&fragment).await, &fragment).await {}
    };
    timeout(PATIENCE, answered).await.expect("a place is given back");
    // Without its leg a password is no longer one.
    server.order(OrderKind::Remove { user: UserId(1), session: SessionId(1) }).await;
    close_code(&mut client).await;
    let mut late = connect(&fragment).await;
    assert!(!is_answered(&mut late, &fragment).await);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_connection_outlives_the_relay() {
    let server = start().await;
    let (_client, fragment) = select(&server, 1).await;
    let mut tcp = connect(&fragment).await;
    assert!(is_answered(&mut tcp, &fragment).await);
    let pid = server.handle.sfu_after(0).await.unwrap();
    let killed = std::process::Command::new("kill").arg("-9").arg(pid.to_string()).status().unwrap();
    assert!(killed.success());
    timeout(PATIENCE, server.handle.sfu_after(pid)).await.expect("a successor starts");
    // It waits in the kernel until the successor, told of everything, reads it. A check that is read before that is lost, and repeated.
    let answered = async {
        loop {
            tcp.write_all(&framed(&good_check(&fragment))).await.unwrap();
            let answer = timeout(Duration::from_millis(500), tcp.read_u16()).await;
            if let Ok(len) = answer {
                return len.expect("the connection lasts");
            }
        }
    };
    assert!(timeout(PATIENCE, answered).await.expect("the successor answers") > 0);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn thousands_that_say_nothing_keep_nobody_out_and_do_not_stay() {
    /// From so many addresses, each a hundred more than it may.
    const ADDRESSES: usize = 6;
    const EACH: usize = UNAUTHENTICATED_PER_ADDRESS_MAX as usize + 100;
    const _: () = assert!(ADDRESSES * (UNAUTHENTICATED_PER_ADDRESS_MAX as usize) < UNAUTHENTICATED_MAX);
    let server = start().await;
    let (_client, fragment) = select(&server, 1).await;
    let mut idle = Vec::new();
    for n in 0..ADDRESSES * EACH {
        let from = Ipv4Addr::new(127, 0, 2, 1 + (n % ADDRESSES) as u8);
        let mut tcp = connect_from(from, door(&fragment), None).await;
        // Nothing; half a length; the beginning of a long frame; the beginning of TLS.
        let begin: &[u8] = [&b""[..], b"\x00", b"\x05\x00\x00\x01", b"\x16\x03\x01\x02"][n % 4];
        // One too many may be gone already.
        let _ = tcp.write_all(begin).await;
        idle.push(tcp);
    }
    let (_late, fragment_of_late) = select(&server, 2).await;
    let mut tcp = connect(&fragment_of_late).await;
    assert!(is_answered(&mut tcp, &fragment_of_late).await);
    for mut tcp in idle {
        let mut heard = Vec::new();
        let end = timeout(HANDSHAKE_TIMEOUT + PATIENCE, tcp.read_to_end(&mut heard)).await;
        assert!(end.is_ok(), "it is still there");
    }
    assert!(is_answered(&mut tcp, &fragment_of_late).await, "and who is known stays");
    server.handle.shutdown().await;
}

#[tokio::test]
async fn who_takes_nothing_is_dropped_and_who_brings_much_is_slowed() {
    let server = start().await;
    let (_client, fragment) = select(&server, 1).await;
    let (_other, fragment_of_other) = select(&server, 2).await;
    let mut honest = connect(&fragment_of_other).await;
    assert!(is_answered(&mut honest, &fragment_of_other).await);
    let mut greedy = connect_from(Ipv4Addr::LOCALHOST, door(&fragment), Some(4_096)).await;
    let check = framed(&good_check(&fragment));
    // It asks and asks and never reads an answer: first the kernel's room is full, then ours, and then it takes too long.
    let started = std::time::Instant::now();
    let asked = async {
        let mut asked = 0;
        while greedy.write_all(&check).await.is_ok() {
            asked += 1;
        }
        asked
    };
    let honest_meanwhile = async {
        loop {
            assert!(is_answered(&mut honest, &fragment_of_other).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let asked = tokio::select! {
        asked = timeout(WRITE_TIMEOUT + 2 * PATIENCE, asked) => asked.expect("it is dropped"),
        () = honest_meanwhile => unreachable!("it goes on for ever"),
    };
    // As many as the pace allows, and what lay in the kernel's buffers when it ended.
    let paced = started.elapsed().as_secs() as usize * 600 + 300;
    assert!(asked < paced + 2_000, "{asked} in {:?}", started.elapsed());
    server.handle.shutdown().await;
}
