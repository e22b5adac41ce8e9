//! `cargo xtask run`: a server with real GeoIP data and a sample configuration.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;

use xtask::geoip;
use xtask::shell::{cargo, command, root, run as run_command, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What is handed to the server, behind --
    #[arg(last = true)]
    server: Vec<String>,
}

const CONFIG: &str = include_str!("../sample/geostream.toml");
const SAMPLE: &str = include_str!("../sample/sample.toml");

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    geoip::ensure()?;
    let home = root().join(".geostream");
    write_once(&home.join("geostream.toml"), CONFIG)?;
    write_once(&home.join("sample.toml"), SAMPLE)?;
    let mut build = cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "-p",
        "geostream-server",
        "-p",
        "geostream-admin",
    ]);
    run_command(&mut build)?;
    say("
Ask, from another terminal, which region should serve a client:

  curl -X POST http://localhost:8080/api/v1/route -H \"Content-Type: application/json\" \\
       -d '{\"client_ip\": \"8.8.8.8\", \"service\": \"api\"}'

and look after the server (it finds the token in .geostream):

  target/release/geostream-admin route 8.8.8.8 --explain
  target/release/geostream-admin region drain us-west-2 --for 30m --reason \"to see what happens\"
");
    let server = root().join("target/release/geostream-server");
    let mut server = command(&server.to_string_lossy());
    server.arg("--config").arg(home.join("geostream.toml")).args(&arguments.server);
    // Its signals are the server's own from here on.
    Err(server.exec()).context("starting the server")
}

/// Writes a file that is not there; one that is may have been changed by its owner.
fn write_once(path: &Path, content: &str) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    say(&format!("writing {}", path.display()));
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}
