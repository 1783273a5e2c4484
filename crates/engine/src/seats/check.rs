//! The check of a draft: whole, so that its author mends it once.

use super::draft::{Category, Draft, Point, RowDraft, SeatDraft};
use super::flaw::{FlawPlace, Flaws};
use super::layout::number;
use super::{
    CATEGORIES_MAX, COORDINATE_MAX, LABEL_LENGTH_MAX, NUMBER_LENGTH_MAX, ROWS_MAX, SEATS_MAX,
    SEATS_PER_ROW_MAX,
};
use crate::money::Money;
use crate::text::name_flaw;
use std::collections::{HashMap, HashSet};

/// What is wrong with a label, by one rule or another.
pub(super) type LabelRule = fn(&str) -> Option<String>;

/// All that is wrong with `draft`, in its order.
pub(super) fn check(draft: &Draft, label_flaw: LabelRule) -> Result<(), Flaws> {
    let mut flaws = Flaws::default();
    check_whole(draft, label_flaw, &mut flaws);
    let categories: HashSet<&str> = draft.categories.iter().map(|one| one.name.as_str()).collect();
    let mut labels = HashMap::with_capacity(draft.rows.len());
    let mut numbers = HashMap::new();
    for (at, row) in draft.rows.iter().enumerate() {
        let line = row.seats.first().and_then(|seat| seat.line);
        let place = || FlawPlace { line, row: Some(row.label.clone()), ..FlawPlace::default() };
        if let Some(message) = label_flaw(&row.label) {
            flaws.add(place(), "row", message);
        } else if let Some(before) = labels.insert(row.label.as_str(), at) {
            flaws.add(
                place(),
                "row",
                format!("duplicate label; row number {} has the same one", before + 1),
            );
        }
        if !(1..=SEATS_PER_ROW_MAX).contains(&row.seats.len()) {
            let many = row.seats.len();
            let message = format!("must be 1 to {SEATS_PER_ROW_MAX} seats; the row has {many}");
            flaws.add(place(), "seats", message);
        }
        numbers.clear();
        for (at, seat) in row.seats.iter().enumerate() {
            let before = numbers.insert(seat.number.as_str(), at);
            for (field, message) in seat_flaws(seat, before, &categories) {
                flaws.add(place_of(row, seat), field, message);
            }
        }
    }
    flaws.or(())
}

/// What is wrong with the layout as a whole.
fn check_whole(draft: &Draft, label_flaw: LabelRule, flaws: &mut Flaws) {
    let mut tell = |field, message: String| flaws.add(FlawPlace::default(), field, message);
    if !(1..=ROWS_MAX).contains(&draft.rows.len()) {
        tell("rows", format!("must be 1 to {ROWS_MAX} rows; the layout has {}", draft.rows.len()));
    }
    let seats: usize = draft.rows.iter().map(|row| row.seats.len()).sum();
    if seats > SEATS_MAX {
        tell("seats", format!("must be at most {SEATS_MAX} seats; the layout has {seats}"));
    }
    let many = draft.categories.len();
    if !(1..=CATEGORIES_MAX).contains(&many) {
        tell(
            "categories",
            format!(
                "must be 1 to {CATEGORIES_MAX} categories; the layout has \
            {many}"
            ),
        );
    }
    if draft.focal.is_some_and(is_far) {
        tell("focal", far());
    }
    let currency = draft.categories.first().map(|first| first.price.currency);
    for (at, Category { name, price }) in draft.categories.iter().enumerate() {
        let mut tell = |field, message: String| {
            let (place, is_line) = place_of_category(draft, at);
            let field = if field == "name" && is_line { "category" } else { field };
            flaws.add(place, field, message);
        };
        if let Some(message) = label_flaw(name) {
            tell("name", format!("{name:?}: {message}"));
        }
        if draft.categories[..at].iter().take(CATEGORIES_MAX).any(|other| other.name == *name) {
            tell("name", format!("duplicate category {name:?}"));
        }
        if !(0..=Money::UNIT_PRICE_MAX).contains(&price.minor) {
            tell("price", format!("must be 0 to {} (category {name:?})", Money::UNIT_PRICE_MAX));
        }
        if Some(price.currency) != currency {
            let same = "must have the same currency in all categories";
            tell("price", format!("{same} (category {name:?})"));
        }
    }
}

fn place_of(row: &RowDraft, seat: &SeatDraft) -> FlawPlace {
    let (label, number) = (Some(row.label.clone()), Some(seat.number.clone()));
    FlawPlace { line: seat.line, row: label, seat: number, category: None }
}

/// The line of a table in which the category first stands, and whether there is one: else it is named by
/// its number.
fn place_of_category(draft: &Draft, at: usize) -> (FlawPlace, bool) {
    let by_number = || (FlawPlace { category: Some(at), ..FlawPlace::default() }, false);
    // Only tables have lines, and few categories; others may have any number of wrong ones.
    let is_table =
        draft.rows.first().and_then(|row| row.seats.first()).is_some_and(|it| it.line.is_some());
    if !is_table {
        return by_number();
    }
    let name = &draft.categories[at].name;
    let mut seats = draft.rows.iter().flat_map(|row| row.seats.iter().map(move |seat| (row, seat)));
    let first = seats.find(|(_, seat)| seat.category == *name);
    first.map_or_else(by_number, |(row, seat)| (place_of(row, seat), true))
}

fn seat_flaws(
    seat: &SeatDraft,
    before: Option<usize>,
    categories: &HashSet<&str>,
) -> impl Iterator<Item = (&'static str, String)> {
    let wrong = number(&seat.number).is_none();
    let number_flaw = wrong
        .then(|| format!("must be 1 to {NUMBER_LENGTH_MAX} ASCII letters and digits"))
        .or_else(|| {
            before.map(|at| {
                format!(
                    "duplicate number; seat {} of the row has the same \
            one",
                    at + 1
                )
            })
        });
    let unknown = !categories.contains(seat.category.as_str());
    let category_flaw = unknown.then(|| format!("unknown category {:?}", seat.category));
    let both = seat.flags.accessible && seat.flags.companion;
    let both = both.then(|| "must not be both accessible and companion".to_owned());
    let far = is_far(seat.at).then(far);
    let flaws =
        [("number", number_flaw), ("category", category_flaw), ("flags", both), ("at", far)];
    flaws.into_iter().filter_map(|(field, message)| Some((field, message?)))
}

/// What is wrong with the label of a row or a category that somebody writes.
pub(super) fn written_label(label: &str) -> Option<String> {
    if !(1..=LABEL_LENGTH_MAX).contains(&label.chars().count()) {
        return Some(format!("must be 1 to {LABEL_LENGTH_MAX} characters"));
    }
    name_flaw(label).map(str::to_owned)
}

/// What is wrong with a stored label: one of an earlier version may have characters without a width.
pub(super) fn stored_label(label: &str) -> Option<String> {
    let is_long = label.chars().count() > LABEL_LENGTH_MAX;
    (label.is_empty() || is_long || label.contains(char::is_control) || label.trim() != label)
        .then(|| "is not a valid stored label".to_owned())
}

fn is_far(point: Point) -> bool {
    let far = |value: i32| value.unsigned_abs() > COORDINATE_MAX.unsigned_abs();
    far(point.x) || far(point.y)
}

fn far() -> String {
    format!("x and y must be -{COORDINATE_MAX} to {COORDINATE_MAX}")
}
