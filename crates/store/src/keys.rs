//! Keys of text: how stored names, addresses and titles compare (`engine::text`).
//!
//! Each of them has a column in lower case since the first version, and a key if case folding gives
//! a different result; they compare by the key, and by the lower case if there is none. After a
//! migration the keys of what is stored are filled in, [`PORTION`] rows in a transaction,
//! concurrently with other writers. The progress is stored, so the next start continues from there:
//! it finds what instances of an earlier version have written since.
//!
//! If a key would make two accounts or two sections of an event equal, it is omitted: both stay,
//! are found as before, and are logged.

use engine::text::{folded, lowered};
use uuid::Uuid;

/// Rows whose keys are filled in by one transaction.
pub(crate) const PORTION: i64 = 1_000;
/// Maximum number of collisions that are logged.
const TOLD_MAX: u64 = 100;

/// How `text` compares: in lower case, and by a key where folding gives something else.
pub(crate) fn keys_of(text: &str) -> (String, Option<String>) {
    let (lowered, folded) = (lowered(text), folded(text));
    let key = (folded != lowered).then_some(folded);
    (lowered, key)
}

/// Texts that have keys. The statements are those of both databases; their parameters come in order.
pub(crate) struct Keyed {
    /// The table.
    pub kept_in: &'static str,
    /// What one of them is.
    pub what: &'static str,
    /// Reads a portion: (after this id, maximum number).
    pub read: &'static str,
    /// Sets a key, unless it is another's or the text has changed: (key, id, lower case).
    pub write: &'static str,
}

pub(crate) const KEYED: [Keyed; 3] = [
    Keyed {
        kept_in: "users",
        what: "account",
        read: "SELECT user_id AS id, email AS text, email_folded AS lowered, email_key AS key
            FROM users WHERE user_id > $1 ORDER BY user_id LIMIT $2",
        write: "UPDATE users SET email_key = $1 WHERE user_id = $2 AND email_folded = $3
            AND NOT EXISTS (SELECT 1 FROM users AS other
                WHERE coalesce(other.email_key, other.email_folded)
                    = coalesce($1, users.email_folded) AND other.user_id <> users.user_id)",
    },
    Keyed {
        kept_in: "sections",
        what: "section",
        read: "SELECT section_id AS id, name AS text, name_folded AS lowered, name_key AS key
            FROM sections WHERE section_id > $1 ORDER BY section_id LIMIT $2",
        write: "UPDATE sections SET name_key = $1 WHERE section_id = $2 AND name_folded = $3
            AND NOT EXISTS (SELECT 1 FROM sections AS other WHERE other.event_id = sections.event_id
                AND coalesce(other.name_key, other.name_folded)
                    = coalesce($1, sections.name_folded)
                AND other.section_id <> sections.section_id)",
    },
    Keyed {
        kept_in: "events",
        what: "event",
        read: "SELECT event_id AS id, title AS text, title_folded AS lowered, title_key AS key
            FROM events WHERE event_id > $1 ORDER BY event_id LIMIT $2",
        write: "UPDATE events SET title_key = $1 WHERE event_id = $2 AND title_folded = $3",
    },
];

/// How far the keys of one table are filled in: (table, version of the rule, last id).
pub(crate) const PROGRESS: &str = "SELECT rule, after FROM text_keys WHERE kept_in = $1";
/// Writes it: (table, version of the rule, last id).
pub(crate) const ADVANCE: &str = "INSERT INTO text_keys (kept_in, rule, after) VALUES ($1, $2, $3)
    ON CONFLICT (kept_in) DO UPDATE SET rule = excluded.rule, after = excluded.after";

/// A stored text.
pub(crate) struct Stored {
    pub id: Uuid,
    pub text: String,
    pub lowered: String,
    pub key: Option<String>,
}

impl Stored {
    /// The key it ought to have, where that is another than it has. Its lower case was made by the
    /// writer, and is left unchanged.
    pub fn due(&self) -> Option<Option<String>> {
        let folded = folded(&self.text);
        let key = (folded != self.lowered).then_some(folded);
        (key != self.key).then_some(key)
    }
}

/// What became of the texts of one table.
#[derive(Default)]
pub(crate) struct Tally {
    written: u64,
    collided: u64,
}

impl Tally {
    /// Counts a text whose key was due; logs one that keeps how it compared. No text: it may be an
    /// address.
    pub fn count(&mut self, keyed: &Keyed, id: Uuid, written: bool) {
        if written {
            self.written += 1;
            return;
        }
        self.collided += 1;
        if self.collided <= TOLD_MAX {
            let (what, id) = (keyed.what, id.to_string());
            tracing::warn!(
                what,
                id,
                "has the same comparison form as another one; both are kept, and each is found by \
                 its own spelling"
            );
        }
    }

    /// Logs what was done, if anything.
    pub fn tell(&self, keyed: &Keyed) {
        let Self { written, collided } = *self;
        if written + collided > 0 {
            let kept_in = keyed.kept_in;
            tracing::info!(kept_in, written, collided, "recorded how names and addresses compare");
        }
    }
}
