//! Runs: several entries of one section in one row of the log.
//!
//! A batch of holds of one section makes adjacent entries that differ in little. As
//! a run they are one row. What they share is in the row's columns ([`Run`]), all else is packed:
//! ```text
//! 1 byte   format               2 bytes  number of entries
//! entries                       4 bytes  CRC-32 of all before it
//!
//! entry:   1 byte   flags: kind (2 bits), has a version of the booking, has an end,
//!                   who acted (2 bits), has other sections
//!         16 bytes  booking, then as varints: its version, by how much `held` and `sold` changed,
//!                   when the hold ends, counted from the time of the run
//!         16 bytes  the user or the key who acted
//!          varint   number of other sections, and of each 16 bytes and its version as a varint
//! ```
//! Numbers of several bytes have the highest first. Varints have the lowest seven bits first; signed
//! ones are folded (0, -1, 1, -2 …).
//!
//! An entry is named by its row's number and its place in the row
//! ([`Position`](super::Position)). Versions are not stored: they end with the row's, and rise by one
//! from entry to entry, as I4 says.
//!
//! Damage is always noticed: a checksum covers the bytes, and what they say has to add up to the
//! row's columns. What is read takes memory in proportion to the bytes, whatever they say.

use super::{Deltas, Detail, LogEntry, LogKind};
use crate::access::{Actor, Overrides};
use crate::ids::{BookingId, KeyId, SectionId, UserId};
use crate::time::Timestamp;
use std::borrow::Borrow;
use std::fmt;

/// Entries in a run, at most. A batch has 512 commands and retires 1,000 due holds of a section.
pub const RUN_ENTRIES_MAX: usize = 4_096;

/// The format that this release writes, and the only one it reads.
const FORMAT: u8 = 1;

const HEAD_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
const ID_BYTES: usize = 16;
/// The least that an entry takes: flags, a booking, two deltas.
const ENTRY_BYTES_MIN: usize = 1 + ID_BYTES + 2;
/// What a hold takes: also a version, and an end within hours.
const ENTRY_BYTES_USUAL: usize = ENTRY_BYTES_MIN + 4;
/// The least that another section takes.
const ALSO_BYTES_MIN: usize = ID_BYTES + 1;
/// The bytes of the longest varint of 64 bits.
const VARINT_BYTES_MAX: usize = 10;

const KIND_BITS: u8 = 0b11;
const HAS_VERSION: u8 = 1 << 2;
const HAS_END: u8 = 1 << 3;
/// Who acted: a user, we, or, with both of these, a key.
const BY_USER: u8 = 1 << 4;
const BY_SYSTEM: u8 = 1 << 5;
const HAS_ALSO: u8 = 1 << 6;
const UNUSED: u8 = 1 << 7;

/// The kinds that are packed, by their number in the flags: those of which there are many.
const KINDS: [LogKind; 3] = [LogKind::Held, LogKind::Confirmed, LogKind::Expired];

/// What the columns of a run's row say: what its entries share, and their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The time of all entries.
    pub at: Timestamp,
    /// Their section.
    pub section_id: SectionId,
    /// What they did to the counters together.
    pub deltas: Deltas,
    /// The version of the section after the last of them.
    pub version: i64,
}

/// Why these entries are not one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARun;

/// Why a run cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has a format that this release does not know.
    Format(u8),
    /// The bytes are not what was written.
    Damaged,
    /// The bytes are whole, and say something else than the row's columns.
    Contradiction,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(format) => write!(f, "its entries have the unknown format {format}"),
            Self::Damaged => f.write_str("its entries are damaged"),
            Self::Contradiction => f.write_str("its entries contradict its columns"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl Run {
    /// The word in the store for the kind of a run.
    pub const KIND: &str = "run";

    /// Packs entries of one section and one time with consecutive versions, in their order.
    ///
    /// Refused are none at all, more than [`RUN_ENTRIES_MAX`], and whatever is not a hold, a
    /// confirmation or an expiry as the rules make them.
    pub fn pack<E: Borrow<LogEntry>>(entries: &[E]) -> Result<(Self, Vec<u8>), NotARun> {
        let [Some(first), Some(last)] = [entries.first(), entries.last()] else {
            return Err(NotARun);
        };
        let (first, last): (&LogEntry, &LogEntry) = (first.borrow(), last.borrow());
        let section_id = first.subject.section_id().ok_or(NotARun)?;
        if entries.len() > RUN_ENTRIES_MAX {
            return Err(NotARun);
        }
        let mut run =
            Self { at: first.at, section_id, deltas: Deltas::default(), version: last.version };
        let count = u16::try_from(entries.len()).expect("checked above");
        let mut bytes = Vec::with_capacity(HEAD_BYTES + entries.len() * ENTRY_BYTES_USUAL);
        bytes.push(FORMAT);
        bytes.extend(count.to_be_bytes());
        for (version, entry) in (first.version..).zip(entries) {
            let entry: &LogEntry = entry.borrow();
            let is_next = entry.version == version && entry.at == run.at;
            if !is_next || entry.subject != first.subject {
                return Err(NotARun);
            }
            run.deltas = sum(run.deltas, entry.deltas).ok_or(NotARun)?;
            write(&mut bytes, entry, &Parts::of(entry).ok_or(NotARun)?);
        }
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        Ok((run, bytes))
    }

    /// Whether an entry can stand in a run.
    pub(super) fn packs(entry: &LogEntry) -> bool {
        Parts::of(entry).is_some()
    }

    /// The entries of the row with these columns, in their order.
    pub fn unpack(&self, bytes: &[u8]) -> Result<Vec<LogEntry>, Unreadable> {
        match bytes.first() {
            Some(&FORMAT) => {}
            Some(&format) => return Err(Unreadable::Format(format)),
            None => return Err(Unreadable::Damaged),
        }
        let content = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(Unreadable::Damaged)?;
        let (content, checksum) = bytes.split_at(content);
        if crc32fast::hash(content).to_be_bytes() != checksum || content.len() < HEAD_BYTES {
            return Err(Unreadable::Damaged);
        }
        let (head, mut rest) = content.split_at(HEAD_BYTES);
        let count = usize::from(u16::from_be_bytes([head[1], head[2]]));
        if count == 0 || count > RUN_ENTRIES_MAX || count * ENTRY_BYTES_MIN > rest.len() {
            return Err(Unreadable::Damaged);
        }
        let before = i64::try_from(count).ok().and_then(|count| self.version.checked_sub(count));
        let before = before.filter(|before| *before >= 0).ok_or(Unreadable::Contradiction)?;
        let mut entries = Vec::with_capacity(count);
        let mut deltas = Deltas::default();
        for version in before + 1..=self.version {
            let entry = self.read(&mut rest, version).ok_or(Unreadable::Damaged)?;
            deltas = sum(deltas, entry.deltas).ok_or(Unreadable::Contradiction)?;
            entries.push(entry);
        }
        if !rest.is_empty() {
            return Err(Unreadable::Damaged);
        }
        if deltas != self.deltas {
            return Err(Unreadable::Contradiction);
        }
        Ok(entries)
    }

    fn read(&self, rest: &mut &[u8], version: i64) -> Option<LogEntry> {
        let flags = take::<1>(rest)?[0];
        let has = |flag: u8| flags & flag != 0;
        if has(UNUSED) {
            return None;
        }
        let kind = *KINDS.get(usize::from(flags & KIND_BITS))?;
        let booking_id = BookingId::from_slice(&take::<ID_BYTES>(rest)?)?;
        let booking_version = if has(HAS_VERSION) { Some(signed(rest)?) } else { None };
        let deltas = Deltas { held: signed(rest)?, sold: signed(rest)?, ..Deltas::default() };
        let end = if has(HAS_END) { Some(signed(rest)?) } else { None };
        let from = self.at.unix_ms();
        let expires_at = end.map(|after| Timestamp::from_unix_ms(from.wrapping_add(after)));
        let actor = match (has(BY_USER), has(BY_SYSTEM)) {
            (true, true) => Some(Actor::Key(KeyId::from_slice(&take::<ID_BYTES>(rest)?)?)),
            (true, false) => Some(Actor::User(UserId::from_slice(&take::<ID_BYTES>(rest)?)?)),
            (false, true) => Some(Actor::System),
            (false, false) => None,
        };
        let detail = if has(HAS_ALSO) { Some(Box::new(also(rest)?)) } else { None };
        Some(LogEntry {
            at: self.at,
            booking_id: Some(booking_id),
            booking_version,
            version,
            expires_at,
            detail,
            actor,
            ..LogEntry::of_section(self.section_id, kind, deltas)
        })
    }
}

/// What an entry has that can stand in a run.
struct Parts<'entry> {
    /// The number of its kind.
    kind: u8,
    booking_id: BookingId,
    also: Option<&'entry [(SectionId, i64)]>,
}

impl<'entry> Parts<'entry> {
    /// None when the entry is not a hold, a confirmation or an expiry as the rules make them.
    fn of(entry: &'entry LogEntry) -> Option<Self> {
        let kind = KINDS.iter().position(|kind| *kind == entry.kind)?;
        let also = match entry.detail.as_deref() {
            None => None,
            Some(Detail::Booking { also, before: None, overrides }) if overrides.is_empty() => {
                Some(&also[..])
            }
            Some(_) => return None,
        };
        let Deltas { capacity, blocked, .. } = entry.deltas;
        if entry.reason.is_some() || capacity != 0 || blocked != 0 {
            return None;
        }
        let kind = u8::try_from(kind).expect("three kinds");
        Some(Self { kind, booking_id: entry.booking_id?, also })
    }
}

fn write(bytes: &mut Vec<u8>, entry: &LogEntry, parts: &Parts<'_>) {
    let Parts { kind, booking_id, also } = parts;
    let Deltas { held, sold, .. } = entry.deltas;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = kind
        | flag(entry.booking_version.is_some(), HAS_VERSION)
        | flag(entry.expires_at.is_some(), HAS_END)
        | flag(matches!(entry.actor, Some(Actor::User(_) | Actor::Key(_))), BY_USER)
        | flag(matches!(entry.actor, Some(Actor::System | Actor::Key(_))), BY_SYSTEM)
        | flag(also.is_some(), HAS_ALSO);
    bytes.push(flags);
    bytes.extend(booking_id.as_bytes());
    if let Some(version) = entry.booking_version {
        write_signed(bytes, version);
    }
    write_signed(bytes, held);
    write_signed(bytes, sold);
    if let Some(end) = entry.expires_at {
        // Wrapped on both sides, so that any two times are read back.
        write_signed(bytes, end.unix_ms().wrapping_sub(entry.at.unix_ms()));
    }
    if let Some(id) = entry.actor.and_then(Actor::uuid) {
        bytes.extend(id.as_bytes());
    }
    if let Some(also) = also {
        write_varint(bytes, also.len() as u64);
        for (section_id, version) in *also {
            bytes.extend(section_id.as_bytes());
            write_signed(bytes, *version);
        }
    }
}

fn also(rest: &mut &[u8]) -> Option<Detail> {
    let count = usize::try_from(varint(rest)?).ok()?;
    if count > rest.len() / ALSO_BYTES_MIN {
        return None;
    }
    let mut also = Vec::with_capacity(count);
    for _ in 0..count {
        also.push((SectionId::from_slice(&take::<ID_BYTES>(rest)?)?, signed(rest)?));
    }
    Some(Detail::Booking { also, before: None, overrides: Overrides::NONE })
}

/// The sum; none when it does not fit, which no log of seats comes near.
fn sum(all: Deltas, one: Deltas) -> Option<Deltas> {
    Some(Deltas {
        capacity: all.capacity.checked_add(one.capacity)?,
        held: all.held.checked_add(one.held)?,
        sold: all.sold.checked_add(one.sold)?,
        blocked: all.blocked.checked_add(one.blocked)?,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..VARINT_BYTES_MAX {
        let byte = take::<1>(rest)?[0];
        let bits = u64::from(byte & 0x7F);
        let shifted = bits << (7 * place);
        if shifted >> (7 * place) != bits {
            return None;
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            // A number has one spelling: no zeros at its end.
            return (byte != 0 || place == 0).then_some(value);
        }
    }
    None
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7F).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

fn signed(rest: &mut &[u8]) -> Option<i64> {
    let folded = varint(rest)?;
    Some((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
}

fn write_signed(bytes: &mut Vec<u8>, value: i64) {
    write_varint(bytes, (value << 1 ^ value >> 63).cast_unsigned());
}

#[cfg(test)]
mod tests;
