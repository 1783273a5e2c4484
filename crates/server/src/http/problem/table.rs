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
    /// What its answers say in `title`.
    pub title: &'static str,
    /// The members and headers that its answers add; text with code in backquotes.
    pub members: &'static str,
    /// What to do; text with code in backquotes.
    pub advice: &'static str,
}

const fn row(code: Code, members: &'static str, advice: &'static str) -> Row {
    let (status, title) = (code.status().as_u16(), code.title());
    Row { status, code: code.as_str(), title, members, advice }
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
        "the body is not valid JSON: syntax, encoding, nesting depth, or a duplicate key",
    ),
    row(
        Code::MalformedRequest,
        "",
        "another part of the request is malformed: the request line, a header such as `Host`, \
         `Idempotency-Key` or `If-Match`, the query, or a body that ended early",
    ),
    row(
        Code::Unauthorized,
        "`WWW-Authenticate`",
        "send an access token; refresh it if it has expired, log in again if its login was ended",
    ),
    row(Code::InvalidCredentials, "`WWW-Authenticate`", "correct the address or the password"),
    row(Code::InvalidRefreshToken, "", "log in again"),
    row(
        Code::InvalidToken,
        "`WWW-Authenticate`",
        "the booking is unknown, the `booking_token` is not of it, or its buyer has an account; log in to \
         the account",
    ),
    row(Code::NotOrganizer, "", "only the organizer of the event can do this"),
    row(
        Code::PermissionMissing,
        "`permission`",
        "only members of the organization whose role has this `permission`, and keys with this scope, can \
         do this",
    ),
    row(
        Code::AccountRequired,
        "",
        "send the access token of a user with an account: visitors and keys cannot do this",
    ),
    row(
        Code::KeyInBrowser,
        "",
        "send keys from a server only; end this one, others may have seen it",
    ),
    row(Code::AddressNotAllowed, "", "send the request from one of the `networks` of the key"),
    row(Code::InvitationMismatch, "", "log in to the account with the invited address"),
    row(Code::NotFound, "", "the path, id or section is unknown, or it belongs to another user"),
    row(Code::MethodNotAllowed, "`Allow`", "use one of the methods in `Allow`"),
    row(Code::RequestTimeout, "", "the headers or the body arrived too slowly; retry"),
    row(Code::EmailTaken, "", "log in, or use a different address"),
    row(
        Code::LastOwner,
        "",
        "make another member an owner first; a personal organization always belongs to its user",
    ),
    row(
        Code::LastOwner,
        "`organizations`",
        "when leaving: make another member of each of these teams an owner first; at most 20 are listed",
    ),
    row(
        Code::EventsOpen,
        "`events`",
        "cancel these events, transfer them to another organization, or wait until they are over; at most 20 \
         are listed",
    ),
    row(Code::NotAMember, "", "invite the user first: only a member can become the owner"),
    row(Code::MemberExists, "", "change the role of the member instead"),
    row(
        Code::LimitReached,
        "`limit`",
        "a user can be in at most `limit` organizations; an organization can have at most `limit` \
         members, `limit` open invitations and `limit` keys",
    ),
    row(
        Code::KeysExist,
        "`keys`",
        "say with `?keys=keep` or `?keys=revoke` what becomes of the `keys` keys of the member",
    ),
    row(
        Code::EventCancelled,
        "",
        "the organizer has cancelled the event; its bookings are cancelled",
    ),
    row(
        Code::SaleNotOpen,
        "`sales_start`",
        "wait until `sales_start`; it is null if no date is set",
    ),
    row(Code::SaleClosed, "", "seats can no longer be held"),
    row(Code::EventOver, "", "seats can no longer be held"),
    row(
        Code::TooManySeats,
        "`limit`; when changing a hold, also `current`",
        "request at most `limit` seats in one booking, or the `current` number of the hold",
    ),
    row(
        Code::TooManySeats,
        "`limit`",
        "for numbered seats that the server selects: name the seats, or request at most `limit` at once",
    ),
    row(
        Code::BuyerLimit,
        "`limit`, `current`, `remaining`",
        "request at most `remaining` seats; `limit` is the maximum of one buyer at the event, \
         `current` the number held and bought",
    ),
    row(
        Code::SoldOut,
        "`available`, `requested`",
        "request at most `available` seats; more may become available when holds end",
    ),
    row(
        Code::SoldOut,
        "`available`, `requested`, `accessible`, `largest_contiguous_block`",
        "for numbered seats that the server selects: the same, with the size of the largest group \
         of adjacent seats; if `accessible`, both numbers count accessible seats only",
    ),
    row(
        Code::SeatsUnavailable,
        "`conflicts`: `[{section_id, seat, reason}]`, at most 1,000",
        "choose other seats",
    ),
    row(Code::OrphanSeat, "`seats`", "include the listed seats, or choose other seats"),
    row(
        Code::NotTogether,
        "`requested`, `largest_contiguous_block`",
        "request the seats without `adjacent`, or at most `largest_contiguous_block` seats; if somebody \
         would have to sit alone, request another number, or choose the seats by name",
    ),
    row(
        Code::SeatsInUse,
        "`seats`: `[{seat, reason}]`, at most 100",
        "the listed seats are held, sold or blocked; the new layout must keep them",
    ),
    row(
        Code::SeatsAreNumbered,
        "",
        "change the layout instead: it sets the capacity and prices; seats are blocked by name",
    ),
    row(Code::NotChangeable, "", "only the seats of an active hold can be changed"),
    row(Code::BookingCancelled, "", "hold seats again"),
    row(
        Code::ExtensionLimit,
        "",
        "the hold has reached its maximum lifetime (confirm it before it expires), or the booking is \
            confirmed",
    ),
    row(
        Code::NotCancellable,
        "",
        "the hold has expired, or the time limit for cancelling a confirmed booking has passed",
    ),
    row(Code::CapacityInUse, "`minimum`", "set a capacity of at least `minimum`"),
    row(
        Code::CurrencyInUse,
        "`seats`",
        "wait until no seat is held or sold; only then can the currency change",
    ),
    row(
        Code::IdempotencyInFlight,
        "`Retry-After`",
        "another request with this key was still in progress after 2 s: retry with the same key",
    ),
    row(Code::HoldExpired, "`expired_at`", "hold seats again"),
    row(
        Code::InvitationEnded,
        "",
        "the invitation is unknown, has expired, or was accepted, revoked or replaced; ask for a new one",
    ),
    row(Code::VersionMismatch, "`version`", "read the resource again, then decide again"),
    row(Code::BodyTooLarge, "", "send a smaller body"),
    row(Code::UriTooLong, "", "send a shorter path and query"),
    row(
        Code::UnsupportedMediaType,
        "",
        "send `Content-Type: application/json` without `Content-Encoding`; a layout may also be \
         `text/csv`",
    ),
    row(
        Code::ValidationFailed,
        "`errors`: `[{field, message}]`; for layouts also `errors_untold`, the number of further \
         errors",
        "correct the fields",
    ),
    row(Code::IdempotencyKeyReused, "", "use a new key for a new request"),
    row(Code::RateLimited, "`Retry-After`", "retry after the time in `Retry-After`"),
    row(
        Code::HoldLimit,
        "`limit`, `Retry-After`",
        "confirm or cancel holds, or retry after the time in `Retry-After`; `limit` is the number of \
         seats that one buyer, or all visitors at an address, may keep off sale without buying them",
    ),
    row(Code::HeadersTooLarge, "", "send fewer or smaller headers"),
    row(
        Code::Overloaded,
        "`Retry-After`",
        "the load exceeds the capacity; nothing was changed; retry after the time in \
         `Retry-After`",
    ),
    row(
        Code::Unavailable,
        "`Retry-After`",
        "the outcome may be unknown; retry with the same `Idempotency-Key`",
    ),
    row(Code::Internal, "", "a bug in the server; report the `request_id` to its operator"),
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
