//! Sealing and opening allocate nothing: counted by the allocator itself.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use transport::{Key, Mode, NonceCounter, ReplayWindow, Session};

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
