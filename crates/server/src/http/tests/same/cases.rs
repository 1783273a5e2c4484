//! Requests by chance: bodies, heads and the pieces in which they are sent.

use super::{HOLD, NOBODY};
use crate::random::random;
use std::fmt::Write as _;

/// Chance, from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        Self(u64::from_le_bytes(random()))
    }

    /// The next number, by `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// What is known to both servers.
pub struct Known {
    pub authorization: String,
    /// An event with places that are counted, and one whose numbered seats are all taken.
    pub events: [String; 2],
    /// An event of which nobody holds anything.
    pub quiet: String,
    pub section_id: String,
    /// Bookings to confirm.
    pub bookings: Vec<String>,
}

/// Where each server's own text is put: keys must differ, or the second hold would be a replay.
pub const OWN: u8 = b'~';

/// A request, and the places at which it is cut into pieces.
pub struct Case {
    pub bytes: Vec<u8>,
    pub cuts: Vec<usize>,
    /// Whether the answer is a head alone.
    pub is_head: bool,
}

const NUMBERS: [&str; 22] = [
    "1",
    "2",
    "0",
    "-1",
    "-0",
    "1.0",
    "1.5",
    "1e0",
    "1e400",
    "01",
    "+1",
    "0x1",
    "4294967295",
    "4294967296",
    "1000000000",
    "1000000001",
    "9223372036854775808",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "\"1\"",
    "null",
    "true",
];
const SECTIONS: [&str; 16] = [
    "\"A\"",
    "\"A\"",
    "\"a\"",
    "\"\\u0041\"",
    "\" A \"",
    "\"Z\"",
    "\"\"",
    "\"\\ud800\"",
    "\"\\ud83c\\udfad\"",
    "\"\\x\"",
    "\"A\u{1}\"",
    "\"Gr\u{f6}\u{df}e\"",
    "12",
    "null",
    "[\"A\"]",
    "{\"x\": \"A\"}",
];
const SEATS: [&str; 12] = [
    "[\"A-1\"]",
    "[\"A-1\", \"A-1\"]",
    "[\"a-1\",\"A-1\"]",
    "[]",
    "[1]",
    "[null]",
    "\"A-1\"",
    "null",
    "[\"Z-9\"]",
    "[\"\"]",
    "[\"\\u0041-1\"]",
    "[\"A-2\",]",
];
const BEST: [&str; 8] = [
    "{\"number\": 2}",
    "{\"number\": 0}",
    "{\"number\": 51}",
    "{}",
    "null",
    "[2]",
    "{\"number\": 1, \"sections\": [\"A\", \"A\"]}",
    "{\"number\": 1, \"x\": 2}",
];
const WHOLES: [&str; 12] = [
    "",
    " ",
    "{",
    "[]",
    "null",
    "nothing",
    "\"\"",
    "{}{}",
    "\u{feff}{}",
    "{\"x\": 1}",
    "12",
    "{} x",
];
const SPACES: [&str; 7] = ["", "", "", "", " ", "\n", "\t \r\n"];

fn string(text: &str) -> String {
    format!("\"{text}\"")
}

/// The text with one of its letters as an escape.
fn escaped(text: &str, dice: &mut Dice) -> String {
    let at = dice.below(text.len());
    let (before, rest) = text.split_at(at);
    format!("{before}\\u{:04x}{}", u32::from(rest.as_bytes()[0]), &rest[1..])
}

fn event(known: &Known, dice: &mut Dice) -> String {
    let id = known.events[usize::from(dice.once_in(3))].as_str();
    match dice.below(14) {
        0 => string(NOBODY),
        1 => string(&id.to_uppercase()),
        2 => string(&escaped(id, dice)),
        3 => string(&id.replace('-', "")),
        4 => dice.one(&["\"abc\"", "null", "12", "\"\"", "[]"]).to_owned(),
        _ => string(id),
    }
}

fn section(known: &Known, dice: &mut Dice) -> String {
    if dice.once_in(4) { string(&known.section_id) } else { dice.one(&SECTIONS).to_owned() }
}

fn item(known: &Known, dice: &mut Dice) -> String {
    let mut members = vec![("section_id", section(known, dice))];
    if !dice.once_in(4) {
        members.push(("seats_requested", dice.one(&NUMBERS).to_owned()));
    }
    if dice.once_in(4) {
        members.push(("seats", dice.one(&SEATS).to_owned()));
    }
    object(&members, dice)
}

/// An object with these members, in any order and with any space, some twice or misspelt.
fn object(members: &[(&str, String)], dice: &mut Dice) -> String {
    let mut members = members.to_vec();
    if dice.once_in(12) && !members.is_empty() {
        members.push(members[dice.below(members.len())].clone());
    }
    if dice.once_in(12) {
        members.push((dice.one(&["x", "Event_id", "", "seats "]), dice.one(&NUMBERS).to_owned()));
    }
    let mut text = "{".to_owned();
    while !members.is_empty() {
        let (name, value) = members.swap_remove(dice.below(members.len()));
        let is_escaped = dice.once_in(20) && !name.is_empty();
        let name = if is_escaped { escaped(name, dice) } else { name.to_owned() };
        // A line tabulation is no space of JSON.
        let mut space = || if dice.once_in(200) { "\u{b}" } else { dice.one(&SPACES) };
        let (a, b, c, d) = (space(), space(), space(), space());
        let comma = if members.is_empty() && !dice.once_in(40) { "" } else { "," };
        write!(text, "{a}\"{name}\"{b}:{c}{value}{d}{comma}").expect("it grows");
    }
    text + "}"
}

/// Buyers who are refused: of others each server would tell a token of its own.
const NO_BUYERS: [&str; 8] = [
    r#"{"ref": ""}"#,
    r#"{"ref": "two words"}"#,
    r#"{"user_id": "x"}"#,
    r#"{"user_id": "01990000-0000-8000-8000-000000000000"}"#,
    r#"{"ref": "a", "user_id": "01990000-0000-8000-8000-000000000000"}"#,
    r#"{"email": "x"}"#,
    "null",
    "[]",
];

/// The body of a hold; about one in five is right.
fn hold_body(known: &Known, dice: &mut Dice) -> Vec<u8> {
    if dice.once_in(4) {
        let section = string(if dice.once_in(2) { "A" } else { &known.section_id });
        let members = [
            ("event_id", string(&known.events[0])),
            ("section_id", section),
            ("seats_requested", dice.one(&["1", "2", "3"]).to_owned()),
        ];
        return object(&members, dice).into_bytes();
    }
    let mut members = vec![("event_id", event(known, dice))];
    let number = if dice.once_in(2) { "1" } else { dice.one(&NUMBERS) };
    match dice.below(12) {
        0 => members.push(("best_available", dice.one(&BEST).to_owned())),
        1 => {
            let items: Vec<_> = (0..dice.below(3)).map(|_| item(known, dice)).collect();
            members.push(("items", format!("[{}]", items.join(","))));
        }
        2 => members.push(("seats_requested", number.to_owned())),
        3 | 4 => {
            members.push(("section_id", section(known, dice)));
            members.push(("seats", dice.one(&SEATS).to_owned()));
        }
        _ => {
            members.push(("section_id", section(known, dice)));
            members.push(("seats_requested", number.to_owned()));
        }
    }
    if dice.once_in(20) {
        members.push((dice.one(&["items", "best_available", "seats"]), "null".to_owned()));
    }
    if dice.once_in(20) {
        members.push(("buyer", dice.one(&NO_BUYERS).to_owned()));
    }
    if dice.once_in(30) {
        members.remove(0);
    }
    match dice.below(60) {
        0 => return dice.one(&WHOLES).as_bytes().to_vec(),
        1 => return [&b"["[..], &b"[".repeat(dice.below(60)), b"1"].concat(),
        2 => members.push(("section_id", string(&"A".repeat(dice.below(2_000))))),
        _ => {}
    }
    object(&members, dice).into_bytes()
}

/// The same body, sometimes with a byte that is wrong, or too few of them.
fn damaged(mut body: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    if body.is_empty() {
        return body;
    }
    match dice.below(24) {
        0 => body.truncate(dice.below(body.len())),
        1 => {
            let at = dice.below(body.len());
            body[at] = u8::try_from(dice.below(256)).expect("a byte");
        }
        2 => body.insert(dice.below(body.len()), 0xff),
        3 => body.extend(b" \n".repeat(dice.below(20))),
        _ => {}
    }
    // Bytes that stand for something else must not come by chance.
    body.iter_mut().filter(|byte| **byte == OWN).for_each(|byte| *byte = b'-');
    body
}

/// A head for any call, without what says how the body is framed.
fn head(method: &str, path: &str, known: &Known, dice: &mut Dice) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nX-Request-Id: same\r\n");
    let mut line = |name: &str, value: &str| write!(head, "{name}: {value}\r\n").expect("it grows");
    let good = known.authorization.as_str();
    match dice.below(40) {
        0 => {}
        1 => line("Authorization", &good.replace("Bearer", "bEARER")),
        2 => line("Authorization", &good[..good.len() - 1]),
        3 => line("Authorization", "Basic YTpi"),
        4 => (0..2).for_each(|_| line("Authorization", good)),
        5 => line("authorization", &good.replace(' ', "   ")),
        _ => line("Authorization", good),
    }
    match dice.below(30) {
        0 => {}
        1 => line("Content-Type", "text/plain"),
        2 => line("Content-Type", "Application/JSON ; charset=utf-8"),
        3 => line("Content-Type", "application/jsonx"),
        _ => line("Content-Type", "application/json"),
    }
    match dice.below(30) {
        0 => {}
        1 => (0..2).for_each(|_| line("Host", "x")),
        2 => line("Host", dice.one(&["", "a b", "[::1]:8000", "x:y", "u@x", "x_y"])),
        3 => line("Host", "127.0.0.1:8000"),
        _ => line("Host", "x"),
    }
    match dice.below(20) {
        0 => line("Idempotency-Key", &format!("~{}", dice.next())),
        1 => line("Idempotency-Key", dice.one(&["", "a b", "\u{e9}"])),
        2 => line("Accept-Encoding", dice.one(&["gzip", "br, gzip;q=0.5", "identity;q=0", "*"])),
        3 => line("Content-Encoding", dice.one(&["gzip", "identity", "", "identity, br"])),
        4 => line("Origin", dice.one(&["https://shop.example", "https://other.example", "null"])),
        5 => line("If-None-Match", dice.one(&["*", "\"x\"", "x", "W/\"1.1.1\""])),
        6 => line("X-Large", &"x".repeat(15_000 + dice.below(3_000))),
        7 => line("X-Forwarded-For", "10.0.0.1"),
        _ => {}
    }
    head
}

/// The request with this head and body, framed by chance.
fn framed(head: String, body: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = head.into_bytes();
    if dice.once_in(10) {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + dice.below(rest.len()));
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(&[chunk, b"\r\n"].concat());
            rest = after;
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
    }
    bytes
}

/// A hold, a confirm or a read of an event, with whatever can be wrong with it.
pub fn case(known: &Known, dice: &mut Dice) -> Case {
    let query = if dice.once_in(40) { dice.one(&["?", "?x=1", "?dry_run"]) } else { "" };
    let booking = known.bookings[dice.below(known.bookings.len())].as_str();
    let id = |id: &str, dice: &mut Dice| match dice.below(10) {
        0 => dice.one(&[NOBODY, "abc", "0", "a%2Fb", "-"]).to_owned(),
        1 => id.to_uppercase(),
        _ => id.to_owned(),
    };
    let bytes = match dice.below(20) {
        0..3 => {
            let path = format!("/api/v1/bookings/{}/confirm{query}", id(booking, dice));
            let method = if dice.once_in(10) { "PATCH" } else { "POST" };
            let body = dice.one(&["", "", "{}", " {} ", "[]", "{\"x\": 1}", "null", "{", "1"]);
            let head = head(method, &path, known, dice);
            framed(head, &damaged(body.as_bytes().to_vec(), dice), dice)
        }
        3..5 => {
            let path = format!("/api/v1/events/{}{query}", id(&known.quiet, dice));
            let method = if dice.once_in(10) { "HEAD" } else { "GET" };
            format!("{}\r\n", head(method, &path, known, dice)).into_bytes()
        }
        5 if dice.once_in(2) => {
            let method = dice.one(&["GET", "PUT", "DELETE", "OPTIONS"]);
            format!("{}\r\n", head(method, HOLD, known, dice)).into_bytes()
        }
        _ => {
            let head = head("POST", &format!("{HOLD}{query}"), known, dice);
            let body = hold_body(known, dice);
            framed(head, &damaged(body, dice), dice)
        }
    };
    let cuts = (0..dice.below(3)).filter(|_| dice.once_in(4)).count();
    let mut cuts: Vec<_> = (0..cuts).map(|_| dice.below(bytes.len())).collect();
    cuts.sort_unstable();
    let is_head = bytes.starts_with(b"HEAD");
    Case { bytes, cuts, is_head }
}
