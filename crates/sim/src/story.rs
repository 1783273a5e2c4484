//! Stories: runs that were found, told and kept.

use crate::choices::{Choices, Recorded};
use crate::machine::{self, Settings};
use crate::planted;
use std::fmt;
use std::path::Path;

/// A run, by its picks.
pub struct Story {
    /// What was decided, by its kind.
    pub picks: Recorded,
    /// The bug that has to be planted for it to go wrong.
    pub planted: Option<&'static str>,
    /// What is wrong.
    pub what: Option<String>,
    seed: Option<u64>,
    told: String,
}

impl Story {
    /// Runs these picks and tells what happens.
    pub fn of(picks: Recorded, seed: Option<u64>, planted: Option<&'static str>) -> Self {
        let (ran, finding) = machine::run(Choices::of(picks.clone()), Settings { trace: true });
        let (what, told) = match finding {
            Some(finding) => (Some(finding.what), finding.told),
            None => (None, ran.told),
        };
        Self { picks, planted, what, seed, told }
    }

    /// How many of its picks say that something special happens.
    pub fn special(&self) -> usize {
        self.picks.values().flatten().filter(|pick| **pick > 0).count()
    }

    /// Reads one that was kept.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let number = |word: &str| word.parse::<u32>().map_err(|error| format!("{word}: {error}"));
        let mut picks = Recorded::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("picks of ")) {
            let (kind, numbers) =
                line.split_once(": ").ok_or_else(|| format!("{}: {line}", file.display()))?;
            let numbers = numbers.split_whitespace().map(number).collect::<Result<_, _>>()?;
            picks.insert(kind.to_owned(), numbers);
        }
        let planted = value("planted:").map(|name| planted::find(name.trim())).transpose()?;
        if picks.is_empty() && planted.is_none() {
            return Err(format!("{}: no picks", file.display()));
        }
        let what = value("# ").map(str::to_owned);
        Ok(Self { picks, planted, what, seed: None, told: String::new() })
    }

    /// Writes it into a folder.
    pub fn keep(&self, folder: &Path) {
        let name = self.planted.or(self.what.as_deref()).unwrap_or("a run");
        let letters =
            name.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' });
        let name: String = letters.take(40).collect();
        let file = folder.join(format!("{}.txt", name.trim_matches('-').to_lowercase()));
        if let Err(error) = std::fs::write(&file, self.to_string()) {
            eprintln!("{}: {error}", file.display());
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.as_deref().unwrap_or("nothing is wrong");
        writeln!(f, "# {what}")?;
        if let Some(seed) = self.seed {
            writeln!(f, "# made smaller from seed {seed}")?;
        }
        if let Some(planted) = self.planted {
            writeln!(f, "planted: {planted}")?;
        }
        for (kind, picks) in &self.picks {
            let picks: Vec<_> = picks.iter().map(u32::to_string).collect();
            writeln!(f, "picks of {kind}: {}", picks.join(" "))?;
        }
        for line in self.told.lines() {
            writeln!(f, "#{line}")?;
        }
        Ok(())
    }
}
