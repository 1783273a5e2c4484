//! The table of problems: what each code means and what its reader does, as `/problems/<code>` shows it.
//!
//! It is the one in `docs/HTTP.md`, row by row.

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

const fn row(status: u16, code: &'static str, members: &'static str, advice: &'static str) -> Row {
    Row { status, code, members, advice }
}

/// The rows of a code; none when it is unknown.
pub fn rows(code: &str) -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(move |row| row.code == code)
}

/// All codes.
pub const TABLE: &[Row] = &[
    row(
        400,
        "malformed_json",
        "",
        "the body is no JSON: syntax, encoding, depth, a key that stands twice",
    ),
    row(
        400,
        "malformed_request",
        "",
        "another part cannot be read: the head, `Host`, the query, `Idempotency-Key`, `If-Match`, a body that ended early",
    ),
    row(401, "unauthorized", "`WWW-Authenticate`", "send a token; refresh it when it has expired"),
    row(401, "invalid_credentials", "`WWW-Authenticate`", "unknown address, or wrong password"),
    row(401, "invalid_refresh_token", "", "log in again"),
    row(403, "not_organizer", "", "the event is another user's"),
    row(404, "not_found", "", "unknown path, id or section; or another user's"),
    row(405, "method_not_allowed", "`Allow`", ""),
    row(408, "request_timeout", "", "headers or body came too slowly; retry"),
    row(409, "email_taken", "", ""),
    row(409, "event_cancelled", "", "the event was called off"),
    row(409, "sale_not_open", "`sales_start`", "wait until then; null when no date is set"),
    row(409, "sale_closed", "", ""),
    row(409, "event_over", "", ""),
    row(409, "too_many_seats", "`limit`", "seats in one booking"),
    row(409, "buyer_limit", "`limit`, `remaining`", "seats of one buyer at the event"),
    row(
        409,
        "sold_out",
        "`available`, `requested`",
        "ask for at most `available`; more may come back when holds end",
    ),
    row(
        409,
        "sold_out",
        "`available`, `requested`, `largest_contiguous_block`",
        "the same of numbered seats that were to be chosen",
    ),
    row(
        409,
        "seats_unavailable",
        "`conflicts`: `[{section_id, seat, reason}]`, at most 1,000",
        "choose other seats",
    ),
    row(409, "orphan_seat", "`seats`", "take them too, or others"),
    row(
        409,
        "not_together",
        "`requested`, `largest_contiguous_block`",
        "ask without `adjacent`, or for fewer",
    ),
    row(
        409,
        "seats_in_use",
        "`seats`: `[{seat, reason}]`, at most 100",
        "the layout keeps them: they are held, sold or blocked",
    ),
    row(
        409,
        "seats_are_numbered",
        "",
        "capacity and prices are those of the layout, and seats are named",
    ),
    row(409, "not_changeable", "", "a sale keeps its seats"),
    row(409, "booking_cancelled", "", "hold seats again"),
    row(409, "extension_limit", "", ""),
    row(409, "not_cancellable", "", ""),
    row(409, "capacity_in_use", "`minimum`", ""),
    row(409, "currency_in_use", "`seats`", "the currency can change when nothing is held or sold"),
    row(
        409,
        "idempotency_in_flight",
        "`Retry-After`",
        "an equal request came first and is still being decided after 2 s: send it again with the same key",
    ),
    row(410, "hold_expired", "`expired_at`", "hold seats again"),
    row(412, "version_mismatch", "`version`", "read it again, then decide again"),
    row(413, "body_too_large", "", ""),
    row(414, "uri_too_long", "", ""),
    row(
        415,
        "unsupported_media_type",
        "",
        "send `Content-Type: application/json`, without `Content-Encoding`; a layout may be `text/csv`",
    ),
    row(
        422,
        "validation_failed",
        "`errors`: `[{field, message}]`, and of layouts `errors_untold`, how many more there are",
        "correct the fields",
    ),
    row(422, "idempotency_key_reused", "", "use a new key for a new request"),
    row(429, "rate_limited", "`Retry-After`", "wait"),
    row(431, "headers_too_large", "", ""),
    row(
        503,
        "overloaded",
        "`Retry-After`",
        "more comes than can be carried, and nothing was changed; retry after that time",
    ),
    row(
        503,
        "unavailable",
        "`Retry-After`",
        "the outcome may be unknown; retry with the same `Idempotency-Key`",
    ),
    row(500, "internal", "", "a bug of the server; tell its operator the `request_id`"),
];

#[cfg(test)]
mod tests {
    use super::*;

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
