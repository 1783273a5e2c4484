//! Names, addresses and titles are the same however they are spelled, and those of earlier versions
//! are kept.

use super::{World, refusal};
use crate::raw::Raw;
use engine::account::{User, UserChange};
use engine::{EventId, Refusal, SectionChange};
use std::fmt::Debug;
use store::{EventFilter, PageRequest};

/// What the store answers, which neither refuses nor fails.
fn done<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("it is done")
}

impl World {
    async fn found(&self, title: &str) -> Vec<EventId> {
        let filter = EventFilter { title: Some(title.to_owned()), ..EventFilter::default() };
        let found = done(self.store.events(&filter, PageRequest { after: None, limit: 100 }).await);
        found.items.into_iter().map(|of| of.event.terms.event_id).collect()
    }

    async fn titled(&self, title: &str) -> EventId {
        self.sale_with(&[], |new| title.clone_into(&mut new.event.title)).await.event_id
    }

    /// Writes an account as a version without keys did.
    async fn old_user(&self, raw: &mut Raw, email: &str) -> User {
        let user = self.new_user(email);
        let (id, lowered) = (raw.id(user.user_id.as_bytes()), email.to_lowercase());
        let (hash, at) = (&user.password_hash, user.created_at.unix_ms());
        let sql = format!(
            "INSERT INTO users (user_id, email, email_folded, name, password_hash, created_at)
             VALUES ({id}, '{email}', '{lowered}', 'Ada', '{hash}', {at})"
        );
        assert_eq!(raw.run(&sql).await, 1);
        user
    }
}

pub async fn an_address_belongs_to_one_account_however_it_is_spelled(world: World) {
    let store = &world.store;
    for spellings in [
        ["café@example.org", "cafe\u{301}@EXAMPLE.org", "CAFÉ@example.org"],
        ["straße@example.org", "STRASSE@example.org", "strasse@example.ORG"],
        ["οδυς@example.org", "ΟΔΥΣ@example.org", "οδυσ@example.org"],
    ] {
        let user = world.new_user(spellings[0]);
        done(store.create_user(&user).await);
        for spelled in spellings {
            let again = store.create_user(&world.new_user(spelled)).await;
            assert_eq!(refusal(again), Refusal::EmailTaken, "{spelled}");
            let found = done(store.user_by_email(spelled).await);
            assert_eq!(found.as_ref(), Some(&user), "{spelled}");
        }
        let other = world.new_user("other@example.org");
        let _ = store.create_user(&other).await;
        let other = done(store.user_by_email("other@example.org").await).expect("there");
        let taken = store.update_user(other.user_id, moved(spellings[1])).await;
        assert_eq!(refusal(taken), Refusal::EmailTaken);
        // Its own, spelled in another way, is not another's.
        let own = store.update_user(user.user_id, moved(spellings[2])).await;
        assert_eq!(done(own).email, spellings[2]);
        let found = done(store.user_by_email(spellings[0]).await).expect("there");
        assert_eq!(found.user_id, user.user_id);
    }
}

pub async fn a_title_is_found_however_it_is_spelled(world: World) {
    let odyssey = world.titled("ΟΔΥΣΣΕΙΑ").await;
    let street = world.titled("Straße  der Lieder").await;
    let cafe = world.titled("Cafe\u{301}").await;
    for (part, found) in [
        ("ΟΔΥΣ", vec![odyssey]),
        ("οδυς", vec![odyssey]),
        ("STRASSE DER", vec![street]),
        ("straße\u{a0}der", vec![street]),
        ("ß", vec![street]),
        ("CAFÉ", vec![cafe]),
        ("afe\u{301}", vec![cafe]),
        ("cafe ", vec![]),
    ] {
        assert_eq!(world.found(part).await, found, "{part:?}");
    }
}

pub async fn a_renewed_hash_leaves_logins_and_a_changed_password_alone(world: World) {
    let store = &world.store;
    let ada = world.new_user("ada@example.org");
    done(store.create_user(&ada).await);
    let login = world.family(ada.user_id, 1).await;
    let hash = async || done(store.user(ada.user_id).await).expect("there").password_hash;
    done(store.renew_password_hash(ada.user_id, &ada.password_hash, "$renewed").await);
    assert_eq!(hash().await, "$renewed");
    let next = ([2; 32], login.expires_at);
    done(store.rotate(&login.token_hash, next).await);
    done(store.renew_password_hash(ada.user_id, &ada.password_hash, "$late").await);
    assert_eq!(hash().await, "$renewed", "the password was changed meanwhile");
}

pub async fn what_was_stored_before_is_found_and_collisions_are_kept(world: World) {
    let store = &world.store;
    let mut raw = Raw::of(&world.fresh).await;
    // As a version without keys left it: more than a portion, and what that version let be.
    for n in 0..1_100 {
        world.old_user(&mut raw, &format!("ß{n}@example.org")).await;
    }
    let composed = world.old_user(&mut raw, "caf\u{e9}@example.org").await;
    let decomposed = world.old_user(&mut raw, "cafe\u{301}@example.org").await;
    let street = world.titled("Straße der Lieder").await;
    let sale = world.sale(&[("One", 3), ("Two", 3)]).await;
    for (section, name) in sale.sections.iter().zip(["Straße", "STRASSE"]) {
        let lowered = name.to_lowercase();
        let sql = "UPDATE sections SET name_key = NULL, name = ";
        let id = raw.id(section.as_bytes());
        raw.run(&format!("{sql}'{name}', name_folded = '{lowered}' WHERE section_id = {id}")).await;
    }
    raw.run("UPDATE events SET title_key = NULL").await;
    raw.run("DELETE FROM text_keys").await;

    let before = "SELECT email_key FROM users WHERE email_key IS NOT NULL";
    assert_eq!(raw.texts(before).await.len(), 0);
    assert_eq!(world.found("STRASSE").await, vec![], "control: this is what keys are for");
    assert_eq!(world.found("straße").await, vec![street], "by its own spelling, also without");
    store.migrate(None).await.expect("nothing collides that cannot be kept");
    assert_eq!(raw.texts(before).await.len(), 1_100);
    for spelled in ["SS1099@example.org", "ß1099@EXAMPLE.org"] {
        let found = done(store.user_by_email(spelled).await).expect("there");
        assert_eq!(found.email, "ß1099@example.org");
    }
    // Of two who have one address, each is found by its own spelling, and can change what is its own.
    for user in [&composed, &decomposed] {
        let found = done(store.user_by_email(&user.email).await);
        assert_eq!(found.as_ref(), Some(user));
        let name = Some(Some("New".to_owned()));
        let same = Some(user.email.clone());
        let changed = done(store.update_user(user.user_id, UserChange { name, email: same }).await);
        assert_eq!((changed.name.as_deref(), &changed.email), (Some("New"), &user.email));
    }
    let third = store.create_user(&world.new_user("CAFÉ@example.org")).await;
    assert_eq!(refusal(third), Refusal::EmailTaken, "there will be no third");
    assert_eq!(world.found("STRASSE").await, vec![street]);

    // Both sections stay, and their event can be changed.
    let (event_id, by) = (sale.event_id, sale.organizer_id);
    for section_id in &sale.sections {
        let change = SectionChange { capacity: Some(9), ..SectionChange::default() };
        let changed = store.revise_section(event_id, *section_id, by.into(), None, change).await;
        assert_eq!(done(changed).capacity, 9);
    }
    let third = world.mint.section_of(event_id, "strasse");
    let added = store.add_section(&third, 1.into(), by.into(), None).await;
    assert_eq!(refusal(added), Refusal::DuplicateSection);
    let fourth = world.mint.section_of(event_id, "Other");
    done(store.add_section(&fourth, 1.into(), by.into(), None).await);
    let rename = SectionChange { name: Some("Gasse".into()), ..SectionChange::default() };
    done(store.revise_section(event_id, sale.sections[1], by.into(), None, rename).await);

    // The next start looks at what is new only, and finds what an older version has written since.
    world.clock.advance_ms(1_000);
    world.old_user(&mut raw, "ςnew@example.org").await;
    assert_eq!(done(store.user_by_email("σNEW@example.org").await), None);
    store.migrate(None).await.expect("again");
    assert!(done(store.user_by_email("σNEW@example.org").await).is_some());
    world.assert_sound().await;
}

/// A change of the address alone.
fn moved(email: &str) -> UserChange {
    UserChange { name: None, email: Some(email.to_owned()) }
}
