//! `cargo xtask coverage`: how much of the pure crates their own tests reach.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use xtask::shell::{cargo, command, has, output, root, run as run_command, say};

/// The crates that do no I/O, and how many of a hundred lines of code of each must be reached.
const CRATES: [(&str, u64); 2] = [("geostream-domain", 85), ("geostream-consensus", 95)];

/// Their tests.
const TESTS: &[&str] =
    &["test", "--quiet", "--locked", "--lib", "--tests", "-p", CRATES[0].0, "-p", CRATES[1].0];

pub(crate) fn run() -> anyhow::Result<()> {
    let Some((profdata, cov)) = tools() else {
        bail!(
            "LLVM's tools are missing; install them: apt-get install llvm-22 (the compiler's version)"
        );
    };
    let directory = root().join("target/coverage");
    let profiles = directory.join("profiles");
    if profiles.exists() {
        fs::remove_dir_all(&profiles).context("removing old profiles")?;
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
    let binaries = test_binaries()?;
    let ask = |how: &[&str]| {
        let mut cov = command(&cov);
        cov.args(how).args([
            "--ignore-filename-regex",
            r"(registry|rustc|tests)/|/(testing|storm)\.rs$",
            "--instr-profile",
        ]);
        cov.arg(&merged);
        for binary in &binaries {
            cov.arg("--object").arg(binary);
        }
        output(&mut cov)
    };
    say(&ask(&["report"])?);
    judge(&ask(&["export", "--format=lcov"])?)
}

/// Tells whether the tests reach enough of each crate; the tests themselves do not count.
fn judge(lcov: &str) -> anyhow::Result<()> {
    for (name, least) in CRATES {
        let (mut reached, mut all) = (0, 0);
        for record in lcov.split("end_of_record") {
            let path = record.lines().find_map(|line| line.strip_prefix("SF:"));
            let Some(path) = path.filter(|path| path.contains(&format!("/{name}/"))) else {
                continue;
            };
            let source = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
            let code = source.lines().take_while(|line| *line != "mod tests {").count();
            for hits in record.lines().filter_map(|line| line.strip_prefix("DA:")) {
                let (line, hits) = hits.split_once(',').context("a line without a count")?;
                if line.parse::<usize>()? <= code {
                    all += 1;
                    reached += u64::from(hits != "0");
                }
            }
        }
        ensure!(all > 0, "no line of {name} was looked at");
        say(&format!("{name}: {reached} of {all} lines of code"));
        ensure!(reached * 100 >= all * least, "{name}: that is less than {least} %");
    }
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
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
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
    let executables =
        messages.filter_map(|message: Value| message["executable"].as_str().map(str::to_owned));
    Ok(executables.collect())
}
