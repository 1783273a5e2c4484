//! Huge pages of memory: not before the process has started.
//!
//! The allocator asks the kernel for huge pages, which make a sale faster. Each thread's first small
//! allocations would take one of 2 MB, too: twenty megabytes, next to empty. So they get small pages, and
//! what is asked for after the start gets huge ones.

/// Asks for small pages from now on.
pub fn refuse() {
    set(true);
}

/// Takes huge pages again.
pub fn allow() {
    set(false);
}

#[cfg(target_os = "linux")]
fn set(refused: bool) {
    // A kernel that cannot do this gives what it would have given.
    let _ = rustix::thread::disable_transparent_huge_pages(refused);
}

#[cfg(not(target_os = "linux"))]
fn set(_: bool) {}
