//! A hall of numbered seats, sold to the last one while faults run.

use crate::TURN;
use crate::fault::Fault;
use crate::row::tail;
use crate::stage::{Plan, Stage, pause};
use crate::support::dice::Dice;
use crate::support::{Answer, Client};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Rows of the hall, from the front, and seats in each of them, with an aisle after every tenth.
const ROWS: u64 = 100;
const SEATS_PER_ROW: u64 = 50;
const BUYERS: usize = 20_000;
/// Buyers who are in the shop at once; the others stand outside.
const AT_ONCE: usize = 96;
/// The most people in a party.
const PARTY_MAX: u64 = 4;
/// For how long a buyer comes again who is told to.
const PATIENCE: Duration = Duration::from_mins(1);

/// What breaks while the hall is sold, in turn.
const FAULTS: [Fault; 6] = [
    Fault::RedisFlushed,
    Fault::PostgresCut,
    Fault::InstanceKilled,
    Fault::RedisKilled,
    Fault::PostgresAnswersLost,
    Fault::PostgresRestarted,
];

/// What all buyers see of the sale.
struct Hall {
    event_id: String,
    doors: crate::stage::Doors,
    /// Each answer's operation, status and code, and how often it came.
    answers: Mutex<BTreeMap<String, u64>>,
    /// The seats of every booking whose confirmation was acknowledged.
    confirmed: Mutex<HashMap<String, Vec<String>>>,
}

/// The seats that a booking lists.
fn seats_of(booking: &Value) -> Vec<String> {
    let items = booking["items"].as_array().expect("items").iter();
    let seats = items.flat_map(|item| item["seats"].as_array().expect("numbered seats"));
    seats.map(|seat| seat.as_str().expect("a name").to_owned()).collect()
}

/// The row of a seat, and its number in it.
fn place(seat: &str) -> (u64, u64) {
    let (row, number) = seat.split_once('-').expect("a row and a number");
    (row.parse().expect("a row"), number.parse().expect("a number"))
}

/// Whether seats stand beside each other, without an aisle between.
fn are_together(seats: &[String]) -> bool {
    let mut places: Vec<_> = seats.iter().map(|seat| place(seat)).collect();
    places.sort_unstable();
    let beside = |pair: &[(u64, u64)]| {
        pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1 && !pair[0].1.is_multiple_of(10)
    };
    places.windows(2).all(beside)
}

impl Hall {
    /// Asks at either instance, until there is an answer that is not "come again".
    async fn ask(
        &self,
        buyer: &Client,
        (method, path): (Method, &str),
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Answer {
        let headers: Vec<_> = key.iter().map(|key| ("Idempotency-Key", *key)).collect();
        let until = Instant::now() + PATIENCE;
        let operation = path.rsplit('/').next().filter(|word| word.len() < 10).unwrap_or("change");
        for turn in 0.. {
            let mut client = buyer.clone();
            client.api.clone_from(&self.doors[turn % self.doors.len()].lock());
            let answer = client.try_send(method.clone(), path, body, &headers).await;
            if let Ok(answer) = answer {
                let told = format!("{operation} {}", answer.short());
                *self.answers.lock().entry(told).or_default() += 1;
                if !matches!(answer.status.as_u16(), 503 | 408)
                    && !answer.is(409, "idempotency_in_flight")
                {
                    return answer;
                }
            }
            assert!(Instant::now() < until, "nobody answers {method} {path}");
            pause(50 + 10 * (turn as u64).min(20)).await;
        }
        unreachable!("it is asked until there is an answer")
    }

    async fn hold(&self, buyer: &Client, wish: Value, key: &str) -> Option<Value> {
        let mut body = json!({"event_id": self.event_id});
        body.as_object_mut()
            .expect("an object")
            .extend(wish.as_object().cloned().expect("an object"));
        let held = self.ask(buyer, (Method::POST, "/bookings/hold"), Some(&body), Some(key)).await;
        (held.status == StatusCode::CREATED).then_some(held.body)
    }

    /// Comes for seats of its choice or for the best, may swap them or change its mind, and buys.
    async fn buy(&self, buyer: &Client, n: usize, door: &Semaphore, mut dice: Dice) {
        let _inside = door.acquire().await.expect("the shop is open");
        let number = 1 + dice.roll(PARTY_MAX);
        let named = |dice: &mut Dice| {
            let (row, first) = (1 + dice.roll(ROWS), 1 + dice.roll(SEATS_PER_ROW - PARTY_MAX));
            let seats: Vec<_> =
                (first..first + number).map(|seat| format!("{row}-{seat}")).collect();
            seats
        };
        let adjacent = dice.roll(2) == 0;
        let best = json!({"best_available": {"number": number, "adjacent": adjacent}});
        let mut held = None;
        if dice.roll(2) == 0 {
            let wish = json!({"section_id": "Hall", "seats": named(&mut dice)});
            held = self.hold(buyer, wish, &format!("{n}-named")).await;
        }
        if held.is_none() {
            held = self.hold(buyer, best, &format!("{n}-best")).await;
            if let Some(booking) = held.as_ref().filter(|_| adjacent) {
                assert!(are_together(&seats_of(booking)), "split: {booking}");
                assert_eq!(booking["next_to_each_other"], true);
            }
        }
        let Some(booking) = held else { return };
        let booking_id = booking["booking_id"].as_str().expect("an id").to_owned();
        let mut seats = seats_of(&booking);
        pause(dice.roll(1_200)).await;
        if dice.roll(8) == 0 {
            // Without If-Match, doing it twice ends alike.
            let other = json!({"items": [{"section_id": "Hall", "seats": named(&mut dice)}]});
            let path = format!("/bookings/{booking_id}");
            let changed = self.ask(buyer, (Method::PATCH, &path), Some(&other), None).await;
            if changed.status == StatusCode::OK {
                seats = seats_of(&changed.body);
            }
        }
        let step = if dice.roll(10) == 0 { "cancel" } else { "confirm" };
        let path = format!("/bookings/{booking_id}/{step}");
        let done = self.ask(buyer, (Method::POST, &path), None, None).await;
        if step == "confirm" {
            assert_eq!(done.status, StatusCode::OK, "a hold is never refused: {}", done.body);
            assert_eq!(seats_of(&done.body), seats, "other seats than held");
            self.confirmed.lock().insert(booking_id, seats);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i3_a_hall_of_5000_seats_is_sold_to_20000_buyers_while_faults_run() {
    let _turn = TURN.lock().await;
    let stage = Stage::set(Plan::default()).await;
    let aisles: Vec<_> = (1..SEATS_PER_ROW / 10).map(|part| part * 10).collect();
    let layout = json!({"rows": format!("1-{ROWS}"), "seats_per_row": SEATS_PER_ROW, "aisles_after": aisles});
    let section = json!({"name": "Hall", "price": 5_000, "layout": layout});
    let event = json!({"title": "Gala", "event_date": "2090-06-15", "sections": [section]});
    let event = stage.at(&stage.organizer, 0).post("/events", &event).await;
    let event = event.expect(StatusCode::CREATED);
    let hall = Arc::new(Hall {
        event_id: event["event_id"].as_str().expect("an id").to_owned(),
        doors: stage.doors.clone(),
        answers: Mutex::default(),
        confirmed: Mutex::default(),
    });
    let begun = Instant::now();
    let door = Arc::new(Semaphore::new(AT_ONCE));
    let mut crowd = JoinSet::new();
    let mut dice = Dice(5);
    for n in 0..BUYERS {
        let buyer = stage.buyers[n % stage.buyers.len()].clone();
        let (hall, door, dice) = (hall.clone(), door.clone(), Dice(dice.roll(u64::MAX)));
        crowd.spawn(async move { hall.buy(&buyer, n, &door, dice).await });
    }
    for fault in FAULTS {
        fault.strike(&stage).await;
        pause(500).await;
    }
    let struck = (begun.elapsed(), hall.confirmed.lock().len());
    while let Some(done) = crowd.join_next().await {
        done.expect("no buyer panics");
    }
    println!("{FAULTS:?} took {struck:?}, all buyers {:?}", begun.elapsed());
    // Whoever changed their mind last may have left seats behind that nobody came back for.
    let late = stage.buyers[0].clone();
    for n in 0.. {
        let one = json!({"best_available": {"number": 1}});
        let Some(booking) = hall.hold(&late, one, &format!("late-{n}")).await else { break };
        let booking_id = booking["booking_id"].as_str().expect("an id").to_owned();
        let path = format!("/bookings/{booking_id}/confirm");
        hall.ask(&late, (Method::POST, &path), None, None).await.expect(StatusCode::OK);
        hall.confirmed.lock().insert(booking_id, seats_of(&booking));
    }
    let answers = hall.answers.lock().clone();
    println!("{answers:?}");
    let failed = answers.keys().find(|told| told.contains(" 500") || told.contains(" 404"));
    assert!(failed.is_none(), "{failed:?}\n{}", tail(&stage.log()));

    let sold: i64 = (ROWS * SEATS_PER_ROW).try_into().expect("few");
    let organizer = stage.at(&stage.organizer, 1);
    assert_eq!(organizer.seats(&hall.event_id).await, (0, 0, sold));
    let on_file =
        organizer.all(&format!("/events/{}/bookings?status=CONFIRMED", hall.event_id)).await;
    let mut taken = HashSet::new();
    let confirmed = hall.confirmed.lock();
    assert_eq!(on_file.len(), confirmed.len(), "every acknowledged sale, and no other, is on file");
    for booking in &on_file {
        let seats = seats_of(booking);
        let booking_id = booking["booking_id"].as_str().expect("an id");
        assert_eq!(confirmed.get(booking_id), Some(&seats), "{booking_id}");
        for seat in seats {
            assert!(taken.insert(seat.clone()), "seat {seat} is sold twice");
        }
    }
    assert_eq!(taken.len() as u64, ROWS * SEATS_PER_ROW);
    stage.audit().expect("clean");
}
