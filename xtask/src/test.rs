//! `cargo xtask test`: everything that a change must pass.

use std::fs;
use std::path::Path;
use std::time::Instant;

use xtask::debian::{self, Package};
use xtask::shell::{cargo, command, root, run as run_command, say};

pub(crate) fn run() -> anyhow::Result<()> {
    prepare()?;
    run_steps(STEPS)
}

/// Runs the steps that look at sources and start no server.
pub(crate) fn run_lints() -> anyhow::Result<()> {
    let lints: Vec<_> = STEPS.iter().filter(|(name, _)| LINTS.contains(name)).copied().collect();
    run_steps(&lints)
}

/// Runs the steps that [`run_lints`] does not.
pub(crate) fn run_tests() -> anyhow::Result<()> {
    prepare()?;
    let tests: Vec<_> = STEPS.iter().filter(|(name, _)| !LINTS.contains(name)).copied().collect();
    run_steps(&tests)
}

/// Installs the servers that tests start.
fn prepare() -> anyhow::Result<()> {
    debian::install(SERVERS)?;
    install_collector()
}

fn run_steps(steps: &[Step]) -> anyhow::Result<()> {
    let mut took = Vec::new();
    for (name, arguments) in steps {
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

/// Installs the collector that traces are sent to in tests: `PyPI` has it as a built program.
fn install_collector() -> anyhow::Result<()> {
    const ROTEL: &str = "rotel==0.0.1a15";
    let directory = root().join("target/rotel");
    if directory.join("rotel/rotel-agent").exists() {
        return Ok(());
    }
    let mut pip = command("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
    run_command(pip.arg(directory).arg(ROTEL))
}

/// The servers that tests start, and what gives them wrong clocks.
const SERVERS: &[Package] = &[
    ("postgresql", || {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
    }),
    ("pgbouncer", || Path::new("/usr/sbin/pgbouncer").exists()),
    ("redis-server", || Path::new("/usr/bin/redis-server").exists()),
    ("prometheus", || Path::new("/usr/bin/promtool").exists()),
    ("libfaketime", || {
        let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        directories
            .into_iter()
            .any(|directory| directory.path().join("faketime/libfaketimeMT.so.1").exists())
    }),
    ("procps", || Path::new("/usr/bin/pkill").exists()),
];

#[expect(clippy::disallowed_methods, reason = "a task is a program of its own")]
fn now() -> Instant {
    Instant::now()
}

/// A step's name, and the arguments of cargo.
type Step = (&'static str, &'static [&'static str]);

/// The steps that start no server.
const LINTS: [&str; 3] = ["format", "lints", "documentation"];

/// One set of flags for all that compile, so that nothing is compiled twice.
const STEPS: &[Step] = &[
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
