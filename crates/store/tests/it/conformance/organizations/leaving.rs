//! What ends with a user who leaves, and what keeps a user from leaving.

use super::{World, answered, everywhere, refusal, rename};
use engine::access::{AccessAction, Role};
use engine::account::User;
use engine::event::EventStatus;
use engine::{Error, OrgId, Refusal, Timestamp};
use store::{EntryFilter, Left};

const MISSING: Refusal = Refusal::NotFound { what: "user" };

impl World {
    async fn leave(&self, user: &User, hash: Option<&str>) -> Result<Left, Error> {
        self.store.leave(user.user_id, hash, &self.note("leaving")).await
    }

    async fn is_stored(&self, user: &User) -> bool {
        answered(self.store.user(user.user_id).await).is_some()
    }
}

pub async fn who_leaves_is_erased_and_the_address_is_free(world: World) {
    let ada = world.user("Ada@example.org").await;
    let (team, owner) = world.team().await;
    let invitation = world.invite(team, owner, "ada@example.org", Role::Analyst).await;
    world.accept(&invitation, ada.user_id).await.expect("it is for her");
    let (other, stranger) = world.team().await;
    let open = world.invite(other, stranger, "ADA@example.org", Role::Manager).await;
    world.store.add_operator(ada.user_id).await.expect("there is room");
    world.family(ada.user_id, 1).await;
    let own = OrgId::from(ada.user_id);
    world.change_org(own, ada.user_id, rename(None, "Ada's")).await.expect("hers");
    world.join(own, ada.user_id, Role::Manager).await;

    let wrong = world.leave(&ada, Some("$argon2id$other")).await;
    assert_eq!(refusal(wrong), MISSING);
    assert!(world.is_stored(&ada).await);
    let left = world.leave(&ada, Some(&ada.password_hash)).await.expect("nothing keeps her");
    let mut organizations = left.organizations.clone();
    organizations.sort_unstable();
    let mut expected = vec![team, own];
    expected.sort_unstable();
    assert_eq!(organizations, expected);

    assert!(!world.is_stored(&ada).await);
    assert_eq!(answered(world.store.user_by_email("ada@example.org").await), None);
    assert_eq!(answered(world.store.organizations_of(ada.user_id).await), vec![]);
    assert_eq!(answered(world.store.operators().await), vec![]);
    for hash in [invitation.token_hash, open.token_hash] {
        assert_eq!(answered(world.store.invitation_by_hash(&hash).await), None);
    }
    let next = ([2; 32], Timestamp::from_unix_ms(i64::MAX));
    let rotated = world.store.rotate(&[1; 32], next).await;
    assert_eq!(refusal(rotated), Refusal::InvalidRefreshToken);
    let cutoffs = answered(world.store.cutoffs(10).await);
    let of_her = cutoffs.iter().find(|cutoff| cutoff.user_id == ada.user_id);
    assert_eq!(of_her.map(|cutoff| cutoff.not_before), Some(left.not_before));
    let log = world.entries(team, EntryFilter::default(), 100).await;
    let last = log.items.last().expect("entries");
    assert_eq!(last.entry.action, AccessAction::MemberRemoved);
    assert_eq!(last.entry.actor.user_id(), Some(ada.user_id));
    let own = world.roster(own).await;
    assert_eq!((own.organization.name, own.members), (None, vec![]));

    assert_eq!(refusal(world.leave(&ada, None).await), MISSING);
    world.user("ada@example.org").await;
}

pub async fn i14_the_only_owner_of_a_team_does_not_leave(world: World) {
    let ada = world.user("ada@example.org").await;
    let team = world.found_team(ada.user_id).await.expect("the first one");
    let (other, owner) = world.team().await;
    let invitation = world.invite(other, owner, "ada@example.org", Role::Analyst).await;
    world.accept(&invitation, ada.user_id).await.expect("it is for her");
    let told = Refusal::LastOwnerOf { organizations: vec![team] };
    assert_eq!(refusal(world.leave(&ada, None).await), told);
    assert!(world.is_stored(&ada).await);
    assert_eq!(answered(world.store.organizations_of(ada.user_id).await).len(), 2);
    let heir = world.join(team, ada.user_id, Role::Manager).await;
    world.promote(team, ada.user_id, heir, Role::Owner).await;
    world.leave(&ada, None).await.expect("there is another owner");
    let roster = world.roster(team).await;
    assert_eq!(roster.access(heir), Some(everywhere(Role::Owner)));
    assert_eq!(roster.members.len(), 1);
}

pub async fn who_has_events_that_are_open_does_not_leave(world: World) {
    let ada = world.user("ada@example.org").await;
    let create = async |status| {
        let mut new = world.mint.event_on_sale(ada.user_id);
        new.event.terms.status = status;
        let event_id = new.event.terms.event_id;
        let by = suite::world::owner(&new);
        world.store.create_event(&new, by, &[], None).await.expect("it is recorded");
        event_id
    };
    create(EventStatus::Draft).await;
    let (on_sale, closed) = (create(EventStatus::OnSale).await, create(EventStatus::Closed).await);
    let mut events = vec![on_sale, closed];
    events.sort_unstable();
    assert_eq!(refusal(world.leave(&ada, None).await), Refusal::EventsOpen { events });
    assert!(world.is_stored(&ada).await);
    for event_id in [on_sale, closed] {
        world.store.cancel_event(event_id, ada.user_id.into()).await.expect("hers");
    }
    world.leave(&ada, None).await.expect("nothing keeps her");
}
