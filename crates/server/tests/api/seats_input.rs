//! Layouts that are wrong, and layouts that are large: clear problems, never a 500.

use crate::support::{Answer, Client, Server, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fmt::Write as _;

const INVALID: &str = "validation_failed";

async fn lay(user: &Client, event_id: &str, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    let path = format!("/events/{event_id}/sections/A/seats");
    let headers = [("Content-Type", media_type)];
    user.send_bytes(Method::PUT, &path, body.into(), &headers).await
}

async fn lay_json(user: &Client, event_id: &str, layout: &Value) -> Answer {
    lay(user, event_id, "application/json", layout.to_string()).await
}

/// A layout in full with one row of these seats.
fn row(seats: &Value) -> Value {
    json!({"categories": [{"name": "Gold", "price": 1}], "rows": [{"label": "A", "seats": seats}]})
}

fn seat(changes: &Value) -> Value {
    let mut seat = json!({"number": "1", "x": 0, "y": 0, "category": "Gold"});
    seat.as_object_mut().expect("an object").extend(changes.as_object().expect("one").clone());
    seat
}

#[tokio::test]
async fn a_wrong_layout_names_the_row_and_the_seat() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let with = |changes: Value| row(&json!([seat(&changes)]));
    let short = |changes: Value| {
        let mut layout = json!({"rows": "A-C", "seats_per_row": 4});
        layout.as_object_mut().expect("one").extend(changes.as_object().expect("one").clone());
        layout
    };
    let rows = json!([seat(&json!({})), seat(&json!({}))]);
    for (field, layout) in [
        ("rows", json!({})),
        ("rows", json!({"rows": 7, "seats_per_row": 4})),
        ("rows", json!({"rows": null, "seats_per_row": 4})),
        ("rows", short(json!({"rows": "A-"}))),
        ("rows", short(json!({"rows": ""}))),
        ("rows", short(json!({"rows": "a-c"}))),
        ("rows", short(json!({"rows": "C-A"}))),
        ("rows", short(json!({"rows": "A\u{0}"}))),
        ("rows", short(json!({"rows": "1-999999"}))),
        ("rows", short(json!({"rows": "A,".repeat(1_000)}))),
        ("rows[A].row", short(json!({"rows": "A,A"}))),
        ("seats_per_row", json!({"rows": "A-C"})),
        ("seats_per_row", short(json!({"seats_per_row": 0}))),
        ("seats_per_row", short(json!({"seats_per_row": 1_001}))),
        ("seats_per_row", short(json!({"seats_per_row": -1}))),
        ("seats_per_row", short(json!({"seats_per_row": 5e9}))),
        ("seats_per_row", short(json!({"seats_per_row": "4"}))),
        ("seats_per_row", short(json!({"rows": "1-5000", "seats_per_row": 1_000}))),
        ("aisles_after", short(json!({"aisles_after": [4]}))),
        ("aisles_after", short(json!({"aisles_after": [0]}))),
        ("aisles_after", short(json!({"aisles_after": 2}))),
        ("shape", short(json!({"shape": "ring"}))),
        ("shape", short(json!({"shape": {"arc": null}}))),
        ("radius", short(json!({"radius": 5}))),
        ("radius", short(json!({"shape": "arc", "radius": 5}))),
        ("radius", short(json!({"shape": "arc", "radius": 500_001}))),
        ("categories", short(json!({"categories": []}))),
        ("focal", short(json!({"focal": {"x": 0, "y": 0}}))),
        ("surprise", short(json!({"surprise": 1}))),
        ("rows", json!({"rows": [], "categories": [{"name": "Gold", "price": 1}]})),
        ("rows[0]", json!({"rows": [["A", []]], "categories": []})),
        ("rows[0].label", json!({"rows": [{"seats": []}], "categories": []})),
        ("categories", json!({"rows": []})),
        ("rows", json!({"rows": [], "categories": []})),
        ("categories", json!({"rows": row(&json!([seat(&json!({}))]))["rows"], "categories": []})),
        ("categories[0]", json!({"rows": [], "categories": [["Gold", 1]]})),
        ("categories[0].price", json!({"rows": [], "categories": [{"name": "Gold"}]})),
        ("categories[0].price", json!({"rows": [], "categories": [{"name": "G", "price": 0.5}]})),
        ("focal", json!({"rows": [], "categories": [], "focal": [1, 2]})),
        ("seats_per_row", json!({"rows": [], "categories": [], "seats_per_row": 4})),
        ("rows[A].seats", row(&json!([]))),
        ("rows[A].seats[1].number", row(&rows)),
        ("rows[A].seats[a b].number", with(json!({"number": "a b"}))),
        ("rows[A].seats[].number", with(json!({"number": ""}))),
        ("rows[A].seats[123456789].number", with(json!({"number": "123456789"}))),
        ("rows[A].seats[1\u{1}].number", with(json!({"number": "1\u{1}"}))),
        ("rows[A].seats[1].category", with(json!({"category": "Silver"}))),
        ("rows[A].seats[1].flags", with(json!({"accessible": true, "companion": true}))),
        ("rows[A].seats[1].at", with(json!({"x": 1_000_001}))),
        ("rows[0].seats[0].number", with(json!({"number": 1}))),
        ("rows[0].seats[0].x", with(json!({"x": 0.5}))),
        ("rows[0].seats[0].x", with(json!({"x": "0"}))),
        ("rows[0].seats[0].y", with(json!({"y": 3_000_000_000_i64}))),
        ("rows[0].seats[0].accessible", with(json!({"accessible": "yes"}))),
        ("rows[0].seats[0].surprise", with(json!({"surprise": 1}))),
        ("rows[0].seats[0]", row(&json!([["1", 0, 0, "Gold"]]))),
        ("rows[0].seats", row(&json!("1"))),
        (
            "rows[A\nB].row",
            json!({
                "categories": [{"name": "Gold", "price": 1}],
                "rows": [{"label": "A\nB", "seats": [seat(&json!({}))]}],
            }),
        ),
        (
            "categories[1].name",
            json!({
                "categories": [{"name": "Gold", "price": 1}, {"name": "Gold", "price": 1}],
                "rows": [{"label": "A", "seats": [seat(&json!({}))]}],
            }),
        ),
        (
            "categories[0].price",
            json!({
                "categories": [{"name": "Gold", "price": -1}],
                "rows": [{"label": "A", "seats": [seat(&json!({}))]}],
            }),
        ),
    ] {
        let problem = lay_json(&user, &event_id, &layout).await.problem(422, INVALID);
        assert_eq!(problem["errors"][0]["field"], field, "{layout}: {problem:#}");
        let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty() && message.len() < 600, "{layout}: {message}");
    }
    assert_eq!(user.seats(&event_id).await, (10, 0, 0), "nothing has changed");
    server.audit();
}

#[tokio::test]
async fn a_layout_that_is_no_json_is_malformed() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    for body in ["", "{", "null]", "{\"rows\":\"A\",\"rows\":\"B\"}", "\u{ff}", &deep] {
        lay(&user, &event_id, "application/json", body).await.problem(400, "malformed_json");
    }
    for body in ["null", "[]", "7"] {
        let problem = lay(&user, &event_id, "application/json", body).await.problem(422, INVALID);
        assert_eq!(problem["errors"][0]["field"], "body");
    }
}

#[tokio::test]
async fn a_wrong_table_names_the_line() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    for (field, table) in [
        ("csv", ""),
        ("line 1: columns", "row,seat\nA,1\n"),
        ("line 1: columns", "row,seat,category,price,x\nA,1,Gold,5,0\n"),
        ("line 2: rows[A].seats[1].price", "row,seat,category,price\nA,1,Gold,\n"),
        ("line 3: rows[A].seats[2].category", "row,seat,category,price\nA,1,Gold,5\nA,2,,\n"),
        ("line 3: rows[A].seats[2].price", "row,seat,category,price\nA,1,Gold,5\nA,2,Gold,6\n"),
        ("line 3: rows[A].seats[1].number", "row,seat,category,price\nA,1,Gold,5\nA,1,Gold,5\n"),
        (
            "line 2: rows[A].seats[1].accessible",
            "row,seat,category,price,accessible\nA,1,G,5,maybe\n",
        ),
        ("line 2: rows[A].seats[\u{0}].number", "row,seat,category,price\nA,\u{0},G,5\n"),
        ("line 2: rows[A].seats[1].csv", "row,seat,category,price\nA,1,G,5,6\n"),
        (
            "line 3: rows[A].seats[2].category",
            "row,seat,category,price\nA,1,G,5\nA,2,a\u{200b}b,5\n",
        ),
        ("line 3: rows[A].seats[2].price", "row;seat;category;price\nA;1;G;5\nA;2;H;-5\n"),
        (
            "line 3: rows[A].seats[2].price",
            "row\tseat\tcategory\tprice\nA\t1\tG\t5\nA\t2\tH\t5,5\n",
        ),
        ("rows", "row,seat,category,price\n"),
    ] {
        let problem = lay(&user, &event_id, "text/csv; charset=utf-8", table).await;
        let problem = problem.problem(422, INVALID);
        assert_eq!(problem["errors"][0]["field"], field, "{table:?}: {problem:#}");
    }
    let broken = lay(&user, &event_id, "text/csv", b"row,seat\xff".to_vec()).await;
    broken.problem(400, "malformed_request");
    let many = (0..150).fold("row,seat,category,price\n".to_owned(), |mut table, _| {
        table.push_str("A,,G,5\n");
        table
    });
    let problem = lay(&user, &event_id, "text/csv", many).await.problem(422, INVALID);
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(100));
    assert_eq!(problem["errors_untold"], 50);
    for media_type in ["text/plain", "application/xml", "multipart/form-data", ""] {
        lay(&user, &event_id, media_type, "{}").await.problem(415, "unsupported_media_type");
    }
    let path = format!("/events/{event_id}/sections/A/blocked");
    let csv = [("Content-Type", "text/csv")];
    let blocked = user.send_bytes(Method::PUT, &path, "A-1", &csv).await;
    blocked.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn new_sections_have_a_capacity_or_a_layout() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let layout = json!({"rows": "A-B", "seats_per_row": 3});
    let full = row(&json!([seat(&json!({}))]));
    let long = json!({
        "rows": [{"label": "A", "seats": vec![seat(&json!({"number": "?"})); 150]}],
        "categories": [{"name": "Gold", "price": 1}],
    });
    for (field, section) in [
        ("capacity", json!({"name": "B"})),
        ("layout", json!({"name": "B", "capacity": 1, "layout": layout})),
        ("price", json!({"name": "B", "price": 1, "layout": full})),
        ("layout", json!({"name": "B", "layout": null})),
        ("layout", json!({"name": "B", "layout": []})),
        ("layout.rows", json!({"name": "B", "layout": {}})),
        ("layout.surprise", json!({"name": "B", "layout": {"rows": "A", "surprise": 1}})),
        ("layout.seats_per_row", json!({"name": "B", "layout": {"rows": "A"}})),
        ("layout.rows[A].seats[?].number", json!({"name": "B", "layout": long})),
    ] {
        let alone = user.post(&format!("/events/{event_id}/sections"), &section).await;
        let alone = alone.problem(422, INVALID);
        assert_eq!(alone["errors"][0]["field"], field, "{section}");
        let among = show(&json!({"sections": [{"name": "A", "capacity": 1}, section]}));
        let among = user.post("/events", &among).await.problem(422, INVALID);
        assert_eq!(among["errors"][0]["field"], format!("sections[1].{field}"), "{section}");
        assert_eq!(alone["errors_untold"], among["errors_untold"]);
    }
    let sections = format!("/events/{event_id}/sections");
    let key = [("Idempotency-Key", "hall")];
    let new = json!({"name": "Hall", "layout": layout, "price": 7});
    let added = user.send(Method::POST, &sections, Some(&new), &key).await;
    let added = added.expect(StatusCode::CREATED);
    assert_eq!((&added["numbered"], &added["capacity"]), (&json!(true), &json!(6)));
    let again = user.send(Method::POST, &sections, Some(&new), &key).await;
    assert!(again.is_replayed());
    assert_eq!(again.body, added);
    let other = json!({"name": "Hall", "layout": {"rows": "A-C", "seats_per_row": 3}, "price": 7});
    let other = user.send(Method::POST, &sections, Some(&other), &key).await;
    other.problem(422, "idempotency_key_reused");
    // A request of a kilobyte makes no million seats.
    let large = |at: u32| {
        let layout = json!({"rows": "1-100", "seats_per_row": 1_000});
        json!({"name": format!("S{at}"), "layout": layout})
    };
    let large = show(&json!({"sections": [large(0), large(1), large(2)]}));
    let large = user.post("/events", &large).await.problem(422, INVALID);
    assert_eq!(large["errors"][0]["field"], "sections[1].layout");
    server.audit();
}

fn table(rows: usize, seats: usize) -> String {
    let mut table = "row,seat,category,price\n".to_owned();
    for row in 0..rows {
        for seat in 0..seats {
            writeln!(table, "R{row},{seat},Gold,1500").expect("memory");
        }
    }
    table
}

#[tokio::test]
async fn a_hundred_thousand_seats_are_imported_drawn_and_blocked_and_not_one_more() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let too_many = format!("{}R0,X,Gold,\n", table(100, 1_000));
    let problem = lay(&user, &event_id, "text/csv", too_many).await.problem(422, INVALID);
    assert_eq!(problem["errors"][0]["field"], "seats");
    let section = lay(&user, &event_id, "text/csv", table(100, 1_000)).await;
    assert_eq!(section.expect(StatusCode::OK)["capacity"], 100_000);
    let drawing = user.get(&format!("/events/{event_id}/sections/A/seats")).await;
    let drawing = drawing.expect(StatusCode::OK);
    assert_eq!(drawing["rows"].as_array().map(Vec::len), Some(100));
    assert_eq!(drawing["seats"], 100_000);

    // The same in JSON, with one more.
    let mut layout = json!({"rows": drawing["rows"], "categories": [{"name": "Gold", "price": 1}]});
    lay_json(&user, &event_id, &layout).await.expect(StatusCode::OK);
    let one = json!({"label": "More", "seats": [seat(&json!({}))]});
    layout["rows"].as_array_mut().expect("a list").push(one);
    let problem = lay_json(&user, &event_id, &layout).await.problem(422, INVALID);
    assert_eq!(problem["errors"][0]["field"], "seats");

    let names: Vec<String> =
        (0..100).flat_map(|row| (0..1_000).map(move |seat| format!("R{row}-{seat}"))).collect();
    let path = format!("/events/{event_id}/sections/A/blocked");
    let all = json!({"seats": names, "reason": "Closed"});
    let blocked = user.send(Method::PUT, &path, Some(&all), &[]).await.expect(StatusCode::OK);
    assert_eq!(blocked["available_seats"], 0);
    let status = user.get(&format!("/events/{event_id}/sections/A/seats/status")).await;
    let status = status.expect(StatusCode::OK);
    assert_eq!(status["blocked"].as_array().map(Vec::len), Some(100_000));
    server.audit();
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_the_others_are_not() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let large = vec![b' '; 16 * 1024 * 1024 + 1];
    let refused = lay(&user, &event_id, "application/json", large.clone()).await;
    refused.problem(413, "body_too_large");
    let path = format!("/events/{event_id}/sections/A/blocked");
    let headers = [("Content-Type", "application/json")];
    let refused = user.send_bytes(Method::PUT, &path, large, &headers).await;
    refused.problem(413, "body_too_large");
    let padded = format!("{}{{\"rows\":\"A\",\"seats_per_row\":2}}", " ".repeat(15 << 20));
    lay(&user, &event_id, "application/json", padded).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn many_imports_at_once_are_done_or_sent_away() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let event_id = user.event(10).await;
    let body = table(50, 1_000);
    let imports: Vec<_> = (0..12)
        .map(|_| {
            let (user, event_id, body) = (user.clone(), event_id.clone(), body.clone());
            tokio::spawn(async move { lay(&user, &event_id, "text/csv", body).await })
        })
        .collect();
    let (mut done, mut busy) = (0, 0);
    for import in imports {
        let answer = import.await.expect("no panic");
        if answer.status == StatusCode::OK {
            done += 1;
        } else {
            answer.problem(503, "overloaded");
            busy += 1;
        }
    }
    assert!(done >= 2 && busy > 0, "{done} were done, {busy} were sent away");
    server.audit();
}

#[tokio::test]
async fn a_seat_that_is_named_twice_is_refused_with_its_field() {
    let server = Server::start(&[]);
    let user = server.user().await;
    let layout = json!({"rows": "A-B", "seats_per_row": 9});
    let event = json!({"title": "Halls", "event_date": "2099-01-01", "sections": [
        {"name": "Hall", "layout": layout}, {"name": "Annex", "layout": layout},
    ]});
    let made = user.post("/events", &event).await.expect(StatusCode::CREATED);
    let event_id = made["event_id"].as_str().expect("an id");
    let of = |section: &str, seats: Value| json!({"section_id": section, "seats": seats});
    let hold = |rest: Value| {
        let mut body = json!({"event_id": event_id});
        body.as_object_mut().expect("one").extend(rest.as_object().expect("one").clone());
        body
    };
    let held = user.post("/bookings/hold", &hold(of("Hall", json!(["B-9"])))).await;
    let held = held.expect(StatusCode::CREATED);
    let booking = format!("/bookings/{}", held["booking_id"].as_str().expect("an id"));
    let respelled = "duplicate seat: a-1 is A-1 in another spelling";
    let (plain, annex) = (json!(["A-1", "a-1"]), of("Annex", json!(["a-1"])));
    let lists = [
        (json!([annex, of("Hall", plain.clone())]), "items[1].seats", respelled),
        (
            json!([of("Hall", json!(["A-1"])), of("hall", json!(["a-1"])), annex]),
            "items[1].seats",
            respelled,
        ),
        (
            json!([annex, of("Hall", json!(["A-1"])), of("Hall", json!(["A-1"]))]),
            "items[2].seats",
            "duplicate seat A-1",
        ),
        // Nobody else has to let go of a seat for that.
        (
            json!([of("Hall", json!(["B-9", "b-9"]))]),
            "items[0].seats",
            "duplicate seat: b-9 is B-9 in another spelling",
        ),
    ];
    let mut wrong = vec![
        (hold(of("Hall", json!(["A-1", "A-1"]))), "seats", "duplicate seat A-1"),
        (hold(of("Hall", plain)), "seats", respelled),
    ];
    wrong.extend(
        lists
            .iter()
            .map(|(items, field, message)| (hold(json!({"items": items})), *field, *message)),
    );
    let told = |field: &str, message: &str| json!([{"field": field, "message": message}]);
    for (body, field, message) in wrong {
        let problem = user.post("/bookings/hold", &body).await.problem(422, INVALID);
        assert_eq!(problem["errors"], told(field, message), "{body}");
    }
    for (items, field, message) in lists {
        let body = json!({"items": items});
        let answer = user.send(Method::PATCH, &booking, Some(&body), &[]).await;
        assert_eq!(answer.problem(422, INVALID)["errors"], told(field, message), "{body}");
    }
    let blocked = format!("/events/{event_id}/sections/Hall/blocked");
    for (seats, field, message) in [
        (json!(["A-1", "A-1"]), "seats[1]", "duplicate seat A-1"),
        (json!(["A-1", "a-1"]), "seats", respelled),
    ] {
        let body = json!({"seats": seats, "reason": "camera"});
        let answer = user.send(Method::PUT, &blocked, Some(&body), &[]).await;
        assert_eq!(answer.problem(422, INVALID)["errors"], told(field, message), "{body}");
    }
    server.audit();
}
