//! Schemas that are used in many places of the document, each described once.

use engine::access::{AccessAction, Permission, Role, grantable};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

/// One of these words.
fn one_of(words: impl Iterator<Item = &'static str>, what: &str) -> RefOr<Schema> {
    let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    words.description(Some(what)).into()
}

/// A role.
pub struct RoleWord;

impl PartialSchema for RoleWord {
    fn schema() -> RefOr<Schema> {
        one_of(Role::ALL.into_iter().map(Role::as_str), "What a member may do.")
    }
}

impl ToSchema for RoleWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Role")
    }
}

/// A permission.
pub struct PermissionWord;

impl PartialSchema for PermissionWord {
    fn schema() -> RefOr<Schema> {
        let words = Permission::ALL.into_iter().map(Permission::as_str);
        one_of(words, "What a role can allow. New ones may be added.")
    }
}

impl ToSchema for PermissionWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Permission")
    }
}

/// A permission that a key can have.
pub struct ScopeWord;

impl PartialSchema for ScopeWord {
    fn schema() -> RefOr<Schema> {
        let words = Permission::ALL.into_iter().filter(|what| grantable(*what));
        one_of(words.map(Permission::as_str), "What a key can be allowed.")
    }
}

impl ToSchema for ScopeWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Scope")
    }
}

/// An id in a path, or a word that stands for one.
fn id_or_me(what: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(what))
        .pattern(Some("^(me|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"))
        .into()
}

/// The organization of a path.
pub struct OrganizationWord;

impl PartialSchema for OrganizationWord {
    fn schema() -> RefOr<Schema> {
        id_or_me("The organization's id, or `me` for the personal one of the caller.")
    }
}

impl ToSchema for OrganizationWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("OrganizationId")
    }
}

/// The member of a path.
pub struct MemberWord;

impl PartialSchema for MemberWord {
    fn schema() -> RefOr<Schema> {
        id_or_me("The user's id, or `me` for the caller.")
    }
}

impl ToSchema for MemberWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("MemberId")
    }
}

/// What an entry of the access log says happened.
pub struct ActionWord;

impl PartialSchema for ActionWord {
    fn schema() -> RefOr<Schema> {
        let words = AccessAction::ALL.into_iter().map(AccessAction::as_str);
        one_of(words, "What happened. New ones may be added.")
    }
}

impl ToSchema for ActionWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("AccessAction")
    }
}

/// A name of a seat.
pub struct SeatWord;

impl PartialSchema for SeatWord {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A seat: the label of its row, a hyphen, and its number."))
            .min_length(Some(3))
            .max_length(Some(41))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]{1,32}-[0-9A-Za-z]{1,8}$"))
            .into()
    }
}

impl ToSchema for SeatWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("SeatName")
    }
}

/// A day or an instant.
pub struct DateWord;

impl PartialSchema for DateWord {
    fn schema() -> RefOr<Schema> {
        let text = |format| {
            let text = ObjectBuilder::new().schema_type(Type::String);
            text.format(Some(SchemaFormat::KnownFormat(format)))
        };
        OneOfBuilder::new()
            .item(text(KnownFormat::DateTime))
            .item(text(KnownFormat::Date))
            .description(Some("A day, such as `2027-06-15`, or an instant with its offset."))
            .into()
    }
}

impl ToSchema for DateWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("DateOrInstant")
    }
}
