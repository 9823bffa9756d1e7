//! The C library's heap of this process: it keeps what was freed, in case that it is needed again.

/// Bytes that are in use; none where the library does not say.
#[cfg(target_env = "gnu")]
pub fn heap_in_use() -> Option<u64> {
    // SAFETY: it takes nothing, and only counts.
    let info = unsafe { libc::mallinfo2() };
    Some((info.uordblks + info.hblkhd) as u64)
}

/// Gives whole pages that hold nothing back to the system, wherever they lie. Other threads that allocate wait meanwhile.
#[cfg(target_env = "gnu")]
pub fn trim_heap() {
    // SAFETY: it touches only what is free.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
pub fn heap_in_use() -> Option<u64> {
    None
}

#[cfg(not(target_env = "gnu"))]
pub fn trim_heap() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use crate::resident_of;

    use super::*;

    #[test]
    fn what_is_free_between_what_is_used_is_given_back() {
        const PIECES: usize = 4_000;
        let resident = || resident_of(std::process::id()).unwrap();
        let pieces = || (0..PIECES).map(|_| (vec![1_u8; 16_000], vec![1_u8; 100])).collect::<Vec<_>>();
        let (large, small): (Vec<_>, Vec<_>) = pieces().into_iter().unzip();
        let used = heap_in_use().unwrap();
        drop(large);
        let held = resident();
        assert!(heap_in_use().unwrap() < used - 16_000 * PIECES as u64 / 2);
        trim_heap();
        assert!(resident() < held - 16_000 * PIECES as u64 / 3, "{held} before, {} after", resident());
        drop(small);
    }
}
