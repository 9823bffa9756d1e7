//! What the kernel runs for each datagram.
//!
//! It begins where the UDP header does, and returns how many bytes are let through: all or none.

use super::Maps;
use super::assembler::Operation::{Add, Move, ShiftRight};
use super::assembler::Size::{Byte, Double, Half, Word};
use super::assembler::Test::{Equal, Greater, GreaterOrEqual, NotEqual};
use super::assembler::{Assembler, FRAME, Instruction, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use crate::limits::{SHIELD_ELSEWHERE_PER_S, SHIELD_INTRODUCTIONS_PER_S, SHIELD_STRANGERS_PER_S};

/// Why something is dropped, and where it is counted.
#[derive(Debug, Clone, Copy)]
pub enum Reason {
    Malformed = 0,
    Stranger = 1,
    Introduction = 2,
    Elsewhere = 3,
}
pub const REASONS: usize = 4;

/// What is shared by all who are not known.
#[derive(Debug, Clone, Copy)]
enum Budget {
    Strangers = 0,
    Introductions = 1,
}
pub const BUDGETS: u32 = 2;

/// The kernel's functions.
mod function {
    pub const MAP_LOOKUP: i32 = 1;
    pub const NOW_NS: i32 = 5;
    pub const LOAD_BYTES: i32 = 26;
    pub const LOAD_BYTES_RELATIVE: i32 = 68;
}

/// Of `struct __sk_buff`.
const LEN: i16 = 0;
const PROTOCOL: i16 = 16;
/// `ETH_P_IP`, as it lies in memory in network order.
const IPV4: i32 = 0x0008;
const FROM_NETWORK_HEADER: i32 = 1;
const IPV4_SOURCE: i32 = 12;
const IPV6_SOURCE: i32 = 8;
const UDP_HEADER: i32 = 8;

// The stack, below its end.
/// The address it comes from, as a key of 20 bytes.
const ADDRESS: i16 = -24;
const MAPPED: i16 = ADDRESS + 10;
const ADDRESS_V4: i16 = ADDRESS + 12;
const PORT: i16 = ADDRESS + 16;
/// The first 12 bytes of what it carries.
const HEAD: i16 = -40;
const STREAM: i16 = -44;
/// An attribute's header, and the first 8 bytes of it.
const NAME: i16 = -60;
const INDEX: i16 = -64;

/// A stretch of time is so many bits of nanoseconds: 134 ms.
const STRETCH_BITS: i32 = 27;

/// No datagram is as short as this but keepalives, and those of strangers are of no use.
const SHORT_MAX: i32 = 16;
const STUN_HEADER: i32 = 20;
const DISCOVERY: i32 = 74;

/// What may come in one stretch.
const fn in_a_stretch(per_s: u64) -> i32 {
    ((per_s << STRETCH_BITS as u64) / 1_000_000_000) as i32
}

/// A word of a packet as it is loaded.
const fn word(bytes: [u8; 4]) -> i32 {
    i32::from_ne_bytes(bytes)
}

const fn half(bytes: [u8; 2]) -> i32 {
    u16::from_ne_bytes(bytes) as i32
}

struct Program<'a> {
    code: Assembler,
    maps: &'a Maps,
    pass: Label,
    deny: Label,
}

pub fn assemble(maps: &Maps) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let (pass, deny) = (code.label(), code.label());
    let mut program = Program { code, maps, pass, deny };
    program.write();
    program.code.finish()
}

impl Program<'_> {
    /// R6 is the datagram, R7 why it is dropped if it is, R8 its length, R9 a bucket.
    fn write(&mut self) {
        let (pass, deny) = (self.pass, self.deny);
        let [stranger, check, introduction, known, real_time, control, look_up] =
            std::array::from_fn(|_| self.code.label());
        self.code.register(Move, R6, R1);

        self.source();
        self.look_up(self.maps.addresses.fd(), ADDRESS);
        self.code.jump_if(R0, NotEqual, 0, pass);

        self.code.value(Move, R7, Reason::Malformed as i32);
        self.code.load(Word, R8, R6, LEN);
        self.code.value(Add, R8, -UDP_HEADER);
        // Less than a header cannot be; were it, it would count as very much.
        self.code.jump_if(R8, Greater, i32::from(u16::MAX), deny);
        let long = self.code.label();
        self.code.jump_if(R8, Greater, SHORT_MAX, long);
        self.code.jump(deny);
        self.code.put(long);
        self.load_bytes(UDP_HEADER, HEAD, 12);
        self.code.jump_if(R0, NotEqual, 0, deny);
        self.code.load(Byte, R1, FRAME, HEAD);
        self.code.jump_if(R1, Greater, 191, deny);
        self.code.jump_if(R1, GreaterOrEqual, 128, real_time);
        self.code.jump_if(R1, Greater, 63, deny);
        // DTLS of nobody whose checks were answered; of before version 1.3 it says so.
        self.code.jump_if(R1, GreaterOrEqual, 32, stranger);
        let no_dtls = self.code.label();
        self.code.load(Byte, R2, FRAME, HEAD + 1);
        self.code.jump_if(R2, NotEqual, 0xFE, no_dtls);
        self.code.jump_if(R1, GreaterOrEqual, 20, stranger);
        self.code.put(no_dtls);
        self.code.jump_if(R1, Greater, 3, deny);
        self.code.load(Word, R1, FRAME, HEAD + 4);
        let no_stun = self.code.label();
        // The whole register is compared with a sign that the number does not have.
        self.code.jump_if(R1, NotEqual, word([0x21, 0x12, 0xA4, 0x42]), no_stun);
        self.code.jump_if(R8, GreaterOrEqual, STUN_HEADER, check);
        self.code.put(no_stun);
        self.code.jump_if(R8, NotEqual, DISCOVERY, deny);
        self.code.load(Word, R1, FRAME, HEAD);
        self.code.jump_if(R1, NotEqual, word([0, 1, 0, 70]), deny);
        self.look_up(self.maps.streams.fd(), HEAD + 4);
        self.code.jump_if(R0, Equal, 0, introduction);
        self.code.jump(known);

        self.code.put(check);
        self.name(introduction);
        self.code.jump_if(R0, Equal, 0, introduction);
        self.code.jump(known);

        self.code.put(real_time);
        self.code.load(Byte, R1, FRAME, HEAD + 1);
        self.code.load(Word, R2, FRAME, HEAD + 8);
        self.code.jump_if(R1, Greater, 223, look_up);
        self.code.jump_if(R1, GreaterOrEqual, 192, control);
        self.code.jump(look_up);
        self.code.put(control);
        self.code.load(Word, R2, FRAME, HEAD + 4);
        self.code.put(look_up);
        self.code.store(Word, FRAME, STREAM, R2);
        self.look_up(self.maps.streams.fd(), STREAM);
        self.code.jump_if(R0, Equal, 0, stranger);

        self.code.put(known);
        self.code.value(Move, R7, Reason::Elsewhere as i32);
        self.take_from_bucket(SHIELD_ELSEWHERE_PER_S);
        self.code.jump(pass);

        self.code.put(stranger);
        self.code.value(Move, R7, Reason::Stranger as i32);
        self.budget(Budget::Strangers, SHIELD_STRANGERS_PER_S);
        self.code.jump(pass);

        self.code.put(introduction);
        self.code.value(Move, R7, Reason::Introduction as i32);
        self.budget(Budget::Introductions, SHIELD_INTRODUCTIONS_PER_S);

        self.code.put(pass);
        self.code.value(Move, R0, i32::MAX);
        self.code.exit();

        self.code.put(deny);
        self.code.store_value(Word, FRAME, INDEX, 0);
        self.look_up(self.maps.drops.fd(), INDEX);
        let end = self.code.label();
        self.code.jump_if(R0, Equal, 0, end);
        self.code.value(Move, R1, 1);
        for reason in [Reason::Malformed, Reason::Stranger, Reason::Introduction, Reason::Elsewhere] {
            let another = self.code.label();
            self.code.jump_if(R7, NotEqual, reason as i32, another);
            self.code.add_atomically(R0, 8 * reason as i16, R1);
            self.code.put(another);
        }
        self.code.put(end);
        self.code.value(Move, R0, 0);
        self.code.exit();
    }

    /// Where it comes from, as a key.
    fn source(&mut self) {
        let (v4, port) = (self.code.label(), self.code.label());
        for at in [0, 8] {
            self.code.store_value(Double, FRAME, ADDRESS + at, 0);
        }
        self.code.store_value(Word, FRAME, PORT, 0);
        self.code.load(Word, R7, R6, PROTOCOL);
        self.code.jump_if(R7, Equal, IPV4, v4);
        self.load_network_bytes(IPV6_SOURCE, ADDRESS, 16);
        self.code.jump(port);
        self.code.put(v4);
        self.code.store_value(Half, FRAME, MAPPED, 0xFFFF);
        self.load_network_bytes(IPV4_SOURCE, ADDRESS_V4, 4);
        self.code.put(port);
        self.load_bytes(0, PORT, 2);
    }

    /// The name by which a browser's check calls us, if it comes first, as a key; else a key that nobody has.
    fn name(&mut self, stranger: Label) {
        self.load_bytes(UDP_HEADER + STUN_HEADER, NAME, 12);
        self.code.jump_if(R0, NotEqual, 0, stranger);
        self.code.load(Half, R1, FRAME, NAME);
        self.code.jump_if(R1, NotEqual, half([0, 6]), stranger);
        self.look_up(self.maps.names.fd(), NAME + 4);
    }

    fn budget(&mut self, budget: Budget, per_s: u64) {
        self.code.store_value(Word, FRAME, INDEX, budget as i32);
        self.look_up(self.maps.budgets.fd(), INDEX);
        self.code.jump_if(R0, Equal, 0, self.pass);
        self.take_from_bucket(per_s);
    }

    /// The bucket is at R0. Cores that take from it at once may take one too many.
    fn take_from_bucket(&mut self, per_s: u64) {
        let same = self.code.label();
        self.code.register(Move, R9, R0);
        self.code.call(function::NOW_NS);
        self.code.value(ShiftRight, R0, STRETCH_BITS);
        self.code.load(Double, R1, R9, 0);
        self.code.jump_if_registers(R1, Equal, R0, same);
        self.code.store(Double, R9, 0, R0);
        self.code.store_value(Double, R9, 8, 0);
        self.code.put(same);
        self.code.load(Double, R1, R9, 8);
        self.code.jump_if(R1, GreaterOrEqual, in_a_stretch(per_s), self.deny);
        self.code.value(Add, R1, 1);
        self.code.store(Double, R9, 8, R1);
    }

    fn stack(&mut self, register: u8, at: i16) {
        self.code.register(Move, register, FRAME);
        self.code.value(Add, register, at.into());
    }

    /// The value's address is at R0 then, or zero.
    fn look_up(&mut self, map: i32, key: i16) {
        self.code.map(R1, map);
        self.stack(R2, key);
        self.code.call(function::MAP_LOOKUP);
    }

    /// Zero is at R0 then if there are as many.
    fn load_bytes(&mut self, from: i32, to: i16, len: i32) {
        self.bytes(from, to, len);
        self.code.call(function::LOAD_BYTES);
    }

    fn load_network_bytes(&mut self, from: i32, to: i16, len: i32) {
        self.bytes(from, to, len);
        self.code.value(Move, R5, FROM_NETWORK_HEADER);
        self.code.call(function::LOAD_BYTES_RELATIVE);
    }

    /// Which bytes of the datagram to load, and where to.
    fn bytes(&mut self, from: i32, to: i16, len: i32) {
        self.code.register(Move, R1, R6);
        self.code.value(Move, R2, from);
        self.stack(R3, to);
        self.code.value(Move, R4, len);
    }
}
