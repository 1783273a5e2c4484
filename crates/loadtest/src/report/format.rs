//! Numbers and words as people read them: thousands separators, as many digits as a measurement
//! carries, no `NaN`, and nothing a page or a terminal could take for an instruction.

/// Appends formatted text to a string.
macro_rules! put {
    ($out:expr, $($text:tt)+) => {{
        use std::fmt::Write as _;
        write!($out, $($text)+).expect("a string takes any text");
    }};
}
pub(super) use put;

/// Shown where there is no figure.
pub const NONE: &str = "–";

/// A count, with a comma at every third digit.
pub fn whole(count: u64) -> String {
    grouped(&count.to_string())
}

/// A measured figure with about three digits that mean something: `0.42`, `7.13`, `58.1`, `41,152`.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        NONE.to_owned()
    } else if size >= 99.95 {
        let digits = format!("{size:.0}");
        format!("{}{}", if value < 0.0 { "-" } else { "" }, grouped(&digits))
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else if size >= 0.005 {
        format!("{value:.2}")
    } else if size > 0.0 {
        "<0.01".to_owned()
    } else {
        "0".to_owned()
    }
}

/// A latency with its unit, in the unit that keeps the number short: `430 µs`, `12.3 ms`, `1.20 s`.
/// The space does not break.
pub fn duration(ms: f64) -> String {
    if !ms.is_finite() {
        NONE.to_owned()
    } else if ms >= 1000.0 {
        format!("{}\u{a0}s", number(ms / 1000.0))
    } else if ms > 0.0 && ms < 1.0 {
        let us = ms * 1000.0;
        if us >= 1.0 { format!("{us:.0}\u{a0}µs") } else { "<1\u{a0}µs".to_owned() }
    } else {
        format!("{}\u{a0}ms", number(ms))
    }
}

/// A round figure: as few digits as name the value, `0.5`, `20`, `1,000`.
pub fn tick(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    let text = format!("{}", rounded.abs());
    let (digits, rest) = text.split_once('.').map_or((text.as_str(), ""), |parts| parts);
    let dot = if rest.is_empty() { "" } else { "." };
    let sign = if rounded < 0.0 { "-" } else { "" };
    format!("{sign}{}{dot}{rest}", grouped(digits))
}

/// A length of time to a tenth of a second, `40` or `12.5`.
pub fn seconds(value: f64) -> String {
    if value.is_finite() { tick((value * 10.0).round() / 10.0) } else { NONE.to_owned() }
}

/// A part of a whole in percent; nothing of nothing is no figure.
pub fn share(part: u64, of: u64) -> String {
    if of == 0 { NONE.to_owned() } else { percent(part as f64 / of as f64) }
}

/// A ratio in percent, exact at both ends: only all is `100 %`, and only none is `0 %`.
pub fn percent(ratio: f64) -> String {
    let value = ratio * 100.0;
    if !value.is_finite() {
        NONE.to_owned()
    } else if value > 0.0 && value < 0.05 {
        "<0.1 %".to_owned()
    } else if value > 99.95 && value < 100.0 {
        ">99.9 %".to_owned()
    } else if value.fract() == 0.0 || value >= 1000.0 {
        format!("{} %", grouped(&format!("{value:.0}")))
    } else {
        format!("{value:.1} %")
    }
}

/// How many times as large, `1.09×`.
pub fn times(ratio: f64) -> String {
    if !ratio.is_finite() {
        NONE.to_owned()
    } else if ratio >= 999.5 {
        ">999×".to_owned()
    } else if ratio >= 99.95 {
        format!("{ratio:.0}×")
    } else if ratio >= 9.995 {
        format!("{ratio:.1}×")
    } else {
        format!("{ratio:.2}×")
    }
}

/// `2026-11-22T19:00:00.123Z` as `2026-11-22 19:00:00 UTC`; anything else stays as it is.
pub fn instant(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(10..11), rfc3339.get(11..19)) {
        (Some(day), Some("T"), Some(time)) if rfc3339.ends_with('Z') => format!("{day} {time} UTC"),
        _ => rfc3339.to_owned(),
    }
}

/// `one run` or `3 runs`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("one {noun}") } else { format!("{count} {noun}s") }
}

/// Text for the body or a quoted attribute of a page.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Text for a terminal. A server chooses some of the words, so no control character passes.
pub fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// At most `width` characters; what was cut off is shown as `…`.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Lines of at most `width` characters, broken between words where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + rest.len() > width {
            lines.push(String::new());
        } else if used > 0 {
            push(&mut lines, " ");
        }
        while rest.len() > width {
            let head: String = rest.drain(..width).collect();
            push(&mut lines, &head);
            lines.push(String::new());
        }
        push(&mut lines, &rest.iter().collect::<String>());
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_separators_and_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.001, "<0.01"),
            (0.42, "0.42"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (58.14, "58.1"),
            (99.96, "100"),
            (999.6, "1,000"),
            (41_152.4, "41,152"),
            (1_234_567.0, "1,234,567"),
            (-1_234.0, "-1,234"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!([0, 999, 1_000, 1_234_567].map(whole).join(" "), "0 999 1,000 1,234,567");
    }

    #[test]
    fn durations_pick_their_unit() {
        assert_eq!(
            [0.0, 0.43, 12.34, 999.0, 1_200.0].map(duration).join(" | ").replace('\u{a0}', " "),
            "0 ms | 430 µs | 12.3 ms | 999 ms | 1.20 s"
        );
        assert_eq!([0.5, 0.1 + 0.2, 20_000.0].map(tick).join(" | "), "0.5 | 0.3 | 20,000");
        assert_eq!(duration(f64::NAN), "–");
    }

    #[test]
    fn a_share_is_whole_only_if_it_is_all() {
        assert_eq!(share(1, 1), "100 %");
        assert_eq!(share(999_999, 1_000_000), ">99.9 %");
        assert_eq!(share(1, 1_000_000), "<0.1 %");
        assert_eq!(share(0, 5), "0 %");
        assert_eq!(share(0, 0), "–");
    }

    #[test]
    fn instants_lose_their_fraction_and_nothing_else() {
        assert_eq!(instant("2026-11-22T19:00:00.123Z"), "2026-11-22 19:00:00 UTC");
        assert_eq!(instant("yesterday, about noonö"), "yesterday, about noonö");
    }

    #[test]
    fn no_text_becomes_an_instruction() {
        assert_eq!(
            escape("<a href='x'>&\"\u{1b}"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}"
        );
        assert_eq!(printable("a\u{1b}[2Jb\n c"), "a\u{fffd}[2Jb c");
    }

    #[test]
    fn wrapped_lines_keep_every_word() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(fit("availability", 6), "avail…");
    }
}
