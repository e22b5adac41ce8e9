//! A configuration in a file, whose mistakes are told with their lines.

use std::fmt;
use std::iter::successors;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use crate::config::Config;
use crate::fields::{FieldErrors, step};
use crate::remedy::remedy;

/// A declared configuration as it is kept in a file.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// What it declares.
    pub config: Config,
    /// Its text, where that is TOML; in JSON, pointers are enough to find a field.
    toml: Option<String>,
}

/// A text that is no configuration: why, in which field, and what to write instead.
#[derive(Debug)]
pub struct ConfigFileError {
    /// What the reader says, with the place; TOML's points at the line.
    message: String,
    /// The field, as a JSON pointer; empty for the whole text.
    pointer: String,
    remedy: Option<String>,
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, pointer, remedy } = self;
        f.write_str(message.trim_end())?;
        match (&**pointer, remedy) {
            ("", None) => Ok(()),
            (pointer, None) => write!(f, " (at {pointer})"),
            ("", Some(remedy)) => write!(f, "; {remedy}"),
            (pointer, Some(remedy)) => write!(f, " (at {pointer}); {remedy}"),
        }
    }
}

impl std::error::Error for ConfigFileError {}

impl ConfigFileError {
    fn new<E: fmt::Display>(error: &serde_path_to_error::Error<E>, refusal: &str) -> Self {
        let path: Vec<String> = error.path().iter().map(ToString::to_string).collect();
        // The path of a text that is cut off, or no TOML at all, has a step without a name.
        let is_known = path.iter().all(|step| step != "?");
        let pointer = path.iter().filter(|_| is_known).map(|name| step(name)).collect();
        let field = path.last().map_or("", String::as_str);
        Self { message: error.inner().to_string(), pointer, remedy: remedy(field, refusal) }
    }

    fn yaml() -> Self {
        Self {
            message: "this is YAML; TOML and JSON are read".to_owned(),
            pointer: String::new(),
            remedy: Some("convert it, such as with: yq -o json FILE.yaml > FILE.json".to_owned()),
        }
    }
}

/// Reads a document in TOML.
///
/// # Errors
///
/// The first place where the text is no such document.
pub fn read_toml<T: DeserializeOwned>(text: &str) -> Result<T, ConfigFileError> {
    let document = toml::Deserializer::parse(text).map_err(|error| {
        if looks_like_yaml(text) {
            return ConfigFileError::yaml();
        }
        let message = shown(&error, text);
        ConfigFileError { message, pointer: String::new(), remedy: None }
    })?;
    let read = serde_path_to_error::deserialize(document);
    read.map_err(|error| {
        let refusal = ConfigFileError::new(&error, error.inner().message());
        ConfigFileError { message: shown(error.inner(), text), ..refusal }
    })
}

/// Shows an error with its line, or, where the line may have the value of a header field, with the
/// number of the line alone: such a value may be a secret.
fn shown(error: &toml::de::Error, text: &str) -> String {
    if !text.contains("headers") {
        return error.to_string();
    }
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let what = without_text(error.message());
    format!("line {line}, which is not shown since the file has header fields: {what}")
}

/// Takes the text out of what a reader says of it: `invalid type: string "s3cret", expected u32`.
fn without_text(message: &str) -> String {
    match message.split_once(" string \"") {
        Some((before, rest)) => {
            let (_, after) = rest.rsplit_once("\", ").unwrap_or_default();
            format!("{before} string, {after}")
        }
        None => message.to_owned(),
    }
}

fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, ConfigFileError> {
    // The reader of TOML passes over a byte order mark; that of JSON does not.
    let mut document = serde_json::Deserializer::from_str(without_mark(text));
    let read = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let message = error.inner().to_string();
        // The place is behind what was refused: ` at line 1 column 9`.
        let refusal = message.rsplit_once(" at line ").map_or(&*message, |(refusal, _)| refusal);
        ConfigFileError::new(&error, refusal)
    })?;
    match document.end() {
        Ok(()) => Ok(read),
        Err(error) => Err(ConfigFileError {
            message: error.to_string(),
            pointer: String::new(),
            remedy: None,
        }),
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Tells whether a text that is no TOML begins as YAML does: with a key and a colon, or a dash.
fn looks_like_yaml(text: &str) -> bool {
    let lines = without_mark(text).lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().unwrap_or_default();
    let is_key = first.split_once(':').is_some_and(|(key, rest)| {
        !key.contains(['=', '[', '{']) && (rest.is_empty() || rest.starts_with(' '))
    });
    first == "---" || first.starts_with("- ") || is_key
}

impl ConfigFile {
    /// Reads the text of a file: JSON if the file's name ends so or the text is an object, else TOML.
    ///
    /// # Errors
    ///
    /// The first place where the text is no configuration.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigFileError> {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        // No TOML begins with a brace, and what is read from standard input has no name.
        if ending == "json" || without_mark(&text).trim_start().starts_with('{') {
            return Ok(Self { config: read_json(&text)?, toml: None });
        }
        if ending == "yaml" || ending == "yml" {
            return Err(ConfigFileError::yaml());
        }
        let config = read_toml(&text)?;
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
    fn an_error_shows_no_value_of_a_header_field() {
        let check = "[regions.a.check]\nurl = 'http://a'\n";
        for (rest, expected) in [
            ("headers = { a = 's3cret' }\ninterval_ms = '1s'", "line 4, which is not shown"),
            ("headers = { a = 's3cret' }\nurl = 1", "line 4, which is not shown"),
            ("headers = 's3cret'", "line 3, which is not shown"),
            ("[regions.a.check.headers]\na = s3cret", "line 4, which is not shown"),
        ] {
            let told = read_toml::<Config>(&format!("{check}{rest}")).unwrap_err().to_string();
            assert!(told.contains(expected) && !told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        for (name, text) in [("a.json", "\u{feff}{}"), ("a.toml", "\u{feff}")] {
            assert!(ConfigFile::parse(Path::new(name), text.to_owned()).is_ok(), "{name}");
        }
    }

    fn refused(name: &str, text: &str) -> String {
        ConfigFile::parse(Path::new(name), text.to_owned()).unwrap_err().to_string()
    }

    #[test]
    fn yaml_is_told_apart_by_its_name_and_by_its_text() {
        for (name, text) in [
            ("regions.yaml", "regions:\n  eu: {latitude: 1}"),
            ("regions.YML", "a = 1"),
            ("-", "# regions\n---\nregions:\n"),
            ("regions.toml", "regions:\n"),
            ("regions.conf", "- a\n- b"),
        ] {
            let refused = refused(name, text);
            assert!(
                refused.contains("this is YAML") && refused.contains("yq -o json"),
                "{refused}"
            );
        }
        assert!(!refused("regions.toml", "regions = {\n").contains("YAML"));
    }

    #[test]
    fn json_is_told_by_its_text_where_no_name_tells_it() {
        assert!(ConfigFile::parse(Path::new("-"), " {\"regions\": {}}".to_owned()).is_ok());
    }

    #[test]
    fn a_refused_value_is_told_with_its_field_and_what_to_write() {
        let region = "[regions.eu]\nlatitude = 1\nlongitude = 2\n";
        for (line, expected) in [
            ("capacity = \"1000/s\"", "(at /regions/eu/capacity); write 1000: a number"),
            (
                "check = { interval = \"1s\" }",
                "(at /regions/eu/check/interval); write `interval_ms`",
            ),
            (
                "check = { interval_ms = \"1s\" }",
                "/check/interval_ms); write 1000: a number of milli",
            ),
            ("capacity = \"1000/s\"", "line 4"),
        ] {
            let refused = refused("regions.toml", &format!("{region}{line}"));
            assert!(refused.contains(expected), "{line}: {refused}");
        }
        let json = r#"{"regions": {"eu": {"latitude": 1, "longitude": 2, "capacity": "1000/s"}}}"#;
        let refused = refused("regions.json", json);
        let expected = "line 1 column 71 (at /regions/eu/capacity); write 1000: a number, without";
        assert!(refused.contains(expected), "{refused}");
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
