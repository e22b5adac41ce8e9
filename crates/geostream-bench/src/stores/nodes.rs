//! Nodes over one PostgreSQL, and one Redis where they are told to, as processes.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use geostream_testbed::Postgres;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::process::{Process, now, pause};
use xtask::shell::{output, root};

/// Longer than a node needs to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a node is asked what it decides by.
const LOOK: Duration = Duration::from_micros(500);

/// A built server over a store.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    pub(crate) address: SocketAddr,
    home: PathBuf,
    arguments: Vec<String>,
}

impl Node {
    /// Starts a node without a past, with further arguments, and waits until it answers.
    pub(crate) fn start(store: &str, further: &[&str]) -> anyhow::Result<Self> {
        let mut node =
            Self::spawn(TcpListener::bind("127.0.0.1:0")?.local_addr()?, store, further)?;
        node.wait()?;
        Ok(node)
    }

    /// Starts so many of them at once.
    pub(crate) fn start_all(
        count: usize,
        store: &str,
        further: &[&str],
    ) -> anyhow::Result<Vec<Self>> {
        // A port is given to nobody else while it is held.
        let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
        let held = held.collect::<Result<Vec<_>, _>>()?;
        let addresses = held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        drop(held);
        let nodes = addresses.into_iter().map(|address| Self::spawn(address, store, further));
        let mut nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
        nodes.iter_mut().try_for_each(Self::wait)?;
        Ok(nodes)
    }

    fn spawn(address: SocketAddr, store: &str, further: &[&str]) -> anyhow::Result<Self> {
        let home = root().join(format!("target/bench-stores/{}", address.port()));
        if home.exists() {
            fs::remove_dir_all(&home).context("removing the data of an earlier run")?;
        }
        fs::create_dir_all(&home)?;
        let arguments = [&["--store", store], further].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let process = command(address, &home, &arguments)?.spawn().context("starting a node")?;
        Ok(Self { process: Process(process), address, home, arguments })
    }

    /// Kills it at once, as if the machine had lost its power.
    pub(crate) fn kill(&mut self) {
        self.process.end();
    }

    /// Tells it to stop, and waits until it has ended.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        self.process.signal("TERM")?;
        let ended = self.process.0.wait()?;
        ensure!(ended.success(), "a node ends by {ended}; {} says why", self.log().display());
        Ok(())
    }

    /// Starts it again with its past; it does not answer yet.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        let mut command = command(self.address, &self.home, &self.arguments)?;
        self.process = Process(command.spawn().context("starting a node again")?);
        Ok(())
    }

    /// Waits until it answers.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = now() + PATIENCE;
        let health = request("GET", "/health", "", None, "");
        while self.connect().and_then(|mut node| node.exchange(&health)).is_err() {
            let ended = self.process.0.try_wait()?;
            ensure!(ended.is_none(), "a node has ended; {} says why", self.log().display());
            ensure!(now() < deadline, "a node does not start; see {}", self.log().display());
            pause(Duration::from_millis(1));
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Returns the admin token, which one of the nodes has made.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let token = fs::read_to_string(self.home.join("admin.token"));
        Ok(token.context("this node has made no token")?.trim().to_owned())
    }

    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address)
    }
}

fn command(address: SocketAddr, home: &Path, arguments: &[String]) -> anyhow::Result<Command> {
    let log = File::options().append(true).create(true).open(home.join("log"))?;
    let mut command = Command::new(root().join("target/release/geostream-server"));
    command.args(["--workers", "1", "--log", "warn", "--listen", &address.to_string()]);
    command.args(arguments).arg("--data-dir").arg(home);
    command.stdin(Stdio::null()).stderr(log);
    Ok(command)
}

/// Returns the URL of a new database with GeoStream's tables, for a role that is no superuser.
pub(crate) fn database(server: &Postgres) -> anyhow::Result<String> {
    let url = server.database();
    let mut migrate = Command::new(root().join("target/release/geostream-admin"));
    output(migrate.args(["migrate", "up", "--store", &url]))?;
    server.sql(
        &url,
        "CREATE ROLE node LOGIN;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO node;
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO node",
    );
    Ok(url.replace("geostream@", "node@"))
}

/// Returns the URL of a new database in which regions and services are declared, and the token of
/// its administrator.
pub(crate) fn declared(
    server: &Postgres,
    regions: usize,
    services: usize,
) -> anyhow::Result<(String, String)> {
    let store = database(server)?;
    let node = Node::start(&store, &[])?;
    let token = node.token()?;
    node.connect()?.write("/api/v1/config", &token, 0, &declaration(regions, services))?;
    Ok((store, token))
}

/// Waits until every node decides by this revision.
pub(crate) fn wait_until_all_decide_by(
    revision: u64,
    connections: &mut [Connection],
) -> anyhow::Result<()> {
    let (question, deadline) = (question(), now() + PATIENCE);
    for connection in connections {
        while connection.ask_where(&question)?.revision < revision {
            ensure!(now() < deadline, "a node does not come to decide by revision {revision}");
            pause(LOOK);
        }
    }
    Ok(())
}

/// What a decision says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decided {
    pub(crate) revision: u64,
    pub(crate) region: String,
}

/// The question that is asked everywhere: clients are all in one place.
pub(crate) fn question() -> String {
    let body = r#"{"location": {"latitude": 50, "longitude": 10}}"#;
    request("POST", "/api/v1/route", "", None, body)
}

pub(crate) fn request(
    method: &str,
    path: &str,
    token: &str,
    revision: Option<u64>,
    body: &str,
) -> String {
    let expected = revision.map_or_else(String::new, |r| format!("if-match: \"{r}\"\r\n"));
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{expected}\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Declares regions `r0`, `r1`, .., and services of which each has some of them.
pub(crate) fn declaration(regions: usize, services: usize) -> String {
    const MEMBERS: usize = 10;
    let region = |n: usize| {
        let place = json!({
            "latitude": (n % 160) as f64 - 80.0, "longitude": (n % 359) as f64 - 179.0,
            "endpoint": format!("https://r{n}.example.com"), "labels": { "number": n.to_string() },
        });
        (format!("r{n}"), place)
    };
    let service = |n: usize| {
        let members =
            (0..MEMBERS.min(regions)).map(|m| format!("r{}", (n * MEMBERS + m) % regions));
        let members = members.map(|id| (id, json!({}))).collect::<serde_json::Map<_, _>>();
        (format!("s{n}"), json!({ "members": members }))
    };
    let regions_ = (0..regions).map(region).collect::<serde_json::Map<_, _>>();
    let services = (0..services).map(service).collect::<serde_json::Map<_, _>>();
    let settings = json!({ "default_service": "s0" });
    json!({ "regions": regions_, "services": services, "settings": settings }).to_string()
}

impl Connection {
    /// Asks where the clients are to go.
    pub(crate) fn ask_where(&mut self, question: &str) -> anyhow::Result<Decided> {
        let answer: Value = serde_json::from_slice(&self.exchange(question)?)?;
        let region = answer["region"].as_str().context("no region")?.to_owned();
        let revision = answer["revision"].as_u64().context("no revision")?;
        Ok(Decided { revision, region })
    }

    /// Reads the metrics, and returns the sum of those whose lines begin so.
    pub(crate) fn metric(&mut self, beginning: &str) -> anyhow::Result<f64> {
        let metrics = self.exchange(&request("GET", "/metrics", "", None, ""))?;
        let lines = std::str::from_utf8(&metrics)?.lines();
        let values = lines.filter(|line| line.starts_with(beginning));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// Writes, and returns the revision that it led to.
    pub(crate) fn write(
        &mut self,
        path: &str,
        token: &str,
        revision: u64,
        body: &str,
    ) -> anyhow::Result<u64> {
        let answer = self.exchange(&request("PUT", path, token, Some(revision), body))?;
        let answer: Value = serde_json::from_slice(&answer)?;
        answer["revision"].as_u64().context("no revision")
    }

    /// Makes a region the only one that clients are sent to.
    pub(crate) fn send_all_to(
        &mut self,
        region: &str,
        token: &str,
        revision: u64,
    ) -> anyhow::Result<u64> {
        let body = json!({ "members": { region: {} } }).to_string();
        self.write("/api/v1/services/s0", token, revision, &body)
    }
}
