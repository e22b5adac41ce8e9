//! A database that is away, in every way.

use std::time::Duration;

use geostream_domain::{Change, GeoPoint, Region, Revision};
use geostream_pg::{PgStore, Target, migrate};
use geostream_ports::{Chain, ConfigStore as _, ProposeError, TokenStore as _, Unavailable};
use geostream_testbed::Postgres;

use crate::nodes::{now, propose};
use crate::{in_the_end, prepared};

/// Longer than an operation may take, and the machine is shared.
const BOUND: Duration = Duration::from_secs(10);

fn put(id: &str) -> Vec<Change> {
    let region = Region::new(id.parse().unwrap(), GeoPoint::new(1.0, 2.0).unwrap());
    vec![Change::from(region)]
}

/// Returns why nothing can be written, after looking at how long it took to say so.
pub(crate) async fn refused(store: &PgStore, expected: Revision) -> String {
    let started = now();
    let error = propose(store, expected, put("refused")).await.unwrap_err();
    assert!(now() - started < BOUND);
    let ProposeError::Unavailable(error) = error else { panic!("{error:?}") };
    Chain(&error).to_string()
}

/// Writes as soon as it is possible again.
pub(crate) async fn write_when_possible(store: &PgStore, id: &str) -> Revision {
    in_the_end(async {
        loop {
            let Ok(latest) = store.load().await else { continue };
            match propose(store, latest.revision, put(id)).await {
                Ok(written) => return written.revision,
                Err(ProposeError::Unavailable(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_by_itself_after_a_stop_a_crash_and_a_freeze() {
    let mut server = Postgres::start(&[]);
    let (_, target) = prepared(&server).await;
    let (store, other) = (PgStore::new(target.clone(), 30, 1), PgStore::new(target, 30, 2));
    let mut revision = propose(&store, Revision::ZERO, put("a")).await.unwrap().revision;
    for stop in [Postgres::stop, Postgres::kill] {
        stop(&mut server);
        let reason = refused(&store, revision).await;
        assert!(reason.starts_with("PostgreSQL is unavailable: "), "{reason}");
        server.start_again();
        let written = write_when_possible(&store, "b").await;
        assert_eq!(written, revision.next(), "nothing else was committed");
        assert_eq!(other.changed(revision).await.unwrap(), written);
        revision = written;
    }
    server.freeze();
    let reason = refused(&store, revision).await;
    assert!(reason.contains("does not answer in time"), "{reason}");
    server.thaw();
    let written = write_when_possible(&store, "c").await;
    other.changed(written.get().checked_sub(1).map(Revision::new).unwrap()).await.unwrap();
    assert_eq!(other.load().await.unwrap(), store.load().await.unwrap());
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_read() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    let store = PgStore::new(target.clone(), 30, 1);
    let written = propose(&store, Revision::ZERO, put("a")).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    server.sql(&url, &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    let store = PgStore::new(target, 30, 2);
    assert_eq!(store.load().await.unwrap(), written);
    let reason = refused(&store, written.revision).await;
    assert!(reason.contains("read-only transaction"), "{reason}");
}

#[tokio::test]
async fn a_database_without_room_for_another_connection_says_so() {
    let server = Postgres::start(&["max_connections=4", "superuser_reserved_connections=1"]);
    let (url, target) = prepared(&server).await;
    server.sql(&url, "CREATE ROLE node LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO node");
    let node = url.replace("geostream@", "node@");
    let store = PgStore::new(Target::parse(&node, None).unwrap(), 30, 1);
    let revision = propose(&store, Revision::ZERO, put("a")).await.unwrap().revision;
    // One writes, one listens, one keeps the last place that is not the superuser's.
    let full = PgStore::new(Target::parse(&node, None).unwrap(), 30, 2);
    let error: Unavailable = in_the_end(async {
        loop {
            if let Err(error) = full.tokens().await {
                return error;
            }
            assert_eq!(store.load().await.unwrap().revision, revision);
            let more = PgStore::new(Target::parse(&node, None).unwrap(), 30, 3);
            if let Err(error) = more.load().await {
                return error;
            }
        }
    })
    .await;
    let reason = Chain(&error).to_string();
    // Too many connections, whether or not those for superusers are left.
    assert!(reason.contains("53300"), "{reason}");
    drop(full);
    assert_eq!(write_when_possible(&store, "b").await, revision.next());
    drop(target);
}

#[tokio::test]
async fn a_schema_that_is_not_there_yet_names_the_command_that_makes_it() {
    let url = Postgres::shared().database();
    let target = Target::parse(&url, None).unwrap();
    let store = PgStore::new(target.clone(), 30, 1);
    let reason = refused(&store, Revision::ZERO).await;
    assert!(reason.contains("geostream-admin migrate up"), "{reason}");
    migrate::up(&target).await.unwrap();
    assert_eq!(write_when_possible(&store, "a").await.get(), 1, "and it goes on by itself");
}

#[tokio::test]
async fn a_node_that_stops_while_it_commits_does_not_keep_others_waiting_for_ever() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    let store = PgStore::new(target, 30, 1);
    let psql = std::thread::spawn(move || {
        server.sql(&url, "BEGIN; SELECT * FROM config_head FOR UPDATE; SELECT pg_sleep(4); COMMIT")
    });
    assert_eq!(write_when_possible(&store, "a").await.get(), 1);
    psql.join().unwrap();
}
