//! Addresses: one form for each, whichever socket it came over.

use crate::support::{Client, Server};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// A server on all addresses, and its port.
fn everywhere(settings: &[(&str, &str)]) -> (Server, String) {
    let server = Server::start(&[&[("HOST", "::")], settings].concat());
    let port = server.url.rsplit(':').next().expect("a port").to_owned();
    (server, port)
}

#[tokio::test]
async fn on_a_socket_for_both_an_ipv4_client_is_itself() {
    let (_server, port) = everywhere(&[]);
    for host in ["127.0.0.1", "[::1]"] {
        let client = Client::of(&format!("http://{host}:{port}")).outside();
        client.get("/metrics").await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_proxy_is_trusted_however_its_address_and_those_it_names_are_written() {
    let on = [("RATE_LIMIT_ENABLED", "true"), ("RATE_LIMIT_LOGINS_PER_MINUTE", "3")];
    for proxies in ["127.0.0.1", "::ffff:127.0.0.0/104"] {
        let settings = [&on[..], &[("TRUSTED_PROXIES", proxies)]].concat();
        let (_server, port) = everywhere(&settings);
        let client = Client::of(&format!("http://127.0.0.1:{port}"));
        let mut number = 0;
        let mut status = async |from: &str| {
            number += 1;
            let email = format!("user{number}@example.com");
            let body = json!({"email": email, "password": "wrong horse battery"});
            let headers = [("X-Forwarded-For", from)];
            client.send(Method::POST, "/auth/login", Some(&body), &headers).await.status.as_u16()
        };
        // One client, written in three ways.
        for from in ["5.5.5.5", "::ffff:5.5.5.5", "[::ffff:5.5.5.5]:4711"] {
            assert_eq!(status(from).await, 401, "{from}");
        }
        for from in ["5.5.5.5", "::ffff:5.5.5.5", "0:0:0:0:0:ffff:505:505"] {
            assert_eq!(status(from).await, 429, "{from}");
        }
        // What a subscriber has of IPv6 is a /64.
        let mut answers = Vec::new();
        for host in 1..=40 {
            answers.push(status(&format!("2001:db8:1:2:{host:x}::{host:x}")).await);
        }
        let tried = answers.iter().filter(|status| **status == 401).count();
        assert_eq!((tried, answers.len()), (3, 40), "{answers:?}");
        assert_eq!(status("2001:db8:1:3::1").await, 401, "another /64");
    }
}
