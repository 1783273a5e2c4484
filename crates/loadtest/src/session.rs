//! A session: people and places, the runs one after the other, the proof of each, one report.

use crate::api::Api;
use crate::ceiling::Ceiling;
use crate::ledger::{Fate, Ledger};
use crate::machine;
use crate::people::{self, Wanted};
use crate::plan::{Ground, Plan, Venue};
use crate::progress::Progress;
use crate::proof::{Case, Crew, FIRST_OF_SETUP, Findings, examine};
use crate::report::{Proof, Report, Run};
use crate::roles::Role;
use crate::run::{self, Done};
use crate::setup;
use crate::stage::{Buyer, Cast, Section, Stage};
use crate::summary;
use crate::target::Target;
use crate::trouble::Trouble;
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Descriptors beside those of the connections: the crews, the runtime, files.
const DESCRIPTORS_BESIDE: u64 = 512;

/// From this share of 429 on, the figures are those of a rate limit.
const RATE_LIMITED_SHARE: f64 = 0.05;

/// Runs a plan, as often as it says. Once something was measured it is reported, whatever comes after it:
/// what could not be examined is not proven.
pub async fn run(plan: &Plan, progress: &Progress) -> Result<Report, Trouble> {
    allow_descriptors(plan.load.connections as u64)?;
    let ceiling = match plan.ground {
        Ground::Ceiling => Some(Ceiling::start().await?),
        Ground::Sale(_) | Ground::Pages => None,
    };
    let base = ceiling.as_ref().map_or(&plan.place.target, |ceiling| &ceiling.base);
    let target = Arc::new(Target::parse(base)?);
    let pulse = Arc::clone(&target.pulse);
    let _watchers = pulse.watch()?;
    progress.part("setup");
    let gathered = async {
        let server = greet(&target).await?;
        Ok((server, Arc::new(cast(plan, &target, ceiling.as_ref(), progress).await?)))
    };
    let (server, cast) = pulse.unless_over(gathered).await?;
    let mut session = Session {
        plan,
        cast,
        ceiling: ceiling.as_ref(),
        progress,
        report: blank(plan, &target, server),
        findings: Findings::default(),
        rate_limited: 0,
    };
    let before = machine::ticks();
    for number in 0..plan.load.runs {
        let done = session.run(number).await;
        if let Err(trouble) = done {
            if session.report.runs.is_empty() {
                return Err(trouble);
            }
            session.findings.stop(trouble.to_string());
            break;
        }
        if session.report.runs.last().is_some_and(|run| run.ended == "interrupted") {
            break;
        }
    }
    let Session { mut report, findings, rate_limited, .. } = session;
    report.machine.steal = machine::steal(before, machine::ticks());
    report.summary = summary::over(&report.runs);
    report.proof = findings.verdict();
    report.notes = notes(&report.runs, rate_limited);
    Ok(report)
}

/// What the runs of a session have in common, and what they came to so far.
struct Session<'a> {
    plan: &'a Plan,
    cast: Arc<Cast>,
    ceiling: Option<&'a Ceiling>,
    progress: &'a Progress,
    report: Report,
    findings: Findings,
    rate_limited: u64,
}

impl Session<'_> {
    /// One run and its proof.
    async fn run(&mut self, number: u64) -> Result<(), Trouble> {
        let Self { plan, cast, ceiling, progress, .. } = self;
        let pulse = Arc::clone(&cast.target.pulse);
        progress.part(format!("{} {}/{}", plan.name, number + 1, plan.load.runs));
        let prepared = async {
            let (mut stage, role) = place(plan, cast, ceiling.is_some(), number, progress).await?;
            let so_far = prepare(plan, &mut stage, progress).await?;
            Ok((Arc::new(stage), role, so_far))
        };
        let (stage, role, so_far) = pulse.unless_over(prepared).await?;
        let plan_of_run = Plan { role, ..(*plan).clone() };
        let Done { run, mut ledger } = run::run(&plan_of_run, &stage, progress).await?;
        ledger.append(so_far);
        self.rate_limited += ledger.rate_limited;
        if run.ended == "errors" {
            self.findings.stop("a connection of the client failed");
        }
        self.report.runs.push(run);
        progress.part("proof");
        let mut case = Case::new(&stage, ledger, plan.load.verify);
        case.is_a_sale = matches!(plan.ground, Ground::Sale(_));
        if let Ground::Sale(venue) = plan.ground
            && plan.sells_out
            && stage.is_ours
        {
            case.sells_out_after = Some(Duration::from_secs(venue.hold_ttl_seconds.into()));
        }
        case.open(&mut self.findings);
        let proven = async {
            if case.is_a_sale {
                examine(&mut case, &mut self.findings, progress).await?;
            }
            Ok(())
        };
        let proven = pulse.unless_over(proven).await;
        case.answers_told(&mut self.findings);
        proven?;
        if stage.is_ours && cast.organizer.is_some() {
            let closed = async {
                setup::close(cast, &stage.events, progress).await;
                Ok(())
            };
            // A courtesy: what was proven stays so without it.
            let _ = pulse.unless_over(closed).await;
        }
        Ok(())
    }
}

fn blank(plan: &Plan, target: &Target, server: String) -> Report {
    #[expect(clippy::disallowed_methods, reason = "the one look at the wall clock")]
    let now = SystemTime::now();
    let started_at = chrono::DateTime::<chrono::Utc>::from(now);
    Report {
        tool: format!("reservix-load {}", env!("CARGO_PKG_VERSION")),
        started_at: started_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        target: target.base.clone(),
        server,
        scenario: plan.name.to_owned(),
        about: plan.about.to_owned(),
        settings: plan.settings.clone(),
        machine: machine::look(),
        runs: Vec::new(),
        summary: Vec::new(),
        proof: Proof::default(),
        notes: Vec::new(),
    }
}

/// Who the target says that it is.
async fn greet(target: &Arc<Target>) -> Result<String, Trouble> {
    let reply = Api::new(target).call(Method::GET, "/", None, None).await?;
    let told = reply.want(200, &format!("GET {}/", target.base))?;
    let word = |name| told.get(name).and_then(Value::as_str).unwrap_or("unknown");
    Ok(format!("{} {}", word("app"), word("version")))
}

/// Every connection needs a descriptor, and the usual limit is 1,024.
fn allow_descriptors(connections: u64) -> Result<(), Trouble> {
    let wanted = connections + DESCRIPTORS_BESIDE;
    let doing = "raising the limit of open files";
    let (soft, hard) =
        rlimit::Resource::NOFILE.get().map_err(|error| Trouble::because(doing, error))?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        return Err(Trouble::new(format!(
            "{connections} connections need {wanted} open files, but the limit is {hard}; see \
             ulimit -n"
        )));
    }
    rlimit::Resource::NOFILE.set(wanted, hard).map_err(|error| Trouble::because(doing, error))
}

async fn cast(
    plan: &Plan,
    target: &Arc<Target>,
    ceiling: Option<&Ceiling>,
    progress: &Progress,
) -> Result<Cast, Trouble> {
    if let Some(ceiling) = ceiling {
        return ceiling.cast(target, plan.place.buyers);
    }
    let wants_event = plan.path.as_ref().is_some_and(|path| path.contains("{event}"));
    let is_a_sale = matches!(plan.ground, Ground::Sale(_));
    if !is_a_sale && !wants_event {
        // Pages are for everybody.
        let buyers = vec![Buyer::new(target, &HeaderValue::from_static("Bearer none"))];
        return Ok(Cast { target: Arc::clone(target), buyers, organizer: None, session: 0 });
    }
    let wanted = Wanted {
        buyers: if is_a_sale { plan.place.buyers } else { 1 },
        tokens: plan.place.tokens.as_deref(),
        organizer: plan.place.event.is_none(),
    };
    people::gather(target, &wanted, |what| progress.say(what)).await
}

/// The event of a run, and what is done there.
async fn place(
    plan: &Plan,
    cast: &Arc<Cast>,
    is_ceiling: bool,
    run: u64,
    progress: &Progress,
) -> Result<(Stage, Role), Trouble> {
    let stage = match plan.ground {
        Ground::Sale(venue) => setup::stage(cast, plan, venue, run, progress).await?,
        Ground::Pages if cast.session != 0 => {
            setup::stage(cast, plan, Venue::ENDLESS, run, progress).await?
        }
        Ground::Pages | Ground::Ceiling if is_ceiling => Ceiling::stage(cast, run),
        Ground::Pages | Ground::Ceiling => {
            let none = Section {
                event: 0,
                id: String::new(),
                capacity: 0,
                sold_before: None,
                held_before: None,
                hall: None,
            };
            Stage::new(cast, run, vec![Uuid::nil()], vec![none])
        }
    };
    let role = match &plan.path {
        Some(path) => {
            let path = path.replace("{event}", &stage.events[0].to_string());
            Role::Get(cast.target.uri(&path)?)
        }
        None => plan.role.clone(),
    };
    Ok((stage, role))
}

/// Makes the holds that are confirmed beside the load, and sells what is to be sold before it.
async fn prepare(plan: &Plan, stage: &mut Stage, progress: &Progress) -> Result<Ledger, Trouble> {
    let confirms = plan.beside.as_ref().filter(|beside| matches!(beside.role, Role::Confirms));
    let seconds = plan.load.seconds + plan.load.warm_up;
    let confirms = confirms.filter(|beside| beside.rate > 0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let wanted = confirms.map_or(0, |beside| (beside.rate * seconds).ceil() as u64 + 1);
    let share = plan.halls.map_or(0.0, |halls| halls.sold_before);
    if wanted == 0 && !plan.sold_before && share == 0.0 {
        return Ok(Ledger::default());
    }
    // The crew keeps the stage as it is now; what it learns goes into the one that is played on.
    let mut crew = Crew::new(&Arc::new(stage.again()), FIRST_OF_SETUP);
    if share > 0.0 {
        sell_in_halls(&mut crew, stage, share, progress).await?;
    }
    progress.say(format!("holding {wanted} seats to be confirmed during the run"));
    let held = crew.hold_singles(wanted).await;
    if (held.len() as u64) < wanted {
        let held = held.len();
        return Err(Trouble::new(format!(
            "only {held} of {wanted} seats could be held before the run"
        )));
    }
    if plan.sold_before {
        progress.say("selling out".to_owned());
        for (number, section) in (0_u32..).zip(&stage.sections) {
            crew.sell_out(number, section.capacity).await;
        }
    }
    let is_held = |entry: &crate::ledger::Entry| entry.fate != Fate::Repeated;
    let fresh = held.into_iter().filter(is_held);
    stage.prepared = fresh.map(|entry| (entry, AtomicBool::new(false))).collect();
    Ok(crew.ledger())
}

/// Sells a share of the seats of each hall, chosen at random.
async fn sell_in_halls(
    crew: &mut Crew,
    stage: &Stage,
    share: f64,
    progress: &Progress,
) -> Result<(), Trouble> {
    for (done, section) in stage.halls.iter().enumerate() {
        progress.of("selling before the run", done, stage.halls.len());
        let seats = stage.hall(*section).map_or(0, |hall| hall.drawing.seats());
        let mut all: Vec<u32> = (0..seats).collect();
        crate::random::shuffle(&mut all);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
        all.truncate((f64::from(seats) * share).round() as usize);
        let sold = crew.sell_named(*section, &all).await;
        if sold < all.len() as u64 && stage.is_ours {
            let wanted = all.len();
            return Err(Trouble::new(format!(
                "only {sold} of {wanted} seats could be sold before the run"
            )));
        }
    }
    Ok(())
}

fn notes(runs: &[Run], rate_limited: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let sent: u64 = runs.iter().flat_map(|run| &run.operations).map(|it| it.sent).sum();
    if rate_limited as f64 > sent as f64 * RATE_LIMITED_SHARE && rate_limited > 0 {
        notes.push(format!(
            "{rate_limited} answers were 429: the server enforces rate limits, which determine \
             the figures. Set RATE_LIMIT_ENABLED=false on a test deployment."
        ));
    }
    for (number, run) in (1..).zip(runs) {
        let client = &run.client;
        if client.was_the_limit {
            notes.push(format!(
                "Run {number}: the client was the bottleneck. It used {:.0} % of the cores, and \
                 woke up {:.0} ms late (p99): the server's latencies were lower than these \
                 figures.",
                client.cpu_share * 100.0,
                client.late_p99_ms
            ));
        }
        if run.operations.iter().all(|operation| operation.accepted.count == 0) {
            notes.push(format!("Run {number}: no request was accepted; see the answers."));
        }
        for operation in run.operations.iter().filter(|operation| operation.dropped > 0) {
            notes.push(format!(
                "Run {number}: {} of {} {} arrivals were dropped because no connection was free \
                 in time.",
                operation.dropped,
                operation.dropped + operation.sent,
                operation.name
            ));
        }
        if run.ended == "no seats left" {
            notes.push(format!(
                "Run {number} ended early because the halls were full. Use more --halls."
            ));
        }
        if run.ended == "no answer" {
            notes.push(format!("Run {number} was aborted: the server no longer answered."));
        }
    }
    notes
}
