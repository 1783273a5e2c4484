//! Huge pages of memory: not before the process has started.
//!
//! The allocator asks the kernel for huge pages, which make a sale faster. Each thread's first small
//! allocations would take one of 2 MB, too: twenty megabytes, next to empty. So they get small pages, and
//! what is asked for after the start gets huge ones.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this process refused them itself, and did not inherit that from its parent.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Asks for small pages from now on.
#[cfg(target_os = "linux")]
pub fn refuse() {
    use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};
    // A kernel that cannot do this gives what it would have given.
    let done = transparent_huge_pages_are_disabled() == Ok(false)
        && disable_transparent_huge_pages(true).is_ok();
    REFUSED.store(done, Ordering::Relaxed);
}

/// Takes huge pages again.
#[cfg(target_os = "linux")]
pub fn allow() {
    if REFUSED.swap(false, Ordering::Relaxed) {
        let _ = rustix::thread::disable_transparent_huge_pages(false);
    }
}

#[cfg(not(target_os = "linux"))]
pub fn refuse() {}

#[cfg(not(target_os = "linux"))]
pub fn allow() {}
