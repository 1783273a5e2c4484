//! Large answers: the limit of their total memory, from before they are written until their last
//! byte is sent.
//!
//! An answer of more than [`SMALL_BYTES_MAX`] needs room. It is reserved for the maximum length of
//! the answer, and the unused part is released once the answer is written. The rest is held by the
//! bytes themselves: a client that reads slowly holds it for as long as it reads, and one that
//! reads nothing until the connection is closed after `WRITE_TIMEOUT_SECONDS`. When there is no
//! room for [`ROOM_WAIT`], the request is answered with 503.

use super::problem::Problem;
use axum::body::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much all large answers may take together.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Answers of at most this size need no room: the connections bound how many there are.
pub const SMALL_BYTES_MAX: usize = 64 * 1024;
/// How long a request waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// What room is counted in.
const UNIT_BYTES: usize = 1024;

/// The room for large answers.
pub struct Answers(Arc<Semaphore>);

impl Default for Answers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWERS_BYTES_MAX / UNIT_BYTES)))
    }
}

/// Units of room for this number of bytes. An answer that is larger than all the room takes all of
/// it.
fn units(bytes: usize) -> u32 {
    let units = bytes.min(ANSWERS_BYTES_MAX).div_ceil(UNIT_BYTES);
    u32::try_from(units).expect("all the room is fewer units")
}

impl Answers {
    /// Reserves room for an answer of at most `bytes` bytes, or returns 503.
    pub async fn room(&self, bytes: usize) -> Result<Room, Problem> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(Room(None));
        }
        let permit = self.0.clone().acquire_many_owned(units(bytes));
        let full = || Problem::overloaded("Too many large answers are being sent.");
        let permit = Box::pin(tokio::time::timeout(ROOM_WAIT, permit)).await.map_err(|_| full())?;
        permit.map(|permit| Room(Some(permit))).map_err(|_| full())
    }
}

/// Room that is reserved.
pub struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// The bytes of an answer, which hold as much of the room as they need until they are sent.
    pub fn keep(self, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        let Some(mut permit) = self.0 else { return bytes };
        if bytes.len() <= SMALL_BYTES_MAX {
            return bytes;
        }
        let unneeded = permit.num_permits().saturating_sub(units(bytes.len()) as usize);
        drop(permit.split(unneeded));
        Bytes::from_owner(CountedBytes { bytes, _room: permit })
    }
}

struct CountedBytes {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 512 * 1024;

    fn free(answers: &Answers) -> usize {
        answers.0.available_permits() * UNIT_BYTES
    }

    #[tokio::test]
    async fn an_answer_holds_the_room_it_needs_until_its_last_copy_is_gone() {
        let answers = Answers::default();
        let room = answers.room(LARGE).await.expect("room");
        assert_eq!(free(&answers), ANSWERS_BYTES_MAX - LARGE);
        let sent = room.keep(vec![b'x'; 100_000]);
        assert_eq!(free(&answers), ANSWERS_BYTES_MAX - 98 * UNIT_BYTES, "the rest is given back");
        let part = sent.slice(50_000..);
        drop(sent);
        assert!(free(&answers) < ANSWERS_BYTES_MAX);
        drop(part);
        assert_eq!(free(&answers), ANSWERS_BYTES_MAX);
        let small = answers.room(LARGE).await.expect("room").keep(vec![b'x'; 10]);
        assert_eq!((free(&answers), small.len()), (ANSWERS_BYTES_MAX, 10));
    }

    #[tokio::test]
    async fn without_room_a_large_answer_is_refused_after_a_second_and_a_small_one_is_not() {
        let answers = Answers::default();
        let all = answers.room(2 * ANSWERS_BYTES_MAX).await.expect("all of it");
        assert_eq!(free(&answers), 0);
        let begun = std::time::Instant::now();
        assert!(answers.room(LARGE).await.is_err());
        assert!(begun.elapsed() >= ROOM_WAIT);
        answers.room(SMALL_BYTES_MAX).await.expect("needs none");
        let (waited, ()) = tokio::join!(answers.room(LARGE), async {
            tokio::time::sleep(ROOM_WAIT / 2).await;
            drop(all);
        });
        waited.expect("there was room in time");
    }
}
