//! What is read again and again: kept for a short time, and renewed beside those who use it.
//!
//! An entry is as old as the begin of its read. A request takes an entry that was not older than its life
//! when the request came; otherwise it waits for a read, which all who come meanwhile share. From half of
//! its life on, an entry is read anew beside those who go on with it. What is forgotten is read again,
//! and a read that began before is not kept.
//!
//! ```text
//! read begins          half                life
//!      ├── taken ────────┼── taken, renewed ─┤── waits for a read that began later
//! ```
//! So what was so before a change serves no request that comes later than the life of an entry after
//! it, however long reads take and whatever is not announced.

use engine::Fault;
use futures_util::FutureExt as _;
use moka::future::Cache;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Where entries come from.
pub trait Source: Clone + Send + Sync + 'static {
    /// What they are asked for by.
    type Key: Copy + Eq + Hash + Send + Sync + 'static;
    /// What is known of it, also that there is nothing.
    type Value: Clone + Send + Sync + 'static;
    /// The longest life of an entry.
    const LIFE_MAX: Duration;
    /// The size of all entries together, as [`size`](Self::size) says it.
    const SIZE_MAX: u64;

    /// Reads it.
    fn read(&self, key: Self::Key) -> impl Future<Output = Result<Self::Value, Fault>> + Send;
    /// How long it is good, when its read began then.
    fn life(&self, value: &Self::Value, read_at: Instant) -> Duration;
    /// How much it counts.
    fn size(value: &Self::Value) -> usize;
}

struct Entry<V> {
    value: V,
    read_at: Instant,
    /// What was forgotten when its read began.
    generation: u64,
    /// Whether somebody reads it anew.
    renewing: AtomicBool,
}

impl<V> Entry<V> {
    fn new(value: V, read_at: Instant, generation: u64) -> Arc<Self> {
        Arc::new(Self { value, read_at, generation, renewing: AtomicBool::new(false) })
    }
}

/// Counters of what was forgotten. Each counts for the keys whose hash leads to it.
const STRIPES: usize = 64;

/// Counts what was forgotten: a read that began before may have missed the change.
struct Forgotten {
    all: AtomicU64,
    of: [AtomicU64; STRIPES],
    hasher: RandomState,
}

impl Forgotten {
    fn new() -> Self {
        let of = std::array::from_fn(|_| AtomicU64::new(0));
        Self { all: AtomicU64::new(0), of, hasher: RandomState::new() }
    }

    fn stripe(&self, key: impl Hash) -> &AtomicU64 {
        let digest = self.hasher.hash_one(key) % STRIPES as u64;
        &self.of[usize::try_from(digest).expect("a small number")]
    }

    /// Rises when this key is forgotten, or all are.
    fn generation(&self, key: impl Hash) -> u64 {
        self.all.load(Ordering::SeqCst) + self.stripe(key).load(Ordering::SeqCst)
    }
}

/// What was read of a source, for a short time.
pub struct Fresh<S: Source> {
    source: S,
    entries: Cache<S::Key, Arc<Entry<S::Value>>>,
    forgotten: Arc<Forgotten>,
}

impl<S: Source> Fresh<S> {
    /// Nothing is known yet.
    pub fn new(source: S) -> Self {
        let weight = |_: &S::Key, entry: &Arc<Entry<S::Value>>| {
            u32::try_from(S::size(&entry.value)).unwrap_or(u32::MAX)
        };
        let entries = Cache::builder().max_capacity(S::SIZE_MAX).weigher(weight);
        let entries = entries.time_to_live(S::LIFE_MAX).build();
        Self { source, entries, forgotten: Arc::new(Forgotten::new()) }
    }

    /// What is known, or read now.
    pub async fn get(&self, key: S::Key) -> Result<S::Value, Fault> {
        let arrived = Instant::now();
        // What is known is there at once. The rest is boxed: else every request would carry it along.
        let known = self.entries.get(&key).now_or_never().flatten();
        match known.filter(|known| self.serves(key, known, arrived)) {
            Some(known) => Ok(known.value.clone()),
            None => Box::pin(self.get_of_old(key, arrived)).await,
        }
    }

    /// Whether an entry serves a request that came then. It may be read anew beside the request.
    fn serves(&self, key: S::Key, known: &Arc<Entry<S::Value>>, arrived: Instant) -> bool {
        let life = self.source.life(&known.value, known.read_at);
        let age = arrived.saturating_duration_since(known.read_at);
        if age >= life {
            return false;
        }
        if age > life / 2 && !known.renewing.swap(true, Ordering::Relaxed) {
            self.renew(key, known.clone());
        }
        true
    }

    /// [`Self::get`] where it was not there at once, or is too old.
    async fn get_of_old(&self, key: S::Key, arrived: Instant) -> Result<S::Value, Fault> {
        let generation = self.forgotten.generation(key);
        loop {
            if let Some(known) = self.entries.get(&key).await {
                if known.generation >= generation && self.serves(key, &known, arrived) {
                    return Ok(known.value.clone());
                }
                // All who come upon it wait for the same read.
                let is_it = |entry: &Arc<_>| Arc::ptr_eq(entry, &known);
                let newest = self.entries.get(&key).await;
                if newest.as_ref().is_some_and(is_it) {
                    self.entries.invalidate(&key).await;
                }
            }
            // A read that was under way already may be too old for this request, or from before something
            // was forgotten. The next one is neither.
            let loaded = self.load(key).await?;
            if loaded.generation < generation {
                self.entries.invalidate(&key).await;
            } else if self.serves(key, &loaded, arrived) {
                return Ok(loaded.value.clone());
            }
        }
    }

    async fn load(&self, key: S::Key) -> Result<Arc<Entry<S::Value>>, Fault> {
        let load = async {
            let (generation, read_at) = (self.forgotten.generation(key), Instant::now());
            Ok::<_, Fault>(Entry::new(self.source.read(key).await?, read_at, generation))
        };
        let loaded = self.entries.try_get_with(key, load).await.map_err(Arc::unwrap_or_clone)?;
        // It may be from before a change that was announced while it was being read.
        if self.forgotten.generation(key) != loaded.generation {
            self.entries.invalidate(&key).await;
        }
        Ok(loaded)
    }

    /// Reads it anew, beside those who go on with what is known.
    fn renew(&self, key: S::Key, known: Arc<Entry<S::Value>>) {
        let (source, entries, forgotten) =
            (self.source.clone(), self.entries.clone(), self.forgotten.clone());
        let (generation, read_at) = (forgotten.generation(key), Instant::now());
        tokio::spawn(async move {
            let read = source.read(key).await;
            // Where it fails or is of no use, the next caller may try it again. When the entry has expired,
            // the caller gets the failure.
            known.renewing.store(false, Ordering::Relaxed);
            let Ok(value) = read else { return };
            if forgotten.generation(key) == generation {
                entries.insert(key, Entry::new(value, read_at, generation)).await;
                if forgotten.generation(key) != generation {
                    entries.invalidate(&key).await;
                }
            }
        });
    }

    /// Drops what is known of this.
    pub async fn forget(&self, key: S::Key) {
        self.forgotten.stripe(key).fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate(&key).await;
    }

    /// Drops everything.
    pub fn forget_all(&self) {
        self.forgotten.all.fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate_all();
    }
}

#[cfg(test)]
mod tests;
