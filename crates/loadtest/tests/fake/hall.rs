//! Numbered seats as the server of the suite keeps them: rows of equal length, and who has each seat.

use super::Plant;
use serde_json::{Value, json};
use uuid::Uuid;

pub struct Hall {
    per_row: usize,
    aisles_after: Vec<usize>,
    /// The booking that has each seat.
    pub of: Vec<Option<Uuid>>,
}

impl Hall {
    /// From the short form of a layout, with rows such as `1-20`.
    pub fn new(layout: &Value) -> Self {
        let number = |value: &Value| usize::try_from(value.as_u64().expect("a number"));
        let per_row = number(&layout["seats_per_row"]).expect("small");
        let (first, last) =
            layout["rows"].as_str().and_then(|it| it.split_once('-')).expect("rows");
        let rows: usize =
            last.parse::<usize>().expect("a row") + 1 - first.parse::<usize>().expect("a row");
        let aisles = layout["aisles_after"].as_array().into_iter().flatten();
        let aisles_after = aisles.map(|it| number(it).expect("small")).collect();
        Self { per_row, aisles_after, of: vec![None; rows * per_row] }
    }

    pub fn drawing(&self) -> Value {
        let seat = |place: usize| {
            let mut seat = json!({ "number": (place + 1).to_string(), "x": place, "y": 0,
                                   "category": "All" });
            if self.aisles_after.contains(&place) {
                seat["aisle_before"] = true.into();
            }
            seat
        };
        let seats: Vec<Value> = (0..self.per_row).map(seat).collect();
        let row = |row: usize| json!({ "label": (row + 1).to_string(), "seats": seats });
        let rows: Vec<Value> = (0..self.of.len() / self.per_row).map(row).collect();
        json!({ "layout_version": 1, "seats": self.of.len(), "rows": rows,
                "categories": [{ "name": "All", "price": 0, "currency": "USD" }] })
    }

    pub fn name(&self, seat: usize) -> String {
        format!("{}-{}", seat / self.per_row + 1, seat % self.per_row + 1)
    }

    /// The seats of these names, unless one is taken.
    pub fn named(&self, names: &[Value], even_taken: bool) -> Result<Vec<usize>, &'static str> {
        let find = |name: &Value| {
            let (row, seat) = name.as_str()?.split_once('-')?;
            let (row, seat): (usize, usize) = (row.parse().ok()?, seat.parse().ok()?);
            Some((row - 1) * self.per_row + seat - 1)
        };
        let seats: Option<Vec<usize>> = names.iter().map(find).collect();
        let seats = seats.ok_or("seats_unavailable")?;
        let is_free = |seat: &usize| self.of.get(*seat).is_some_and(Option::is_none);
        if even_taken || seats.iter().all(is_free) { Ok(seats) } else { Err("seats_unavailable") }
    }

    /// The first seats that are free, beside each other if they must be; `split` on the contrary.
    pub fn best(
        &self,
        number: usize,
        adjacent: bool,
        split: bool,
    ) -> Result<Vec<usize>, &'static str> {
        let free: Vec<usize> = (0..self.of.len()).filter(|seat| self.of[*seat].is_none()).collect();
        if free.len() < number {
            return Err("sold_out");
        }
        if split {
            let far = free.iter().rev().step_by(2).take(number).copied().collect::<Vec<_>>();
            return if far.len() == number { Ok(far) } else { Err("sold_out") };
        }
        if !adjacent {
            return Ok(free[..number].to_vec());
        }
        let follows = |pair: &[usize]| {
            let place = pair[1] % self.per_row;
            pair[0] + 1 == pair[1] && place > 0 && !self.aisles_after.contains(&place)
        };
        let together = free.windows(number).find(|seats| seats.windows(2).all(follows));
        together.map(<[usize]>::to_vec).ok_or("not_together")
    }
}

/// The seats of a hall for a hold.
pub fn choose(
    hall: &Hall,
    wish: &Value,
    plant: Plant,
    strikes: bool,
) -> Result<Vec<usize>, &'static str> {
    if let Some(names) = wish["seats"].as_array() {
        let mut seats = hall.named(names, strikes && plant == Plant::SellsTwice)?;
        let other = hall.of.iter().rposition(Option::is_none);
        if let (true, Some(other)) = (strikes && plant == Plant::OtherSeats, other) {
            seats[0] = other;
        }
        return Ok(seats);
    }
    let best = &wish["best_available"];
    let number = best["number"].as_u64().and_then(|it| usize::try_from(it).ok());
    let adjacent = best["adjacent"].as_bool().unwrap_or(false);
    hall.best(number.expect("a number"), adjacent, strikes && plant == Plant::Splits)
}
