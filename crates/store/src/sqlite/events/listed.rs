//! Lists of events: all of them, or those of some organizations.

use crate::keys::keys_of;
use crate::rows::{self, Columns, drafts_at, event, newest_of};
use crate::sqlite::rows::{Binding, bind_id, read_rows};
use crate::sqlite::{Sqlite, failed};
use crate::{EventCard, EventFilter, PageRequest, Paged, Place, Timed};
use engine::{Event, EventId, Fault};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite as Driver, SqliteConnection};

/// A page of events, with the sums of their sections.
pub(super) async fn listed(
    store: &Sqlite,
    filter: &EventFilter,
    page: PageRequest<EventId>,
) -> Result<Paged<EventCard>, Fault> {
    const DOING: &str = "listing events";
    let mut connection = store.readers.acquire().await.map_err(failed(DOING))?;
    let drafts_of = filter.drafts_of.as_slice();
    let found = match &filter.places {
        None => newest(&mut connection, filter, (None, drafts_of), page, event).await?,
        Some(places) => {
            // Each by its index, and the newest of all.
            let (mut all, of_row) = (Vec::new(), |row: &_| rows::event_id(row, "event_id"));
            for place in places {
                let drafts = drafts_at(drafts_of, place);
                let of = (Some(place), drafts);
                all.extend(newest(&mut connection, filter, of, page, of_row).await?);
            }
            read_events(&mut connection, newest_of(all, page.limit)).await?
        }
    };
    let has_more = found.len() >= page.limit as usize;
    let items = load_cards(store, &mut connection, found).await?;
    Ok(Paged { items, has_more })
}

/// The newest events of a place, or of all, without drafts but those of these places.
async fn newest<T>(
    connection: &mut SqliteConnection,
    filter: &EventFilter,
    (place, drafts_of): (Option<&Place>, &[Place]),
    page: PageRequest<EventId>,
    read: impl Fn(&SqliteRow) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    // Of many places, only the ids: most of them are shown by no page.
    let what = if place.is_some() { "event_id" } else { "*" };
    let mut query = QueryBuilder::<Driver>::new("SELECT ");
    query.push(what).push(" FROM events WHERE (status <> 'draft'");
    for drafts in drafts_of {
        query.push(" OR (");
        push_place(&mut query, drafts);
        query.push(")");
    }
    if filter.all_drafts {
        query.push(" OR 1 = 1");
    }
    query.push(")");
    if let Some(place) = place {
        query.push(" AND ");
        push_place(&mut query, place);
    }
    if let Some(series) = filter.series {
        query.push(" AND series_id = ").push_bind(series.as_bytes().to_vec());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(title) = &filter.title {
        // instr() takes the text as it is: no wildcard of LIKE to escape.
        let (lowered, key) = keys_of(title);
        query.push(" AND (instr(coalesce(title_key, title_folded), ");
        query.push_bind(key.unwrap_or_else(|| lowered.clone())).push(") > 0");
        // By its own spelling, a title is found that has no key yet.
        query.push(" OR instr(title_folded, ").push_bind(lowered).push(") > 0)");
    }
    if let Some(from) = filter.from {
        query.push(" AND over_at > ").push_bind(from.unix_ms());
    }
    if let Some(to) = filter.to {
        query.push(" AND starts_at < ").push_bind(to.unix_ms());
    }
    if let Some(after) = page.after {
        query.push(" AND event_id < ").push_bind(after.as_bytes().to_vec());
    }
    query.push(" ORDER BY event_id DESC LIMIT ").push_bind(page.limit);
    let found = query.build().fetch_all(connection).await.map_err(failed("listing events"))?;
    found.iter().map(read).collect()
}

/// The events with these ids, in their order.
async fn read_events(
    connection: &mut SqliteConnection,
    ids: Vec<EventId>,
) -> Result<Vec<Event>, Fault> {
    const SQL: &str = "WITH wanted (event_id) AS ({})
        SELECT e.* FROM wanted CROSS JOIN events e USING (event_id) ORDER BY e.event_id DESC";
    let bind = |query: Binding, id: &EventId| bind_id(query, id);
    let found =
        read_rows(connection, SQL, 1, &ids, bind).await.map_err(failed("listing events"))?;
    found.iter().map(event).collect()
}

fn push_place(query: &mut QueryBuilder<Driver>, place: &Place) {
    query.push("organizer_id = ").push_bind(place.org_id.as_bytes().to_vec());
    if let Some(events) = &place.events {
        query.push(" AND event_id IN (");
        let mut ids = query.separated(", ");
        for event_id in events.iter() {
            ids.push_bind(event_id.as_bytes().to_vec());
        }
        query.push(")");
    }
}

/// The cards of these events, in their order. What each section adds is added up by the database.
async fn load_cards(
    store: &Sqlite,
    connection: &mut SqliteConnection,
    events: Vec<Event>,
) -> Result<Vec<EventCard>, Fault> {
    const SQL: &str = "WITH wanted (event_id, now) AS ({})
        SELECT s.event_id, MIN(s.price_minor) AS price_from,
            MAX(COALESCE(s.price_max_minor, s.price_minor)) AS price_to,
            MIN(s.currency) AS currency, SUM(i.capacity) AS capacity,
            SUM(i.capacity - i.held - i.sold - i.blocked) AS available,
            COALESCE(MAX(i.next_expiry <= wanted.now), 0) AS is_due
        FROM wanted CROSS JOIN sections s USING (event_id) CROSS JOIN inventory i USING (section_id)
        GROUP BY s.event_id";
    const DOING: &str = "adding up sections";
    let now = store.now();
    let bind = |query: Binding, of: &Event| bind_id(query, &of.terms.event_id).bind(now.unix_ms());
    let found = read_rows(connection, SQL, 2, &events, bind).await.map_err(failed(DOING))?;
    let is_due = found.iter().map(|row| row.flag("is_due")).collect::<Result<Vec<_>, _>>()?;
    if !is_due.contains(&true) {
        return rows::cards(events, &found);
    }
    let ids: Vec<_> = events.iter().map(|of| of.terms.event_id).collect();
    let mut cards = rows::cards(events, &found)?;
    for card in &mut cards {
        (card.capacity, card.available) = (0, 0);
    }
    for of in store.live_inventories(connection, &ids, now).await? {
        let event_id = of.inventory.event_id;
        let card = cards.iter_mut().find(|card| card.event.terms.event_id == event_id);
        let card = card.expect("sections are read by their event");
        card.capacity += of.inventory.capacity;
        card.available += of.inventory.available() + of.due;
    }
    Ok(cards)
}
