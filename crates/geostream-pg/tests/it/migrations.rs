//! Making the schema, and refusing one that does not fit.

use geostream_pg::migrate::{self, MigrateError, MigrationState};
use geostream_pg::{PgError, PgStore, Target};
use geostream_ports::contract;
use geostream_testbed::Postgres;

/// An empty database.
fn database() -> (String, Target) {
    let url = Postgres::shared().database();
    let target = Target::parse(&url, None).unwrap();
    (url, target)
}

#[tokio::test]
async fn an_empty_database_gets_everything_once() {
    let (_, target) = database();
    let error = migrate::verify(&target).await.unwrap_err();
    assert!(error.to_string().contains("geostream-admin migrate up"), "{error}");
    let all = migrate::status(&target).await.unwrap();
    assert!(all.iter().all(|migration| migration.state == MigrationState::Pending));
    assert_eq!(migrate::up(&target).await.unwrap(), all);
    assert_eq!(migrate::up(&target).await.unwrap(), [], "there is nothing left to do");
    assert_eq!(migrate::verify(&target).await.unwrap(), all.last().unwrap().number);
    let applied = migrate::status(&target).await.unwrap();
    assert!(applied.iter().all(|m| matches!(m.state, MigrationState::Applied(_))), "{applied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_are_as_good_as_one() {
    let (_, target) = database();
    let migrating = |target: Target| tokio::spawn(async move { migrate::up(&target).await });
    let (one, other) = (migrating(target.clone()), migrating(target.clone()));
    let (one, other) = (one.await.unwrap().unwrap(), other.await.unwrap().unwrap());
    assert_eq!(one.len() + other.len(), migrate::status(&target).await.unwrap().len());
    assert!(one.is_empty() || other.is_empty());
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing() {
    let (url, target) = database();
    let server = Postgres::shared();
    server.sql(&url, "CREATE TABLE tokens (mine int)");
    let error = migrate::up(&target).await.unwrap_err();
    assert!(matches!(error, MigrateError::Step { number: 1, .. }), "{error}");
    assert_eq!(server.sql(&url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "1");
}

#[tokio::test]
async fn a_file_that_was_changed_is_noticed() {
    let (url, target) = database();
    migrate::up(&target).await.unwrap();
    Postgres::shared().sql(&url, "UPDATE geostream_migrations SET checksum = 'x' WHERE number = 1");
    for error in [migrate::verify(&target).await.err(), migrate::up(&target).await.err()] {
        assert!(matches!(error, Some(MigrateError::Changed { number: 1, .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_later_schema_is_refused_where_it_lacks_what_this_version_needs() {
    let (url, target) = database();
    migrate::up(&target).await.unwrap();
    let later = |oldest: i32| {
        let note = "INSERT INTO geostream_migrations (number, name, checksum, oldest)";
        Postgres::shared()
            .sql(&url, &format!("{note} VALUES (90{oldest}, 'later', 'x', {oldest})"));
    };
    later(1);
    let error = migrate::verify(&target).await.unwrap_err();
    assert!(matches!(error, MigrateError::Ahead { found: 901 }), "{error}: it is not as known");
    later(2_000);
    let error = migrate::verify(&target).await.unwrap_err();
    let expected = "run a later version of GeoStream";
    assert!(matches!(error, MigrateError::Database(PgError::NewSchema { .. })), "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    assert!(matches!(migrate::up(&target).await, Err(MigrateError::Ahead { .. })));
}

#[tokio::test]
async fn an_older_schema_names_the_command_that_helps() {
    let (url, target) = database();
    migrate::up(&target).await.unwrap();
    let last = "(SELECT max(number) FROM geostream_migrations)";
    let forget = format!("DELETE FROM geostream_migrations WHERE number = {last}");
    Postgres::shared().sql(&url, &forget);
    let error = migrate::verify(&target).await.unwrap_err();
    assert!(matches!(error, MigrateError::Database(PgError::OldSchema { .. })), "{error}");
    assert!(error.to_string().contains("geostream-admin migrate up"), "{error}");
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_name_is_refused() {
    let server = Postgres::shared();
    server.sql(
        &server.url("postgres"),
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    let target = Target::parse(&server.url("latin"), None).unwrap();
    for error in
        [migrate::up(&target).await.unwrap_err(), migrate::verify(&target).await.unwrap_err()]
    {
        let error = error.to_string();
        assert!(error.contains("LATIN1") && error.contains("ENCODING 'UTF8'"), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let target = Target::parse("postgres://me@127.0.0.1:1/nothing", None).unwrap();
    let error = migrate::up(&target).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no connection to 127.0.0.1:1/nothing");
}

#[tokio::test]
async fn a_role_is_given_what_nodes_need_and_what_later_steps_make() {
    let (url, target) = database();
    let server = Postgres::shared();
    // Whatever its name is made of, it is quoted.
    let role = "node \"1\"; DROP TABLE tokens";
    server.sql(&url, "DROP ROLE IF EXISTS \"node \"\"1\"\"; DROP TABLE tokens\"");
    let error = migrate::up_granting(&target, Some(role)).await.unwrap_err();
    assert!(matches!(&error, MigrateError::NoRole { role: named } if named == role), "{error}");
    let error = migrate::verify(&target).await.unwrap_err();
    assert!(matches!(error, MigrateError::Database(PgError::NoSchema)), "nothing was changed");

    server.sql(&url, "CREATE ROLE \"node \"\"1\"\"; DROP TABLE tokens\" LOGIN");
    for _ in 0..2 {
        migrate::up_granting(&target, Some(role)).await.unwrap();
    }
    let lacks = "SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
          AND NOT relispartition AND NOT has_table_privilege(
              'node \"1\"; DROP TABLE tokens', oid,
              CASE relname WHEN 'geostream_migrations' THEN 'SELECT' ELSE 'SELECT, DELETE' END)";
    assert_eq!(server.sql(&url, lacks), "");
    let more = "SELECT has_table_privilege('node \"1\"; DROP TABLE tokens',
                    'geostream_migrations', 'INSERT, UPDATE, DELETE')";
    assert_eq!(server.sql(&url, more), "f", "the steps are not a node's to write");
    server.sql(&url, "CREATE TABLE later (number bigserial)");
    let later = "SELECT has_table_privilege('node \"1\"; DROP TABLE tokens', 'later', 'INSERT')
                    AND has_sequence_privilege('node \"1\"; DROP TABLE tokens',
                        'later_number_seq', 'USAGE')";
    assert_eq!(server.sql(&url, later), "t");
}

#[tokio::test]
async fn a_role_with_these_rights_keeps_every_promise() {
    let server = Postgres::shared();
    server.sql(
        &server.database(),
        "DO $$ BEGIN CREATE ROLE granted_node LOGIN; EXCEPTION WHEN duplicate_object THEN END $$",
    );
    let new = async || {
        let (url, target) = database();
        migrate::up_granting(&target, Some("granted_node")).await.unwrap();
        let node = url.replace("geostream@", "granted_node@");
        PgStore::new(Target::parse(&node, None).unwrap(), 30, 1)
    };
    contract::config_store(new).await;
    contract::token_store(new).await;
    contract::health_log(new).await;
    contract::audit_log(new).await;
}
