//! Several nodes over one database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geostream_domain::{
    Change, GeoPoint, Override, OverrideAction, ReachabilityTargets, Region, RegionId,
    RequestLimit, Revision, Service, Setting, Snapshot, Timestamp,
};
use geostream_pg::PgStore;
use geostream_ports::{ConfigStore as _, Proposal, ProposeError};
use geostream_testbed::Postgres;

use crate::prepared;

fn region(id: &str) -> Arc<Region> {
    Arc::new(Region::new(id.parse().unwrap(), GeoPoint::new(52.520_008, -13.404_954).unwrap()))
}

pub(crate) fn put(id: &str) -> Change {
    Change::PutRegion(region(id))
}

pub(crate) async fn propose(
    store: &PgStore,
    expected: Revision,
    changes: Vec<Change>,
) -> Result<Snapshot, ProposeError> {
    let (author, reason) = ("ops".parse().unwrap(), "because".parse().unwrap());
    let at = Timestamp::from_unix_millis(1_700_000_000_123);
    store
        .propose(Proposal {
            expected,
            changes,
            author,
            reason,
            at,
            lasting: BTreeMap::new(),
            attempt: None,
        })
        .await
}

/// Every kind of change, so that each revision says something else.
fn all_kinds() -> Vec<Vec<Change>> {
    let id = |text: &str| text.parse::<RegionId>().unwrap();
    let check = geostream_domain::HealthCheck {
        status: geostream_domain::StatusRange::new(200, 399).unwrap().into(),
        ..geostream_domain::HealthCheck::of(
            geostream_domain::ProbeTarget::new("https://a.example/healthz".parse().unwrap())
                .unwrap(),
        )
    };
    let full = Region {
        name: Some("Berlin \"Mitte\" \\ ü".parse().unwrap()),
        endpoint: Some("https://a.example".parse().unwrap()),
        capacity: Some(geostream_domain::Capacity::new(u32::MAX).unwrap()),
        cost: Some(geostream_domain::Cost::from_usd_per_gb(0.123_456).unwrap()),
        check: Some(check),
        ..(*region("a")).clone()
    };
    let wish = |expires| Override {
        region: id("a"),
        action: OverrideAction::Drain,
        owner: "ops".parse().unwrap(),
        reason: "work".parse().unwrap(),
        since: Timestamp::from_unix_millis(1_700_000_000_001),
        expires,
    };
    let service = Service::new("api".parse().unwrap(), [id("a"), id("b")]);
    let flag = geostream_domain::Flag::PublicExplain;
    vec![
        vec![Change::from(full), put("b"), put("c"), put("c")],
        vec![Change::from(service), Change::SetFlag(flag, false)],
        vec![Change::SetSetting(Setting::DefaultService(Some("api".parse().unwrap())))],
        vec![Change::SetOverride(wish(Some(Timestamp::from_unix_millis(1_900_000_000_999))))],
        vec![Change::SetOverride(wish(None)), Change::SetFlag(flag, true)],
        vec![Change::SetOverride(Override { region: id("c"), ..wish(None) })],
        vec![Change::RemoveRegion(id("c")), Change::ClearOverride(id("a"))],
        vec![
            Change::SetSetting(Setting::DefaultService(None)),
            Change::RemoveService("api".parse().unwrap()),
        ],
        vec![Change::RemoveRegion(id("a")), Change::RemoveRegion(id("b"))],
        vec![limit(Some(50)), token_limit(Some(0)), targets(Some(&["192.0.2.1:443"]))],
        vec![limit(Some(0)), token_limit(Some(7)), targets(Some(&[]))],
        vec![limit(None), targets(Some(&["198.51.100.7:53", "[2001:db8::1]:443"]))],
        vec![targets(None), token_limit(None), limit(Some(1)), limit(Some(2))],
    ]
}

fn limit(number: Option<u64>) -> Change {
    Change::SetSetting(Setting::RequestsPerSecond(number.map(|n| RequestLimit::new(n).unwrap())))
}

fn token_limit(number: Option<u64>) -> Change {
    let limit = number.map(|number| RequestLimit::new(number).unwrap());
    Change::SetSetting(Setting::RequestsPerSecondPerToken(limit))
}

fn targets(addresses: Option<&[&str]>) -> Change {
    let targets = addresses.map(|addresses| {
        ReachabilityTargets::new(addresses.iter().map(|text| text.parse().unwrap())).unwrap()
    });
    Change::SetSetting(Setting::ReachabilityTargets(targets))
}

#[tokio::test]
async fn tables_log_and_memory_say_the_same() {
    let (_, target) = prepared(Postgres::shared()).await;
    let writer = PgStore::new(target.clone(), 30, 1);
    let follower = PgStore::new(target.clone(), 30, 2);
    let mut latest = Snapshot::default();
    for changes in all_kinds() {
        let written = propose(&writer, latest.revision, changes).await.unwrap();
        assert_ne!(written.config, latest.config, "every change matters");
        // By the log from what it knew; by the tables; by the log from its beginning.
        assert_eq!(follower.load().await.unwrap(), written);
        let newcomer = PgStore::new(target.clone(), 30, 3);
        assert_eq!(newcomer.load().await.unwrap(), written);
        assert_eq!(newcomer.at(written.revision).await.unwrap(), Some(written.config.clone()));
        latest = written;
    }
}

#[tokio::test]
async fn tables_are_what_operators_read() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    let store = PgStore::new(target, 30, 1);
    propose(&store, Revision::ZERO, all_kinds().remove(0)).await.unwrap();
    let row =
        server.sql(&url, "SELECT latitude, endpoint, cost_per_gb FROM regions WHERE id = 'a'");
    assert_eq!(row, "52.520008|https://a.example|0.123456");
    let commit = "SELECT revision, author, change->2->'put_region'->>'id'";
    let commit = server.sql(&url, &format!("{commit} FROM config_log"));
    assert_eq!(commit, "1|ops|c");
    let dated = "SELECT abs(extract(epoch FROM now() - at)) < 600 FROM config_log";
    assert_eq!(server.sql(&url, dated), "t", "by the database's clock, not the node's");
}

#[tokio::test]
async fn a_setting_that_is_left_to_the_nodes_has_no_row() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    let store = PgStore::new(target, 30, 1);
    let rows = || server.sql(&url, "SELECT name, value FROM settings ORDER BY name");
    let set = vec![limit(Some(50)), targets(Some(&["192.0.2.1:443"]))];
    propose(&store, Revision::ZERO, set).await.unwrap();
    assert_eq!(rows(), "reachability_targets|[\"192.0.2.1:443\"]\nrequests_per_second|50");
    propose(&store, Revision::new(1), vec![limit(None), targets(None)]).await.unwrap();
    assert_eq!(rows(), "", "a program that knows neither can read the configuration again");
}

#[tokio::test]
async fn tables_changed_by_hand_are_noticed() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    let store = PgStore::new(target.clone(), 30, 1);
    propose(&store, Revision::ZERO, vec![put("a")]).await.unwrap();
    server.sql(&url, "DELETE FROM regions");
    let gone = Change::RemoveRegion("a".parse().unwrap());
    let error = propose(&store, Revision::new(1), vec![gone]).await.unwrap_err();
    assert!(matches!(error, ProposeError::Unavailable(_)), "{error:?}");
    assert_eq!(store.load().await.unwrap().revision, Revision::new(1), "nothing was committed");
}

#[tokio::test]
async fn a_commit_reaches_the_other_nodes_at_once() {
    let (_, target) = prepared(Postgres::shared()).await;
    let nodes: Vec<_> = (0..5).map(|seed| PgStore::new(target.clone(), 30, seed)).collect();
    let mut slowest = Duration::ZERO;
    for revision in (0..50).map(Revision::new) {
        let committed = propose(&nodes[0], revision, vec![put(&format!("r{revision}"))]).await;
        let started = now();
        for node in &nodes {
            assert_eq!(node.changed(revision).await.unwrap(), revision.next());
            assert_eq!(node.load().await.unwrap(), *committed.as_ref().unwrap());
        }
        slowest = slowest.max(now() - started);
    }
    println!("the slowest of 50 commits was on 5 nodes after {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_proposals_at_once_none_is_lost() {
    let (_, target) = prepared(Postgres::shared()).await;
    let writing = (0..4).map(|node| {
        let store = PgStore::new(target.clone(), 30, node);
        tokio::spawn(async move {
            let mut expected = Revision::ZERO;
            for number in 0..10 {
                let changes = || vec![put(&format!("n{node}-{number}"))];
                while let Err(error) = propose(&store, expected, changes()).await {
                    let ProposeError::Conflict { current } = error else { panic!("{error:?}") };
                    expected = current;
                }
            }
        })
    });
    for writer in writing.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let latest = PgStore::new(target, 30, 9).load().await.unwrap();
    assert_eq!((latest.revision.get(), latest.config.regions().len()), (40, 40));
}

#[tokio::test]
async fn a_commit_that_a_failover_has_lost_is_forgotten() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    let store = PgStore::new(target.clone(), 30, 1);
    propose(&store, Revision::ZERO, vec![put("kept")]).await.unwrap();
    let lost = propose(&store, Revision::new(1), vec![put("lost")]).await.unwrap();
    server.sql(
        &url,
        "DELETE FROM config_log WHERE revision = 2; DELETE FROM regions WHERE id = 'lost';
         UPDATE config_head SET (revision, mark) = (SELECT revision, mark FROM config_log)",
    );
    let other = PgStore::new(target, 30, 2);
    let instead = propose(&other, Revision::new(1), vec![put("instead")]).await.unwrap();
    assert_eq!(instead.revision, lost.revision);
    assert_eq!(store.load().await.unwrap(), instead, "the same number is not the same commit");
}

#[tokio::test]
async fn a_schema_that_grows_meanwhile_is_no_matter() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    let store = PgStore::new(target.clone(), 30, 1);
    propose(&store, Revision::ZERO, vec![put("a")]).await.unwrap();
    server.sql(
        &url,
        "ALTER TABLE regions ADD COLUMN colour text DEFAULT 'red';
         ALTER TABLE regions ALTER COLUMN capacity TYPE numeric;
         ALTER TABLE config_head ADD COLUMN more int; ALTER TABLE config_log ADD COLUMN more int",
    );
    let written = propose(&store, Revision::new(1), vec![put("b")]).await.unwrap();
    assert_eq!(PgStore::new(target, 30, 2).load().await.unwrap(), written);
    let newer = "INSERT INTO geostream_migrations (number, name, checksum, oldest)
                 VALUES (99, 'later', 'x', 99)";
    server.sql(&url, newer);
    let refused = store.load().await.unwrap_err();
    let text = geostream_ports::Chain(&refused).to_string();
    assert!(text.contains("too old"), "{text}");
}

#[expect(clippy::disallowed_methods, reason = "this test measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
