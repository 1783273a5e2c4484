//! The access log of an organization, and that of all: who changed what of it.

use super::views::{EntryPage, EntryView};
use super::{TAG, named, seen_or_read, seen_with};
use crate::http::App;
use crate::http::answers::Room;
use crate::http::docs::{ActionWord, OrganizationWord};
use crate::http::extract::{Caller, CurrentCaller, CurrentUser, Path, id};
use crate::http::lists::{PAGE_BYTES_MAX, Params, by_serde, page};
use crate::http::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::Refusal;
use engine::access::{AccessAction, Permission, may};
use std::str::FromStr;
use std::sync::Arc;
use store::{AccessPage, EntryFilter};

/// The most digits of a cursor.
const DIGITS_MAX: usize = 18;

/// A cursor: the number of an entry.
struct Cursor(i64);

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_number = text.len() <= DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).map(Self).ok_or(())
    }
}

/// Lists what was changed of an organization and its members, oldest first.
#[utoipa::path(
    get, path = "/api/v1/organizations/{organization_id}/log", tag = TAG,
    operation_id = "list_access_log",
    security(("bearer" = [])),
    params(
        ("organization_id" = OrganizationWord, Path),
        (
            "actor" = Option<String>, Query, format = "uuid",
            description = "What this user or this key did",
        ),
        ("action" = Option<ActionWord>, Query),
        (
            "limit" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "The maximum number of items; 20 if missing",
        ),
        (
            "after" = Option<String>, Query, pattern = "^[0-9]{1,18}$",
            description = "The `next` of the previous page",
        ),
    ),
    responses((status = 200, description = "A page of entries", body = EntryPage)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(organization_id): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let part = Part::of(&params)?;
    let org_id = match &caller {
        Caller::User(user_id) | Caller::Visitor { user_id, .. } => {
            let org_id = named(&organization_id, *user_id)?;
            if app.core.rights.is_operator(*user_id).await? {
                seen_or_read(&app, org_id, *user_id).await?;
            } else {
                seen_with(&app, org_id, *user_id, Permission::LogRead).await?;
            }
            org_id
        }
        Caller::Key(known) => {
            let org_id = match organization_id.as_str() {
                "me" => known.key.org_id,
                text => id(text, "organization")?,
            };
            may(known.key.acting(None), Permission::LogRead, &org_id)?;
            org_id
        }
    };
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let found = app.core.store.access_log(org_id, part.filter, part.limit).await?;
    Ok(shown(room, found))
}

/// Lists what was changed of all organizations and their members, oldest first, for operators of the
/// installation.
#[utoipa::path(
    get, path = "/api/v1/access-log", tag = TAG, operation_id = "list_whole_access_log",
    security(("bearer" = [])),
    params(
        (
            "actor" = Option<String>, Query, format = "uuid",
            description = "What this user or this key did",
        ),
        ("action" = Option<ActionWord>, Query),
        (
            "limit" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "The maximum number of items; 20 if missing",
        ),
        (
            "after" = Option<String>, Query, pattern = "^[0-9]{1,18}$",
            description = "The `next` of the previous page",
        ),
    ),
    responses((status = 200, description = "A page of entries", body = EntryPage)),
)]
pub(super) async fn list_whole(
    State(app): State<Arc<App>>,
    CurrentUser(user_id): CurrentUser,
    params: Params,
) -> Result<Response, Problem> {
    let part = Part::of(&params)?;
    if !app.core.rights.is_operator(user_id).await? {
        return Err(Refusal::PermissionMissing { permission: Permission::LogRead }.into());
    }
    let room = app.answers.room(PAGE_BYTES_MAX).await?;
    let found = app.core.store.whole_access_log(part.filter, part.limit).await?;
    Ok(shown(room, found))
}

/// The part of a log that a request asks for.
struct Part {
    filter: EntryFilter,
    limit: u32,
}

impl Part {
    fn of(params: &Params) -> Result<Self, Problem> {
        let part = params.page::<Cursor>()?;
        let actor = params.read("actor", "must be a UUID", |text| text.parse().ok())?;
        let must = || {
            let words: Vec<_> = AccessAction::ALL.iter().map(|action| action.as_str()).collect();
            format!("must be one of {}", words.join(", "))
        };
        let action = params.read("action", &must(), AccessAction::parse)?;
        let after = part.after.map(|Cursor(seq)| seq);
        Ok(Self { filter: EntryFilter { after, actor, action }, limit: part.limit })
    }
}

/// A page of a log.
fn shown(room: Room, found: AccessPage) -> Response {
    let (next, last) = (found.next, found.items.last().map(|last| last.seq));
    let views: Vec<_> = found.items.into_iter().map(EntryView::from).collect();
    if views.is_empty() {
        let page = EntryPage { items: views, next: next.map(|next| next.to_string()) };
        return axum::Json(page).into_response();
    }
    // After the last entry it goes on where the store says, which may have looked further.
    let cursor = |view: &EntryView| next.filter(|_| last == Some(view.seq)).unwrap_or(view.seq);
    page(room, views, next.is_some(), cursor, by_serde)
}
