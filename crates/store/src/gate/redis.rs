//! The Redis gate: what many instances share, on one server, behind sentinels, or on a cluster.
//!
//! ```text
//! reservix:<epoch>:{7}:section:<id>   a hash: version capacity available next_expiry checked_at
//! reservix:<epoch>:{7}:seats:<id>     a hash: version through checked_at marks
//! reservix:<epoch>:{tally-3}:<name>   a counter of a limit that all instances share
//! reservix:<epoch>:events             the channel of announcements
//! ```
//! The epoch is the store's ([`Epoch`]): neither another store on the same server nor a history
//! that was left has a key in common with this one. `{7}` is the shard; all keys have a time to
//! live. Times are by the server's own clock (`TIME`), and the scripts apply the rules of
//! [`engine::CheckedSnapshot`] by it. What is sent carries the instant at which it was settled, so that
//! nothing is believed for longer than `fresh_ms` from then (I8), also when a frozen server takes
//! it late.
//!
//! No call waits for Redis longer than [`CALL_MAX`], and while it is unavailable none waits at all
//! ([`link`]). What this instance settled itself ([`own`]) serves it also then: it is a commit's
//! word, and lapses by the same rule, so a sold-out section does not fall upon the store at once.

mod channel;
mod connect;
mod link;
mod own;
mod script;
mod send;
#[cfg(test)]
mod tests;
mod url;

use super::{Gate, GateHealth, GateOptions, KnownMarks, Settlement};
use crate::Epoch;
use crate::random::{random, random_of};
use async_trait::async_trait;
use engine::seats::Marks;
use engine::{AnyId, Fault, SectionId, Snapshot, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use link::{Link, Tag};
#[cfg(not(feature = "simulation"))]
use own::Own;
#[cfg(feature = "simulation")]
pub use own::{Own, Unsent};
use parking_lot::Mutex;
use script::{Call, FORGET, MARKS, READ, TALLY};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

pub(super) use url::{check, knows};

/// The longest anybody waits for an answer.
const CALL_MAX: Duration = Duration::from_millis(250);
/// The longest an attempt to connect takes, the sentinels' answers included.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How often an idle link is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The maximum number of keys of one call, so that no call blocks the server for long.
const CALL_KEYS_MAX: usize = 256;
/// The hash tags over which the shared counters are spread.
const TALLY_TAGS: u32 = 16;
/// How long after a panic a task is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Announcements kept for a slow listener, and for a Redis that is away.
const ANNOUNCED_MAX: usize = 1_024;

/// A gate that instances share.
pub struct Redis {
    shared: Arc<Shared>,
    /// End with the gate.
    _tasks: JoinSet<()>,
}

struct Shared {
    options: GateOptions,
    link: Link,
    space: watch::Sender<Space>,
    own: Mutex<Own>,
    unsent: Notify,
    announced: broadcast::Sender<AnyId>,
    outbox: Mutex<Vec<AnyId>>,
    /// Since when the channel has been listened to without a break.
    listens_since: Mutex<Option<Instant>>,
    /// Names this instance on the channel.
    instance: String,
    /// Snapshots and marks that were sent and may not have arrived.
    lost: AtomicU64,
}

/// What the keys of one history of one store begin with.
#[derive(Clone)]
struct Space(Arc<str>);

impl Space {
    fn of(epoch: Epoch) -> Self {
        Self(format!("reservix:{epoch}").into())
    }

    fn section(&self, section_id: SectionId) -> String {
        format!("{}:{}:section:{section_id}", self.0, Tag::Shard(section_id.shard().index()))
    }

    fn seats(&self, section_id: SectionId) -> String {
        format!("{}:{}:seats:{section_id}", self.0, Tag::Shard(section_id.shard().index()))
    }

    fn counter(&self, tag: Tag, name: &str) -> String {
        format!("{}:{tag}:{name}", self.0)
    }

    fn channel(&self) -> String {
        format!("{}:events", self.0)
    }
}

/// `items` by their hash tags, in calls of at most [`CALL_KEYS_MAX`], each with its place.
fn by_tag<T: Copy>(items: &[T], tag_of: impl Fn(&T) -> Tag) -> Vec<(Tag, Vec<(usize, T)>)> {
    let mut calls: Vec<(Tag, Vec<(usize, T)>)> = Vec::new();
    let mut open: HashMap<Tag, usize> = HashMap::new();
    for (place, item) in items.iter().enumerate() {
        let tag = tag_of(item);
        let at = match open.get(&tag) {
            Some(at) if calls[*at].1.len() < CALL_KEYS_MAX => *at,
            _ => {
                calls.push((tag, Vec::new()));
                open.insert(tag, calls.len() - 1);
                calls.len() - 1
            }
        };
        calls[at].1.push((place, *item));
    }
    calls
}

fn section_tag(section_id: &SectionId) -> Tag {
    Tag::Shard(section_id.shard().index())
}

impl Redis {
    /// A gate at `url`, or what is wrong with the URL. It connects beside its callers and keeps
    /// trying, so a server that is away is no error. Needs the runtime that is to do this.
    pub(super) fn open(url: &str, options: GateOptions) -> Result<Self, String> {
        let target = url::parse(url)?;
        connect::prepare_tls();
        let shared = Arc::new(Shared {
            options,
            link: Link::new(target),
            space: watch::channel(Space::of(Epoch::NONE)).0,
            own: Mutex::new(Own::new(options)),
            unsent: Notify::new(),
            announced: broadcast::channel(ANNOUNCED_MAX).0,
            outbox: Mutex::default(),
            listens_since: Mutex::default(),
            instance: format!("{:016x}", random::<u64>()),
            lost: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        let of = |shared: &Arc<Shared>| shared.clone();
        let (keeping, sending, listening) = (of(&shared), of(&shared), of(&shared));
        tasks.spawn(again_after_panics("gate_link", move || {
            let shared = of(&keeping);
            async move { shared.link.keep().await }
        }));
        tasks.spawn(again_after_panics("gate_send", move || {
            let shared = of(&sending);
            async move { send::send(&shared).await }
        }));
        tasks.spawn(again_after_panics("gate_listen", move || {
            let shared = of(&listening);
            async move { channel::listen(&shared).await }
        }));
        Ok(Self { shared, _tasks: tasks })
    }
}

/// Runs a task of the gate until it ends by itself: one that panics is started again, since without it
/// the gate would stay as it is until the process ends.
async fn again_after_panics<F: Future<Output = ()>>(task: &'static str, start: impl Fn() -> F) {
    while AssertUnwindSafe(start()).catch_unwind().await.is_err() {
        tracing::error!(task, "a task panicked and is restarted");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

impl Shared {
    /// Where the keys of the present history are.
    fn space(&self) -> Space {
        self.space.borrow().clone()
    }

    /// The marks that Redis has of these sections.
    async fn read_shared_marks(&self, sections: &[SectionId], known: &mut [Option<KnownMarks>]) {
        let space = &self.space();
        let calls = by_tag(sections, section_tag).into_iter().map(|(tag, part)| async move {
            let keys = part.iter().map(|(_, section_id)| space.seats(*section_id)).collect();
            let call = Call::new(&MARKS, keys);
            let told = self.link.call::<Vec<Option<(String, Vec<u8>)>>>(tag, &call).await;
            (part, told.unwrap_or_default())
        });
        for (part, told) in join_all(calls).await {
            for ((place, section_id), told) in part.into_iter().zip(told) {
                let told = told.and_then(|(through, marks)| Some((through.parse().ok()?, marks)));
                known[place] = told.and_then(|told| seen_of(section_id, told));
            }
        }
    }

    /// The snapshots that Redis has of these sections.
    async fn read_shared(&self, sections: &[SectionId], known: &mut [Option<Snapshot>]) {
        let space = &self.space();
        let calls = by_tag(sections, section_tag).into_iter().map(|(tag, part)| async move {
            let keys = part.iter().map(|(_, section_id)| space.section(*section_id)).collect();
            let call = Call::new(&READ, keys).arg(self.options.fresh_ms());
            let lines = self.link.call::<Vec<Option<String>>>(tag, &call).await;
            (part, lines.unwrap_or_default())
        });
        for (part, lines) in join_all(calls).await {
            for ((place, section_id), line) in part.into_iter().zip(lines) {
                known[place] = line.and_then(|line| snapshot_of(section_id, &line));
            }
        }
    }
}

/// Reads `through` and the bytes of marks. `None` for what was never written here.
fn seen_of(section_id: SectionId, (through, bytes): (i64, Vec<u8>)) -> Option<KnownMarks> {
    let marks = Marks::from_bytes(&bytes)?;
    (through >= marks.version()).then(|| KnownMarks { section_id, marks: Arc::new(marks), through })
}

/// Reads `version capacity available next_expiry`.
fn snapshot_of(section_id: SectionId, line: &str) -> Option<Snapshot> {
    let mut numbers = line.split(' ');
    let mut number = || numbers.next()?.parse().ok();
    let (version, capacity, available) = (number()?, number()?, number()?);
    let next_expiry = match numbers.next()? {
        "none" => None,
        at_ms => Some(Timestamp::from_unix_ms(at_ms.parse().ok()?)),
    };
    Some(Snapshot { section_id, version, capacity, available, next_expiry })
}

#[async_trait]
impl Gate for Redis {
    async fn read(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        let shared = &self.shared;
        let mut known = vec![None; sections.len()];
        if !sections.is_empty() {
            shared.read_shared(sections, &mut known).await;
        }
        let (own, now_ms) = (shared.own.lock(), shared.link.now_ms());
        for (known, section_id) in known.iter_mut().zip(sections) {
            if let Some(own) = own.snapshot(*section_id, now_ms)
                && known.is_none_or(|known: Snapshot| own.replaces(&known))
            {
                *known = Some(own);
            }
        }
        known
    }

    fn recall(&self, sections: &[SectionId]) -> Vec<Option<Snapshot>> {
        let (own, now_ms) = (self.shared.own.lock(), self.shared.link.now_ms());
        sections.iter().map(|section_id| own.snapshot(*section_id, now_ms)).collect()
    }

    async fn marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        let mut known = vec![None; sections.len()];
        if !sections.is_empty() {
            self.shared.read_shared_marks(sections, &mut known).await;
        }
        let own = self.recall_marks(sections);
        own.into_iter().zip(known).map(|(own, known)| KnownMarks::newer(own, known)).collect()
    }

    fn recall_marks(&self, sections: &[SectionId]) -> Vec<Option<KnownMarks>> {
        let own = self.shared.own.lock();
        sections.iter().map(|section_id| own.marks(*section_id)).collect()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn settle(&self, settlement: Settlement) {
        let shared = &self.shared;
        shared.own.lock().settle(settlement, shared.link.now_ms());
        shared.unsent.notify_one();
    }

    async fn forget(&self, sections: &[SectionId]) {
        {
            let mut own = self.shared.own.lock();
            for section_id in sections {
                own.forget(*section_id);
            }
        }
        let space = &self.shared.space();
        let calls = by_tag(sections, section_tag).into_iter().map(|(tag, part)| async move {
            let sections = part.iter().map(|(_, section_id)| space.section(*section_id));
            let seats = part.iter().map(|(_, section_id)| space.seats(*section_id));
            let keys = sections.chain(seats).collect();
            self.shared.link.call::<Option<()>>(tag, &Call::new(&FORGET, keys)).await
        });
        join_all(calls).await;
    }

    fn enter(&self, epoch: Epoch) {
        let shared = &self.shared;
        shared.space.send_replace(Space::of(epoch));
        // What another history settled is not sent into this one.
        shared.own.lock().clear();
    }

    fn announce(&self, id: AnyId) {
        // Nobody listens while nothing is cached.
        let _ = self.shared.announced.send(id);
        let mut outbox = self.shared.outbox.lock();
        if outbox.len() < ANNOUNCED_MAX {
            outbox.push(id);
            self.shared.unsent.notify_one();
        }
    }

    fn announcements(&self) -> broadcast::Receiver<AnyId> {
        self.shared.announced.subscribe()
    }

    fn listens_since(&self) -> Option<Instant> {
        *self.shared.listens_since.lock()
    }

    async fn tally(&self, counts: &[(String, i64)], window_ms: u64) -> Option<Vec<i64>> {
        let places: Vec<_> = (0..counts.len()).collect();
        let tag_of = |place: &usize| tally_tag(&counts[*place].0);
        let space = &self.shared.space();
        let calls = by_tag(&places, tag_of).into_iter().map(|(tag, part)| async move {
            let keys = part.iter().map(|(place, _)| space.counter(tag, &counts[*place].0));
            let mut call = Call::new(&TALLY, keys.collect()).arg(window_ms);
            for (place, _) in &part {
                call.push(counts[*place].1);
            }
            Some((part, self.shared.link.call::<Vec<i64>>(tag, &call).await?))
        });
        let mut sums = vec![0; counts.len()];
        for answered in join_all(calls).await {
            let (part, told) = answered?;
            for ((place, _), sum) in part.into_iter().zip(told) {
                sums[place] = sum;
            }
        }
        Some(sums)
    }

    async fn ping(&self) -> Result<(), Fault> {
        let tag = Tag::Shard(random_of(0..usize::from(engine::ids::SHARDS)));
        self.shared.link.probe(tag).await.ok_or_else(|| {
            crate::unavailable("asking the gate")(format!("{} is away", self.shared.link.target()))
        })
    }

    fn health(&self) -> GateHealth {
        let shared = &self.shared;
        let dropped = shared.own.lock().dropped() + shared.lost.load(Ordering::Relaxed);
        GateHealth { away: shared.link.away(), dropped }
    }

    fn describe(&self) -> String {
        self.shared.link.target().to_string()
    }
}

/// Spreads counters over a few servers of a cluster (FNV-1a).
fn tally_tag(name: &str) -> Tag {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = name.bytes().fold(0x811c_9dc5, step);
    Tag::Tally((hash % TALLY_TAGS) as usize)
}
