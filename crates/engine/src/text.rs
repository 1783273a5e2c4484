//! Text: the forms in which names, addresses and passwords are kept and compared.
//!
//! One letter can be written in several ways: é is one character or two, Σ has two small letters and
//! ß none that is capital. What is kept is composed (NFC). What is compared and searched is folded:
//! two texts that a reader takes for the same are the same. The tables are those of Unicode.

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use std::borrow::Cow;

/// The version of the rule of [`folded`]. When it rises, what is stored is folded anew by the next
/// migration.
pub const FOLDING: i64 = 1;

/// The form in which text is kept: composed (NFC).
#[must_use]
pub fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    ComposingNormalizer::new_nfc().normalize(text)
}

/// The form in which names, addresses and titles are compared: canonically equivalent spellings are
/// equal, case is folded in full (ß is ss, ς is σ), characters without a width do not count, and a run
/// of white space is one space.
#[must_use]
pub fn folded(text: &str) -> String {
    if text.is_ascii() {
        return with_single_spaces(text.chars().map(|letter| letter.to_ascii_lowercase()));
    }
    let visible: String = text.chars().filter(|letter| !is_ignorable(*letter)).collect();
    // Folding before decomposing would miss letters that have a mark between them and an iota below.
    let apart = DecomposingNormalizer::new_nfd().normalize(&visible);
    let folded = CaseMapper::new().fold_string(&apart);
    let together = ComposingNormalizer::new_nfc().normalize(&folded);
    with_single_spaces(together.chars())
}

/// How [`folded`] was before it had a version: lower case. Stored text that an instance of that time
/// wrote, or that collides with other text when it is folded, is still found by it.
#[must_use]
pub fn lowered(text: &str) -> String {
    text.to_lowercase()
}

/// The form in which a password is hashed (NFKC): the same whatever keyboard it was typed on.
#[must_use]
pub fn password(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    ComposingNormalizer::new_nfkc().normalize(text)
}

/// The form in which a text of several lines is kept: composed, with a line feed between the lines.
#[must_use]
pub fn prose(text: &str) -> String {
    composed(text).replace("\r\n", "\n")
}

/// What is wrong with a text of several lines in the form of [`prose`].
#[must_use]
pub fn prose_flaw(text: &str) -> Option<&'static str> {
    let is_wrong = |letter: char| letter.is_control() && letter != '\n';
    text.contains(is_wrong).then_some("must not contain control characters except line breaks")
}

/// What is wrong with a name or a title, so that it would be invisible or could not be
/// distinguished from another.
#[must_use]
pub fn name_flaw(name: &str) -> Option<&'static str> {
    let is_break = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    if !name.chars().any(is_visible) {
        return Some("must not be blank");
    }
    if name.contains(is_break) {
        return Some("must not contain control characters");
    }
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Some("must not begin or end with a space");
    }
    let lone_joiner = name.starts_with(is_joiner) || name.ends_with(is_joiner);
    let is_hidden = |letter| is_ignorable(letter) && !shapes_its_neighbour(letter);
    if lone_joiner || has_lone_tag(name) || name.contains(is_hidden) {
        return Some("must not contain zero-width characters");
    }
    None
}

/// Whether an address holds something that cannot be seen.
#[must_use]
pub fn has_hidden(text: &str) -> bool {
    !text.is_ascii() && text.contains(is_ignorable)
}

/// Whether a reader sees something of it. The Braille pattern without dots is a blank that no property
/// tells.
fn is_visible(letter: char) -> bool {
    let is_blank = letter.is_control() || letter.is_whitespace() || letter == '\u{2800}';
    !is_blank && !is_ignorable(letter)
}

/// Whether it has no width of its own.
fn is_ignorable(letter: char) -> bool {
    !letter.is_ascii() && CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(letter)
}

/// Joiners, which Persian and many an emoji need between two letters.
fn is_joiner(letter: char) -> bool {
    matches!(letter, '\u{200c}' | '\u{200d}')
}

/// Whether it has a tag beyond those that spell out a flag: others hide a text within the text.
fn has_lone_tag(text: &str) -> bool {
    let is_tag = |letter: char| matches!(letter, '\u{e0020}'..='\u{e007f}');
    let before = std::iter::once(' ').chain(text.chars());
    before
        .zip(text.chars())
        .any(|(before, letter)| is_tag(letter) && before != '\u{1f3f4}' && !is_tag(before))
}

/// Whether it changes how the letter beside it is drawn: joiners, variation selectors, and the tags of
/// flags.
fn shapes_its_neighbour(letter: char) -> bool {
    is_joiner(letter)
        || matches!(letter, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}')
        || matches!(letter, '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}')
}

fn with_single_spaces(letters: impl Iterator<Item = char>) -> String {
    let mut text = String::with_capacity(letters.size_hint().0);
    for letter in letters {
        match letter.is_whitespace() {
            true if text.ends_with(' ') => {}
            true => text.push(' '),
            false => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_reads_the_same_is_the_same() {
        for (one, other) in [
            ("Café", "Cafe\u{301}"),
            ("ΟΔΥΣ", "οδυς"),
            ("STRASSE", "Straße"),
            ("ẞ", "ss"),
            ("Å", "A\u{30a}"),
            ("\u{212b}", "å"),
            ("ﬁn", "FIN"),
            ("가", "\u{1100}\u{1161}"),
            ("\u{1f80}", "\u{1f08}\u{399}"),
            ("VIP", "v\u{200b}ip\u{feff}"),
            ("VIP  Box", "vip\u{a0}box"),
            ("q\u{307}\u{323}", "Q\u{323}\u{307}"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        assert!(folded("ΟΔΥΣΣΕΙΑ").contains(&folded("ΟΔΥΣ")), "a part of a word is found");
        assert!(!lowered("ΟΔΥΣΣΕΙΑ").contains(&lowered("ΟΔΥΣ")), "which lower case does not");
        assert!(folded("Straße 7").contains(&folded("STRASSE")));
        for (one, other) in
            [("Café", "Cafe"), ("o", "ø"), ("i", "ı"), ("１", "1"), ("VIP", "V I P")]
        {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn a_name_can_be_seen_and_told_from_others() {
        for (name, flaw) in [
            ("", "blank"),
            (" ", "blank"),
            ("\u{200b}", "blank"),
            ("\u{3164}", "blank"),
            ("\u{2800}\u{a0}", "blank"),
            ("\u{200d}\u{fe0f}", "blank"),
            ("VIP ", "begin or end"),
            ("\u{3000}VIP", "begin or end"),
            ("VI\nP", "control"),
            ("VI\u{2028}P", "control"),
            ("VI\u{200b}P", "zero-width"),
            ("\u{feff}VIP", "zero-width"),
            ("VIP\u{200d}", "zero-width"),
            ("V\u{ad}IP", "zero-width"),
            ("V\u{202e}PI", "zero-width"),
            ("V\u{e0001}IP", "zero-width"),
            ("V\u{e0049}\u{e0050}", "zero-width"),
            ("VIP 🏴\u{e0067}\u{e007f} A\u{e0067}", "zero-width"),
        ] {
            assert!(name_flaw(name).is_some_and(|told| told.contains(flaw)), "{name:?}");
        }
        for name in [
            "VIP",
            "Große Halle",
            "ΟΔΥΣΣΕΙΑ",
            "می\u{200c}خواهم",
            "👩\u{200d}🎤",
            "❤\u{fe0f}",
            "🏴\u{e0067}\u{e0062}\u{e007f}",
            "葛\u{e0100}城",
            "Cafe\u{301}",
            "A  B",
        ] {
            assert_eq!(name_flaw(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_password_is_the_same_from_every_keyboard() {
        assert_eq!(password("pässwörd"), password("pa\u{308}sswo\u{308}rd"));
        assert_eq!(password("ｐａｓｓ１"), "pass1");
        assert_eq!(password("Secret ﬁsh"), "Secret fish");
        assert_ne!(password("Pass"), password("pass"));
    }

    #[test]
    fn lines_end_in_one_way() {
        assert_eq!(prose("a\r\nb\n\ne\u{301}"), "a\nb\n\né");
        assert_eq!(prose_flaw("a\nb"), None);
        assert!(prose_flaw("a\rb").is_some() && prose_flaw("a\tb").is_some());
    }

    proptest! {
        #[test]
        fn folding_again_changes_nothing(text in "\\PC{0,12}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once.clone());
            prop_assert_eq!(folded(&composed(&text)), once.clone());
            prop_assert_eq!(folded(&lowered(&text)), once);
        }
    }
}
