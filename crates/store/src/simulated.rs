//! What a simulation counts, and the bugs that it plants to prove that it would find them.
//!
//! Both are nothing unless this is built with the feature `simulation`, as `reservix-sim` is, and what is
//! built together with it for the tests. In a release the compiler removes them.

mod process;

#[cfg(feature = "simulation")]
mod kept {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    thread_local! {
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
        static SEEN: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Plants a bug into what runs on this thread, or none.
    pub fn plant(name: Option<&'static str>) {
        PLANTED.set(name);
    }

    /// How often each probe was met on this thread since this was asked.
    #[must_use]
    pub fn take_seen() -> BTreeMap<&'static str, u64> {
        SEEN.take()
    }

    pub(super) fn is_planted(name: &str) -> bool {
        PLANTED.get() == Some(name)
    }

    pub(super) fn see(what: &'static str) {
        SEEN.with_borrow_mut(|seen| *seen.entry(what).or_default() += 1);
    }
}

#[cfg(feature = "simulation")]
pub use crate::sqlite::Sqlite;
#[cfg(feature = "simulation")]
pub use crate::sqlite::simulated::{Content, ListSizes, Prompt};
#[cfg(feature = "simulation")]
pub use kept::{plant, take_seen};
pub use process::CommitOf;
#[cfg(feature = "simulation")]
pub use process::{
    CommitFault, Inline, disarm, fail_next, fired, has_crashed, is_durable, take_fired,
};
pub(crate) use process::{blocking, committing, keep_wal, note_durability, patience, time_since};

/// Notes that the code has come here.
#[inline]
#[cfg_attr(not(feature = "simulation"), expect(unused_variables, reason = "nobody asks"))]
pub fn probe(what: &'static str) {
    #[cfg(feature = "simulation")]
    kept::see(what);
}

/// Whether the bug of this name is planted.
#[inline]
#[must_use]
#[cfg_attr(not(feature = "simulation"), expect(unused_variables, reason = "nobody asks"))]
pub fn is_planted(name: &str) -> bool {
    #[cfg(feature = "simulation")]
    return kept::is_planted(name);
    #[cfg(not(feature = "simulation"))]
    false
}
