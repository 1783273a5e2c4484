//! Panics of what runs in a simulation, also those that a task of it catches.

use crate::check::words_of;
use std::cell::RefCell;

/// What the gate panics with where it is made to.
pub const INJECTED: &str = "a panic of the gate";

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes each panic, and says nothing.
pub fn watch() {
    std::panic::set_hook(Box::new(|info| {
        let words = words_of(info.payload());
        if !words.ends_with(INJECTED) {
            FIRST.with_borrow_mut(|first| {
                first.get_or_insert(words);
            });
        }
    }));
}

/// The first on this thread since this was asked, but for those that were injected.
pub fn take() -> Option<String> {
    FIRST.take()
}
