use super::*;
use crate::access::{Member, OrgCommand, Organization, Role, decide as decide_all};
use crate::ids::Shard;

const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);

fn user(number: u64) -> UserId {
    UserId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

fn event(number: u64) -> EventId {
    EventId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

fn key_id(number: u64) -> KeyId {
    KeyId::new(Timestamp::from_unix_ms(0), Shard::pick(0), number)
}

fn permissions(all: &[Permission]) -> Permissions {
    all.iter().copied().collect()
}

fn events(numbers: &[u64]) -> Arc<[EventId]> {
    numbers.iter().map(|number| event(*number)).collect()
}

fn networks(all: &[&str]) -> Arc<[String]> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn key(number: u64, can: &[Permission]) -> ApiKey {
    ApiKey {
        key_id: key_id(number),
        org_id: OrgId::team(Timestamp::from_unix_ms(0), (0, 1)),
        name: format!("Key {number}"),
        scope: KeyScope {
            can: permissions(can),
            events: None,
            networks: None,
            rate: None,
            expires_at: Some(NOW.plus_ms(KEY_TTL_MS)),
        },
        secret: KeySecret { hash: [1; 32], hint: "abcd".to_owned() },
        previous: None,
        created_by: user(2),
        created_at: NOW,
        revoked_at: None,
        version: 1,
    }
}

/// User 1 owns it, 2 manages it, 3 sells.
fn roster(keys: Vec<ApiKey>) -> Roster {
    let org_id = OrgId::team(Timestamp::from_unix_ms(0), (0, 1));
    let member = |(number, role): (u64, Role)| Member {
        org_id,
        user_id: user(number),
        access: Access { role, events: None },
        added_by: user(1),
        created_at: NOW,
    };
    let members = [(1, Role::Owner), (2, Role::Manager), (3, Role::BoxOffice)];
    Roster {
        organization: Organization {
            name: Some("Team".to_owned()),
            created_at: Some(NOW),
            ..Organization::unwritten(org_id)
        },
        members: members.map(member).into(),
        invitations: Vec::new(),
        keys,
        joined: 0,
    }
}

fn decided(roster: &Roster, by: u64, command: KeyCommand) -> Result<OrgChanges, Refusal> {
    decide_all(roster, user(by), &OrgCommand::Key(command), NOW)
}

fn created(by: u64, key: ApiKey) -> Result<OrgChanges, Refusal> {
    decided(&roster(Vec::new()), by, KeyCommand::Create(Box::new(key)))
}

/// What becomes of the one key of the organization.
fn revised(of: &ApiKey, change: KeyChange) -> Result<Option<ApiKey>, Refusal> {
    let command =
        KeyCommand::Change { key_id: of.key_id, expected: None, change: Box::new(change) };
    decided(&roster(vec![of.clone()]), 2, command).map(|changes| changes.keys.into_iter().next())
}

fn missing(permission: Permission) -> Refusal {
    Refusal::PermissionMissing { permission }
}

#[test]
fn a_key_may_no_more_than_its_maker_and_nothing_that_is_for_people() {
    for what in Permission::ALL {
        let made = created(1, key(1, &[what])).map(|changes| changes.keys.len());
        let expected = if grantable(what) { Ok(1) } else { Err(missing(what)) };
        assert_eq!(made, expected, "{what}");
    }
    assert_eq!(Permission::ALL.into_iter().filter(|what| grantable(*what)).count(), 13);
    let sells = [Permission::EventRead, Permission::BookingSell];
    assert!(created(2, key(1, &sells)).is_ok());
    assert_eq!(created(3, key(1, &sells)).err(), Some(missing(Permission::IntegrationWrite)));
    let stranger = created(9, key(1, &sells)).err();
    assert_eq!(stranger, Some(Refusal::NotFound { what: "organization" }));
}

#[test]
fn only_an_owner_makes_a_key_without_an_end_and_none_ends_before_it_begins() {
    let mut endless = key(1, &[Permission::EventRead]);
    endless.scope.expires_at = None;
    assert_eq!(created(2, endless.clone()).err(), Some(missing(Permission::OrgWrite)));
    assert!(created(1, endless).is_ok());
    let mut ended = key(1, &[Permission::EventRead]);
    ended.scope.expires_at = Some(NOW);
    assert_eq!(created(1, ended).err(), Some(Refusal::KeyEndsEarly));
}

#[test]
fn there_are_no_more_keys_than_the_limit_and_ended_ones_do_not_count() {
    let mut keys: Vec<_> =
        (1..=KEYS_MAX as u64).map(|n| key(n, &[Permission::EventRead])).collect();
    let new = || KeyCommand::Create(Box::new(key(1_000, &[Permission::EventRead])));
    let full = Refusal::LimitReached { what: "keys", limit: KEYS_MAX };
    assert_eq!(decided(&roster(keys.clone()), 2, new()).err(), Some(full));
    keys[7].scope.expires_at = Some(NOW);
    assert!(decided(&roster(keys), 2, new()).is_ok());
}

#[test]
fn a_key_is_made_smaller_and_never_larger() {
    use Permission::{BookingRead, BookingSell, EventRead};
    let mut full = key(1, &[EventRead, BookingRead]);
    full.scope.events = Some(events(&[1, 2]));
    full.scope.networks = Some(networks(&["10.0.0.0/8", "192.0.2.1"]));
    let end = full.scope.expires_at.expect("it has one");
    let change = KeyChange::default;
    let wider = [
        (KeyChange { can: Some(permissions(&[EventRead, BookingSell])), ..change() }, "scopes"),
        (KeyChange { events: Some(Some(events(&[1, 3]))), ..change() }, "events"),
        (KeyChange { events: Some(None), ..change() }, "events"),
        (KeyChange { networks: Some(Some(networks(&["10.0.0.0/7"]))), ..change() }, "networks"),
        (KeyChange { networks: Some(None), ..change() }, "networks"),
        (KeyChange { expires_at: Some(Some(end.plus_ms(1))), ..change() }, "expires_at"),
        (KeyChange { expires_at: Some(None), ..change() }, "expires_at"),
    ];
    for (change, field) in wider {
        assert_eq!(
            revised(&full, change.clone()),
            Err(Refusal::KeyWidened { field }),
            "{change:?}"
        );
    }
    let smaller = KeyChange {
        name: Some("Smaller".to_owned()),
        can: Some(permissions(&[EventRead])),
        events: Some(Some(events(&[2]))),
        networks: Some(Some(networks(&["192.0.2.1"]))),
        rate: Some(Some(10)),
        expires_at: Some(Some(NOW.plus_ms(1))),
    };
    let after = revised(&full, smaller).expect("it is less").expect("it is another");
    assert_eq!((after.version, after.name.as_str()), (2, "Smaller"));
    assert_eq!((after.scope.can, after.scope.rate), (permissions(&[EventRead]), Some(10)));
    assert_eq!(after.secret, full.secret);
    assert_eq!(revised(&full, change()), Ok(None), "nothing is another");
    let ends = KeyChange { expires_at: Some(Some(NOW)), ..change() };
    assert_eq!(revised(&full, ends), Err(Refusal::KeyEndsEarly), "that is what revoking is for");
    let stale = KeyCommand::Change {
        key_id: full.key_id,
        expected: Some(7),
        change: Box::new(KeyChange { name: Some("x".to_owned()), ..change() }),
    };
    let refused = decided(&roster(vec![full]), 2, stale).err();
    assert_eq!(refused, Some(Refusal::VersionMismatch { version: 1 }));
}

#[test]
fn a_former_secret_is_good_for_as_long_as_was_said_and_there_are_two_at_most() {
    let first = key(1, &[Permission::EventRead]);
    let rotated = |of: &ApiKey, hash: u8, overlap_ms| {
        let secret = KeySecret { hash: [hash; 32], hint: "wxyz".to_owned() };
        let command = KeyCommand::Rotate { key_id: of.key_id, secret, overlap_ms };
        let changes = decided(&roster(vec![of.clone()]), 2, command).expect("it is rotated");
        changes.keys[0].clone()
    };
    let second = rotated(&first, 2, 1_000);
    assert!(second.is_opened_by(&[1; 32], NOW.plus_ms(999)));
    assert!(!second.is_opened_by(&[1; 32], NOW.plus_ms(1_000)));
    assert!(second.is_opened_by(&[2; 32], NOW.plus_ms(1_000)));
    let third = rotated(&second, 3, 5_000);
    assert!(!third.is_opened_by(&[1; 32], NOW), "the first one has gone");
    assert!(third.is_opened_by(&[2; 32], NOW) && third.is_opened_by(&[3; 32], NOW));
    let fourth = rotated(&third, 4, 0);
    assert_eq!(fourth.previous, None);
    assert!(!fourth.is_opened_by(&[3; 32], NOW));
    let longest = rotated(&first, 2, i64::MAX).previous.expect("it is kept").1;
    assert_eq!(longest, NOW.plus_ms(KEY_OVERLAP_MS_MAX));
}

#[test]
fn an_ended_key_opens_nothing_and_ends_once() {
    let live = key(1, &[Permission::EventRead]);
    let revoke = || KeyCommand::Revoke { key_id: key_id(1) };
    let changes = decided(&roster(vec![live.clone()]), 2, revoke()).expect("it ends");
    let ended = changes.keys[0].clone();
    assert_eq!(ended.revoked_at, Some(NOW));
    assert!(!ended.is_opened_by(&[1; 32], NOW));
    assert_eq!(changes.entries[0].action, AccessAction::KeyRevoked);
    let again = decided(&roster(vec![ended.clone()]), 2, revoke());
    assert_eq!(again, Ok(OrgChanges::default()));
    let secret = live.secret.clone();
    let rotate = KeyCommand::Rotate { key_id: key_id(1), secret, overlap_ms: 0 };
    let missing = Some(Refusal::NotFound { what: "key" });
    assert_eq!(decided(&roster(vec![ended]), 2, rotate).err(), missing);
    assert_eq!(decided(&roster(Vec::new()), 2, revoke()).err(), missing);
    assert!(!live.is_live(NOW.plus_ms(KEY_TTL_MS)) && live.is_live(NOW.plus_ms(KEY_TTL_MS - 1)));
}

#[test]
fn who_removes_a_member_says_what_becomes_of_the_keys_that_the_member_made() {
    let mut others = key(2, &[Permission::EventRead]);
    others.created_by = user(1);
    let mut ended = key(3, &[Permission::EventRead]);
    ended.revoked_at = Some(NOW);
    let all = roster(vec![key(1, &[Permission::EventRead]), others, ended]);
    let removed = |keys| {
        let command = OrgCommand::Remove { user_id: user(2), confirmed: false, keys };
        decide_all(&all, user(1), &command, NOW)
    };
    assert_eq!(removed(None).err(), Some(Refusal::KeysExist { keys: 1 }));
    let kept = removed(Some(KeysOfMember::Keep)).expect("it is said");
    assert_eq!((kept.removed.len(), kept.keys.len(), kept.entries.len()), (1, 0, 1));
    let revoked = removed(Some(KeysOfMember::Revoke)).expect("it is said");
    let ended: Vec<_> = revoked.keys.iter().map(|key| (key.key_id, key.revoked_at)).collect();
    assert_eq!(ended, [(key_id(1), Some(NOW))]);
    let actions: Vec<_> = revoked.entries.iter().map(|entry| entry.action).collect();
    assert_eq!(actions, [AccessAction::MemberRemoved, AccessAction::KeyRevoked]);
    let nothing_made = OrgCommand::Remove { user_id: user(3), confirmed: false, keys: None };
    assert!(decide_all(&all, user(1), &nothing_made, NOW).is_ok());
}

#[test]
fn a_key_acts_for_its_organization_at_its_events() {
    let mut of = key(1, &[Permission::EventRead]);
    let grant = |of: &ApiKey, at| match of.acting(at) {
        By::Acting(grant) => grant,
        other => panic!("{other:?}"),
    };
    assert_eq!(grant(&of, None).actor, Actor::Key(key_id(1)));
    assert_eq!(grant(&of, Some(event(3))).only, None);
    of.scope.events = Some(events(&[1, 3]));
    assert_eq!(grant(&of, Some(event(3))).only, Some(event(3)));
    assert_eq!(grant(&of, Some(event(2))).only, Some(event(1)));
    assert!(grant(&of, None).only.is_some(), "nothing at the organization itself");
}
