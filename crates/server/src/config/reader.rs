//! Finds the value of each setting and collects all errors.

use super::ConfigErrors;
use super::parse;
use super::table::{self, Kind};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The longest file that holds a secret, in bytes: a URL of many hosts is far shorter.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the value of a setting came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Unset.
    Default,
    /// The environment of the process.
    Environment,
    /// The file `.env`.
    DotEnv,
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::DotEnv => ".env",
        })
    }
}

/// A setting as a person may see it.
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value, without secrets.
    pub shown: String,
    /// Where it came from.
    pub source: Source,
}

/// The values of all settings. A bad one is recorded and its default read instead, so that one look
/// at the errors is enough to mend them all.
pub struct Reader {
    values: BTreeMap<&'static str, (SecretString, Source)>,
    errors: Vec<String>,
    refused: BTreeSet<&'static str>,
}

impl Reader {
    /// Takes the value of each setting from `environment`, else from `dotenv`, else its default.
    pub fn new(
        environment: impl IntoIterator<Item = (String, String)>,
        dotenv: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let defaults = table::variables()
            .map(|known| (known.name, (SecretString::from(known.default), Source::Default)));
        let mut reader =
            Self { values: defaults.collect(), errors: Vec::new(), refused: BTreeSet::new() };
        for (name, value) in dotenv {
            reader.set(&name, &value, Source::DotEnv);
        }
        for (name, value) in environment {
            // Kubernetes sets NAME_PORT to a URL for a Service called NAME: nobody's setting.
            if !(name.ends_with("_PORT") && value.starts_with("tcp://")) {
                reader.set(&name, &value, Source::Environment);
            }
        }
        for known in table::variables().filter(|known| known.kind == Kind::File) {
            reader.take_from_file(known.name);
        }
        reader
    }

    /// Sets the setting that belongs to `name` to the content of the file that it names, unless a
    /// stronger source has set it.
    fn take_from_file(&mut self, name: &'static str) {
        let held = name.strip_suffix("_FILE").and_then(table::find);
        let held = held.expect("a file holds the value of a setting of the table").name;
        let (path, source) = self.value(name);
        let (_, other) = self.value(held);
        if path.is_empty() || (other, source) == (Source::Environment, Source::DotEnv) {
            return;
        }
        let found = if other == source {
            Err(format!("{held} is set as well: set only one of them"))
        } else {
            content(Path::new(path))
        };
        match found {
            Ok(value) => drop(self.values.insert(held, (value, source))),
            Err(problem) => {
                self.refuse(name, &problem);
                self.refused.insert(held);
            }
        }
    }

    fn set(&mut self, name: &str, value: &str, source: Source) {
        if let Some(known) = table::find(name) {
            if !value.trim().is_empty() {
                self.values.insert(known.name, (SecretString::from(value.trim()), source));
            }
        } else if table::is_mistaken(name, source == Source::DotEnv) {
            let hint = table::closest(name).map(|known| format!("; did you mean {known}?"));
            let hint = hint.unwrap_or_default();
            self.errors.push(format!("{name} ({source}): unknown setting{hint}"));
        }
    }

    fn value(&self, name: &str) -> (&str, Source) {
        let (value, source) = self.values.get(name).expect("every setting is in the table");
        (value.expose_secret(), *source)
    }

    /// The value that `parse` makes of a setting with a default.
    pub fn read<T>(&mut self, name: &'static str, parse: fn(&str) -> Result<T, String>) -> T {
        let default = || parse(table::find(name)?.default).ok();
        match parse(self.value(name).0) {
            Ok(value) => value,
            Err(problem) => {
                self.refuse(name, &problem);
                default().expect("defaults are valid")
            }
        }
    }

    /// The value that `parse` makes of a setting that may be unset.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, _) = self.value(name);
        if text.is_empty() {
            return None;
        }
        parse(text).map_err(|problem| self.refuse(name, &problem)).ok()
    }

    /// A number with a default, within the limits of the table.
    pub fn number<T: TryFrom<u64>>(&mut self, name: &'static str) -> T {
        let number = self.optional_number(name).or_else(|| {
            let default = table::find(name)?.default.parse().ok()?;
            T::try_from(default).ok()
        });
        number.expect("defaults are valid")
    }

    /// A number that may be unset, within the limits of the table.
    pub fn optional_number<T: TryFrom<u64>>(&mut self, name: &'static str) -> Option<T> {
        let Some(Kind::Number { min, max }) = table::find(name).map(|known| known.kind) else {
            unreachable!("{name} has limits in the table");
        };
        self.optional(name, |text| {
            let number = text.parse().ok().filter(|number| (min..=max).contains(number));
            number
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
        })
    }

    /// A secret that may be unset.
    pub fn secret(
        &mut self,
        name: &'static str,
        parse: fn(&str) -> Result<String, String>,
    ) -> Option<SecretString> {
        self.optional(name, parse).map(SecretString::from)
    }

    /// Whether somebody set it, to something else than its default.
    pub fn is_changed(&self, name: &str) -> bool {
        self.value(name).0 != table::find(name).expect("it is in the table").default
    }

    /// Records that the value of a setting cannot be used.
    pub fn refuse(&mut self, name: &'static str, problem: &str) {
        let shown = match self.shown(name) {
            Some(value) => format!("={}", value.escape_debug()),
            None => String::new(),
        };
        let (_, source) = self.value(name);
        self.errors.push(format!("{name}{shown} ({source}): {problem}"));
        self.refused.insert(name);
    }

    /// Whether all of these are usable, so that they can be compared.
    pub fn are_sound(&self, names: &[&str]) -> bool {
        names.iter().all(|name| !self.refused.contains(name))
    }

    /// Shows `value` as the effective value of `name`, with the source of the setting it is made of.
    pub fn derive(&mut self, name: &'static str, value: SecretString, from: &str) {
        let (_, source) = self.value(from);
        self.values.insert(name, (value, source));
    }

    /// The value without its secrets; `None` when it is one.
    fn shown(&self, name: &str) -> Option<String> {
        let (value, _) = self.value(name);
        match table::find(name).expect("it is in the table").kind {
            Kind::Plain | Kind::Number { .. } | Kind::File => Some(value.to_owned()),
            Kind::Url if value.is_empty() => Some(String::new()),
            Kind::Url => Some(parse::masked(value)),
            Kind::Secret => None,
        }
    }

    /// All settings in effect; or everything that is wrong.
    pub fn finish(self) -> Result<Vec<Setting>, ConfigErrors> {
        if !self.errors.is_empty() {
            return Err(ConfigErrors(self.errors));
        }
        let setting = |known: &table::Variable| {
            let (value, source) = self.value(known.name);
            let hidden = if value.is_empty() { "" } else { "********" };
            let shown = self.shown(known.name).unwrap_or_else(|| hidden.to_owned());
            Setting { name: known.name, shown, source }
        };
        Ok(table::variables().map(setting).collect())
    }
}

/// What a file with a secret holds, without the line break that editors add.
fn content(path: &Path) -> Result<SecretString, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let read = file.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > SECRET_FILE_BYTES_MAX {
        return Err(format!("has more than {SECRET_FILE_BYTES_MAX} bytes"));
    }
    match text.trim() {
        "" => Err("is empty".to_owned()),
        value => Ok(SecretString::from(value)),
    }
}
