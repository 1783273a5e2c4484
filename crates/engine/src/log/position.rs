//! Positions in the log, and what a reader keeps of them.
//!
//! Numbers rise in the order in which the rows of a section, a booking or an event came to be. After a
//! restore or a failover that lost rows, the database assigns some numbers again, to other rows. So
//! the log has *timelines*: one begins whenever a number may be given again, and a cursor names the
//! one it was drawn in.

use std::fmt;
use std::str::FromStr;

/// A place in the log: the number of a row, and the place of an entry in it.
///
/// A row has one entry, at place 0, or is a [`Run`](super::Run) of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The row's number. Zero is before the first row.
    pub seq: i64,
    /// The entry's place in the row, from 0.
    pub place: u16,
}

impl Position {
    /// The last place in the row with this number.
    #[must_use]
    pub fn end_of(seq: i64) -> Self {
        Self { seq, place: u16::MAX }
    }
}

/// When a stretch of the log was opened, in seconds since 1970; zero is the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timeline(pub u32);

/// Up to where a reader has read. As text: `<timeline>-<seq>-<place>` in 8, 16 and 4 hexadecimal
/// digits, which sorts as the log does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogCursor {
    /// The timeline in which it was drawn.
    pub timeline: Timeline,
    /// The last position that was read.
    pub position: Position,
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { seq, place } = self.position;
        write!(f, "{:08x}-{seq:016x}-{place:04x}", self.timeline.0)
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACursor;

impl fmt::Display for NotACursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cursor of the log")
    }
}

impl std::error::Error for NotACursor {}

impl FromStr for LogCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(NotACursor)?;
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if !part.bytes().all(is_digit) {
                return Err(NotACursor);
            }
            u64::from_str_radix(part, 16).map_err(|_| NotACursor)
        };
        let (timeline, seq, place) = (part(8)?, part(16)?, part(4)?);
        if parts.next().is_some() {
            return Err(NotACursor);
        }
        let small = "as many digits as fit";
        Ok(Self {
            timeline: Timeline(u32::try_from(timeline).expect(small)),
            position: Position {
                seq: i64::try_from(seq).map_err(|_| NotACursor)?,
                place: u16::try_from(place).expect(small),
            },
        })
    }
}

/// A cursor of a timeline that this log does not have: it belongs to a history that was lost, or to
/// another database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTimeline;

/// The timelines of a log, oldest first, each with the last number before it began. Before the first
/// of them is timeline zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timelines(Vec<(Timeline, i64)>);

impl Timelines {
    /// Those of a store, in any order.
    #[must_use]
    pub fn of(mut timelines: Vec<(Timeline, i64)>) -> Self {
        timelines.sort_unstable();
        Self(timelines)
    }

    /// The timeline in which a row with this number was written.
    #[must_use]
    pub fn at(&self, seq: i64) -> Timeline {
        let began = self.0.iter().rev().find(|(_, after)| *after < seq);
        began.map_or(Timeline::default(), |(timeline, _)| *timeline)
    }

    /// The newest one.
    #[must_use]
    pub fn newest(&self) -> Timeline {
        self.0.last().map_or(Timeline::default(), |(timeline, _)| *timeline)
    }

    /// The timeline to open at this second: later than all there are.
    #[must_use]
    pub fn next(&self, unix_seconds: i64) -> Timeline {
        let now =
            u32::try_from(unix_seconds).unwrap_or(if unix_seconds < 0 { 0 } else { u32::MAX });
        Timeline(now.max(self.newest().0.saturating_add(1)))
    }

    /// Where a reader with this cursor goes on: no later than where the timeline ended that the cursor
    /// was drawn in, since what it has read beyond that was lost.
    pub fn resume(&self, cursor: LogCursor) -> Result<Position, UnknownTimeline> {
        let next = match self.0.iter().position(|(timeline, _)| *timeline == cursor.timeline) {
            Some(at) => self.0.get(at + 1),
            None if cursor.timeline == Timeline::default() => self.0.first(),
            None => return Err(UnknownTimeline),
        };
        Ok(next.map_or(cursor.position, |(_, after)| cursor.position.min(Position::end_of(*after))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(timeline: u32, seq: i64, place: u16) -> LogCursor {
        LogCursor { timeline: Timeline(timeline), position: Position { seq, place } }
    }

    #[test]
    fn the_text_of_a_cursor_sorts_as_the_log_does_and_is_read_back() {
        let cursors = [
            cursor(0, 0, 0),
            cursor(0, 1, 0),
            cursor(0, 1, 7),
            cursor(0, i64::MAX, u16::MAX),
            cursor(0x6929_a1c0, 0x1_e240, 0),
            cursor(0x6929_a1c1, 2, 0),
            cursor(u32::MAX, 1, 0),
        ];
        let texts: Vec<_> = cursors.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(texts[4], "6929a1c0-000000000001e240-0000");
        for (cursor, text) in cursors.iter().zip(&texts) {
            assert_eq!(text.parse(), Ok(*cursor));
        }
    }

    #[test]
    fn no_other_text_is_a_cursor() {
        let wrong = [
            "",
            "0",
            "6929a1c0-000000000001e240",
            "6929a1c0-000000000001e240-0000-0000",
            "6929A1C0-000000000001e240-0000",
            "+929a1c0-000000000001e240-0000",
            "6929a1c0-8000000000000000-0000",
            "6929a1c0-000000000001e240-00000",
            "é29a1c0-000000000001e240-0000",
        ];
        for text in wrong {
            assert_eq!(text.parse::<LogCursor>(), Err(NotACursor), "{text}");
        }
    }

    #[test]
    fn a_row_belongs_to_the_last_timeline_that_began_before_it() {
        let timelines =
            Timelines::of(vec![(Timeline(30), 9), (Timeline(10), 4), (Timeline(20), 9)]);
        let at = |seq| timelines.at(seq).0;
        assert_eq!([1, 4, 5, 9, 10, 99].map(at), [0, 0, 10, 10, 30, 30]);
        assert_eq!(timelines.newest(), Timeline(30));
        assert_eq!(timelines.next(7), Timeline(31), "never one twice");
        assert_eq!(timelines.next(70), Timeline(70));
        assert_eq!(Timelines::default().next(-1), Timeline(1));
    }

    #[test]
    fn a_reader_goes_on_where_its_timeline_ended() {
        let timelines = Timelines::of(vec![(Timeline(10), 4), (Timeline(20), 9)]);
        let resume = |timeline, seq| timelines.resume(cursor(timeline, seq, 0)).map(|it| it.seq);
        assert_eq!(resume(0, 3), Ok(3));
        assert_eq!(resume(0, 6), Ok(4), "5 and 6 were lost, and are other rows now");
        assert_eq!(resume(10, 12), Ok(9));
        assert_eq!(resume(20, 12), Ok(12));
        assert_eq!(resume(15, 12), Err(UnknownTimeline));
        let at_the_end = timelines.resume(cursor(0, 4, 0)).expect("known");
        assert_eq!(at_the_end, Position { seq: 4, place: 0 });
    }
}
