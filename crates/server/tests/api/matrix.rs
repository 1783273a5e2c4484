//! The matrix *operations × callers*: each operation of the OpenAPI document, for each kind of caller.
//!
//! The operations come from the document that the server serves. [`table`] says what each needs, the
//! callers of [`world`] come with what they may do, by the engine's table of roles; [`needs`] says what
//! the answer has to be (I13). Every cell is a request with a valid body about real objects of a team,
//! so that the answer is decided by rights. What is refused must have changed nothing, no answer may
//! repeat a secret that was sent, and the log holds none.
//!
//! Not here: members who are confined to the event that a request is about, and the limits on rates and
//! seats.

mod needs;
mod table;
mod world;

use crate::support::Answer;
use engine::access::{Permission, Permissions};
use needs::{Expected, Need, Of, Seen, compare, expected};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use table::{CALLS, Call, On};
use world::{Made, PASSWORD, World};

/// Members of a body that must never come back.
const SECRET: [&str; 6] =
    ["password", "current_password", "new_password", "refresh_token", "token", "booking_token"];

/// An operation of the document.
struct Operation {
    id: String,
    method: Method,
    path: String,
}

/// The operations below `/api/v1` of the document that the server serves.
async fn operations(world: &World) -> Vec<Operation> {
    let document = world.server.client().outside().get("/openapi.json").await;
    let document = document.expect(StatusCode::OK);
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(path) = path.strip_prefix("/api/v1") else { continue };
        for (method, operation) in item.as_object().expect("operations") {
            let method = method.to_uppercase();
            found.push(Operation {
                id: operation["operationId"].as_str().expect("a name").to_owned(),
                method: method.parse().expect("a method"),
                path: path.to_owned(),
            });
        }
    }
    found
}

/// The text with what stands for the names in braces.
fn filled(text: &str, names: &BTreeMap<&'static str, String>) -> String {
    let whole = names
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
    let is_open = |part: &str| part.starts_with(|first: char| first.is_ascii_lowercase());
    assert!(!whole.split('{').skip(1).any(is_open), "a name without a value: {whole}");
    whole
}

/// The secrets of a request.
fn secrets(body: Option<&Value>, token: Option<&String>) -> Vec<String> {
    let members = body.and_then(Value::as_object).into_iter().flatten();
    let secret = members.filter(|(name, _)| SECRET.contains(&name.as_str()));
    let secret = secret.filter_map(|(_, value)| value.as_str().map(str::to_owned));
    secret.chain(token.cloned()).collect()
}

/// What is wrong with one cell.
async fn cell(
    world: &mut World,
    operation: &Operation,
    call: &Call,
    caller: usize,
) -> Option<String> {
    let made = world.make(call.on, caller).await;
    let rights = world.callers[caller].rights;
    let expected = expected(call.need, rights);
    let seen = asked(world, operation, call, (caller, &made)).await;
    world.discard(&made).await;
    if call.on == On::OwnLogins && seen.answer.status == StatusCode::NO_CONTENT {
        world.log_in(caller).await;
    }
    let name = &world.callers[caller].name;
    let wrong = compare(expected, call.granted, &seen)?;
    Some(format!("{} ({}) by {name}: {wrong}", call.operation, call.case))
}

/// Sends the request of a cell.
async fn asked(
    world: &World,
    operation: &Operation,
    call: &Call,
    (caller, made): (usize, &Made),
) -> Seen {
    let caller = &world.callers[caller];
    let path = filled(&operation.path, &made.names) + &filled(call.query, &made.names);
    let body = (!call.body.is_empty()).then(|| filled(call.body, &made.names));
    let body: Option<Value> =
        body.map(|body| serde_json::from_str(&body).expect("a body of the table is JSON"));
    let is_watched = operation.method != Method::GET;
    let before = if is_watched { world.state(made).await } else { Vec::new() };
    let answer = caller.client.send(operation.method.clone(), &path, body.as_ref(), &[]).await;
    let after = if is_watched { world.state(made).await } else { Vec::new() };
    let shown =
        call.shows.map(|(what, text)| (filled(text, &made.names), caller.rights.can.has(what)));
    let secrets = secrets(body.as_ref(), caller.client.token.as_ref());
    Seen { answer, is_unchanged: before == after, secrets, shown }
}

/// What is wrong with the table, and with each cell.
async fn wrong(world: &mut World, operations: &[Operation], calls: &[Call]) -> Vec<String> {
    let told: BTreeSet<_> = operations.iter().map(|operation| operation.id.as_str()).collect();
    let known: BTreeSet<_> = calls.iter().map(|call| call.operation).collect();
    let missing = told.difference(&known).map(|id| format!("{id} is not in the table"));
    let gone = known.difference(&told).map(|id| format!("{id} is not in the document"));
    let mut wrong: Vec<_> = missing.chain(gone).collect();
    for operation in operations {
        for call in calls.iter().filter(|call| call.operation == operation.id) {
            for caller in 0..world.callers.len() {
                wrong.extend(cell(world, operation, call, caller).await);
            }
        }
    }
    wrong
}

#[tokio::test]
async fn i13_every_call_is_answered_by_the_rights_of_its_caller() {
    let mut world = World::start().await;
    let operations = operations(&world).await;
    let wrong = wrong(&mut world, &operations, CALLS).await;
    world.server.audit();
    let log = world.server.log().join("\n");
    assert!(!world.tokens().chain([PASSWORD]).any(|secret| log.contains(secret)), "{log}");
    let cells = CALLS.len() * world.callers.len();
    assert!(wrong.is_empty(), "{} of {cells} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A checker that has caught nothing is not believed.
#[tokio::test]
async fn a_weaker_need_and_what_has_no_partner_are_reported() {
    let mut world = World::start().await;
    let mut operations = operations(&world).await;
    operations.retain(|operation| operation.id == "update_event");
    let made_up = Operation { id: "fly".to_owned(), method: Method::GET, path: "/fly".to_owned() };
    operations.push(made_up);
    let told = CALLS.iter().find(|call| call.operation == "update_event").expect("it is there");
    assert_eq!(wrong(&mut world, &operations[..1], &[*told]).await, Vec::<String>::new());
    let weaker = Call { need: Need::EventOrKey(Permission::EventRead, Of::Public), ..*told };
    let gone = Call { operation: "sink", ..weaker };
    let found = wrong(&mut world, &operations, &[weaker, gone]).await;
    let (partners, cells) = found.split_at(2);
    assert_eq!(partners, ["fly is not in the table", "sink is not in the document"]);
    // Who has the one permission and not the other, or has neither and hears of the other.
    let both = |can: Permissions| can.has(Permission::EventRead) && can.has(Permission::EventWrite);
    let differ = world.callers.iter().filter(|it| it.rights.is_inside && !both(it.rights.can));
    let differ: Vec<_> = differ.map(|caller| caller.name.as_str()).collect();
    let name = |cell: &String| Some(cell.split_once(" by ")?.1.split_once(':')?.0.to_owned());
    let reported: Vec<_> = cells.iter().filter_map(name).collect();
    assert_eq!(reported, differ, "{cells:#?}");
    assert!(reported.len() > 3, "box office, analyst, check-in and keys");
    let told = "update_event (public) by analyst: \
        expected granted, got 403 permission_missing event.write";
    assert!(cells.iter().any(|cell| cell == told), "{cells:#?}");
}

#[test]
fn another_permission_a_change_a_secret_and_a_hidden_text_are_reported() {
    let lacks = Expected::Refused(403, "permission_missing", Some(Permission::OrgWrite));
    let seen = |status: u16, body: Value, is_unchanged: bool| {
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers: reqwest::header::HeaderMap::new(), body };
        let shown = Some(("held_seats".to_owned(), false));
        Seen { answer, is_unchanged, secrets: vec!["rsvx_test_1".to_owned()], shown }
    };
    let problem =
        |permission: &str| json!({"code": "permission_missing", "permission": permission});
    let is_reported = |expected, seen| compare(expected, "", &seen).is_some();
    assert!(!is_reported(lacks, seen(403, problem("org.write"), true)));
    assert!(is_reported(lacks, seen(403, problem("event.write"), true)));
    assert!(is_reported(lacks, seen(403, problem("org.write"), false)));
    assert!(is_reported(lacks, seen(200, json!({}), false)));
    let granted = Expected::Granted;
    assert!(!is_reported(granted, seen(200, json!({}), false)));
    assert!(is_reported(granted, seen(200, json!({"detail": "rsvx_test_1"}), false)));
    assert!(is_reported(granted, seen(200, json!({"held_seats": 1}), false)));
    assert!(is_reported(granted, seen(409, json!({"code": "sale_not_open"}), true)));
    assert!(is_reported(granted, seen(404, json!({"code": "not_found"}), true)));
}
