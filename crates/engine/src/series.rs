//! Series: events of one organization that belong together, such as the concerts of a season.
//!
//! Everything of a series has one shard: the series draws it, and its events copy it. So whatever is
//! held across several events of a series stays in one lane and in one transaction. Ids do not change,
//! hence an event is in a series from its creation on, or never. An event that goes to another organization
//! leaves its series, and keeps its id and its shard.

use crate::access::{By, Owned, Permission, may};
use crate::error::Refusal;
use crate::event::Event;
use crate::ids::{EventId, OrgId, SeriesId};
use crate::time::Timestamp;

/// Events that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The series.
    pub series_id: SeriesId,
    /// Whose it is.
    pub organizer_id: OrgId,
    /// Its name.
    pub title: String,
    /// Rises with every change.
    pub version: i64,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Owned for Series {
    fn org_id(&self) -> OrgId {
        self.organizer_id
    }

    fn event_id(&self) -> Option<EventId> {
        None
    }

    /// What the public sees are its events.
    fn is_public(&self) -> bool {
        false
    }

    fn hidden(&self, _: Permission) -> &'static str {
        "series"
    }
}

/// A change of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesChange {
    /// The version that its editor believes it to have.
    pub expected: Option<i64>,
    /// Its name; `None` leaves it as it is.
    pub title: Option<String>,
}

/// The series as it is from `now` on; to set what is so already changes nothing.
///
/// The first refusal wins: those of [`may`], [`Refusal::VersionMismatch`].
pub fn decide(
    series: &Series,
    by: By,
    change: &SeriesChange,
    now: Timestamp,
) -> Result<Series, Refusal> {
    may(by, Permission::EventWrite, series)?;
    if change.expected.is_some_and(|expected| expected != series.version) {
        return Err(Refusal::VersionMismatch { version: series.version });
    }
    let mut series = series.clone();
    if let Some(title) = change.title.as_ref().filter(|title| **title != series.title) {
        series.title.clone_from(title);
        series.version += 1;
        series.updated_at = now;
    }
    Ok(series)
}

/// Whether the new `event` may be in the series that it names, which is `series` if there is one.
///
/// Refuses a series that is not there, and those of others than the organization of the event, in the
/// same words ([`Refusal::NotFound`]).
///
/// # Panics
/// When the event has another shard than its series: ids are ours to make.
pub fn may_begin(event: &Event, series: Option<&Series>) -> Result<(), Refusal> {
    let Some(series_id) = event.series_id else { return Ok(()) };
    let series = series.filter(|series| series.series_id == series_id);
    let series = series.filter(|series| series.organizer_id == event.terms.organizer_id);
    series.ok_or(Refusal::NotFound { what: "series" })?;
    let shards = (event.terms.event_id.shard(), series_id.shard());
    assert_eq!(shards.0, shards.1, "an event has the shard of its series");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Shard, UserId};

    fn user(number: u64) -> UserId {
        UserId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
    }

    fn series() -> Series {
        let at = Timestamp::from_unix_ms(5);
        Series {
            series_id: SeriesId::new(at, Shard::pick(77), 1),
            organizer_id: user(1).into(),
            title: "Season".to_owned(),
            version: 3,
            created_at: at,
            updated_at: at,
        }
    }

    fn rename(expected: Option<i64>) -> SeriesChange {
        SeriesChange { expected, title: Some("Season 2".to_owned()) }
    }

    #[test]
    fn a_series_is_changed_by_its_organizer_at_the_version_they_saw() {
        let (before, now) = (series(), Timestamp::from_unix_ms(9));
        for expected in [None, Some(3)] {
            let after = decide(&before, user(1).into(), &rename(expected), now).expect("theirs");
            let expected = Series {
                title: "Season 2".to_owned(),
                version: 4,
                updated_at: now,
                ..before.clone()
            };
            assert_eq!(after, expected);
        }
        let stale = decide(&before, user(1).into(), &rename(Some(2)), now);
        assert_eq!(stale, Err(Refusal::VersionMismatch { version: 3 }));
        for title in [None, Some("Season".to_owned())] {
            let nothing = SeriesChange { expected: Some(3), title };
            assert_eq!(decide(&before, user(1).into(), &nothing, now), Ok(before.clone()));
        }
    }

    #[test]
    fn a_series_does_not_exist_for_others() {
        let missing = Err(Refusal::NotFound { what: "series" });
        let stranger =
            decide(&series(), user(2).into(), &rename(Some(2)), Timestamp::from_unix_ms(9));
        assert_eq!(stranger, missing);
        for permission in [Permission::EventRead, Permission::EventWrite] {
            may(user(1).into(), permission, &series()).expect("theirs");
            may(By::System, permission, &series()).expect("ours");
            let refused = may(user(2).into(), permission, &series());
            assert_eq!(refused, Err(Refusal::NotFound { what: "series" }));
        }
    }
}
