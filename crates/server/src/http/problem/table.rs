//! The table of problems: what each code means and what its reader does, as `/problems/<code>` shows it.
//!
//! It is the one in `docs/HTTP.md`, row by row.

use super::Code;

/// A kind of problem. A code whose members differ has several rows.
pub struct Row {
    /// The status of its answers.
    pub status: u16,
    /// The code, part of the API.
    pub code: &'static str,
    /// The members and headers that its answers add; text with code in backquotes.
    pub members: &'static str,
    /// What to do; text with code in backquotes.
    pub advice: &'static str,
}

const fn row(code: Code, members: &'static str, advice: &'static str) -> Row {
    Row { status: code.status().as_u16(), code: code.as_str(), members, advice }
}

/// The rows of a code; none when it is unknown.
pub fn rows(code: &str) -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(move |row| row.code == code)
}

/// All codes.
pub const TABLE: &[Row] = &[
    row(
        Code::MalformedJson,
        "",
        "the body is no JSON: syntax, encoding, depth, a key that stands twice",
    ),
    row(
        Code::MalformedRequest,
        "",
        "another part cannot be read: the head, `Host`, the query, `Idempotency-Key`, \
         `If-Match`, a body that ended early",
    ),
    row(Code::Unauthorized, "`WWW-Authenticate`", "send a token; refresh it when it has expired"),
    row(Code::InvalidCredentials, "`WWW-Authenticate`", "unknown address, or wrong password"),
    row(Code::InvalidRefreshToken, "", "log in again"),
    row(Code::NotOrganizer, "", "the event is another user's"),
    row(Code::NotFound, "", "unknown path, id or section; or another user's"),
    row(Code::MethodNotAllowed, "`Allow`", ""),
    row(Code::RequestTimeout, "", "headers or body came too slowly; retry"),
    row(Code::EmailTaken, "", ""),
    row(Code::EventCancelled, "", "the event was called off"),
    row(Code::SaleNotOpen, "`sales_start`", "wait until then; null when no date is set"),
    row(Code::SaleClosed, "", ""),
    row(Code::EventOver, "", ""),
    row(Code::TooManySeats, "`limit`", "seats in one booking"),
    row(Code::BuyerLimit, "`limit`, `remaining`", "seats of one buyer at the event"),
    row(
        Code::SoldOut,
        "`available`, `requested`",
        "ask for at most `available`; more may come back when holds end",
    ),
    row(
        Code::SoldOut,
        "`available`, `requested`, `largest_contiguous_block`",
        "the same of numbered seats that were to be chosen",
    ),
    row(
        Code::SeatsUnavailable,
        "`conflicts`: `[{section_id, seat, reason}]`, at most 1,000",
        "choose other seats",
    ),
    row(Code::OrphanSeat, "`seats`", "take them too, or others"),
    row(
        Code::NotTogether,
        "`requested`, `largest_contiguous_block`",
        "ask without `adjacent`, or for fewer",
    ),
    row(
        Code::SeatsInUse,
        "`seats`: `[{seat, reason}]`, at most 100",
        "the layout keeps them: they are held, sold or blocked",
    ),
    row(
        Code::SeatsAreNumbered,
        "",
        "capacity and prices are those of the layout, and seats are named",
    ),
    row(Code::NotChangeable, "", "a sale keeps its seats"),
    row(Code::BookingCancelled, "", "hold seats again"),
    row(Code::ExtensionLimit, "", ""),
    row(Code::NotCancellable, "", ""),
    row(Code::CapacityInUse, "`minimum`", ""),
    row(Code::CurrencyInUse, "`seats`", "the currency can change when nothing is held or sold"),
    row(
        Code::IdempotencyInFlight,
        "`Retry-After`",
        "an equal request came first and is still being decided after 2 s: send it again with the same key",
    ),
    row(Code::HoldExpired, "`expired_at`", "hold seats again"),
    row(Code::VersionMismatch, "`version`", "read it again, then decide again"),
    row(Code::BodyTooLarge, "", ""),
    row(Code::UriTooLong, "", ""),
    row(
        Code::UnsupportedMediaType,
        "",
        "send `Content-Type: application/json`, without `Content-Encoding`; a layout may be `text/csv`",
    ),
    row(
        Code::ValidationFailed,
        "`errors`: `[{field, message}]`, and of layouts `errors_untold`, how many more there are",
        "correct the fields",
    ),
    row(Code::IdempotencyKeyReused, "", "use a new key for a new request"),
    row(Code::RateLimited, "`Retry-After`", "wait"),
    row(Code::HeadersTooLarge, "", ""),
    row(
        Code::Overloaded,
        "`Retry-After`",
        "more comes than can be carried, and nothing was changed; retry after that time",
    ),
    row(
        Code::Unavailable,
        "`Retry-After`",
        "the outcome may be unknown; retry with the same `Idempotency-Key`",
    ),
    row(Code::Internal, "", "a bug of the server; tell its operator the `request_id`"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_rows() {
        let mut told: Vec<_> = TABLE.iter().map(|row| row.code).collect();
        told.dedup();
        let mut all: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        told.sort_unstable();
        all.sort_unstable();
        assert_eq!(told, all);
    }

    #[test]
    fn the_document_has_the_same_table() {
        let document = include_str!("../../../../../docs/HTTP.md");
        let head = "| status | code | members | what to do |\n|---|---|---|---|\n";
        let (_, rest) = document.split_once(head).expect("the table is there");
        let written: Vec<_> = rest.lines().take_while(|line| line.starts_with('|')).collect();
        let ours = TABLE.iter().map(|row| {
            let members =
                if row.members.is_empty() { String::new() } else { format!(" {}", row.members) };
            let advice =
                if row.advice.is_empty() { String::new() } else { format!(" {}", row.advice) };
            format!("| {} | `{}` |{members} |{advice} |", row.status, row.code)
        });
        assert_eq!(written, ours.collect::<Vec<_>>());
    }
}
