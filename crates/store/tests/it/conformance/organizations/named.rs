//! Organizations by their ids.

use super::{World, answered, rename};
use engine::OrgId;

pub async fn what_is_stored_of_organizations_is_read_at_once(world: World) {
    assert_eq!(answered(world.store.organizations(&[]).await), vec![]);
    let mut named = Vec::new();
    for number in 0..9 {
        let (org_id, ada) = world.team().await;
        let change = rename(None, &format!("T{number}"));
        named.push(world.change_org(org_id, ada, change).await.expect("hers").organization);
    }
    let ada = world.mint.user();
    let personal = world.change_org(ada.into(), ada, rename(None, "Ada's")).await.expect("hers");
    named.push(personal.organization);
    let mut ids: Vec<_> = named.iter().map(|of| of.org_id).collect();
    ids.extend([world.team_id(), OrgId::from(world.mint.user())]);
    let mut found = answered(world.store.organizations(&ids).await);
    found.sort_by_key(|of| named.iter().position(|one| one.org_id == of.org_id));
    assert_eq!(found, named, "and nothing of those without a row");
    let one = answered(world.store.organizations(&ids[3..4]).await);
    assert_eq!(one, named[3..4]);
}
