//! The router: every path of the API with its handler, and the document that describes them.

use super::app::App;
use super::layers::{self, compression};
use super::problem::{Code, Problem};
use super::query::KnownParameters;
use super::{
    auth, bookings, docs, events, health, observe, organizations, pages, seats, series, users,
    visitors,
};
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

const DOCUMENT: &str = "/openapi.json";

/// All calls and pages, without the layers of all.
pub struct Routes {
    pub(super) router: Router<Arc<App>>,
    /// The calls that are counted.
    pub(super) counted: Vec<Counted>,
    /// The query parameters that each takes.
    pub(super) known: KnownParameters,
}

impl Routes {
    /// Made with the document that describes them, which takes milliseconds.
    pub fn of(version: &str) -> Self {
        let (router, document) = calls(version);
        let (counted, known) = (counted(&document), KnownParameters::of(&document));
        Self { router: with_pages(router, version), counted, known }
    }
}

fn with_pages(router: Router<Arc<App>>, version: &str) -> Router<Arc<App>> {
    let page = SwaggerUi::new("/docs").config(Config::from(DOCUMENT));
    let pages: Router<Arc<App>> = page.into();
    let served = docs::Served::of(version);
    let pages = pages
        .route(DOCUMENT, get(move || served.clone().answer()))
        .route("/docs/swagger-initializer.js", get(docs::page));
    let pages = pages.layer(compression()).layer(map_response(revalidated));
    explained(router.merge(pages))
}

/// The probes and meters alone.
pub(super) fn probes() -> (Router<health::Probed>, KnownParameters) {
    let (router, document) = health::probes().split_for_parts();
    (explained(router), KnownParameters::of(&document))
}

fn calls(version: &str) -> (Router<Arc<App>>, OpenApi) {
    let records = OpenApiRouter::new()
        .merge(auth::routes())
        .merge(users::routes())
        .merge(visitors::routes())
        .merge(events::routes())
        .merge(series::routes())
        .merge(organizations::routes());
    let all = OpenApiRouter::with_openapi(docs::base(version))
        .routes(routes!(pages::root))
        .routes(routes!(pages::problem))
        .merge(health::probes())
        .merge(layers::RECORDS.on(records))
        .merge(layers::LISTS.on(bookings::lists()))
        .merge(layers::SEATS.on(seats::routes()))
        .merge(layers::BOOKINGS.on(bookings::routes()));
    all.split_for_parts()
}

/// The OpenAPI document, as it is served.
pub fn openapi(version: &str) -> OpenApi {
    docs::finished(calls(version).1)
}

/// A method and a path of the API that is counted, as the meters call them.
pub type Counted = (&'static str, String);

fn counted(document: &OpenApi) -> Vec<Counted> {
    let mut routes = vec![("GET", "unknown".to_owned()), ("POST", "unknown".to_owned())];
    for (path, item) in &document.paths.paths {
        let methods = [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PATCH", item.patch.is_some()),
            ("PUT", item.put.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let known = methods.into_iter().filter(|(_, there)| *there);
        routes.extend(known.map(|(method, _)| (method, path.clone())));
    }
    routes.retain(|(_, path)| !observe::PROBES.contains(&path.as_str()));
    routes
}

/// Answers what no handler is for. A bare 404 is written out as its path wants it (`observe`).
fn explained<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(|| async { StatusCode::NOT_FOUND }).method_not_allowed_fallback(|| async {
        Problem::new(Code::MethodNotAllowed, "The Allow header lists the supported methods.")
    })
}

/// The pages of the documentation may be kept, and are asked for again before they are shown.
async fn revalidated(mut page: Response) -> Response {
    page.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    page
}
