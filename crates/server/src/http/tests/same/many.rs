//! Thousands of requests by chance, over connections that are kept: alone, cut into pieces, and
//! several at once.

use super::cases::{Case, Dice, Known, OWN, case};
use super::*;
use std::time::{Duration, Instant};

/// Requests by chance.
const CASES: usize = 6_000;
/// Connections to each server.
const WORKERS: usize = 24;

/// A connection that is kept for as long as the server keeps it.
struct Talk {
    address: SocketAddr,
    /// The letter that is put for [`OWN`].
    own: u8,
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

impl Talk {
    fn new(address: SocketAddr, own: u8) -> Self {
        Self { address, own, stream: None, read: Vec::new() }
    }

    /// Sends requests at once, each cut into its pieces, and hears the answers. After one that ends
    /// the connection the others have none.
    async fn ask(&mut self, cases: &[Case]) -> Vec<Heard> {
        let is_kept = self.stream.is_some();
        let answers = self.ask_once(cases).await;
        // The server may have ended it after the last answer, as it may at any time.
        if answers.is_empty() && is_kept { self.ask_once(cases).await } else { answers }
    }

    async fn ask_once(&mut self, cases: &[Case]) -> Vec<Heard> {
        if self.stream.is_none() {
            self.read.clear();
            let stream = TcpStream::connect(self.address).await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            self.stream = Some(stream);
        }
        let mut bytes = Vec::new();
        let mut pieces = Vec::new();
        for case in cases {
            pieces.extend(case.cuts.iter().map(|at| bytes.len() + at));
            bytes.extend_from_slice(&case.bytes);
        }
        bytes.iter_mut().filter(|byte| **byte == OWN).for_each(|byte| *byte = self.own);
        let stream = self.stream.as_mut().expect("it is open");
        let mut sent = 0;
        for at in pieces {
            // A server may have closed by now; what it said before is still there to be read.
            let _ = stream.write_all(&bytes[sent..at]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            sent = at;
        }
        let _ = stream.write_all(&bytes[sent..]).await;
        let mut answers = Vec::new();
        for case in cases {
            let Some(heard) = self.hear(case.is_head).await else {
                self.stream = None;
                break;
            };
            let ends = heard.lines.iter().any(|line| line == "connection: close");
            answers.push(heard);
            if ends {
                self.stream = None;
                break;
            }
        }
        answers
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> bool {
        let stream = self.stream.as_mut().expect("it is open");
        let read = stream.read_buf(&mut self.read);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        read.expect("an answer in time").is_ok_and(|read| read > 0)
    }

    /// The next answer, if one comes.
    async fn hear(&mut self, is_head: bool) -> Option<Heard> {
        let end = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end,
                None if self.more().await => {}
                None => {
                    let rest = String::from_utf8_lossy(&self.read);
                    assert!(rest.is_empty(), "half an answer: {rest}");
                    return None;
                }
            }
        };
        let head = self.read.drain(..end + 4).collect::<Vec<_>>();
        let mut heard = Heard::new(&head);
        let length = heard.lines.iter().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        let length = if is_head { 0 } else { length };
        while self.read.len() < length {
            assert!(self.more().await, "half an answer: {heard:?}");
        }
        heard.body = self.read.drain(..length).collect();
        Some(heard)
    }
}

/// An answer without what may differ between two of one request: ids, times, and how many seats are
/// left while others hold some.
fn alike(mut heard: Heard) -> Heard {
    const IDS_AND_TIMES: [&str; 9] = [
        "booking_id",
        "reference",
        "created_at",
        "updated_at",
        "expires_at",
        "max_expires_at",
        "confirmed_at",
        "server_time",
        "expires_in",
    ];
    if heard.code() < 300 {
        heard.body = masked_members(&heard.body, &IDS_AND_TIMES);
        heard.lines.iter_mut().filter(|line| line.starts_with("location: ")).for_each(|line| {
            line.truncate(line.rfind('/').expect("a path"));
        });
    }
    // How many seats are left, and who refuses, the door or the store, changes from one to the other. The
    // door knows nothing of how many seats a booking may have, so it says of too many that there are fewer.
    if heard.code() == 409 {
        heard.lines.retain(|line| !line.starts_with("content-length: "));
        let code = heard.json()["code"].clone();
        let code = if code == "too_many_seats" { json!("sold_out") } else { code };
        heard.body = json!({"code": code}).to_string().into_bytes();
    }
    heard
}

async fn known(both: &Both) -> Known {
    let counted = json!([{"name": "A", "capacity": 1_000_000}]);
    let counted = both.event(json!({"sections": counted})).await;
    let layout = json!([{"name": "A", "layout": {"rows": "A", "seats_per_row": 5}}]);
    let numbered = both.event(json!({"sections": layout})).await;
    both.once("POST", HOLD, &hold(&numbered, 5)).await;
    let quiet = both.event(json!({})).await;
    let read = both.once("GET", &format!("/api/v1/events/{counted}"), "").await;
    let section_id = read["sections"][0]["section_id"].as_str().expect("an id").to_owned();
    let mut bookings = Vec::new();
    for at in 0..20 {
        let booking_id = both.held(&counted).await;
        if at % 4 == 0 {
            both.once("POST", &format!("/api/v1/bookings/{booking_id}/cancel"), "").await;
        }
        bookings.push(booking_id);
    }
    let events = [counted, numbered];
    Known { authorization: both.authorization.clone(), events, quiet, section_id, bookings }
}

/// Compares both servers for `cases` requests; returns how often each answer was seen.
async fn compare(addresses: [SocketAddr; 2], known: &Known, cases: usize) -> Vec<(u16, String)> {
    let mut dice = Dice::new();
    let [mut short, mut long] = [Talk::new(addresses[0], b's'), Talk::new(addresses[1], b'l')];
    let (mut seen, mut done) = (Vec::new(), 0);
    while done < cases {
        let at_once = if dice.once_in(4) { 2 + dice.below(3) } else { 1 };
        let cases: Vec<_> = (0..at_once).map(|_| case(known, &mut dice)).collect();
        done += at_once;
        let (one, other) = (short.ask(&cases).await, long.ask(&cases).await);
        let sent = || -> String {
            cases.iter().map(|case| String::from_utf8_lossy(&case.bytes).into_owned()).collect()
        };
        assert!(!one.is_empty() && !other.is_empty(), "{}", sent());
        // A body that nobody reads ends the connection, unless all of it has come by then: so one
        // may have said more than the other of requests that were sent at once.
        for (one, other) in one.into_iter().zip(other) {
            let (one, other) = (alike(one), alike(other));
            assert_eq!(one, other, "{}", sent());
            let code = one.json()["code"].as_str().unwrap_or_default().to_owned();
            seen.push((one.code(), code));
        }
    }
    seen
}

#[tokio::test]
async fn thousands_of_requests_by_chance_get_the_same_bytes_from_both() {
    let world = World::new().await;
    let settings =
        [("RATE_LIMIT_ENABLED", "false"), ("MAX_BODY_BYTES", "1024"), ("ALLOWED_ORIGINS", SHOP.1)];
    let both = Both::new(&world, &settings).await;
    let known = known(&both).await;
    let begun = Instant::now();
    let addresses = [both.short, both.long];
    let workers = (0..WORKERS).map(|_| compare(addresses, &known, CASES / WORKERS));
    let seen = futures_util::future::join_all(workers).await.concat();
    let codes: BTreeSet<_> = seen.iter().collect();
    // What chance must have led to; else it no longer tries what it is for.
    for (status, code) in [
        (200, ""),
        (201, ""),
        (304, ""),
        (400, "malformed_json"),
        (400, "malformed_request"),
        (401, "unauthorized"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (409, "seats_unavailable"),
        (409, "sold_out"),
        (413, "body_too_large"),
        (415, "unsupported_media_type"),
        (422, "validation_failed"),
        (431, "headers_too_large"),
    ] {
        assert!(codes.contains(&(status, code.to_owned())), "{status} {code} of {codes:?}");
    }
    assert!(seen.len() * 10 > CASES * 9, "{} answers", seen.len());
    let of = |code: &(u16, String)| seen.iter().filter(|seen| *seen == code).count();
    let counts: Vec<_> = codes.iter().map(|code| (of(code), *code)).collect();
    assert!(of(&(201, String::new())) * 20 > seen.len(), "{counts:?}");
    println!("{} answers in {:?}: {counts:?}", seen.len(), begun.elapsed());
    both.stop.cancel();
}

#[tokio::test]
async fn the_comparison_sees_every_byte_but_those_of_ids_and_times() {
    let world = World::new().await;
    let both = Both::new(&world, &[("RATE_LIMIT_ENABLED", "false")]).await;
    let event_id = both.event(json!({})).await;
    let headers = [("Authorization", both.authorization.as_str()), JSON];
    let held = request("POST", HOLD, &headers, &hold(&event_id, 1));
    let mut talk = Talk::new(both.short, b's');
    let case = Case { bytes: held.into_bytes(), cuts: Vec::new(), is_head: false };
    let heard = talk.ask(&[case]).await.remove(0);
    let changed = |at: usize| {
        let mut heard = Heard { body: heard.body.clone(), ..Heard::new(b"HTTP/1.1 201 x\r\n\r\n") };
        heard.body[at] ^= 4;
        alike(heard).body
    };
    let told = alike(Heard { body: heard.body.clone(), ..Heard::new(b"HTTP/1.1 201 x\r\n\r\n") });
    let unseen = (0..heard.body.len()).filter(|at| changed(*at) == told.body).count();
    // Two ids and six times, and no quote around them.
    assert_eq!(unseen, 36 + 8 + 5 * 24 + 3, "{}", String::from_utf8_lossy(&told.body));
    both.stop.cancel();
}
