//! The bench's side of its child processes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;

use crate::attacks::attacker::{Attack, Counts};
use crate::process::Process;
use xtask::shell::root;

/// A child process that has said its first line.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts an attack, and waits until it is in full swing.
    pub(super) fn attacker(attack: Attack, target: SocketAddr) -> anyhow::Result<Self> {
        Self::attack(attack, target, &[])
    }

    /// Sends this many requests, and waits until they are answered.
    pub(super) fn attacker_with_requests(
        attack: Attack,
        target: SocketAddr,
        requests: u64,
    ) -> anyhow::Result<Self> {
        Self::attack(attack, target, &["--requests", &requests.to_string()])
    }

    /// Starts a sink, which answers with so many lines if it answers, and returns where it listens.
    pub(super) fn sink(lines: Option<u32>) -> anyhow::Result<(Self, SocketAddr)> {
        let mut arguments = vec!["sink".to_owned()];
        if let Some(lines) = lines {
            arguments.extend(["--lines".to_owned(), lines.to_string()]);
        }
        let (child, line) = Self::start(&arguments)?;
        Ok((child, line.trim().parse().context("the sink's address")?))
    }

    /// Ends an attack, and returns what it counted.
    pub(super) fn finish(mut self) -> anyhow::Result<Counts> {
        drop(self.process.0.stdin.take());
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).context("the attacker's counts")
    }

    fn attack(attack: Attack, target: SocketAddr, options: &[&str]) -> anyhow::Result<Self> {
        let name = attack.to_possible_value().context("the attack has no name")?;
        let target = target.to_string();
        let arguments = [&["attacker", name.get_name(), &target], options].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        Ok(Self::start(&arguments)?.0)
    }

    /// Starts a child, and returns its first line too.
    fn start(arguments: &[String]) -> anyhow::Result<(Self, String)> {
        let mut child = Command::new(root().join("target/release/geostream-bench"));
        child.arg("attack").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process(child.spawn().context("starting a child process")?);
        let output = process.0.stdout.take().context("the child's output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        ensure!(output.read_line(&mut line)? > 0, "{arguments:?} has ended");
        Ok((Self { process, output }, line))
    }
}
