//! The code of each refusal: its stable name, in answers, logs and metrics alike.

use super::Refusal;
use std::fmt;

macro_rules! codes {
    ($($name:ident $text:literal)*) => {
        /// The stable name of a kind of refusal. Kinds that a client treats alike share one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RefusalCode {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl RefusalCode {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    NotFound "not_found"
    NotOrganizer "not_organizer"
    PermissionMissing "permission_missing"
    LastOwner "last_owner"
    EventsOpen "events_open"
    NotAMember "not_a_member"
    MemberExists "member_exists"
    InvitationEnded "invitation_ended"
    InvitationMismatch "invitation_mismatch"
    LimitReached "limit_reached"
    KeysExist "keys_exist"
    EmailTaken "email_taken"
    InvalidCredentials "invalid_credentials"
    InvalidRefreshToken "invalid_refresh_token"
    EventCancelled "event_cancelled"
    SaleNotOpen "sale_not_open"
    SaleClosed "sale_closed"
    EventOver "event_over"
    TooManySeats "too_many_seats"
    BuyerLimit "buyer_limit"
    SoldOut "sold_out"
    SeatsUnavailable "seats_unavailable"
    OrphanSeat "orphan_seat"
    NotTogether "not_together"
    SeatsInUse "seats_in_use"
    SeatsAreNumbered "seats_are_numbered"
    NotChangeable "not_changeable"
    BookingCancelled "booking_cancelled"
    HoldExpired "hold_expired"
    ExtensionLimit "extension_limit"
    NotCancellable "not_cancellable"
    CapacityInUse "capacity_in_use"
    CurrencyInUse "currency_in_use"
    ValidationFailed "validation_failed"
    VersionMismatch "version_mismatch"
    IdempotencyKeyReused "idempotency_key_reused"
    IdempotencyInFlight "idempotency_in_flight"
}

impl RefusalCode {
    /// True when the same request can succeed within seconds and nobody has to do anything for it.
    ///
    /// Only a request that waits for its own first attempt is of this kind. Seats may come back and
    /// a sale may open, but a client that sends the same request every second until then helps
    /// nobody.
    #[must_use]
    pub const fn may_succeed_later(self) -> bool {
        matches!(self, Self::IdempotencyInFlight)
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Refusal {
    /// The stable name of this kind of refusal.
    #[must_use]
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::NotFound { .. } => RefusalCode::NotFound,
            Self::NotOrganizer => RefusalCode::NotOrganizer,
            Self::PermissionMissing { .. } => RefusalCode::PermissionMissing,
            Self::LastOwner | Self::LastOwnerOf { .. } => RefusalCode::LastOwner,
            Self::EventsOpen { .. } => RefusalCode::EventsOpen,
            Self::NotAMember => RefusalCode::NotAMember,
            Self::MemberExists => RefusalCode::MemberExists,
            Self::InvitationEnded => RefusalCode::InvitationEnded,
            Self::InvitationMismatch => RefusalCode::InvitationMismatch,
            Self::LimitReached { .. } => RefusalCode::LimitReached,
            Self::KeysExist { .. } => RefusalCode::KeysExist,
            Self::EmailTaken => RefusalCode::EmailTaken,
            Self::InvalidCredentials => RefusalCode::InvalidCredentials,
            Self::InvalidRefreshToken => RefusalCode::InvalidRefreshToken,
            Self::EventCancelled => RefusalCode::EventCancelled,
            Self::SaleNotOpen { .. } => RefusalCode::SaleNotOpen,
            Self::SaleClosed => RefusalCode::SaleClosed,
            Self::EventOver => RefusalCode::EventOver,
            Self::TooManySeats { .. } | Self::TooManyToSelect { .. } => RefusalCode::TooManySeats,
            Self::BuyerLimit { .. } => RefusalCode::BuyerLimit,
            Self::SoldOut { .. } | Self::TooFewFit { .. } => RefusalCode::SoldOut,
            Self::SeatsUnavailable { .. } => RefusalCode::SeatsUnavailable,
            Self::OrphanSeat { .. } => RefusalCode::OrphanSeat,
            Self::NotTogether { .. } => RefusalCode::NotTogether,
            Self::SeatsInUse { .. } => RefusalCode::SeatsInUse,
            Self::SeatsAreNumbered => RefusalCode::SeatsAreNumbered,
            Self::NotChangeable => RefusalCode::NotChangeable,
            Self::BookingCancelled => RefusalCode::BookingCancelled,
            Self::HoldExpired { .. } => RefusalCode::HoldExpired,
            Self::ExtensionLimit => RefusalCode::ExtensionLimit,
            Self::NotCancellable => RefusalCode::NotCancellable,
            Self::CapacityInUse { .. } => RefusalCode::CapacityInUse,
            Self::CurrencyInUse { .. } => RefusalCode::CurrencyInUse,
            Self::EmptySaleWindow
            | Self::OwnerConfined
            | Self::PasswordNeeded
            | Self::KeyWidened { .. }
            | Self::KeyEndsEarly
            | Self::DuplicateSeat { .. }
            | Self::DuplicateSection
            | Self::CurrencyMismatch { .. }
            | Self::TooManyToReprice { .. }
            | Self::TooManySections => RefusalCode::ValidationFailed,
            Self::VersionMismatch { .. } => RefusalCode::VersionMismatch,
            Self::IdempotencyKeyReused => RefusalCode::IdempotencyKeyReused,
            Self::IdempotencyInFlight => RefusalCode::IdempotencyInFlight,
        }
    }

    /// [`RefusalCode::may_succeed_later`] of this refusal.
    #[must_use]
    pub const fn may_succeed_later(&self) -> bool {
        self.code().may_succeed_later()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SectionId, Shard};
    use crate::money::Currency;
    use crate::seats::SeatName;
    use crate::time::Timestamp;
    use std::collections::BTreeSet;

    /// One refusal of each kind, with its code and whether it may succeed later.
    fn table() -> Vec<(Refusal, &'static str, bool)> {
        let currency = Currency::parse("EUR").expect("a currency");
        let expired_at = Timestamp::from_unix_ms(1);
        let (available, requested, largest_contiguous_block) = (1, 2, 1);
        let section_id = SectionId::new(expired_at, Shard::pick(1), 1);
        let permission = crate::access::Permission::EventRead;
        let (first, again) = (SeatName::from("A-1"), SeatName::from("a-1"));
        vec![
            (Refusal::NotFound { what: "booking" }, "not_found", false),
            (Refusal::NotOrganizer, "not_organizer", false),
            (Refusal::PermissionMissing { permission }, "permission_missing", false),
            (Refusal::LastOwner, "last_owner", false),
            (Refusal::LastOwnerOf { organizations: Vec::new() }, "last_owner", false),
            (Refusal::EventsOpen { events: Vec::new() }, "events_open", false),
            (Refusal::NotAMember, "not_a_member", false),
            (Refusal::MemberExists, "member_exists", false),
            (Refusal::InvitationEnded, "invitation_ended", false),
            (Refusal::InvitationMismatch, "invitation_mismatch", false),
            (Refusal::LimitReached { what: "members", limit: 1 }, "limit_reached", false),
            (Refusal::OwnerConfined, "validation_failed", false),
            (Refusal::PasswordNeeded, "validation_failed", false),
            (Refusal::KeysExist { keys: 1 }, "keys_exist", false),
            (Refusal::KeyWidened { field: "scopes" }, "validation_failed", false),
            (Refusal::KeyEndsEarly, "validation_failed", false),
            (Refusal::EmailTaken, "email_taken", false),
            (Refusal::InvalidCredentials, "invalid_credentials", false),
            (Refusal::InvalidRefreshToken, "invalid_refresh_token", false),
            (Refusal::EventCancelled, "event_cancelled", false),
            (Refusal::SaleNotOpen { sales_start: None }, "sale_not_open", false),
            (Refusal::SaleClosed, "sale_closed", false),
            (Refusal::EventOver, "event_over", false),
            (Refusal::TooManySeats { limit: 1, current: 0 }, "too_many_seats", false),
            (Refusal::TooManyToSelect { limit: 1 }, "too_many_seats", false),
            (Refusal::BuyerLimit { limit: 1, current: 1, remaining: 0 }, "buyer_limit", false),
            (Refusal::SoldOut { available: 1, requested: 2 }, "sold_out", false),
            (Refusal::SeatsUnavailable { conflicts: Vec::new() }, "seats_unavailable", false),
            (Refusal::DuplicateSeat { section_id, first, again }, "validation_failed", false),
            (Refusal::OrphanSeat { seats: Vec::new() }, "orphan_seat", false),
            (
                Refusal::TooFewFit {
                    available,
                    requested,
                    accessible: false,
                    largest_contiguous_block,
                },
                "sold_out",
                false,
            ),
            (
                Refusal::NotTogether { requested, alone: false, largest_contiguous_block },
                "not_together",
                false,
            ),
            (Refusal::SeatsInUse { seats: Vec::new() }, "seats_in_use", false),
            (Refusal::SeatsAreNumbered, "seats_are_numbered", false),
            (Refusal::NotChangeable, "not_changeable", false),
            (Refusal::BookingCancelled, "booking_cancelled", false),
            (Refusal::HoldExpired { expired_at }, "hold_expired", false),
            (Refusal::ExtensionLimit, "extension_limit", false),
            (Refusal::NotCancellable, "not_cancellable", false),
            (Refusal::CapacityInUse { minimum: 1 }, "capacity_in_use", false),
            (Refusal::EmptySaleWindow, "validation_failed", false),
            (Refusal::DuplicateSection, "validation_failed", false),
            (Refusal::CurrencyMismatch { currency }, "validation_failed", false),
            (Refusal::CurrencyInUse { seats: 1 }, "currency_in_use", false),
            (Refusal::TooManyToReprice { limit: 1 }, "validation_failed", false),
            (Refusal::TooManySections, "validation_failed", false),
            (Refusal::VersionMismatch { version: 1 }, "version_mismatch", false),
            (Refusal::IdempotencyKeyReused, "idempotency_key_reused", false),
            (Refusal::IdempotencyInFlight, "idempotency_in_flight", true),
        ]
    }

    /// The name of a variant, as `Debug` writes it.
    fn variant(refusal: &Refusal) -> String {
        let text = format!("{refusal:?}");
        text.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The variants of the enum, read from its source: the table can leave none out.
    fn variants() -> BTreeSet<String> {
        let source = include_str!("../error.rs");
        let (_, after) = source.split_once("pub enum Refusal {\n").expect("the enum is there");
        let (body, _) = after.split_once("\n}\n").expect("it ends");
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let lines = lines.filter(|line| line.starts_with(|letter: char| letter.is_uppercase()));
        lines.map(|line| line.trim_end_matches([',', '{', ' ']).to_owned()).collect()
    }

    #[test]
    fn every_refusal_has_the_code_that_clients_know() {
        for (refusal, code, later) in table() {
            assert_eq!(refusal.code().as_str(), code, "{refusal:?}");
            assert_eq!(refusal.code().to_string(), code);
            assert_eq!(refusal.may_succeed_later(), later, "{refusal:?}");
        }
        let told: BTreeSet<_> = table().iter().map(|(refusal, ..)| variant(refusal)).collect();
        assert_eq!(told, variants(), "one row for each variant");
    }

    #[test]
    fn every_code_is_that_of_a_refusal_and_no_two_are_written_alike() {
        let used: BTreeSet<_> =
            table().iter().map(|(refusal, ..)| refusal.code().as_str()).collect();
        let all: BTreeSet<_> = RefusalCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(used, all);
        assert_eq!(all.len(), RefusalCode::ALL.len());
    }
}
