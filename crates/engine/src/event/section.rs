//! A section: what it is, what it begins with, and what an organizer may change of it.

use super::set;
use crate::error::Refusal;
use crate::ids::{EventId, SectionId};
use crate::money::{Currency, Money};
use crate::seats::Layout;
use std::sync::Arc;

/// A part of an event, with one price or with numbered seats; its counters are its
/// [`Inventory`](crate::Inventory).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The section.
    pub section_id: SectionId,
    /// The event it belongs to.
    pub event_id: EventId,
    /// Its name, unique in the event without case.
    pub name: Arc<str>,
    /// What one seat costs, of numbered ones the cheapest; frozen into a booking when it is held.
    pub price: Money,
    /// In a section with numbered seats, the number of its layout.
    pub layout_version: Option<i64>,
}

impl Section {
    /// Whether its seats have numbers.
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        self.layout_version.is_some()
    }

    /// Sets its name or price, or the price of a layout it is about to get.
    ///
    /// Refuses a price where the seats have their own ([`Refusal::SeatsAreNumbered`]).
    pub fn revise(
        &mut self,
        name: Option<Arc<str>>,
        price: Option<Money>,
        layout: Option<&Layout>,
    ) -> Result<(), Refusal> {
        if price.is_some() && (self.is_numbered() || layout.is_some()) {
            return Err(Refusal::SeatsAreNumbered);
        }
        set(&mut self.name, name);
        set(&mut self.price, price.or(layout.map(Layout::lowest_price)));
        Ok(())
    }
}

/// What a section begins with.
#[derive(Clone, Debug)]
pub enum Opening {
    /// A number of seats.
    Capacity(i64),
    /// Numbered seats.
    Layout(Arc<Layout>),
}

impl From<i64> for Opening {
    fn from(capacity: i64) -> Self {
        Self::Capacity(capacity)
    }
}

impl Opening {
    /// How many seats it has.
    #[must_use]
    pub fn capacity(&self) -> i64 {
        match self {
            Self::Capacity(capacity) => *capacity,
            Self::Layout(layout) => i64::from(layout.seats()),
        }
    }

    /// The same with prices in another currency.
    #[must_use]
    pub fn in_currency(self, currency: Currency) -> Self {
        match self {
            Self::Capacity(capacity) => Self::Capacity(capacity),
            Self::Layout(layout) => Self::Layout(Arc::new(layout.in_currency(currency))),
        }
    }

    /// Its layout, if its seats have numbers.
    #[must_use]
    pub fn layout(&self) -> Option<&Arc<Layout>> {
        match self {
            Self::Capacity(_) => None,
            Self::Layout(layout) => Some(layout),
        }
    }
}

impl SectionChange {
    /// The same without the capacity or the layout that `section` has already, whose capacity is
    /// `capacity`. A capacity of numbered seats stays, to be refused.
    #[must_use]
    pub fn without_what_is_so(&self, section: &Section, capacity: Option<i64>) -> Self {
        let is_other = |wanted: &i64| section.is_numbered() || capacity != Some(*wanted);
        let is_new = |layout: &Arc<Layout>| section.layout_version != Some(layout.id());
        Self {
            name: self.name.clone(),
            price: self.price,
            capacity: self.capacity.filter(is_other),
            layout: self.layout.clone().filter(is_new),
        }
    }
}

/// What an organizer wants to change of a section; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct SectionChange {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// What one seat costs; bookings keep the price they were made at.
    pub price: Option<Money>,
    /// How many seats there are.
    pub capacity: Option<i64>,
    /// Which seats there are; with it, the capacity and the price are those of the layout.
    pub layout: Option<Arc<Layout>>,
}
