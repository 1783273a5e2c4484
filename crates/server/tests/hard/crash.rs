//! Crashes: a real `reservix` is killed with `kill -9` while many clients hold, confirm and cancel.
//!
//! After each restart on the same data the history that the clients wrote down must still be true
//! (I11, I6), the audit clean, and the section that was fought for can be sold to exactly its
//! capacity. `kill -9` loses what the process knew, not what the system has yet to write to
//! the disk: a power cut is not tested here.
//!
//! `RESERVIX_CRASH_ROUNDS` asks for more crashes, `RESERVIX_CRASH_SEED` for the moments and choices
//! of an earlier run.

mod history;

use crate::support::dice::{Dice, setting};
use crate::support::{self, Client, Server};
use crate::{TURN, Verdict, ensure};
use futures_util::future::join_all;
use history::{Asked, Try, check};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const ROUNDS: u64 = 20;
const BUYERS: usize = 6;
const CLIENTS: usize = 24;
/// Seats of the section that sells out in each round; another one never does.
const SCARCE_SEATS: i64 = 40;
const PLENTY_SEATS: i64 = 1_000_000;

/// A server that is killed again and again, and those who use it.
struct World {
    folder: tempfile::TempDir,
    server: Option<Server>,
    organizer: Client,
    buyers: Vec<Client>,
    slowest_start: Duration,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start_in(folder.path(), &[]);
        let organizer = server.user().await;
        let buyers = join_all((0..BUYERS).map(|_| organizer.sign_up())).await;
        let slowest_start = Duration::ZERO;
        Self { folder, server: Some(server), organizer, buyers, slowest_start }
    }

    fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    /// Starts it again on the same data, on another port; the users keep their tokens.
    fn restart(&mut self) {
        let started = Instant::now();
        let server = Server::start_in(self.folder.path(), &[]);
        self.slowest_start = self.slowest_start.max(started.elapsed());
        let api = server.client().api;
        self.organizer.api.clone_from(&api);
        for buyer in &mut self.buyers {
            buyer.api.clone_from(&api);
        }
        self.server = Some(server);
    }

    /// Lets the clients loose on the section of two events, kills the server after `life`, and gives
    /// what they wrote down.
    async fn live_and_die(
        &mut self,
        events: &[Arc<str>; 2],
        dice: &mut Dice,
        life: Duration,
    ) -> Result<Vec<Try>, String> {
        static KEYS: AtomicU32 = AtomicU32::new(0);
        let mut clients = JoinSet::new();
        for n in 0..CLIENTS {
            let buyer = n % self.buyers.len();
            let key = format!("client-{}", KEYS.fetch_add(1, Ordering::Relaxed));
            let dice = Dice(dice.roll(u64::MAX));
            let client = self.buyers[buyer].clone();
            clients.spawn(use_until_it_dies(client, buyer, events.clone(), key, dice));
        }
        tokio::time::sleep(life).await;
        self.kill();
        let histories = clients.join_all().await;
        let histories = histories.into_iter().collect::<Result<Vec<_>, String>>()?;
        Ok(histories.into_iter().flatten().collect())
    }
}

/// Holds, then confirms, cancels or leaves; one after the other, until there is no answer any more.
async fn use_until_it_dies(
    client: Client,
    buyer: usize,
    events: [Arc<str>; 2],
    key: String,
    mut dice: Dice,
) -> Result<Vec<Try>, String> {
    let mut tries = Vec::new();
    for n in 0_u32.. {
        let event_id = events[usize::try_from(dice.roll(2)).expect("0 or 1")].clone();
        let seats = 1 + dice.roll(3);
        tries.push(Try::new(buyer, event_id, format!("{key}-{n}"), seats));
        let last = tries.last_mut().expect("just pushed");
        let Ok(answer) = last.send(&client).await else { break };
        let Some(booking_id) = answer.booking_id() else {
            // An overload is no acknowledgement; the request may have been decided.
            let expected = answer.is(409, "sold_out") || answer.status == 503;
            ensure!(expected, "a hold: {}", answer.short());
            continue;
        };
        last.booking_id = Some(booking_id.clone());
        let (step, progress) = match dice.roll(20) {
            0..9 => ("confirm", &mut last.confirm),
            9..15 => ("cancel", &mut last.cancel),
            _ => continue,
        };
        *progress = Asked::Sent;
        let path = format!("/bookings/{booking_id}/{step}");
        let Ok(answer) = client.try_send(reqwest::Method::POST, &path, None, &[]).await else {
            break;
        };
        ensure!(answer.status == 200 || answer.status == 503, "{step}: {}", answer.short());
        if answer.status == 200 {
            *progress = Asked::Acknowledged;
        }
    }
    Ok(tries)
}

/// Confirms every hold of the event and buys what is left, seat by seat: exactly its capacity is
/// sold. Writes it all down.
async fn sell_out(world: &World, event_id: &Arc<str>, tries: &mut Vec<Try>) -> Verdict {
    let held = tries.iter_mut().filter(|one| one.event_id == *event_id && one.may_be_held());
    for one in held {
        let Some(booking_id) = &one.booking_id else { continue };
        let answer = world.buyers[one.buyer].step(booking_id, "confirm").await;
        let ended = one.is_in_doubt() && answer.is(409, "booking_cancelled");
        ensure!(answer.status == 200 || ended, "confirm after a crash: {}", answer.short());
        if answer.status == 200 {
            one.confirm = Asked::Acknowledged;
        } else {
            one.cancel = Asked::Acknowledged;
        }
    }
    let mut bought = 0;
    loop {
        let mut one = Try::new(0, event_id.clone(), format!("{event_id}-rest-{bought}"), 1);
        let answer = one.send(&world.buyers[0]).await.map_err(|error| error.to_string())?;
        let Some(booking_id) = answer.booking_id() else {
            ensure!(answer.is(409, "sold_out"), "a hold after a crash: {}", answer.short());
            break;
        };
        let answer = world.buyers[0].step(&booking_id, "confirm").await;
        ensure!(answer.status == 200, "a confirm after a crash: {}", answer.short());
        (one.booking_id, one.confirm) = (Some(booking_id), Asked::Acknowledged);
        tries.push(one);
        bought += 1;
    }
    let seats = world.organizer.seats(event_id).await;
    ensure!(seats == (0, 0, SCARCE_SEATS), "after selling out, the counters are {seats:?}");
    Ok(format!("{bought} seats were left"))
}

/// The counters of an event are those of its bookings.
async fn counters_agree(world: &World, event_id: &str, capacity: i64) -> Result<(), String> {
    let bookings = world.organizer.all(&format!("/events/{event_id}/bookings")).await;
    let count = |status: &str| -> i64 {
        let of = bookings.iter().filter(|booking| booking["status"] == status);
        of.filter_map(|booking: &Value| booking["seats_requested"].as_i64()).sum()
    };
    let (held, sold) = (count("HOLD"), count("CONFIRMED"));
    let seats = world.organizer.seats(event_id).await;
    let agree = seats == (capacity - held - sold, held, sold);
    ensure!(agree, "{held} seats are held and {sold} sold, but the counters are {seats:?}");
    Ok(())
}

async fn events(organizer: &Client) -> [Arc<str>; 2] {
    [organizer.event(SCARCE_SEATS).await.into(), organizer.event(PLENTY_SEATS).await.into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_what_was_acknowledged_survives_kill_9_at_any_moment() {
    let _turn = TURN.lock().await;
    let rounds = setting("RESERVIX_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let moment = store::clock::wall()().unix_ms().unsigned_abs();
    let seed = setting("RESERVIX_CRASH_SEED").unwrap_or(moment ^ u64::from(std::process::id()));
    println!("RESERVIX_CRASH_SEED={seed} RESERVIX_CRASH_ROUNDS={rounds}");
    let mut dice = Dice(seed);
    let mut world = World::new().await;
    let mut history = Vec::new();
    for round in 0..rounds {
        let shows = events(&world.organizer).await;
        let life = Duration::from_millis(5 + dice.roll(500));
        let tries = world.live_and_die(&shows, &mut dice, life).await;
        let mut tries = tries.unwrap_or_else(|odd| panic!("round {round}: {odd}"));
        world.restart();
        support::audit(world.folder.path());
        let verdict = async {
            let checked = check(&mut tries, &world.buyers, &shows).await?;
            counters_agree(&world, &shows[0], SCARCE_SEATS).await?;
            counters_agree(&world, &shows[1], PLENTY_SEATS).await?;
            let sold_out = sell_out(&world, &shows[0], &mut tries).await?;
            Ok::<_, String>(format!("{checked}; {sold_out}"))
        };
        match verdict.await {
            Ok(figures) => println!("round {round}, killed after {life:?}: {figures}"),
            Err(violation) => panic!("round {round}, killed after {life:?}: {violation}"),
        }
        support::audit(world.folder.path());
        history.push((tries, shows));
    }
    // What one crash left alone, a later one may not take.
    for (tries, shows) in &mut history {
        check(tries, &world.buyers, shows).await.expect("still true at the end");
    }
    support::audit(world.folder.path());
    println!("{rounds} crashes; the slowest start took {:?}", world.slowest_start);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_finds_what_was_lost_forged_or_made_twice() {
    let _turn = TURN.lock().await;
    let mut world = World::new().await;
    let (shows, tries) = history_of_all_kinds(&mut world).await;
    let victim = tries.iter().position(is_confirmed).expect("somebody confirmed");
    let victim_id = tries[victim].booking_id.clone().expect("confirmed");

    // An acknowledgement of a hold that never was.
    let mut forged = tries.clone();
    let mut ghost = tries[victim].clone();
    ghost.key = "never-sent".to_owned();
    ghost.booking_id = Some(format!("{}{}", &victim_id[..35], "!"));
    forged.push(ghost);
    finds(&mut forged, &world, &shows, "is lost").await;

    // An acknowledgement of a confirm that never was.
    let mut forged = tries.clone();
    let left = tries.iter().position(is_left).expect("somebody left a hold");
    forged[left].confirm = Asked::Acknowledged;
    finds(&mut forged, &world, &shows, "is HOLD").await;

    // A booking that nobody asked for.
    let mut forgotten = tries.clone();
    forgotten.remove(victim);
    finds(&mut forgotten, &world, &shows, "no key explains").await;

    // A key that made two bookings.
    let mut doubled = tries.clone();
    let second = tries.iter().position(|one| is_twin(one, &tries[victim])).expect("as many seats");
    doubled[second].key.clone_from(&tries[victim].key);
    finds(&mut doubled, &world, &shows, "sent again").await;

    // A confirmed booking whose rows are gone.
    world.kill();
    let id = support::stack::id_literal(&victim_id);
    for table in ["bookings", "hold_keys"] {
        let delete = format!("DELETE FROM {table} WHERE booking_id = {id}");
        support::sql(world.folder.path(), &delete);
    }
    world.restart();
    finds(&mut tries.clone(), &world, &shows, "is lost").await;
    let audit = world.server.as_ref().expect("it runs").run(&["audit"]);
    assert!(!audit.status.success(), "the audit does not see it");
    println!("the audit says: {}", String::from_utf8_lossy(&audit.stdout));
}

fn is_confirmed(one: &Try) -> bool {
    one.confirm == Asked::Acknowledged
}

/// A hold that its client neither confirmed nor cancelled.
fn is_left(one: &Try) -> bool {
    one.booking_id.is_some() && one.is_untouched()
}

/// Another hold that differs from `one` by its key alone.
fn is_twin(other: &Try, one: &Try) -> bool {
    let same = (other.buyer, &other.event_id, other.seats) == (one.buyer, &one.event_id, one.seats);
    same && other.booking_id.is_some() && other.key != one.key
}

/// A true history with all that is to be forged in it. A busy machine needs longer for it.
async fn history_of_all_kinds(world: &mut World) -> ([Arc<str>; 2], Vec<Try>) {
    for life in [400, 1_600, 6_400].map(Duration::from_millis) {
        let shows = events(&world.organizer).await;
        let mut tries =
            world.live_and_die(&shows, &mut Dice(1), life).await.expect("sound answers");
        world.restart();
        let figures = check(&mut tries, &world.buyers, &shows).await.expect("the control is fair");
        println!("killed after {life:?}: {figures}");
        let victim = tries.iter().find(|one| is_confirmed(one));
        let has_twin = |victim| tries.iter().any(|one| is_twin(one, victim));
        if victim.is_some_and(has_twin) && tries.iter().any(is_left) {
            return (shows, tries);
        }
    }
    panic!("in 6.4 s nobody confirmed, left or repeated a hold");
}

async fn finds(tries: &mut [Try], world: &World, shows: &[Arc<str>; 2], named: &str) {
    match check(tries, &world.buyers, shows).await {
        Ok(figures) => panic!("a history with a lie passes: {figures}"),
        Err(found) => {
            println!("found: {found}");
            assert!(found.contains(named), "found, but not by {named:?}: {found}");
        }
    }
}
