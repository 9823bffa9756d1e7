//! The fragments of SDP by which a browser and the voice server agree: a handful of lines each, not a session description.
//!
//! What a page leaves out is the same for everyone: it makes the whole description of both ends by itself (RFC 8866, RFC 8829), and only the
//! facts travel.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The hash of a DTLS certificate (RFC 8122 section 5). SHA-256 is what browsers use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Bytes of a user name fragment that is taken. RFC 8839 section 5.4 allows 256, browsers make up to 8.
pub const UFRAG_BYTES_MAX: usize = 32;
/// RFC 8839 section 5.4.
const UFRAG_BYTES_MIN: usize = 4;
const PWD_BYTES_MIN: usize = 22;
const PWD_BYTES_MAX: usize = 256;

/// A host candidate of RFC 6544 section 4.2: below every candidate of UDP by its type preference of 90, and passive by its direction preference
/// of 4, the highest of its kind.
const TCP_PRIORITY: u32 = (90 << 24) + (((4 << 13) + 0x1FFF) << 8) + 255;

const AUDIO_LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("a=ice-ufrag is missing or malformed")]
    Ufrag,
    #[error("a=ice-pwd is missing or malformed")]
    Pwd,
    #[error("a=fingerprint is missing, malformed or not sha-256")]
    Fingerprint,
    #[error("a=rtpmap of opus/48000/2 is missing or its payload type is impossible")]
    Opus,
    #[error("m=, c= or a=candidate is missing or malformed")]
    Address,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Fingerprint {
    /// The value of `a=fingerprint:`, its hash function in front.
    fn parse(value: &str) -> Option<Self> {
        let (hash, hex) = value.split_once(' ')?;
        if !hash.eq_ignore_ascii_case("sha-256") {
            return None;
        }
        let mut bytes = [0; 32];
        let mut pairs = hex.trim().split(':');
        for byte in &mut bytes {
            let pair =
                pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }
}

/// What a browser says of itself in SELECT PROTOCOL.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientFragment {
    pub ufrag: String,
    pub pwd: String,
    pub fingerprint: Fingerprint,
    /// The payload type it gave Opus.
    pub opus: u8,
    /// The payload type it gave RED (RFC 2198).
    pub red: Option<u8>,
    /// The identifier it gave the audio level extension (RFC 6464).
    pub audio_level: Option<u8>,
}

impl fmt::Debug for ClientFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientFragment")
            .field("ufrag", &self.ufrag)
            .field("opus", &self.opus)
            .finish_non_exhaustive()
    }
}

impl ClientFragment {
    /// `opus` is the payload type that the codecs beside the fragment name, for a client that writes no `a=rtpmap`.
    pub fn parse(text: &str, opus: Option<u8>) -> Result<Self, FragmentError> {
        let attribute = |name| attributes(text, name).next();
        let red = payload_type(text, "red/48000/2");
        Ok(Self {
            ufrag: token(attribute("ice-ufrag"), UFRAG_BYTES_MIN, UFRAG_BYTES_MAX)
                .ok_or(FragmentError::Ufrag)?,
            pwd: token(attribute("ice-pwd"), PWD_BYTES_MIN, PWD_BYTES_MAX).ok_or(FragmentError::Pwd)?,
            fingerprint: attributes(text, "fingerprint")
                .find_map(Fingerprint::parse)
                .ok_or(FragmentError::Fingerprint)?,
            opus: payload_type(text, "opus/48000/2")
                .or(opus.filter(|pt| is_dynamic(*pt)))
                .ok_or(FragmentError::Opus)?,
            red,
            audio_level: extension(text, AUDIO_LEVEL_URI),
        })
    }
}

/// The lines in the order in which a browser's offer has them.
impl fmt::Display for ClientFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ufrag, pwd, fingerprint, opus, red, audio_level } = self;
        writeln!(f, "a=extmap-allow-mixed")?;
        writeln!(f, "a=ice-ufrag:{ufrag}")?;
        writeln!(f, "a=ice-pwd:{pwd}")?;
        writeln!(f, "a=fingerprint:sha-256 {fingerprint}")?;
        if let Some(id) = audio_level {
            writeln!(f, "a=extmap:{id} {AUDIO_LEVEL_URI}")?;
        }
        if let Some(red) = red {
            writeln!(f, "a=rtpmap:{red} red/48000/2")?;
        }
        writeln!(f, "a=rtpmap:{opus} opus/48000/2")
    }
}

/// What the voice server says of itself in SESSION DESCRIPTION.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerFragment {
    /// Where media goes over UDP.
    pub address: SocketAddrV4,
    /// At the same address, for whoever gets no UDP through (RFC 6544).
    pub tcp_port: Option<u16>,
    pub ufrag: String,
    pub pwd: String,
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for ServerFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerFragment")
            .field("address", &self.address)
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ServerFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, tcp_port, ufrag, pwd, fingerprint } = self;
        let (ip, port) = (address.ip(), address.port());
        writeln!(f, "m=audio {port} ICE/SDP")?;
        writeln!(f, "a=fingerprint:sha-256 {fingerprint}")?;
        writeln!(f, "c=IN IP4 {ip}")?;
        writeln!(f, "a=ice-ufrag:{ufrag}")?;
        writeln!(f, "a=ice-pwd:{pwd}")?;
        // RFC 8839 section 5.1; the priority is that of a host candidate (RFC 8445 section 5.1.2.1).
        writeln!(f, "a=candidate:1 1 UDP 4261412862 {ip} {port} typ host")?;
        if let Some(port) = tcp_port {
            writeln!(f, "a=candidate:2 1 TCP {TCP_PRIORITY} {ip} {port} typ host tcptype passive")?;
        }
        Ok(())
    }
}

impl ServerFragment {
    pub fn parse(text: &str) -> Result<Self, FragmentError> {
        let attribute = |name| attributes(text, name).next();
        let line = |start| text.lines().find_map(|line| line.trim_end().strip_prefix(start));
        let port = line("m=audio ").and_then(|rest| rest.split(' ').next()?.parse::<u16>().ok());
        let ip = line("c=IN IP4 ").and_then(|rest| rest.trim().parse::<Ipv4Addr>().ok());
        Ok(Self {
            address: SocketAddrV4::new(
                ip.ok_or(FragmentError::Address)?,
                port.ok_or(FragmentError::Address)?,
            ),
            tcp_port: attributes(text, "candidate").find_map(passive_port),
            ufrag: token(attribute("ice-ufrag"), UFRAG_BYTES_MIN, UFRAG_BYTES_MAX)
                .ok_or(FragmentError::Ufrag)?,
            pwd: token(attribute("ice-pwd"), PWD_BYTES_MIN, PWD_BYTES_MAX).ok_or(FragmentError::Pwd)?,
            fingerprint: attributes(text, "fingerprint")
                .find_map(Fingerprint::parse)
                .ok_or(FragmentError::Fingerprint)?,
        })
    }
}

/// The port of a candidate that takes connections (RFC 6544 section 4.5).
fn passive_port(candidate: &str) -> Option<u16> {
    let words: Vec<&str> = candidate.split(' ').collect();
    let is_passive = words.get(2)?.eq_ignore_ascii_case("tcp") && words.ends_with(&["tcptype", "passive"]);
    is_passive.then(|| words.get(5)?.parse().ok())?
}

/// The values of `a=name:…`.
fn attributes<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |line| line.trim_end().strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

/// Of ICE characters (RFC 8839 section 5.4), so that what we make of it is as well-formed.
fn token(value: Option<&str>, min: usize, max: usize) -> Option<String> {
    let value = value?;
    let fits = (min..=max).contains(&value.len());
    (fits && value.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/')))
        .then(|| value.to_owned())
}

fn payload_type(text: &str, encoding: &str) -> Option<u8> {
    attributes(text, "rtpmap").find_map(|value| {
        let (number, name) = value.split_once(' ')?;
        let number = number.parse().ok().filter(|number| is_dynamic(*number))?;
        name.trim().eq_ignore_ascii_case(encoding).then_some(number)
    })
}

/// A payload type that is neither a static one nor taken for RTCP (RFC 5761 section 4).
fn is_dynamic(number: u8) -> bool {
    matches!(number, 35..=63 | 96..=127)
}

fn extension(text: &str, uri: &str) -> Option<u8> {
    attributes(text, "extmap").find_map(|value| {
        let (id, rest) = value.split_once(' ')?;
        // The direction, if there is one, is not ours to mind: what we do not get we do not need.
        let id = id.split('/').next()?.parse().ok().filter(|id| (1..=14).contains(id))?;
        (rest.split(' ').next()? == uri).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "sha-256 71:20:00:FF:AA:0b:0c:0d:0e:0f:10:11:12:13:14:15:16:17:18:19:1a:1b:1c:1d:1e:1f:20:21:22:23:24:25";

    fn browser() -> String {
        format!(
            "a=extmap-allow-mixed\na=ice-ufrag:9WZo\na=ice-pwd:vcfFowC3gQI1KHu0Fm5ZTXum\na=ice-options:trickle\na=fingerprint:{FINGERPRINT}\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\na=extmap:1/sendonly urn:ietf:params:rtp-hdrext:ssrc-audio-level\n\
             a=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\na=rtpmap:96 VP8/90000\na=rtpmap:97 rtx/90000"
        )
    }

    #[test]
    fn a_browsers_fragment() {
        let fragment = ClientFragment::parse(&browser(), None).unwrap();
        assert_eq!((fragment.ufrag.as_str(), fragment.pwd.as_str()), ("9WZo", "vcfFowC3gQI1KHu0Fm5ZTXum"));
        assert_eq!((fragment.opus, fragment.red, fragment.audio_level), (111, Some(63), Some(1)));
        assert_eq!(fragment.fingerprint.0[..6], [0x71, 0x20, 0, 0xFF, 0xAA, 0x0B]);
        let text = format!("{fragment:?}");
        assert!(!text.contains("vcfFow"), "{text}");
    }

    #[test]
    fn a_browsers_is_read_as_we_write_it() {
        let full = ClientFragment::parse(&browser(), None).unwrap();
        let bare = ClientFragment { red: None, audio_level: None, ..full.clone() };
        for fragment in [full, bare] {
            assert_eq!(ClientFragment::parse(&fragment.to_string(), None), Ok(fragment));
        }
    }

    #[track_caller]
    fn check(change: impl Fn(String) -> String, opus: Option<u8>, expect: Result<u8, FragmentError>) {
        let fragment = ClientFragment::parse(&change(browser()), opus);
        assert_eq!(fragment.map(|fragment| fragment.opus), expect);
    }

    #[test]
    fn what_is_missing_or_impossible_is_named() {
        let replace = |from: &'static str, to: &'static str| move |text: String| text.replace(from, to);
        check(replace("a=ice-ufrag:9WZo", ""), None, Err(FragmentError::Ufrag));
        check(replace("9WZo", "9 Zo"), None, Err(FragmentError::Ufrag));
        check(replace("9WZo", "abc"), None, Err(FragmentError::Ufrag));
        check(replace("5ZTXum", ""), None, Err(FragmentError::Pwd));
        check(replace("sha-256", "sha-1"), None, Err(FragmentError::Fingerprint));
        check(replace("FF:AA", "FFAA"), None, Err(FragmentError::Fingerprint));
        check(replace("24:25", "24:25:26"), None, Err(FragmentError::Fingerprint));
        check(replace("24:25", "24:+5"), None, Err(FragmentError::Fingerprint));
        check(replace("opus/48000/2", "opus/48000/1"), None, Err(FragmentError::Opus));
        check(replace(":111 opus", ":72 opus"), None, Err(FragmentError::Opus));
        check(replace("opus/48000/2", "PCMU/8000"), Some(109), Ok(109));
        check(replace("opus/48000/2", "PCMU/8000"), Some(5), Err(FragmentError::Opus));
        check(replace("opus", "OPUS"), Some(109), Ok(111));
        check(replace("a=extmap:1/sendonly", "a=extmap:15"), None, Ok(111));
    }

    #[test]
    fn nothing_that_a_client_writes_is_a_fault_of_ours() {
        for text in [
            "",
            "a=",
            "a=ice-ufrag",
            "a=ice-ufrag:",
            "a=fingerprint:sha-256 ",
            "a=rtpmap:",
            "a=extmap: ",
            "\0\n\u{1F600}a=x",
        ] {
            assert!(ClientFragment::parse(text, Some(111)).is_err());
            assert!(ServerFragment::parse(text).is_err());
        }
    }

    #[test]
    fn ours_is_read_as_it_is_written() {
        let fragment = ServerFragment {
            address: "192.0.2.7:50001".parse().unwrap(),
            tcp_port: None,
            ufrag: "abcd".into(),
            pwd: "0123456789012345678901".into(),
            fingerprint: Fingerprint([0xAB; 32]),
        };
        let text = fragment.to_string();
        assert_eq!(ServerFragment::parse(&text), Ok(fragment.clone()));
        assert!(text.starts_with("m=audio 50001 ICE/SDP\na=fingerprint:sha-256 AB:AB:"), "{text}");
        assert!(text.ends_with("a=candidate:1 1 UDP 4261412862 192.0.2.7 50001 typ host\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("c=IN IP4 192.0.2.7")).count(), 1);

        let both = ServerFragment { tcp_port: Some(8_443), ..fragment };
        let more = both.to_string();
        assert_eq!(ServerFragment::parse(&more), Ok(both));
        assert_eq!(
            more.strip_prefix(&text),
            Some("a=candidate:2 1 TCP 1520435199 192.0.2.7 8443 typ host tcptype passive\n")
        );
    }
}
