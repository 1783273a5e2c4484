//! The API's own documentation: OpenAPI 3.1 made from the handlers, and a page that needs no network.

use super::PROBLEM;
use super::problem::FieldError;
use serde::Serialize;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Content, ContentBuilder, Header, OpenApi, Ref, RefOr, Required, ResponseBuilder, Schema,
};
use utoipa::{IntoParams, OpenApi as _, ToSchema};

/// What a problem looks like (RFC 9457). Some codes add members, such as `limit` or `available`.
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// `/problems/<code>`.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    /// Stable; part of the API.
    code: String,
    /// Whether the same request can succeed later.
    retryable: bool,
    request_id: String,
    /// With `validation_failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<FieldError>>,
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
    /// 1 to 255 visible characters. Retries with the same key have one effect.
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
    /// An `ETag` of the event, or `*`.
    #[param(rename = "If-Match", required = false, value_type = String, example = "*")]
    tag: Option<String>,
}

/// How a client asks for news only.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header; the handler reads it")]
pub struct IfNoneMatch {
    /// `ETag`s of earlier answers; 304 while one of them still fits.
    #[param(rename = "If-None-Match", required = false, value_type = String)]
    tags: Option<String>,
}

/// The part of a list to show.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes parameters; the extractor reads them")]
pub struct PageParams {
    /// How many items.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(format = "uuid")]
    after: Option<String>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Reservix",
        description = "Hold seats for ten minutes, then confirm or lose them. Nothing is ever oversold.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, FieldError)),
    tags(
        (name = "Accounts", description = "Users and their tokens"),
        (name = "Events", description = "Events, sections and availability"),
        (name = "Seats", description = "Numbered seats: layouts, drawings, and which seats are taken"),
        (name = "Bookings", description = "Hold, confirm, extend, cancel"),
        (name = "Operations", description = "Health and metrics"),
    ),
)]
struct Base;

/// The document before its paths are added.
pub(super) fn base(version: &str) -> OpenApi {
    let mut document = Base::openapi();
    version.clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_default();
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.security_schemes.insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    document
}

/// Adds to every operation the refusals that the layers around its handler give.
pub(super) fn with_common_refusals(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.put];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            add_refusals(path, operation);
        }
    }
    document
}

fn add_refusals(path: &str, operation: &mut Operation) {
    if !path.starts_with("/api/") {
        refuse(operation, "422", "`validation_failed`: a parameter that it does not take");
        refuse(operation, "503", "`unavailable`, `overloaded`");
        return;
    }
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let stands = |place: &ParameterIn| {
        let inline =
            parameters.iter().filter_map(|it| if let RefOr::T(it) = it { Some(it) } else { None });
        inline.into_iter().any(|it| it.parameter_in == *place)
    };
    let in_path = stands(&ParameterIn::Path);
    let (has_body, secured) = (operation.request_body.is_some(), operation.security.is_some());
    if let Some(RefOr::T(body)) = operation.request_body.as_mut()
        && is_empty(body)
    {
        body.required = Some(Required::False);
    }
    refuse(operation, "400", "`malformed_request`, `malformed_json`");
    if secured {
        refuse(operation, "401", "`unauthorized`");
    }
    if in_path || path.ends_with("/me") {
        refuse(operation, "404", "`not_found`");
    }
    if has_body {
        refuse(operation, "408", "`request_timeout`");
        refuse(operation, "413", "`body_too_large`");
        refuse(operation, "415", "`unsupported_media_type`");
    }
    refuse(operation, "422", "`validation_failed`, `idempotency_key_reused`");
    refuse(operation, "414", "`uri_too_long`");
    refuse(operation, "431", "`headers_too_large`");
    refuse(operation, "429", "`rate_limited`");
    refuse(operation, "503", "`unavailable`, `overloaded`");
}

/// Whether a call takes no body: then it may send an empty object, or nothing at all.
fn is_empty(body: &RequestBody) -> bool {
    let empty = Ref::from_schema_name("Empty").ref_location;
    let is_empty = |content: &RefOr<Content>| {
        matches!(content, RefOr::T(Content { schema: Some(RefOr::Ref(named)), .. })
            if named.ref_location == empty)
    };
    body.content.values().all(is_empty)
}

fn refuse(operation: &mut Operation, status: &str, codes: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new().description(codes).content(PROBLEM, content);
    if matches!(status, "429" | "503") {
        let seconds = Header::new(Schema::from(utoipa::openapi::Object::with_type(
            utoipa::openapi::Type::Integer,
        )));
        response = response.header("Retry-After", seconds);
    }
    let entry = operation.responses.responses.entry(status.to_owned());
    entry.or_insert_with(|| RefOr::T(response.build()));
}
