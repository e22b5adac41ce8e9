//! `cargo xtask ci`: everything that `test` checks, and what takes longer or needs more.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::{bench, coverage, test};
use xtask::shell::{cargo, command, output, root, run as run_command, say};

const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// What to do of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lane {
    /// Format, lints and documentation
    Lints,
    /// All tests, what of the pure crates they reach, and counted instructions
    Tests,
    /// What the README tells a newcomer, and generated requests by the description of the API
    Newcomer,
    /// Raft clusters in simulated time, a model checker, and known bugs that must be found
    Consensus,
}

/// The arguments of `cargo xtask ci`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Do this part only; without any, everything in order
    lane: Option<Lane>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.lane {
        Some(lane) => lane.run(),
        None => {
            test::run()?;
            coverage()?;
            Lane::Newcomer.run()?;
            instructions()?;
            Lane::Consensus.run()
        }
    }
}

impl Lane {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Lints => test::run_lints(),
            Self::Tests => {
                test::run_tests()?;
                coverage()?;
                instructions()
            }
            Self::Newcomer => {
                say("\n=== what the README tells a newcomer");
                newcomer()?;
                say("\n=== the server against its description");
                schemathesis()
            }
            Self::Consensus => consensus(),
        }
    }
}

fn coverage() -> anyhow::Result<()> {
    say("\n=== coverage of the pure crates");
    coverage::run()
}

fn instructions() -> anyhow::Result<()> {
    say("\n=== instructions, against what was accepted");
    bench::count_instructions()
}

/// Runs a thousand clusters in which everything goes wrong for a minute, all runs of three nodes
/// within small bounds, and the bugs that other implementations had, each of which must be found.
fn consensus() -> anyhow::Result<()> {
    let jobs = thread::available_parallelism().context("counting the cores")?.to_string();
    for (what, arguments) in [
        ("simulated clusters", &["--seeds", "1000", "--seconds", "60", "--jobs", &jobs][..]),
        ("all runs within small bounds", &["--model"]),
        ("known bugs", &["--mutants", "--seeds", "100", "--seconds", "20"]),
    ] {
        say(&format!("\n=== Raft: {what}"));
        run_command(cargo().args(["xtask", "sim"]).args(arguments))?;
    }
    Ok(())
}

/// A server that is killed when it is no longer needed.
struct Running(Child);

impl Running {
    /// Waits until this is so, or the server has ended.
    fn wait_until(&mut self, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
        while !is_so() {
            let ended = self.0.try_wait()?;
            ensure!(ended.is_none(), "the server has ended: {ended:?}");
            pause();
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

/// Starts the server as the README does, and asks what the README asks.
fn newcomer() -> anyhow::Result<()> {
    let _server = start(&mut command(env!("CARGO")), &["xtask", "run"], 8080)?;
    let question = r#"{"client_ip": "8.8.8.8", "service": "api"}"#;
    let mut curl = command("curl");
    curl.args(["--silent", "--fail", "-X", "POST", "http://localhost:8080/api/v1/route"]);
    curl.args(["-H", "Content-Type: application/json", "-d", question]);
    let answer: Value = serde_json::from_str(&output(&mut curl)?).context("the answer")?;
    say(&serde_json::to_string_pretty(&answer)?);
    ensure!(answer["region"] == "us-west-2", "the region is not us-west-2");
    ensure!(answer["reason"] == "lowest_latency", "the reason is not lowest_latency");
    ensure!(answer["latency_ms"].is_number(), "there is no latency");
    ensure!(answer["alternatives"][0]["region"] == "us-east-1", "us-east-1 is not the next best");
    let admin = root().join("target/release/geostream-admin");
    run_command(command(&admin.to_string_lossy()).args(["route", "8.8.8.8", "--explain"]))
}

/// Has schemathesis ask whatever the description allows, and much that it does not.
fn schemathesis() -> anyhow::Result<()> {
    let environment = root().join("target/schemathesis");
    if !environment.join("bin/schemathesis").exists() {
        run_command(command("python3").args(["-m", "venv"]).arg(&environment))?;
        let pip = environment.join("bin/pip");
        run_command(command(&pip.to_string_lossy()).args(["install", "--quiet", SCHEMATHESIS]))?;
    }
    let data = root().join("target/schemathesis-data");
    if data.exists() {
        fs::remove_dir_all(&data).context("removing the data of an earlier run")?;
    }
    let mut server = command(&root().join("target/release/geostream-server").to_string_lossy());
    server.args(["--log", "warn", "--bootstrap", "xtask/sample/sample.toml", "--data-dir"]);
    // Anything may be asked to be logged.
    let log = fs::File::create(root().join("target/schemathesis.log")).context("making the log")?;
    server.stderr(log);
    let mut server = start(server.arg(&data), &["--listen", "127.0.0.1:18080"], 18080)?;
    // The port is taken first, and the token is there once there is something to answer with.
    let token = data.join("admin.token");
    server.wait_until(|| token.exists())?;
    let token = fs::read_to_string(token).context("reading the token")?;
    let token = token.trim();

    let url = "http://127.0.0.1:18080";
    let mut schemathesis = Command::new(environment.join("bin/schemathesis"));
    // Its configuration and hooks lie there.
    schemathesis.current_dir(root().join("xtask/schemathesis"));
    schemathesis
        .args(["run", "../../docs/openapi.yaml", "--url", url, "--checks", "all", "--seed", "1"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", ".")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("GEOSTREAM_URL", url)
        .env("GEOSTREAM_TOKEN", token);
    let status = schemathesis.status().context("running schemathesis")?;
    ensure!(status.success(), "schemathesis: {status}");
    Ok(())
}

/// Starts a server and waits until its port answers.
fn start(command: &mut Command, arguments: &[&str], port: u16) -> anyhow::Result<Running> {
    ensure!(!answers(port), "port {port} is taken; the check needs it");
    let mut server = Running(command.args(arguments).stdin(Stdio::null()).spawn()?);
    server.wait_until(|| answers(port))?;
    Ok(server)
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when another program is ready")]
fn pause() {
    thread::sleep(Duration::from_millis(100));
}
