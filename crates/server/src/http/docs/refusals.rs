//! What the calls refuse, by kind of call and by call.
//!
//! A handler's attribute documents its successful answers. Its refusals are added here,
//! because most of it comes from the layers and extractors around the handler, and is the same for
//! all calls of a kind.

use super::super::PROBLEM;
use serde_json::json;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{ContentBuilder, Header, Object, Ref, RefOr, ResponseBuilder, Schema, Type};

/// A kind of call. A call is of several.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Every call.
    Any,
    /// Below `/api`.
    Api,
    /// Outside of it: health, metrics, the pages.
    Outside,
    /// With a token, or with one if the caller has one.
    Authenticated,
    /// With the token of an account: visitors are refused.
    Account,
    /// About a thing that may not be there: named in the path, or the account.
    Named,
    WithBody,
    /// With an `Idempotency-Key`.
    WithKey,
    /// With an `If-Match`.
    Guarded,
}

/// What calls of a kind refuse: the status, and the codes. For each status, the first that matches
/// is used.
const COMMON: &[(Kind, &str, &str)] = &[
    (Kind::Outside, "422", "`validation_failed`: an unknown parameter"),
    (Kind::WithBody, "400", "`malformed_request`, `malformed_json`"),
    (Kind::Api, "400", "`malformed_request`"),
    (Kind::Authenticated, "401", "`unauthorized`"),
    (Kind::Account, "403", "`account_required`"),
    (Kind::Authenticated, "403", "`key_in_browser`, `address_not_allowed`"),
    (Kind::Named, "404", "`not_found`"),
    (Kind::WithBody, "408", "`request_timeout`"),
    (Kind::Guarded, "412", "`version_mismatch`"),
    (Kind::WithBody, "413", "`body_too_large`"),
    (Kind::Api, "414", "`uri_too_long`"),
    (Kind::WithBody, "415", "`unsupported_media_type`"),
    (Kind::WithKey, "422", "`validation_failed`, `idempotency_key_reused`"),
    (Kind::Api, "422", "`validation_failed`"),
    (Kind::Api, "429", "`rate_limited`"),
    (Kind::Api, "431", "`headers_too_large`"),
    (Kind::Any, "503", "`unavailable`, `overloaded`"),
];

/// What single calls refuse beside that, or in other words, by their `operation_id`.
const OWN: &[(&str, &str, &str)] = &[
    ("register", "409", "`email_taken`"),
    ("login", "401", "`invalid_credentials`"),
    ("refresh_tokens", "401", "`invalid_refresh_token`"),
    ("change_password", "401", "`unauthorized`, `invalid_credentials`"),
    ("create_visitor", "401", "`invalid_token`"),
    ("create_hold", "403", "`not_organizer`, `permission_missing`, `account_required`: to sell"),
    ("create_hold", "404", "`not_found`: the event or the section"),
    (
        "create_hold",
        "409",
        "`event_cancelled`, `sale_not_open`, `sale_closed`, `event_over`, `too_many_seats`, \
         `buyer_limit`, `sold_out`, `seats_unavailable`, `orphan_seat`, `not_together`, \
         `idempotency_in_flight`",
    ),
    ("create_hold", "429", "`rate_limited`, `hold_limit`"),
    (
        "list_bookings",
        "403",
        "`not_organizer`, `permission_missing`, `account_required`: of a customer",
    ),
    ("list_bookings", "404", "`not_found`: the organization or the event"),
    ("confirm_booking", "403", "`permission_missing`"),
    ("confirm_booking", "409", "`event_cancelled`, `booking_cancelled`"),
    ("confirm_booking", "410", "`hold_expired`"),
    ("confirm_booking_by_patch", "403", "`permission_missing`"),
    ("confirm_booking_by_patch", "409", "`event_cancelled`, `booking_cancelled`"),
    ("confirm_booking_by_patch", "410", "`hold_expired`"),
    ("extend_booking", "403", "`permission_missing`"),
    ("extend_booking", "409", "`event_cancelled`, `booking_cancelled`, `extension_limit`"),
    ("extend_booking", "410", "`hold_expired`"),
    ("cancel_booking", "403", "`permission_missing`"),
    ("cancel_booking", "409", "`not_cancellable`"),
    ("update_booking", "403", "`permission_missing`, `not_organizer`: to go beyond limits"),
    ("update_booking", "409", "`not_changeable`, `booking_cancelled`, and the codes of a hold"),
    ("update_booking", "410", "`hold_expired`"),
    ("update_booking", "429", "`rate_limited`, `hold_limit`"),
    ("create_event", "403", "`permission_missing`"),
    ("create_event", "404", "`not_found`: the organization or the series"),
    ("create_event", "409", "`idempotency_in_flight`"),
    ("create_series", "403", "`permission_missing`"),
    ("create_series", "404", "`not_found`: the organization"),
    ("create_series", "409", "`idempotency_in_flight`"),
    ("list_series", "403", "`permission_missing`"),
    ("list_series", "404", "`not_found`: the organization"),
    ("get_series", "403", "`permission_missing`"),
    ("update_series", "403", "`permission_missing`"),
    ("update_event", "403", "`not_organizer`, `permission_missing`"),
    ("update_event", "409", "`event_cancelled`, `currency_in_use`"),
    ("cancel_event", "403", "`not_organizer`, `permission_missing`"),
    ("transfer_event", "403", "`not_organizer`, `permission_missing`"),
    ("transfer_event", "404", "`not_found`: the event or the organization"),
    ("create_section", "403", "`not_organizer`, `permission_missing`"),
    ("create_section", "409", "`event_cancelled`, `idempotency_in_flight`"),
    ("update_section", "403", "`not_organizer`, `permission_missing`"),
    (
        "update_section",
        "409",
        "`capacity_in_use`, `currency_in_use`, `seats_are_numbered`, `event_cancelled`",
    ),
    ("list_event_bookings", "403", "`not_organizer`, `permission_missing`"),
    ("get_metrics", "404", "`not_found`: not accessible from this address"),
    ("get_problem", "404", "`not_found`: no such code"),
    ("set_layout", "403", "`not_organizer`, `permission_missing`"),
    ("set_layout", "409", "`seats_in_use`, `capacity_in_use`, `event_cancelled`"),
    ("set_blocked_seats", "403", "`not_organizer`, `permission_missing`"),
    ("set_blocked_seats", "409", "`seats_unavailable`, `sold_out`, `seats_are_numbered`"),
    ("delete_me", "401", "`unauthorized`, `invalid_credentials`"),
    ("delete_me", "409", "`last_owner`, `events_open`"),
    ("update_me", "409", "`email_taken`"),
    ("create_organization", "409", "`limit_reached`, `idempotency_in_flight`"),
    ("update_organization", "403", "`permission_missing`"),
    ("update_member", "401", "`unauthorized`, `invalid_credentials`"),
    ("update_member", "403", "`permission_missing`"),
    ("update_member", "409", "`last_owner`"),
    ("delete_member", "401", "`unauthorized`, `invalid_credentials`"),
    ("delete_member", "403", "`permission_missing`"),
    ("delete_member", "409", "`last_owner`, `keys_exist`"),
    ("transfer_organization", "401", "`unauthorized`, `invalid_credentials`"),
    ("transfer_organization", "403", "`permission_missing`"),
    ("transfer_organization", "409", "`last_owner`, `not_a_member`"),
    ("list_invitations", "403", "`permission_missing`"),
    ("create_invitation", "403", "`permission_missing`"),
    ("create_invitation", "409", "`member_exists`, `limit_reached`"),
    ("delete_invitation", "403", "`permission_missing`"),
    ("accept_invitation", "403", "`invitation_mismatch`"),
    ("accept_invitation", "409", "`limit_reached`"),
    ("accept_invitation", "410", "`invitation_ended`"),
    ("create_key", "403", "`permission_missing`"),
    ("create_key", "409", "`limit_reached`, `idempotency_in_flight`"),
    ("list_keys", "403", "`permission_missing`"),
    ("get_key", "403", "`permission_missing`"),
    ("update_key", "403", "`permission_missing`"),
    ("rotate_key", "403", "`permission_missing`"),
    ("delete_key", "403", "`permission_missing`"),
    ("list_access_log", "403", "`permission_missing`"),
    ("list_whole_access_log", "403", "`permission_missing`"),
];

/// The calls that buyers make, with or without an account; calls that need no token are not listed.
const OF_BUYERS: [&str; 8] = [
    "create_hold",
    "confirm_booking",
    "confirm_booking_by_patch",
    "extend_booking",
    "cancel_booking",
    "list_bookings",
    "get_booking",
    "update_booking",
];

/// Adds to a call what it refuses.
pub(super) fn add(path: &str, operation: &mut Operation) {
    let id = operation.operation_id.clone().unwrap_or_default();
    let is_of = kinds(path, operation);
    for (_, status, codes) in OWN.iter().filter(|(call, ..)| *call == id) {
        if *status == "403" && is_of(Kind::Account) {
            refuse(operation, status, &format!("{codes}, `account_required`"));
        } else {
            refuse(operation, status, codes);
        }
    }
    for (_, status, codes) in COMMON.iter().filter(|(kind, ..)| is_of(*kind)) {
        refuse(operation, status, codes);
    }
}

/// Of which kinds a call is.
fn kinds(path: &str, operation: &Operation) -> impl Fn(Kind) -> bool + use<> {
    let all = operation.parameters.as_deref().unwrap_or_default();
    let parameters =
        || all.iter().filter_map(|it| if let RefOr::T(it) = it { Some(it) } else { None });
    let takes = |name: &str| parameters().any(|it: &Parameter| it.name == name);
    let is_api = path.starts_with("/api/");
    let in_path = parameters().any(|it| it.parameter_in == ParameterIn::Path);
    let is_named = is_api && (in_path || path.ends_with("/me"));
    let is_secured = is_api && operation.security.is_some();
    // An empty requirement among them: the token may be left out.
    let security = operation.security.iter().flatten();
    let is_open =
        security.clone().any(|of| serde_json::to_value(of).is_ok_and(|of| of == json!({})));
    let id = operation.operation_id.as_deref().unwrap_or_default();
    let needs_account = is_secured && !is_open && !OF_BUYERS.contains(&id);
    let has_body = is_api && operation.request_body.is_some();
    let (takes_key, is_guarded) = (takes("Idempotency-Key"), takes("If-Match"));
    move |kind| match kind {
        Kind::Any => true,
        Kind::Api => is_api,
        Kind::Outside => !is_api,
        Kind::Authenticated => is_secured,
        Kind::Account => needs_account,
        Kind::Named => is_named,
        Kind::WithBody => has_body,
        Kind::WithKey => takes_key,
        Kind::Guarded => is_guarded,
    }
}

fn refuse(operation: &mut Operation, status: &str, codes: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new().description(codes).content(PROBLEM, content);
    if matches!(status, "429" | "503") {
        let seconds = Header::new(Schema::from(Object::with_type(Type::Integer)));
        response = response.header("Retry-After", seconds);
    }
    let entry = operation.responses.responses.entry(status.to_owned());
    entry.or_insert_with(|| RefOr::T(response.build()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that was renamed would lose its refusals without a word.
    #[test]
    fn every_call_of_the_list_is_in_the_document() {
        let document = crate::http::openapi("1.0.0");
        let items = document.paths.paths.values();
        let operations = items.flat_map(|it| [&it.get, &it.post, &it.patch, &it.put, &it.delete]);
        let ids: Vec<_> =
            operations.flatten().filter_map(|it| it.operation_id.as_deref()).collect();
        for call in OF_BUYERS {
            assert!(ids.contains(&call), "there is no {call}");
        }
        for (call, status, _) in OWN {
            assert!(ids.contains(call), "there is no {call} that could answer {status}");
        }
    }
}
