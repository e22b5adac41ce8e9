//! Tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::process;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use geostream_api::{Difference, Proposed};
use serde::Serialize;
use serde_json::Value;

use crate::End;

const SIGPIPE: i32 = 13;

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and sentences
    Table,
    /// JSON
    Json,
}

impl Output {
    /// Shows a document as JSON, or as the people's version of it.
    pub(crate) fn show(
        self,
        document: &impl Serialize,
        for_people: impl FnOnce(),
    ) -> anyhow::Result<End> {
        match self {
            Self::Json => say(serde_json::to_string_pretty(document)?),
            Self::Table => for_people(),
        }
        Ok(End::Well)
    }

    /// Shows what a write would change, and writes if whoever asked for it is sure.
    pub(crate) fn write_if_sure(
        self,
        question: &str,
        is_sure: bool,
        changes: &[Difference],
        write: impl FnOnce() -> anyhow::Result<Proposed>,
    ) -> anyhow::Result<End> {
        if self == Self::Table && !is_sure {
            show_differences(changes);
        }
        if !confirm(question, is_sure)? {
            tell("nothing was changed\n");
            return Ok(End::Well);
        }
        self.wrote(&write()?)
    }

    /// Tells what a write has changed.
    pub(crate) fn wrote(self, proposed: &Proposed) -> anyhow::Result<End> {
        self.show(proposed, || {
            if proposed.changes.is_empty() {
                say(format_args!("nothing to change; still at revision {}", proposed.revision));
            } else {
                show_differences(&proposed.changes);
                say(format_args!("now at revision {}", proposed.revision));
            }
            for warning in &proposed.warnings {
                warn(warning);
            }
        })
    }
}

/// Prints a line.
pub(crate) fn say(text: impl Display) {
    print(format_args!("{text}\n"));
}

/// Prints, or ends the program: silently, and as if by the signal that others end with, where whoever
/// reads has seen enough, as `head` has.
pub(crate) fn print(text: impl Display) {
    let mut out = io::stdout().lock();
    let Err(error) = write!(out, "{text}").and_then(|()| out.flush()) else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        process::exit(128 + SIGPIPE);
    }
    complain(&anyhow::Error::new(error).context("the output cannot be written"));
    process::exit(1);
}

/// Says something beside the output. Where nobody listens, that is not worth ending for.
fn tell(text: impl Display) {
    drop(write!(io::stderr(), "{text}"));
}

/// Prints a warning.
pub(crate) fn warn(text: &str) {
    tell(format_args!("warning: {text}\n"));
}

/// Shows somebody who waits how far it is.
pub(crate) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        tell(format_args!("\r{text}"));
    }
}

/// Ends a line of progress.
pub(crate) fn end_progress() {
    if io::stderr().is_terminal() {
        tell("\n");
    }
}

/// Begins at the top of an empty screen, where there is one.
pub(crate) fn clear_screen() {
    if io::stdout().is_terminal() {
        // ECMA-48: erase the display and its history, and go home.
        print("\x1b[2J\x1b[3J\x1b[H");
    }
}

/// Prints an error with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    tell(format_args!("geostream-admin: {error:#}\n"));
}

/// Prints a table.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    say(table.trim_fmt());
}

/// Prints names and values, one a line.
pub(crate) fn facts(facts: &[(&str, String)]) {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in facts {
        say(format_args!("{name:width$}  {value}"));
    }
}

/// Shows what may be missing.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Prints what differs: added, removed, and, part by part, changed.
pub(crate) fn show_differences(differences: &[Difference]) {
    for Difference { path, before, after } in differences {
        match (before, after) {
            (None, Some(after)) => say(format_args!("+ {path}  {}", short(after))),
            (Some(before), None) => say(format_args!("- {path}  {}", short(before))),
            (Some(before), Some(after)) => {
                say(format_args!("~ {path}"));
                show_fields("", before, after);
            }
            (None, None) => say(format_args!("~ {path}")),
        }
    }
}

fn show_fields(path: &str, before: &Value, after: &Value) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        let name = if path.is_empty() { String::new() } else { format!("{path}: ") };
        say(format_args!("    {name}{} -> {}", short(before), short(after)));
        return;
    };
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let (before, after) = (old.get(key), new.get(key));
        if before != after {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            show_fields(&path, before.unwrap_or(&Value::Null), after.unwrap_or(&Value::Null));
        }
    }
}

/// Writes a value on part of a line.
fn short(value: &Value) -> String {
    const WIDTH: usize = 100;
    let text = value.to_string();
    if text.chars().count() <= WIDTH {
        return text;
    }
    let cut: String = text.chars().take(WIDTH).collect();
    format!("{cut}...")
}

/// Asks whether to go on, unless that was said already.
fn confirm(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!("nobody can be asked here; say --yes to go on");
    }
    let asked = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
    asked.context("asking")
}
