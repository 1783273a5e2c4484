//! Numbered seats of a section: setting its layout, reading its drawing and status, and blocking
//! seats.

mod forms;
mod import;
mod pages;
mod schema;
mod views;

use super::App;
use super::body::{JSON, is, not_json, validated};
use super::events::{
    MISSING_SECTION, SectionView, acting, changed_section, is_known, visible, visible_now,
};
use super::extract::{Caller, CurrentCaller, IfNoneMatch, MaybeCaller, Path, expected_version, id};
use super::problem::{Code, Problem};
use super::wire::fingerprint;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::access::{Permission, may};
use engine::seats::{Draft, Layout};
use engine::{
    Blocked, BookingStatus, Command, EventId, EventStatus, Money, Section, SectionChange,
    SectionId, UserId,
};
use forms::{BlockedForm, flawed};
use pages::{Form, Pages};
use std::sync::Arc;
use store::{BookingFilter, PageRequest};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use views::{Drawing, StatusView, with_yours};

pub use forms::{LayoutForm, field_errors};
pub use import::{Imports, aside};
pub use pages::quality;
pub use schema::LayoutSchema;

const TAG: &str = "Seats";
/// The media type of tables.
const CSV: &str = "text/csv";
/// Bodies up to this size are made sense of where they are read.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// How many of the caller's newest holds, and how many confirmed bookings, `yours` includes.
const OWN_BOOKINGS_MAX: u32 = 100;

/// What the calls on numbered seats share.
#[derive(Default)]
pub struct Seats {
    pub imports: Imports,
    pages: Pages,
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(drawing, lay))
        .routes(routes!(status))
        .routes(routes!(block))
}

/// Where a section is in an event that `viewer` may see.
async fn section(
    app: &App,
    (event_id, section_id): &(String, String),
    viewer: Option<&Caller>,
) -> Result<(EventId, Section, bool), Problem> {
    let event_id = id(event_id, "event")?;
    let facts = visible(app, event_id, viewer).await?;
    let section = facts.resolve(section_id).ok_or(MISSING_SECTION)?.clone();
    Ok((event_id, section, facts.of.event.terms.status == EventStatus::Draft))
}

/// The section in an event where the caller may do this.
async fn own_section(
    app: &App,
    path: &(String, String),
    caller: &Caller,
    what: Permission,
) -> Result<(EventId, Section), Problem> {
    let event_id = id(&path.0, "event")?;
    let (facts, by) = visible_now(app, event_id, caller, what).await?;
    may(by, what, &facts.of.event.terms)?;
    Ok((event_id, facts.resolve(&path.1).ok_or(MISSING_SECTION)?.clone()))
}

/// Sets or replaces the numbered seats of a section.
///
/// Seats that are held, sold or blocked must keep their names and places. The body can have at most
/// 16 MiB. A section that had no numbered seats must have no seat in use.
#[utoipa::path(
    put, path = "/api/v1/events/{event_id}/sections/{section_id}/seats", tag = TAG,
    operation_id = "set_layout",
    request_body(
        content(
            (LayoutSchema = "application/json"),
            (
                String = "text/csv",
                example = "row,seat,category,price\nA,1,Parquet,4500\nA,2,Parquet,\n",
            ),
        ),
    ),
    security(("bearer" = [])),
    params(
        ("event_id" = String, Path, format = "uuid"),
        (
            "section_id" = String, Path, min_length = 1, max_length = 100,
            description = "The section's id, or its name",
        ),
        super::docs::IfMatch,
    ),
    responses(
        (
            status = 200, description = "The section", body = SectionView,
            headers(("ETag" = String, description = "The version of the event")),
        ),
    ),
)]
async fn lay(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let expected = expected_version(&parts.headers, app.core.store.epoch())?;
    let read = match () {
        () if is(&parts.headers, JSON) => from_json,
        () if is(&parts.headers, CSV) => from_csv,
        () => {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "Send the body with Content-Type: application/json or text/csv.",
            ));
        }
    };
    let (event_id, section) = own_section(&app, &path, &caller, Permission::EventWrite).await?;
    let bytes = app.seats.imports.receive(&app, &parts.headers, body).await?;
    let turn = app.seats.imports.turn()?;
    let (name, price) = (section.name, section.price);
    let (layout, _turn) = aside(turn, move || read(&bytes, &name, price)).await?;
    let change = SectionChange { layout: Some(Arc::new(layout?)), ..SectionChange::default() };
    let section_id = section.section_id;
    // A body may take longer to arrive than rights are known for.
    let by = acting(&app, event_id, &caller).await?;
    let change = app.core.store.revise_section(event_id, section_id, by, expected, change);
    let asked_at = tokio::time::Instant::now();
    let inventory = app.core.catalog.changing(event_id, change).await?;
    app.core.settle(&inventory, asked_at).await;
    changed_section(&app, event_id, section_id, (by, Permission::EventWrite)).await
}

fn from_json(bytes: &Bytes, name: &str, price: Money) -> Result<Layout, Problem> {
    let form: LayoutForm = validated(bytes)?;
    let draft = form.draft(name, price);
    draft.and_then(|draft| Layout::new(&draft)).map_err(|flaws| flawed(&flaws))
}

fn from_csv(bytes: &Bytes, _: &str, price: Money) -> Result<Layout, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let from = error.valid_up_to();
        Problem::malformed_request(format!("The table is not UTF-8 after byte {from}."))
    })?;
    let draft = Draft::from_csv(text, price.currency);
    draft.and_then(|draft| Layout::new(&draft)).map_err(|flaws| flawed(&flaws))
}

/// Returns the drawing of a section: the positions and prices of its seats.
///
/// The answer is CSV for `Accept: text/csv`. It changes only with the layout.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}/sections/{section_id}/seats", tag = TAG,
    operation_id = "get_drawing",
    security((), ("bearer" = [])),
    params(
        ("event_id" = String, Path, format = "uuid"),
        (
            "section_id" = String, Path, min_length = 1, max_length = 100,
            description = "The section's id, or its name",
        ),
        (
            "v" = Option<String>, Query,
            description = "The `layout_version` of the drawing, to bypass caches; the server \
                ignores it",
        ),
        super::docs::IfNoneMatch,
    ),
    responses(
        (
            status = 200, description = "The drawing",
            content((Drawing = "application/json"), (String = "text/csv")),
            headers(("ETag" = String, description = "The version of the layout and the format")),
        ),
        (status = 304, description = "Nothing has changed"),
    ),
)]
async fn drawing(
    State(app): State<Arc<App>>,
    MaybeCaller(viewer): MaybeCaller,
    Path(path): Path<(String, String)>,
    IfNoneMatch(known): IfNoneMatch,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    const MISSING: &str = "layout of this section";
    let (_, section, is_draft) = section(&app, &path, viewer.as_ref()).await?;
    let version = section.layout_version.ok_or_else(|| Problem::not_found(MISSING))?;
    let csv = quality(&headers, &header::ACCEPT, CSV);
    let wants_csv = csv > quality(&headers, &header::ACCEPT, JSON);
    let form = if wants_csv { Form::Csv } else { Form::Json };
    let drawn = app.seats.pages.drawing(&app, section.section_id, version, form).await?;
    let drawn = drawn.ok_or_else(|| Problem::not_found(MISSING))?;
    let (suffix, media_type) = match form {
        Form::Json => ("", JSON),
        Form::Csv => (".csv", "text/csv; charset=utf-8"),
    };
    // Strong, so each way of writing it has its own.
    let zipped = if pages::takes_gzip(&headers) { ".gz" } else { "" };
    let etag = format!("\"{}.{}{suffix}{zipped}\"", section.section_id, drawn.layout_version);
    let cache = if is_draft { "private, no-store" } else { "public, max-age=60" };
    let head = Head { etag, cache, vary: "accept, accept-encoding" };
    Ok(head.answer(&known, || {
        let mut page = drawn.page.answer(&headers);
        let media_type = HeaderValue::from_static(media_type);
        page.headers_mut().insert(header::CONTENT_TYPE, media_type);
        page
    }))
}

/// Lists the seats of a section that are held, sold or blocked.
///
/// If two answers differ, the one with the higher `sequence` is newer. With a token, `yours` lists
/// the caller's own seats, from the newest 100 holds and 100 confirmed bookings at the event.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}/sections/{section_id}/seats/status", tag = TAG,
    operation_id = "get_seats_status",
    security((), ("bearer" = [])),
    params(
        ("event_id" = String, Path, format = "uuid"),
        (
            "section_id" = String, Path, min_length = 1, max_length = 100,
            description = "The section's id, or its name",
        ),
        super::docs::IfNoneMatch,
    ),
    responses(
        (
            status = 200, description = "The seats that are not free", body = StatusView,
            headers(("ETag" = String, description = "The version of the status")),
        ),
        (status = 304, description = "Nothing has changed"),
    ),
)]
async fn status(
    State(app): State<Arc<App>>,
    MaybeCaller(viewer): MaybeCaller,
    Path(path): Path<(String, String)>,
    IfNoneMatch(known): IfNoneMatch,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (event_id, section, is_draft) = section(&app, &path, viewer.as_ref()).await?;
    let section_id = section.section_id;
    let shown = app.seats.pages.states(&app, event_id, section_id).await?;
    let (marks, page) = shown.ok_or_else(|| Problem::not_found("section with numbered seats"))?;
    let state = format!("{}.{}.{}", marks.layout_version, marks.version(), app.core.store.epoch());
    let vary = "accept-encoding, authorization";
    // A key buys nothing for itself.
    let Some(user_id) = viewer.as_ref().and_then(Caller::user_id) else {
        let cache = if is_draft { "private, no-store" } else { "max-age=1" };
        let head = Head { etag: format!("W/\"{state}\""), cache, vary };
        return Ok(head.answer(&known, || as_json(page.answer(&headers))));
    };
    let yours = own_seats(&app, user_id, event_id, section_id).await?;
    let etag = format!("W/\"{state}.{:x}\"", fingerprint(&yours));
    let cache = if is_draft { "private, no-store" } else { "private, no-cache" };
    let head = Head { etag, cache, vary };
    if head.is_known(&known) {
        return Ok(head.on(StatusCode::NOT_MODIFIED.into_response()));
    }
    // Beside the page of all, this one is its caller's alone: as it is, and compressed.
    let names: usize = yours.iter().map(|seat| seat.len() + 3).sum();
    let room = app.answers.room(2 * (page.bytes.len() + names)).await?;
    let write = move || with_yours(&page.bytes, &yours);
    let page = app.seats.pages.write(marks.taken(), write).await?;
    Ok(head.on(as_json(page.answer_in(room, &headers))))
}

/// The numbered seats of a section that a user holds or has bought.
async fn own_seats(
    app: &App,
    user_id: UserId,
    event_id: EventId,
    section_id: SectionId,
) -> Result<Vec<String>, Problem> {
    let mut seats = Vec::new();
    for status in [BookingStatus::Hold, BookingStatus::Confirmed] {
        let filter =
            BookingFilter { user: Some(user_id), event: Some(event_id), status: Some(status) };
        let mut page = PageRequest { after: None, limit: OWN_BOOKINGS_MAX };
        // A page of the store ends early when its bookings have very many seats.
        while page.limit > 0 {
            let found = app.core.store.bookings(&filter, page).await?;
            for booking in &found.items {
                let here = booking.seat_names().filter(|(section, _)| *section == section_id);
                seats.extend(here.map(|(_, seat)| seat.to_string()));
            }
            let Some(last) = found.items.last().filter(|_| found.has_more) else { break };
            let seen = u32::try_from(found.items.len()).unwrap_or(u32::MAX);
            page = PageRequest {
                after: Some(last.booking_id),
                limit: page.limit.saturating_sub(seen),
            };
        }
    }
    Ok(seats)
}

fn as_json(mut response: Response) -> Response {
    let media_type = HeaderValue::from_static(JSON);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// What an answer says of itself.
struct Head {
    etag: String,
    cache: &'static str,
    vary: &'static str,
}

impl Head {
    fn etag(&self) -> HeaderValue {
        HeaderValue::from_str(&self.etag).expect("ids and digits are valid in a header")
    }

    /// Whether the client has the page already.
    fn is_known(&self, known: &[HeaderValue]) -> bool {
        is_known(known, &self.etag())
    }

    /// The page, or 304 to who has it already.
    fn answer(self, known: &[HeaderValue], page: impl FnOnce() -> Response) -> Response {
        let is_known = self.is_known(known);
        self.on(if is_known { StatusCode::NOT_MODIFIED.into_response() } else { page() })
    }

    fn on(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache));
        headers.insert(header::VARY, HeaderValue::from_static(self.vary));
        response
    }
}

/// Sets the blocked seats of a section, replacing any earlier ones.
///
/// Send `seats` for a section with numbered seats, `number` otherwise. The body can have at most 16
/// MiB.
#[utoipa::path(
    put, path = "/api/v1/events/{event_id}/sections/{section_id}/blocked", tag = TAG,
    operation_id = "set_blocked_seats", request_body = BlockedForm,
    security(("bearer" = [])),
    params(
        ("event_id" = String, Path, format = "uuid"),
        (
            "section_id" = String, Path, min_length = 1, max_length = 100,
            description = "The section's id, or its name",
        ),
    ),
    responses(
        (
            status = 200, description = "The section", body = SectionView,
            headers(("ETag" = String, description = "The version of the event")),
        ),
    ),
)]
async fn block(
    State(app): State<Arc<App>>,
    CurrentCaller(caller): CurrentCaller,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if !is(&parts.headers, JSON) {
        return Err(not_json());
    }
    let (event_id, section) = own_section(&app, &path, &caller, Permission::InventoryWrite).await?;
    let bytes = app.seats.imports.receive(&app, &parts.headers, body).await?;
    let is_small = bytes.len() <= SMALL_BYTES_MAX;
    let read = move || validated::<BlockedForm>(&bytes).and_then(BlockedForm::read);
    let (blocked, reason) = if is_small {
        read()?
    } else {
        let turn = app.seats.imports.turn()?;
        aside(turn, read).await?.0?
    };
    if matches!(blocked, Blocked::Seats(_)) && !section.is_numbered() {
        return Err(Problem::invalid_field(
            "seats",
            "cannot be used for a section without numbered \
            seats; send number instead",
        ));
    }
    let section_id = section.section_id;
    // A body may take longer to arrive than rights are known for.
    let by = acting(&app, event_id, &caller).await?;
    let command = Command::Block { section_id, by, blocked, reason: Some(reason) };
    app.core.lanes.submit(event_id.shard(), command).await?;
    changed_section(&app, event_id, section_id, (by, Permission::InventoryWrite)).await
}
