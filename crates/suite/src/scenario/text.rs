//! Reading scenarios: lines of words and `key=value` pairs, with `->` before what is expected.

use std::collections::BTreeMap;

/// A story.
pub struct Scenario {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// One line of it.
#[derive(Clone, Debug)]
pub struct Line {
    pub number: usize,
    pub words: Vec<String>,
    pub given: BTreeMap<String, String>,
    /// What follows the arrow.
    pub expected: Option<Expected>,
}

/// The outcome a line expects: its words, and those of its facts that are named.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub verdict: String,
    pub facts: BTreeMap<String, String>,
}

impl Scenario {
    /// The codes with which its lines expect to be refused.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let verdicts = self.lines.iter().filter_map(|line| line.expected.as_ref());
        let code =
            |expected: &Expected| expected.verdict.strip_prefix("refused ").map(str::to_owned);
        verdicts.filter_map(code).collect()
    }
}

/// Reads the scenarios of a file. Text before the first one is a remark.
#[must_use]
pub fn read(file: &str, text: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix("scenario ") {
            let name = name.trim().to_owned();
            scenarios.push(Scenario { file: file.to_owned(), name, lines: Vec::new() });
        } else if let (Some(scenario), false) = (scenarios.last_mut(), line.is_empty()) {
            scenario.lines.push(read_line(index + 1, line));
        }
    }
    scenarios
}

fn read_line(number: usize, line: &str) -> Line {
    let (told, expected) = match line.split_once("->") {
        Some((told, expected)) => (told, Some(expected)),
        None => (line, None),
    };
    let (words, given) = split(told);
    let expected = expected.map(|text| {
        let (words, facts) = split(text);
        Expected { verdict: words.join(" "), facts }
    });
    Line { number, words, given, expected }
}

fn split(text: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let (mut words, mut pairs) = (Vec::new(), BTreeMap::new());
    for part in text.split_whitespace() {
        match part.split_once('=') {
            Some((key, value)) => {
                pairs.insert(key.to_owned(), value.to_owned());
            }
            None => words.push(part.to_owned()),
        }
    }
    (words, pairs)
}

/// Reads `250ms`, `600s`, `10m`, `2h` or `1d`, in milliseconds; negative ones are in the past.
pub fn duration_ms(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// Writes milliseconds in the largest unit of `s` and `ms` that fits.
pub fn duration(ms: i64) -> String {
    if ms % 1_000 == 0 { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}
