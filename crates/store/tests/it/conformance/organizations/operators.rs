//! Operators of the installation, and the access log that they alone read.

use super::{World, answered, refusal, rename};
use crate::raw::Raw;
use engine::access::{AccessAction, OPERATORS_MAX};
use engine::{Refusal, UserId};
use store::{AccessPage, EntryFilter, Operator};

impl World {
    async fn whole_log(&self, filter: EntryFilter, limit: u32) -> AccessPage {
        answered(self.store.whole_access_log(filter, limit).await)
    }
}

pub async fn an_operator_is_added_once_and_removed(world: World) {
    let (ada, bob) = (world.user("ada@example.org").await, world.user("bob@example.org").await);
    let all = async || answered(world.store.operators().await);
    assert_eq!(all().await, []);
    assert!(world.store.add_operator(ada.user_id).await.expect("there is room"));
    let added_at = world.clock.now();
    world.clock.advance_ms(5);
    assert!(!world.store.add_operator(ada.user_id).await.expect("it is so"));
    assert_eq!(all().await, [Operator { user_id: ada.user_id, added_at }]);
    assert!(world.store.add_operator(bob.user_id).await.expect("there is room"));
    assert_eq!(all().await.len(), 2);
    assert!(answered(world.store.remove_operator(ada.user_id).await));
    assert!(!answered(world.store.remove_operator(ada.user_id).await));
    assert_eq!(all().await.len(), 1);
    let nobody = world.store.add_operator(world.mint.user()).await;
    assert_eq!(refusal(nobody), Refusal::NotFound { what: "user" });
}

pub async fn there_are_only_so_many_operators(world: World) {
    let mut raw = Raw::of(&world.fresh).await;
    for _ in 0..OPERATORS_MAX {
        let id: UserId = world.mint.user();
        let id = raw.id(id.as_bytes());
        raw.run(&format!("INSERT INTO operators (user_id, added_at) VALUES ({id}, 0)")).await;
    }
    let ada = world.user("ada@example.org").await;
    let refused = refusal(world.store.add_operator(ada.user_id).await);
    assert_eq!(refused, Refusal::LimitReached { what: "operators", limit: OPERATORS_MAX });
    assert_eq!(answered(world.store.operators().await).len(), OPERATORS_MAX);
}

pub async fn the_whole_access_log_is_that_of_all_organizations_in_their_order(world: World) {
    let (first, ada) = world.team().await;
    let (second, bob) = world.team().await;
    world.change_org(first, ada, rename(None, "Opera")).await.expect("hers");
    world.change_org(second, bob, rename(None, "Circus")).await.expect("his");
    let all = EntryFilter::default();
    let page = world.whole_log(all, 100).await;
    let told: Vec<_> =
        page.items.iter().map(|stored| (stored.entry.org_id, stored.entry.action)).collect();
    let (created, renamed) = (AccessAction::OrgCreated, AccessAction::OrgRenamed);
    assert_eq!(told, [(first, created), (second, created), (first, renamed), (second, renamed)]);
    assert_eq!(page.next, None);
    assert!(page.items.is_sorted_by_key(|stored| stored.seq));
    let begin = world.whole_log(all, 3).await;
    assert_eq!(begin.items, page.items[..3]);
    let rest = world.whole_log(EntryFilter { after: begin.next, ..all }, 3).await;
    assert_eq!((rest.items, rest.next), (page.items[3..].to_vec(), None));
    let by_bob = EntryFilter { actor: Some(bob.uuid()), ..all };
    assert_eq!(world.whole_log(by_bob, 10).await.items.len(), 2);
    let names = EntryFilter { action: Some(renamed), ..all };
    assert_eq!(world.whole_log(names, 10).await.items.len(), 2);
}
