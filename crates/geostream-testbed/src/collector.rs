//! An OpenTelemetry collector: rotel, which tells in its log of the spans that it gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::keeper::Keeper;
use crate::process::{directory, free_port, start_on_a_free_port};

/// A collector of one's own; dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    /// `None` while it is stopped. It comes first: what it keeps goes before its directory.
    keeper: Option<Keeper>,
    directory: TempDir,
    grpc: u16,
    http: u16,
}

/// A span as the collector has got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectedSpan {
    /// What was done.
    pub name: String,
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// Its own number, in hexadecimal digits.
    pub id: String,
    /// The number of the span that it is a part of; empty where it is of none.
    pub parent: String,
    /// `INTERNAL`, `SERVER` or `CLIENT`.
    pub kind: String,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
    /// What else is known of it.
    pub attributes: BTreeMap<String, String>,
    /// What is known of the program.
    pub resource: BTreeMap<String, String>,
}

impl Collector {
    /// Starts a collector.
    #[must_use]
    pub fn start() -> Self {
        let mut collector = Self { keeper: None, directory: directory(), grpc: 0, http: 0 };
        start_on_a_free_port("rotel", |port| {
            (collector.grpc, collector.http) = (port, free_port());
            collector.run()
        });
        collector
    }

    /// Returns the URL that gRPC is spoken at.
    #[must_use]
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// Returns the URL that HTTP is spoken at, without a path.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Has the collector end at once.
    pub fn kill(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop("KILL");
        }
    }

    /// Starts the collector again after it was killed: it has got nothing yet.
    pub fn start_again(&mut self) {
        if let Err(log) = self.run() {
            panic!("rotel does not start again:\n{log}");
        }
    }

    /// Returns the spans that it has got.
    #[must_use]
    pub fn spans(&self) -> Vec<CollectedSpan> {
        read(&self.keeper().log())
    }

    /// Waits until the spans that it has got are enough, for as long as no machine should need, and
    /// returns them.
    pub fn wait_for(&self, is_enough: impl Fn(&[CollectedSpan]) -> bool) -> Vec<CollectedSpan> {
        let log = self.keeper().wait_for(|log| is_enough(&read(log)));
        match log {
            // The last one may be told of only in part.
            Ok(_) => read(&self.keeper().settled()),
            Err(log) => panic!("these spans are not enough:\n{log}"),
        }
    }

    fn keeper(&self) -> &Keeper {
        self.keeper.as_ref().expect("it runs")
    }

    fn run(&mut self) -> Result<(), String> {
        let program = installed();
        assert!(program.exists(), "this test needs rotel: cargo xtask test installs it");
        let place = self.directory.path();
        let option = |name: &str, value: String| [format!("--{name}"), value];
        let mut server = vec![program.display().to_string(), "start".to_owned()];
        server.extend(
            [
                option("otlp-grpc-endpoint", format!("127.0.0.1:{}", self.grpc)),
                option("otlp-http-endpoint", format!("127.0.0.1:{}", self.http)),
                option("pid-file", place.join("pid").display().to_string()),
                option("exporter", "blackhole".to_owned()),
                option("debug-log", "traces".to_owned()),
                option("debug-log-verbosity", "detailed".to_owned()),
            ]
            .into_iter()
            .flatten(),
        );
        let shell = Command::new("/bin/sh");
        self.keeper = Some(Keeper::start(shell, place, &server, "Starting Rotel")?);
        Ok(())
    }
}

/// Returns where `cargo xtask test` installs rotel.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/rotel/rotel/rotel-agent")
}

/// Reads the spans out of the log.
fn read(log: &str) -> Vec<CollectedSpan> {
    let mut spans: Vec<CollectedSpan> = Vec::new();
    let mut resource = BTreeMap::new();
    let mut is_resource = false;
    for line in log.lines().map(str::trim) {
        if line.starts_with("ResourceSpans #") {
            (resource, is_resource) = (BTreeMap::new(), true);
        } else if line.starts_with("Span #") {
            is_resource = false;
            spans.push(CollectedSpan { resource: resource.clone(), ..CollectedSpan::default() });
        } else if let Some((key, value)) = attribute(line) {
            let span = spans.last_mut().filter(|_| !is_resource);
            span.map_or(&mut resource, |span| &mut span.attributes).insert(key, value);
        } else if let (Some(span), Some((key, value))) = (spans.last_mut(), line.split_once(':')) {
            let value = value.trim().to_owned();
            match key.trim() {
                "Trace ID" => span.trace = value,
                "Parent ID" => span.parent = value,
                "ID" => span.id = value,
                "Name" => span.name = value,
                "Kind" => span.kind = value.trim_start_matches("SPAN_KIND_").to_owned(),
                "Status message" if !value.is_empty() => span.failure = Some(value),
                _ => {}
            }
        }
    }
    spans
}

/// Reads a line such as `-> service.name: Str(geostream)`.
fn attribute(line: &str) -> Option<(String, String)> {
    let (key, value) = line.strip_prefix("-> ")?.split_once(": ")?;
    let value = value.split_once('(')?.1.strip_suffix(')')?;
    Some((key.to_owned(), value.to_owned()))
}
