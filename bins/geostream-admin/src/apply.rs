//! `apply` and `diff`

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use geostream_api::{Config, ConfigFile, Diff, FieldErrors, Problem, Proposed};

use crate::End;
use crate::client::{Client, ClientError, Versioned};
use crate::output::{Output, say, warn};
use crate::sentence;
use crate::written::show_differences;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file, TOML or JSON, as docs/Configuration.md describes it; - reads standard input
    #[arg(short, long)]
    file: PathBuf,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,

    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// The revision that is compared
    #[arg(required_unless_present = "file")]
    from: Option<u64>,

    /// The revision that it is compared with; without it, the latest
    to: Option<u64>,

    /// A file that the server is compared with
    #[arg(short, long, conflicts_with = "from")]
    file: Option<PathBuf>,

    /// End with 6 if there are differences
    #[arg(long)]
    exit_code: bool,
}

pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    let (config, tried) = try_file(client, &arguments.file)?;
    if arguments.dry_run || tried.changes.is_empty() {
        return show(output, &tried);
    }
    let question = format!("Make these {} changes?", tried.changes.len());
    output.write_if_sure(&question, arguments.yes, &tried.changes, || {
        client.put("/api/v1/config", tried.revision, arguments.reason.as_deref(), &config)
    })
}

pub(crate) fn diff(
    client: &Client,
    output: Output,
    arguments: &DiffArguments,
) -> anyhow::Result<End> {
    let differs = match (&arguments.file, arguments.from) {
        (Some(file), _) => {
            let (_, tried) = try_file(client, file)?;
            show(output, &tried)?;
            !tried.changes.is_empty()
        }
        (None, from) => {
            let from = from.context("a revision or a file is needed")?;
            let to = match arguments.to {
                Some(to) => to,
                None => client.get::<geostream_api::Status>("/api/v1/status")?.revision,
            };
            let diff: Diff = client.get(&format!("/api/v1/config/diff?from={from}&to={to}"))?;
            output.show(&diff, || show_differences(&diff.changes))?;
            !diff.changes.is_empty()
        }
    };
    Ok(if differs && arguments.exit_code { End::Different } else { End::Well })
}

fn show(output: Output, tried: &Proposed) -> anyhow::Result<End> {
    let mut doubts = sentence::doubts(&tried.changes);
    doubts.extend(tried.warnings.iter().cloned());
    if output != Output::Json {
        doubts.iter().for_each(|doubt| warn(doubt));
    }
    output.show(tried, || {
        if tried.changes.is_empty() {
            say(format_args!("nothing to change: revision {} says the same", tried.revision));
        } else {
            show_differences(&tried.changes);
        }
    })
}

/// Reads a file, and asks the server what it would change.
fn try_file(client: &Client, file: &Path) -> anyhow::Result<(Config, Proposed)> {
    let read = read(file)?;
    ensure!(
        !read.config.is_empty(),
        "{} declares no region and no service: applying it would remove everything",
        file.display()
    );
    let Versioned { revision, .. } = client.get_versioned::<Config>("/api/v1/config")?;
    let tried = client.put("/api/v1/config?dry_run=true", revision, None, &read.config);
    let tried = tried.map_err(|error| in_lines_of(&read, error))?;
    Ok((read.config, tried))
}

/// Says in which lines of the file the fields are that the server refuses.
fn in_lines_of(file: &ConfigFile, error: anyhow::Error) -> anyhow::Error {
    match error.downcast() {
        Ok(ClientError::Problem(problem)) => {
            let FieldErrors(errors) = file.locate(FieldErrors(problem.errors));
            ClientError::Problem(Problem { errors, ..problem }).into()
        }
        Ok(other) => other.into(),
        Err(error) => error,
    }
}

fn read(file: &Path) -> anyhow::Result<ConfigFile> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        text
    } else {
        fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?
    };
    ConfigFile::parse(file, text).with_context(|| format!("in {}", file.display()))
}
