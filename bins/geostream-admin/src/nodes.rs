//! `status --all`

use std::collections::BTreeMap;
use std::time::Duration;

use geostream_api::{ClockSkews, Node, NodeState, NodeSummary, Status};
use serde::Serialize;

use crate::End;
use crate::client::Client;
use crate::output::{Output, or_dash, say, table};
use crate::when::Now;

/// How often the nodes are asked again while they decide by different revisions: a commit reaches
/// all of them within a second or two.
const TRIES: usize = 12;
const PAUSE: Duration = Duration::from_millis(250);

/// From this skew on, a clock is shown.
const SHOWN_SKEW_MS: u64 = 100;

/// How all nodes are.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether all agree and none needs attention.
    well: bool,
    /// What is not as it should be.
    findings: Vec<Finding>,
    /// The nodes that are known.
    nodes: Vec<Row>,
    /// The servers that were asked.
    servers: Vec<Server>,
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// The node, or the server that does not answer.
    node: String,
    /// What is wrong with it.
    what: String,
}

/// A node, with the latest that is known of it.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    node: Node,
    /// The server that answered for it, if it was asked itself.
    server: Option<String>,
}

/// A server that was asked.
#[derive(Debug, Serialize)]
struct Server {
    server: String,
    /// The node that answered.
    node: Option<String>,
    /// Why none did.
    error: Option<String>,
}

pub(crate) fn run(client: Client, output: Output) -> anyhow::Result<End> {
    let clients = client.of_each();
    let mut report = Report::of(ask(&clients))?;
    for _ in 1..TRIES {
        if report.revisions() <= 1 {
            break;
        }
        pause();
        report = Report::of(ask(&clients))?;
    }
    output.show(&report, || report.print())?;
    Ok(if report.well { End::Well } else { End::Disagreeing })
}

#[expect(clippy::disallowed_methods, reason = "a command has nothing else to do")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// What a server has answered.
type Answer = (String, anyhow::Result<Status>);

fn ask(clients: &[Client]) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = clients
            .iter()
            .map(|client| (client.server(), scope.spawn(|| client.get("/api/v1/status"))))
            .collect();
        let answer = |(server, asking): (&str, std::thread::ScopedJoinHandle<'_, _>)| {
            let answered = asking.join().unwrap_or_else(|_| Err(anyhow::anyhow!("asking failed")));
            (server.to_owned(), answered)
        };
        asked.into_iter().map(answer).collect()
    })
}

impl Report {
    /// Puts together what servers have answered; the first error, if none did.
    fn of(answers: Vec<Answer>) -> anyhow::Result<Self> {
        let mut servers = Vec::new();
        let mut findings = Vec::new();
        let mut told = Vec::new();
        let mut first_error = None;
        for (server, answer) in answers {
            match answer {
                Ok(status) => {
                    let node = Some(status.node.clone());
                    servers.push(Server { server: server.clone(), node, error: None });
                    told.push((server, status));
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    findings.push(Finding { node: server.clone(), what: text.clone() });
                    servers.push(Server { server, node: None, error: Some(text) });
                    first_error.get_or_insert(error);
                }
            }
        }
        if let (true, Some(error)) = (told.is_empty(), first_error) {
            return Err(error);
        }
        let nodes = merged(&told);
        findings.extend(unheard(&told));
        findings.extend(nodes.values().flat_map(|row| row.findings()));
        findings.extend(differences(&nodes));
        let well = findings.is_empty();
        Ok(Self { well, findings, nodes: nodes.into_values().collect(), servers })
    }

    /// Returns how many different revisions the nodes that can be heard decide by.
    fn revisions(&self) -> usize {
        let living = self.nodes.iter().filter(|row| row.is_living());
        let mut revisions: Vec<_> =
            living.filter_map(|row| Some(row.node.summary.as_ref()?.revision)).collect();
        revisions.sort_unstable();
        revisions.dedup();
        revisions.len()
    }

    fn print(&self) {
        let now = Now::read();
        let header = [
            "node",
            "state",
            "version",
            "started",
            "revision",
            "last good",
            "clock",
            "store",
            "limits",
            "warnings",
        ];
        let rows = self.nodes.iter().map(|row| row.cells(now));
        let silent = self.servers.iter().filter_map(|server| {
            let error = server.error.as_ref()?;
            let mut cells: [String; 10] = std::array::from_fn(|_| "-".to_owned());
            cells[0].clone_from(&server.server);
            cells[1] = format!("no answer: {error}");
            Some(cells)
        });
        table(header, rows.chain(silent));
        for Finding { node, what } in &self.findings {
            say(format_args!("{node}: {what}"));
        }
        if self.well {
            say("all nodes agree, and none has warnings");
        }
    }
}

impl Row {
    /// Tells whether the node answers or is heard.
    fn is_living(&self) -> bool {
        self.node.state != NodeState::Missing
    }

    fn cells(&self, now: Now) -> [String; 10] {
        let Self { node: Node { node, state, silent_ms, summary }, .. } = self;
        let silent = Duration::from_millis(*silent_ms).as_secs();
        let state = match state {
            NodeState::Answers => "answers".to_owned(),
            NodeState::Heard => "heard".to_owned(),
            NodeState::Missing => format!("missing for {silent} s"),
        };
        let summary = summary.as_ref();
        let text = |text: &dyn Fn(&NodeSummary) -> String| or_dash(summary.map(text));
        [
            node.clone(),
            state,
            text(&|summary| summary.version.clone()),
            or_dash(summary.and_then(|summary| summary.started).map(|time| now.tell(time))),
            text(&|summary| summary.revision.to_string()),
            or_dash(summary.and_then(|summary| summary.last_good)),
            or_dash(summary.and_then(|summary| clock(summary.clock_skew_ms))),
            text(&|summary| summary.store.clone()),
            or_dash(summary.and_then(limits)),
            or_dash(summary.and_then(|summary| listed(&summary.warnings))),
        ]
    }

    /// Returns what is wrong with the node by itself.
    fn findings(&self) -> Vec<Finding> {
        let Self { node: Node { node, silent_ms, summary, .. }, .. } = self;
        let finding = |what: String| Finding { node: node.clone(), what };
        let mut findings = Vec::new();
        if !self.is_living() {
            let silent = Duration::from_millis(*silent_ms).as_secs();
            findings.push(finding(format!("is missing: it was last heard {silent} s ago")));
            return findings;
        }
        let Some(summary) = summary else {
            let what = "says nothing of itself: it runs an earlier version";
            return vec![finding(what.to_owned())];
        };
        if let Some(warnings) = listed(&summary.warnings) {
            findings.push(finding(format!("has warnings: {warnings}")));
        } else if summary.store != "current" {
            findings.push(finding(format!("its store is {}", summary.store)));
        }
        if summary.leaving {
            findings.push(finding("is about to stop".to_owned()));
        }
        findings
    }
}

/// Returns one row a node: what it says itself where it was asked, else what was heard last.
fn merged(told: &[(String, Status)]) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::<String, Row>::new();
    for (server, status) in told {
        let heard = status.nodes.iter().filter(|node| node.node != status.node);
        for node in heard {
            let row = Row { node: node.clone(), server: None };
            let is_news = rows.get(&node.node).is_none_or(|known| {
                known.server.is_none() && known.node.silent_ms > node.silent_ms
            });
            if is_news {
                rows.insert(node.node.clone(), row);
            }
        }
        let row = Row { node: own(status), server: Some(server.clone()) };
        rows.insert(status.node.clone(), row);
    }
    rows
}

/// Returns what a node says of itself; one of an earlier version says it in other fields.
fn own(status: &Status) -> Node {
    let own = status.nodes.iter().find(|node| node.node == status.node);
    own.cloned().unwrap_or_else(|| Node {
        node: status.node.clone(),
        state: NodeState::Answers,
        silent_ms: 0,
        summary: Some(NodeSummary {
            version: status.version.clone(),
            started: Some(status.started),
            revision: status.revision,
            store: if status.store_error.is_some() { "last_good" } else { "current" }.to_owned(),
            warnings: status.warnings.iter().map(|warning| warning.code.clone()).collect(),
            ..NodeSummary::default()
        }),
    })
}

/// Returns which of the nodes that answered do not hear each other, though they share what they see.
fn unheard(told: &[(String, Status)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, status) in told {
        let Some(peers) = &status.peers else { continue };
        let finding = |what: String| Finding { node: status.node.clone(), what };
        if let Some(error) = &peers.error {
            findings.push(finding(format!("cannot hear the others: {error}")));
            continue;
        }
        let others = told.iter().map(|(_, other)| other);
        let sharing = others.filter(|other| {
            other.peers.as_ref().is_some_and(|peers| peers.error.is_none())
                && other.node != status.node
        });
        let deaf = sharing.filter(|other| !peers.nodes.contains(&other.node));
        findings.extend(deaf.map(|other| finding(format!("does not hear {}", other.node))));
    }
    findings
}

/// Something that all nodes are to have in common: its name, and how it is told.
type Fact = (&'static str, fn(&NodeSummary) -> String);

/// Returns which of the living nodes differ from what most of them say.
fn differences(rows: &BTreeMap<String, Row>) -> Vec<Finding> {
    let facts: [Fact; 3] = [
        ("revision", |summary| summary.revision.to_string()),
        ("version", |summary| summary.version.clone()),
        ("limits", |summary| limits(summary).unwrap_or_else(|| "none".to_owned())),
    ];
    let mut findings = Vec::new();
    for (name, fact) in facts {
        let living = rows.values().filter(|row| row.is_living());
        let values: Vec<(&str, String)> = living
            .filter_map(|row| Some((row.node.node.as_str(), fact(row.node.summary.as_ref()?))))
            .collect();
        let Some(common) = most_common(&values) else { continue };
        for (node, value) in values.iter().filter(|(_, value)| *value != common) {
            let what = format!("{name} {value}, where most have {common}");
            findings.push(Finding { node: (*node).to_owned(), what });
        }
    }
    findings
}

/// Returns the value that most nodes have; of several that as many have, the greatest, which for
/// revisions is the latest.
fn most_common(values: &[(&str, String)]) -> Option<String> {
    let mut counts = BTreeMap::<(usize, &str), usize>::new();
    for (_, value) in values {
        *counts.entry((value.len(), value)).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|&(value, count)| (count, value));
    most.map(|((_, value), _)| value.to_owned())
}

/// Shows how far a node's clock is from the store's, else from the cache's.
fn clock(ClockSkews { store, cache, .. }: ClockSkews) -> Option<String> {
    let skew = store.or(cache)?;
    if skew.unsigned_abs() < SHOWN_SKEW_MS {
        return Some("right".to_owned());
    }
    let seconds = Duration::from_millis(skew.unsigned_abs()).as_secs_f64();
    Some(format!("{seconds:.1} s {}", if skew < 0 { "behind" } else { "ahead" }))
}

fn limits(summary: &NodeSummary) -> Option<String> {
    let limits = summary.limits.iter().map(|(name, limit)| format!("{name}={limit}"));
    listed(&limits.collect::<Vec<_>>())
}

fn listed(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[&str]) -> Vec<(&'static str, String)> {
        values.iter().map(|value| ("n", (*value).to_owned())).collect()
    }

    #[test]
    fn the_latest_revision_is_what_a_tie_is_measured_by() {
        assert_eq!(most_common(&values(&["9", "10"])), Some("10".to_owned()));
        assert_eq!(most_common(&values(&["9", "10", "9"])), Some("9".to_owned()));
        assert_eq!(most_common(&[]), None);
    }

    #[test]
    fn a_clock_is_told_with_its_direction() {
        let skews = |store, cache| ClockSkews { store, cache, peers: None };
        assert_eq!(clock(skews(Some(-7_200_000), Some(0))).as_deref(), Some("7200.0 s behind"));
        assert_eq!(clock(skews(None, Some(1500))).as_deref(), Some("1.5 s ahead"));
        assert_eq!(clock(skews(Some(99), None)).as_deref(), Some("right"));
        assert_eq!(clock(skews(None, None)), None);
    }
}
