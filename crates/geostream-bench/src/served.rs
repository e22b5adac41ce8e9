//! A server that is measured: on its core, in a directory of its own, on a free port.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::connection::Connection;
use crate::places::{Region, declaration};
use crate::process::{CpuTime, Process, cpu_time, now, pause, resident_mb};
use crate::{clients, cores};
use xtask::geoip;
use xtask::shell::root;

/// Longer than any of them takes to read its data.
const PATIENCE: Duration = Duration::from_secs(120);

/// The built server, from the root of the workspace.
const GEOSTREAM: &str = "target/release/geostream-server";

/// Where a server is to be.
#[derive(Debug)]
pub(crate) struct Site {
    directory: TempDir,
    pub(crate) port: u16,
    /// For HTTP/2, where that needs a port of its own.
    pub(crate) http2_port: u16,
}

impl Site {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    /// Makes one whose directory is in another.
    fn within(parent: &Path) -> anyhow::Result<Self> {
        // A port is given to nobody else while it is held.
        let held = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [port, http2_port] = held.map(|held| held.local_addr().map(|address| address.port()));
        let directory = tempfile::tempdir_in(parent)?;
        Ok(Self { directory, port: port?, http2_port: http2_port? })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.directory().join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Starts a server that listens here, and waits until it answers.
    pub(crate) fn start(self, name: &str, mut server: Command) -> anyhow::Result<Served> {
        let log = File::create(self.directory().join("said"))?;
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Process(server.spawn().with_context(|| format!("starting {name}"))?);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut served = Served { name: name.to_owned(), process, address, site: self };
        served.wait()?;
        Ok(served)
    }
}

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    // It comes before its directory, which goes when it has ended.
    process: Process,
    pub(crate) address: SocketAddr,
    site: Site,
}

impl Served {
    /// Starts GeoStream as it is delivered, with one worker, for these regions.
    pub(crate) fn geostream(regions: &[Region]) -> anyhow::Result<Self> {
        Self::geostream_with(&declaration(regions), "", &[])
    }

    /// Starts it with what it is to declare first, and further settings: some of its file, and flags.
    pub(crate) fn geostream_with(
        declaration: &str,
        settings: &str,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let server = cores::server(&root().join(GEOSTREAM));
        Self::launch(Site::new()?, server, 1, declaration, settings, flags)
    }

    /// Starts it as it is delivered, on all cores, with two workers and these flags.
    ///
    /// Its data is in the build's directory, since a temporary one may be in memory, where the
    /// kernel counts no writes.
    pub(crate) fn with_two_workers(declaration: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let server = Command::new(root().join(GEOSTREAM));
        let site = Site::within(&root().join("target"))?;
        Self::launch(site, server, 2, declaration, "", flags)
    }

    fn launch(
        site: Site,
        mut server: Command,
        workers: u32,
        declaration: &str,
        settings: &str,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        site.write("regions.toml", declaration)?;
        site.write("geostream.toml", settings)?;
        server.args(["--listen", &format!("127.0.0.1:{}", site.port)]);
        server.args(["--workers", &workers.to_string()]);
        server.arg("--config").arg(site.directory().join("geostream.toml"));
        server.arg("--bootstrap").arg(site.directory().join("regions.toml"));
        server.arg("--data-dir").arg(site.directory()).args(flags);
        for file in geoip::files()? {
            server.arg("--geoip-file").arg(file);
        }
        site.start("GeoStream", server)
    }

    /// Starts a bare hyper server, which answers so many bytes.
    pub(crate) fn bare(bytes: usize) -> anyhow::Result<Self> {
        let site = Site::new()?;
        let mut server = cores::server(&root().join("target/release/bare-hyper"));
        server.args([format!("127.0.0.1:{}", site.port), bytes.to_string()]);
        site.start("a bare hyper server", server)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = now() + PATIENCE;
        let question = clients::ask_for(clients::ONE);
        // Some listen before they answer, or answer before they have their data.
        while self.ask(&question).is_err() {
            if let Some(ended) = self.process.0.try_wait()? {
                bail!("{} has ended ({ended}): {}", self.name, self.said());
            }
            ensure!(now() < deadline, "{} does not start: {}", self.name, self.said());
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns what it has written to its log and outputs.
    fn said(&self) -> String {
        let read = |file| fs::read_to_string(self.site.directory().join(file)).unwrap_or_default();
        (read("said") + &read("log")).trim().to_owned()
    }

    /// Asks once on a connection of its own, and returns the body.
    pub(crate) fn ask(&self, question: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut connection = Connection::open(self.address)?;
        connection.send(question)?;
        connection.receive()
    }

    /// Returns where a server listens that has a port of its own for HTTP/2.
    pub(crate) fn http2_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.site.http2_port))
    }

    /// Returns the id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    pub(crate) fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        cpu_time(self.id())
    }

    pub(crate) fn resident_mb(&self) -> anyhow::Result<f64> {
        resident_mb(self.id())
    }

    /// Returns the token of GeoStream's administrator.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let token = fs::read_to_string(self.site.directory().join("admin.token"));
        Ok(token.context("reading the token")?.trim().to_owned())
    }
}
