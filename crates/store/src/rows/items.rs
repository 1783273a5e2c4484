//! The items of a booking as `bookings.items` keeps them, as JSON.
//!
//! They are written with every hold, so by hand: a serializer would first make texts of ids and a list
//! of what it is to write, and takes four times as long. They are read by a parser.

use super::{corrupt, currency};
use engine::seats::SeatName;
use engine::{Fault, Item, Money};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// An item as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredItem<'a> {
    section_id: Cow<'a, str>,
    name: Cow<'a, str>,
    seats: u32,
    #[serde(rename = "numbers", default, skip_serializing_if = "Vec::is_empty")]
    seat_names: Vec<SeatName>,
    price: i64,
    currency: Cow<'a, str>,
}

impl StoredItem<'_> {
    pub(super) fn of(item: &Item) -> StoredItem<'_> {
        StoredItem {
            section_id: item.section_id.to_string().into(),
            name: (&*item.section_name).into(),
            seats: item.seats,
            seat_names: item.seat_names.clone(),
            price: item.unit_price.minor,
            currency: item.unit_price.currency.as_str().into(),
        }
    }

    pub(super) fn read(self) -> Result<Item, Fault> {
        Ok(Item {
            section_id: self.section_id.parse().map_err(|_| corrupt("items")())?,
            section_name: self.name.as_ref().into(),
            seats: self.seats,
            seat_names: self.seat_names,
            unit_price: Money { minor: self.price, currency: currency(&self.currency)? },
        })
    }
}

/// What the names of the fields, an id, a price and a short name take.
const ITEM_BYTES: usize = 160;

/// The text of items: that of a list of [`StoredItem`]s.
pub(crate) fn items_text(items: &[Item]) -> String {
    let mut text = String::with_capacity(items.len() * ITEM_BYTES);
    text.push('[');
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        let mut id = [0; Hyphenated::LENGTH];
        let id = Uuid::from_bytes(*item.section_id.as_bytes()).hyphenated().encode_lower(&mut id);
        text.push_str("{\"section_id\":\"");
        text.push_str(id);
        text.push_str("\",\"name\":");
        push_quoted(&mut text, &item.section_name);
        push_number(&mut text, ",\"seats\":", item.seats);
        for (place, name) in item.seat_names.iter().enumerate() {
            text.push_str(if place == 0 { ",\"numbers\":[" } else { "," });
            push_quoted(&mut text, name);
        }
        if !item.seat_names.is_empty() {
            text.push(']');
        }
        push_number(&mut text, ",\"price\":", item.unit_price.minor);
        text.push_str(",\"currency\":");
        push_quoted(&mut text, item.unit_price.currency.as_str());
        text.push('}');
    }
    text.push(']');
    text
}

fn push_number(text: &mut String, before: &str, number: impl std::fmt::Display) {
    text.push_str(before);
    write!(text, "{number}").expect("a text takes everything");
}

fn push_quoted(text: &mut String, words: &str) {
    if words.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        text.push_str(&serde_json::to_string(words).expect("a text is always JSON"));
    } else {
        text.push('"');
        text.push_str(words);
        text.push('"');
    }
}

pub(super) fn items(text: &str) -> Result<Arc<[Item]>, Fault> {
    let stored: Vec<StoredItem<'_>> = serde_json::from_str(text).map_err(|_| corrupt("items")())?;
    stored.into_iter().map(StoredItem::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Currency, SectionId, Shard, Timestamp};
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        let odd =
            prop::sample::select(vec!['"', '\\', '\n', '\u{0}', '\u{7f}', 'é', '座', ',', ' ']);
        let letters = prop_oneof![3 => odd, 2 => any::<char>(), 5 => prop::char::range('a', 'z')];
        prop::collection::vec(letters, 0..9).prop_map(|of| of.into_iter().collect())
    }

    fn item() -> impl Strategy<Value = Item> {
        let names = prop::collection::vec(name(), 0..3);
        (any::<u64>(), name(), any::<u32>(), names, any::<i64>()).prop_map(
            |(id, section, seats, names, minor)| Item {
                section_id: SectionId::new(Timestamp::from_unix_ms(1), Shard::pick(id), id),
                section_name: section.into(),
                seats,
                seat_names: names.iter().map(|name| SeatName::from(&**name)).collect(),
                unit_price: Money { minor, currency: Currency::parse("USD").expect("one") },
            },
        )
    }

    proptest! {
        #[test]
        fn items_are_written_as_a_serializer_would_and_read_back(
            all in prop::collection::vec(item(), 0..4),
        ) {
            let text = items_text(&all);
            let stored: Vec<_> = all.iter().map(StoredItem::of).collect();
            prop_assert_eq!(&text, &serde_json::to_string(&stored).expect("it is JSON"));
            let read = items(&text).expect("it was written");
            prop_assert_eq!(&read[..], &all[..]);
        }
    }
}
