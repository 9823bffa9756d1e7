//! Every bound of a shard, each with its because.

use std::time::Duration;

/// Legs of one shard. Because a snapshot of that many still fits one control frame
/// (`sfu_wire::FRAME_BYTES_MAX`), and one thread forwards for far fewer. A leg beyond it is refused.
pub const LEGS_MAX: usize = 20_000;

/// Bytes of one RTP payload. Because Opus never exceeds 1,275 bytes (RFC 6716 section 3.2.1) and what leaves
/// must fit a path of 1,500 bytes with header and the longest encryption overhead. A longer one is dropped as
/// `too_long`.
pub const PAYLOAD_BYTES_MAX: usize = 1_400;

/// Frames that are copied to their listeners together. Because a batch has 64 datagrams at most, and beyond some tens nothing is gained by company;
/// the next ones begin another lot.
pub const TOGETHER_MAX: usize = 32;

/// Bytes a slot of the sink must have: header, payload, overhead.
pub const DATAGRAM_BYTES_MAX: usize =
    rtp_wire::FIXED_HEADER_LEN + PAYLOAD_BYTES_MAX + transport::Mode::OVERHEAD_MAX;
const _: () = assert!(DATAGRAM_BYTES_MAX <= 1_472, "one packet fits one Ethernet frame");

/// Addresses a leg remembers having answered discovery to. Because a client has one path, rarely two, and a
/// duplicate must not push the claimed one out. The oldest is forgotten.
pub const ANSWERED_MAX: usize = 4;

/// How long an address stays its leg's after the last datagram from it, when another leg proves to be there.
/// Because native keepalives come every five seconds, and a client that came back on its old port must not
/// stay deaf.
pub const ADDRESS_HOLD: Duration = Duration::from_secs(10);

/// A leg's address follows its newest authenticated packet at most this often. Because a client sending over
/// two paths at once must not pull its downlink to and fro with every packet, while a changed network is
/// followed within a second.
pub const ADDRESS_CHANGE_INTERVAL: Duration = Duration::from_millis(500);

/// A jump in sequence numbers beyond this many is a restarted sender, not loss. Because it is ten seconds of
/// audio: nobody conceals that, and a receiver should not be told of it as loss.
pub const RESTART_GAP: u64 = 500;

/// Numbering of streams whose leg is gone, kept for a leg that comes back with the same SSRC. Because
/// rejoining takes seconds, and each costs less than 100 bytes. The oldest is forgotten, and its stream
/// starts anywhere.
pub const RETIRED_STREAMS_MAX: usize = 4_096;
/// See [`RETIRED_STREAMS_MAX`]; longer than signalling keeps a lost voice connection's media.
pub const RETIRED_FOR: Duration = Duration::from_secs(120);

/// Silence frames that end a burst of speech (the public protocol's number).
pub const SILENCE_FRAMES: u8 = 5;
/// Their distance.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(20);
/// The same in samples of the 48 kHz RTP clock.
pub const FRAME_SAMPLES: u32 = 960;

/// Someone cut off within this time of a frame was in the middle of a word. Because frames last at most 120
/// ms, and a packet may be late by a few tens of milliseconds.
pub const MID_WORD: Duration = Duration::from_millis(200);
/// Without a packet for this long nobody is speaking, with or without silence frames before.
pub const SPEECH_END: Duration = Duration::from_millis(250);

/// The first datagram to a leg whose keys and address are known. Because discord.py's reader otherwise sleeps
/// on the socket of its previous connection, while nothing may come before the discovery answer has been
/// read.
pub const PATH_KEEP_FIRST: Duration = Duration::from_millis(300);
/// And then every so often, to keep translated paths open.
pub const PATH_KEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Each interval is shortened by up to this much at random, to spread legs that came together.
pub const PATH_KEEP_SPREAD: Duration = Duration::from_secs(1);

/// It may go out this much early, together with one that is due. Because thousands of idle legs should wake the
/// thread a few times a second, not each by itself.
pub const PATH_KEEP_SLACK: Duration = Duration::from_millis(50);

/// Legs waiting to be told about, beyond which the ones that are gone are weeded out. Because each leg waits
/// at most once, so that more than this can only be the remains of legs that came and went while signalling
/// was not listening.
pub const NEWS_MAX: usize = 2 * LEGS_MAX;

/// With fewer nonces than this left for what we send to a leg its key is spent. Because it is looked at with every packet that keeps the path
/// open, a few seconds apart, and then signalling and the client need some more: 50,000 packets a second would use up so many in that time,
/// and no leg is sent a tenth of it.
pub const NONCES_SPENT: u32 = 1 << 18;
/// The same for what it sends itself: the cap on a sender for over a minute. No more than that, because who begins at random after we have
/// sent begins within it by chance: one join of 260,000, whose client is made to join anew for nothing.
pub const PEERS_NONCES_SPENT: u32 = 1 << 14;
const _: () = assert!(PEERS_NONCES_SPENT / SENDER_PACKETS_PER_S_DEFAULT > 60, "there is time to join anew");

/// Counters go up this often.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The cap when signalling names none: four times what 20 ms frames need.
pub const SENDER_PACKETS_PER_S_DEFAULT: u32 = 200;
/// Packets a sender may send at once, as parts of a second of its cap. Because a wireless path delivers a few
/// hundred milliseconds at a time after a stall.
pub const SENDER_BURST_S: u32 = 1;

/// Audio streams that a browser may send one after another under names of its own choosing. Because a page sends one; another begins only
/// when its sender is made anew, and each needs its predecessors remembered.
pub const BROWSER_STREAMS_MAX: usize = 16;
/// Streams that one browser is sent over the life of its transport. Because none may be forgotten, and a page that hears more than
/// this many people is joined anew long before.
pub const OUTGOING_STREAMS_MAX: usize = 4_096;
/// Absences that the state of a leg carries into another process. Because a room seldom had more streams; numbers of the others jump.
pub const ABSENCES_MAX: usize = 4_096;
/// How far behind the newest a packet may go out to a browser. Because it keeps at least so many in its replay window (RFC 3711
/// section 3.3.2).
pub const REORDER_MAX: u64 = 64;

/// The latest packets of a stream that are kept for listeners that lost some. Because at 20 ms each that is 1.3 s, and nobody waits that
/// long for sound. The oldest is forgotten.
pub const RECENT_PACKETS: usize = 64;
/// Bytes that they share, for each stream that a browser listens to. Because sound at 100 kbit/s fills it with as many packets; of what is
/// louder fewer are kept.
pub const RECENT_BYTES: usize = 16 << 10;
const _: () = assert!(RECENT_BYTES >= 10 * PAYLOAD_BYTES_MAX, "even of the longest packets some are kept");
/// Packets a second that are sent to one browser once more. Because it is as many as one stream has, and so whatever is asked for, nobody
/// is sent more than one stream's worth on top.
pub const RESENDS_PER_S: u32 = 50;
/// See [`RESENDS_PER_S`]. Because a short outage of the path is asked for at once.
pub const RESENDS_BURST_S: u32 = 1;
/// The same packet goes out again to a browser at most this often. Because asked for sooner the last answer may still be on its way.
pub const RESEND_INTERVAL: Duration = Duration::from_millis(20);
/// Numbers that are looked at in one datagram of requests. Because it is all that is kept of one stream, and a datagram could name
/// thousands.
pub const NACK_NUMBERS_MAX: usize = RECENT_PACKETS;

/// Packets missing from a browser's stream that are asked for at a time. Because older ones would come too late, see
/// [`MISSING_FOR`]. The oldest is given up.
pub const MISSING_MAX: usize = 16;
/// So long a missing packet is worth asking for. Because listeners do not hold back what follows for longer.
pub const MISSING_FOR: Duration = Duration::from_millis(200);
/// It is asked for again after the time that an answer takes, but at least this. Because every packet that arrives meanwhile would make
/// us ask.
pub const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// The time that an answer takes while nobody has measured it: a long way within a continent.
pub const ROUND_TRIP_GUESS: Duration = Duration::from_millis(60);
/// What is measured beyond this was not a path's time.
pub const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);
/// A packet is asked for this often. Because who lost it three times has no path for it.
pub const ASKS_MAX: u8 = 3;

/// Earlier frames that are taken from one packet of a browser with redundancy. Because a browser sends one or two, and each costs a copy to
/// everybody.
pub const RED_FRAMES_MAX: usize = 4;
/// A listener that says so often in a row
pub const RED_REPORTS: u8 = 2;
/// that it lost this many of 256 packets of a stream is sent it with redundancy from then on. Because 3 % is where loss is heard although
/// decoders conceal it, and one bad report may have been a short outage.
pub const RED_LOSS: u8 = 8;
/// Until it says so often in a row
pub const RED_REPORTS_OVER: u8 = 3;
/// that it lost fewer than this many of 256. Because of the distance a path at the limit does not change to and fro.
pub const RED_LOSS_OVER: u8 = 3;

/// DTLS datagrams a second that are carried for one leg. Because a whole handshake has a dozen from the browser, each repeated
/// at most every 50 ms, and every one costs signalling a wake-up.
pub const DTLS_PER_S: u32 = 20;
/// See [`DTLS_PER_S`].
pub const DTLS_BURST_S: u32 = 2;
/// DTLS datagrams that wait to be told to signalling. Because beyond it signalling is behind, and the browser repeats itself.
pub const DTLS_WAITING_MAX: usize = 256;
/// Bytes of one. Because it must fit any path.
pub const DTLS_BYTES_MAX: usize = 1_500;

/// A browser is told this often of the streams that it was sent and of its own. Because it is what browsers do among themselves for audio.
pub const BROWSER_REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// Reports in one datagram. Because with the encryption they must fit any path, at 28 bytes each.
pub const BROWSER_REPORTS_MAX: usize = 38;
/// Records in the page for streams, for each leg there is a place for: streams that browsers are sent, and streams that legs were away for.
/// Because most legs are in rooms with fewer speakers, and the others may have what these leave. When there is no more, a browser's leg cannot be
/// gone on with by another process, and who was away finds numbers jumped.
pub const STREAMS_PER_LEG: usize = 13;
/// Packets that a leg may have been sent beyond what was written of it, if its writer died in the middle of writing. Because nothing is sent
/// before what it follows from is written, a single one would do; a batch of datagrams is what is ever under way.
pub const TORN_JUMP: u16 = 64;

/// Addresses that a browser's checks came from and that are remembered. Because it checks one over UDP and one over TCP for each network that its
/// machine is in, and has seldom more than a few. The one that was silent for longest is forgotten.
pub const CHECKED_MAX: usize = 8;
/// Without anything for this long from a browser's address it may choose one that it could have chosen before. Because from a path in use something
/// comes more often, be it that consent is asked for only every five or six seconds.
pub const CHOICE_HOLD: Duration = Duration::from_secs(7);

/// Without anything authentic for this long a browser has withdrawn its consent to be sent to (RFC 7675 section 5.1).
pub const CONSENT: Duration = Duration::from_secs(30);

/// A frame of a browser's whose level is above this is sound, in dB below the loudest (RFC 6464 section 3). Because what is left of a quiet room
/// behind a browser's noise suppression is below it.
pub const SOUND_DBOV: u8 = 60;
