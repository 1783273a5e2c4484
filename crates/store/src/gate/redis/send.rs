//! Sending what was settled and announced, beside the lanes: nobody waits for it.
//!
//! One round at a time takes everything that has come up since the last one, so a slow Redis makes
//! rounds larger, not queues longer. Each shard's part is one call, or a few when it is large.

use super::super::marks::CheckedMarks;
use super::link::Tag;
use super::own::Unsent;
use super::script::{Call, SETTLE};
use super::{CALL_KEYS_MAX, Shared};
use engine::{CheckedSnapshot, Timestamp};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// For how long a lapsed snapshot is left lying, for a person who looks.
const LAPSED_KEPT_MS: i64 = 60_000;
/// Seats whose marks are sent in one call: some 400 kB.
const CALL_SEATS_MAX: u32 = 1_000_000;

/// Sends for ever.
pub(super) async fn send(shared: &Shared) {
    loop {
        shared.unsent.notified().await;
        // What lapses in the meantime is not sent: what arrives late may not be believed.
        shared.link.closed().await;
        let announced = std::mem::take(&mut *shared.outbox.lock());
        for id in announced {
            let message = format!("{} {id}", shared.instance);
            shared.link.publish(&shared.space().channel(), &message).await;
        }
        let unsent = shared.own.lock().take_unsent(shared.link.now_ms());
        round(shared, unsent).await;
    }
}

/// One call's worth of snapshots and marks of one shard.
#[derive(Default)]
struct Parcel {
    snapshots: Vec<CheckedSnapshot>,
    marks: Vec<CheckedMarks>,
}

async fn round(shared: &Shared, unsent: Unsent) {
    let mut parcels: HashMap<Tag, Vec<Parcel>> = HashMap::new();
    let mut parcel_of = |tag: Tag, add: &mut dyn FnMut(&mut Parcel)| {
        let parcels = parcels.entry(tag).or_default();
        let full = Parcel::is_full;
        if parcels.last().is_none_or(full) {
            parcels.push(Parcel::default());
        }
        add(parcels.last_mut().expect("one was pushed"));
    };
    for kept in unsent.snapshots {
        let tag = Tag::Shard(kept.snapshot.section_id.shard().index());
        parcel_of(tag, &mut |parcel| parcel.snapshots.push(kept));
    }
    for kept in unsent.marks {
        let tag = Tag::Shard(kept.seen.section_id.shard().index());
        parcel_of(tag, &mut |parcel| parcel.marks.push(kept.clone()));
    }
    let shards = parcels.into_iter().map(|(tag, parcels)| async move {
        for parcel in parcels {
            if deliver(shared, tag, &parcel).await.is_none() {
                let lost = parcel.len() as u64;
                shared.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
    });
    join_all(shards).await;
}

impl Parcel {
    fn len(&self) -> usize {
        self.snapshots.len() + self.marks.len()
    }

    fn is_full(&self) -> bool {
        let seats = self.marks.iter().map(|kept| kept.seen.marks.seats());
        self.len() >= CALL_KEYS_MAX || seats.sum::<u32>() >= CALL_SEATS_MAX
    }
}

/// Sends one parcel; `None` when it may not have arrived.
async fn deliver(shared: &Shared, tag: Tag, parcel: &Parcel) -> Option<()> {
    let zero_ms = shared.link.server_ms(tag, 0).await?;
    let space = shared.space();
    let sections = parcel.snapshots.iter().map(|kept| space.section(kept.snapshot.section_id));
    let fresh_ms = shared.options.fresh_ms();
    let kept_ms = fresh_ms.saturating_add(LAPSED_KEPT_MS);
    let seats = parcel.marks.iter().map(|kept| space.seats(kept.seen.section_id));
    let mut call = Call::new(&SETTLE, sections.chain(seats).collect())
        .arg(fresh_ms)
        .arg(kept_ms)
        .arg(parcel.snapshots.len());
    for CheckedSnapshot { snapshot, checked_at_ms } in &parcel.snapshots {
        call.push(snapshot.version);
        call.push(snapshot.capacity);
        call.push(snapshot.available);
        match snapshot.next_expiry.map(Timestamp::unix_ms) {
            Some(at_ms) => call.push(at_ms),
            None => call.push("none"),
        }
        call.push(zero_ms + checked_at_ms);
    }
    for CheckedMarks { seen, checked_at_ms } in &parcel.marks {
        call.push(seen.marks.version());
        call.push(seen.through);
        call.push(zero_ms + checked_at_ms);
        call.push_bytes(seen.marks.to_bytes());
    }
    shared.link.call::<Option<()>>(tag, &call).await.map(|_| ())
}
