//! The router: every path of the API with its handler, and the document that describes them.

use super::app::App;
use super::layers::{self, compression};
use super::problem::{Code, Problem};
use super::query::KnownParameters;
use super::{auth, bookings, docs, events, health, observe, pages, seats, series, users};
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

/// All calls and pages without the layers of all, with the document of the calls and the query
/// parameters that each takes.
pub(super) fn api(version: &str) -> (Router<Arc<App>>, OpenApi, KnownParameters) {
    let (router, document, known) = calls(version);
    let pages: Router<Arc<App>> =
        SwaggerUi::new("/docs").url("/openapi.json", document.clone()).into();
    let pages = pages.route("/docs/swagger-initializer.js", get(docs::page));
    let pages = pages.layer(compression()).layer(map_response(revalidated));
    (explained(router.merge(pages)), document, known)
}

/// The probes and meters alone.
pub(super) fn probes() -> (Router<health::Probed>, KnownParameters) {
    let (router, document) = health::probes().split_for_parts();
    (explained(router), KnownParameters::of(&document))
}

fn calls(version: &str) -> (Router<Arc<App>>, OpenApi, KnownParameters) {
    let records = OpenApiRouter::new()
        .merge(auth::routes())
        .merge(users::routes())
        .merge(events::routes())
        .merge(series::routes());
    let all = OpenApiRouter::with_openapi(docs::base(version))
        .routes(routes!(pages::root))
        .routes(routes!(pages::problem))
        .merge(health::probes())
        .merge(layers::RECORDS.on(records))
        .merge(layers::LISTS.on(bookings::lists()))
        .merge(layers::SEATS.on(seats::routes()))
        .merge(layers::BOOKINGS.on(bookings::routes()));
    let (router, document) = all.split_for_parts();
    let known = KnownParameters::of(&document);
    (router, docs::finished(document), known)
}

/// The OpenAPI document, as it is served.
pub fn openapi(version: &str) -> OpenApi {
    calls(version).1
}

/// Every method and path of the API that is counted, as the meters call them.
pub fn routes(document: &OpenApi) -> Vec<(&'static str, &str)> {
    let mut routes = vec![("GET", "unknown"), ("POST", "unknown")];
    for (path, item) in &document.paths.paths {
        let methods = [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PATCH", item.patch.is_some()),
            ("PUT", item.put.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let known = methods.into_iter().filter(|(_, there)| *there);
        routes.extend(known.map(|(method, _)| (method, path.as_str())));
    }
    routes.retain(|(_, path)| !observe::PROBES.contains(path));
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
