//! One trial: a right that is used at all instances, its withdrawal at one of them, and requests.

use super::Plan;
use super::crew::{Crew, INSTANCES};
use super::judge::BOUND;
use crate::stage::pause;
use crate::support::dice::Dice;
use crate::support::{Answer, Client};
use futures_util::future::{join, join_all};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long somebody is waited for who has a right that not every instance knows of yet, and how long
/// a change is sent again that a busy machine does not make.
const PATIENCE: Duration = Duration::from_secs(20);
/// When before the withdrawal instances are asked, so that what they know is of any age.
const WARM: Duration = Duration::from_millis(600);
/// How long before and after the withdrawal is sent requests race with it.
const RACE: Duration = Duration::from_millis(40);
/// How soon a key ends that is made for a trial of its end: it has to be made and known before.
const KEY_LIFE_MS: i64 = 3_000;
/// What two readings of the same clock may differ by.
const APART: Duration = Duration::from_millis(10);
/// What a new user has, see `sign_up`.
const PASSWORD: &str = "correct horse battery";

/// What is withdrawn, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KeyDeleted,
    KeyExpired,
    /// It is given an end that is near.
    KeyShortened,
    /// It loses a scope.
    KeyNarrowed,
    KeyRotated,
    RoleLowered,
    MemberRemoved,
    LoginsEnded,
    PasswordChanged,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::KeyDeleted,
        Self::RoleLowered,
        Self::LoginsEnded,
        Self::KeyExpired,
        Self::MemberRemoved,
        Self::KeyShortened,
        Self::PasswordChanged,
        Self::KeyNarrowed,
        Self::KeyRotated,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::KeyDeleted => "key deleted",
            Self::KeyExpired => "key expired",
            Self::KeyShortened => "key given a near end",
            Self::KeyNarrowed => "key without a scope",
            Self::KeyRotated => "key rotated without overlap",
            Self::RoleLowered => "role lowered",
            Self::MemberRemoved => "member removed",
            Self::LoginsEnded => "logout-all",
            Self::PasswordChanged => "password changed",
        }
    }

    /// How requests are refused that were accepted before.
    fn refusal(self) -> (u16, &'static str) {
        match self {
            Self::KeyNarrowed | Self::RoleLowered => (403, "permission_missing"),
            Self::MemberRemoved => (404, "not_found"),
            _ => (401, "unauthorized"),
        }
    }

    fn is_of_key(self) -> bool {
        !matches!(
            self,
            Self::RoleLowered | Self::MemberRemoved | Self::LoginsEnded | Self::PasswordChanged
        )
    }
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Accepted,
    Refused,
    /// To retry, or nothing.
    Nothing,
    Odd(String),
}

/// A request, and what was heard.
#[derive(Debug)]
pub struct Asked {
    pub instance: usize,
    /// Just before it was sent.
    pub sent: Instant,
    pub answered: Instant,
    pub heard: Heard,
}

/// A trial that is over.
#[derive(Debug)]
pub struct Trial {
    pub kind: Kind,
    /// Where the right was withdrawn.
    pub home: usize,
    pub asked: Vec<Asked>,
    /// Before this the right was there.
    pub sent: Instant,
    /// From this on it was gone for certain.
    pub acknowledged: Instant,
}

/// Who has a right, at each instance, and what they read by it.
struct Subject {
    kind: Kind,
    clients: Vec<Client>,
    path: String,
    /// The path of the key, if it is one.
    key: Option<String>,
    /// When the right ends by itself.
    ends: Option<Instant>,
}

impl Subject {
    async fn ask(&self, instance: usize) -> Asked {
        let client = &self.clients[instance];
        let sent = Instant::now();
        let answer = client.try_send(Method::GET, &self.path, None, &[]).await;
        let (status, code) = self.kind.refusal();
        let heard = match answer {
            Ok(answer) if answer.status == StatusCode::OK => Heard::Accepted,
            Ok(answer) if answer.is(status, code) => Heard::Refused,
            Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => {
                Heard::Odd(answer.short())
            }
            Ok(_) | Err(_) => Heard::Nothing,
        };
        Asked { instance, sent, answered: Instant::now(), heard }
    }

    /// Asks these instances at these times after `from`.
    async fn ask_all(&self, from: Instant, moments: Vec<(usize, Duration)>) -> Vec<Asked> {
        let asked = moments.into_iter().map(|(instance, after)| async move {
            tokio::time::sleep_until((from + after).into()).await;
            self.ask(instance).await
        });
        join_all(asked).await
    }

    /// Waits until all instances have accepted it. Some learn of a new right within a second only.
    async fn is_known(&self) {
        let until = self.ends.unwrap_or_else(|| Instant::now() + PATIENCE);
        let known = (0..INSTANCES).map(|instance| async move {
            while self.ask(instance).await.heard != Heard::Accepted && Instant::now() < until {
                pause(20).await;
            }
        });
        join_all(known).await;
    }
}

/// Between none and `span`.
fn within(dice: &mut Dice, span: Duration) -> Duration {
    let span_ms = u64::try_from(span.as_millis()).expect("a short time");
    Duration::from_millis(dice.roll(span_ms))
}

/// When each instance is asked after the acknowledgement. What it knows lives longest where nobody has it
/// look again meanwhile: so there are few requests, and more about the bound than elsewhere.
fn afterwards(dice: &mut Dice, at_once: u64) -> Vec<(usize, Duration)> {
    const NEAR: Duration = Duration::from_millis(200);
    let mut moments = Vec::new();
    for instance in 0..INSTANCES {
        for _ in 0..at_once {
            moments.push((instance, within(dice, BOUND / 4)));
        }
        for _ in 0..dice.roll(5) {
            let is_near = dice.roll(3) == 0;
            let at = if is_near {
                BOUND.saturating_sub(NEAR) + within(dice, NEAR * 2)
            } else {
                within(dice, BOUND * 2)
            };
            moments.push((instance, at));
        }
        let span = if dice.roll(2) == 0 { NEAR / 2 } else { BOUND };
        moments.push((instance, BOUND + Duration::from_millis(1) + within(dice, span)));
    }
    moments
}

/// Makes a change, and makes it again while it is unknown whether it was made. Then there may be nothing
/// left to change, and nobody to do it.
async fn made(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let until = Instant::now() + PATIENCE;
    let mut is_unknown = false;
    loop {
        let answer = client.try_send(method.clone(), path, body, &[]).await;
        if let Ok(answer) = answer
            && answer.status != StatusCode::SERVICE_UNAVAILABLE
        {
            let is_over = is_unknown && matches!(answer.status.as_u16(), 401 | 404);
            assert!(answer.status.is_success() || is_over, "{method} {path}: {}", answer.short());
            return answer;
        }
        assert!(Instant::now() < until, "nobody does {method} {path}");
        is_unknown = true;
        pause(100).await;
    }
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_else(|| panic!("no {name} in {of:#}")).to_owned()
}

/// A user who may be a member of the team.
struct Person {
    client: Client,
    email: String,
    password: String,
    is_member: bool,
}

impl Person {
    async fn new(crew: &Crew, home: usize) -> Self {
        let client = crew.at(&crew.owner, home).sign_up().await;
        let me = made(&client, Method::GET, "/users/me", None).await;
        let (email, password) = (text(&me.body, "email"), PASSWORD.to_owned());
        Self { client, email, password, is_member: false }
    }

    async fn log_in(&mut self, crew: &Crew, home: usize) {
        let account = json!({"email": self.email, "password": self.password});
        let client = crew.at(&self.client, home);
        let tokens = made(&client, Method::POST, "/auth/login", Some(&account)).await;
        self.client.token = Some(text(&tokens.body, "access_token"));
    }
}

/// Where trials are played, one after the other: a team of one owner, with a draft.
pub struct Place {
    team: String,
    draft: String,
    person: Option<Person>,
}

impl Place {
    pub async fn new(crew: &Crew, number: u64) -> Self {
        let name = json!({"name": format!("Team {number}")});
        let team = made(&crew.owner, Method::POST, "/organizations", Some(&name)).await;
        let team = text(&team.body, "organization_id");
        let draft = json!({
            "title": "Rehearsal", "event_date": "2099-12-31", "organization_id": team,
            "status": "draft", "sections": [{"name": "A", "capacity": 10, "price": 100}],
        });
        let draft = made(&crew.owner, Method::POST, "/events", Some(&draft)).await;
        Self { team, draft: text(&draft.body, "event_id"), person: None }
    }

    /// The path of what belongs to the team.
    fn of_team(&self, rest: &str) -> String {
        format!("/organizations/{}{rest}", self.team)
    }

    fn person(&mut self) -> &mut Person {
        self.person.as_mut().expect("the subject of the trial")
    }

    /// The path of the person as a member.
    fn member(&self) -> String {
        let person = self.person.as_ref().expect("the subject of the trial");
        self.of_team(&format!("/members/{}", person.client.user_id.as_deref().expect("a user's")))
    }

    /// Plays a trial whose changes are made at `home`.
    pub async fn play(
        &mut self,
        crew: &Crew,
        kind: Kind,
        home: usize,
        plan: Plan,
        mut dice: Dice,
    ) -> Trial {
        let subject = self.subject(crew, kind, home, plan.withdraws).await;
        subject.is_known().await;
        let moments = (0..INSTANCES).map(|at| (at, within(&mut dice, WARM))).collect();
        let from = subject.ends.map_or_else(Instant::now, |ends| before(ends, WARM + RACE * 2));
        let mut asked = subject.ask_all(from, moments).await;

        let sent = subject.ends.map_or_else(|| Instant::now() + RACE, |ends| before(ends, APART));
        let mut race = Vec::new();
        for instance in 0..INSTANCES {
            race.extend((0..dice.roll(3)).map(|_| (instance, within(&mut dice, RACE * 2))));
        }
        let withdrawal = async {
            tokio::time::sleep_until(sent.into()).await;
            if plan.withdraws { self.withdraw(crew, &subject, home).await } else { Instant::now() }
        };
        let (acknowledged, raced) =
            join(withdrawal, subject.ask_all(before(sent, RACE), race)).await;
        asked.extend(raced);
        let moments = afterwards(&mut dice, plan.at_once);
        asked.extend(subject.ask_all(acknowledged, moments).await);
        self.tidy(crew, &subject, home).await;
        Trial { kind, home, asked, sent, acknowledged }
    }

    /// Somebody with the right that this kind of trial withdraws.
    async fn subject(&mut self, crew: &Crew, kind: Kind, home: usize, withdraws: bool) -> Subject {
        let draft = format!("/events/{}", self.draft);
        let path = match kind {
            Kind::KeyNarrowed | Kind::RoleLowered => format!("{draft}/bookings"),
            _ => draft,
        };
        let (client, key, ends) = if kind.is_of_key() {
            let mut new = json!({"name": "Shop", "scopes": ["event.read", "booking.read"]});
            let end =
                (kind == Kind::KeyExpired && withdraws).then(|| crew.now().plus_ms(KEY_LIFE_MS));
            if let Some(end) = end {
                new["expires_at"] = json!(end.to_string());
            }
            let owner = crew.at(&crew.owner, home);
            let key = made(&owner, Method::POST, &self.of_team("/keys"), Some(&new)).await.body;
            let path = self.of_team(&format!("/keys/{}", text(&key, "key_id")));
            let ends = end.map(|end| crew.instant(end));
            (owner.with_token(&text(&key, "secret")), Some(path), ends)
        } else {
            (self.member_of_team(crew, home).await, None, None)
        };
        let clients = (0..INSTANCES).map(|instance| crew.at(&client, instance)).collect();
        Subject { kind, clients, path, key, ends }
    }

    /// A person who is a member.
    async fn member_of_team(&mut self, crew: &Crew, home: usize) -> Client {
        if self.person.is_none() {
            self.person = Some(Person::new(crew, home).await);
        }
        let invitations = self.of_team("/invitations");
        let person = self.person();
        if !person.is_member {
            let owner = crew.at(&crew.owner, home);
            let invitation = json!({"email": person.email, "role": "box_office"});
            let invited = made(&owner, Method::POST, &invitations, Some(&invitation)).await;
            let token = json!({"token": text(&invited.body, "token")});
            let client = crew.at(&person.client, home);
            made(&client, Method::POST, "/invitations/accept", Some(&token)).await;
            person.is_member = true;
        }
        person.client.clone()
    }

    /// Withdraws the right; says from when on it is gone for certain.
    async fn withdraw(&mut self, crew: &Crew, subject: &Subject, home: usize) -> Instant {
        let owner = &crew.at(&crew.owner, home);
        let key = subject.key.as_deref().unwrap_or_default();
        match subject.kind {
            Kind::KeyDeleted => {
                made(owner, Method::DELETE, key, None).await;
            }
            Kind::KeyExpired => {
                let gone = subject.ends.expect("it ends by itself") + APART;
                tokio::time::sleep_until(gone.into()).await;
                return gone;
            }
            Kind::KeyShortened => return shorten(crew, owner, key).await,
            Kind::KeyNarrowed => {
                let fewer = json!({"scopes": ["event.read"]});
                made(owner, Method::PATCH, key, Some(&fewer)).await;
            }
            Kind::KeyRotated => {
                let at_once = json!({"overlap_seconds": 0});
                made(owner, Method::POST, &format!("{key}/rotate"), Some(&at_once)).await;
            }
            Kind::RoleLowered => {
                let lower = json!({"role": "check_in"});
                made(owner, Method::PATCH, &self.member(), Some(&lower)).await;
            }
            Kind::MemberRemoved => {
                made(owner, Method::DELETE, &self.member(), None).await;
                let acknowledged = Instant::now();
                self.person().is_member = false;
                return acknowledged;
            }
            Kind::LoginsEnded => {
                let person = &subject.clients[home];
                made(person, Method::POST, "/auth/logout-all", None).await;
            }
            Kind::PasswordChanged => {
                let old = self.person().password.clone();
                let new = format!("{PASSWORD} {}", crew.now().unix_ms());
                let change = json!({"current_password": old, "new_password": new});
                made(&subject.clients[home], Method::POST, "/auth/password", Some(&change)).await;
                let acknowledged = Instant::now();
                self.person().password = new;
                return acknowledged;
            }
        }
        Instant::now()
    }

    /// Makes everything as it was before the trial.
    async fn tidy(&mut self, crew: &Crew, subject: &Subject, home: usize) {
        let owner = crew.at(&crew.owner, home);
        if let Some(key) = &subject.key {
            // A team has 100 keys at most. One that has ended may be gone.
            let _ = owner.try_send(Method::DELETE, key, None, &[]).await;
        }
        match subject.kind {
            Kind::RoleLowered => {
                let higher = json!({"role": "box_office"});
                made(&owner, Method::PATCH, &self.member(), Some(&higher)).await;
            }
            Kind::LoginsEnded | Kind::PasswordChanged => self.person().log_in(crew, home).await,
            _ => (),
        }
    }
}

/// Gives a key an end that is near; says when it has come and was acknowledged.
async fn shorten(crew: &Crew, owner: &Client, key: &str) -> Instant {
    // It has to be ahead when it is written, which takes longer on a busy machine.
    for ahead_ms in [100, 400, 1_600, 6_400] {
        let end = crew.now().plus_ms(ahead_ms);
        let nearer = json!({"expires_at": end.to_string()});
        let answer = owner.send(Method::PATCH, key, Some(&nearer), &[]).await;
        let acknowledged = Instant::now();
        if answer.status != StatusCode::UNPROCESSABLE_ENTITY {
            answer.expect(StatusCode::OK);
            return acknowledged.max(crew.instant(end) + APART);
        }
    }
    panic!("no end is ahead when it is written");
}

/// So long before an instant of this run.
fn before(at: Instant, by: Duration) -> Instant {
    at.checked_sub(by).expect("the machine runs for longer")
}
