//! What the OpenAPI document says, the server does. The rest of it is for `scripts/contract`.

use crate::support::{Server, show};
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn a_wish_of_the_best_seats_that_is_null_is_none() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let hall = json!({"name": "Hall", "layout": {"rows": "A-C", "seats_per_row": 4}});
    let event_id = user.event_with(&show(&json!({"sections": [hall]}))).await;
    let hold = async |wishes: Value| {
        let hold = json!({"event_id": event_id, "best_available": wishes});
        user.post("/bookings/hold", &hold).await
    };
    for wish in ["sections", "categories", "max_price"] {
        let seats = hold(json!({"number": 1, wish: null})).await.expect(StatusCode::CREATED);
        assert_eq!(seats["seats"].as_array().map(Vec::len), Some(1), "{wish}: {seats}");
    }
    // What has a default is not cleared by null.
    for field in ["number", "accessible", "prevent_orphans", "adjacent"] {
        let mut wishes = json!({"number": 1});
        wishes[field] = Value::Null;
        hold(wishes).await.problem(422, "validation_failed");
    }
}

/// What the name of a call begins with.
const VERBS: [&str; 17] = [
    "register", "login", "logout", "refresh", "change", "get", "list", "create", "update", "set",
    "cancel", "confirm", "extend", "delete", "accept", "transfer", "rotate",
];

#[tokio::test]
async fn the_document_names_calls_by_verbs_and_its_pages_by_reference() {
    let server = Server::start(&[]);
    let document = server.client().outside().get("/openapi.json").await.expect(StatusCode::OK);
    assert_eq!(document["servers"][0]["url"], "/");
    let answer = |path: &str| {
        let path = path.replace('/', "~1");
        let pointer = format!("/paths/{path}/get/responses/200/content/application~1json/schema");
        document.pointer(&pointer).expect("an answer")["$ref"].clone()
    };
    assert_eq!(answer("/api/v1/events"), "#/components/schemas/EventPage");
    for path in ["/api/v1/bookings", "/api/v1/events/{event_id}/bookings"] {
        assert_eq!(answer(path), "#/components/schemas/BookingPage");
    }
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("operations").values() {
            let name = operation["operationId"].as_str().expect("a name");
            let mut words = name.split('_');
            assert!(VERBS.contains(&words.next().expect("a word")), "{name} begins with no verb");
            let alone = ["register", "login", "logout"].contains(&name);
            assert_eq!(words.next().is_none(), alone, "{name} has no noun");
        }
    }
}

#[tokio::test]
async fn the_page_keeps_the_token_and_begins_with_the_accounts() {
    let server = Server::start(&[]);
    let client = server.client().outside();
    let script = client.get("/docs/swagger-initializer.js").await;
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    let script = script.expect(StatusCode::OK);
    let script = script.as_str().expect("a script");
    assert!(script.contains("persistAuthorization: true"), "{script}");
    let document = client.get("/openapi.json").await.expect(StatusCode::OK);
    // As it is written: the order of what was parsed is another one.
    let text = String::from_utf8(server.run(&["openapi"]).stdout).expect("a text");
    assert_eq!(document["tags"][0]["name"], "Accounts");
    let place = |path: &str| text.find(&format!("\"{path}\": {{")).expect("it is described");
    assert!(place("/api/v1/auth/register") < place("/api/v1/auth/login"));
    let first = ["/api/v1/auth/refresh", "/api/v1/auth/password", "/api/v1/users/me"];
    assert!(first.iter().all(|path| place("/api/v1/auth/login") < place(path)));
    let bearer = &document["components"]["securitySchemes"]["bearer"]["description"];
    assert!(bearer.as_str().is_some_and(|text| text.contains("POST /api/v1/auth/login")));
}
