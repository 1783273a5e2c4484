//! Settings of the configuration and of events, as a scenario writes them.

use super::text::duration_ms;
use engine::event::EventChange;
use engine::{EventDate, EventStatus, Policy, Timestamp};
use std::collections::BTreeMap;

type Given = BTreeMap<String, String>;

/// Takes a setting out of the pairs of a line; `None` when it is not among them.
pub fn take<T>(
    given: &mut Given,
    name: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let value = given.remove(name).map(|text| read(&text)).transpose();
    value.map_err(|why| format!("{name}={why}"))
}

pub fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text}, which is no number"))
}

fn ms(text: &str) -> Result<i64, String> {
    duration_ms(text).ok_or_else(|| format!("{text}, which is no duration"))
}

/// The word `none` clears a setting.
fn or_none<T>(
    read: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| if text == "none" { Ok(None) } else { read(text).map(Some) }
}

/// The configuration: `policy` with what a line changes of it.
pub fn policy(given: &mut Given, policy: Policy) -> Result<Policy, String> {
    let seats = take(given, "seats_per_booking", count)?;
    let cap = take(given, "seats_per_user", or_none(count))?;
    Ok(Policy {
        hold_ttl_ms: take(given, "ttl", ms)?.unwrap_or(policy.hold_ttl_ms),
        hold_max_life_ms: take(given, "max_life", ms)?.unwrap_or(policy.hold_max_life_ms),
        max_seats_per_booking: seats.unwrap_or(policy.max_seats_per_booking),
        max_seats_per_user: cap.unwrap_or(policy.max_seats_per_user),
    })
}

/// What a line changes of an event; instants are written as durations from `now`.
pub fn change(given: &mut Given, now: Timestamp) -> Result<EventChange, String> {
    let instant = |text: &str| Ok(now.plus_ms(ms(text)?));
    let date = |text: &str| {
        let timezone = "UTC".parse().expect("a time zone");
        let date = EventDate::parse(&instant(text)?.to_string(), timezone);
        Ok((date.ok_or("an instant nobody can write")?, timezone))
    };
    let status =
        |text: &str| EventStatus::parse(text).ok_or_else(|| format!("{text}, which is no status"));
    Ok(EventChange {
        date: take(given, "over", date)?,
        status: take(given, "status", status)?,
        sales_start: take(given, "sales_start", or_none(instant))?,
        sales_end: take(given, "sales_end", or_none(instant))?,
        max_seats_per_booking: take(given, "seats_per_booking", or_none(count))?,
        max_seats_per_user: take(given, "seats_per_user", or_none(count))?,
        hold_ttl_ms: take(given, "ttl", or_none(ms))?,
        cancellable_until: take(given, "cancellable_until", or_none(instant))?,
        ..EventChange::default()
    })
}
