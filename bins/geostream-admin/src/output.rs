//! Tables for people, JSON for programs.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::{process, thread};

use anyhow::Context as _;
use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::End;
use crate::client::ClientError;
use crate::style::{Style, output_has_colours};

const SIGPIPE: i32 = 13;

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and sentences
    Table,
    /// The same, with all columns
    Wide,
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
            Self::Table | Self::Wide => for_people(),
        }
        Ok(End::Well)
    }

    /// Prints an error with its causes: a program gets it as JSON, with the server's problem.
    pub(crate) fn complain(self, error: &anyhow::Error, exit_code: u8) {
        if self != Self::Json {
            return complain(error);
        }
        let problem = match error.downcast_ref::<ClientError>() {
            Some(ClientError::Problem(problem) | ClientError::Token { problem, .. }) => {
                Some(problem)
            }
            Some(_) | None => None,
        };
        let text = format!("{error:#}");
        let document = json!({ "error": text, "exit_code": exit_code, "problem": problem });
        tell(format_args!("{document}\n"));
    }
}

/// Prints a line.
pub(crate) fn say(text: impl Display) {
    print(format_args!("{text}\n"));
}

thread_local! {
    /// What is printed while a frame is drawn.
    static FRAME: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Draws over what the terminal shows, in one piece, so that nothing flickers; elsewhere, prints.
pub(crate) fn redraw(draw: impl FnOnce()) {
    if !io::stdout().is_terminal() {
        draw();
        return;
    }
    FRAME.set(Some(String::new()));
    draw();
    let frame = FRAME.take().unwrap_or_default();
    let (height, _) = screen();
    print(framed(&frame, height.into()));
}

/// Returns the rows and columns of the terminal. One that does not know its size is taken for a usual
/// one: a table would have a letter a line there.
fn screen() -> (u16, u16) {
    let (rows, columns) = dialoguer::console::Term::stdout().size();
    (if rows == 0 { 24 } else { rows }, if columns < 20 { 80 } else { columns })
}

/// Puts lines over those of the frame before. What is longer than the screen would scroll it.
fn framed(frame: &str, height: usize) -> String {
    // ECMA-48: home; behind each line, erase to its end; behind the last, erase the rest.
    let room = height.saturating_sub(2).max(1);
    let mut lines: Vec<&str> = frame.lines().take(room).collect();
    let more = frame.lines().count() - lines.len();
    let rest = format!("... and {more} more lines");
    if more > 0 {
        lines.push(&rest);
    }
    let lines: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// Ends the program well when it is interrupted.
pub(crate) fn end_at_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut interrupts = {
        let _entered = runtime.enter();
        signal(SignalKind::interrupt()).context("listening for SIGINT")?
    };
    thread::spawn(move || {
        runtime.block_on(interrupts.recv());
        tell("\n");
        process::exit(0);
    });
    Ok(())
}

/// Prints, or ends the program: silently, and as if by the signal that others end with, where whoever
/// reads has seen enough, as `head` has.
pub(crate) fn print(text: impl Display) {
    let is_drawn = FRAME.with_borrow_mut(|frame| {
        frame.as_mut().map(|frame| frame.push_str(&text.to_string())).is_some()
    });
    if is_drawn {
        return;
    }
    let mut out = io::stdout().lock();
    let Err(error) = write!(out, "{text}").and_then(|()| out.flush()) else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        process::exit(128 + SIGPIPE);
    }
    complain(&anyhow::Error::new(error).context("the output cannot be written"));
    process::exit(1);
}

/// Says something beside the output. Where nobody listens, that is not worth ending for.
pub(crate) fn tell(text: impl Display) {
    drop(write!(io::stderr(), "{text}"));
}

/// Prints a warning.
pub(crate) fn warn(text: &str) {
    tell(format_args!("{} {text}\n", Style::Doubtful.error("warning:")));
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

/// Prints an error with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    tell(format_args!("{} {error:#}\n", Style::Bad.error("geostream-admin:")));
}

/// Prints a table.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let has_colours = output_has_colours();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if has_colours {
        table.enforce_styling();
    }
    if io::stdout().is_terminal() {
        let (_, width) = screen();
        table.set_width(width);
    }
    table.set_header(header.map(|name| {
        let cell = Cell::new(name.to_uppercase());
        if has_colours { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in rows {
        table.add_row(row.map(|text| match Style::of_word(&text).filter(|_| has_colours) {
            Some(style) => Cell::new(text).fg(colour(style)),
            None => Cell::new(text),
        }));
    }
    // Columns are two apart, and lines begin at the margin.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    say(table.trim_fmt());
}

fn colour(style: Style) -> Color {
    match style {
        Style::Good => Color::DarkGreen,
        Style::Doubtful => Color::DarkYellow,
        Style::Bad => Color::DarkRed,
    }
}

/// Prints a table, or what to do where there is nothing to list.
pub(crate) fn table_or<const N: usize>(
    nothing: &str,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        say(nothing);
    } else {
        table(header, rows);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_to_the_screen_and_erases_the_one_before() {
        assert_eq!(framed("a\nb\n", 24), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        let cut = framed("a\nb\nc\nd\n", 4);
        assert_eq!(cut, "\x1b[Ha\x1b[K\nb\x1b[K\n... and 2 more lines\x1b[K\n\x1b[J");
    }
}
