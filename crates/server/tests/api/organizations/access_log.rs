//! The access log: every change of an organization, in its order, with who did it.

use super::*;

fn entry(entry: &Value) -> Value {
    let of = |name: &str| entry[name].clone();
    json!([of("action"), entry["actor"]["user_id"], of("target"), of("before"), of("after")])
}

#[tokio::test]
async fn every_change_is_told_in_its_order_with_what_was_and_what_is() {
    let server = Server::start(&[]);
    let (owner, eva) = (server.user().await, server.user().await);
    let named = async |client: &Client, method: Method, path: &str, body: &Value, name: &str| {
        client.send(method, path, Some(body), &[("X-Request-Id", name)]).await
    };
    let team = named(&owner, Method::POST, "/organizations", &json!({"name": "Old"}), "r-1").await;
    let team = team.expect(StatusCode::CREATED);
    let org = team["organization_id"].as_str().expect("an id");
    let name = json!({"name": "New"});
    named(&owner, Method::PATCH, &at(org, ""), &name, "r-2").await.expect(OK);
    // What is so already leaves no entry.
    named(&owner, Method::PATCH, &at(org, ""), &name, "r-x").await.expect(OK);
    let body = json!({"email": email(&eva).await, "role": "analyst"});
    let invite = async |name: &str| {
        let made = named(&owner, Method::POST, &at(org, "/invitations"), &body, name).await;
        made.expect(StatusCode::CREATED)
    };
    let (first, second) = (invite("r-3").await, invite("r-4").await);
    let token = json!({"token": second["token"]});
    named(&eva, Method::POST, "/invitations/accept", &token, "r-5").await.expect(OK);
    named(&eva, Method::POST, "/invitations/accept", &token, "r-x").await.expect(OK);
    let member = at(org, &format!("/members/{}", id(&eva)));
    let change = json!({"role": "manager"});
    named(&owner, Method::PATCH, &member, &change, "r-6").await.expect(OK);
    named(&owner, Method::PATCH, &member, &change, "r-x").await.expect(OK);
    let body = json!({"email": "other@example.com", "role": "check_in"});
    let third = named(&eva, Method::POST, &at(org, "/invitations"), &body, "r-7").await;
    let third = third.expect(StatusCode::CREATED)["invitation_id"].clone();
    let path = at(org, &format!("/invitations/{}", third.as_str().expect("an id")));
    let revoked = owner.send(Method::DELETE, &path, None, &[("X-Request-Id", "r-8")]).await;
    revoked.expect(StatusCode::NO_CONTENT);
    let heir = json!({"user_id": id(&eva), "password": PASSWORD});
    named(&owner, Method::POST, &at(org, "/transfer"), &heir, "r-9").await.expect(OK);
    let left = at(org, "/members/me");
    let left = owner.send(Method::DELETE, &left, None, &[("X-Request-Id", "r-10")]).await;
    left.expect(StatusCode::NO_CONTENT);
    // What is refused leaves none.
    owner.patch(&at(org, ""), &json!({"name": "Mine"})).await.problem(404, "not_found");

    let log = eva.get(&at(org, "/log")).await;
    assert_eq!(log.headers["cache-control"], "no-store");
    let log = log.expect(OK);
    assert_eq!(log["next"], Value::Null);
    let items = log["items"].as_array().expect("a list");
    let access = |role: &str| json!({"role": role, "events": null});
    let (ada, eve) = (id(&owner), id(&eva));
    let expected = [
        json!(["org_created", ada, null, null, {"name": "Old"}]),
        json!(["org_renamed", ada, null, {"name": "Old"}, {"name": "New"}]),
        json!(["invitation_created", ada, first["invitation_id"], null, access("analyst")]),
        json!(["invitation_created", ada, second["invitation_id"], null, access("analyst")]),
        json!(["member_added", eve, eve, null, access("analyst")]),
        json!(["member_changed", ada, eve, access("analyst"), access("manager")]),
        json!(["invitation_created", eve, third, null, access("check_in")]),
        json!(["invitation_revoked", ada, third, access("check_in"), null]),
        json!(["org_handed_over", ada, eve, access("manager"), access("owner")]),
        json!(["member_removed", ada, ada, access("manager"), null]),
    ];
    let told: Vec<_> = items.iter().map(entry).collect();
    assert_eq!(told, expected);
    let requests: Vec<_> = items.iter().map(|of| of["request_id"].clone()).collect();
    let sent: Vec<_> = (1..=10).map(|number| json!(format!("r-{number}"))).collect();
    assert_eq!(requests, sent);
    assert!(items.iter().all(|of| of["actor"]["kind"] == "user"));
    let seqs: Vec<_> = items.iter().map(|of| of["seq"].as_i64().expect("a number")).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    let times: Vec<_> = items.iter().map(|of| of["at"].as_str().expect("an instant")).collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    let members = items[0].as_object().expect("an object");
    assert_eq!(members.len(), 9, "{members:?}");
    server.audit();
}

#[tokio::test]
async fn a_log_is_filtered_and_comes_page_by_page() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let org = team(&owner, "Team").await;
    let manager = joined(&server, &owner, &org, &json!({"role": "manager"})).await;
    for number in 0..5 {
        let by = if number % 2 == 0 { &owner } else { &manager };
        invited(by, &org, &format!("{number}@example.com"), &json!({"role": "analyst"})).await;
    }
    // Another organization has a log of its own.
    team(&owner, "Other").await;
    let path = at(&org, "/log");
    let whole = owner.all(&path).await;
    assert_eq!(whole.len(), 8);
    for limit in [1, 3, 4, 8] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = owner.get(&format!("{path}?limit={limit}{after}")).await.expect(OK);
            found.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
            assert!(found.len() < 8 || page["items"] != json!([]), "it goes on for ever");
        }
        assert_eq!(found, whole, "by {limit}");
    }
    let actions = async |filter: &str| -> Vec<String> {
        let found = owner.all(&format!("{path}?{filter}")).await;
        found.iter().map(|of| of["action"].as_str().expect("a word").to_owned()).collect()
    };
    let by_manager = format!("actor={}", id(&manager));
    let created = "invitation_created";
    assert_eq!(actions(&by_manager).await, ["member_added", created, created]);
    assert_eq!(actions(&format!("{by_manager}&action={created}")).await, [created; 2]);
    assert_eq!(actions("action=org_created").await, ["org_created"]);
    assert_eq!(actions("action=").await.len(), 8, "an empty one is none");
    assert!(actions(&format!("actor={UNKNOWN}")).await.is_empty());
    let last = whole[7]["seq"].as_i64().expect("a number");
    let beyond = owner.get(&format!("{path}?after={last}")).await.expect(OK);
    assert_eq!(beyond, json!({"items": [], "next": null}));
    for (query, field) in [
        ("actor=me", "actor"),
        ("action=renamed", "action"),
        ("after=none", "after"),
        ("after=-1", "after"),
        ("after=%2B1", "after"),
        ("after=1234567890123456789", "after"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("before=1", "before"),
    ] {
        invalid(owner.get(&format!("{path}?{query}")).await, field);
    }
}

#[tokio::test]
async fn a_request_without_an_id_is_told_by_the_one_it_was_given() {
    let server = Server::start(&[]);
    let owner = server.user().await;
    let answer = owner.patch("/organizations/me", &json!({"name": "Ann's"})).await;
    let given = answer.headers["x-request-id"].to_str().expect("text").to_owned();
    answer.expect(OK);
    let log = owner.get("/organizations/me/log").await.expect(OK);
    assert_eq!(log["items"][0]["request_id"], given.as_str());
    assert_eq!(entry(&log["items"][0])[0], "org_renamed");
}
