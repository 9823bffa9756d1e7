//! Memory that the kernel writes to and that therefore must not move.

use std::ptr::NonNull;

/// A fixed array on the heap, reached only through pointers.
///
/// The message headers point into such arrays for as long as the batch lives. A `Box` or `Vec` would assert,
/// at every use, that nobody else points into it; this does not.
pub(crate) struct Pinned<T> {
    first: NonNull<T>,
    len: usize,
}

impl<T> Pinned<T> {
    pub(crate) fn new(len: usize, make: impl FnMut(usize) -> T) -> Self {
        let items: Box<[T]> = (0..len).map(make).collect();
        let first = NonNull::new(Box::into_raw(items).cast::<T>()).expect("a box is never null");
        Self { first, len }
    }

    /// Where item `at` lies. Valid as long as `self` lives.
    pub(crate) fn at(&self, at: usize) -> *mut T {
        assert!(at < self.len, "inside the array");
        // SAFETY: `at` is inside the allocation, as was just checked.
        unsafe { self.first.as_ptr().add(at) }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        let items = std::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len);
        // SAFETY: this is the allocation that `new` took out of its box, with its length, and nobody uses it
        // any more.
        drop(unsafe { Box::from_raw(items) });
    }
}

// SAFETY: a `Pinned` owns its items like a box; that they are reached through pointers changes nothing about
// who may.
unsafe impl<T: Send> Send for Pinned<T> {}
