//! Steps: a count of requests over several proxies, and a fault at the k-th.
//!
//! A sweep runs the same story again and again, with the fault at its first request, at its
//! second, and so on, until a run ends before the fault:
//!
//! ```text
//! for k in 1.. {
//!     steps.arm(k, Action::CutAfter);
//!     run_the_story_and_check_the_invariants();
//!     if !steps.fired() { break; }
//! }
//! ```

use std::sync::Arc;

use parking_lot::Mutex;

/// What happens at the chosen step.
pub enum Action {
    /// The chunk is not forwarded, and its connection is reset.
    CutBefore,
    /// The chunk is forwarded, the server has 50 ms to act on it, and the connection is reset
    /// before any of the reply is read.
    CutAfter,
    /// This is called, on a thread of its own, before the chunk is forwarded.
    Call(Box<dyn FnOnce() + Send>),
}

/// A counter that several proxies share; clones are the same counter.
#[derive(Clone, Default)]
pub struct Steps {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Chunks since the last arming, or since the beginning.
    count: usize,
    armed: Option<(usize, Action)>,
    fired: bool,
}

impl Steps {
    /// A counter without a fault.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the count anew: `action` happens at the `k`-th chunk from now, the first being 1.
    ///
    /// A chunk is what one read gets of what a client sends: a request, for one that sends each
    /// in one write and waits for the reply.
    pub fn arm(&self, k: usize, action: Action) {
        assert!(k > 0, "the first chunk is number 1");
        *self.state.lock() = State { count: 0, armed: Some((k, action)), fired: false };
    }

    /// The chunks seen since the last arming, or since the beginning.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().count
    }

    /// Whether the armed action has begun.
    #[must_use]
    pub fn fired(&self) -> bool {
        self.state.lock().fired
    }

    /// Takes back the action, if it has not happened yet; the count goes on.
    pub fn disarm(&self) {
        self.state.lock().armed = None;
    }

    /// Counts a chunk that is about to be forwarded, and returns the action if it is its turn.
    pub(crate) fn step(&self) -> Option<Action> {
        let mut state = self.state.lock();
        state.count += 1;
        let count = state.count;
        let (_, action) = state.armed.take_if(|(k, _)| *k == count)?;
        state.fired = true;
        Some(action)
    }
}
