//! The log of health, beyond its contract.

use geostream_domain::{Health, Timestamp};
use geostream_pg::{PgStore, Target};
use geostream_ports::{HealthLog as _, HealthRecord};
use geostream_testbed::Postgres;

use crate::prepared;

const DAY: u64 = 24 * 3600 * 1000;

fn change(day: u64) -> HealthRecord {
    HealthRecord {
        region: "a".parse().unwrap(),
        node: None,
        health: Health::Unhealthy,
        evidence: "5 failures in a row".to_owned(),
        at: Timestamp::from_unix_millis(day * DAY + 1),
        response_time: None,
        errors: 5,
    }
}

#[tokio::test]
async fn months_go_as_a_whole_and_the_last_change_stays() {
    let server = Postgres::shared();
    let (url, target) = prepared(server).await;
    // What nodes need, and nothing else.
    server.sql(&url, "DROP ROLE IF EXISTS health_node; CREATE ROLE health_node LOGIN");
    server.sql(
        &url,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO health_node;
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO health_node",
    );
    drop(target);
    let node = url.replace("geostream@", "health_node@");
    let store = PgStore::new(Target::parse(&node, None).unwrap(), 30, 1);
    store.append(vec![change(0), change(40)]).await.unwrap();
    let kept = async || store.changes(None, 10).await.unwrap().len();
    assert_eq!(kept().await, 2);
    store.append(vec![change(59)]).await.unwrap();
    assert_eq!(kept().await, 3, "January ended on day 31");
    store.append(vec![change(100)]).await.unwrap();
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'health_status'::regclass";
    assert_eq!(
        (kept().await, server.sql(&url, partitions)),
        (2, "2".to_owned()),
        "March and April"
    );
    store.append(vec![HealthRecord { region: "b".parse().unwrap(), ..change(200) }]).await.unwrap();
    assert_eq!(store.latest().await.unwrap()[0], change(100));
}
