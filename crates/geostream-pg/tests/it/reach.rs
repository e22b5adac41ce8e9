//! Ways to a database: TLS, passwords, poolers, and several hosts.

use geostream_domain::Revision;
use geostream_pg::{Password, PgStore, Target, TargetError, migrate};
use geostream_ports::{Chain, ConfigStore as _, contract};
use geostream_testbed::{Pooler, Postgres};
use tokio::task::yield_now;

use crate::{in_the_end, prepared};

async fn error_of(target: Target) -> String {
    Chain(&PgStore::new(target, 30, 1).load().await.unwrap_err()).to_string()
}

#[tokio::test]
async fn the_certificate_is_checked() {
    let server = Postgres::start(&[]);
    let (url, _) = prepared(&server).await;
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authority = server.keep("server.pem", &identity.cert.pem());
    let key = server.keep("server.key", &identity.signing_key.serialize_pem());
    server.sql(&url, &format!("ALTER SYSTEM SET ssl_cert_file = '{authority}'"));
    server.sql(&url, &format!("ALTER SYSTEM SET ssl_key_file = '{key}'"));
    let plain = Target::parse(&format!("{url}?sslmode=verify-full"), None).unwrap();
    assert!(error_of(plain.clone()).await.contains("TLS"), "the server has none yet");
    server.sql(&url, "ALTER SYSTEM SET ssl = on");
    server.sql(&url, "SELECT pg_reload_conf()");
    in_the_end(async {
        while server.sql(&url, "SHOW ssl") == "off" {
            yield_now().await;
        }
    })
    .await;

    let named = url.replace("127.0.0.1", "localhost");
    let trusting = format!("{named}?sslmode=verify-full&sslrootcert={authority}");
    let trusting = Target::parse(&trusting, None).unwrap();
    let store = PgStore::new(trusting, 30, 1);
    in_the_end(async { while store.load().await.is_err() {} }).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'geostream'";
    assert_eq!(server.sql(&url, encrypted), "t");
    let unknown = error_of(plain).await;
    assert!(unknown.contains("TLS handshake"), "{unknown}");
    let other_name = format!("{url}?sslmode=verify-full&sslrootcert={authority}");
    let other_name = error_of(Target::parse(&other_name, None).unwrap()).await;
    assert!(other_name.contains("not valid for name"), "{other_name}");
}

#[tokio::test]
async fn a_password_is_taken_from_where_it_is() {
    let server = Postgres::start(&[]);
    let (url, _) = prepared(&server).await;
    server.sql(&url, "CREATE ROLE node LOGIN SUPERUSER PASSWORD 'pass: word'");
    let rules = "host all node 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
    server.keep("data/pg_hba.conf", rules);
    server.sql(&url, "SELECT pg_reload_conf()");
    let url = url.replace("geostream@", "node@");
    let without = || PgStore::new(Target::parse(&url, None).unwrap(), 30, 1);
    in_the_end(async { while without().load().await.is_ok() {} }).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "pass: word\n").unwrap();
    let given = |file, environment| Password::given(file, environment).unwrap();
    for password in [given(Some(file.path()), None), given(None, Some("pass: word"))] {
        let target = Target::parse(&url, password.as_ref()).unwrap();
        PgStore::new(target, 30, 1).load().await.unwrap();
    }
    let wrong = Target::parse(&url, given(None, Some("wrong")).as_ref()).unwrap();
    let error = error_of(wrong).await;
    assert!(error.contains("password authentication failed"), "{error}");
    let missing = Password::given(Some("/no/where".as_ref()), None);
    assert!(matches!(missing, Err(TargetError::File(..))), "{missing:?}");
}

#[tokio::test]
async fn a_pooler_in_between_makes_no_difference() {
    // The pooler keeps a connection to the database of each case of the suites.
    let server = Postgres::start(&["max_connections=300"]);
    let pooler = Pooler::start(&server);
    let through = async || {
        let (url, _) = prepared(&server).await;
        PgStore::new(Target::parse(&pooler.url(&server, &url), None).unwrap(), 30, 1)
    };
    contract::config_store(through).await;
    contract::token_store(through).await;
    contract::health_log(through).await;
    // Others are heard of as well, if late.
    let (url, target) = prepared(&server).await;
    let pooled = PgStore::new(Target::parse(&pooler.url(&server, &url), None).unwrap(), 30, 1);
    let direct = PgStore::new(target, 30, 2);
    pooled.load().await.unwrap();
    crate::nodes::propose(&direct, Revision::ZERO, vec![crate::nodes::put("a")]).await.unwrap();
    assert_eq!(pooled.changed(Revision::ZERO).await.unwrap(), Revision::new(1));
}

#[tokio::test]
async fn of_several_hosts_one_that_takes_writes_is_found() {
    let server = Postgres::start(&[]);
    let (url, target) = prepared(&server).await;
    let frozen = Postgres::start(&[]);
    frozen.freeze();
    let read_only = Postgres::start(&["default_transaction_read_only=on"]);
    let hosts = [&frozen, &read_only, &server].map(|s| format!("127.0.0.1:{}", s.port()));
    let one = format!("127.0.0.1:{}", server.port());
    let nobody = "127.0.0.1:1";
    let several = url.replace(&one, &format!("{nobody},{}", hosts.join(",")));
    let several = Target::parse(&several, None).unwrap();
    migrate::verify(&several).await.unwrap();
    let store = PgStore::new(several, 30, 1);
    let written = crate::nodes::propose(&store, Revision::ZERO, vec![crate::nodes::put("a")]).await;
    assert_eq!(PgStore::new(target, 30, 2).load().await.unwrap(), written.unwrap());
}

#[tokio::test]
async fn where_no_host_can_be_used_each_says_why() {
    let read_only = Postgres::start(&["default_transaction_read_only=on"]);
    let url = read_only.url("postgres");
    let frozen = Postgres::start(&[]);
    frozen.freeze();
    let one = format!("127.0.0.1:{}", read_only.port());
    let other = format!("127.0.0.1:{}", frozen.port());
    let several = url
        .replace(&one, &format!("127.0.0.1:1,{one}"))
        .replace("geostream@", "geostream:very-secret@");
    let error = error_of(Target::parse(&several, None).unwrap()).await;
    let expected =
        format!("127.0.0.1:1: Connection refused (os error 111); {one}: database does not");
    assert!(error.contains(&expected), "{error}");
    assert!(!error.contains("very-secret"), "{error}");

    let hangs = several.replace(&one, &format!("{one},{other}"));
    let error = error_of(Target::parse(&hangs, None).unwrap()).await;
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains(&format!("; {other}: does not answer in time")), "{error}");
    let error = migrate::verify(&Target::parse(&several, None).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains(&expected), "{error}");
}
