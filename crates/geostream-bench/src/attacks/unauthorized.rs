//! Floods of requests without a valid token: what they have the server write, whether they displace
//! refusals of known tokens in the audit trail, and what legitimate clients and writers notice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::attacks::attacker::Attack;
use crate::attacks::beside::{WARM_UP, compare, name, slower};
use crate::attacks::bystanders::{Client, Requests, Seen, repeat, watch};
use crate::attacks::child::Child;
use crate::connection::Connection;
use crate::figure::Figure;
use crate::process::{now, pause, written_mb};
use crate::served::Served;
use crate::stores::nodes::request;

/// Requests without a valid token, and the most megabytes that they may have written.
const REQUESTS: u64 = 100_000;
const WRITTEN_MB: f64 = 5.0;

/// The token that is refused now and then.
const VIEWER: &str = "watcher";

/// The paths that it may not write, before a number.
const REFUSED: &str = "/api/v1/regions/refused-";

/// How long the server may take to keep a refusal.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

/// The numbers of those clients that are no bystanders.
const WRITER: u8 = 50;
const REFUSED_CLIENT: u8 = 51;

pub(super) fn run(declaration: &str, during: Duration) -> anyhow::Result<Vec<Figure>> {
    let server = Served::with_two_workers(declaration, &[])?;
    let scene = Scene::new(&server)?;
    watch(server.address, WARM_UP);
    let attack = Attack::Unauthorized;
    let name = name(attack)?;
    let pair = compare(&server, attack, || scene.measure(during))?;
    let mut figures = pair.figures(attack, |measured| &measured.seen)?;
    let shown = |what: String, value, unit| Figure::shown(format!("{name}: {what}"), value, unit);
    let quiet = &pair.quiet.writes;
    let attacked = &pair.attacked.writes;
    let failed = attacked.failed as f64;
    figures.push(shown("failed writes of the configuration".to_owned(), failed, "").at_most(0.0));
    figures.extend(slower(&name, "writes of the configuration", quiet, attacked));

    let written = scene.count()?;
    let missing = scene.missing_refusals()?;
    let refused = scene.refused.load(Ordering::Relaxed);
    figures.extend([
        shown(format!("written for {} of them", written.requests), written.mb, "MB")
            .at_most(WRITTEN_MB),
        shown("refusals of a known token".to_owned(), refused as f64, ""),
        shown("of these not in the trail".to_owned(), missing as f64, "").at_most(0.0),
    ]);
    Ok(figures)
}

/// A server with two tokens.
#[derive(Debug)]
struct Scene<'a> {
    server: &'a Served,
    admin: String,
    viewer: String,
    /// How often the viewer was refused.
    refused: AtomicU64,
}

/// What was seen of the server.
#[derive(Debug)]
struct Measured {
    seen: Seen,
    writes: Requests,
}

/// What was written to storage.
#[derive(Debug)]
struct Written {
    requests: u64,
    mb: f64,
}

impl<'a> Scene<'a> {
    fn new(server: &'a Served) -> anyhow::Result<Self> {
        let admin = server.token()?;
        let body = json!({ "name": VIEWER, "scope": "viewer" }).to_string();
        let created = request("POST", "/api/v1/tokens", &admin, None, &body);
        let mut connection = Connection::open(server.address)?;
        connection.send(created.as_bytes())?;
        let (status, answer) = connection.receive_any()?;
        ensure!(status == 201, "no token: {status}");
        let answer: Value = serde_json::from_slice(&answer)?;
        let viewer = answer["token"].as_str().context("no token")?.to_owned();
        Ok(Self { server, admin, viewer, refused: AtomicU64::new(0) })
    }

    /// Watches legitimate clients while the configuration is written and a known token refused.
    fn measure(&self, during: Duration) -> anyhow::Result<Measured> {
        let revision = self.revision()?;
        thread::scope(|scope| {
            let writing = scope.spawn(move || self.write(revision, during));
            let refusing = scope.spawn(|| self.be_refused(during));
            let seen = watch(self.server.address, during);
            refusing.join().ok().context("the refused client has panicked")??;
            let writes = writing.join().ok().context("the writer has panicked")?;
            Ok(Measured { seen, writes })
        })
    }

    /// Sends a number of requests, and returns what they had written; a known token is refused
    /// meanwhile.
    fn count(&self) -> anyhow::Result<Written> {
        let id = self.server.id();
        let before = written_mb(id)?;
        let requests = thread::scope(|scope| {
            let refusing = scope.spawn(|| self.be_refused(WARM_UP));
            let attack = Attack::Unauthorized;
            let attacker = Child::attacker_with_requests(attack, self.server.address, REQUESTS)?;
            refusing.join().ok().context("the refused client has panicked")??;
            anyhow::Ok(attacker.finish()?.sent)
        })?;
        // What is kept later is counted as well.
        pause(KEPT_WITHIN);
        Ok(Written { requests, mb: written_mb(id)? - before })
    }

    /// Changes a setting again and again.
    fn write(&self, mut revision: u64, during: Duration) -> Requests {
        let mut client = Client::new(WRITER, self.server.address, true);
        let mut alternatives = 0;
        repeat(during, || {
            alternatives = (alternatives + 1) % 9;
            let settings = json!({ "default_service": "api", "alternatives": alternatives });
            let path = "/api/v1/settings";
            revision = client.converse(|connection| {
                connection.write(path, &self.admin, revision, &settings.to_string())
            })?;
            Ok(())
        })
    }

    /// Writes with a token that is not good for it, each time something else.
    fn be_refused(&self, during: Duration) -> anyhow::Result<()> {
        let mut client = Client::new(REFUSED_CLIENT, self.server.address, true);
        let requests = repeat(during, || {
            let path = format!("{REFUSED}{}", self.refused.load(Ordering::Relaxed));
            let request = request("PUT", &path, &self.viewer, None, "{}");
            let (status, _problem) = client.converse(|connection| {
                connection.send(request.as_bytes())?;
                connection.receive_any()
            })?;
            ensure!(status == 403, "the viewer is answered {status}");
            self.refused.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        ensure!(requests.failed == 0, "{} refusals without an answer", requests.failed);
        Ok(())
    }

    fn revision(&self) -> anyhow::Result<u64> {
        self.read("/api/v1/status")?["revision"].as_u64().context("no revision")
    }

    /// Returns how many of the refusals the audit trail does not have.
    fn missing_refusals(&self) -> anyhow::Result<usize> {
        let refused = self.refused.load(Ordering::Relaxed);
        let deadline = now() + KEPT_WITHIN;
        loop {
            let kept = self.kept_refusals()?;
            let is_missing = |number: &u64| !kept.contains(&format!("{REFUSED}{number}"));
            let missing = (0..refused).filter(is_missing).count();
            if missing == 0 || now() >= deadline {
                return Ok(missing);
            }
            pause(Duration::from_millis(500));
        }
    }

    /// Reads all pages of the viewer's part of the trail, and returns what it wanted to write.
    fn kept_refusals(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut targets = BTreeSet::new();
        let first = format!("/api/v1/audit?limit=500&who={VIEWER}");
        let mut path = first.clone();
        loop {
            let page = self.read(&path)?;
            let entries = page["entries"].as_array().context("no entries")?;
            let kept = entries.iter().filter_map(|entry| entry["target"].as_str());
            targets.extend(kept.map(str::to_owned));
            match page["next_below"].as_u64() {
                Some(below) => path = format!("{first}&below={below}"),
                None => return Ok(targets),
            }
        }
    }

    fn read(&self, path: &str) -> anyhow::Result<Value> {
        let question = request("GET", path, &self.admin, None, "");
        let mut connection = Connection::open(self.server.address)?;
        Ok(serde_json::from_slice(&connection.exchange(&question)?)?)
    }
}
