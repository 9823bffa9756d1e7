//! Bodies for fuzzers, one a parser. None of them may panic, whatever the bytes; the committed corpora under
//! `corpus/<body>/` are replayed by an ordinary test.

use crate::{
    AudioLevel, DiscoveryRequest, DiscoveryResponse, Extensions, Kind, Packet, RtpError, RtpHeader, SeqNo,
    SeqUnwrapper, red, rtcp,
    stun::{self, StunBuilder, StunMessage},
};

pub fn fuzz_classify(data: &[u8]) {
    let kind = crate::classify(data);
    // The dispatcher and the parsers must agree, or a packet would be dropped for a reason that is not its
    // own.
    match kind {
        Kind::Discovery => assert!(DiscoveryRequest::parse(data).is_some()),
        Kind::Ping => assert!(crate::parse_ping(data).is_some()),
        Kind::Rtp => assert!(matches!(RtpHeader::parse(data), Ok(_) | Err(RtpError::TooShort))),
        Kind::Rtcp => assert!(rtcp::peek_ssrc(data).is_some()),
        Kind::Stun | Kind::Dtls | Kind::Keepalive | Kind::Unknown => {}
    }
}

pub fn fuzz_rtp(data: &[u8]) {
    if let Ok(header) = RtpHeader::parse(data) {
        assert!(header.rtpsize_len() <= 12 + 60 + 4);
    }
    let Ok(packet) = Packet::parse(data) else { return };
    assert_eq!(packet.payload(), &data[packet.payload_range()]);
    assert_eq!(packet.payload_range().end + packet.padding_len(), data.len());
    assert_eq!(packet.csrcs().len(), usize::from(packet.header.csrc_count));
    if let Some(extensions) = packet.extensions() {
        fuzz_block(extensions);
    }
    let csrcs: [_; 15] = std::array::from_fn(|at| packet.csrcs().nth(at).unwrap_or_default());
    let mut buf = [0; 72];
    let len = packet
        .header
        .write(&csrcs[..packet.csrcs().len()], &mut buf)
        .expect("the longest header has 72 bytes");
    assert_eq!(buf[..len], data[..len], "what was read is written alike");
}

pub fn fuzz_extensions(data: &[u8]) {
    for profile in [0xBEDE, 0x1000, 0x100F, 0x1234] {
        fuzz_block(Extensions { profile, body: data });
    }
}

fn fuzz_block(extensions: Extensions<'_>) {
    let total: usize = extensions.iter().map(|element| element.data.len() + 1).sum();
    assert!(total <= extensions.body.len());
    for element in extensions.iter() {
        assert!(extensions.get(element.id).is_some());
        if let Some(level) = AudioLevel::parse(element.data) {
            assert_eq!(level.write(), element.data);
        }
    }
}

pub fn fuzz_rtcp(data: &[u8]) {
    use rtcp::Rtcp;
    for packet in rtcp::packets(data) {
        let Ok(packet) = packet else { return };
        // Everything lazy is driven to its end.
        let items = match packet {
            Rtcp::SenderReport(report) => report.blocks().count(),
            Rtcp::ReceiverReport(report) => report.blocks().count(),
            Rtcp::Sdes(sdes) => sdes.cname().map_or(0, |(_, name)| name.len()),
            Rtcp::Bye(bye) => bye.sources().count(),
            Rtcp::Nack(nack) => nack.seqs().count() / 17,
            Rtcp::TransportCc(feedback) => feedback.body.len(),
            Rtcp::Fir(fir) => fir.requests().count(),
            Rtcp::Remb(remb) => remb.sources().count(),
            Rtcp::Pli { .. } => 0,
            Rtcp::Other { body, .. } => body.len(),
        };
        assert!(items <= data.len());
    }
}

pub fn fuzz_stun(data: &[u8]) {
    let Ok(message) = StunMessage::parse(data) else { return };
    if data[0] <= 3 {
        assert_eq!(crate::classify(data), Kind::Stun);
    }
    assert!(message.unknown_required().types().len() <= stun::UNKNOWN_NAMED_MAX);
    let _ = (message.priority(), message.use_candidate(), message.error_code(), message.fingerprint_ok());
    assert!(message.integrity().is_none_or(|integrity| integrity.body.len() + 44 <= data.len()));
    let mut buf = [0; 1024];
    let (name, mapped) = (message.username().unwrap_or_default(), message.xor_mapped_address());
    let built = rebuild(&message, &name[..name.floor_char_boundary(500)], &mut buf);
    let again = StunMessage::parse(&buf[..built.expect("it is shorter than the buffer")])
        .expect("what we write we read");
    assert_eq!(again.fingerprint_ok(), Some(true));
    assert_eq!(again.transaction_id(), message.transaction_id());
    assert_eq!((again.controlling(), again.controlled()), (message.controlling(), message.controlled()));
    assert_eq!(again.xor_mapped_address(), mapped.map(|at| (at.ip().to_canonical(), at.port()).into()));
}

fn rebuild(message: &StunMessage<'_>, name: &str, buf: &mut [u8]) -> Result<usize, crate::NoRoom> {
    let mut builder = StunBuilder::request(message.transaction_id(), buf)?;
    builder.username(name)?;
    message.controlling().map_or(Ok(()), |number| builder.controlling(number))?;
    message.controlled().map_or(Ok(()), |number| builder.controlled(number))?;
    message.xor_mapped_address().map_or(Ok(()), |at| builder.xor_mapped_address(at))?;
    builder.integrity(|_, _| [0; stun::MAC_LEN])?;
    builder.fingerprint()?;
    Ok(builder.finish())
}

pub fn fuzz_red(data: &[u8]) {
    let blocks = red::blocks(data);
    let total: usize = blocks.clone().map(|block| block.data.len()).sum();
    let headers = blocks.count() * 4;
    // The header of the primary block is three bytes shorter than the others.
    assert!(headers == 0 || headers - 3 + total == data.len());
    assert_eq!(red::primary(data).is_some(), headers > 0);
}

pub fn fuzz_discovery(data: &[u8]) {
    let request = DiscoveryRequest::parse(data);
    let response = DiscoveryResponse::parse(data);
    assert!(request.is_none() || response.is_none());
    if let Some(response) = response {
        let mut buf = [0; crate::DISCOVERY_LEN];
        response.write(&mut buf).expect("the buffer has the one length there is");
        let again = DiscoveryResponse::parse(&buf).expect("what we write we read");
        assert_eq!(
            (again.ssrc, again.ip, again.port),
            (response.ssrc, response.ip.to_canonical(), response.port)
        );
    }
    let _ = crate::parse_ping(data);
}

pub fn fuzz_opus(data: &[u8]) {
    if let Some(samples) = crate::packet_samples(data) {
        assert!((1..=crate::MAX_PACKET_SAMPLES).contains(&samples));
    }
}

pub fn fuzz_seq(data: &[u8]) {
    let mut unwrapper = SeqUnwrapper::default();
    let mut highest = SeqNo(0);
    for pair in data.as_chunks::<2>().0 {
        let wire = u16::from_be_bytes(*pair);
        let seq = unwrapper.unwrap(wire);
        assert_eq!(seq.wire(), wire);
        highest = highest.max(seq);
        assert_eq!(unwrapper.highest(), Some(highest));
    }
}

/// One body.
pub type Body = fn(&[u8]);

/// Every body by the name of its corpus.
pub const ALL: [(&str, Body); 9] = [
    ("classify", fuzz_classify),
    ("rtp", fuzz_rtp),
    ("extensions", fuzz_extensions),
    ("rtcp", fuzz_rtcp),
    ("stun", fuzz_stun),
    ("red", fuzz_red),
    ("discovery", fuzz_discovery),
    ("opus", fuzz_opus),
    ("seq", fuzz_seq),
];
