//! Users and refresh tokens.

use super::{World, answered, refusal};
use engine::account::{REFRESH_GRACE_MS, RefreshToken, User, UserChange};
use engine::{Refusal, Timestamp, UserId};
use uuid::Uuid;

const HOUR_MS: i64 = 3_600_000;

impl World {
    pub fn new_user(&self, email: &str) -> User {
        User {
            user_id: self.mint.user(),
            email: email.to_owned(),
            name: Some("Ada".to_owned()),
            password_hash: "$argon2id$first".to_owned(),
            created_at: self.clock.now(),
        }
    }

    pub async fn user(&self, email: &str) -> User {
        let user = self.new_user(email);
        self.store.create_user(&user).await.expect("the address is free");
        user
    }

    /// The first token of a family, which has this hash and lives for an hour.
    fn token(&self, user_id: UserId, hash: u8) -> RefreshToken {
        RefreshToken {
            token_hash: [hash; 32],
            family_id: Uuid::from_u128(u128::from(hash)),
            user_id,
            expires_at: self.clock.now().plus_ms(HOUR_MS),
            spent_at: None,
        }
    }

    /// Opens a family whose first token has this hash and lives for an hour.
    pub async fn family(&self, user_id: UserId, hash: u8) -> RefreshToken {
        let token = self.token(user_id, hash);
        let user = answered(self.store.user(user_id).await).expect("there is such a user");
        let opened = answered(self.store.open_family(&token, &user.password_hash).await);
        assert!(opened.is_some(), "it is the hash of the password");
        token
    }

    async fn rotate(&self, spent: u8, next: u8) -> Result<RefreshToken, Refusal> {
        let next = ([next; 32], self.clock.now().plus_ms(HOUR_MS));
        let rotated = self.store.rotate(&[spent; 32], next).await;
        rotated.map(|(token, _)| token).map_err(|error| refusal::<()>(Err(error)))
    }
}

pub async fn an_address_belongs_to_one_account_whatever_its_case(world: World) {
    let store = &world.store;
    let ada = world.user("Ada@Example.ORG").await;
    let juergen = world.user("JÜRGEN@example.org").await;
    for taken in ["Ada@Example.ORG", "ada@example.org", "ADA@EXAMPLE.ORG"] {
        let again = store.create_user(&world.new_user(taken)).await;
        assert_eq!(refusal(again), Refusal::EmailTaken, "{taken}");
        assert_eq!(answered(store.user_by_email(taken).await), Some(ada.clone()), "{taken}");
    }
    assert_eq!(answered(store.user_by_email("jürgen@example.org").await), Some(juergen));
    assert_eq!(answered(store.user_by_email("ada@example.com").await), None);
    assert_eq!(answered(store.user(ada.user_id).await), Some(ada));
    assert_eq!(answered(store.user(world.mint.user()).await), None);
}

pub async fn of_many_registrations_of_one_address_at_once_one_wins(world: World) {
    let users: Vec<_> = (0..16).map(|_| world.new_user("ada@example.org")).collect();
    let attempts = users.iter().map(|user| world.store.create_user(user));
    let results = futures_util::future::join_all(attempts).await;
    let won: Vec<_> = users.iter().zip(&results).filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(won.len(), 1, "{results:?}");
    let found = answered(world.store.user_by_email("ada@example.org").await);
    assert_eq!(found.as_ref(), Some(won[0].0));
}

pub async fn an_account_changes_its_name_and_its_address(world: World) {
    let store = &world.store;
    let ada = world.user("ada@example.org").await;
    world.user("bob@example.org").await;
    let change = |name: Option<Option<&str>>, email: Option<&str>| {
        let name = name.map(|name| name.map(str::to_owned));
        store.update_user(ada.user_id, UserChange { name, email: email.map(str::to_owned) })
    };
    assert_eq!(change(None, None).await.expect("nothing to refuse"), ada);
    let taken = change(Some(Some("Nobody")), Some("BOB@example.org")).await;
    assert_eq!(refusal(taken), Refusal::EmailTaken);
    assert_eq!(answered(store.user(ada.user_id).await), Some(ada.clone()), "whole or not at all");
    // Another writing of one's own address is no conflict.
    let changed = change(Some(None), Some("Ada@Example.org")).await.expect("her own address");
    assert_eq!((changed.name.as_deref(), &*changed.email), (None, "Ada@Example.org"));
    assert_eq!(answered(store.user_by_email("ada@example.org").await), Some(changed));
    change(None, Some("countess@example.org")).await.expect("a free address");
    assert_eq!(answered(store.user_by_email("ada@example.org").await), None);
    world.user("ada@example.org").await;
    let nobody = store.update_user(world.mint.user(), UserChange::default()).await;
    assert_eq!(refusal(nobody), Refusal::NotFound { what: "user" });
}

pub async fn a_refresh_token_is_exchanged_for_the_next_of_its_family(world: World) {
    let ada = world.user("ada@example.org").await;
    let first = world.family(ada.user_id, 1).await;
    let second = world.rotate(1, 2).await.expect("the first use");
    assert_eq!((second.user_id, second.family_id), (ada.user_id, first.family_id));
    assert_eq!((second.token_hash, second.spent_at), ([2; 32], None));
    // The client may have lost the answer: for a while it may ask again.
    world.clock.advance_ms(REFRESH_GRACE_MS);
    let third = world.rotate(1, 3).await.expect("within the grace");
    assert_eq!(third.family_id, first.family_id);
    // The grace runs from the first use, not from the latest.
    world.rotate(2, 4).await.expect("the other one is good as well");
    world.clock.advance_ms(1);
    assert_eq!(world.rotate(1, 5).await, Err(Refusal::InvalidRefreshToken));
}

pub async fn a_token_used_again_after_its_grace_ends_its_family(world: World) {
    let ada = world.user("ada@example.org").await;
    world.family(ada.user_id, 1).await;
    world.family(ada.user_id, 101).await;
    world.rotate(1, 2).await.expect("the first use");
    world.clock.advance_ms(REFRESH_GRACE_MS + 1);
    assert_eq!(world.rotate(1, 3).await, Err(Refusal::InvalidRefreshToken));
    assert_eq!(world.rotate(2, 3).await, Err(Refusal::InvalidRefreshToken), "its family is over");
    world.rotate(101, 102).await.expect("another login of the same user goes on");
}

pub async fn an_unknown_or_an_expired_token_is_refused(world: World) {
    let ada = world.user("ada@example.org").await;
    world.family(ada.user_id, 1).await;
    assert_eq!(world.rotate(9, 2).await, Err(Refusal::InvalidRefreshToken));
    world.clock.advance_ms(HOUR_MS);
    assert_eq!(world.rotate(1, 2).await, Err(Refusal::InvalidRefreshToken), "at its very end");
}

pub async fn a_logout_ends_one_family(world: World) {
    let ada = world.user("ada@example.org").await;
    world.family(ada.user_id, 1).await;
    world.family(ada.user_id, 101).await;
    world.rotate(1, 2).await.expect("the first use");
    // Any token of a family names it, also a spent one.
    answered(world.store.end_family(&[1; 32]).await);
    answered(world.store.end_family(&[77; 32]).await);
    assert_eq!(world.rotate(2, 3).await, Err(Refusal::InvalidRefreshToken));
    world.rotate(101, 102).await.expect("the other login goes on");
}

pub async fn a_new_password_ends_all_families_of_its_user(world: World) {
    let store = &world.store;
    let (ada, bob) = (world.user("ada@example.org").await, world.user("bob@example.org").await);
    for (user_id, hash) in [(ada.user_id, 1), (ada.user_id, 2), (bob.user_id, 3)] {
        world.family(user_id, hash).await;
    }
    assert_eq!(answered(store.set_password(ada.user_id, "$argon2id$other", "$new").await), None);
    world.rotate(1, 11).await.expect("nothing has changed");
    let changed = answered(store.set_password(ada.user_id, &ada.password_hash, "$new").await);
    assert!(changed.is_some());
    let changed = answered(store.user(ada.user_id).await).expect("she is still there");
    assert_eq!(changed.password_hash, "$new");
    assert_eq!(world.rotate(11, 12).await, Err(Refusal::InvalidRefreshToken));
    assert_eq!(world.rotate(2, 21).await, Err(Refusal::InvalidRefreshToken));
    world.rotate(3, 31).await.expect("nobody else is logged out");
    let late = answered(store.set_password(ada.user_id, &ada.password_hash, "$newer").await);
    assert_eq!(late, None);
}

impl World {
    /// When a login with this password's hash counts as issued.
    async fn login(&self, user_id: UserId, hash: u8, password_hash: &str) -> Option<Timestamp> {
        let token = self.token(user_id, hash);
        answered(self.store.open_family(&token, password_hash).await)
    }

    /// The cutoffs, newest first.
    async fn cutoffs(&self) -> Vec<(UserId, Timestamp)> {
        let found = answered(self.store.cutoffs(100).await);
        found.iter().map(|cutoff| (cutoff.user_id, cutoff.not_before)).collect()
    }
}

pub async fn the_end_of_all_logins_is_a_cutoff_after_what_was_issued(world: World) {
    let store = &world.store;
    let (ada, bob) = (world.user("ada@example.org").await, world.user("bob@example.org").await);
    assert_eq!(world.cutoffs().await, []);
    let now = world.clock.now();
    let hash = ada.password_hash.as_str();
    // All in one millisecond: what was issued before it is over, and what is issued after it is not.
    let first = world.login(ada.user_id, 1, hash).await.expect("her password");
    assert_eq!(first, now);
    let other = world.login(bob.user_id, 2, hash).await.expect("his password");
    let ended = answered(store.end_logins(ada.user_id).await);
    assert!(first < ended, "{first:?} is before {ended:?}");
    assert_eq!(world.cutoffs().await, [(ada.user_id, ended)]);
    assert_eq!(world.rotate(1, 11).await, Err(Refusal::InvalidRefreshToken));
    world.rotate(2, 21).await.expect("nobody else is logged out");
    let second = world.login(ada.user_id, 3, hash).await.expect("her password");
    assert!(second >= ended);
    let next = ([31; 32], world.clock.now().plus_ms(HOUR_MS));
    let (_, third) = store.rotate(&[3; 32], next).await.expect("it goes on");
    assert!(third >= ended);
    let again = answered(store.set_password(ada.user_id, hash, "$new").await).expect("the hash");
    assert!(second < again && third < again);
    assert_eq!(world.cutoffs().await, [(ada.user_id, again)], "the last one counts");
    assert!(other < answered(store.end_logins(bob.user_id).await));
    assert!(world.login(ada.user_id, 4, "$new").await.expect("her password") >= again);

    // Also of somebody without an account; the newest come first.
    world.clock.advance_ms(1_000);
    let stranger = world.mint.user();
    let strangers = answered(store.end_logins(stranger).await);
    assert!(strangers > world.clock.now());
    assert_eq!(world.cutoffs().await[0], (stranger, strangers));
    assert_eq!(answered(store.cutoffs(2).await).len(), 2);
    let later = world.login(ada.user_id, 5, "$new").await.expect("her password");
    assert_eq!(later, world.clock.now(), "the cutoff has passed");
}

pub async fn a_password_that_was_changed_meanwhile_opens_no_login(world: World) {
    let ada = world.user("ada@example.org").await;
    let old = ada.password_hash.as_str();
    answered(world.store.set_password(ada.user_id, old, "$new").await).expect("the hash");
    assert_eq!(world.login(ada.user_id, 1, old).await, None);
    assert_eq!(world.rotate(1, 2).await, Err(Refusal::InvalidRefreshToken), "nothing was kept");
    assert_eq!(world.login(world.mint.user(), 3, old).await, None, "there is no such user");
    assert!(world.login(ada.user_id, 4, "$new").await.is_some());
}

/// Whatever comes first, nothing that was issued before the end of all logins is good after it.
pub async fn logins_exchanges_and_the_end_of_all_at_once_are_in_one_order(world: World) {
    let store = &world.store;
    let ada = world.user("ada@example.org").await;
    let hash = ada.password_hash.as_str();
    for round in 0..20_u8 {
        let [first, opened, exchanged] = [1, 2, 3].map(|number| 3 * round + number);
        let spent = [first; 32];
        world.login(ada.user_id, first, hash).await.expect("her password");
        let next = ([exchanged; 32], world.clock.now().plus_ms(HOUR_MS));
        let (login, exchange, ended) = tokio::join!(
            world.login(ada.user_id, opened, hash),
            store.rotate(&spent, next),
            store.end_logins(ada.user_id),
        );
        let ended = answered(ended);
        let exchange = exchange.ok().map(|(_, issued_at)| issued_at);
        for (token, issued_at) in [(opened, login), (exchanged, exchange)] {
            let is_after = issued_at.is_some_and(|issued_at| issued_at >= ended);
            let goes_on = world.rotate(token, 100 + token).await.is_ok();
            assert_eq!(goes_on, is_after, "round {round}: {issued_at:?}, ended {ended:?}");
        }
    }
}
