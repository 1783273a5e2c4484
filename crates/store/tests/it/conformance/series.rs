//! Series: events of one organizer that share a shard.

use super::{World, answered, creation_key, refusal};
use engine::feed::Body;
use engine::{Refusal, Series, SeriesChange, SeriesId, UserId};
use store::{EventFilter, PageRequest};

const ALL: PageRequest<SeriesId> = PageRequest { after: None, limit: 100 };
const MISSING: Refusal = Refusal::NotFound { what: "series" };

fn owner_of(series: &Series) -> UserId {
    series.organizer_id.owner().expect("no team")
}

impl World {
    async fn series(&self) -> Series {
        let series = self.mint.series(self.mint.user(), 77);
        self.store.create_series(&series, owner_of(&series).into(), None).await.expect("recorded");
        series
    }
}

pub async fn a_series_is_recorded_listed_and_renamed_by_its_organizer(world: World) {
    let store = &world.store;
    let series = world.series().await;
    let (series_id, organizer_id) = (series.series_id, owner_of(&series));
    assert_eq!(answered(store.series(series_id).await), Some(series.clone()));
    world.clock.advance_ms(5);
    let newer = world.mint.series(organizer_id, 3);
    store.create_series(&newer, owner_of(&newer).into(), None).await.expect("recorded");
    world.series().await;
    let all = answered(store.series_of(organizer_id.into(), ALL).await);
    assert_eq!((all.items, all.has_more), (vec![newer.clone(), series.clone()], false));
    let first = PageRequest { after: None, limit: 1 };
    let page = answered(store.series_of(organizer_id.into(), first).await);
    assert_eq!((page.items, page.has_more), (vec![newer.clone()], true));
    let rest = PageRequest { after: Some(newer.series_id), limit: 1 };
    assert_eq!(
        answered(store.series_of(organizer_id.into(), rest).await).items,
        vec![series.clone()]
    );

    let rename = |expected| SeriesChange { expected, title: Some("Next season".to_owned()) };
    let stranger = world.mint.user();
    let refused = store.change_series(series_id, stranger.into(), rename(None)).await;
    assert_eq!(refusal(refused), MISSING);
    let unknown = world.mint.series(organizer_id, 1).series_id;
    let refused = store.change_series(unknown, organizer_id.into(), rename(None)).await;
    assert_eq!(refusal(refused), MISSING);
    let changed = store.change_series(series_id, organizer_id.into(), rename(Some(1))).await;
    let changed = changed.expect("theirs");
    assert_eq!((changed.title.as_str(), changed.version), ("Next season", 2));
    assert!(changed.updated_at > series.updated_at && changed.created_at == series.created_at);
    assert_eq!(answered(store.series(series_id).await), Some(changed.clone()));
    let refused = store.change_series(series_id, organizer_id.into(), rename(Some(1))).await;
    assert_eq!(refusal(refused), Refusal::VersionMismatch { version: 2 });
    let again = store.change_series(series_id, organizer_id.into(), rename(Some(2))).await;
    assert_eq!(again.expect("it is so"), changed, "nothing has changed");
}

pub async fn a_series_created_with_the_same_key_is_created_once(world: World) {
    let organizer_id = world.mint.user();
    let create = async |fingerprint| {
        let series = world.mint.series(organizer_id, 9);
        let key = creation_key(organizer_id, "once", fingerprint);
        let created =
            world.store.create_series(&series, owner_of(&series).into(), Some(&key)).await;
        created.map(|created| (created.id == series.series_id, created.replayed, created.id))
    };
    let (is_new, replayed, id) = create(1).await.expect("recorded");
    assert_eq!((is_new, replayed), (true, false));
    assert_eq!(create(1).await.expect("replayed"), (false, true, id));
    assert_eq!(refusal(create(2).await), Refusal::IdempotencyKeyReused);
    let all = answered(world.store.series_of(organizer_id.into(), ALL).await);
    assert_eq!(all.items.len(), 1);
}

pub async fn an_event_is_in_a_series_of_its_organizer_from_its_creation_on(world: World) {
    let series = world.series().await;
    let new = world.mint.event_in(&series);
    let event_id = new.event.terms.event_id;
    world.store.create_event(&new, suite::world::owner(&new), &[], None).await.expect("recorded");
    let other = world.sale(&[("A", 1)]).await;
    assert_eq!(event_id.shard(), series.series_id.shard());
    let stored = answered(world.store.event(event_id).await).expect("recorded");
    assert_eq!(stored.event, new.event);
    let of_series = EventFilter { series: Some(series.series_id), ..EventFilter::default() };
    let page = PageRequest { after: None, limit: 10 };
    let found = answered(world.store.events(&of_series, page).await);
    let found: Vec<_> = found.items.iter().map(|card| card.event.terms.event_id).collect();
    assert_eq!(found, [event_id], "and not {}", other.event_id);
    // An edit leaves it where it is, and its message says where that is.
    let change = engine::event::EventChange {
        title: Some("Another".to_owned()),
        ..engine::event::EventChange::default()
    };
    let by = owner_of(&series).into();
    world.store.revise_event(event_id, by, None, change).await.expect("theirs");
    let messages = world.messages(event_id, 1_000).await;
    let series_of = |body: &Body| match body {
        Body::Event(event) => event.series_id,
        other => panic!("an event: {other:?}"),
    };
    let told: Vec<_> = messages.iter().map(|message| series_of(&message.body)).collect();
    assert_eq!(told, [Some(series.series_id); 2]);
    world.assert_sound().await;
}

pub async fn an_event_in_no_series_of_its_organizer_is_refused_whole(world: World) {
    let series = world.series().await;
    let theirs = Series { organizer_id: world.mint.user().into(), ..series.clone() };
    let unknown = world.mint.series(series.organizer_id, 5);
    for series in [theirs, unknown] {
        let mut new = world.mint.event_in(&series);
        let event_id = new.event.terms.event_id;
        new.sections = vec![world.mint.section_of(event_id, "A")];
        let opened = suite::world::opened(&[3]);
        let key = creation_key(owner_of(&series), "event", 1);
        let refused =
            world.store.create_event(&new, suite::world::owner(&new), &opened, Some(&key)).await;
        assert_eq!(refusal(refused), MISSING);
        assert_eq!(answered(world.store.event(event_id).await), None);
        // The key names nothing.
        let other = world.mint.event_on_sale(series.organizer_id);
        let created =
            world.store.create_event(&other, suite::world::owner(&other), &[], Some(&key)).await;
        assert!(!created.expect("recorded").replayed);
    }
    world.assert_sound().await;
}
