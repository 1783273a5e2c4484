//! Pages for people: the root, and what each code of a problem means.

use crate::support::{Answer, Client, Server};
use reqwest::{Method, StatusCode};
use serde_json::json;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn accepting(client: &Client, path: &str, accept: &str) -> Answer {
    client.send(Method::GET, path, None, &[("Accept", accept)]).await
}

/// Checks that this is a page that needs nothing else, and gives its text.
#[track_caller]
fn page(answer: Answer) -> String {
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(answer.headers["vary"], "accept");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let policy = answer.headers["content-security-policy"].to_str().expect("text").to_owned();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "style-src 'sha256-"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = answer.expect(StatusCode::OK).as_str().expect("a page").to_owned();
    for outside in ["<script", "<img", "<link", "http:", "https:", "src="] {
        assert!(!page.contains(outside), "{outside} in {page}");
    }
    page
}

#[tokio::test]
async fn the_root_is_a_page_for_browsers_and_json_for_others() {
    let server = Server::start(&[("APP_NAME", "Box <b>Office</b>"), ("APP_VERSION", "9.8.7")]);
    let client = server.client().outside();
    let text = page(accepting(&client, "/", BROWSER).await);
    assert!(text.contains("Box &lt;b&gt;Office&lt;/b&gt;") && !text.contains("<b>"), "{text}");
    assert!(text.contains("9.8.7") && text.contains("href=\"/docs\""), "{text}");
    for accept in ["*/*", "application/json"] {
        let answer = accepting(&client, "/", accept).await;
        assert_eq!(answer.headers["vary"], "accept");
        assert_eq!(answer.expect(StatusCode::OK)["version"], "9.8.7", "{accept}");
    }
}

#[tokio::test]
async fn every_code_of_the_table_is_explained_where_its_type_leads() {
    let server = Server::start(&[]);
    let client = server.client().outside();
    let document = include_str!("../../../../docs/HTTP.md");
    let (_, table) = document.split_once("| status | code |").expect("the table");
    let mut codes = 0;
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (status, code) = (cells[0], cells[1].trim_matches('`'));
        let path = format!("/problems/{code}");
        let told = client.get(&path).await.expect(StatusCode::OK);
        assert_eq!((&told["code"], told["status"].to_string()), (&json!(code), status.to_owned()));
        assert_eq!(told["type"], path);
        let variants = told["variants"].as_array().expect("a list");
        let is_told =
            |it: &serde_json::Value| it["members"] == cells[2] && it["advice"] == cells[3];
        assert!(variants.iter().any(is_told), "{code}: {told:#}");
        let text = page(accepting(&client, &path, BROWSER).await);
        assert!(text.contains(code) && text.contains(status), "{text}");
        codes += 1;
    }
    assert!(codes > 35, "{codes}");
    for path in
        ["/problems/nothing", "/problems/NOT_FOUND", "/problems/%00", "/problems/", "/problems"]
    {
        accepting(&client, path, BROWSER).await.problem(404, "not_found");
    }
    // The type of a problem that was met leads to its row.
    let met = server.client().get("/users/me").await.problem(401, "unauthorized");
    let kind = met["type"].as_str().expect("a path");
    assert_eq!(client.get(kind).await.expect(StatusCode::OK)["status"], 401);
}
