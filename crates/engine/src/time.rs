//! Time: instants in milliseconds, and the date of an event.
//!
//! Nothing here reads a clock. The one clock that decides is the store's, read once per batch.

use chrono::format::{ParseError, ParseErrorKind};
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use std::fmt;

/// An instant, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first instant of the year 0001 and the last of 9999: what RFC 3339 can write.
    const RANGE_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

    /// The instant `ms` milliseconds after 1970.
    #[must_use]
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// The instant `ms` later (earlier when negative).
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant; negative when `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads an RFC 3339 instant of the years 0001 to 9999; finer digits than milliseconds are cut.
    pub fn read(text: &str) -> Result<Self, DateFlaw> {
        let read = DateTime::parse_from_rfc3339(text).map_err(|error| DateFlaw::of(text, error))?;
        let ms = read.timestamp_millis();
        if Self::RANGE_MS.contains(&ms) { Ok(Self(ms)) } else { Err(DateFlaw::OutOfRange) }
    }

    /// [`Self::read`], if nothing is wrong with it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }
}

impl Timestamp {
    /// RFC 3339 in UTC with milliseconds, in ASCII; `None` outside of the years that it can write.
    ///
    /// Every answer has several of them, so no calendar library stands between; the day is found by
    /// Howard Hinnant's `civil_from_days`.
    #[must_use]
    pub fn rfc3339(self) -> Option<[u8; 24]> {
        const DAY_MS: i64 = 86_400_000;
        if !Self::RANGE_MS.contains(&self.0) {
            return None;
        }
        let (days, ms) = (self.0.div_euclid(DAY_MS), self.0.rem_euclid(DAY_MS));
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let parts = [
            (0, 4, year),
            (5, 2, month),
            (8, 2, of_year - (153 * shifted + 2) / 5 + 1),
            (11, 2, ms / 3_600_000),
            (14, 2, ms / 60_000 % 60),
            (17, 2, ms / 1_000 % 60),
            (20, 3, ms % 1_000),
        ];
        for (start, digits, mut number) in parts {
            for place in (start..start + digits).rev() {
                text[place] = b'0' + u8::try_from(number % 10).expect("one digit");
                number /= 10;
            }
        }
        Some(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rfc3339() {
            Some(text) => f.write_str(std::str::from_utf8(&text).expect("made of ASCII")),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// What is wrong with a date or an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateFlaw {
    /// It is not written as one.
    Malformed,
    /// It is written as one, and the calendar has no such day or time.
    NotInCalendar,
    /// It begins or ends outside of the years 0001 to 9999 in UTC.
    OutOfRange,
    /// The time zone skipped this day.
    Skipped,
}

impl DateFlaw {
    fn of(text: &str, error: ParseError) -> Self {
        let digits = text.trim_start_matches(['+', '-']);
        let year = digits.bytes().take_while(u8::is_ascii_digit).count();
        let has_sign = digits.len() < text.len();
        let has_year = year >= 4 && digits[year..].starts_with('-');
        match error.kind() {
            _ if has_year && (has_sign || year > 4) => Self::OutOfRange,
            ParseErrorKind::OutOfRange | ParseErrorKind::Impossible => Self::NotInCalendar,
            _ => Self::Malformed,
        }
    }
}

/// When an event takes place, as its organizer wrote it: a whole day, or an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDate {
    text: String,
    starts_at: Timestamp,
    over_at: Timestamp,
}

impl EventDate {
    /// Reads `2027-06-15` (the whole day in `timezone`) or an RFC 3339 instant.
    ///
    /// A day is over at its end in `timezone`; an instant is over when it is reached.
    pub fn read(text: &str, timezone: Tz) -> Result<Self, DateFlaw> {
        // The length keeps out years that RFC 3339 cannot write.
        if text.len() != 10 {
            let at = Timestamp::read(text)?;
            return Ok(Self { text: text.to_owned(), starts_at: at, over_at: at });
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
        let day = day.map_err(|error| DateFlaw::of(text, error))?;
        let next = day.checked_add_days(Days::new(1));
        let ends = beginning(day, timezone).zip(next.and_then(|next| beginning(next, timezone)));
        let (starts_at, over_at) = ends.ok_or(DateFlaw::OutOfRange)?;
        if ![starts_at, over_at].iter().all(|at| Timestamp::RANGE_MS.contains(&at.0)) {
            return Err(DateFlaw::OutOfRange);
        }
        // A zone that moved to the other side of the date line skipped a day: it has no instant.
        if starts_at >= over_at {
            return Err(DateFlaw::Skipped);
        }
        Ok(Self { text: text.to_owned(), starts_at, over_at })
    }

    /// [`Self::read`], if nothing is wrong with it.
    #[must_use]
    pub fn parse(text: &str, timezone: Tz) -> Option<Self> {
        Self::read(text, timezone).ok()
    }

    /// The date as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When the event starts.
    #[must_use]
    pub fn starts_at(&self) -> Timestamp {
        self.starts_at
    }

    /// From this instant on nothing of the event can be sold.
    #[must_use]
    pub fn over_at(&self) -> Timestamp {
        self.over_at
    }
}

/// The longest stretch of local time that a zone has ever skipped: a whole day, at the date line.
const SKIPPED_HOURS_MAX: i64 = 25;

/// The first instant in `timezone` that is not before `day`, also where its midnight was skipped:
/// by daylight saving, or with the whole day.
fn beginning(day: NaiveDate, timezone: Tz) -> Option<Timestamp> {
    let midnight = day.and_time(NaiveTime::MIN);
    let at = |wall: NaiveDateTime| {
        let at = timezone.from_local_datetime(&wall).earliest()?;
        Some(at.timestamp_millis())
    };
    let hours = |hours| midnight.checked_add_signed(TimeDelta::hours(hours)).and_then(at);
    if let Some(at) = at(midnight) {
        return Some(Timestamp(at));
    }
    let mut before = (1..=SKIPPED_HOURS_MAX).find_map(|back| hours(-back))?;
    let mut after = (1..=SKIPPED_HOURS_MAX).find_map(hours)?;
    // Between the two the clocks only jump, once and forward: the jump is where the day begins.
    while after - before > 1 {
        let middle = i64::midpoint(before, after);
        let wall = DateTime::from_timestamp_millis(middle)?.with_timezone(&timezone).naive_local();
        *(if wall < midnight { &mut before } else { &mut after }) = middle;
    }
    Some(Timestamp(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_utc_with_milliseconds() {
        let at = Timestamp::parse("2027-06-15T20:00:00.1239+02:00").expect("valid");
        assert_eq!(at.to_string(), "2027-06-15T18:00:00.123Z");
        for bad in ["", "2027-06-15", "2027-13-01T00:00:00Z", "tomorrow", "99999-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn instants_read_like_the_calendar_library_writes_them() {
        let range = *Timestamp::RANGE_MS.start()..=*Timestamp::RANGE_MS.end();
        let steps = range.clone().step_by(86_400_000 * 13 + 12_345_677);
        for ms in steps.chain([*range.end(), -1, 0, 951_782_400_000, 1_709_164_800_000]) {
            let expected = DateTime::from_timestamp_millis(ms).expect("in range");
            let expected = expected.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            assert_eq!(Timestamp(ms).to_string(), expected, "{ms}");
        }
    }

    #[test]
    fn a_day_lasts_from_midnight_to_midnight_in_its_zone() {
        let berlin = EventDate::parse("2027-06-15", chrono_tz::Europe::Berlin).expect("valid");
        assert_eq!(berlin.starts_at().to_string(), "2027-06-14T22:00:00.000Z");
        assert_eq!(berlin.over_at().to_string(), "2027-06-15T22:00:00.000Z");
        // Daylight saving starts at midnight in Cairo: the day begins at one o'clock.
        let cairo = EventDate::parse("2024-04-26", chrono_tz::Africa::Cairo).expect("valid");
        assert_eq!(cairo.starts_at().to_string(), "2024-04-25T22:00:00.000Z");
        for bad in ["2027-02-30", "2027-6-15", "+12027-06-15", "0000-01-01", "", "15.06.2027"] {
            assert_eq!(EventDate::parse(bad, Tz::UTC), None, "{bad}");
        }
    }

    #[test]
    fn the_day_before_a_skipped_day_ends_where_the_next_one_begins() {
        // Samoa moved to the other side of the date line: 30 December 2011 was skipped.
        let day = |text, zone| EventDate::parse(text, zone);
        let apia = day("2011-12-29", chrono_tz::Pacific::Apia).expect("it took place");
        assert_eq!(apia.starts_at().to_string(), "2011-12-29T10:00:00.000Z");
        assert_eq!(apia.over_at().to_string(), "2011-12-30T10:00:00.000Z");
        let next = day("2011-12-31", chrono_tz::Pacific::Apia).expect("it took place");
        assert_eq!(next.starts_at(), apia.over_at());
        assert_eq!(day("2011-12-30", chrono_tz::Pacific::Apia), None, "nobody lived through it");
        for (before, skipped, zone) in [
            ("1993-08-20", "1993-08-21", chrono_tz::Pacific::Kwajalein),
            ("1994-12-30", "1994-12-31", chrono_tz::Pacific::Kiritimati),
            ("1994-12-30", "1994-12-31", chrono_tz::Pacific::Kanton),
            ("2011-12-29", "2011-12-30", chrono_tz::Pacific::Fakaofo),
        ] {
            assert!(day(before, zone).is_some(), "{before} {zone}");
            assert_eq!(day(skipped, zone), None, "{skipped} {zone}");
        }
    }

    #[test]
    fn each_flaw_of_a_date_has_its_name() {
        use DateFlaw::{Malformed, NotInCalendar, OutOfRange, Skipped};
        let apia = chrono_tz::Pacific::Apia;
        for (text, zone, flaw) in [
            ("", Tz::UTC, Malformed),
            ("tomorrow", Tz::UTC, Malformed),
            ("15.06.2027", Tz::UTC, Malformed),
            ("2027-6-15", Tz::UTC, Malformed),
            ("2027-06-15T18:00", Tz::UTC, Malformed),
            ("2027-06-15T18:00:00", Tz::UTC, Malformed),
            ("2027-02-30", Tz::UTC, NotInCalendar),
            ("2027-13-01", Tz::UTC, NotInCalendar),
            ("2027-02-30T18:00:00Z", Tz::UTC, NotInCalendar),
            ("2027-06-15T25:00:00Z", Tz::UTC, NotInCalendar),
            ("2011-12-30", apia, Skipped),
            ("0000-01-01", Tz::UTC, OutOfRange),
            ("0001-01-01", chrono_tz::Europe::Berlin, OutOfRange),
            ("9999-12-31", Tz::UTC, OutOfRange),
            ("0000-12-31T23:59:59Z", Tz::UTC, OutOfRange),
            ("9999-12-31T23:59:59-01:00", Tz::UTC, OutOfRange),
            ("12027-06-15", Tz::UTC, OutOfRange),
            ("+12027-06-15", Tz::UTC, OutOfRange),
            ("-2027-06-15", Tz::UTC, OutOfRange),
            ("12027-06-15T18:00:00Z", Tz::UTC, OutOfRange),
        ] {
            assert_eq!(EventDate::read(text, zone), Err(flaw), "{text:?} {zone}");
        }
        for text in ["0001-01-01", "9999-12-30", "9999-12-31T23:59:59.999Z"] {
            assert!(EventDate::read(text, Tz::UTC).is_ok(), "{text}");
        }
    }

    #[test]
    fn every_day_of_every_zone_begins_where_the_one_before_it_ends() {
        // Around each change of the clocks that skips a midnight, and each day of a year.
        for zone in chrono_tz::TZ_VARIANTS {
            let mut day = NaiveDate::from_ymd_opt(2024, 1, 1).expect("a day");
            let mut ended = None;
            while day < NaiveDate::from_ymd_opt(2025, 1, 1).expect("a day") {
                let date = EventDate::parse(&day.to_string(), zone);
                let date = date.unwrap_or_else(|| panic!("{day} in {zone}"));
                assert!(ended.is_none_or(|ended| ended == date.starts_at()), "{day} in {zone}");
                let hours = date.over_at().since_ms(date.starts_at()) / 3_600_000;
                assert!((22..=26).contains(&hours), "{day} in {zone}: {hours} h");
                ended = Some(date.over_at());
                day = day.succ_opt().expect("there is another day");
            }
        }
    }
}
