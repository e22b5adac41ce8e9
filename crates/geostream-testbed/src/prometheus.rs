//! Prometheus, and what comes with it to check rules and metrics.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::account::Account;
use crate::keeper::Keeper;
use crate::process::{directory, said, start_on_a_free_port};

/// A Prometheus server of one's own; dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Prometheus {
    /// `None` before it is started. It comes first: what it keeps goes before its directory.
    keeper: Option<Keeper>,
    directory: TempDir,
    port: u16,
}

impl Prometheus {
    /// Starts a server with these files, by their names: `prometheus.yml`, and what that names.
    #[must_use]
    pub fn start(files: &[(&str, &str)]) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "this test needs Prometheus: apt-get install prometheus"
        );
        let mut server = Self { keeper: None, directory: directory(), port: 0 };
        server.write(files);
        start_on_a_free_port("Prometheus", |port| {
            server.port = port;
            server.run()
        });
        server
    }

    /// Replaces files, and has Prometheus read them again.
    pub fn reload(&self, files: &[(&str, &str)]) {
        self.write(files);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("Prometheus runs");
        let request = "POST /-/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\
                       connection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("Prometheus reads the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("Prometheus answers in UTF-8");
        assert!(answer.starts_with("HTTP/1.1 200"), "Prometheus does not reload: {answer}");
    }

    /// Has Prometheus work out an expression, and returns what comes of it, as JSON.
    #[must_use]
    pub fn query(&self, expression: &str) -> String {
        let url = format!("http://127.0.0.1:{}", self.port);
        said(promtool(&["query", "instant", "--format=json"]).args([&url, expression]))
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = self.directory.path().join(name);
            fs::write(path, content).expect("the directory is there");
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let place = self.directory.path();
        let mut shell = Command::new("/bin/sh");
        if let Some(account) = Account::unprivileged() {
            account.run(&mut shell);
        }
        let server = [
            PROGRAM.to_owned(),
            format!("--config.file={}/prometheus.yml", place.display()),
            format!("--storage.tsdb.path={}/data", place.display()),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            "--web.enable-lifecycle".to_owned(),
        ];
        self.keeper = Some(Keeper::start(shell, place, &server, READY)?);
        Ok(())
    }
}

/// Has promtool look at metrics as a server shows them, and returns what it finds wrong.
#[must_use]
pub fn check_metrics(metrics: &str) -> String {
    let mut check = promtool(&["check", "metrics"]);
    let check = check.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("promtool can be started");
    let mut stdin = check.stdin.take().expect("it is piped");
    stdin.write_all(metrics.as_bytes()).expect("promtool reads all before it says anything");
    drop(stdin);
    let output = check.wait_with_output().expect("promtool ends");
    let found = [output.stdout, output.stderr].concat();
    String::from_utf8(found).expect("promtool says it in UTF-8")
}

/// Has promtool do what these arguments say in a directory, and returns what it says.
pub fn promtool_in(directory: &Path, arguments: &[&str]) -> String {
    said(promtool(arguments).current_dir(directory))
}

fn promtool(arguments: &[&str]) -> Command {
    let program = Path::new("/usr/bin/promtool");
    assert!(program.exists(), "this test needs promtool: apt-get install prometheus");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

const PROGRAM: &str = "/usr/bin/prometheus";
const READY: &str = "Server is ready to receive web requests";
