//! Keys of organizations: made once, found by either secret, changed and ended under the lock.

use super::super::{World, answered, creation_key, refusal};
use engine::access::{
    AccessAction, ApiKey, KEY_KEPT_MS, KEY_TTL_MS, KeyChange, KeyCommand, KeyScope, KeySecret,
    KeysOfMember, Noted, OrgCommand, Permission, Role,
};
use engine::{Actor, Error, KeyId, OrgId, Refusal, Shard, UserId};
use store::{EntryFilter, LAST_USE_EVERY_MS};
use uuid::Uuid;

const MISSING: Refusal = Refusal::NotFound { what: "key" };

impl World {
    fn key(&self, org_id: OrgId, by: UserId) -> ApiKey {
        let (_, low) = Uuid::from_bytes(*self.mint.user().as_bytes()).as_u64_pair();
        let now = self.clock.now();
        let key_id = KeyId::new(now, Shard::pick(7), low);
        ApiKey {
            key_id,
            org_id,
            name: "Shop".to_owned(),
            scope: KeyScope {
                can: [Permission::EventRead, Permission::BookingSell].into_iter().collect(),
                events: None,
                networks: Some(["192.0.2.0/24".to_owned()].into()),
                rate: Some(50),
                expires_at: Some(now.plus_ms(KEY_TTL_MS)),
            },
            secret: self.secret(),
            previous: None,
            created_by: by,
            created_at: now,
            revoked_at: None,
            version: 1,
        }
    }

    fn secret(&self) -> KeySecret {
        let mut hash = [9; 32];
        hash[..16].copy_from_slice(self.mint.user().as_bytes());
        KeySecret { hash, hint: "wxyz".to_owned() }
    }

    async fn make(&self, key: &ApiKey) -> Result<bool, Error> {
        let made = self.store.create_api_key(key, key.created_by, &self.note("make"), None).await;
        made.map(|made| made.id == key.key_id && !made.replayed)
    }

    async fn made(&self, org_id: OrgId, by: UserId) -> ApiKey {
        let key = self.key(org_id, by);
        assert!(self.make(&key).await.expect("within the own permissions"));
        key
    }

    async fn command(&self, org_id: OrgId, by: UserId, command: KeyCommand) -> Result<(), Error> {
        self.change_org(org_id, by, OrgCommand::Key(command)).await.map(drop)
    }

    async fn by_hash(&self, hash: &[u8; 32]) -> Option<ApiKey> {
        answered(self.store.api_key_by_hash(hash).await)
    }
}

pub async fn a_key_is_read_as_it_was_made_and_found_by_its_secret(world: World) {
    let (org_id, ada) = world.team().await;
    let key = world.made(org_id, ada).await;
    assert_eq!(world.by_hash(&key.secret.hash).await, Some(key.clone()));
    assert_eq!(world.by_hash(&[0; 32]).await, None);
    let stored = answered(world.store.api_key(key.key_id).await).expect("it is there");
    assert_eq!((&stored.key, stored.last_used_at), (&key, None));
    let listed = answered(world.store.api_keys(org_id).await);
    assert_eq!(listed, [stored]);
    let (other, _) = world.team().await;
    assert_eq!(answered(world.store.api_keys(other).await), []);
    // A personal organization gets its row with its first key.
    let bob = world.mint.user();
    let own = world.made(OrgId::from(bob), bob).await;
    assert_eq!(world.by_hash(&own.secret.hash).await, Some(own));
    let eve = world.key(org_id, world.mint.user());
    assert_eq!(refusal(world.make(&eve).await), Refusal::NotFound { what: "organization" });
    let log = world.entries(org_id, EntryFilter::default(), 100).await;
    let entry = &log.items.last().expect("it was made").entry;
    assert_eq!((entry.action, entry.target), (AccessAction::KeyCreated, Some(key.key_id.uuid())));
    assert_eq!((entry.actor, &entry.before), (Actor::User(ada), &None));
    let Some(Noted::Key(note)) = &entry.after else { panic!("{entry:?}") };
    assert_eq!((&note.name, &note.scope, note.previous_until), (&key.name, &key.scope, None));
}

pub async fn a_key_made_with_the_same_key_is_made_once(world: World) {
    let (org_id, ada) = world.team().await;
    let make = async |fingerprint| {
        let key = world.key(org_id, ada);
        let creation = creation_key(ada, "once", fingerprint);
        world.store.create_api_key(&key, ada, &world.note("make"), Some(&creation)).await
    };
    let first = make(1).await.expect("the first one");
    assert!(!first.replayed);
    let again = make(1).await.expect("replayed");
    assert_eq!((again.id, again.replayed), (first.id, true));
    assert_eq!(refusal(make(2).await), Refusal::IdempotencyKeyReused);
    assert_eq!(answered(world.store.api_keys(org_id).await).len(), 1);
}

pub async fn a_key_is_changed_rotated_and_ended_by_its_rules(world: World) {
    let (org_id, ada) = world.team().await;
    let key = world.made(org_id, ada).await;
    let key_id = key.key_id;
    let change =
        |change| KeyCommand::Change { key_id, expected: Some(1), change: Box::new(change) };
    let wider = KeyChange { networks: Some(None), ..KeyChange::default() };
    let refused = world.command(org_id, ada, change(wider)).await;
    assert_eq!(refusal(refused), Refusal::KeyWidened { field: "networks" });
    let can = [Permission::EventRead].into_iter().collect();
    let smaller = KeyChange { can: Some(can), ..KeyChange::default() };
    world.command(org_id, ada, change(smaller.clone())).await.expect("it is less");
    let refused = world.command(org_id, ada, change(smaller)).await;
    assert_eq!(refusal(refused), Refusal::VersionMismatch { version: 2 });

    let second = world.secret();
    let rotate = |secret: &KeySecret, overlap_ms| KeyCommand::Rotate {
        key_id,
        secret: secret.clone(),
        overlap_ms,
    };
    world.command(org_id, ada, rotate(&second, 1_000)).await.expect("it is rotated");
    let now = world.clock.now();
    let found = world.by_hash(&second.hash).await.expect("by the new one");
    assert_eq!(world.by_hash(&key.secret.hash).await, Some(found.clone()), "and by the former one");
    assert!(found.is_opened_by(&key.secret.hash, now.plus_ms(900)));
    assert_eq!((found.scope.can, found.version), (can, 3));
    world.command(org_id, ada, rotate(&world.secret(), 0)).await.expect("it is rotated");
    assert_eq!(world.by_hash(&key.secret.hash).await, None);
    assert_eq!(world.by_hash(&second.hash).await, None);

    let revoke = || KeyCommand::Revoke { key_id };
    let (other, eve) = world.team().await;
    assert_eq!(refusal(world.command(other, eve, revoke()).await), MISSING);
    for _ in 0..2 {
        world.command(org_id, ada, revoke()).await.expect("it ends, once");
    }
    assert_eq!(refusal(world.command(org_id, ada, rotate(&second, 0)).await), MISSING);
    assert_eq!(answered(world.store.api_keys(org_id).await), []);
    let ended = answered(world.store.api_key(key_id).await).expect("it is kept").key;
    assert_eq!((ended.revoked_at, ended.version), (Some(now), 5));
    let log = world.entries(org_id, EntryFilter::default(), 100).await;
    let actions: Vec<_> = log.items.iter().map(|item| item.entry.action).collect();
    let expected = [
        AccessAction::OrgCreated,
        AccessAction::KeyCreated,
        AccessAction::KeyChanged,
        AccessAction::KeyRotated,
        AccessAction::KeyRotated,
        AccessAction::KeyRevoked,
    ];
    assert_eq!(actions, expected);
}

pub async fn the_keys_of_a_member_who_is_removed_stay_or_end_as_was_said(world: World) {
    let (org_id, ada) = world.team().await;
    let bob = world.join(org_id, ada, Role::Manager).await;
    let own = world.made(org_id, ada).await;
    let keys = [world.made(org_id, bob).await, world.made(org_id, bob).await];
    let remove = |keys| OrgCommand::Remove { user_id: bob, confirmed: false, keys };
    let refused = world.change_org(org_id, ada, remove(None)).await;
    assert_eq!(refusal(refused), Refusal::KeysExist { keys: 2 });
    let done = world.change_org(org_id, ada, remove(Some(KeysOfMember::Revoke))).await;
    done.expect("it was said");
    let listed = answered(world.store.api_keys(org_id).await);
    assert_eq!(listed.iter().map(|of| of.key.key_id).collect::<Vec<_>>(), [own.key_id]);
    let log = world.entries(org_id, EntryFilter::default(), 100).await;
    let last: Vec<_> = log.items.iter().rev().take(3).map(|item| item.entry.action).collect();
    let expected =
        [AccessAction::KeyRevoked, AccessAction::KeyRevoked, AccessAction::MemberRemoved];
    assert_eq!(last, expected);
    let targets: Vec<_> = log.items.iter().rev().take(2).map(|item| item.entry.target).collect();
    assert!(keys.iter().all(|key| targets.contains(&Some(key.key_id.uuid()))));
}

pub async fn the_last_use_of_a_key_is_written_once_a_minute(world: World) {
    let (org_id, ada) = world.team().await;
    let [used, idle] = [world.made(org_id, ada).await, world.made(org_id, ada).await];
    let last_use = async |key: &ApiKey| {
        let stored = answered(world.store.api_key(key.key_id).await).expect("it is there");
        (stored.last_used_at, stored.key.version)
    };
    let unknown = world.key(org_id, ada).key_id;
    let note = async || answered(world.store.note_use(&[used.key_id, unknown]).await);
    let first = world.clock.now();
    note().await;
    assert_eq!(last_use(&used).await, (Some(first), 1));
    assert_eq!(last_use(&idle).await, (None, 1));
    world.clock.advance_ms(LAST_USE_EVERY_MS - 1);
    note().await;
    assert_eq!(last_use(&used).await.0, Some(first));
    world.clock.advance_ms(1);
    note().await;
    assert_eq!(last_use(&used).await.0, Some(world.clock.now()));
}

pub async fn ended_keys_are_removed_after_a_while(world: World) {
    let (org_id, ada) = world.team().await;
    let [revoked, expired, live] = [(); 3].map(|()| world.key(org_id, ada));
    let early = world.clock.now().plus_ms(5);
    let expired =
        ApiKey { scope: KeyScope { expires_at: Some(early), ..expired.scope.clone() }, ..expired };
    let endless = KeyScope { expires_at: None, ..live.scope.clone() };
    let live = ApiKey { scope: endless, ..live };
    for key in [&revoked, &expired, &live] {
        world.make(key).await.expect("it is made");
    }
    world.clock.advance_ms(5);
    let revoke = KeyCommand::Revoke { key_id: revoked.key_id };
    world.command(org_id, ada, revoke).await.expect("it ends");
    let is_there = async |key: &ApiKey| answered(world.store.api_key(key.key_id).await).is_some();
    world.clock.advance_ms(KEY_KEPT_MS - 1);
    answered(world.store.purge(100).await);
    assert!(is_there(&revoked).await && is_there(&expired).await);
    let listed = answered(world.store.api_keys(org_id).await);
    assert_eq!(listed.iter().map(|of| of.key.key_id).collect::<Vec<_>>(), [live.key_id]);
    world.clock.advance_ms(1);
    answered(world.store.purge(100).await);
    assert!(!is_there(&revoked).await && !is_there(&expired).await && is_there(&live).await);
}
