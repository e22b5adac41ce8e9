//! `cargo xtask coverage`: how much of the pure crates their own tests reach.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::shell::{cargo, command, has, output, root, run as run_command, say};

/// The tests of the crates that do no I/O.
const TESTS: &[&str] = &[
    "test",
    "--quiet",
    "--locked",
    "--lib",
    "--tests",
    "-p",
    "geostream-domain",
    "-p",
    "geostream-consensus",
];

pub(crate) fn run() -> anyhow::Result<()> {
    let Some((profdata, cov)) = tools() else {
        bail!(
            "LLVM's tools are missing; install them: apt-get install llvm-22 (the compiler's version)"
        );
    };
    let directory = root().join("target/coverage");
    let profiles = directory.join("profiles");
    if profiles.exists() {
        std::fs::remove_dir_all(&profiles).context("removing old profiles")?;
    }
    let mut test = cargo();
    test.args(TESTS)
        .arg("--target-dir")
        .arg(&directory)
        .env("RUSTFLAGS", "-C instrument-coverage")
        .env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw"));
    run_command(&mut test)?;

    let merged = directory.join("tests.profdata");
    let raw = files(&profiles, ".profraw")?;
    run_command(command(&profdata).args(["merge", "--sparse", "--output"]).arg(&merged).args(raw))?;
    let mut report = command(&cov);
    report.args([
        "report",
        "--ignore-filename-regex",
        r"(registry|rustc|tests)/|/(testing|storm)\.rs$",
        "--instr-profile",
    ]);
    report.arg(&merged);
    for binary in test_binaries()? {
        report.arg("--object").arg(binary);
    }
    say(&output(&mut report)?);
    Ok(())
}

/// Finds the tools that fit the compiler's LLVM.
fn tools() -> Option<(String, String)> {
    ["-22", "-21", "-20", ""].iter().find_map(|version| {
        let (profdata, cov) = (format!("llvm-profdata{version}"), format!("llvm-cov{version}"));
        (has(&profdata) && has(&cov)).then_some((profdata, cov))
    })
}

fn files(directory: &std::path::Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect())
}

/// Returns the programs that the tests were compiled to.
fn test_binaries() -> anyhow::Result<Vec<String>> {
    let mut build = cargo();
    build
        .args(TESTS)
        .args(["--no-run", "--message-format", "json", "--target-dir"])
        .arg(root().join("target/coverage"))
        .env("RUSTFLAGS", "-C instrument-coverage");
    let messages = output(&mut build)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let executables = messages
        .filter_map(|message: serde_json::Value| message["executable"].as_str().map(str::to_owned));
    Ok(executables.collect())
}
