//! The team, its callers, and what their requests are about.

use super::needs::{Kind, Of, Rights};
use super::table::On;
use crate::operators::operator;
use crate::organizations::SECRET;
use crate::support::{Client, Server};
use crate::visitors::visitor;
use engine::access::{Permission, Permissions, Role, grantable};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const PASSWORD: &str = "correct horse battery";
const CREATED: StatusCode = StatusCode::CREATED;
const OK: StatusCode = StatusCode::OK;

/// Somebody who sends requests.
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) rights: Rights,
    pub(super) client: Client,
    email: Option<String>,
    role: Option<Role>,
    is_confined: bool,
}

impl Caller {
    fn new(name: &str, kind: Kind, client: Client) -> Self {
        let at_home =
            if kind == Kind::User { Role::Owner.permissions() } else { Permissions::NONE };
        let (is_inside, is_operator) = (false, false);
        let rights = Rights { kind, is_inside, is_operator, can: Permissions::NONE, at_home };
        let name = name.to_owned();
        Self { name, rights, client, email: None, role: None, is_confined: false }
    }

    fn is_user(&self) -> bool {
        self.rights.kind == Kind::User
    }
}

/// What a request is about.
pub(super) struct Made {
    /// The names in a path, a query and a body, and what stands for them.
    pub(super) names: BTreeMap<&'static str, String>,
    /// What the owner reads to see whether anything has changed.
    watched: Vec<String>,
    /// What the owner deletes afterwards, since an organization has only so many.
    discarded: Option<String>,
}

pub(super) struct World {
    pub(super) server: Server,
    pub(super) callers: Vec<Caller>,
    owner: Client,
    customer: Client,
    heir: Client,
    rival: Client,
    visitor: Client,
    team: String,
    third_team: String,
    shown: String,
    draft: String,
    names: BTreeMap<&'static str, String>,
    count: u32,
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("{name} in {of:#}"))
}

fn id(client: &Client) -> String {
    client.user_id.clone().expect("a user's client")
}

async fn email(client: &Client) -> String {
    text(&client.get("/users/me").await.expect(OK), "email").to_owned()
}

async fn team(founder: &Client, name: &str) -> String {
    let made = founder.post("/organizations", &json!({"name": name})).await.expect(CREATED);
    text(&made, "organization_id").to_owned()
}

async fn invite(by: &Client, team: &str, invitation: &Value) -> Value {
    by.post(&format!("/organizations/{team}/invitations"), invitation).await.expect(CREATED)
}

/// Makes a user a member of a team, at an event alone if one is named.
async fn join(by: &Client, team: &str, user: &Client, role: Role, event: Option<&str>) {
    let events = event.map(|event| [event]);
    let invitation = json!({"email": email(user).await, "role": role.as_str(), "events": events});
    let made = invite(by, team, &invitation).await;
    user.post("/invitations/accept", &json!({"token": made["token"]})).await.expect(OK);
}

/// A new event; a numbered section comes after the one that is not.
async fn event(by: &Client, team: &str, of: Of, capacity: u32, is_numbered: bool) -> String {
    let mut sections = vec![json!({"name": "A", "capacity": capacity, "price": 1_000})];
    if is_numbered {
        sections.push(json!({"name": "N", "layout": {"rows": "A", "seats_per_row": 4}}));
    }
    let (status, title) = match of {
        Of::Public => ("on_sale", "Show"),
        Of::Draft => ("draft", "Rehearsal"),
    };
    let event = json!({
        "title": title, "event_date": "2099-06-15", "organization_id": team, "status": status,
        "sections": sections,
    });
    by.event_with(&event).await
}

async fn key(by: &Client, org: &str, name: &str, scopes: Permissions) -> (Client, String) {
    let scopes: Vec<_> = scopes.iter().map(Permission::as_str).collect();
    let body = json!({"name": name, "scopes": scopes});
    let made = by.post(&format!("/organizations/{org}/keys"), &body).await.expect(CREATED);
    (by.with_token(text(&made, "secret")), text(&made, "key_id").to_owned())
}

impl World {
    pub(super) async fn start() -> Self {
        let server = Server::start(&[("SECRET_KEY", SECRET)]);
        let user = async || server.user().await;
        let (owner, customer, heir, rival) =
            (user().await, user().await, user().await, user().await);
        let (team_id, third_team) = (team(&owner, "Troupe").await, team(&rival, "Rivals").await);
        join(&owner, &team_id, &heir, Role::Analyst, None).await;
        let shown = event(&owner, &team_id, Of::Public, 1_000_000, true).await;
        let draft = event(&owner, &team_id, Of::Draft, 10, true).await;
        let title = json!({"title": "Premiere"});
        owner.patch(&format!("/events/{draft}"), &title).await.expect(OK);
        let names = BTreeMap::from([
            ("password", PASSWORD.to_owned()),
            ("organization_id", team_id.clone()),
            ("draft_id", draft.clone()),
            ("customer_id", id(&customer)),
            ("rival_id", id(&rival)),
            ("customer_email", email(&customer).await),
        ]);
        let (visitor, callers, count) = (visitor(&server).await, Vec::new(), 0);
        let mut world = Self {
            server,
            callers,
            owner,
            customer,
            heir,
            rival,
            visitor,
            team: team_id,
            third_team,
            shown,
            draft,
            names,
            count,
        };
        world.gather_people().await;
        world.gather_keys().await;
        world
    }

    async fn gather_people(&mut self) {
        let anonymous = Caller::new("anonymous", Kind::Nobody, self.server.client());
        let visitor = Caller::new("visitor", Kind::Visitor, visitor(&self.server).await);
        self.callers.extend([anonymous, visitor]);
        for role in Role::ALL {
            let client = match role {
                Role::Owner => self.owner.clone(),
                _ => self.server.user().await,
            };
            if role != Role::Owner {
                join(&self.owner, &self.team, &client, role, None).await;
            }
            self.add_user(role.as_str(), client, Some(role), role.permissions()).await;
        }
        let elsewhere = event(&self.owner, &self.team, Of::Draft, 10, false).await;
        let confined = self.server.user().await;
        join(&self.owner, &self.team, &confined, Role::Manager, Some(&elsewhere)).await;
        self.add_user("confined", confined, Some(Role::Manager), Permissions::NONE).await;
        self.callers.last_mut().expect("just added").is_confined = true;
        let stranger = self.server.user().await;
        self.add_user("stranger", stranger, None, Permissions::NONE).await;
        let operator = operator(&self.server).await;
        self.add_user("operator", operator, None, Permissions::OPERATOR).await;
        let rights = &mut self.callers.last_mut().expect("just added").rights;
        (rights.is_inside, rights.is_operator) = (true, true);
    }

    async fn add_user(&mut self, name: &str, client: Client, role: Option<Role>, can: Permissions) {
        let mut caller = Caller::new(name, Kind::User, client);
        caller.email = Some(email(&caller.client).await);
        (caller.role, caller.rights.is_inside, caller.rights.can) = (role, role.is_some(), can);
        self.callers.push(caller);
    }

    async fn gather_keys(&mut self) {
        let all = Permissions::those(grantable);
        let single = all.iter().map(|one| Permissions::those(|what| what == one));
        for can in single.chain([all]) {
            let scopes: Vec<_> = can.iter().map(Permission::as_str).collect();
            let name = if can == all { "of all".to_owned() } else { scopes.join("") };
            let (client, _) = key(&self.owner, &self.team, &name, can).await;
            let mut caller = Caller::new(&format!("key {name}"), Kind::Key, client);
            (caller.rights.is_inside, caller.rights.can, caller.rights.at_home) = (true, can, can);
            self.callers.push(caller);
        }
        let (foreign, _) = key(&self.rival, "me", "Foreign", all).await;
        let mut foreign = Caller::new("foreign key", Kind::Key, foreign);
        foreign.rights.at_home = all;
        let (revoked, revoked_id) = key(&self.owner, &self.team, "Revoked", all).await;
        let path = format!("/organizations/{}/keys/{revoked_id}", self.team);
        self.owner.send(Method::DELETE, &path, None, &[]).await.expect(StatusCode::NO_CONTENT);
        let (expired, _) = key(&self.owner, &self.team, "Expired", all).await;
        self.server.sql("UPDATE api_keys SET expires_at = created_at WHERE name = 'Expired'");
        self.callers.extend([
            foreign,
            Caller::new("revoked key", Kind::Ended, revoked),
            Caller::new("expired key", Kind::Ended, expired),
        ]);
    }

    /// Lets a caller whose logins were ended log in again.
    pub(super) async fn log_in(&mut self, caller: usize) {
        let caller = &mut self.callers[caller];
        let account = json!({"email": caller.email, "password": PASSWORD});
        let tokens = caller.client.post("/auth/login", &account).await.expect(OK);
        caller.client.token = Some(text(&tokens, "access_token").to_owned());
        if caller.role == Some(Role::Owner) {
            self.owner = caller.client.clone();
        }
    }

    /// Makes what a request of this caller is about.
    pub(super) async fn make(&mut self, on: On, caller: usize) -> Made {
        self.count += 1;
        let mut names = self.names.clone();
        let caller = &self.callers[caller];
        names.insert("unique", format!("new{}", self.count));
        names.insert("home", caller.client.user_id.clone().unwrap_or_else(|| id(&self.owner)));
        let mut made = Made { names, watched: Vec::new(), discarded: None };
        match on {
            On::Team => made.watched = self.newest(),
            On::Nothing | On::OwnLogins => {}
            On::NewTeam | On::Oneself => self.make_team(caller, on == On::Oneself, &mut made).await,
            On::Login => {
                let account = json!({"email": made.names["customer_email"], "password": PASSWORD});
                let tokens = self.customer.post("/auth/login", &account).await.expect(OK);
                let token = text(&tokens, "refresh_token").to_owned();
                made.names.insert("refresh_token", token);
            }
            On::Shown(of) => {
                let event = if of == Of::Public { &self.shown } else { &self.draft };
                made.names.insert("section_id", "N".to_owned());
                made.names.insert("event_id", event.clone());
            }
            On::Event(of) => {
                let event = event(&self.owner, &self.team, of, 10, false).await;
                made.watched.push(format!("/events/{event}"));
                made.names.insert("section_id", "A".to_owned());
                made.names.insert("event_id", event);
            }
            On::Series => {
                let body = json!({"title": "Season", "organization_id": self.team});
                let series = self.owner.post("/series", &body).await.expect(CREATED);
                made.watched.push(format!("/series/{}", text(&series, "series_id")));
                made.names.insert("series_id", text(&series, "series_id").to_owned());
            }
            On::OwnHold | On::OwnSale | On::Hold | On::Sale | On::VisitorsHold => {
                self.make_booking(on, caller, &mut made).await;
            }
            On::Key => {
                let one = Permissions::those(|what| what == Permission::EventRead);
                let (_, key) = key(&self.owner, &self.team, "Till", one).await;
                let path = format!("/organizations/{}/keys/{key}", self.team);
                made.watched.push(path.clone());
                made.discarded = Some(path);
                made.names.insert("key_id", key);
            }
            On::Invitation | On::Invited | On::InvitedOther => {
                self.make_invitation(on, caller, &mut made).await;
            }
        }
        made
    }

    /// The first page of all that belongs to the team.
    fn newest(&self) -> Vec<String> {
        let team = format!("/organizations/{}", self.team);
        vec![
            team.clone(),
            format!("{team}/members?limit=100"),
            format!("{team}/invitations?limit=1"),
            format!("{team}/keys?limit=100"),
            format!("/events?organization_id={}&limit=1", self.team),
            format!("/series?organization_id={}&limit=1", self.team),
        ]
    }

    /// A user can be in only so many: who is none is refused at the first team.
    async fn make_team(&self, caller: &Caller, is_oneself: bool, made: &mut Made) {
        let mut of = self.team.clone();
        if caller.is_user() {
            of = team(&self.owner, "Another").await;
            join(&self.owner, &of, &self.heir, Role::Analyst, None).await;
            if let Some(role) = caller.role.filter(|role| *role != Role::Owner) {
                let only = event(&self.owner, &of, Of::Draft, 1, false).await;
                let only = Some(only.as_str()).filter(|_| caller.is_confined);
                join(&self.owner, &of, &caller.client, role, only).await;
            }
        }
        made.watched =
            vec![format!("/organizations/{of}"), format!("/organizations/{of}/members?limit=100")];
        made.names.insert("organization_id", of);
        let user_id = if is_oneself { "me".to_owned() } else { id(&self.heir) };
        made.names.insert("user_id", user_id);
    }

    async fn make_booking(&self, on: On, caller: &Caller, made: &mut Made) {
        let can_buy = matches!(caller.rights.kind, Kind::Visitor | Kind::User);
        let buyer = match on {
            On::OwnHold | On::OwnSale if can_buy => &caller.client,
            On::VisitorsHold => &self.visitor,
            _ => &self.customer,
        };
        let held = buyer.hold(&self.shown, 1).await.expect(CREATED);
        let booking = text(&held, "booking_id");
        if on == On::VisitorsHold {
            made.names.insert("booking_token", text(&held, "booking_token").to_owned());
        }
        if matches!(on, On::OwnSale | On::Sale) {
            buyer.step(booking, "confirm").await.expect(OK);
        }
        made.watched.push(format!("/bookings/{booking}"));
        made.names.insert("booking_id", booking.to_owned());
    }

    async fn make_invitation(&self, on: On, caller: &Caller, made: &mut Made) {
        let (by, team) = match on {
            On::Invitation => (&self.owner, &self.team),
            _ => (&self.rival, &self.third_team),
        };
        let unique = format!("{}@example.com", made.names["unique"]);
        let address = caller.email.as_ref().filter(|_| on == On::Invited).unwrap_or(&unique);
        let invitation = invite(by, team, &json!({"email": address, "role": "analyst"})).await;
        if on == On::Invitation {
            made.watched.push(format!("/organizations/{team}/invitations?limit=1"));
        }
        made.names.insert("token", text(&invitation, "token").to_owned());
        made.names.insert("invitation_id", text(&invitation, "invitation_id").to_owned());
    }

    /// What the owner sees of what a request is about, without what changes by itself.
    pub(super) async fn state(&self, made: &Made) -> Vec<Value> {
        let mut state = Vec::new();
        for path in &made.watched {
            let mut seen = self.owner.get(path).await.body;
            still(&mut seen);
            state.push(seen);
        }
        state
    }

    /// The tokens and keys of all callers.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.callers.iter().filter_map(|caller| caller.client.token.as_deref())
    }

    pub(super) async fn discard(&self, made: &Made) {
        if let Some(path) = &made.discarded {
            self.owner.send(Method::DELETE, path, None, &[]).await.expect(StatusCode::NO_CONTENT);
        }
    }
}

/// Removes what changes by itself.
fn still(of: &mut Value) {
    if let Some(members) = of.as_object_mut() {
        for name in ["server_time", "expires_in", "last_used_at", "request_id"] {
            members.remove(name);
        }
        members.values_mut().for_each(still);
    }
    of.as_array_mut().into_iter().flatten().for_each(still);
}
