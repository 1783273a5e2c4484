//! The load: buyers who hold, think, confirm, change their minds, look, and retry as good clients do.

use crate::record::{Asked, Heard, History, Op, Record, Try, Which};
use crate::stage::{Doors, Stage};
use crate::support::dice::Dice;
use crate::support::{Answer, Client, hold_body};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Buyers at once.
pub const BUYERS: usize = 24;
/// How long a buyer tries to get one thing done.
const GIVE_UP: Duration = Duration::from_secs(30);
/// How long a buyer waits for an answer: longer than any may take.
const PATIENCE: Duration = Duration::from_secs(7);
/// How long a buyer waits where an instance may be frozen.
const PATIENCE_WITH_FROZEN: Duration = Duration::from_millis(1_500);

/// The two events of a round.
#[derive(Clone)]
pub struct Show {
    pub scarce: String,
    pub plenty: String,
}

/// Whether a hold was told that there are no seats left, or none in which two people would sit together.
pub fn is_refused(answer: &Answer) -> bool {
    answer.is(409, "sold_out") || answer.is(409, "not_together")
}

/// Seats of the event that is always sold out.
pub const SCARCE_SEATS: i64 = 60;
/// Seats of the other one.
pub const PLENTY_SEATS: i64 = 1_000_000;

impl Show {
    pub async fn new(stage: &Stage) -> Self {
        // Numbered, so that every fault also strikes a batch that chooses seats.
        let layout = json!({"rows": "A-F", "seats_per_row": SCARCE_SEATS / 6, "aisles_after": [4]});
        let scarce = json!({
            "title": "Show",
            "event_date": "2099-06-15",
            "sections": [{"name": "A", "price": 1_000, "layout": layout}],
        });
        let scarce = stage.at(&stage.organizer, 1).event_with(&scarce).await;
        Self { scarce, plenty: stage.event(PLENTY_SEATS).await }
    }

    pub fn event(&self, which: Which) -> &str {
        match which {
            Which::Scarce => &self.scarce,
            Which::Plenty => &self.plenty,
        }
    }
}

/// Buyers at work.
pub struct Load {
    shared: Arc<Shared>,
    buyers: JoinSet<Vec<Try>>,
}

struct Shared {
    doors: Doors,
    clients: Vec<Client>,
    show: Show,
    began: Instant,
    patience: Duration,
    stop: AtomicBool,
    records: Mutex<Vec<Record>>,
    given_up: Mutex<Vec<String>>,
}

impl Load {
    /// Lets the buyers loose; `frozen`: an instance may stop answering for a while.
    pub fn start(stage: &Stage, show: &Show, seed: u64, frozen: bool) -> Self {
        let shared = Arc::new(Shared {
            doors: stage.doors.clone(),
            clients: stage.buyers.clone(),
            show: show.clone(),
            began: stage.began(),
            patience: if frozen { PATIENCE_WITH_FROZEN } else { PATIENCE },
            stop: AtomicBool::new(false),
            records: Mutex::default(),
            given_up: Mutex::default(),
        });
        let mut dice = Dice(seed);
        let mut buyers = JoinSet::new();
        for n in 0..BUYERS {
            let buyer = n % shared.clients.len();
            buyers.spawn(buy(shared.clone(), buyer, Dice(dice.roll(u64::MAX))));
        }
        Self { shared, buyers }
    }

    /// Looks at what was recorded so far.
    pub fn records<T>(&self, look: impl FnOnce(&[Record]) -> T) -> T {
        look(&self.shared.records.lock())
    }

    /// Lets every buyer finish what is under way, and gives what all of them wrote down.
    pub async fn stop(self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        let tries = self.buyers.join_all().await.into_iter().flatten().collect();
        let records = std::mem::take(&mut *self.shared.records.lock());
        let given_up = std::mem::take(&mut *self.shared.given_up.lock());
        History { records, tries, given_up }
    }
}

/// One buyer, until the load ends.
async fn buy(shared: Arc<Shared>, buyer: usize, mut dice: Dice) -> Vec<Try> {
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let mut tries = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let which = if dice.roll(3) == 0 { Which::Scarce } else { Which::Plenty };
        let seats = 1 + i64::from(dice.roll(2) == 0);
        let key = format!("buyer-{}", KEYS.fetch_add(1, Ordering::Relaxed));
        let (confirm, cancel) = (Asked::No, Asked::No);
        let mut one = Try { buyer, which, key, seats, booking_id: None, confirm, cancel };
        let sound = shared.go_through(&mut one, &mut dice).await;
        tries.push(one);
        if !sound {
            break;
        }
    }
    tries
}

impl Shared {
    /// Holds, thinks, then confirms, cancels or leaves. False: an answer made no sense, which is recorded.
    async fn go_through(&self, one: &mut Try, dice: &mut Dice) -> bool {
        let mut want = Want::hold(one, &self.show);
        let Some((answer, asked_at)) = self.persist(&want, dice).await else { return false };
        let Some(booking_id) = answer.booking_id() else {
            pause(dice, 20, 60).await;
            return is_refused(&answer);
        };
        one.booking_id = Some(booking_id.clone());
        want.deadline = left(&answer.body).map(|left| asked_at + left);
        pause(dice, 10, 60).await;
        if dice.roll(6) == 0 {
            let look = want.step(Op::Look, format!("/bookings/{booking_id}"));
            if self.persist(&look, dice).await.is_none_or(|(answer, _)| answer.status != 200) {
                return false;
            }
        }
        let (to_confirm, to_cancel) = match one.which {
            Which::Plenty => (14, 4),
            Which::Scarce => (1, 17),
        };
        let (op, name, progress) = match dice.roll(20) {
            roll if roll < to_confirm => (Op::Confirm, "confirm", &mut one.confirm),
            roll if roll < to_confirm + to_cancel => (Op::Cancel, "cancel", &mut one.cancel),
            _ => return true,
        };
        *progress = Asked::Sent;
        let step = want.step(op, format!("/bookings/{booking_id}/{name}"));
        let Some((answer, _)) = self.persist(&step, dice).await else { return false };
        if answer.status == 200 {
            *progress = Asked::Acknowledged;
        }
        true
    }

    /// Asks again, at the other instance, until there is an answer that says more than to ask again.
    /// Also tells when it was asked for.
    async fn persist(&self, want: &Want, dice: &mut Dice) -> Option<(Answer, Duration)> {
        let begun = Instant::now();
        let mut instance = usize::from(dice.roll(2) == 0);
        loop {
            let asked_at = self.began.elapsed();
            let answer = self.ask(want, instance).await;
            if let Some(answer) = answer
                && answer.status != 503
                && !answer.is(409, "idempotency_in_flight")
            {
                return Some((answer, asked_at));
            }
            if begun.elapsed() > GIVE_UP {
                self.given_up.lock().push(format!("{:?} {}", want.op, want.path));
                return None;
            }
            pause(dice, 30, 90).await;
            instance = 1 - instance;
        }
    }

    async fn ask(&self, want: &Want, instance: usize) -> Option<Answer> {
        let mut client = self.clients[want.buyer].clone();
        client.api.clone_from(&self.doors[instance].lock());
        let headers: Vec<_> =
            want.key.iter().map(|key| ("Idempotency-Key", key.as_str())).collect();
        let started = self.began.elapsed();
        let method = if want.op == Op::Look { Method::GET } else { Method::POST };
        let sent = client.try_send(method, &want.path, want.body.as_ref(), &headers);
        let answer = tokio::time::timeout(self.patience, sent).await;
        let heard = match &answer {
            Err(_) => Heard::Silence,
            Ok(Err(error)) => Heard::Broken(crate::row::chain(error)),
            Ok(Ok(answer)) => Heard::Answer {
                status: answer.status.as_u16(),
                code: answer.body["code"].as_str().unwrap_or_default().to_owned(),
                retry_after: answer.headers.contains_key("retry-after"),
            },
        };
        let (op, which, deadline) = (want.op, want.which, want.deadline);
        let ended = self.began.elapsed();
        self.records.lock().push(Record { op, which, instance, started, ended, deadline, heard });
        answer.ok()?.ok()
    }
}

/// Something that a buyer wants.
struct Want {
    op: Op,
    which: Which,
    buyer: usize,
    path: String,
    body: Option<Value>,
    key: Option<String>,
    deadline: Option<Duration>,
}

impl Want {
    fn hold(one: &Try, show: &Show) -> Self {
        let body = hold_body(show.event(one.which), one.seats.unsigned_abs());
        Self {
            op: Op::Hold,
            which: one.which,
            buyer: one.buyer,
            path: "/bookings/hold".to_owned(),
            body: Some(body),
            key: Some(one.key.clone()),
            deadline: None,
        }
    }

    fn step(&self, op: Op, path: String) -> Self {
        let (which, buyer, deadline) = (self.which, self.buyer, self.deadline);
        Self { op, which, buyer, path, body: None, key: None, deadline }
    }
}

/// How long a hold lasts, by the clock that decided it.
fn left(booking: &Value) -> Option<Duration> {
    booking["expires_in"].as_u64().map(Duration::from_secs)
}

async fn pause(dice: &mut Dice, least_ms: u64, more_ms: u64) {
    tokio::time::sleep(Duration::from_millis(least_ms + dice.roll(more_ms))).await;
}
