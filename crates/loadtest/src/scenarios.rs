//! From the command line to plans.

use crate::cli::{
    BestAvailableArgs, CeilingArgs, ExpiryArgs, GetArgs, HallsArgs, HoldArgs, LoadArgs, MindArgs,
    MixedArgs, OnsaleArgs, PairsArgs, ReadsArgs, RetriesArgs, SaleArgs, SeatsArgs, SoldoutArgs,
    SpreadArgs,
};
use crate::plan::{
    Beside, Ground, HOLD_TTL_SECONDS_MAX, Halls, Load, Place, Plan, SEATS_ENDLESS, Spread, Venue,
};
use crate::roles::{Mind, Role};
use hyper::Uri;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

/// How long holds live that are to be confirmed during a storm, beyond the storm itself.
const SPARE_SECONDS: f64 = 120.0;

fn load(args: &LoadArgs, seconds: f64, warm_up: f64) -> Load {
    Load {
        connections: args.connections as usize,
        rate: args.rate,
        backlog: args.backlog.unwrap_or(args.connections.into()),
        seconds: args.seconds.unwrap_or(seconds),
        warm_up: args.warm_up.unwrap_or(warm_up),
        requests: args.requests.unwrap_or(u64::MAX),
        runs: args.runs,
        patience: Duration::from_millis(args.timeout_ms),
        verify: 0,
    }
}

fn plan(name: &'static str, about: &'static str, role: Role, load: Load) -> Plan {
    let mut plan = Plan {
        name,
        about,
        role,
        ground: Ground::Sale(Venue::ENDLESS),
        spread: Spread::ONE,
        halls: None,
        beside: None,
        sold_before: false,
        sells_out: false,
        load,
        place: Place { target: String::new(), buyers: 1, tokens: None, event: None },
        path: None,
        settings: BTreeMap::new(),
    };
    let Load { connections, rate, backlog, seconds, warm_up, requests, runs, .. } = plan.load;
    plan.set("connections", &connections);
    if let Some(rate) = rate {
        plan.set("rate", &rate);
        plan.set("backlog", &backlog);
    }
    plan.set("seconds", &seconds);
    plan.set("warm-up", &warm_up);
    if requests != u64::MAX {
        plan.set("requests", &requests);
    }
    plan.set("runs", &runs);
    plan
}

impl Plan {
    fn set(&mut self, option: &str, value: &dyn Display) {
        self.settings.insert(option.to_owned(), value.to_string());
    }

    fn at(mut self, sale: &SaleArgs) -> Self {
        let SaleArgs { target, buyers, tokens, event, verify, .. } = sale;
        self.place = Place {
            target: target.clone(),
            buyers: *buyers as usize,
            tokens: tokens.clone(),
            event: *event,
        };
        self.load.verify = *verify as usize;
        match tokens {
            Some(path) => self.set("tokens", &path.display()),
            None => self.set("buyers", buyers),
        }
        if let Some(event) = event {
            self.set("event", event);
        }
        self
    }
}

impl From<&HoldArgs> for Plan {
    fn from(args: &HoldArgs) -> Self {
        let HoldArgs { keys, confirms_beside, sections, spread, sale } = args;
        let about = if *sections == 1 && spread.events == 1 {
            "Single seats of one hot section are held; every hold is new."
        } else {
            "Single seats of many sections are held; every hold is new."
        };
        let mut plan =
            plan("hold", about, Role::Hold { keyed: *keys }, load(&sale.load, 10.0, 2.0)).at(sale);
        plan.over(*sections, spread);
        plan.beside = Some(Beside { role: Role::Confirms, rate: *confirms_beside });
        plan.set("keys", keys);
        plan.set("confirms-beside", confirms_beside);
        plan
    }
}

impl From<&PairsArgs> for Plan {
    fn from(args: &PairsArgs) -> Self {
        let PairsArgs { keys, sections, spread, sale } = args;
        let about = if *sections == 1 && spread.events == 1 {
            "A seat of one hot section is held and confirmed immediately."
        } else {
            "A seat of one of many sections is held and confirmed immediately."
        };
        let role = Role::Pairs { keyed: *keys };
        let mut plan = plan("pairs", about, role, load(&sale.load, 10.0, 2.0)).at(sale);
        plan.over(*sections, spread);
        plan.set("keys", keys);
        plan
    }
}

fn mind(args: &MindArgs) -> Mind {
    let MindArgs { think_ms, abandon, cancel } = *args;
    Mind { think: Duration::from_millis(think_ms), abandon, cancel }
}

impl Plan {
    fn minded(&mut self, args: &MindArgs) {
        self.set("think-ms", &args.think_ms);
        self.set("abandon", &args.abandon);
        self.set("cancel", &args.cancel);
    }

    /// Spreads the load over the first `sections` of each event, none of which sells out.
    fn over(&mut self, sections: u32, spread: &SpreadArgs) {
        self.ground = Ground::Sale(Venue { sections: sections as usize, ..Venue::ENDLESS });
        self.set("sections", &sections);
        self.spread(spread, Some(sections as usize));
    }

    fn spread(&mut self, args: &SpreadArgs, sections: Option<usize>) {
        let SpreadArgs { events, zipf } = *args;
        let zipf = zipf.unwrap_or(if events > 1 { 1.0 } else { 0.0 });
        self.spread = Spread { events: events as usize, zipf, sections };
        self.set("events", &events);
        self.set("zipf", &zipf);
    }

    fn in_halls(&mut self, args: &HallsArgs) {
        let HallsArgs { keys, seats, halls, sold_before, counted, .. } = args;
        self.ground = Ground::Sale(Venue { seats: *seats, ..Venue::ENDLESS });
        self.spread = Spread { events: *halls as usize, ..Spread::ALL };
        let compared = *counted > 0.0;
        self.halls = Some(Halls { sold_before: *sold_before, leave_at: 1, compared });
        self.set("keys", keys);
        self.set("seats", seats);
        self.set("halls", halls);
        self.set("sold-before", sold_before);
        self.set("counted", counted);
    }

    fn in_venue(&mut self, venue: Venue) {
        self.ground = Ground::Sale(venue);
        self.set("sections", &venue.sections);
        self.set("seats", &venue.seats);
        self.set("hold-ttl", &venue.hold_ttl_seconds);
    }
}

impl From<&OnsaleArgs> for Plan {
    fn from(args: &OnsaleArgs) -> Self {
        let OnsaleArgs { sections, seats, hold_ttl, mind: minds, sale } = args;
        let about = "All seats are sold: buyers hold one to four seats of a section, think, then \
            confirm, cancel or abandon; the seats of expired holds are sold again.";
        let role = Role::Rush(mind(minds));
        let mut plan = plan("onsale", about, role, load(&sale.load, 60.0, 0.0)).at(sale);
        plan.in_venue(Venue {
            sections: *sections as usize,
            seats: *seats,
            hold_ttl_seconds: *hold_ttl,
        });
        plan.spread = Spread::ALL;
        plan.minded(minds);
        plan.sells_out = true;
        plan
    }
}

impl From<&SoldoutArgs> for Plan {
    fn from(args: &SoldoutArgs) -> Self {
        let SoldoutArgs { keys, seats, confirms_beside, sale } = args;
        let about = "Holds are sent to a sold-out section, while earlier holds are confirmed.";
        let role = Role::Hold { keyed: *keys };
        let mut plan = plan("soldout", about, role, load(&sale.load, 10.0, 2.0)).at(sale);
        let spans = plan.load.seconds + plan.load.warm_up;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let ttl = (spans + SPARE_SECONDS).min(HOLD_TTL_SECONDS_MAX.into()) as u32;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        let beside = (confirms_beside * spans).ceil() as u64 + 1;
        let seats = (*seats).max(beside);
        plan.in_venue(Venue { sections: 1, seats, hold_ttl_seconds: ttl });
        plan.beside = Some(Beside { role: Role::Confirms, rate: *confirms_beside });
        plan.sold_before = true;
        plan.sells_out = true;
        plan.set("keys", keys);
        plan.set("confirms-beside", confirms_beside);
        plan
    }
}

impl From<&RetriesArgs> for Plan {
    fn from(args: &RetriesArgs) -> Self {
        let RetriesArgs { repeats, sale } = args;
        let about = "Each hold is sent several times with the same key, some at the same time.";
        let role = Role::Retries { repeats: *repeats };
        let mut plan = plan("retries", about, role, load(&sale.load, 10.0, 2.0)).at(sale);
        plan.set("repeats", repeats);
        plan
    }
}

impl From<&ExpiryArgs> for Plan {
    fn from(args: &ExpiryArgs) -> Self {
        let ExpiryArgs { seats, hold_ttl, sale } = args;
        let about = "All seats of a section are held and abandoned, wave after wave; resale is \
            the time from the end of a hold to the next hold of its seat.";
        let mut plan = plan("expiry", about, Role::Waves, load(&sale.load, 10.0, 0.0)).at(sale);
        plan.in_venue(Venue { sections: 1, seats: *seats, hold_ttl_seconds: *hold_ttl });
        plan.sells_out = true;
        plan
    }
}

impl From<&ReadsArgs> for Plan {
    fn from(args: &ReadsArgs) -> Self {
        let ReadsArgs { sections, holds_beside, sale } = args;
        let about = "The event and its seats are read alternately, while seats are held.";
        let mut plan = plan("reads", about, Role::Reads, load(&sale.load, 10.0, 2.0)).at(sale);
        plan.in_venue(Venue {
            sections: *sections as usize,
            seats: SEATS_ENDLESS,
            hold_ttl_seconds: HOLD_TTL_SECONDS_MAX,
        });
        plan.beside = Some(Beside { role: Role::Hold { keyed: true }, rate: *holds_beside });
        plan.set("holds-beside", holds_beside);
        plan
    }
}

impl From<&MixedArgs> for Plan {
    fn from(args: &MixedArgs) -> Self {
        let MixedArgs { sections, seats, hold_ttl, mind: minds, spread, sale } = args;
        let about = "Of a hundred requests, twenty read the event, thirty its seats, ten a \
            booking, and forty hold seats, some twice with one key; buyers confirm, cancel or \
            abandon.";
        let role = Role::Mixed(mind(minds));
        let mut plan = plan("mixed", about, role, load(&sale.load, 10.0, 2.0)).at(sale);
        plan.in_venue(Venue {
            sections: *sections as usize,
            seats: *seats,
            hold_ttl_seconds: *hold_ttl,
        });
        plan.spread(spread, None);
        plan.minded(minds);
        plan
    }
}

impl From<&SeatsArgs> for Plan {
    fn from(args: &SeatsArgs) -> Self {
        let SeatsArgs { most, collide, halls } = args;
        let about = "Seats of numbered halls are held by name: each connection walks through a \
            part of its own, and sometimes requests seats in the part of another one.";
        let role = Role::Seats {
            keyed: halls.keys,
            most: *most,
            collide: *collide,
            counted: halls.counted,
        };
        let load = load(&halls.sale.load, 10.0, 2.0);
        let mut plan = plan("seats", about, role, load).at(&halls.sale);
        plan.in_halls(halls);
        plan.set("most", most);
        plan.set("collide", collide);
        plan
    }
}

impl From<&BestAvailableArgs> for Plan {
    fn from(args: &BestAvailableArgs) -> Self {
        let BestAvailableArgs { most, adjacent, leave_at, halls } = args;
        let about = "The best available seats of a numbered hall are held for groups; when it is \
            full, those of the next hall.";
        let role = Role::Parties {
            keyed: halls.keys,
            most: *most,
            adjacent: *adjacent,
            counted: halls.counted,
        };
        let load = load(&halls.sale.load, 10.0, 2.0);
        let mut plan = plan("best-available", about, role, load).at(&halls.sale);
        plan.in_halls(halls);
        plan.set("most", most);
        plan.halls = plan.halls.map(|halls| Halls { leave_at: *leave_at.min(most), ..halls });
        plan.set("adjacent", adjacent);
        plan.set("leave-at", leave_at);
        plan
    }
}

impl From<&GetArgs> for Plan {
    fn from(args: &GetArgs) -> Self {
        let GetArgs { target, path, load: of_load } = args;
        let about = "All connections read one path.";
        let role = Role::Get(Uri::default());
        let mut plan = plan("get", about, role, load(of_load, 10.0, 2.0));
        plan.place.target.clone_from(target);
        plan.ground = Ground::Pages;
        plan.path = Some(path.clone());
        plan.set("path", path);
        plan
    }
}

impl From<&CeilingArgs> for Plan {
    fn from(args: &CeilingArgs) -> Self {
        let CeilingArgs { path, keys, buyers, load: of_load } = args;
        let about = "A bare endpoint with the same token check and JSON, without a store.";
        let role = Role::Hold { keyed: *keys };
        let mut plan = plan("ceiling", about, role, load(of_load, 10.0, 2.0));
        plan.ground = Ground::Ceiling;
        plan.place.buyers = *buyers as usize;
        plan.path = (path == "plain").then(|| "/plain".to_owned());
        plan.set("path", path);
        plan.set("keys", keys);
        plan.set("buyers", buyers);
        plan
    }
}
