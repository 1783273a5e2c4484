//! What the members of a team may do at its events (I13), and what others see of them.

use super::organizations::{SECRET, foreign};
use crate::support::{Answer, Client, Server, eventually, hold_body, show};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A team with a member of each role, and a stranger.
struct Team {
    server: Server,
    org_id: String,
    owner: Client,
    manager: Client,
    box_office: Client,
    analyst: Client,
    check_in: Client,
    stranger: Client,
}

/// A new member of an organization.
async fn joined(owner: &Client, org_id: &str, role: &str, events: Option<&[&str]>) -> Client {
    let member = owner.sign_up().await;
    let me = member.get("/users/me").await.expect(StatusCode::OK);
    let mut invitation = json!({"email": me["email"], "role": role});
    if let Some(events) = events {
        invitation["events"] = json!(events);
    }
    let path = format!("/organizations/{org_id}/invitations");
    let made = owner.post(&path, &invitation).await.expect(StatusCode::CREATED);
    let accept = json!({"token": made["token"]});
    member.post("/invitations/accept", &accept).await.expect(StatusCode::OK);
    member
}

impl Team {
    async fn start() -> Self {
        let server = Server::start(&[]);
        let owner = server.user().await;
        let made = owner.post("/organizations", &json!({"name": "Troupe"})).await;
        let made = made.expect(StatusCode::CREATED);
        let org_id = made["organization_id"].as_str().expect("an id").to_owned();
        let member = async |role| joined(&owner, &org_id, role, None).await;
        Self {
            manager: member("manager").await,
            box_office: member("box_office").await,
            analyst: member("analyst").await,
            check_in: member("check_in").await,
            stranger: server.user().await,
            owner,
            org_id,
            server,
        }
    }

    fn everybody(&self) -> [(&'static str, &Client); 6] {
        [
            ("owner", &self.owner),
            ("manager", &self.manager),
            ("box_office", &self.box_office),
            ("analyst", &self.analyst),
            ("check_in", &self.check_in),
            ("stranger", &self.stranger),
        ]
    }

    fn show(&self, status: &str) -> Value {
        show(&json!({"organization_id": self.org_id, "status": status}))
    }
}

/// What each of [`Team::everybody`] is answered: its status, and the code of its problem.
#[track_caller]
fn told(what: &str, answers: &[(&str, Answer)], expected: [&str; 6]) {
    let told: Vec<_> = answers.iter().map(|(who, answer)| (*who, answer.short())).collect();
    for ((who, short), expected) in told.iter().zip(expected) {
        assert_eq!(short.trim_end(), expected, "{what} by {who}: {told:#?}");
    }
}

/// Lets each of them do it.
async fn by_each(
    team: &Team,
    mut does: impl AsyncFnMut(&Client) -> Answer,
) -> Vec<(&'static str, Answer)> {
    let mut answers = Vec::new();
    for (who, client) in team.everybody() {
        answers.push((who, does(client).await));
    }
    answers
}

const OUTSIDER: &str = "403 not_organizer";
const LACKS: &str = "403 permission_missing";
const HIDDEN: &str = "404 not_found";

#[tokio::test]
async fn i13_members_may_what_their_roles_say_at_the_events_of_their_team() {
    let team = Team::start().await;
    let new = team.show("on_sale");
    let made = by_each(&team, async |who| who.post("/events", &new).await).await;
    told("create", &made, ["201", "201", LACKS, LACKS, LACKS, HIDDEN]);
    let event = made[1].1.body.clone();
    assert_eq!(event["organizer_id"], json!(team.org_id));
    let event_id = event["event_id"].as_str().expect("an id");
    let path = format!("/events/{event_id}");

    let title = json!({"title": "Another"});
    let revised = by_each(&team, async |who| who.patch(&path, &title).await).await;
    told("revise", &revised, ["200", "200", LACKS, LACKS, LACKS, OUTSIDER]);
    let zone = json!({"timezone": "Asia/Tokyo"});
    let revised = by_each(&team, async |who| who.patch(&path, &zone).await).await;
    told("revise by what it is", &revised, ["200", "200", LACKS, LACKS, LACKS, OUTSIDER]);

    let (mut number, sections) = (0, format!("{path}/sections"));
    let added = by_each(&team, async |who| {
        number += 1;
        who.post(&sections, &json!({"name": format!("B{number}"), "capacity": 1})).await
    });
    told("add a section", &added.await, ["201", "201", LACKS, LACKS, LACKS, OUTSIDER]);
    let section = format!("{path}/sections/A");
    let more = json!({"capacity": 12});
    let resized = by_each(&team, async |who| who.patch(&section, &more).await).await;
    told("resize", &resized, ["200", "200", LACKS, LACKS, LACKS, OUTSIDER]);

    let (block, blocked) = (json!({"number": 2, "reason": "sound"}), format!("{section}/blocked"));
    let kept = by_each(&team, async |who| who.send(Method::PUT, &blocked, Some(&block), &[]).await);
    told("block", &kept.await, ["200", "200", "200", LACKS, LACKS, OUTSIDER]);
    let (layout, seats) =
        (json!({"rows": [{"label": "A", "seats": 3}]}), format!("{path}/sections/B1/seats"));
    let laid = by_each(&team, async |who| who.send(Method::PUT, &seats, Some(&layout), &[]).await);
    let laid = laid.await;
    for (who, answer) in &laid[2..] {
        let expected = if *who == "stranger" { OUTSIDER } else { LACKS };
        assert_eq!(answer.short(), expected, "lay by {who}");
    }

    let counters = by_each(&team, async |who| who.get(&format!("{path}/availability")).await).await;
    for (who, answer) in &counters {
        let sees = answer.body["sections"][0]["held_seats"].is_i64();
        assert_eq!(sees, *who != "stranger", "counters by {who}");
    }
    let called_off = by_each(&team, async |who| who.post_empty(&format!("{path}/cancel")).await);
    told("call off", &called_off.await, ["200", "200", LACKS, LACKS, LACKS, OUTSIDER]);
}

#[tokio::test]
async fn a_draft_of_a_team_is_there_for_its_members_alone() {
    let team = Team::start().await;
    let draft = team.manager.event_with(&team.show("draft")).await;
    let path = format!("/events/{draft}");
    let all = ["200", "200", "200", "200", "200", HIDDEN];
    for path in [path.clone(), format!("{path}/availability"), format!("{path}/sections/A")] {
        let read = by_each(&team, async |who| who.get(&path).await).await;
        told(&path, &read, all);
    }
    let nobody = Client::of(&team.server.url);
    nobody.get(&path).await.problem(404, "not_found");
    let hold = hold_body(&draft, 1);
    let held = by_each(&team, async |who| who.post("/bookings/hold", &hold).await).await;
    let closed = "409 sale_not_open";
    told("hold", &held, [closed, closed, closed, closed, closed, HIDDEN]);
    for (who, client) in team.everybody() {
        for list in ["/events", "/events?organizer=me"] {
            let listed = client.all(list).await;
            let is_there = listed.iter().any(|event| event["event_id"] == json!(draft));
            assert_eq!(is_there, who != "stranger", "{list} by {who}");
        }
        let own = client.event(1).await;
        let mine = client.all("/events?organizer=me").await;
        assert!(mine.iter().any(|event| event["event_id"] == json!(own)), "{who}'s own event");
        let of_team = client.all(&format!("/events?organization_id={}", team.org_id)).await;
        assert_eq!(of_team.len(), usize::from(who != "stranger"), "events of the team by {who}");
    }
}

#[tokio::test]
async fn bookings_at_events_of_a_team_are_read_and_cancelled_by_those_who_may() {
    let team = Team::start().await;
    let event = team.owner.event_with(&team.show("on_sale")).await;
    let buyer = team.server.user().await;
    let sold = buyer.held(&event, 2).await;
    buyer.step(&sold, "confirm").await.expect(StatusCode::OK);

    let path = format!("/bookings/{sold}");
    let read = by_each(&team, async |who| who.get(&path).await).await;
    told("read", &read, ["200", "200", "200", "200", HIDDEN, HIDDEN]);
    let list = format!("/events/{event}/bookings");
    let listed = by_each(&team, async |who| who.get(&list).await).await;
    told("list", &listed, ["200", "200", "200", "200", LACKS, OUTSIDER]);
    let (analyst, door, stranger) = (&team.analyst, &team.check_in, &team.stranger);
    for (client, expected) in [(analyst, LACKS), (door, HIDDEN), (stranger, HIDDEN)] {
        assert_eq!(client.step(&sold, "cancel").await.short(), expected);
        for step in ["confirm", "extend"] {
            assert_eq!(client.step(&sold, step).await.short(), expected);
        }
    }
    assert_eq!(buyer.step(&sold, "cancel").await.short(), "409 not_cancellable");
    let cancelled = team.box_office.step(&sold, "cancel").await.expect(StatusCode::OK);
    assert_eq!(cancelled["status"], "CANCELLED");
    assert_eq!(team.owner.seats(&event).await, (10, 0, 0));

    // Who works at the box office may undo a sale of their own, too.
    let own = team.box_office.held(&event, 1).await;
    team.box_office.step(&own, "confirm").await.expect(StatusCode::OK);
    let undone = team.box_office.step(&own, "cancel").await.expect(StatusCode::OK);
    assert_eq!(undone["status"], "CANCELLED");
    for buyer in [&team.check_in, &team.analyst] {
        let own = buyer.held(&event, 1).await;
        buyer.step(&own, "confirm").await.expect(StatusCode::OK);
        assert_eq!(buyer.step(&own, "cancel").await.short(), "409 not_cancellable");
    }
}

#[tokio::test]
async fn a_confined_member_acts_at_those_events_alone() {
    let team = Team::start().await;
    let here = team.owner.event_with(&team.show("draft")).await;
    let there = team.owner.event_with(&team.show("draft")).await;
    let public = team.owner.event_with(&team.show("on_sale")).await;
    let confined = joined(&team.owner, &team.org_id, "manager", Some(&[&here])).await;
    let title = json!({"title": "Another"});
    let revise = async |event: &str| confined.patch(&format!("/events/{event}"), &title).await;
    revise(&here).await.expect(StatusCode::OK);
    assert_eq!(revise(&there).await.short(), HIDDEN);
    assert_eq!(revise(&public).await.short(), LACKS);
    assert_eq!(confined.post("/events", &team.show("draft")).await.short(), LACKS);
    let mine = confined.all("/events?organizer=me").await;
    let mine: Vec<_> = mine.iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(mine, [json!(here)]);
    let counters = confined.get(&format!("/events/{public}/availability")).await;
    assert!(counters.body["sections"][0]["held_seats"].is_null(), "{:#}", counters.body);
}

#[tokio::test]
async fn series_of_a_team_are_its_members_and_take_its_events_only() {
    let team = Team::start().await;
    let new = json!({"title": "Season", "organization_id": team.org_id});
    let made = by_each(&team, async |who| who.post("/series", &new).await).await;
    told("create", &made, ["201", "201", LACKS, LACKS, LACKS, HIDDEN]);
    let series_id = made[0].1.body["series_id"].as_str().expect("an id").to_owned();
    let path = format!("/series/{series_id}");
    let read = by_each(&team, async |who| who.get(&path).await).await;
    told("read", &read, ["200", "200", "200", "200", "200", HIDDEN]);
    let list = format!("/series?organization_id={}", team.org_id);
    let listed = by_each(&team, async |who| who.get(&list).await).await;
    told("list", &listed, ["200", "200", "200", "200", "200", HIDDEN]);
    assert_eq!(listed[3].1.body["items"].as_array().expect("a list").len(), 2);
    assert!(team.owner.all("/series").await.is_empty(), "the own ones are others");
    let renamed = by_each(&team, async |who| who.patch(&path, &json!({"title": "Next"})).await);
    told("rename", &renamed.await, ["200", "200", LACKS, LACKS, LACKS, HIDDEN]);

    let key = [("Idempotency-Key", "season")];
    let keyed = team.manager.send(Method::POST, "/series", Some(&new), &key).await;
    keyed.expect(StatusCode::CREATED);

    let of = |org: &str| show(&json!({"organization_id": org, "series_id": series_id}));
    let inside = team.manager.event_with(&of(&team.org_id)).await;
    let event = team.stranger.get(&format!("/events/{inside}")).await.expect(StatusCode::OK);
    assert_eq!(event["series_id"], json!(series_id));
    let personal = of(team.owner.user_id.as_deref().expect("an id"));
    team.owner.post("/events", &personal).await.problem(404, "not_found");

    // A key does not show somebody who has left what has become of it.
    let manager = team.manager.user_id.as_deref().expect("an id");
    let member = format!("/organizations/{}/members/{manager}", team.org_id);
    team.owner.send(Method::DELETE, &member, None, &[]).await.expect(StatusCode::NO_CONTENT);
    eventually("the manager is none any more", async || {
        team.manager.get(&path).await.status == StatusCode::NOT_FOUND
    })
    .await;
    let again = team.manager.send(Method::POST, "/series", Some(&new), &key).await;
    again.problem(404, "not_found");
}

#[tokio::test]
async fn a_right_that_was_withdrawn_serves_nobody_a_second_later() {
    let team = Team::start().await;
    let event = team.owner.event_with(&team.show("on_sale")).await;
    let path = format!("/events/{event}");
    let manager = team.manager.user_id.clone().expect("an id");
    let member = format!("/organizations/{}/members/{manager}", team.org_id);
    for (change, lacks) in [(Some("analyst"), LACKS), (Some("manager"), "200"), (None, OUTSIDER)] {
        // In use, so that it is known.
        for _ in 0..3 {
            team.manager.patch(&path, &json!({"title": "In use"})).await;
        }
        let changed = match change {
            Some(role) => team.owner.patch(&member, &json!({"role": role})).await.status,
            None => team.owner.send(Method::DELETE, &member, None, &[]).await.status,
        };
        assert!(changed.is_success(), "{changed}");
        let begun = Instant::now();
        let mut number = 0;
        eventually("the right is another", async || {
            number += 1;
            let title = json!({"title": format!("Title {number}")});
            let asked = begun.elapsed();
            let answer = team.manager.patch(&path, &title).await;
            let is_so = answer.short().trim_end() == lacks;
            assert!(is_so || asked < Duration::from_secs(1), "{asked:?}: {}", answer.short());
            is_so
        })
        .await;
    }
    assert_eq!(team.owner.post("/events", &team.show("draft")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_event_of_an_organization_that_is_not_there_is_refused() {
    let team = Team::start().await;
    let other = team.stranger.user_id.clone().expect("an id");
    let unknown = "fedcba98-7654-8321-8fed-cba987654321".to_owned();
    for org in [&other, &unknown] {
        let answer = team.owner.post("/events", &show(&json!({"organization_id": org}))).await;
        let problem = answer.problem(404, "not_found");
        assert!(problem["detail"].as_str().expect("text").contains("organization"), "{problem:#}");
    }
    for bad in [json!("me too"), json!(7), json!("")] {
        let answer = team.owner.post("/events", &show(&json!({"organization_id": bad}))).await;
        let status = answer.status.as_u16();
        assert!(matches!(status, 400 | 422), "{bad}: {:#}", answer.body);
    }
    let own = team.owner.user_id.clone().expect("an id");
    let own = show(&json!({"organization_id": own.to_uppercase()}));
    let key = [("Idempotency-Key", "once")];
    let made = team.owner.send(Method::POST, "/events", Some(&own), &key).await;
    let made = made.expect(StatusCode::CREATED);
    assert_eq!(made["organizer_id"], json!(team.owner.user_id));
    let without = show(&json!({}));
    let again = team.owner.send(Method::POST, "/events", Some(&without), &key).await;
    assert!(again.is_replayed(), "the own organization means the same as none: {again:?}");
    let owner = team.owner.user_id.as_deref().expect("an id");
    let other = show(&json!({"organization_id": team.org_id}));
    let other = team.owner.send(Method::POST, "/events", Some(&other), &key).await;
    assert_eq!(other.short(), "422 idempotency_key_reused", "of {owner}");
}

#[tokio::test]
async fn i13_a_foreign_token_with_the_id_of_a_team_sees_and_changes_nothing_of_it() {
    let server = Server::start(&[("SECRET_KEY", SECRET)]);
    let owner = server.user().await;
    let made = owner.post("/organizations", &json!({"name": "Troupe"})).await;
    let org_id = made.expect(StatusCode::CREATED)["organization_id"].clone();
    let draft = show(&json!({"organization_id": org_id, "status": "draft"}));
    let draft = owner.event_with(&draft).await;
    let series = json!({"title": "Season", "organization_id": org_id});
    owner.post("/series", &series).await.expect(StatusCode::CREATED);
    let namesake = foreign(&server, org_id.as_str().expect("an id"));
    for path in [
        "/series".to_owned(),
        format!("/series?organization_id={}", org_id.as_str().expect("an id")),
        format!("/events/{draft}"),
        format!("/events/{draft}/availability"),
    ] {
        namesake.get(&path).await.problem(404, "not_found");
    }
    for list in ["/events", "/events?organizer=me"] {
        assert!(namesake.all(list).await.is_empty(), "{list}");
    }
    for (path, body) in [("/events", show(&json!({}))), ("/series", json!({"title": "Mine"}))] {
        namesake.post(path, &body).await.problem(404, "not_found");
    }
    let title = json!({"title": "Mine"});
    namesake.patch(&format!("/events/{draft}"), &title).await.problem(404, "not_found");
    namesake.hold(&draft, 1).await.problem(404, "not_found");
}
