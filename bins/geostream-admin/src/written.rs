//! What a write changes: asked about before, and told afterwards.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, bail};
use geostream_api::{Difference, Proposed};
use serde_json::Value;

use crate::End;
use crate::fields::{changed_fields, leaves, shortened};
use crate::output::{Output, say, tell, warn};
use crate::style::Style;
use crate::when::Now;
use crate::{place, sentence};

impl Output {
    /// Shows what a write would change, and writes if the user is sure.
    pub(crate) fn write_if_sure(
        self,
        question: &str,
        is_sure: bool,
        changes: &[Difference],
        write: impl FnOnce() -> anyhow::Result<Proposed>,
    ) -> anyhow::Result<End> {
        if self != Self::Json {
            show_differences(changes);
            sentence::doubts(changes).iter().for_each(|doubt| warn(doubt));
        }
        if !confirm(question, is_sure)? {
            tell("nothing was changed\n");
            return Ok(End::Well);
        }
        let proposed = write()?;
        self.show(&proposed, || told(&proposed, None))
    }

    /// Tells what a write has changed.
    pub(crate) fn wrote(self, proposed: &Proposed) -> anyhow::Result<End> {
        self.wrote_moving(proposed, || None)
    }

    /// Tells what a write has changed, and where the clients of a drained region go.
    pub(crate) fn wrote_moving(
        self,
        proposed: &Proposed,
        clients: impl FnOnce() -> Option<String>,
    ) -> anyhow::Result<End> {
        self.show(proposed, || {
            let clients = (!proposed.changes.is_empty()).then(clients).flatten();
            told(proposed, clients.as_deref());
            sentence::doubts(&proposed.changes).iter().for_each(|doubt| warn(doubt));
        })
    }
}

/// Says what a write has done, and what its author has to know.
fn told(proposed: &Proposed, clients: Option<&str>) {
    sentence::of(proposed, Now::read(), clients).iter().for_each(say);
    proposed.warnings.iter().for_each(|warning| warn(warning));
}

/// Prints what differs: added, removed, and, part by part, changed.
pub(crate) fn show_differences(differences: &[Difference]) {
    for Difference { path, before, after } in differences {
        let (mark, style) = match (before, after) {
            (None, Some(_)) => ("+", Style::Good),
            (Some(_), None) => ("-", Style::Bad),
            (Some(_), Some(_)) | (None, None) => ("~", Style::Doubtful),
        };
        let title = style.out(&format!("{mark} {path}"));
        let nothing = Value::Null;
        let old = before.as_ref().unwrap_or(&nothing);
        let new = after.as_ref().unwrap_or(&nothing);
        match (before, after) {
            (None, Some(whole)) | (Some(whole), None) if whole.is_object() => {
                say(title);
                for (name, value) in leaves(whole) {
                    say(format_args!("    {name}: {}", shortened(&value)));
                }
            }
            (None, Some(whole)) | (Some(whole), None) => {
                say(format_args!("{title}  {}", shortened(whole)));
            }
            _ => {
                say(title);
                for (name, before, after) in changed_fields(old, new) {
                    let name = if name.is_empty() { name } else { format!("{name}: ") };
                    say(format_args!("    {name}{} -> {}", shortened(&before), shortened(&after)));
                }
            }
        }
        if let Some(place) = new_place(path, old, new) {
            say(format_args!("    place: {place}"));
        }
    }
}

/// Returns the known place that a region is near which was added or moved.
fn new_place(path: &str, before: &Value, after: &Value) -> Option<place::Near> {
    path.strip_prefix("regions/")?;
    let at = place::coordinates(after)?;
    let is_new = place::coordinates(before) != Some(at);
    place::nearest(at.0, at.1).filter(|_| is_new)
}

/// Asks whether to go on, unless that was said already.
fn confirm(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask at; pass --yes to skip the prompt");
    }
    let asked = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
    asked.context("asking")
}
