//! What a call needs and what a caller has, and the answer that follows from both.

use crate::support::Answer;
use engine::access::{Permission, Permissions};
use std::fmt;

/// What a caller is to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sends no token.
    Nobody,
    /// Sends a key that has ended.
    Ended,
    /// Buys without an account.
    Visitor,
    /// Has an account.
    User,
    /// Is a key.
    Key,
}

/// What a caller may do.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    pub(super) kind: Kind,
    /// Whether it is a member or a key of the team, or reads it as an operator.
    pub(super) is_inside: bool,
    /// Whether it reads the whole installation.
    pub(super) is_operator: bool,
    /// At the team and at its events.
    pub(super) can: Permissions,
    /// At the own organization: the personal one of a user, or that of a key.
    pub(super) at_home: Permissions,
}

/// Who may see an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Public,
    Draft,
}

/// What is done with a booking.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Read,
    /// Change, extend or confirm.
    Sell,
    CancelHold,
    CancelSale,
}

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// No token; one that is sent must be good (HTTP.md, "Access").
    Nothing,
    /// To see the event.
    See(Of),
    /// An account.
    Account,
    /// An account, or the token of a visitor.
    Person,
    /// The permission at the caller's own organization.
    Home(Permission),
    /// An account that is a member of the team.
    Member,
    /// The same, to end the membership.
    Leave,
    /// To be an operator.
    Operator,
    /// The permission at the team itself, and an account.
    Team(Permission),
    /// The permission at the team itself.
    TeamOrKey(Permission),
    /// The permission at the event, and an account.
    Event(Permission, Of),
    /// The permission at the event.
    EventOrKey(Permission, Of),
    /// To see the event; a key also needs `booking.sell`, since it sells to somebody.
    Hold(Of),
    /// To be the buyer, or the permission for it; the booking is of somebody else.
    Booking(Act),
    /// The same; the booking is of the caller, where the caller can have one.
    OwnBooking(Act),
}

/// The answer that a call has to get.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Granted,
    Refused(u16, &'static str, Option<Permission>),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted => f.write_str("granted"),
            Self::Refused(status, code, None) => write!(f, "{status} {code}"),
            Self::Refused(status, code, Some(lacking)) => write!(f, "{status} {code} {lacking}"),
        }
    }
}

const UNAUTHORIZED: Expected = Expected::Refused(401, "unauthorized", None);
const ACCOUNT_REQUIRED: Expected = Expected::Refused(403, "account_required", None);
const NOT_ORGANIZER: Expected = Expected::Refused(403, "not_organizer", None);
const HIDDEN: Expected = Expected::Refused(404, "not_found", None);
const LAST_OWNER: Expected = Expected::Refused(409, "last_owner", None);
const NOT_CANCELLABLE: Expected = Expected::Refused(409, "not_cancellable", None);

fn lacks(what: Permission) -> Expected {
    Expected::Refused(403, "permission_missing", Some(what))
}

impl Need {
    /// How all callers of this kind are refused, whatever they may do.
    fn excludes(self, kind: Kind) -> Option<Expected> {
        let is_open = matches!(self, Self::Nothing | Self::See(_));
        let is_of_buyers = matches!(self, Self::Hold(_) | Self::Booking(_) | Self::OwnBooking(_));
        let is_of_visitors = is_open || is_of_buyers || self == Self::Person;
        let is_of_organizers =
            matches!(self, Self::Home(_) | Self::TeamOrKey(_) | Self::EventOrKey(..));
        let is_of_keys = is_open || is_of_buyers || is_of_organizers;
        match kind {
            Kind::Ended => (self != Self::Nothing).then_some(UNAUTHORIZED),
            Kind::Nobody => (!is_open).then_some(UNAUTHORIZED),
            Kind::Visitor => (!is_of_visitors).then_some(ACCOUNT_REQUIRED),
            Kind::Key => (!is_of_keys).then_some(ACCOUNT_REQUIRED),
            Kind::User => None,
        }
    }
}

/// The answer to a caller with these rights.
pub(super) fn expected(need: Need, who: Rights) -> Expected {
    if let Some(refusal) = need.excludes(who.kind) {
        return refusal;
    }
    let Rights { kind, is_inside, is_operator, can, at_home } = who;
    match need {
        Need::Nothing | Need::Account | Need::Person => Expected::Granted,
        Need::Hold(of) if kind == Kind::Key => at_event(Permission::BookingSell, of, who),
        Need::See(of) | Need::Hold(of) => either(is_seen(of, can), HIDDEN),
        Need::Home(what) => either(at_home.has(what), lacks(what)),
        Need::Operator => either(is_operator, lacks(Permission::LogRead)),
        // There is no such member.
        Need::Leave if is_operator => HIDDEN,
        Need::Leave if can.has(Permission::OrgWrite) => LAST_OWNER,
        Need::Member | Need::Leave => either(is_inside, HIDDEN),
        Need::Team(what) | Need::TeamOrKey(what) if is_inside => either(can.has(what), lacks(what)),
        Need::Team(_) | Need::TeamOrKey(_) => HIDDEN,
        Need::Event(what, of) | Need::EventOrKey(what, of) => at_event(what, of, who),
        Need::OwnBooking(act) if kind != Kind::Key => {
            let may = act != Act::CancelSale || can.has(Permission::BookingCancel);
            either(may, NOT_CANCELLABLE)
        }
        Need::Booking(act) | Need::OwnBooking(act) => with_booking(act, can),
    }
}

fn either(is_granted: bool, refusal: Expected) -> Expected {
    if is_granted { Expected::Granted } else { refusal }
}

fn is_seen(of: Of, can: Permissions) -> bool {
    of == Of::Public || can.has(Permission::EventRead)
}

fn at_event(what: Permission, of: Of, who: Rights) -> Expected {
    match (who.can.has(what), is_seen(of, who.can)) {
        (true, _) => Expected::Granted,
        (false, false) => HIDDEN,
        (false, true) if who.is_inside => lacks(what),
        (false, true) => NOT_ORGANIZER,
    }
}

/// A booking is there for those who may read it.
fn with_booking(act: Act, can: Permissions) -> Expected {
    let what = match act {
        Act::Read => Permission::BookingRead,
        Act::Sell => Permission::BookingSell,
        Act::CancelHold | Act::CancelSale => Permission::BookingCancel,
    };
    let may_sell = act == Act::CancelHold && can.has(Permission::BookingSell);
    let refusal = if can.has(Permission::BookingRead) { lacks(what) } else { HIDDEN };
    either(can.has(what) || may_sell, refusal)
}

/// What a call was answered, and what it did.
pub(super) struct Seen {
    pub(super) answer: Answer,
    /// Whether what the call is about is as it was.
    pub(super) is_unchanged: bool,
    /// What was sent and is secret.
    pub(super) secrets: Vec<String>,
    /// The text that only callers with a permission are shown, and whether this one is.
    pub(super) shown: Option<(String, bool)>,
}

/// What is wrong with an answer; `granted` is the one that a call gets if it is granted, where that is no
/// success.
pub(super) fn compare(expected: Expected, granted: &str, seen: &Seen) -> Option<String> {
    let answer = &seen.answer;
    let text = format!("{:?} {}", answer.headers, answer.body);
    let got = format!("{} {}", answer.short(), answer.body["permission"].as_str().unwrap_or(""));
    let got = got.trim_end();
    if seen.secrets.iter().any(|secret| text.contains(secret.as_str())) {
        return Some(format!("{got} repeats a secret that was sent"));
    }
    let is_right = match expected {
        Expected::Refused(status, code, lacking) => {
            let lacking = lacking.map(Permission::as_str);
            answer.is(status, code) && answer.body["permission"].as_str() == lacking
        }
        Expected::Granted if granted.is_empty() => answer.status.is_success(),
        Expected::Granted => answer.short() == granted,
    };
    let is_refused = !answer.status.is_success();
    let told =
        if granted.is_empty() { expected.to_string() } else { format!("{expected}: {granted}") };
    let done = if is_refused && !seen.is_unchanged { ", and it was done" } else { "" };
    let got = format!("expected {told}, got {got}{done}");
    if !is_right || !done.is_empty() {
        return Some(got);
    }
    let (hidden, may_see) = seen.shown.as_ref().filter(|_| !is_refused)?;
    let is_shown = text.contains(hidden.as_str());
    (is_shown != *may_see).then(|| format!("{got}, showing {hidden}: {is_shown}"))
}
