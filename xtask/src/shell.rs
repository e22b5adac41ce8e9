//! Commands, and what is said about them.

#![expect(clippy::print_stderr, reason = "tasks say what they do")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Returns the root of the workspace.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap_or_else(|| Path::new(".")).to_owned()
}

/// Returns a command that runs in the root of the workspace.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Returns the cargo that runs this task, without what it has told the task of the task itself: build
/// scripts that look at it would run again, and what depends on them be built anew.
pub fn cargo() -> Command {
    let mut cargo = command(env!("CARGO"));
    let told = env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| name.as_encoded_bytes().starts_with(b"CARGO_PKG_")) {
        cargo.env_remove(name);
    }
    cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    cargo
}

/// Says what is done next.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs a command.
///
/// # Errors
///
/// The command cannot be started, or its exit code is not 0.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    say(&format!("$ {shown}"));
    let status = command.status().with_context(|| format!("running {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs a command and returns its standard output.
///
/// # Errors
///
/// The command cannot be started, its exit code is not 0, or its output is not UTF-8.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("running {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} prints no text"))
}

/// Runs a command that is silent for long, and shows a spinner meanwhile.
///
/// # Errors
///
/// Those of [`output`].
pub fn output_with_spinner(what: &str, command: &mut Command) -> anyhow::Result<String> {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    spinner.set_style(style.context("the spinner's style")?);
    spinner.enable_steady_tick(Duration::from_millis(100));
    let output = output(command);
    spinner.finish_and_clear();
    output
}

/// Tells whether a program is there.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
