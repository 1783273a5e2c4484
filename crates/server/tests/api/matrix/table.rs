//! The calls of the matrix: for each operation of the document, what it needs and a valid request.

use super::needs::{Act, Need, Of};
use engine::access::Permission;

/// What a request is about. What is changed or ended is made anew for each request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// Nothing of the team.
    Nothing,
    /// The team, with what it has.
    Team,
    /// Another team, with the caller in the same role and the heir as an analyst.
    NewTeam,
    /// The same, and the caller's own membership.
    Oneself,
    /// The tokens of a new login of the customer.
    Login,
    /// The logins of the caller, who logs in again afterwards.
    OwnLogins,
    /// An event of the team with numbered seats, which is only read.
    Shown(Of),
    /// A new event of the team.
    Event(Of),
    Series,
    /// A hold of the caller, where the caller can have one; else of the customer.
    OwnHold,
    OwnSale,
    /// A hold of the customer.
    Hold,
    Sale,
    /// A hold of a visitor, and its token.
    VisitorsHold,
    Key,
    Invitation,
    /// An invitation to a third team for the address of the caller.
    Invited,
    /// The same for another address.
    InvitedOther,
}

/// A call: one of those that an operation has.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) case: &'static str,
    pub(super) need: Need,
    pub(super) on: On,
    /// With the names of what the request is about in braces, as in the body.
    pub(super) query: &'static str,
    pub(super) body: &'static str,
    /// What it is answered if it is granted; empty: a success.
    pub(super) granted: &'static str,
    /// What a successful answer shows to those alone who have this permission.
    pub(super) shows: Option<(Permission, &'static str)>,
}

const fn call(
    operation: &'static str,
    case: &'static str,
    need: Need,
    on: On,
    query: &'static str,
    body: &'static str,
) -> Call {
    Call { operation, case, need, on, query, body, granted: "", shows: None }
}

impl Call {
    const fn answers(self, granted: &'static str) -> Self {
        Self { granted, ..self }
    }

    const fn shows(self, what: Permission, text: &'static str) -> Self {
        Self { shows: Some((what, text)), ..self }
    }
}

const SHOW: &str =
    r#"{"title":"Show","event_date":"2099-06-15","sections":[{"name":"A","capacity":5}]}"#;
const SHOW_OF_TEAM: &str = r#"{"title":"Show","event_date":"2099-06-15",
    "organization_id":"{organization_id}","sections":[{"name":"A","capacity":5}]}"#;
const DRAFT_OF_TEAM: &str = r#"{"title":"Show","event_date":"2099-06-15","status":"draft",
    "organization_id":"{organization_id}","sections":[{"name":"A","capacity":5}]}"#;
const SEASON_OF_TEAM: &str = r#"{"title":"{unique}","organization_id":"{organization_id}"}"#;
const REGISTER: &str = r#"{"email":"{unique}@example.com","password":"{password}"}"#;
const LOGIN: &str = r#"{"email":"{customer_email}","password":"{password}"}"#;
const PASSWORDS: &str = r#"{"current_password":"{password}","new_password":"{password}"}"#;
const GUESS: &str = r#"{"password":"a guess"}"#;
const PROOF: &str = r#"{"booking_id":"{booking_id}","booking_token":"{booking_token}"}"#;
const HEIR: &str = r#"{"user_id":"{user_id}","password":"{password}"}"#;
const TOKEN: &str = r#"{"token":"{token}"}"#;
const READS: &str = r#"{"name":"Till","scopes":["event.read"]}"#;
const OF_TEAM: &str = "?organization_id={organization_id}";
const OF_CUSTOMER: &str = "?ref=cust-42&organization_id={organization_id}";
const OF_CUSTOMER_THERE: &str =
    "?ref=cust-42&organization_id={organization_id}&event_id={event_id}";
const REFRESH: &str = r#"{"refresh_token":"{refresh_token}"}"#;
const INVITE: &str = r#"{"email":"{unique}@example.com","role":"analyst"}"#;
const TITLE: &str = r#"{"title":"{unique}"}"#;
const NAME: &str = r#"{"name":"{unique}"}"#;
const SECTION: &str = r#"{"name":"B","capacity":5}"#;
const PRICE: &str = r#"{"price":1200}"#;
const LAYOUT: &str = r#"{"rows":"A","seats_per_row":5}"#;
const BLOCK: &str = r#"{"number":2,"reason":"sound"}"#;
const TO_CALLER: &str = r#"{"organization_id":"{home}"}"#;
const TO_OTHERS: &str = r#"{"organization_id":"{rival_id}"}"#;
const HOLD: &str = r#"{"event_id":"{event_id}","section_id":"A","seats_requested":1}"#;
const SELL_NEW: &str =
    r#"{"event_id":"{event_id}","section_id":"A","seats_requested":1,"buyer":{}}"#;
const SELL_REF: &str = r#"{"event_id":"{event_id}","section_id":"A","seats_requested":1,
    "buyer":{"ref":"cust-42"}}"#;
const SELL_USER: &str = r#"{"event_id":"{event_id}","section_id":"A","seats_requested":1,
    "buyer":{"user_id":"{customer_id}"}}"#;
const TWO: &str = r#"{"items":[{"section_id":"A","seats_requested":2}]}"#;

/// Every operation, each with one call or several.
#[rustfmt::skip]
pub(super) const CALLS: &[Call] = {
    use Act::{CancelHold, CancelSale, Read, Sell};
    use Need::{Account, Booking, Event, EventOrKey, Hold, Home, Leave, Member, Nothing};
    use Need::{Operator, OwnBooking, Person, See, Team, TeamOrKey};
    use Of::{Draft, Public};
    use Permission::{BookingRead, BookingSell, EventCancel, EventRead, EventWrite};
    use Permission::{IntegrationWrite, InventoryWrite, LogRead, MemberWrite, OrgWrite};
    &[
        call("register", "", Nothing, On::Nothing, "", REGISTER),
        call("login", "", Nothing, On::Nothing, "", LOGIN),
        call("refresh_tokens", "", Nothing, On::Login, "", REFRESH),
        call("logout", "", Nothing, On::Login, "", REFRESH),
        call("logout_all", "", Account, On::OwnLogins, "", ""),
        call("change_password", "", Account, On::OwnLogins, "", PASSWORDS),
        call("get_me", "", Account, On::Nothing, "", ""),
        call("update_me", "", Account, On::Nothing, "", NAME),
        call("delete_me", "with a guess", Account,
            On::Nothing, "", GUESS).answers("401 invalid_credentials"),
        call("create_visitor", "new", Nothing, On::Nothing, "", ""),
        call("create_visitor", "of a booking", Nothing, On::VisitorsHold, "", PROOF),

        call("list_events", "", See(Public),
            On::Team, "?q=Premiere", "").shows(EventRead, "{draft_id}"),
        call("create_event", "own", Home(EventWrite), On::Team, "", SHOW),
        call("create_event", "of the team", TeamOrKey(EventWrite), On::Team, "", SHOW_OF_TEAM),
        call("create_event", "a draft of the team", TeamOrKey(EventWrite),
            On::Team, "", DRAFT_OF_TEAM),
        call("get_event", "public", See(Public), On::Shown(Public), "", ""),
        call("get_event", "draft", See(Draft), On::Shown(Draft), "", ""),
        call("update_event", "public", EventOrKey(EventWrite, Public),
            On::Event(Public), "", TITLE),
        call("update_event", "draft", EventOrKey(EventWrite, Draft), On::Event(Draft), "", TITLE),
        call("update_event", "withdrawn", EventOrKey(EventWrite, Public), On::Event(Public), "",
            r#"{"status":"draft"}"#),
        call("update_event", "currency", EventOrKey(EventWrite, Public), On::Event(Public), "",
            r#"{"currency":"CHF"}"#),
        call("get_availability", "public", See(Public),
            On::Shown(Public), "", "").shows(EventRead, "held_seats"),
        call("get_availability", "draft", See(Draft), On::Shown(Draft), "", ""),
        call("cancel_event", "public", EventOrKey(EventCancel, Public), On::Event(Public), "", ""),
        call("cancel_event", "draft", EventOrKey(EventCancel, Draft), On::Event(Draft), "", ""),
        call("transfer_event", "public", Event(OrgWrite, Public), On::Event(Public), "", TO_CALLER),
        call("transfer_event", "draft", Event(OrgWrite, Draft), On::Event(Draft), "", TO_CALLER),
        // Where the caller is nothing, there is no organization.
        call("transfer_event", "to others", Event(OrgWrite, Public), On::Event(Public), "",
            TO_OTHERS).answers("404 not_found"),
        call("create_section", "public", EventOrKey(EventWrite, Public),
            On::Event(Public), "", SECTION),
        call("create_section", "draft", EventOrKey(EventWrite, Draft),
            On::Event(Draft), "", SECTION),
        call("get_section", "public", See(Public), On::Shown(Public), "", ""),
        call("get_section", "draft", See(Draft), On::Shown(Draft), "", ""),
        call("update_section", "public", EventOrKey(EventWrite, Public),
            On::Event(Public), "", PRICE),
        call("update_section", "draft", EventOrKey(EventWrite, Draft), On::Event(Draft), "", PRICE),
        call("update_section", "capacity", EventOrKey(EventWrite, Public), On::Event(Public), "",
            r#"{"capacity":12}"#),
        call("update_section", "name", EventOrKey(EventWrite, Public), On::Event(Public), "",
            r#"{"name":"Floor"}"#),
        call("list_event_bookings", "public", EventOrKey(BookingRead, Public),
            On::Shown(Public), "", ""),
        call("list_event_bookings", "draft", EventOrKey(BookingRead, Draft),
            On::Shown(Draft), "", ""),
        call("get_drawing", "public", See(Public), On::Shown(Public), "", ""),
        call("get_drawing", "draft", See(Draft), On::Shown(Draft), "", ""),
        call("set_layout", "public", EventOrKey(EventWrite, Public), On::Event(Public), "", LAYOUT),
        call("set_layout", "draft", EventOrKey(EventWrite, Draft), On::Event(Draft), "", LAYOUT),
        call("get_seats_status", "public", See(Public), On::Shown(Public), "", ""),
        call("get_seats_status", "draft", See(Draft), On::Shown(Draft), "", ""),
        call("set_blocked_seats", "public", EventOrKey(InventoryWrite, Public),
            On::Event(Public), "", BLOCK),
        call("set_blocked_seats", "draft", EventOrKey(InventoryWrite, Draft),
            On::Event(Draft), "", BLOCK),

        call("list_series", "own", Home(EventRead), On::Team, "", ""),
        call("list_series", "of the team", TeamOrKey(EventRead), On::Team, OF_TEAM, ""),
        call("create_series", "own", Home(EventWrite), On::Team, "", TITLE),
        call("create_series", "of the team", TeamOrKey(EventWrite), On::Team, "", SEASON_OF_TEAM),
        call("get_series", "", TeamOrKey(EventRead), On::Series, "", ""),
        call("update_series", "", TeamOrKey(EventWrite), On::Series, "", TITLE),

        // A draft is not on sale, and says so to those who see it.
        call("create_hold", "public", Hold(Public), On::Event(Public), "", HOLD),
        call("create_hold", "draft", Hold(Draft),
            On::Event(Draft), "", HOLD).answers("409 sale_not_open"),
        call("create_hold", "for a new visitor", EventOrKey(BookingSell, Public),
            On::Event(Public), "", SELL_NEW),
        call("create_hold", "for a customer", EventOrKey(BookingSell, Public),
            On::Event(Public), "", SELL_REF),
        call("create_hold", "for a user", EventOrKey(BookingSell, Public),
            On::Event(Public), "", SELL_USER),
        call("create_hold", "draft, for a customer", EventOrKey(BookingSell, Draft),
            On::Event(Draft), "", SELL_REF).answers("409 sale_not_open"),
        call("list_bookings", "own", Person, On::Team, "", ""),
        call("list_bookings", "of a customer", TeamOrKey(BookingRead), On::Team, OF_CUSTOMER, ""),
        call("list_bookings", "of a customer at an event", EventOrKey(BookingRead, Public),
            On::Shown(Public), OF_CUSTOMER_THERE, ""),
        call("get_booking", "own", OwnBooking(Read), On::OwnHold, "", ""),
        call("get_booking", "of others", Booking(Read), On::Hold, "", ""),
        call("update_booking", "own", OwnBooking(Sell), On::OwnHold, "", TWO),
        call("update_booking", "of others", Booking(Sell), On::Hold, "", TWO),
        call("extend_booking", "own", OwnBooking(Sell), On::OwnHold, "", ""),
        call("extend_booking", "of others", Booking(Sell), On::Hold, "", ""),
        call("confirm_booking", "own", OwnBooking(Sell), On::OwnHold, "", ""),
        call("confirm_booking", "of others", Booking(Sell), On::Hold, "", ""),
        call("confirm_booking_by_patch", "own", OwnBooking(Sell), On::OwnHold, "", ""),
        call("confirm_booking_by_patch", "of others", Booking(Sell), On::Hold, "", ""),
        call("cancel_booking", "own hold", OwnBooking(CancelHold), On::OwnHold, "", ""),
        call("cancel_booking", "hold of others", Booking(CancelHold), On::Hold, "", ""),
        call("cancel_booking", "own sale", OwnBooking(CancelSale), On::OwnSale, "", ""),
        call("cancel_booking", "sale of others", Booking(CancelSale), On::Sale, "", ""),

        call("list_organizations", "", Account, On::Nothing, "", ""),
        call("create_organization", "", Account, On::Nothing, "", NAME),
        call("get_organization", "", Member, On::Team, "", ""),
        call("update_organization", "", Team(OrgWrite), On::Team, "", NAME),
        call("transfer_organization", "", Team(OrgWrite), On::NewTeam, "", HEIR),
        call("list_members", "", Member, On::Team, "", ""),
        call("update_member", "", Team(MemberWrite), On::NewTeam, "", r#"{"role":"check_in"}"#),
        call("delete_member", "another", Team(MemberWrite), On::NewTeam, "", ""),
        call("delete_member", "oneself", Leave, On::Oneself, "", ""),
        call("list_invitations", "", Team(MemberWrite), On::Team, "", ""),
        call("create_invitation", "", Team(MemberWrite), On::Team, "", INVITE),
        call("delete_invitation", "", Team(MemberWrite), On::Invitation, "", ""),
        call("accept_invitation", "own", Account, On::Invited, "", TOKEN),
        call("accept_invitation", "of others", Account,
            On::InvitedOther, "", TOKEN).answers("403 invitation_mismatch"),
        call("list_keys", "", Team(IntegrationWrite), On::Team, "", ""),
        call("create_key", "", Team(IntegrationWrite), On::Team, "", READS),
        call("get_key", "", Team(IntegrationWrite), On::Key, "", ""),
        call("update_key", "", Team(IntegrationWrite), On::Key, "", NAME),
        call("rotate_key", "", Team(IntegrationWrite), On::Key, "", r#"{"overlap_seconds":0}"#),
        call("delete_key", "", Team(IntegrationWrite), On::Key, "", ""),
        call("list_access_log", "", TeamOrKey(LogRead), On::Team, "", ""),
        call("list_whole_access_log", "", Operator, On::Team, "", ""),
    ]
};
