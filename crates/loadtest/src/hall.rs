//! A hall: a section whose seats have numbers, as its drawing shows it.
//!
//! Who sits beside whom is judged here, from the drawing alone: in the same row, one place further, and
//! no aisle between.

use crate::trouble::Trouble;
use crate::wish::Seats;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Seats that one walker has at least for itself; else fewer walk.
const SEATS_OF_A_PART_MIN: u32 = 16;

/// `GET …/seats`.
#[derive(Deserialize)]
struct Told {
    rows: Vec<RowTold>,
}

#[derive(Deserialize)]
struct RowTold {
    label: String,
    seats: Vec<SeatTold>,
}

#[derive(Deserialize)]
struct SeatTold {
    number: Number,
    #[serde(default)]
    aisle_before: bool,
}

/// Numbers are text, since some are `4b`; a server may send plain ones as JSON numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u32),
}

/// The seats of a hall, row after row.
#[derive(Debug)]
pub struct Drawing {
    names: Vec<Box<str>>,
    by_name: HashMap<Box<str>, u32>,
    /// Whether the seat before is beside it.
    follows: Vec<bool>,
}

impl Drawing {
    /// Reads the answer to `GET …/seats`.
    pub fn read(json: &[u8]) -> Result<Self, Trouble> {
        let told: Told = serde_json::from_slice(json)
            .map_err(|error| Trouble::because("reading the drawing of a hall", error))?;
        let (mut names, mut follows) = (Vec::new(), Vec::new());
        for row in told.rows {
            for (place, seat) in row.seats.iter().enumerate() {
                let name = match &seat.number {
                    Number::Text(number) => format!("{}-{number}", row.label),
                    Number::Plain(number) => format!("{}-{number}", row.label),
                };
                names.push(name.into_boxed_str());
                follows.push(place > 0 && !seat.aisle_before);
            }
        }
        let by_name: HashMap<_, _> = names.iter().cloned().zip(0..).collect();
        if by_name.len() < names.len() || names.is_empty() {
            return Err(Trouble::new("the drawing of a hall has no seats or a duplicate seat"));
        }
        Ok(Self { names, by_name, follows })
    }

    /// How many seats it has.
    pub fn seats(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// The name of a seat.
    pub fn name(&self, seat: u32) -> &str {
        &self.names[seat as usize]
    }

    /// The names of seats, for a reader.
    pub fn names(&self, seats: &[u32]) -> String {
        seats.iter().map(|seat| self.name(*seat)).collect::<Vec<_>>().join(" ")
    }

    /// The seat of a name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// Whether each of these seats is beside the one before; they are in ascending order.
    pub fn are_together(&self, seats: &[u32]) -> bool {
        seats.windows(2).all(|pair| pair[0] + 1 == pair[1] && self.follows[pair[1] as usize])
    }

    /// Whether it shows the same seats as another one.
    pub fn is_like(&self, other: &Self) -> bool {
        self.names == other.names && self.follows == other.follows
    }
}

/// A hall that is being filled.
///
/// Buyers who choose their seats walk it: it is cut into parts, and each walker takes its own from the
/// first seat to the last. Buyers who are given seats learn how large a party still finds room.
#[derive(Debug)]
pub struct Hall {
    /// What it looks like; halls that look alike share it.
    pub drawing: Arc<Drawing>,
    /// Where the walkers are, each in a part of its own.
    cursors: Vec<AtomicU32>,
    /// Seats that no walker has come to yet.
    left: AtomicU32,
    /// The largest party that may still fit: with adjacent seats, and with any seats.
    room: [AtomicU8; 2],
}

impl Hall {
    /// An empty one for this number of walkers.
    pub fn new(drawing: Arc<Drawing>, walkers: usize) -> Self {
        let parts_max = (drawing.seats() / SEATS_OF_A_PART_MIN).max(1);
        let parts = u32::try_from(walkers).unwrap_or(u32::MAX).clamp(1, parts_max);
        let cursors = (0..parts).map(|part| AtomicU32::new(start(&drawing, parts, part)));
        Self {
            cursors: cursors.collect(),
            left: AtomicU32::new(drawing.seats()),
            drawing,
            room: [AtomicU8::new(u8::MAX), AtomicU8::new(u8::MAX)],
        }
    }

    /// How many parts it has.
    pub fn parts(&self) -> usize {
        self.cursors.len()
    }

    /// The next few seats of a part, and fewer or none at its end. Each seat is given out once.
    pub fn next(&self, part: usize, number: u8) -> Seats {
        let end = self.end(part);
        let cursor = &self.cursors[part];
        // A cursor that stays at the end is not written by all who come by.
        if cursor.load(Ordering::Relaxed) >= end {
            return Seats::new();
        }
        let from = cursor.fetch_add(number.into(), Ordering::Relaxed);
        let seats: Seats = (from..end).take(number.into()).collect();
        self.left.fetch_sub(u32::try_from(seats.len()).unwrap_or(0), Ordering::Relaxed);
        seats
    }

    /// Whether walkers have come to every seat.
    pub fn is_walked(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// A few seats that the walker of a part asks for now, has just asked for, or will soon.
    pub fn near(&self, part: usize, number: u8) -> Seats {
        let number = u32::from(number);
        let (first, end) = (self.start(part), self.end(part));
        let at = self.cursors[part].load(Ordering::Relaxed).min(end);
        let from = crate::random::random_of(at.saturating_sub(number)..=at);
        let from = from.min(end.saturating_sub(number)).max(first);
        (from..end).take(number as usize).collect()
    }

    /// The largest party that may still find room.
    pub fn room(&self, adjacent: bool) -> u8 {
        self.room[usize::from(adjacent)].load(Ordering::Relaxed)
    }

    /// A party of this size found none.
    pub fn refused(&self, adjacent: bool, number: u8) {
        let room = &self.room[usize::from(adjacent)];
        room.fetch_min(number.saturating_sub(1), Ordering::Relaxed);
        // A single buyer who finds no seat found the hall full, for everybody.
        if number <= 1 {
            self.room.iter().for_each(|room| room.store(0, Ordering::Relaxed));
        }
    }

    fn start(&self, part: usize) -> u32 {
        let parts = u32::try_from(self.cursors.len()).unwrap_or(u32::MAX);
        start(&self.drawing, parts, u32::try_from(part).unwrap_or(u32::MAX))
    }

    fn end(&self, part: usize) -> u32 {
        self.start(part + 1)
    }
}

fn start(drawing: &Drawing, parts: u32, part: u32) -> u32 {
    let place = u64::from(drawing.seats()) * u64::from(part) / u64::from(parts);
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of four with an aisle in the middle of the first, drawn as the API draws them.
    fn drawing() -> Drawing {
        let json = br#"{"section_id":"x","layout_version":1,"seats":8,"categories":[],"rows":[
            {"label":"A","seats":[{"number":"1","x":0,"y":0,"category":"All"},{"number":"2"},
                                  {"number":"3","aisle_before":true},{"number":"4b"}]},
            {"label":"B-1","seats":[{"number":1},{"number":2},{"number":3},{"number":4}]}]}"#;
        Drawing::read(json).unwrap()
    }

    #[test]
    fn seats_are_beside_each_other_in_one_row_without_an_aisle_between() {
        let drawing = drawing();
        let seat = |name| drawing.find(name).unwrap();
        assert_eq!((seat("A-4b"), seat("B-1-4"), drawing.find("A-5")), (3, 7, None));
        for (seats, together) in [
            (&[0, 1][..], true),
            (&[1, 2], false),
            (&[2, 3], true),
            (&[3, 4], false),
            (&[4, 5, 6, 7], true),
            (&[4, 6], false),
            (&[5], true),
        ] {
            assert_eq!(drawing.are_together(seats), together, "{}", drawing.names(seats));
        }
        assert!(Drawing::read(br#"{"rows":[]}"#).is_err());
        assert!(drawing.is_like(&drawing));
    }

    #[test]
    fn every_seat_of_a_hall_is_walked_over_once() {
        let rows = (0..5).map(|row| {
            let seats: Vec<String> = (1..=40).map(|n| format!(r#"{{"number":"{n}"}}"#)).collect();
            format!(r#"{{"label":"{row}","seats":[{}]}}"#, seats.join(","))
        });
        let json = format!(r#"{{"rows":[{}]}}"#, rows.collect::<Vec<_>>().join(","));
        let hall = Hall::new(Arc::new(Drawing::read(json.as_bytes()).unwrap()), 1_000);
        assert_eq!(hall.parts(), 12, "of at least 16 seats");
        let mut walked = Vec::new();
        assert!(!hall.is_walked());
        for part in 0..hall.parts() {
            loop {
                let near = hall.near(part, 3);
                assert_eq!(near.len(), 3);
                let seats = hall.next(part, 3);
                if seats.is_empty() {
                    break;
                }
                assert!(near.iter().any(|seat| seats.contains(seat) || *seat + 3 >= seats[0]));
                walked.extend(seats);
            }
        }
        assert_eq!(walked, (0..200).collect::<Vec<u32>>());
        assert!(hall.is_walked());
    }

    #[test]
    fn a_refused_party_says_how_large_a_party_may_be() {
        let hall = Hall::new(Arc::new(drawing()), 1);
        hall.refused(true, 4);
        hall.refused(true, 6);
        assert_eq!((hall.room(true), hall.room(false)), (3, u8::MAX));
        hall.refused(false, 1);
        assert_eq!((hall.room(true), hall.room(false)), (0, 0));
    }
}
