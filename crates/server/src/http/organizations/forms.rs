//! Requests about organizations, and what of them is looked up before they are decided.

use crate::catalog::Facts;
use crate::http::App;
use crate::http::auth::address;
use crate::http::problem::{FieldError, Problem};
use crate::http::token::Verdict;
use crate::http::wire::{composed, given, given_composed, legible, present, uuid};
use engine::access::{Confined, EVENTS_MAX, Role};
use engine::{EventId, Fault, OrgId, Refusal, UserId};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use utoipa::ToSchema;

/// A new team.
#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrganization {
    #[serde(deserialize_with = "composed")]
    #[garde(length(chars, min = 1, max = 100), custom(legible))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$"
    )]
    pub(super) name: String,
}

/// Changes to an organization.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateOrganization)]
pub(super) struct ReviseOrganization {
    #[serde(default, deserialize_with = "given_composed")]
    #[garde(inner(length(chars, min = 1, max = 100), custom(legible)))]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100, pattern = r"^[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]([^\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8])?$")]
    pub(super) name: Option<String>,
}

/// Changes to what a member may do.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateMember)]
pub(super) struct ReviseMember {
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(custom(known)))]
    #[schema(value_type = crate::http::docs::RoleWord, required = false)]
    pub(super) role: Option<String>,
    /// The only events of the organization at which the member may do it; null: all. An owner has
    /// null.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(inner(length(min = 1, max = EVENTS_MAX), inner(custom(uuid)))))]
    #[schema(value_type = Option<Vec<uuid::Uuid>>, min_items = 1, max_items = 100)]
    pub(super) events: Option<Option<Vec<String>>>,
    /// The password of the caller: required when a member becomes an owner, or an owner something
    /// else.
    #[serde(default, deserialize_with = "given_secret")]
    #[garde(inner(length(chars, max = 128)))]
    #[schema(value_type = String, required = false, format = "password", max_length = 128)]
    pub(super) password: Option<String>,
}

/// What goes with the removal of a member.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RemoveMember)]
pub(super) struct RemoveMember {
    /// The password of the caller: required to remove another owner.
    #[serde(default, deserialize_with = "given_secret")]
    #[garde(inner(length(chars, max = 128)))]
    #[schema(value_type = String, required = false, format = "password", max_length = 128)]
    pub(super) password: Option<String>,
}

/// To whom the ownership goes.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferOrganization {
    /// A member.
    #[garde(custom(uuid))]
    #[schema(format = "uuid")]
    pub(super) user_id: String,
    /// The password of the caller.
    #[serde(deserialize_with = "secret")]
    #[garde(length(chars, max = 128))]
    #[schema(format = "password", max_length = 128)]
    pub(super) password: String,
}

/// A new invitation.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvitation {
    /// Compared case-insensitively.
    #[serde(deserialize_with = "composed")]
    #[garde(length(bytes, max = 254), custom(address))]
    #[schema(
        max_length = 254,
        pattern = r"^[^\s@\u0000-\u001f\u007f-\u009f]+@[^\s@\u0000-\u001f\u007f-\u009f]+$"
    )]
    pub(super) email: String,
    #[garde(custom(offered))]
    #[schema(value_type = OfferedRole)]
    pub(super) role: String,
    /// The only events of the organization at which the member may do it; all if missing or null.
    #[serde(default)]
    #[garde(inner(length(min = 1, max = EVENTS_MAX), inner(custom(uuid))))]
    #[schema(value_type = Option<Vec<uuid::Uuid>>, min_items = 1, max_items = 100)]
    pub(super) events: Option<Vec<String>>,
}

/// A role that an invitation can give.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the words of the schema; the engine has the rule")]
pub(super) enum OfferedRole {
    Manager,
    BoxOffice,
    Analyst,
    CheckIn,
}

/// The token of an invitation.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceptInvitation {
    #[serde(deserialize_with = "secret")]
    #[garde(length(bytes, max = 200))]
    #[schema(max_length = 200)]
    pub(super) token: String,
}

/// For serde: reads a secret. What is none is not repeated, as serde would.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let read = String::deserialize(deserializer);
    read.map_err(|_| serde::de::Error::custom("must be a string"))
}

/// For serde: [`secret`] for a field that may be missing but not be null.
fn given_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    secret(deserializer).map(Some)
}

/// For garde: refuses what is no role.
fn known(word: &str, (): &()) -> garde::Result {
    let is_role = Role::parse(word).is_some();
    let must = "must be owner, manager, box_office, analyst or check_in";
    is_role.then_some(()).ok_or_else(|| garde::Error::new(must))
}

/// For garde: refuses ownership, which no invitation gives.
fn offered(word: &str, (): &()) -> garde::Result {
    let is_offered = Role::parse(word).is_some_and(|role| role != Role::Owner);
    let must = "must be manager, box_office, analyst or check_in";
    is_offered.then_some(()).ok_or_else(|| garde::Error::new(must))
}

/// The events that a valid request names: each once, and each of this organization.
pub(super) async fn confined(
    app: &App,
    org_id: OrgId,
    named: Option<Vec<String>>,
) -> Result<Confined, Problem> {
    let Some(named) = named else { return Ok(None) };
    let (mut events, mut errors) = (BTreeSet::new(), Vec::new());
    for (at, text) in named.iter().enumerate() {
        let event_id: EventId = text.parse().expect("it was validated");
        let message = if !events.insert(event_id) {
            "duplicate event"
        } else if !is_of(app, event_id, org_id).await? {
            "must be an event of this organization"
        } else {
            continue;
        };
        errors.push(FieldError { field: format!("events[{at}]"), message: message.to_owned() });
    }
    if errors.is_empty() {
        return Ok(Some(events.into_iter().collect()));
    }
    Err(Problem::invalid(&errors))
}

async fn is_of(app: &App, event_id: EventId, org_id: OrgId) -> Result<bool, Fault> {
    let is_its = |facts: &Arc<Facts>| facts.of.event.terms.organizer_id == org_id;
    let known = app.core.catalog.event(event_id).await?;
    if known.as_ref().is_some_and(is_its) {
        return Ok(true);
    }
    // It may have been transferred to the organization since.
    let lately = app.core.catalog.event_lately(event_id).await?;
    Ok(lately.as_ref().is_some_and(is_its))
}

/// Whether the password of the caller came with the request. It may be tried as often as at a
/// login.
pub(super) async fn confirmed(
    app: &App,
    user_id: UserId,
    origin: IpAddr,
    password: Option<String>,
) -> Result<bool, Problem> {
    let Some(password) = password else { return Ok(false) };
    let user = app.core.store.user(user_id).await?.ok_or(Refusal::InvalidCredentials)?;
    app.limits.login(&user.email, origin).await?;
    match app.passwords.verify(password, Some(user.password_hash)).await? {
        Verdict::Wrong => Err(Refusal::InvalidCredentials.into()),
        Verdict::Right | Verdict::RightAsTyped => Ok(true),
    }
}
