//! `cargo xtask test`: everything that a change must pass.

use std::time::Instant;

use crate::shell::{cargo, run as run_command, say};

pub(crate) fn run() -> anyhow::Result<()> {
    let mut took = Vec::new();
    for (name, arguments) in STEPS {
        say(&format!("\n=== {name}"));
        let started = now();
        let mut step = cargo();
        run_command(step.args(*arguments).env("RUSTDOCFLAGS", "-D warnings"))?;
        took.push((name, now() - started));
    }
    say("\n=== all is well");
    for (name, took) in took {
        say(&format!("{:>6.1} s  {name}", took.as_secs_f64()));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a task is a program of its own")]
fn now() -> Instant {
    Instant::now()
}

/// One set of flags for all that compile, so that nothing is compiled twice.
const STEPS: &[(&str, &[&str])] = &[
    ("format", &["fmt", "--all", "--check"]),
    (
        "lints",
        &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"],
    ),
    // The rules of the house are among them.
    ("tests", &["test", "--workspace", "--all-targets", "--locked", "--quiet"]),
    ("tests in the documentation", &["test", "--workspace", "--doc", "--locked", "--quiet"]),
    ("documentation", &["doc", "--workspace", "--no-deps", "--locked", "--quiet"]),
    (
        "the example of the domain",
        &["run", "--quiet", "--locked", "-p", "geostream-domain", "--example", "pick_region"],
    ),
];
