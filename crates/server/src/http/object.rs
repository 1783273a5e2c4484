//! JSON objects written member by member, without a serializer: for the answers to holds and
//! confirms, of which a sale has thousands a second.
//!
//! The names of members, and what [`Object::word`] writes, are ours and need no escapes. Text of
//! clients goes through `serde_json`.

use engine::Timestamp;
use uuid::Uuid;

/// An object that is being written.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// What stands before the next member.
    before: u8,
}

impl<'a> Object<'a> {
    /// Writes an object to the end of `out`.
    pub fn write(out: &'a mut Vec<u8>, members: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object { out, before: b'{' };
        members(&mut object);
        if object.before == b'{' {
            object.out.push(b'{');
        }
        object.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(&[self.before, b'"']);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.before = b',';
    }

    /// A string of ours, in ASCII and without anything to escape.
    pub fn word(&mut self, name: &str, word: &[u8]) {
        debug_assert!(
            word.iter().all(|byte| (b' '..0x7f).contains(byte) && !b"\"\\".contains(byte))
        );
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(word);
        self.out.push(b'"');
    }

    /// A string.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        put_text(self.out, text);
    }

    /// A list of strings.
    pub fn texts<'t>(&mut self, name: &str, texts: impl Iterator<Item = &'t str>) {
        self.list(name, texts, put_text);
    }

    /// A list.
    pub fn list<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        put: impl Fn(&mut Vec<u8>, T),
    ) {
        self.name(name);
        let mut before = b'[';
        for item in items {
            self.out.push(before);
            put(self.out, item);
            before = b',';
        }
        if before == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
    }

    /// An id.
    pub fn id(&mut self, name: &str, id: Uuid) {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        self.word(name, text.as_bytes());
    }

    /// An instant.
    pub fn instant(&mut self, name: &str, at: Timestamp) {
        match at.rfc3339() {
            Some(text) => self.word(name, &text),
            None => self.word(name, at.to_string().as_bytes()),
        }
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, number: impl Into<i64>) {
        self.name(name);
        put_number(self.out, number.into());
    }

    /// True or false.
    pub fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }
}

/// A string, with escapes where it needs them.
fn put_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string can be written as JSON");
}

fn put_number(out: &mut Vec<u8>, number: i64) {
    // As many digits as the largest has.
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("one digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(members: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        Object::write(&mut out, members);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn members_are_written_as_serde_writes_them() {
        assert_eq!(written(|_| ()), "{}");
        for number in [0, 1, -1, 9, 10, 999, i64::MAX, i64::MIN] {
            let object = written(|object| object.number("of", number));
            assert_eq!(object, json!({"of": number}).to_string());
        }
        for text in ["", "A", "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}", "Größe \u{1f3ad} \u{2028}"]
        {
            let object = written(|object| object.text("of", text));
            assert_eq!(object, json!({"of": text}).to_string());
        }
        for flag in [true, false] {
            assert_eq!(written(|object| object.flag("of", flag)), json!({"of": flag}).to_string());
        }
        for list in [&[][..], &["a"], &["a", "\"b\""]] {
            let object = written(|object| object.texts("of", list.iter().copied()));
            assert_eq!(object, json!({"of": list}).to_string());
        }
        for ms in [0, 1_800_000_000_123, -62_135_596_800_000, 253_402_300_799_999, i64::MAX] {
            let at = Timestamp::from_unix_ms(ms);
            let object = written(|object| object.instant("of", at));
            assert_eq!(object, json!({"of": at.to_string()}).to_string());
        }
        let several = written(|object| {
            object.id("a", Uuid::from_u128(0xABCD << 96));
            object.word("b", b"c");
            object.list("d", [1, 2].into_iter(), |out, number| {
                Object::write(out, |object| object.number("e", number));
            });
        });
        let expected =
            r#"{"a":"0000abcd-0000-0000-0000-000000000000","b":"c","d":[{"e":1},{"e":2}]}"#;
        assert_eq!(several, expected);
    }
}
