use super::*;
use crate::event::EventStatus;
use crate::ids::Shard;
use crate::time::Timestamp;

/// Those that concern what is at an event.
const AT_EVENTS: [Permission; 6] = [
    Permission::EventRead,
    Permission::EventWrite,
    Permission::EventCancel,
    Permission::InventoryWrite,
    Permission::BookingRead,
    Permission::BookingCancel,
];

fn user(number: u64) -> UserId {
    UserId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

fn team(number: u64) -> OrgId {
    OrgId::team(Timestamp::from_unix_ms(0), (0, number))
}

fn event(number: u64) -> EventId {
    EventId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

/// Event 1 of this organization.
fn terms(org_id: OrgId, status: EventStatus) -> Terms {
    Terms {
        event_id: event(1),
        organizer_id: org_id,
        status,
        sales_start: None,
        sales_end: None,
        over_at: Timestamp::from_unix_ms(1),
        max_seats_per_booking: None,
        max_seats_per_user: None,
        hold_ttl_ms: None,
        cancellable_until: None,
        prevent_orphans: false,
    }
}

/// User 2, acting for a team.
fn acting(role: Role, org_id: OrgId, only: Option<EventId>) -> By {
    By::Acting(Grant { actor: Actor::User(user(2)), org_id, can: role.permissions(), only })
}

#[test]
fn i13_the_owner_of_a_personal_organization_and_the_system_may_everything_and_strangers_nothing() {
    for status in EventStatus::ALL {
        let terms = terms(user(1).into(), status);
        for what in Permission::ALL {
            assert_eq!(may(By::User(user(1)), what, &terms), Ok(()));
            assert_eq!(may(By::System, what, &terms), Ok(()));
            may(By::User(user(2)), what, &terms).expect_err("a stranger");
            may(acting(Role::Owner, team(1), None), what, &terms).expect_err("another team");
            may(acting(Role::Owner, user(2).into(), None), what, &terms).expect_err("another's");
        }
    }
}

#[test]
fn i13_a_member_may_what_the_role_says_at_the_events_of_that_organization_alone() {
    for role in Role::ALL {
        let by = acting(role, team(1), None);
        for what in Permission::ALL {
            let may_here = may(by, what, &terms(team(1), EventStatus::OnSale));
            assert_eq!(may_here.is_ok(), role.permissions().has(what), "{role:?} {what}");
            may(by, what, &terms(team(2), EventStatus::OnSale)).expect_err("another team");
            may(by, what, &terms(user(2).into(), EventStatus::OnSale))
                .expect_err("the own personal organization is not meant");
        }
    }
}

#[test]
fn i13_a_user_with_the_id_of_a_team_owns_nothing_of_it() {
    let namesake = UserId::from_slice(team(1).as_bytes()).expect("16 bytes");
    for what in Permission::ALL {
        may(By::User(namesake), what, &terms(team(1), EventStatus::OnSale)).expect_err("no member");
    }
}

#[test]
fn a_member_who_is_confined_may_nothing_beyond_that_event() {
    let (draft, public) = (EventStatus::Draft, EventStatus::OnSale);
    let here = acting(Role::Manager, team(1), Some(event(1)));
    let elsewhere = acting(Role::Manager, team(1), Some(event(2)));
    for what in AT_EVENTS {
        assert_eq!(may(here, what, &terms(team(1), draft)), Ok(()));
        let missing = Refusal::NotFound { what: terms(team(1), draft).hidden(what) };
        assert_eq!(may(elsewhere, what, &terms(team(1), draft)), Err(missing));
        may(elsewhere, what, &terms(team(1), public)).expect_err("another event");
    }
    let refused = may(elsewhere, Permission::EventWrite, &terms(team(1), public));
    assert_eq!(refused, Err(Refusal::PermissionMissing { permission: Permission::EventWrite }));
    let refused = may(here, Permission::EventWrite, &team(1));
    assert_eq!(
        refused,
        Err(Refusal::PermissionMissing { permission: Permission::EventWrite }),
        "no other events are made"
    );
}

#[test]
fn a_refusal_reveals_no_more_than_the_caller_can_see() {
    let refused = |by, what, status| may(by, what, &terms(team(1), status)).unwrap_err();
    let missing = |what| Refusal::NotFound { what };
    let (stranger, door) = (By::User(user(3)), acting(Role::CheckIn, team(1), None));
    for (what, name) in [
        (Permission::EventRead, "event"),
        (Permission::EventWrite, "event"),
        (Permission::EventCancel, "event"),
        (Permission::InventoryWrite, "section"),
    ] {
        assert_eq!(refused(stranger, what, EventStatus::Draft), missing(name));
        assert_eq!(refused(stranger, what, EventStatus::OnSale), Refusal::NotOrganizer);
        if what != Permission::EventRead {
            let permission = Refusal::PermissionMissing { permission: what };
            assert_eq!(refused(door, what, EventStatus::Draft), permission);
        }
    }
    for what in [Permission::BookingRead, Permission::BookingCancel] {
        for status in [EventStatus::Draft, EventStatus::OnSale] {
            assert_eq!(refused(stranger, what, status), missing("booking"));
            assert_eq!(refused(door, what, status), missing("booking"));
        }
    }
    let analyst = acting(Role::Analyst, team(1), None);
    let permission = Permission::BookingCancel;
    assert_eq!(
        refused(analyst, permission, EventStatus::OnSale),
        Refusal::PermissionMissing { permission },
        "an analyst sees the booking"
    );
}

#[test]
fn i13_who_may_sell_acts_for_buyers_and_who_sees_no_bookings_finds_none() {
    let missing = Refusal::NotFound { what: "booking" };
    let lacks = Refusal::PermissionMissing { permission: Permission::BookingSell };
    for status in EventStatus::ALL {
        let at = |org_id| terms(org_id, status);
        for (role, refused) in [
            (Role::Owner, None),
            (Role::Manager, None),
            (Role::BoxOffice, None),
            (Role::Analyst, Some(&lacks)),
            (Role::CheckIn, Some(&missing)),
        ] {
            let here = may_for_buyer(acting(role, team(1), None), &at(team(1)));
            assert_eq!(here.as_ref().err(), refused, "{role:?}");
            let elsewhere = may_for_buyer(acting(role, team(2), None), &at(team(1)));
            assert_eq!(elsewhere.as_ref().err(), Some(&missing), "{role:?}");
            let confined = may_for_buyer(acting(role, team(1), Some(event(2))), &at(team(1)));
            assert_eq!(confined.as_ref().err(), Some(&missing), "{role:?}");
        }
        assert_eq!(may_for_buyer(By::User(user(3)), &at(team(1))).as_ref().err(), Some(&missing));
        assert_eq!(may_for_buyer(By::User(user(3)), &at(user(3).into())), Ok(()));
        assert_eq!(may_for_buyer(By::System, &at(team(1))), Ok(()));
    }
}

#[test]
fn a_draft_is_visible_to_the_members_of_its_organization() {
    let draft = terms(team(1), EventStatus::Draft);
    for role in Role::ALL {
        assert!(is_visible(Some(acting(role, team(1), None)), &draft));
        assert!(is_visible(Some(acting(role, team(1), Some(event(1)))), &draft));
        assert!(!is_visible(Some(acting(role, team(1), Some(event(2)))), &draft));
        assert!(!is_visible(Some(acting(role, team(2), None)), &draft));
    }
    assert!(!is_visible(Some(By::User(user(2))), &draft));
    assert!(!is_visible(None, &draft));
    assert!(is_visible(None, &terms(team(1), EventStatus::Closed)));
}

#[test]
fn i13_an_operator_reads_every_organization_and_changes_none() {
    let reads = [Permission::EventRead, Permission::BookingRead, Permission::LogRead];
    let (of, other) = (team(1), event(2));
    let of_other = terms(team(2), EventStatus::Draft);
    for status in EventStatus::ALL {
        let terms = terms(of, status);
        let by = By::User(user(2)).or_operator(of, Some(event(1)));
        for what in Permission::ALL {
            let told = if reads.contains(&what) {
                Ok(())
            } else {
                Err(Refusal::PermissionMissing { permission: what })
            };
            assert_eq!(may(by, what, &terms), told, "{what} {status:?}");
            assert_eq!(may(by, what, &of), told, "{what} at the organization");
            may(by, what, &of_other).expect_err("the grant is for one organization");
        }
        assert_eq!(by.actor(), Actor::User(user(2)));
        // As a member they may both.
        let by = acting(Role::CheckIn, of, None).or_operator(of, Some(event(1)));
        assert_eq!(may(by, Permission::CheckIn, &terms), Ok(()));
        assert_eq!(may(by, Permission::BookingRead, &terms), Ok(()));
        may(by, Permission::EventWrite, &terms).expect_err("neither");
        // And read where they are confined to something else.
        let by = acting(Role::Manager, of, Some(other)).or_operator(of, Some(event(1)));
        assert_eq!(may(by, Permission::EventRead, &terms), Ok(()));
        may(by, Permission::EventWrite, &terms).expect_err("confined");
    }
}
