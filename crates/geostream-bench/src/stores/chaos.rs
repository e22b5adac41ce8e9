//! Nodes, PostgreSQL and Redis are killed at random, while clients are answered and changes are made.
//!
//! Each change sends all clients to another region, so a decision is right if it names the region of
//! the revision that it says it was made by. What every revision says, the log tells at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use geostream_domain::Chance;
use geostream_testbed::{Postgres, Redis};
use serde_json::Value;

use crate::connection::Connection;
use crate::figure::Figure;
use crate::process::{now, pause};
use crate::stores::nodes::{Decided, Node, database, declaration, question, request};
use xtask::shell::say;

const NODES: usize = 3;
const REGIONS: u64 = 10;

/// From one decision of a node to the next.
const GAP: Duration = Duration::from_millis(2);
/// From one change to the next.
const CHANGE: Duration = Duration::from_millis(20);
/// How long something stays as it is before the next thing is killed, at the most.
const CALM: Duration = Duration::from_secs(2);
/// How long everything may take to be well again at the end.
const RECOVERY: Duration = Duration::from_secs(60);

/// All that may be killed.
#[derive(Debug)]
struct Victims {
    nodes: Vec<Node>,
    postgres: Postgres,
    redis: Redis,
}

/// What everybody notes.
#[derive(Debug, Default)]
struct Notes {
    over: AtomicBool,
    decisions: AtomicU64,
    /// Decisions by an earlier revision than the one before, of the same process.
    gone_back: AtomicU64,
    decided: Mutex<BTreeSet<Decided>>,
    /// The region of each change that was acknowledged, by its revision.
    acknowledged: Mutex<BTreeMap<u64, String>>,
}

pub(crate) fn run(minutes: f64, seed: u64) -> anyhow::Result<Vec<Figure>> {
    say(&format!("{NODES} nodes, PostgreSQL and Redis, killed at random for {minutes} minutes"));
    let (postgres, redis) = (Postgres::start(&["fsync=on"]), Redis::start(&[]));
    let (store, cache) = (database(&postgres)?, redis.url());
    let start = |_| Node::start(&store, &["--cache", &cache]);
    let nodes = (0..NODES).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let token = nodes[0].token()?;
    let declared = declaration(usize::try_from(REGIONS)?, 1);
    nodes[0].connect()?.write("/api/v1/config", &token, 0, &declared)?;
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let (notes, mut victims) = (&Notes::default(), Victims { nodes, postgres, redis });
    let kills = thread::scope(|scope| {
        let _end = End(notes);
        for &address in &addresses {
            scope.spawn(move || decide(address, notes));
        }
        scope.spawn(|| change(&addresses, &token, notes));
        let kills = kill_at_random(&mut victims, minutes, seed)?;
        wait_until_well(&addresses, notes).map(|()| kills)
    })?;
    judge(notes, &read_log(addresses[0], &token)?, kills)
}

/// Kills one of them, again and again, and starts it again after a while.
fn kill_at_random(victims: &mut Victims, minutes: f64, seed: u64) -> anyhow::Result<u32> {
    let Victims { nodes, postgres, redis } = victims;
    let mut chance = Chance::new(seed);
    let end = now() + Duration::from_secs_f64(minutes * 60.0);
    let mut kills = 0;
    while now() < end {
        pause(CALM.mul_f64(chance.fraction()));
        let away = CALM.mul_f64(chance.fraction());
        let victim = usize::try_from(chance.next_u64())? % (NODES + 2);
        if let Some(node) = nodes.get_mut(victim) {
            node.kill();
            pause(away);
            node.restart()?;
        } else if victim == NODES {
            postgres.kill_dead();
            pause(away);
            postgres.start_again();
        } else {
            redis.kill();
            pause(away);
            redis.start_again();
        }
        kills += 1;
    }
    Ok(kills)
}

/// Decides on a node for as long as it goes on, whether it is there or not.
fn decide(address: SocketAddr, notes: &Notes) {
    while !notes.is_over() {
        let Ok(mut connection) = Connection::open(address) else {
            pause(GAP);
            continue;
        };
        let mut latest = 0;
        while !notes.is_over() {
            let Ok(decided) = connection.ask_where(&question()) else { break };
            notes.decisions.fetch_add(1, Ordering::Relaxed);
            if decided.revision < latest {
                notes.gone_back.fetch_add(1, Ordering::Relaxed);
            }
            latest = decided.revision;
            locked(&notes.decided).insert(decided);
            pause(GAP);
        }
    }
}

/// Makes one change after another, each on the next node.
fn change(addresses: &[SocketAddr], token: &str, notes: &Notes) {
    for (number, &address) in (0..).zip(addresses.iter().cycle()) {
        if notes.is_over() {
            return;
        }
        let region = format!("r{}", number % REGIONS);
        if let Ok(revision) = change_once(address, &region, token) {
            locked(&notes.acknowledged).insert(revision, region);
        }
        pause(CHANGE);
    }
}

/// Sends all clients to this region, if nothing comes in between; else nobody knows.
fn change_once(address: SocketAddr, region: &str, token: &str) -> anyhow::Result<u64> {
    let mut connection = Connection::open(address)?;
    let latest = connection.ask_where(&question())?.revision;
    let revision = connection.send_all_to(region, token, latest)?;
    ensure!(revision == latest + 1, "it was so already");
    Ok(revision)
}

/// Waits until a change is acknowledged after all was started again, and every node decides by it.
fn wait_until_well(addresses: &[SocketAddr], notes: &Notes) -> anyhow::Result<()> {
    let last = || locked(&notes.acknowledged).keys().last().copied().unwrap_or_default();
    let (deadline, before) = (now() + RECOVERY, last());
    let decides_by = |address: &SocketAddr| {
        Ok::<_, anyhow::Error>(Connection::open(*address)?.ask_where(&question())?.revision)
    };
    let is_well = || addresses.iter().all(|a| decides_by(a).is_ok_and(|r| r > before));
    while !(last() > before && is_well()) {
        ensure!(now() < deadline, "not all nodes are well again after {RECOVERY:?}");
        pause(CHANGE);
    }
    Ok(())
}

/// Returns the region of each revision, as the log has it.
fn read_log(address: SocketAddr, token: &str) -> anyhow::Result<BTreeMap<u64, String>> {
    let mut connection = Connection::open(address)?;
    let mut regions = BTreeMap::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let path = format!("/api/v1/config/log?after={after}&limit=500");
        let page = connection.exchange(&request("GET", &path, token, None, ""))?;
        let page: Value = serde_json::from_slice(&page)?;
        for commit in page["commits"].as_array().context("no commits")? {
            let put = commit["changes"].as_array().into_iter().flatten();
            let services = put.filter_map(|change| change["put_service"]["service"].as_object());
            let members = services.filter_map(|service| service["members"].as_object()).next_back();
            let region = members.filter(|members| members.len() == 1);
            let region = region.and_then(|members| members.keys().next().cloned());
            let revision = commit["revision"].as_u64().context("no revision")?;
            regions.insert(revision, region.unwrap_or_default());
        }
        next = page["next_after"].as_u64();
    }
    Ok(regions)
}

fn judge(notes: &Notes, log: &BTreeMap<u64, String>, kills: u32) -> anyhow::Result<Vec<Figure>> {
    let decided = locked(&notes.decided);
    // The first revision sends clients to any of the regions.
    let wrong = decided.iter().filter(|decided| {
        decided.revision > 1 && log.get(&decided.revision) != Some(&decided.region)
    });
    let wrong = wrong.count();
    let acknowledged = locked(&notes.acknowledged);
    let lost = acknowledged.iter().filter(|(revision, region)| log.get(revision) != Some(region));
    let lost = lost.count();
    let count = |value: usize| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
    let counted = |value: &AtomicU64| usize::try_from(value.load(Ordering::Relaxed)).map(count);
    ensure!(!acknowledged.is_empty(), "no change was acknowledged");
    Ok(vec![
        Figure::shown("times that a node, PostgreSQL or Redis was killed", f64::from(kills), ""),
        Figure::shown("decisions", counted(&notes.decisions)?, ""),
        Figure::shown("wrong decisions, of those that differ", count(wrong), "").at_most(0.0),
        Figure::shown(
            "decisions by an earlier revision than before",
            counted(&notes.gone_back)?,
            "",
        )
        .at_most(0.0),
        Figure::shown("changes acknowledged", count(acknowledged.len()), ""),
        Figure::shown("of which lost", count(lost), "").at_most(0.0),
    ])
}

/// Lets everybody end, however the killing ends.
struct End<'a>(&'a Notes);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Notes {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
