//! A server of one's own, in a temporary directory, and ways to talk to it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes; whoever waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server keeps what survives it.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("geoip")).unwrap();
        let sample = "../../crates/geostream-geoip/testdata/dbip-city-flat-sample.mmdb";
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(sample);
        fs::copy(source, directory.path().join("geoip/dbip-sample.mmdb")).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Returns the command that starts the built server here, on a free port.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_geostream-server"));
        command.args(self.arguments());
        command
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let directory = self.directory.path().to_str().unwrap();
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/sample/sample.toml");
        ["--data-dir", directory, "--bootstrap", sample, "--listen", "127.0.0.1:0"]
            .into_iter()
            .chain(["--log-format", "json", "--workers", "2", "--shutdown-delay-seconds", "0"])
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn start(&self) -> Server {
        Server::start(&mut self.command())
    }

    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.path("admin.token")).unwrap().trim().to_owned()
    }
}

/// A running server; dropping it kills it.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    /// Where control requests and metrics are answered, if that is elsewhere.
    pub(crate) control: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    log: std::thread::JoinHandle<String>,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let mut control = None;
        let mut metrics = None;
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("it does not start:\n{log}") };
            log.push_str(&line);
            log.push('\n');
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = || event["address"].as_str().unwrap().parse().unwrap();
            match event["message"].as_str() {
                Some("listening for control requests") => control = Some(address()),
                Some("listening for metrics") => metrics = Some(address()),
                Some("listening") => break address(),
                _ => {}
            }
        };
        // Somebody has to read on, or the server would wait for room in the pipe.
        let log = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        Self { process, address, control, metrics, log }
    }

    /// Waits until the server has ended by itself, and returns how, and its log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.process.wait().unwrap();
        let log = std::mem::replace(&mut self.log, std::thread::spawn(String::new));
        (status, log.join().unwrap())
    }

    /// Returns the number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success(), "SIG{name} is sent");
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks by GET, without a token.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&Request::new("GET", path))
    }

    /// Asks which region should serve.
    pub(crate) fn route(&self, body: &str) -> Answer {
        self.send(&Request::new("POST", "/api/v1/route").json(body))
    }

    pub(crate) fn send(&self, request: &Request) -> Answer {
        self.send_to(self.address, request)
    }

    /// Sends a request to one of the server's addresses.
    pub(crate) fn send_to(&self, address: SocketAddr, request: &Request) -> Answer {
        let mut stream = self.connect_to(address);
        stream.write_all(request.text(address).as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        self.connect_to(self.address)
    }

    pub(crate) fn connect_to(&self, address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            self.process.wait().ok();
        }
    }
}

/// A request as it goes over the wire.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<String>,
    body: String,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    pub(crate) fn json(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self.header("content-type: application/json")
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header(&format!("authorization: Bearer {token}"))
    }

    pub(crate) fn revision(self, revision: u64) -> Self {
        self.header(&format!("if-match: \"{revision}\""))
    }

    fn text(&self, host: SocketAddr) -> String {
        let Self { method, path, headers, body } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for header in headers {
            text.push_str(&format!("{header}\r\n"));
        }
        format!("{text}\r\n{body}")
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    /// Reads until the other end is closed.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // An answer that comes before the request was read whole may end in a reset.
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no response: {text:?}"));
        Self { status, headers: headers.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines();
        lines.filter_map(|line| line.split_once(": ")).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// Checks that a response is this problem, and names this field if there is one to name.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, kind: &str, pointer: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:geostream:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        if !pointer.is_empty() {
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
    }
}

/// Waits until this is so, and fails if it does not come.
#[track_caller]
pub(crate) fn wait_for(mut comes: impl FnMut() -> bool) {
    let started = now();
    while !comes() {
        assert!(now() - started < PATIENCE, "it does not come");
        std::thread::yield_now();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that never ends is to fail")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
