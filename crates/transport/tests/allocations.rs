//! Sealing and opening allocate nothing: counted by the allocator itself.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rtp_wire::stun::{StunBuilder, StunMessage};
use transport::{
    DtlsRole, IceAgent, IceCredentials, Key, Mode, NonceCounter, ReplayWindow, Session, Srtp, SrtpProfile,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn counted(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert!(counted(|| drop(std::hint::black_box(vec![1u8; 100]))) > 0);
}

#[test]
fn packets_cost_no_allocation() {
    for mode in Mode::ALL {
        let key = Key::new([7; Key::LEN]);
        let mut client = Session::new(mode, &key, NonceCounter::client(0), [1; 16]);
        let mut server = Session::new(mode, &key, NonceCounter::server(0), [2; 16]);
        let mut window = ReplayWindow::new();
        let mut buf = [0u8; 256];
        let allocations = counted(|| {
            for seq in 0..100 {
                let header = rtp_wire::RtpHeader { seq, ..Default::default() };
                header.write(&[], &mut buf).expect("it fits");
                let len = client.seal_rtp(&mut buf, 132).expect("it is sealed");
                server.open_rtp(&mut buf[..len], &mut window).expect("it opens");
                rtp_wire::rtcp::write_receiver_report(rtp_wire::Ssrc(1), &[], &mut buf).expect("it fits");
                let len = client.seal_rtcp(&mut buf, 8).expect("it is sealed");
                server.open_rtcp(&mut buf[..len]).expect("it opens");
                // What does not authenticate costs none either.
                buf[len - 1] ^= 1;
                assert!(server.open_rtcp(&mut buf[..len]).is_err());
            }
        });
        assert_eq!(allocations, 0, "{mode}");
    }
}

#[test]
fn packets_of_browsers_cost_none_either() {
    for profile in SrtpProfile::ALL {
        let material = vec![7; profile.keying_material_len()];
        let mut client =
            Srtp::new(profile, &material, DtlsRole::Client).expect("it has the profile's length");
        let mut server =
            Srtp::new(profile, &material, DtlsRole::Server).expect("it has the profile's length");
        let mut window = ReplayWindow::new();
        let mut buf = [0u8; 256];
        let allocations = counted(|| {
            for seq in 0..100u16 {
                let header = rtp_wire::RtpHeader { seq, ..Default::default() };
                header.write(&[], &mut buf).expect("it fits");
                let index = rtp_wire::SeqNo(u64::from(seq));
                let len = client.seal_rtp(&mut buf, 132, index).expect("it is sealed");
                server.open_rtp(&mut buf[..len], &mut window).expect("it opens");
                let report = rtp_wire::rtcp::write_receiver_report(rtp_wire::Ssrc(seq.into()), &[], &mut buf);
                let len = client.seal_rtcp(&mut buf, report.expect("it fits")).expect("it is sealed");
                server.open_rtcp(&mut buf[..len]).expect("it opens");
                buf[6] ^= 1;
                assert!(server.open_rtcp(&mut buf[..len]).is_err());
                server.restore(server.state());
            }
        });
        assert_eq!(allocations, 0, "{profile}");
    }
}

#[test]
fn checks_cost_none_either() {
    let local = IceCredentials { ufrag: "ours".to_owned(), pwd: "a password of twenty-two".to_owned() };
    let agent = IceAgent::new(&local, "theirs");
    let allocations = counted(|| {
        for number in 0..100 {
            let mut buf = [0; 256];
            let mut request = StunBuilder::request([number; 12], &mut buf).expect("it fits");
            request.username("ours:theirs").expect("it fits");
            request.integrity(|_, _| [number; 20]).expect("it fits");
            let len = request.finish();
            let message = StunMessage::parse(&buf[..len]).expect("it is STUN");
            let reject = agent.verify(&message).expect_err("nobody knows the password");
            let mut out = [0; 128];
            assert_eq!(agent.write_error([number; 12], &reject, &mut out), Ok(None));
            let check = transport::IceCheck { nominated: true, transaction: [number; 12] };
            agent.write_success(&check, ([127, 0, 0, 1], 9).into(), &mut out).expect("it fits");
        }
    });
    assert_eq!(allocations, 0);
}
