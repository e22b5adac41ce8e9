//! Scripts that say what happens to a few nodes, with all that follows as the expectation.
//!
//! A script is a text file: paragraphs of commands, each with what came of them under a line of dashes.
//! Nothing happens by itself: messages stay where they are until they are delivered or lost, and time
//! stands still until it is told to pass. Disks are perfect, unless they are told to hold writes back.

mod member;
mod stage;
mod state;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::scenario::stage::Stage;

/// What separates commands from what came of them.
const RULE: &str = "----";

/// Returns where the scripts are.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Reads all scripts, each with the file it is in, in the order of their names.
///
/// # Errors
///
/// A file cannot be read.
pub fn scenarios() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let directory = directory();
    let files = std::fs::read_dir(&directory).with_context(|| format!("reading {directory:?}"))?;
    let mut scripts = Vec::new();
    for file in files {
        let path = file?.path();
        let script = std::fs::read_to_string(&path).with_context(|| format!("reading {path:?}"))?;
        scripts.push((path, script));
    }
    scripts.sort();
    Ok(scripts)
}

/// Plays a script, and returns it with what came of each command now. What cannot be executed is
/// an error there.
#[must_use]
pub fn play(script: &str) -> String {
    let mut stage = Stage::default();
    let paragraphs = script.trim_end().split("\n\n").map(|paragraph| {
        let text = paragraph.split_once(RULE).map_or(paragraph, |(text, _)| text).trim_end();
        let is_command = |line: &&str| !line.starts_with('#');
        if !text.lines().any(|line| is_command(&line)) {
            return text.to_owned();
        }
        for command in text.lines().filter(is_command) {
            if let Err(error) = execute(&mut stage, command) {
                stage.note(format!("error at `{command}`: {error:#}"));
            }
        }
        format!("{text}\n{RULE}\n{}", stage.take_trace())
    });
    paragraphs.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// Obeys a command; a panic is an error like any other.
fn execute(stage: &mut Stage, command: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let executed = catch_unwind(AssertUnwindSafe(|| stage.execute(&words)));
    executed.unwrap_or_else(|panic| bail!("{}", crate::world::message(&*panic)))
}
