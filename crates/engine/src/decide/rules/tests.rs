//! Sellers: members who act for a buyer, on the pure rules.

use super::*;
use crate::access::{Actor, Grant, Overrides, Permissions, Role};
use crate::decide::{Changes, Command, KeyUse, LoadedRows, Policy};
use crate::event::Section;
use crate::ids::{IdempotencyKey, OrgId, Shard};
use crate::log::{Detail, LogEntry};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

const POLICY: Policy = Policy {
    hold_ttl_ms: 600_000,
    hold_max_life_ms: 1_800_000,
    max_seats_per_booking: 50,
    max_seats_per_user: None,
};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn user(number: u64) -> UserId {
    UserId::new(at(0), Shard::pick(0), number)
}

fn team(number: u64) -> OrgId {
    OrgId::team(at(0), (0, number))
}

fn event_id() -> EventId {
    EventId::new(at(0), Shard::pick(1), 1)
}

fn section_id() -> SectionId {
    SectionId::new(at(0), Shard::pick(1), 1)
}

fn booking_id(number: u64) -> BookingId {
    BookingId::new(at(0), Shard::pick(1), number)
}

/// An event of team 1 at which a buyer may have three seats, with a section of nine.
fn rows() -> LoadedRows {
    let price = Money { minor: 100, currency: Currency::parse("USD").expect("valid") };
    let terms = Terms {
        event_id: event_id(),
        organizer_id: team(1),
        status: EventStatus::OnSale,
        sales_start: None,
        sales_end: None,
        over_at: at(i64::MAX / 2),
        max_seats_per_booking: None,
        max_seats_per_user: Some(3),
        hold_ttl_ms: None,
        cancellable_until: None,
        prevent_orphans: false,
    };
    let section = Section {
        section_id: section_id(),
        event_id: event_id(),
        name: "A".into(),
        price,
        layout_version: None,
    };
    let inventory = Inventory { capacity: 9, ..Inventory::empty(section_id(), event_id()) };
    let mut rows = LoadedRows::default();
    rows.terms.insert(event_id(), terms);
    rows.sections.insert(section_id(), (section, inventory));
    rows
}

fn ledger_of(rows: LoadedRows) -> Ledger {
    Ledger::open(rows, at(1_000), POLICY).expect("the rows agree")
}

/// User 7, a member of team 1.
fn seller(role: Role) -> By {
    By::Acting(Grant {
        actor: Actor::User(user(7)),
        org_id: team(1),
        can: role.permissions(),
        only: None,
    })
}

fn hold(number: u64, buyer: UserId, seats: u32, seller: Option<By>) -> Hold {
    Hold {
        booking_id: booking_id(number),
        user_id: buyer,
        seller,
        overrides: Overrides::NONE,
        event_id: event_id(),
        requests: vec![SeatRequest::Count { section_id: section_id(), seats }],
        key: None,
    }
}

fn keyed(hold: Hold, name: &str) -> Hold {
    Hold { key: Some((IdempotencyKey::new(name).expect("visible"), 1)), ..hold }
}

#[track_caller]
fn booking(answer: Result<Outcome, Refusal>) -> (Booking, bool) {
    match answer {
        Ok(Outcome::Booking { booking, replayed, .. }) => (booking, replayed),
        other => panic!("no booking: {other:?}"),
    }
}

fn ended(ledger: Ledger) -> Changes {
    ledger.end_batch().changes
}

#[test]
fn i13_members_who_may_sell_hold_for_a_buyer_and_nobody_else_does() {
    let permission = Permission::BookingSell;
    let lacks = Err(Refusal::PermissionMissing { permission });
    let stranger = By::User(user(9));
    let elsewhere = match seller(Role::Owner) {
        By::Acting(grant) => By::Acting(Grant { org_id: team(2), ..grant }),
        by => by,
    };
    for (by, refused) in [
        (seller(Role::Owner), None),
        (seller(Role::Manager), None),
        (seller(Role::BoxOffice), None),
        (By::System, None),
        (seller(Role::Analyst), Some(lacks.clone())),
        (seller(Role::CheckIn), Some(lacks)),
        (stranger, Some(Err(Refusal::NotOrganizer))),
        (elsewhere, Some(Err(Refusal::NotOrganizer))),
    ] {
        let mut ledger = ledger_of(rows());
        let answer = ledger.hold(&hold(1, user(1), 2, Some(by)));
        if let Some(refused) = refused {
            assert_eq!(answer, refused, "{by:?}");
            assert!(ended(ledger).is_empty());
        } else {
            assert_eq!(booking(answer).0.user_id, user(1), "the buyer has the booking");
            assert_eq!(ended(ledger).log[0].actor, Some(by.actor()), "{by:?}");
        }
    }
    let mut plain = ledger_of(rows());
    booking(plain.hold(&hold(1, user(1), 2, None)));
    assert_eq!(ended(plain).log[0].actor, None, "the buyer");
}

#[test]
fn at_a_draft_a_seller_hears_that_the_sale_is_not_open_and_a_stranger_that_there_is_none() {
    let draft = || {
        let mut rows = rows();
        rows.terms.get_mut(&event_id()).expect("it").status = EventStatus::Draft;
        ledger_of(rows)
    };
    let closed = Err(Refusal::SaleNotOpen { sales_start: None });
    let of = |by| draft().hold(&hold(1, user(1), 1, Some(by)));
    assert_eq!(of(seller(Role::BoxOffice)), closed);
    assert_eq!(of(By::User(user(9))), Err(Refusal::NotFound { what: "event" }));
}

#[test]
fn the_cap_is_the_buyers_for_every_seller() {
    let mut ledger = ledger_of(rows());
    let sell = |number, buyer, seats| hold(number, buyer, seats, Some(seller(Role::Manager)));
    booking(ledger.hold(&sell(1, user(1), 2)));
    let refused = Err(Refusal::BuyerLimit { limit: 3, current: 2, remaining: 1 });
    assert_eq!(ledger.hold(&sell(2, user(1), 2)), refused);
    assert_eq!(ledger.hold(&hold(3, user(1), 2, None)), refused, "the buyer has no more");
    booking(ledger.hold(&sell(4, user(2), 3)));
    let ask = |seats| [SeatRequest::Count { section_id: section_id(), seats }];
    let change = |by, buyer, seats| Command::Change {
        booking_id: booking_id(1),
        by,
        user_id: buyer,
        event_id: event_id(),
        expected: None,
        requests: ask(seats).to_vec(),
        overrides: Overrides::NONE,
    };
    let by = seller(Role::BoxOffice);
    let refused = Err(Refusal::BuyerLimit { limit: 3, current: 2, remaining: 1 });
    assert_eq!(ledger.decide(&change(by, user(1), 4)), refused);
    let missing = Err(Refusal::NotFound { what: "booking" });
    assert_eq!(ledger.decide(&change(by, user(2), 1)), missing, "not the buyer it was read with");
    let (changed, _) = booking(ledger.decide(&change(by, user(1), 3)));
    assert_eq!((changed.seats(), changed.user_id), (3, user(1)));
    assert_eq!(ended(ledger).log.last().expect("a row").actor, Some(by.actor()));
}

/// What a seller with every right but the last ones may go beyond.
fn beyond(limits: &[Override], number: u64, seats: u32, by: By) -> Hold {
    let overrides = limits.iter().copied().collect();
    Hold { overrides, ..hold(number, user(1), seats, Some(by)) }
}

#[test]
fn i13_beyond_the_limits_sells_who_has_the_right_to_and_names_them() {
    let only_sells = match seller(Role::Owner) {
        By::Acting(grant) => {
            let can = Permissions::those(|what| what == Permission::BookingSell);
            By::Acting(Grant { can, ..grant })
        }
        by => by,
    };
    let permission = Permission::BookingOverride;
    for limit in Override::ALL {
        let lacks = Err(Refusal::PermissionMissing { permission });
        let asked = beyond(&[limit], 1, 1, only_sells);
        assert_eq!(ledger_of(rows()).hold(&asked), lacks, "{limit:?}");
        let alone = Hold { seller: None, ..asked };
        assert_eq!(ledger_of(rows()).hold(&alone), Err(Refusal::NotOrganizer), "{limit:?}");
    }
    let mut ledger = ledger_of(rows());
    let by = seller(Role::BoxOffice);
    booking(ledger.hold(&beyond(&[], 1, 3, by)));
    let full = Err(Refusal::BuyerLimit { limit: 3, current: 3, remaining: 0 });
    let other = [Override::SaleWindow, Override::Orphans];
    assert_eq!(ledger.hold(&beyond(&other, 2, 1, by)), full, "not the limit that it named");
    booking(ledger.hold(&beyond(&[Override::BuyerLimit], 2, 2, by)));
    // What was sold beyond the limit counts.
    let full = Err(Refusal::BuyerLimit { limit: 3, current: 5, remaining: 0 });
    assert_eq!(ledger.hold(&hold(3, user(1), 1, None)), full);
    let change = |seats, limits: &[Override]| Command::Change {
        booking_id: booking_id(1),
        by,
        user_id: user(1),
        event_id: event_id(),
        expected: None,
        requests: vec![SeatRequest::Count { section_id: section_id(), seats }],
        overrides: limits.iter().copied().collect(),
    };
    assert_eq!(ledger.decide(&change(4, &[])), full);
    booking(ledger.decide(&change(4, &[Override::BuyerLimit])));
    let log = ended(ledger).log;
    let named = |entry: &LogEntry| match entry.detail.as_deref() {
        Some(Detail::Booking { overrides, .. }) => *overrides,
        _ => Overrides::NONE,
    };
    let buyer_limit: Overrides = [Override::BuyerLimit].into_iter().collect();
    let expected = [Overrides::NONE, buyer_limit, buyer_limit];
    assert_eq!(log.iter().map(named).collect::<Vec<_>>(), expected);
}

#[test]
fn beyond_its_window_a_sale_is_made_at_a_public_event_that_is_not_over() {
    let by = seller(Role::BoxOffice);
    let asked = beyond(&[Override::SaleWindow], 1, 1, by);
    let sold = |change: &dyn Fn(&mut Terms)| {
        let mut rows = rows();
        change(rows.terms.get_mut(&event_id()).expect("it"));
        ledger_of(rows).hold(&asked)
    };
    booking(sold(&|terms| terms.sales_start = Some(at(1_001))));
    booking(sold(&|terms| terms.sales_end = Some(at(1_000))));
    booking(sold(&|terms| terms.status = EventStatus::Closed));
    let early = Err(Refusal::SaleNotOpen { sales_start: None });
    assert_eq!(sold(&|terms| terms.status = EventStatus::Draft), early);
    let off = Err(Refusal::EventCancelled);
    assert_eq!(sold(&|terms| terms.status = EventStatus::Cancelled), off);
    assert_eq!(sold(&|terms| terms.over_at = at(1_000)), Err(Refusal::EventOver));
}

#[test]
fn i6_a_key_is_the_callers_and_not_the_buyers() {
    let mut ledger = ledger_of(rows());
    let by = Some(seller(Role::Manager));
    let (first, _) = booking(ledger.hold(&keyed(hold(1, user(1), 1, by), "k")));
    // A seller who asks for a fresh buyer each time gets the first one.
    let (again, replayed) = booking(ledger.hold(&keyed(hold(2, user(2), 1, by), "k")));
    assert_eq!((again, replayed), (first.clone(), true));
    // The key of the buyer is another one.
    let (own, replayed) = booking(ledger.hold(&keyed(hold(3, user(1), 1, None), "k")));
    assert!(!replayed && own.booking_id == booking_id(3));
    let keys = ended(ledger).keys;
    let whose: Vec<_> = keys.iter().map(|(user_id, _, used)| (*user_id, used.booking_id)).collect();
    assert_eq!(whose, [(user(7), booking_id(1)), (user(1), booking_id(3))]);

    // A committed key replays before the right is asked for.
    let mut rows = rows();
    let used = KeyUse { booking_id: first.booking_id, fingerprint: 1 };
    rows.keys.insert((user(7), IdempotencyKey::new("k").expect("visible")), used);
    rows.sections.get_mut(&section_id()).expect("it").1.held = 1;
    rows.bookings.insert(first.booking_id, first.clone());
    let retired = By::User(user(7));
    let retry = keyed(hold(4, user(1), 1, Some(retired)), "k");
    assert_eq!(booking(ledger_of(rows).hold(&retry)), (first, true));
}

#[test]
fn i13_a_live_hold_is_a_sellers_and_a_strangers_does_not_exist() {
    let permission = Permission::BookingSell;
    let lacks = Some(Refusal::PermissionMissing { permission });
    let missing = Some(Refusal::NotFound { what: "booking" });
    let other = match seller(Role::Owner) {
        By::Acting(grant) => {
            By::Acting(Grant { only: Some(EventId::new(at(0), Shard::pick(1), 2)), ..grant })
        }
        by => by,
    };
    for (by, refused) in [
        (seller(Role::Owner), None),
        (seller(Role::BoxOffice), None),
        (seller(Role::Analyst), lacks),
        (seller(Role::CheckIn), missing.clone()),
        (By::User(user(9)), missing.clone()),
        (other, missing),
    ] {
        for command in [
            Command::Confirm { booking_id: booking_id(1), by },
            Command::Release { booking_id: booking_id(1), by },
            Command::Extend { booking_id: booking_id(1), by },
            Command::Change {
                booking_id: booking_id(1),
                by,
                user_id: user(1),
                event_id: event_id(),
                expected: None,
                requests: vec![SeatRequest::Count { section_id: section_id(), seats: 2 }],
                overrides: Overrides::NONE,
            },
        ] {
            let mut ledger = ledger_of(rows());
            booking(ledger.hold(&hold(1, user(1), 1, None)));
            let answer = ledger.decide(&command);
            match &refused {
                Some(refused) => assert_eq!(answer.as_ref(), Err(refused), "{command:?}"),
                None => assert_eq!(booking(answer).0.user_id, user(1), "{command:?}"),
            }
        }
    }
}

#[test]
fn who_may_sell_gives_back_holds_and_who_may_cancel_undoes_sales() {
    let may_only = |what| {
        let can = Permissions::those(|it| it == what || it == Permission::BookingRead);
        By::Acting(Grant { actor: Actor::User(user(7)), org_id: team(1), can, only: None })
    };
    let (sells, cancels) = (may_only(Permission::BookingSell), may_only(Permission::BookingCancel));
    let cancel = |by| Command::Cancel { booking_id: booking_id(1), by };
    let held = || {
        let mut ledger = ledger_of(rows());
        booking(ledger.hold(&hold(1, user(1), 1, None)));
        ledger
    };
    for by in [sells, cancels] {
        let mut ledger = held();
        for _ in 0..2 {
            let (given_back, _) = booking(ledger.decide(&cancel(by)));
            assert_eq!(given_back.status, BookingStatus::Cancelled, "and again: {by:?}");
        }
        assert_eq!(ended(ledger).log.last().expect("a row").actor, Some(by.actor()));
    }
    let mut ledger = held();
    booking(ledger.decide(&Command::Confirm { booking_id: booking_id(1), by: sells }));
    let permission = Permission::BookingCancel;
    let lacks = Err(Refusal::PermissionMissing { permission });
    assert_eq!(ledger.decide(&cancel(sells)), lacks);
    booking(ledger.decide(&cancel(cancels)));
    assert_eq!(ledger.decide(&cancel(sells)), lacks, "of a sale that was undone");
}
