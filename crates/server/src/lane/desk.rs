//! Desks: where a lane puts the answers for all waiting requests of one thread, together.
//!
//! A batch answers hundreds. To wake each of them from the lane's thread costs a lock and often a call
//! of the system; here the lane wakes one task per thread, and that wakes its neighbours, which is
//! a push to a queue of its own.

use super::{Decided, Reply};
use engine::Error;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use store::simulated::is_planted;
use tokio::sync::Notify;

thread_local! {
    static HERE: RefCell<Option<Arc<Desk>>> = const { RefCell::new(None) };
}

type Answered = (Reply, Result<Decided, Error>);

/// The answers for those who wait on one thread.
#[derive(Default)]
pub struct Desk {
    brought: Mutex<Vec<Answered>>,
    news: Notify,
}

impl Desk {
    /// Opens the desk of this thread. What waits here is answered as long as [`Self::hand_out`] runs on it.
    #[must_use]
    pub fn open_here() -> Arc<Self> {
        let desk = Arc::new(Self::default());
        desk.serve_here();
        desk
    }

    /// From now on, what waits on this thread is answered over this desk.
    pub fn serve_here(self: &Arc<Self>) {
        HERE.set(Some(self.clone()));
    }

    /// The desk of this thread, if it has one.
    pub(super) fn here() -> Option<Arc<Self>> {
        HERE.with_borrow(Clone::clone)
    }

    /// Answers whatever is brought, for ever.
    pub async fn hand_out(self: Arc<Self>) {
        loop {
            self.news.notified().await;
            let mut brought = std::mem::take(&mut *self.brought.lock());
            if is_planted("an answer stays on its desk") && brought.len() > 1 {
                self.brought.lock().extend(brought.pop());
            }
            for (reply, decided) in brought {
                reply.send(decided);
            }
        }
    }

    fn bring(&self, answers: Vec<Answered>) {
        let mut brought = self.brought.lock();
        if brought.is_empty() {
            *brought = answers;
        } else {
            brought.extend(answers);
        }
        drop(brought);
        self.news.notify_one();
    }
}

/// Answers everybody, over their desks.
pub(super) fn answer_all(answers: impl Iterator<Item = Answered>) {
    let mut desks: Vec<(Arc<Desk>, Vec<Answered>)> = Vec::new();
    for (mut reply, decided) in answers {
        let Some(desk) = reply.desk.take() else {
            reply.send(decided);
            continue;
        };
        match desks.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &desk)) {
            Some((_, answers)) => answers.push((reply, decided)),
            None => desks.push((desk, vec![(reply, decided)])),
        }
    }
    for (desk, answers) in desks {
        desk.bring(answers);
    }
}
