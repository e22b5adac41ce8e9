//! A configuration in a file, whose mistakes are told with their lines.

use std::fmt;
use std::iter::successors;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::config::Config;
use crate::fields::FieldErrors;

/// A declared configuration as somebody keeps it in a file.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// What it declares.
    pub config: Config,
    /// Its text, where that is TOML; whoever writes JSON looks for pointers, not for lines.
    toml: Option<String>,
}

/// A text that is no configuration; TOML's error points at the line, JSON's tells its number.
#[derive(Debug)]
pub enum ConfigFileError {
    /// It was read as TOML.
    Toml(toml::de::Error),
    /// It was read as JSON.
    Json(serde_json::Error),
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toml(error) => error.fmt(f),
            Self::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigFileError {}

impl ConfigFile {
    /// Reads the text of a file: JSON if the file's name ends so, else TOML.
    ///
    /// # Errors
    ///
    /// The first place where the text is no configuration.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigFileError> {
        if path.extension().is_some_and(|extension| extension == "json") {
            // The reader of TOML passes over a byte order mark; that of JSON does not.
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let config = serde_json::from_str(text).map_err(ConfigFileError::Json)?;
            return Ok(Self { config, toml: None });
        }
        let config = toml::from_str(&text).map_err(ConfigFileError::Toml)?;
        Ok(Self { config, toml: Some(text) })
    }

    /// Says in which line of the file each bad field is, or what should hold it.
    #[must_use]
    pub fn locate(&self, mut errors: FieldErrors) -> FieldErrors {
        let Some(lines) = self.toml.as_deref().and_then(TomlLines::of) else { return errors };
        for error in &mut errors.0 {
            let mut places = successors(Some(&*error.pointer), parent);
            if let Some(line) = places.find_map(|at| lines.find(at)) {
                error.detail = format!("line {line}: {}", error.detail);
            }
        }
        errors
    }
}

/// Returns the pointer to what holds what a pointer leads to.
fn parent<'a>(pointer: &&'a str) -> Option<&'a str> {
    pointer.rsplit_once('/').map(|(parent, _)| parent)
}

/// Where the parts of a TOML text are.
#[derive(Debug)]
pub struct TomlLines<'a> {
    whole: DeTable<'a>,
    /// Where each line but the first begins.
    begins: Vec<usize>,
}

impl<'a> TomlLines<'a> {
    /// Reads a text, unless it is no TOML.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        let whole = DeTable::parse(text).ok()?.into_inner();
        let begins = text.match_indices('\n').map(|(end, _)| end + 1).collect();
        Some(Self { whole, begins })
    }

    /// Returns the number of the line that a JSON pointer leads to, if there is what it points at.
    #[must_use]
    pub fn find(&self, pointer: &str) -> Option<usize> {
        let mut steps =
            pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
        let (key, mut value) = self.whole.get_key_value(&*steps.next()?)?;
        let mut place = key.span().start;
        for step in steps {
            (place, value) = match value.get_ref() {
                DeValue::Table(table) => {
                    let (key, value) = table.get_key_value(&*step)?;
                    (key.span().start, value)
                }
                DeValue::Array(array) => {
                    let value = array.get(step.parse::<usize>().ok()?)?;
                    (value.span().start, value)
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => return None,
            };
        }
        Some(self.begins.partition_point(|&begin| begin <= place) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[regions.a]
latitude = 91.0
longitude = 2.0
labels = { "x/y" = "1" }

[services.s]
all_down = { rule = "closed" }

[services.s.members]
b = {}

[[services.s.geofence]]
deny = ["a=b"]

[[services.s.geofence]]
clients.countries = [
  "DE",
  "XYZ",
]
deny = ["a=b"]
"#;

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        for (name, text) in [("a.json", "\u{feff}{}"), ("a.toml", "\u{feff}")] {
            assert!(ConfigFile::parse(Path::new(name), text.to_owned()).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_pointer_leads_to_a_line() {
        let lines = TomlLines::of(TEXT).unwrap();
        for (pointer, line) in [
            ("/regions/a", Some(2)),
            ("/regions/a/latitude", Some(3)),
            ("/regions/a/labels/x~1y", Some(5)),
            ("/services/s/members", Some(10)),
            ("/services/s/all_down/rule", Some(8)),
            ("/services/s/geofence/1/clients/countries/1", Some(19)),
            ("/services/s/geofence/2", None),
            ("/regions/b", None),
            ("/regions/a/latitude/x", None),
            ("", None),
        ] {
            assert_eq!(lines.find(pointer), line, "{pointer}");
        }
    }

    #[test]
    fn bad_fields_are_told_with_their_lines() {
        let file = ConfigFile::parse(Path::new("regions.toml"), TEXT.to_owned()).unwrap();
        let errors = file.locate(file.config.to_domain().unwrap_err()).to_string();
        let lines: Vec<_> = errors.lines().collect();
        assert_eq!(
            lines[0],
            "/regions/a/latitude: line 3: latitude 91 is not a number from -90 to 90"
        );
        assert!(
            lines[1].starts_with("/services/s/geofence/1/clients/countries/1: line 19: "),
            "{errors}"
        );
        let missing = FieldErrors::one("/services/s/policy/allowance_ms", "it is needed");
        assert!(file.locate(missing).to_string().contains("line 7: it"), "what should hold it");
    }
}
