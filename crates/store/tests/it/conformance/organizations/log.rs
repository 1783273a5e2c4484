//! What the access log of an organization says.

use super::{World, answered, everywhere, remove, rename};
use crate::raw::Raw;
use engine::access::{AccessAction, AccessEntry, Actor, Noted, Role};
use engine::{OrgId, UserId};
use store::{AccessPage, ENTRIES_LOOKED_AT_MAX, EntryFilter};
use uuid::Uuid;

impl World {
    pub(super) async fn entries(
        &self,
        org_id: OrgId,
        filter: EntryFilter,
        limit: u32,
    ) -> AccessPage {
        answered(self.store.access_log(org_id, filter, limit).await)
    }
}

fn name(name: &str) -> Noted {
    Noted::Name(name.to_owned())
}

fn offers(role: Role) -> Noted {
    Noted::Access(everywhere(role))
}

pub async fn the_access_log_says_who_changed_what_by_which_request(world: World) {
    let (org_id, ada) = world.team().await;
    let entry = |actor, action, target: Option<&[u8; 16]>, before, after| AccessEntry {
        at: world.clock.now(),
        org_id,
        actor: Actor::User(actor),
        action,
        target: target.copied().map(Uuid::from_bytes),
        before,
        after,
    };
    let mut expected =
        vec![("founding", entry(ada, AccessAction::OrgCreated, None, None, Some(name("Team"))))];
    world.clock.advance_ms(5);
    let note = world.note("renaming");
    for _ in 0..2 {
        // The same change is made once, whatever is asked for.
        let renamed = world.store.change_organization(org_id, ada, rename(Some(1), "Oper"), &note);
        assert_eq!(renamed.await.expect("hers").organization.version, 2);
    }
    let renamed =
        entry(ada, AccessAction::OrgRenamed, None, Some(name("Team")), Some(name("Oper")));
    expected.push(("renaming", renamed));
    world.clock.advance_ms(5);
    let invitation = world.invite(org_id, ada, "bob@example.org", Role::Analyst).await;
    let bob = world.mint.user();
    world.accept(&invitation, bob).await.expect("it is for him");
    let (id, bobs) = (Some(invitation.invitation_id.as_bytes()), Some(bob.as_bytes()));
    let analyst = Some(offers(Role::Analyst));
    let invited = entry(ada, AccessAction::InvitationCreated, id, None, analyst.clone());
    let added = entry(bob, AccessAction::MemberAdded, bobs, None, analyst.clone());
    world.clock.advance_ms(5);
    world.promote(org_id, ada, bob, Role::Owner).await;
    let changed = entry(ada, AccessAction::MemberChanged, bobs, analyst, Some(offers(Role::Owner)));
    world.change_org(org_id, bob, remove(bob)).await.expect("not the last owner");
    let removed = entry(bob, AccessAction::MemberRemoved, bobs, Some(offers(Role::Owner)), None);
    // Refused, or so already: there is nothing to say.
    world.change_org(org_id, ada, remove(ada)).await.expect_err("the last owner");
    world.change_org(org_id, ada, rename(None, "Oper")).await.expect("it is so");
    expected.extend([invited, added, changed, removed].map(|entry| ("change", entry)));
    let page = world.entries(org_id, EntryFilter::default(), 100).await;
    let told = page
        .items
        .iter()
        .map(|item| (item.request_id.as_deref().expect("each has one"), item.entry.clone()));
    let told: Vec<_> = told.collect();
    assert_eq!(told, expected);
    assert!(page.items.is_sorted_by(|one, next| one.seq < next.seq));
    assert_eq!(page.next, None);
    let (other, _) = world.team().await;
    assert_eq!(world.entries(other, EntryFilter::default(), 100).await.items.len(), 1);
    assert_eq!(world.entries(world.team_id(), EntryFilter::default(), 100).await.items, vec![]);
}

pub async fn an_access_log_is_read_page_by_page_and_by_actor_and_action(world: World) {
    let (org_id, ada) = world.team().await;
    let bob = world.join(org_id, ada, Role::Manager).await;
    world.promote(org_id, ada, bob, Role::Owner).await;
    for (number, by) in [ada, bob, ada, bob].into_iter().enumerate() {
        world.change_org(org_id, by, rename(None, &format!("T{number}"))).await.expect("an owner");
    }
    let all = world.entries(org_id, EntryFilter::default(), 100).await.items;
    assert_eq!(all.len(), 8);
    let filters = [
        (None, None, 8),
        (Some(bob), None, 3),
        (Some(ada), None, 5),
        (None, Some(AccessAction::OrgRenamed), 4),
        (Some(bob), Some(AccessAction::OrgRenamed), 2),
        (Some(bob), Some(AccessAction::OrgCreated), 0),
        (Some(world.mint.user()), None, 0),
    ];
    for (actor, action, count) in filters {
        let is_shown = |entry: &AccessEntry| {
            actor.is_none_or(|actor| entry.actor == Actor::User(actor))
                && action.is_none_or(|action| entry.action == action)
        };
        let shown: Vec<_> = all.iter().filter(|item| is_shown(&item.entry)).cloned().collect();
        assert_eq!(shown.len(), count);
        for limit in [1, 2, 3, 4, 5, 8] {
            let (mut after, mut read, mut pages) = (None, Vec::new(), 0);
            loop {
                let page = world
                    .entries(
                        org_id,
                        EntryFilter { after, actor: actor.map(UserId::uuid), action },
                        limit,
                    )
                    .await;
                assert!(page.items.len() <= limit as usize);
                read.extend(page.items);
                (after, pages) = (page.next, pages + 1);
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(read, shown, "{actor:?} {action:?} {limit}");
            // A full page that is the last one says so.
            assert_eq!(pages, count.div_ceil(limit as usize).max(1));
        }
    }
}

/// Adds renamings by somebody to the log, as if they had been made.
async fn pad(world: &World, org_id: OrgId, actor: UserId, count: u32) {
    let mut raw = Raw::of(&world.fresh).await;
    let draw = match raw {
        Raw::Sqlite(_) => "randomblob(16)",
        Raw::Postgres(_) => "gen_random_uuid()",
    };
    let (org_id, actor) = (raw.id(org_id), raw.id(actor));
    let sql = format!(
        "INSERT INTO access_log (change_id, at, org_id, actor_kind, actor, action)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         SELECT {draw}, i, {org_id}, 1, {actor}, 'org_renamed' FROM n"
    );
    assert_eq!(raw.run(&sql).await, u64::from(count));
}

pub async fn a_filtered_access_log_is_looked_through_in_parts(world: World) {
    let (org_id, ada) = world.team().await;
    let bob = world.join(org_id, ada, Role::Manager).await;
    pad(&world, org_id, ada, ENTRIES_LOOKED_AT_MAX).await;
    world.change_org(org_id, bob, remove(bob)).await.expect("he may always leave");
    let by_bob = |after| EntryFilter { after, actor: Some(bob.uuid()), action: None };
    // Founded, invited, accepted by Bob, and nothing more by him among the first.
    let first = world.entries(org_id, by_bob(None), 100).await;
    let actions =
        |page: &AccessPage| -> Vec<_> { page.items.iter().map(|item| item.entry.action).collect() };
    assert_eq!(actions(&first), [AccessAction::MemberAdded]);
    let start = first.items[0].seq;
    let next = first.next.expect("it looked at as many as it may");
    assert_eq!(next, start - 3 + i64::from(ENTRIES_LOOKED_AT_MAX));
    let second = world.entries(org_id, by_bob(Some(next)), 100).await;
    assert_eq!((actions(&second), second.next), (vec![AccessAction::MemberRemoved], None));
    // A page that is full goes on behind what it shows.
    let page =
        world.entries(org_id, EntryFilter { actor: Some(ada.uuid()), ..by_bob(None) }, 5).await;
    assert_eq!((page.items.len(), page.next), (5, page.items.last().map(|last| last.seq)));
    // Without a filter all that is looked at is shown.
    let page = world.entries(org_id, EntryFilter::default(), 2 * ENTRIES_LOOKED_AT_MAX).await;
    assert_eq!((page.items.len(), page.next), (ENTRIES_LOOKED_AT_MAX as usize + 4, None));
}
