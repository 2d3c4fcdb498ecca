//! An allocator that counts: what this process has now, and the most it had since it was asked.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's, with every byte counted.
pub(crate) struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    /// Bytes in use. From here on [`most`](Self::most) is counted anew.
    pub(crate) fn mark() -> usize {
        let now = NOW.load(Ordering::SeqCst);
        MOST.store(now, Ordering::SeqCst);
        now
    }

    /// The most bytes in use at a time since the last mark.
    pub(crate) fn most() -> usize {
        MOST.load(Ordering::SeqCst)
    }
}

// SAFETY: everything is handed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(now, Ordering::SeqCst);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: it came from `alloc` above with this layout, thus from the system's.
        unsafe { System.dealloc(place, layout) }
    }
}
