//! The organization of an event or a series, as their answers show it.

use crate::http::App;
use crate::http::wire::shown;
use engine::access::Organization;
use engine::{Fault, OrgId};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use utoipa::ToSchema;

/// The organization that has an event or a series.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = OwnerOrganization)]
pub(in crate::http) struct OwnerView {
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    organization_id: OrgId,
    /// Null for a personal organization without a name.
    #[schema(value_type = Option<String>, required)]
    name: Option<Arc<str>>,
    /// Whether it is the personal organization of a user, whose id it has.
    personal: bool,
    /// Rises with every change of the name; in tags only.
    #[serde(skip)]
    pub(in crate::http) version: i64,
}

impl OwnerView {
    fn new(org_id: OrgId, name: Option<Arc<str>>, version: i64) -> Self {
        Self { organization_id: org_id, name, personal: !org_id.is_team(), version }
    }

    /// This organization, with the name as it is known.
    pub(in crate::http) async fn load(app: &App, org_id: OrgId) -> Result<Self, Fault> {
        let named = app.core.rights.name(org_id).await?;
        Ok(Self::new(org_id, named.name, named.version))
    }

    /// These organizations by their ids, read at once.
    pub(in crate::http) async fn load_all(
        app: &App,
        org_ids: impl Iterator<Item = OrgId>,
    ) -> Result<HashMap<OrgId, Self>, Fault> {
        let ids: Vec<_> = org_ids.collect::<BTreeSet<_>>().into_iter().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let unwritten = ids.iter().map(|id| Organization::unwritten(*id));
        let stored = app.core.store.organizations(&ids).await?;
        let view = |of: Organization| Self::new(of.org_id, of.name.map(Arc::from), of.version);
        // What is stored takes the place of what is said of one without a row.
        Ok(unwritten.chain(stored).map(|of| (of.org_id, view(of))).collect())
    }
}
