use super::*;
use crate::access::{Actor, Grant, Role};
use crate::event::{EventCommand, EventStatus, EventWithSections, Terms, decide};
use crate::ids::{EventId, SeriesId, Shard, UserId};
use crate::log::Detail;
use crate::time::EventDate;
use chrono_tz::Tz;

const CREATED_AT: Timestamp = Timestamp::from_unix_ms(5);
const NOW: Timestamp = Timestamp::from_unix_ms(9);

fn user(number: u64) -> UserId {
    UserId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

fn team(number: u64) -> OrgId {
    OrgId::team(Timestamp::from_unix_ms(0), (0, number))
}

/// User 7 as a member of an organization, confined to an event or to none.
fn member(role: Role, org_id: OrgId, only: Option<EventId>) -> By {
    By::Acting(Grant { actor: Actor::User(user(7)), org_id, can: role.permissions(), only })
}

/// User 7 where they are nothing.
fn stranger() -> By {
    By::User(user(7))
}

/// An event of an organization, in a series, at its third version.
fn event(org_id: OrgId, status: EventStatus) -> Event {
    let date = EventDate::parse("2027-06-15", Tz::UTC).expect("a date");
    Event {
        terms: Terms {
            event_id: EventId::new(CREATED_AT, Shard::pick(77), 1),
            organizer_id: org_id,
            status,
            sales_start: None,
            sales_end: None,
            over_at: date.over_at(),
            max_seats_per_booking: None,
            max_seats_per_user: None,
            hold_ttl_ms: None,
            cancellable_until: None,
            prevent_orphans: false,
        },
        series_id: Some(SeriesId::new(CREATED_AT, Shard::pick(77), 2)),
        title: "Concert".to_owned(),
        description: None,
        venue: None,
        date,
        timezone: Tz::UTC,
        version: 3,
        created_at: CREATED_AT,
        updated_at: CREATED_AT,
    }
}

fn transferred(
    of: &Event,
    by: By,
    to: OrgId,
    into: By,
    expected: Option<i64>,
) -> Result<EventChanges, Refusal> {
    let of = EventWithSections { event: of.clone(), sections: Vec::new() };
    decide(&of, by, &EventCommand::Transfer(Transfer { to, into, expected }), None, NOW)
}

#[test]
fn an_event_goes_to_another_organization_and_leaves_its_series() {
    for status in EventStatus::ALL {
        let before = event(team(1), status);
        let owner = member(Role::Owner, team(1), None);
        for (to, into) in
            [(team(2), member(Role::Manager, team(2), None)), (user(7).into(), stranger())]
        {
            let changes = transferred(&before, owner, to, into, Some(3)).expect("may both");
            let after = Event {
                terms: Terms { organizer_id: to, ..before.terms.clone() },
                series_id: None,
                version: 4,
                updated_at: NOW,
                ..before.clone()
            };
            assert_eq!(changes.event.as_ref(), Some(&after), "and keeps the rest");
            let log = changes.log.expect("a row of the log");
            assert_eq!((log.kind, log.version, log.at), (LogKind::EventChanged, 4, NOW));
            assert_eq!(log.actor, Some(Actor::User(user(7))));
            assert_eq!(log.detail.as_deref(), Some(&Detail::Event(Box::new(after))));
            let entry = |org_id| AccessEntry {
                at: NOW,
                org_id,
                actor: Actor::User(user(7)),
                action: AccessAction::EventTransferred,
                target: Some(before.terms.event_id.uuid()),
                before: Some(Noted::Organization(team(1))),
                after: Some(Noted::Organization(to)),
            };
            assert_eq!(changes.entries, [entry(team(1)), entry(to)]);
            assert!(changes.commands.is_empty() && !changes.calls_off);
        }
    }
}

#[test]
fn i13_only_who_may_give_it_away_and_create_events_there_transfers_an_event() {
    let missing = |permission| Refusal::PermissionMissing { permission };
    let (from, to) = (team(1), team(2));
    let at = |role| member(role, from, None);
    let there = |role| member(role, to, None);
    let public = event(from, EventStatus::OnSale);
    let refused = |of: &Event, by, into| {
        // Whatever the version is: who may not learns nothing of it.
        transferred(of, by, to, into, Some(1)).expect_err("it is refused")
    };
    let hidden = Refusal::NotFound { what: "event" };
    let draft = event(from, EventStatus::Draft);
    for by in [stranger(), member(Role::Owner, team(3), None), member(Role::Owner, to, None)] {
        assert_eq!(refused(&public, by, there(Role::Owner)), Refusal::NotOrganizer);
        assert_eq!(refused(&draft, by, there(Role::Owner)), hidden);
    }
    for role in [Role::Manager, Role::BoxOffice, Role::Analyst, Role::CheckIn] {
        let lacks = missing(Permission::OrgWrite);
        assert_eq!(refused(&public, at(role), there(Role::Owner)), lacks);
        assert_eq!(refused(&draft, at(role), there(Role::Owner)), lacks);
        let confined = member(role, from, Some(public.terms.event_id));
        assert_eq!(refused(&public, confined, there(Role::Owner)), lacks);
    }
    let owner = at(Role::Owner);
    let nowhere = Refusal::NotFound { what: "organization" };
    for into in [stranger(), member(Role::Owner, from, None)] {
        assert_eq!(refused(&public, owner, into), nowhere);
    }
    for role in [Role::BoxOffice, Role::Analyst, Role::CheckIn] {
        assert_eq!(refused(&public, owner, there(role)), missing(Permission::EventWrite));
    }
    for only in [public.terms.event_id, EventId::new(CREATED_AT, Shard::pick(1), 9)] {
        let confined = member(Role::Manager, to, Some(only));
        assert_eq!(refused(&public, owner, confined), missing(Permission::EventWrite));
    }
    let stale = Refusal::VersionMismatch { version: 3 };
    for role in [Role::Owner, Role::Manager] {
        assert_eq!(refused(&public, owner, there(role)), stale);
        transferred(&public, owner, to, there(role), Some(3)).expect("may both");
    }
    let personal = event(user(7).into(), EventStatus::OnSale);
    transferred(&personal, stranger(), to, there(Role::Manager), None).expect("the owner");
}

#[test]
fn an_event_is_given_to_the_organization_that_has_it_without_any_change() {
    let nothing = |changes: EventChanges| {
        assert!(changes.event.is_none() && changes.log.is_none() && changes.entries.is_empty());
    };
    let (from, to) = (team(1), team(2));
    for status in EventStatus::ALL {
        let there = event(to, status);
        for role in [Role::Owner, Role::Manager] {
            // As the one who has just transferred it from there: neither the right to give it away nor the
            // version is looked at.
            let by = member(Role::Owner, from, None);
            let again = transferred(&there, by, to, member(role, to, None), Some(2));
            nothing(again.expect("it is so"));
        }
    }
    let public = event(to, EventStatus::OnSale);
    let refused = |of: &Event, into: By| transferred(of, stranger(), to, into, None);
    let lacks = Refusal::PermissionMissing { permission: Permission::EventWrite };
    let analyst = refused(&public, member(Role::Analyst, to, None));
    assert_eq!(analyst.expect_err("an analyst"), lacks);
    assert_eq!(refused(&public, stranger()).expect_err("a stranger"), Refusal::NotOrganizer);
    // Who sees no draft does not learn whose it is.
    let draft = refused(&event(to, EventStatus::Draft), stranger()).expect_err("a stranger");
    assert_eq!(draft, Refusal::NotFound { what: "event" });
    let elsewhere = refused(&event(from, EventStatus::Draft), stranger()).expect_err("a stranger");
    assert_eq!(elsewhere, draft);
}

#[test]
fn i13_after_a_transfer_the_members_of_before_may_nothing_there() {
    let before = event(team(1), EventStatus::OnSale);
    let (owner, manager) =
        (member(Role::Owner, team(1), None), member(Role::Manager, team(2), None));
    let after = transferred(&before, owner, team(2), manager, None).expect("may both");
    let terms = after.event.expect("it has changed").terms;
    for what in Permission::ALL {
        may(owner, what, &before.terms).expect("before");
        may(owner, what, &terms).expect_err("after");
        let is_allowed = Role::Manager.permissions().has(what);
        assert_eq!(may(manager, what, &terms).is_ok(), is_allowed, "{what}");
    }
}

#[test]
fn no_batch_may_be_under_way_while_an_event_is_transferred() {
    let transfer = Transfer { to: team(2), into: stranger(), expected: None };
    let command = EventCommand::Transfer(transfer);
    assert!(command.stops_sales());
    assert_eq!(command.resizes(), None);
}
