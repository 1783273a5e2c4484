//! The API's own documentation: OpenAPI 3.1 made from the handlers, and a page that needs no network.

mod examples;
mod refusals;
mod words;

use super::problem::{Code, FieldError};
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use std::sync::Arc;
use tokio::sync::OnceCell;
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Required};
use utoipa::{IntoParams, OpenApi as _, ToSchema};

pub use words::{
    ActionWord, DateWord, MemberWord, OrganizationWord, PermissionWord, RoleWord, ScopeWord,
    SeatWord,
};

/// A problem (RFC 9457). Some codes add members: those listed after `request_id`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `super::problem` writes")]
pub struct Problem {
    /// `/problems/<code>`.
    #[schema(rename = "type", pattern = "^/problems/[a-z_]+$")]
    kind: String,
    /// A message for people; it may change.
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// A message for people; it may change.
    detail: String,
    #[schema(value_type = Code)]
    code: Code,
    /// True if the same request, unchanged, can succeed later.
    retryable: bool,
    /// Identifies the request in the server's log.
    request_id: String,
    /// `validation_failed`: the invalid fields.
    #[schema(value_type = Vec<FieldError>, required = false)]
    errors: Vec<FieldError>,
    /// `validation_failed` of layouts: the number of errors that are not listed.
    #[schema(value_type = u64, required = false)]
    errors_untold: u64,
    /// `permission_missing`: what the role does not allow.
    #[schema(value_type = PermissionWord, required = false)]
    permission: PermissionWord,
    /// `too_many_seats`, `buyer_limit`, `hold_limit`: the maximum number of seats. `limit_reached`: the
    /// maximum number.
    #[schema(value_type = u64, required = false)]
    limit: u64,
    /// `too_many_seats` when changing a hold: the number of its seats. `buyer_limit`: the number of
    /// seats that the buyer holds and has bought.
    #[schema(value_type = u64, required = false)]
    current: u64,
    /// `buyer_limit`: the number of seats that the buyer can still hold.
    #[schema(value_type = u64, required = false)]
    remaining: u64,
    /// `sold_out`: the number of available seats.
    #[schema(value_type = i64, required = false)]
    available: i64,
    /// `sold_out`, `not_together`: the number of requested seats.
    #[schema(value_type = u64, required = false)]
    requested: u64,
    /// `sold_out` of numbered seats: true if `available` and `requested` count accessible seats only.
    #[schema(value_type = bool, required = false)]
    accessible: bool,
    /// `sold_out` of numbered seats, `not_together`: the size of the largest group of adjacent
    /// seats.
    #[schema(value_type = u64, required = false)]
    largest_contiguous_block: u64,
    /// `seats_unavailable`: the unavailable seats, at most 1,000.
    #[schema(value_type = Vec<SeatConflict>, required = false, max_items = 1_000)]
    conflicts: Vec<SeatConflict>,
    /// `orphan_seat`: the names of the seats. `seats_in_use`: the seats, at most 100.
    /// `currency_in_use`: the number of seats.
    #[schema(value_type = SeatsOfProblem, required = false)]
    seats: SeatsOfProblem,
    /// `capacity_in_use`: the minimum capacity.
    #[schema(value_type = i64, required = false)]
    minimum: i64,
    /// `hold_expired`: when the hold expired.
    #[schema(value_type = String, required = false, format = "date-time")]
    expired_at: String,
    /// `sale_not_open`: the start of the sale; null if no date is set.
    #[schema(value_type = Option<String>, format = "date-time")]
    sales_start: Option<String>,
    /// `version_mismatch`: the current version.
    #[schema(value_type = i64, required = false)]
    version: i64,
}

/// A seat that is unavailable.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `super::problem` writes")]
struct SeatConflict {
    #[schema(format = "uuid")]
    section_id: String,
    /// The name as requested.
    seat: String,
    #[schema(value_type = ConflictReason)]
    reason: ConflictReason,
}

/// Why a seat is unavailable.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the words of the schema; the engine has the rule")]
enum ConflictReason {
    Held,
    Sold,
    Blocked,
    Unknown,
}

/// Seats, or their number.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `super::problem` writes")]
enum SeatsOfProblem {
    Named(Vec<NamedSeat>),
    Number(i64),
}

/// A seat: its name, or its name and state.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `super::problem` writes")]
enum NamedSeat {
    Name(String),
    InUse(SeatInUse),
}

/// A seat in use that the new layout does not keep.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `super::problem` writes")]
struct SeatInUse {
    seat: String,
    reason: String,
}

/// An empty object.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// How a client names one attempt.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header; the extractor reads it")]
pub struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters. Requests with the same key have one effect.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        value_type = String,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    key: Option<String>,
}

/// How a client guards against changing what it has not seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header; the extractor reads it")]
pub struct IfMatch {
    /// An `ETag` of the event or the booking, or `*`; for a booking also its `version` in quotes.
    #[param(rename = "If-Match", required = false, value_type = String, example = "*")]
    tag: Option<String>,
}

/// How a client asks for news only.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header; the handler reads it")]
pub struct IfNoneMatch {
    /// `ETag`s of earlier answers; the answer is 304 if one of them is current.
    #[param(rename = "If-None-Match", required = false, value_type = String)]
    tags: Option<String>,
}

/// The part of a list to show.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters; the extractor reads them")]
pub struct PageParams {
    /// The maximum number of items.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// The `next` of the previous page.
    #[param(format = "uuid")]
    after: Option<String>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Reservix",
        description = "Hold seats for ten minutes, then confirm the hold or lose the seats. No seat is \
            ever sold twice.\n\n\
            To try it on the page `/docs`, execute **register** and **login**: the page then \
            fills in the access token. The examples below build on one another: execute them \
            from top to bottom, and change the values as you like. When an example contains the id \
            of an event or a booking, the page replaces it with the id of the one that you created. \
            After **logout-all** and **password** execute **login** again: they end the token, too. \
            An invitation is accepted by the user who was invited: log in as the second account of \
            **register** before, and as the first one afterwards.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    components(schemas(Problem, FieldError, OrganizationWord, MemberWord)),
    tags(
        (name = "Accounts", description = "Users and their tokens"),
        (name = "Visitors", description = "Buyers without an account"),
        (name = "Events", description = "Events, sections and availability"),
        (name = "Series", description = "Events that belong together"),
        (name = "Seats", description = "Numbered seats: layouts, drawings, and which seats are \
            taken"),
        (name = "Bookings", description = "Hold, confirm, extend, cancel"),
        (name = "Organizers", description = "An event's bookings, and cancelling or transferring the event"),
        (name = "Organizations", description = "Teams and their members: roles, invitations, and the \
            access log"),
        (name = "Operations", description = "Health and metrics"),
    ),
)]
struct Base;

/// Where the token comes from.
const TOKEN: &str = "The `access_token` that `POST /api/v1/auth/login` returns; for buyers without an \
    account, the one that `POST /api/v1/visitors` returns. The page `/docs` \
    fills it in after login or refresh, and keeps it when the page is reloaded.";

/// What the page does when it is opened, in the place of what Swagger UI brings.
pub(super) async fn page() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("docs/page.js"))
}

/// The document as it is served. It is made when it is first asked for: what it is made of takes 9 MB,
/// and most instances are never asked.
#[derive(Clone)]
pub(super) struct Served {
    version: Arc<str>,
    document: Arc<OnceCell<Bytes>>,
}

impl Served {
    pub(super) fn of(version: &str) -> Self {
        Self { version: version.into(), document: Arc::default() }
    }

    pub(super) async fn answer(self) -> impl IntoResponse {
        let Self { version, document } = self;
        let make = move || {
            let document = super::openapi(&version);
            Bytes::from(serde_json::to_vec(&document).expect("strings and numbers are JSON"))
        };
        let made = async || tokio::task::spawn_blocking(make).await.expect("it is always made");
        let document = document.get_or_init(made).await.clone();
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document)
    }
}

/// The document before its paths are added.
pub(super) fn base(version: &str) -> OpenApi {
    let mut document = Base::openapi();
    version.clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_default();
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    let bearer = bearer.description(Some(TOKEN)).build();
    components.security_schemes.insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    document
}

/// Adds what the calls do not say themselves: what they refuse, and examples.
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let operations =
            [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            if let Some(RefOr::T(body)) = operation.request_body.as_mut()
                && is_unneeded(body)
            {
                body.required = Some(Required::False);
            }
            refusals::add(path, operation);
        }
    }
    examples::add(&mut document);
    document
}

/// The schemas of bodies in whose place nothing at all may be sent.
const UNNEEDED: [&str; 4] = ["Empty", "NewVisitor", "RemoveMember", "RotateKey"];

/// Whether a call may be sent without a body.
fn is_unneeded(body: &RequestBody) -> bool {
    let unneeded = UNNEEDED.map(|name| Ref::from_schema_name(name).ref_location);
    let is_unneeded = |content: &RefOr<Content>| {
        matches!(content, RefOr::T(Content { schema: Some(RefOr::Ref(named)), .. })
            if unneeded.contains(&named.ref_location))
    };
    body.content.values().all(is_unneeded)
}
