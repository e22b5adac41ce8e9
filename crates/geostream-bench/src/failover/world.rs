//! A server at its defaults, and regions that are processes.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::failover::ground::{built, directory, port};
use crate::figure::float;
use crate::process::{Process, now, pause};
use xtask::shell::command;

/// A server, and what it has seen of its regions.
#[derive(Debug)]
pub(crate) struct World {
    server: Process,
    address: SocketAddr,
    token: String,
    data: PathBuf,
    connection: RefCell<Connection>,
    removed: Arc<Mutex<Vec<String>>>,
}

/// What a server is told of a region; it is named `r` and its place in the list.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// `None` for a region that is not probed.
    pub(crate) check: Option<String>,
    pub(crate) capacity: Option<u32>,
}

impl Declared {
    pub(crate) fn checked(url: String) -> Self {
        Self { check: Some(url), capacity: None }
    }
}

impl World {
    /// Starts a server for these regions, and waits until all that are probed are well.
    pub(crate) fn new(regions: &[Declared]) -> anyhow::Result<Self> {
        let data = directory().join(format!("server-{}", port()?));
        fs::create_dir_all(&data)?;
        let config = data.join("regions.toml");
        fs::write(&config, declaration(regions))?;
        let mut server = command(&built("geostream-server").to_string_lossy());
        server.args(["--log-format", "json", "--workers", "1", "--listen", "127.0.0.1:0"]);
        server.args(["--probe-network", "127.0.0.0/8", "--probe-authorities"]);
        server.arg(directory().join("valid.pem"));
        server.arg("--bootstrap").arg(&config).arg("--data-dir").arg(&data);
        let server = server.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut server = Process(server.context("starting a server")?);
        let log = server.0.stderr.take().context("the server's log")?;
        let mut log = BufReader::new(log).lines();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            event["address"].as_str()?.parse().ok()
        });
        let address = address.context("the server has not started")?;
        // Somebody has to read on, or the server would wait for room in the pipe.
        thread::spawn(move || log.map_while(Result::ok).count());
        let token = fs::read_to_string(data.join("admin.token")).context("reading the token")?;
        let token = token.trim().to_owned();
        let connection = RefCell::new(Connection::open(address)?);
        let removed = Arc::default();
        listen(address, &token, Arc::clone(&removed))?;
        let world = Self { server, address, token, data, connection, removed };
        world.wait_for(regions.iter().filter(|region| region.check.is_some()).count())?;
        Ok(world)
    }

    fn wait_for(&self, healthy: usize) -> anyhow::Result<()> {
        let deadline = now() + Duration::from_secs(30);
        let is_healthy = |region: &&Value| region["health"] == "healthy";
        while self.health()?.iter().filter(is_healthy).count() < healthy {
            ensure!(now() < deadline, "the regions are not healthy");
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Opens a connection of one's own.
    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address)
    }

    /// Decides for a client.
    pub(crate) fn decide(&self, client: Client) -> anyhow::Result<usize> {
        self.connection.borrow_mut().decide(client)
    }

    /// Decides for many clients at once.
    pub(crate) fn decide_all(&self, clients: &[Client]) -> anyhow::Result<Vec<usize>> {
        let questions: Vec<Value> = clients.iter().map(Client::question).collect();
        let body = json!({ "requests": questions }).to_string();
        let mut connection = self.connection.borrow_mut();
        let answer = connection.ask("POST", "/api/v1/route/batch", "", &body)?;
        answer["answers"].as_array().context("no answers")?.iter().map(region_of).collect()
    }

    /// Reports what came of using a region.
    pub(crate) fn report(&self, region: usize, outcome: &str) -> anyhow::Result<()> {
        let region = format!("r{region}");
        let body = json!({ "outcomes": [{ "region": region, "outcome": outcome }] }).to_string();
        let mut connection = self.connection.borrow_mut();
        connection.ask("POST", "/api/v1/outcomes", &self.token, &body).map(|_answer| ())
    }

    pub(crate) fn health(&self) -> anyhow::Result<Vec<Value>> {
        // The kept connection is closed if it is idle for long.
        let mut connection = self.connect()?;
        let report = connection.ask("GET", "/api/v1/health/regions", &self.token, "")?;
        Ok(report["regions"].as_array().context("no regions")?.clone())
    }

    /// Returns how often each region was removed so far, as the server's events tell.
    pub(crate) fn removals(&self) -> Removals {
        Removals(self.removed.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    pub(crate) fn server_id(&self) -> u32 {
        self.server.0.id()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.end();
        fs::remove_dir_all(&self.data).ok();
    }
}

/// The regions that were removed, as often as they were.
#[derive(Debug)]
pub(crate) struct Removals(Vec<String>);

impl Removals {
    pub(crate) fn all(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn of(&self, region: usize) -> usize {
        let region = format!("r{region}");
        self.0.iter().filter(|removed| **removed == region).count()
    }
}

/// Notes each region that is removed from now on, as long as the server lives.
fn listen(
    address: SocketAddr,
    token: &str,
    removed: Arc<Mutex<Vec<String>>>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let request = request("GET", "/api/v1/events", token, "");
    stream.write_all(request.as_bytes())?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().context("no answer")??;
    ensure!(status.contains(" 200 "), "the server does not tell of events: {status}");
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Some(event) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(event).unwrap_or_default();
            if let (Some("unhealthy"), Some(region)) =
                (event["to"].as_str(), event["region"].as_str())
            {
                removed.lock().unwrap_or_else(PoisonError::into_inner).push(region.to_owned());
            }
        }
    });
    Ok(())
}

/// Where a client is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    latitude: f64,
    longitude: f64,
}

impl Client {
    /// Returns as many clients as are wanted around a region, each at a place of its own.
    pub(crate) fn around(region: usize, count: usize) -> Vec<Self> {
        let Self { latitude, longitude } = Self::at(region);
        let step = |number: usize| Self {
            latitude: latitude + 1.0 + float(number / 100) * 0.05,
            longitude: longitude - 2.5 + float(number % 100) * 0.05,
        };
        (0..count).map(step).collect()
    }

    /// Returns the place of a region: far from all others as long as they are few.
    fn at(region: usize) -> Self {
        let row = float((region / 18 + 140) % 280);
        Self { latitude: row * 0.5 - 70.0, longitude: float(region % 18) * 20.0 - 170.0 }
    }

    fn question(&self) -> Value {
        json!({ "location": { "latitude": self.latitude, "longitude": self.longitude } })
    }
}

/// A region that is a process.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) address: SocketAddr,
    process: Process,
    said: BufReader<ChildStdout>,
    arguments: Vec<String>,
}

impl Region {
    /// Starts one on the loopback address.
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST, arguments)
    }

    pub(crate) fn start_on(address: Ipv4Addr, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from((address, port()?)), arguments)
    }

    /// Starts one on a port that the caller has chosen.
    pub(crate) fn start_at(address: SocketAddr, arguments: &[&str]) -> anyhow::Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let (process, said) = spawn(address, &arguments)?;
        Ok(Self { address, process, said, arguments })
    }

    /// Starts several.
    pub(crate) fn several(count: usize, arguments: &[&str]) -> anyhow::Result<Vec<Self>> {
        (0..count).map(|_| Self::start(arguments)).collect()
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts again what was killed.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        (self.process, self.said) = spawn(self.address, &self.arguments)?;
        Ok(())
    }

    /// Tells it how to behave.
    pub(crate) fn tell(&mut self, manner: &str) -> anyhow::Result<()> {
        let input = self.process.0.stdin.as_mut().context("the region reads its manner")?;
        Ok(writeln!(input, "{manner}")?)
    }

    /// Returns how many probes it has seen.
    pub(crate) fn probes(&mut self) -> anyhow::Result<f64> {
        self.tell("count")?;
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }

    /// Returns the URL that it is probed at.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn spawn(
    address: SocketAddr,
    arguments: &[String],
) -> anyhow::Result<(Process, BufReader<ChildStdout>)> {
    let mut region = Command::new(built("region-server"));
    region.arg(address.to_string()).args(arguments);
    let region = region.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = Process(region.context("starting a region")?);
    let said = process.0.stdout.take().context("the region says that it listens")?;
    let mut said = BufReader::new(said);
    ensure!(said.read_line(&mut String::new())? > 0, "a region has not started on {address}");
    Ok((process, said))
}

impl Connection {
    /// Decides for a client.
    pub(crate) fn decide(&mut self, client: Client) -> anyhow::Result<usize> {
        let answer = self.ask("POST", "/api/v1/route", "", &client.question().to_string())?;
        region_of(&answer)
    }

    fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.exchange(&request(method, path, token, body))?)?)
    }

    /// Sends a request, and returns the body of what is answered.
    pub(crate) fn exchange(&mut self, request: &str) -> anyhow::Result<Vec<u8>> {
        self.send(request.as_bytes())?;
        self.receive()
    }
}

pub(crate) fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn region_of(answer: &Value) -> anyhow::Result<usize> {
    let region = answer["region"].as_str().and_then(|name| name.strip_prefix('r'));
    region.with_context(|| format!("no region: {answer}"))?.parse().context("another region")
}

/// Declares the regions with checks at their defaults, and three services that use them all.
fn declaration(regions: &[Declared]) -> String {
    let mut text = String::from("[settings]\ndefault_service = \"api\"\n");
    for (number, Declared { check, capacity }) in regions.iter().enumerate() {
        let Client { latitude, longitude } = Client::at(number);
        text.push_str(&format!(
            "[regions.r{number}]\nlatitude = {latitude:.1}\nlongitude = {longitude:.1}\n"
        ));
        if let Some(url) = check {
            text.push_str(&format!("check = {{ url = \"{url}\", body = \"well\" }}\n"));
        }
        if let Some(capacity) = capacity {
            text.push_str(&format!("capacity = {capacity}\n"));
        }
    }
    for service in ["api", "web", "video"] {
        text.push_str(&format!("[services.{service}.members]\n"));
        for number in 0..regions.len() {
            text.push_str(&format!("r{number} = {{}}\n"));
        }
    }
    text
}
