//! HTML pages: the root, and the meaning of each problem code.
//!
//! Browsers get self-contained HTML, other clients the same as JSON. The content security policy of
//! a page allows only its own style.

use super::App;
use super::extract::Path;
use super::problem::table::{self, Row};
use super::problem::{Code, Problem};
use super::seats::quality;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use utoipa::ToSchema;

const HTML: &str = "text/html";
/// How long the explanation of a code may be kept.
const PROBLEM_CACHE: &str = "max-age=3600";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;\
    padding:0 1rem;color:#222;background:#fff}code{font-size:.95em;background:#eee;padding:0 .2em}\
    dt{font-weight:600}dd{margin:0 0 1rem}\
    @media(prefers-color-scheme:dark){body{color:#ddd;background:#111}code{background:#333}\
    a{color:#8cf}}";

/// Allows [`STYLE`] by its digest.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 is valid in a header")
});

/// The name and version of the server.
#[derive(Serialize, ToSchema)]
#[schema(as = Info)]
pub(super) struct RootView {
    app: String,
    version: String,
    status: &'static str,
    docs: &'static str,
}

/// Returns the name and version of the server, and the path of its documentation.
#[utoipa::path(
    get, path = "/", tag = "Operations", operation_id = "get_info",
    responses(
        (
            status = 200, description = "This server",
            content((RootView = "application/json"), (String = "text/html")),
        ),
    ),
)]
pub(super) async fn root(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let config = &app.core.config;
    let (app, version) = (config.app_name.clone(), config.app_version.clone());
    let answer = if wants_html(&headers) {
        let body = format!(
            "<p>Version {}. An HTTP API that holds and sells the seats of events.</p><ul>\
             <li><a href=\"/docs\">API documentation, with a page to try the calls</a></li>\
             <li><a href=\"/openapi.json\">OpenAPI document</a></li>\
             <li><a href=\"/health\">Health of this server</a></li></ul>",
            escaped(&version)
        );
        page(&escaped(&app), &body)
    } else {
        axum::Json(RootView { app, version, status: "running", docs: "/docs" }).into_response()
    };
    negotiated(answer, "no-cache")
}

/// What a code of a problem means.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemType)]
pub(super) struct ProblemTypeView {
    /// The `type` of such problems.
    #[serde(rename = "type")]
    kind: String,
    #[schema(value_type = Code)]
    code: &'static str,
    status: u16,
    /// The variants of the code: several if its members can differ.
    variants: Vec<VariantView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProblemVariant)]
struct VariantView {
    /// The members that such a problem adds.
    members: &'static str,
    /// What to do.
    advice: &'static str,
}

/// Explains a problem: the `type` of a problem is this path.
#[utoipa::path(
    get, path = "/problems/{code}", tag = "Operations", operation_id = "get_problem",
    params(("code" = String, Path, description = "The `code` of a problem")),
    responses(
        (
            status = 200, description = "What the code means",
            content((ProblemTypeView = "application/json"), (String = "text/html")),
        ),
    ),
)]
pub(super) async fn problem(
    Path(code): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let rows: Vec<&Row> = table::rows(&code).collect();
    let first = rows.first().ok_or_else(|| Problem::not_found("problem code"))?;
    let answer = if wants_html(&headers) {
        page(first.code, &explained(first.title, &rows))
    } else {
        let variant = |row: &&Row| VariantView { members: row.members, advice: row.advice };
        axum::Json(ProblemTypeView {
            kind: format!("/problems/{}", first.code),
            code: first.code,
            status: first.status,
            variants: rows.iter().map(variant).collect(),
        })
        .into_response()
    };
    Ok(negotiated(answer, PROBLEM_CACHE))
}

fn explained(title: &str, rows: &[&Row]) -> String {
    let mut body = format!("<p>{}.</p>", escaped(title));
    for row in rows {
        let status = axum::http::StatusCode::from_u16(row.status).ok();
        let reason = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
        write!(body, "<dl><dt>Status</dt><dd>{} {reason}</dd>", row.status).expect("it grows");
        for (name, text) in
            [("Additional members or headers", row.members), ("What to do", row.advice)]
        {
            if !text.is_empty() {
                write!(body, "<dt>{name}</dt><dd>{}</dd>", with_code(text)).expect("it grows");
            }
        }
        body.push_str("</dl>");
    }
    body.push_str("<p><a href=\"/docs\">API documentation</a></p>");
    body
}

/// Whether a client prefers HTML to JSON, as browsers do.
fn wants_html(headers: &HeaderMap) -> bool {
    let wants = |media_type| quality(headers, &header::ACCEPT, media_type);
    let html = wants(HTML);
    let json =
        [super::body::JSON, "application/*", "*/*"].into_iter().map(wants).find(|q| *q > 0.0);
    html > 0.0 && html >= json.unwrap_or(0.0)
}

/// Says that the answer depends on what its client accepts, and how long it may be kept.
fn negotiated(mut answer: Response, cache: &'static str) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    answer
}

/// A page with this title; both are HTML already.
fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    );
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (head, html).into_response()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Text with code in backquotes.
fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let part = |(at, part): (usize, &str)| {
        if at % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) }
    };
    parts.map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_prefers_html_gets_it_and_everybody_else_gets_json() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, html) in [
            (browser, true),
            ("text/html", true),
            ("text/html, application/json", true),
            ("text/html;q=0.5, application/json", false),
            ("text/html;q=0.5, */*", false),
            ("text/html;q=0", false),
            ("application/json", false),
            ("*/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("text"));
            assert_eq!(wants_html(&headers), html, "{accept}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn what_is_shown_cannot_become_markup() {
        assert_eq!(escaped("<b> & \"'"), "&lt;b&gt; &amp; &quot;&#39;");
        assert_eq!(with_code("see `a<b` now"), "see <code>a&lt;b</code> now");
    }
}
