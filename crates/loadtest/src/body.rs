//! The few things that are read from an answer's body while the load runs, without parsing it whole.

use chrono::DateTime;
use serde::Deserialize;
use uuid::Uuid;

/// The text of a member that occurs once in a JSON object, such as `code` in a problem; nothing if
/// it is missing, is no string, or has an escape in it.
pub fn text<'a>(body: &'a [u8], member: &str) -> Option<&'a str> {
    let value = value(body, member)?.strip_prefix(b"\"")?;
    let end = value.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    if value[end] == b'\\' {
        return None;
    }
    str::from_utf8(&value[..end]).ok()
}

/// The number of a member that is a whole one.
pub fn number(body: &[u8], member: &str) -> Option<u64> {
    let value = value(body, member)?;
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    str::from_utf8(&value[..end]).ok()?.parse().ok()
}

/// A member that is true or false.
pub fn flag(body: &[u8], member: &str) -> Option<bool> {
    let value = value(body, member)?;
    let is = |word: &[u8]| value.starts_with(word);
    if is(b"true") { Some(true) } else { is(b"false").then_some(false) }
}

/// Whether a booking has one item, and that has these seats, in this order: as it is told when nothing
/// is wrong. Where this says no, [`seats`] knows better.
pub fn has_just<'a>(body: &[u8], names: impl Iterator<Item = &'a str>) -> bool {
    let Some(items) = value(body, "items") else { return false };
    let once = |member| value(items, member).filter(|rest| value(rest, member).is_none());
    let Some(list) = once("seats").and_then(|list| list.strip_prefix(b"[")) else { return false };
    let (mut rest, mut before) = (list, &b"\""[..]);
    for name in names {
        let told = rest.strip_prefix(before).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        let Some(after) = told.and_then(|rest| rest.strip_prefix(b"\"")) else { return false };
        (rest, before) = (after, b",\"");
    }
    rest.first() == Some(&b']') && once("section_id").is_some()
}

/// The names of all seats of a booking; nothing if an item has none, or it is no booking.
pub fn seats(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Booking {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        seats: Vec<String>,
    }
    let booking: Booking = serde_json::from_slice(body).ok()?;
    Some(booking.items.into_iter().flat_map(|item| item.seats).collect())
}

/// The id of a booking.
pub fn booking_id(body: &[u8]) -> Option<u128> {
    Uuid::try_parse(text(body, "booking_id")?).ok().map(|id| id.as_u128())
}

/// Milliseconds from `server_time` to `expires_at`, both by the server's clock.
pub fn remaining_ms(body: &[u8]) -> Option<i64> {
    Some(instant_ms(body, "expires_at")? - instant_ms(body, "server_time")?)
}

/// An instant in milliseconds.
pub fn instant_ms(body: &[u8], member: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text(body, member)?).ok()?.timestamp_millis())
}

/// What follows the colon of a member.
fn value<'a>(body: &'a [u8], member: &str) -> Option<&'a [u8]> {
    let mut rest = body;
    loop {
        let quote = rest.iter().position(|&byte| byte == b'"')?;
        rest = &rest[quote + 1..];
        let Some(after) =
            rest.strip_prefix(member.as_bytes()).and_then(|it| it.strip_prefix(b"\""))
        else {
            continue;
        };
        // A value that reads like the name has no colon behind it.
        if let Some(value) = after.trim_ascii_start().strip_prefix(b":") {
            return Some(value.trim_ascii_start());
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_with_and_without_spaces() {
        let id = "01a2038b-c777-86ba-a196-9315f7b46734";
        let tight = format!("{{\"booking_id\":\"{id}\",\"status\":\"HOLD\",\"version\":12}}");
        let loose = format!(
            "{{\n  \"status\" : \"HOLD\",\n  \"version\" : 12,\n  \"booking_id\" : \"{id}\"\n}}"
        );
        for body in [tight.as_bytes(), loose.as_bytes()] {
            assert_eq!(booking_id(body), Uuid::try_parse(id).ok().map(|id| id.as_u128()));
            assert_eq!(text(body, "status"), Some("HOLD"));
            assert_eq!(number(body, "version"), Some(12));
        }
    }

    #[test]
    fn a_value_that_reads_like_a_name_is_no_name() {
        let body = br#"{"title":"code","code":"sold_out","detail":"a \" in it"}"#;
        assert_eq!(text(body, "code"), Some("sold_out"));
        assert_eq!(text(body, "detail"), None);
        assert_eq!(text(body, "missing"), None);
        assert_eq!(text(b"<html>", "code"), None);
        assert_eq!(text(b"\"code\":\"cut", "code"), None);
        assert_eq!(number(body, "code"), None);
    }

    #[test]
    fn the_seats_of_a_booking_are_those_of_all_its_items() {
        let body = br#"{"next_to_each_other":false,"items":[{"seats":["A-1","A-2"],"x":1},{"seats":["B-1"]}]}"#;
        assert_eq!(seats(body).unwrap(), ["A-1", "A-2", "B-1"]);
        assert_eq!(flag(body, "next_to_each_other"), Some(false));
        assert_eq!((seats(br#"{"items":[{}]}"#), flag(body, "items")), (None, None));
    }

    #[test]
    fn a_booking_with_just_the_seats_that_were_asked_for_is_known_at_once() {
        let one = r#"{"seats":["A-1","A-2"],"items":[{"section_id":"s","seats":["A-1","A-2"]}]}"#;
        let has = |body: &str, names: &[&str]| has_just(body.as_bytes(), names.iter().copied());
        assert!(has(one, &["A-1", "A-2"]));
        for others in [&["A-1"][..], &["A-2", "A-1"], &["A-1", "A-2", "A-3"], &["A-1", "A-22"], &[]]
        {
            assert!(!has(one, others), "{others:?}");
        }
        for further in [r#"{"section_id":"s","seats":["B-1"]}"#, r#"{"section_id":"s"}"#] {
            let before = one.replace(r#":[{"s"#, &format!(r#":[{further},{{"s"#));
            let after = one.replace("}]}", &format!("}},{further}]}}"));
            for more in [before, after] {
                assert!(more.len() > one.len() && !has(&more, &["A-1", "A-2"]), "{more}");
            }
        }
        assert!(!has(r#"{"items":[{}]}"#, &["A-1"]));
    }

    #[test]
    fn what_remains_of_a_hold_is_counted_by_the_servers_clock() {
        let body = br#"{"expires_at":"2026-11-22T14:12:01.943Z","server_time":"2026-11-22T14:11:59.940Z"}"#;
        assert_eq!(remaining_ms(body), Some(2_003));
        assert_eq!(remaining_ms(b"{}"), None);
    }
}
