//! Sending what was settled and announced, beside the lanes: nobody waits for it.
//!
//! One round at a time takes everything that has come up since the last one, so a slow Redis makes
//! rounds larger, not queues longer. Each shard's part is one call, or a few when it is large.

use super::link::Tag;
use super::own::{Noted, Unsent};
use super::script::{Call, SETTLE};
use super::{CALL_KEYS_MAX, Redis, Shared, lease, lease_key, section_key};
use engine::{BookingStatus, Kept, Timestamp};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// For how long a lapsed snapshot is left lying, for a person who looks.
const LAPSED_KEPT_MS: i64 = 60_000;

/// Sends for ever.
pub(super) async fn send(shared: &Shared) {
    loop {
        shared.unsent.notified().await;
        // What lapses in the meantime is not sent: what arrives late may not be believed.
        shared.link.closed().await;
        let announced = std::mem::take(&mut *shared.outbox.lock());
        for event_id in announced {
            let message = format!("{} {event_id}", shared.instance);
            shared.link.publish(Redis::CHANNEL, &message).await;
        }
        let unsent = shared.own.lock().take_unsent(shared.link.now_ms());
        round(shared, unsent).await;
    }
}

/// One call's worth of snapshots and bookings of one shard.
#[derive(Default)]
struct Parcel {
    snapshots: Vec<Kept>,
    bookings: Vec<Noted>,
}

async fn round(shared: &Shared, unsent: Unsent) {
    let mut parcels: HashMap<Tag, Vec<Parcel>> = HashMap::new();
    let mut parcel_of = |tag: Tag, add: &mut dyn FnMut(&mut Parcel)| {
        let parcels = parcels.entry(tag).or_default();
        let full = |parcel: &Parcel| parcel.len() >= CALL_KEYS_MAX;
        if parcels.last().is_none_or(full) {
            parcels.push(Parcel::default());
        }
        add(parcels.last_mut().expect("one was pushed"));
    };
    for kept in unsent.snapshots {
        let tag = Tag::Shard(kept.snapshot.section_id.shard().index());
        parcel_of(tag, &mut |parcel| parcel.snapshots.push(kept));
    }
    for noted in unsent.bookings {
        let tag = Tag::Shard(noted.booking.booking_id.shard().index());
        parcel_of(tag, &mut |parcel| parcel.bookings.push(noted.clone()));
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
        self.snapshots.len() + self.bookings.len()
    }
}

/// Sends one parcel; `None` when it may not have arrived.
async fn deliver(shared: &Shared, tag: Tag, parcel: &Parcel) -> Option<()> {
    let zero_ms = shared.link.server_ms(tag, 0).await?;
    let sections = parcel.snapshots.iter().map(|kept| section_key(kept.snapshot.section_id));
    let leases = parcel.bookings.iter().map(|noted| lease_key(noted.booking.booking_id));
    let fresh_ms = shared.options.fresh_ms();
    let kept_ms = fresh_ms.saturating_add(LAPSED_KEPT_MS);
    let mut call = Call::new(&SETTLE, sections.chain(leases).collect())
        .arg(fresh_ms)
        .arg(kept_ms)
        .arg(parcel.snapshots.len());
    for Kept { snapshot, checked_at_ms } in &parcel.snapshots {
        call.push(snapshot.version);
        call.push(snapshot.capacity);
        call.push(snapshot.available);
        match snapshot.next_expiry.map(Timestamp::unix_ms) {
            Some(at_ms) => call.push(at_ms),
            None => call.push("none"),
        }
        call.push(zero_ms + checked_at_ms);
    }
    for Noted { booking, settled_at_ms, left_ms } in &parcel.bookings {
        let is_live = booking.status == BookingStatus::Hold;
        call.push(booking.version);
        call.push(zero_ms + settled_at_ms);
        // An end is remembered for as long as news of the hold itself could still arrive.
        call.push(if is_live { *left_ms } else { fresh_ms.saturating_mul(2) });
        call.push(lease::write(booking));
    }
    shared.link.call::<Option<()>>(tag, &call).await.map(|_| ())
}
