//! The servers that other tests rely on.

mod prometheus;
mod redis;

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use geostream_testbed::Postgres;

const STARTED: &str = "GEOSTREAM_TEST_STARTED";

#[test]
fn each_database_is_empty_and_alone() {
    let server = Postgres::shared();
    let (one, other) = (server.database(), server.database());
    server.sql(&one, "CREATE TABLE here (number int); INSERT INTO here VALUES (1), (2)");
    assert_eq!(server.sql(&one, "SELECT number, 'x' FROM here ORDER BY 1"), "1|x\n2|x");
    assert_eq!(server.sql(&other, "SELECT to_regclass('here') IS NULL"), "t");
}

#[test]
fn what_was_written_is_there_after_a_stop_and_after_a_kill() {
    let mut server = Postgres::start(&[]);
    let url = server.database();
    server.sql(&url, "CREATE TABLE here (number int)");
    for stop in [Postgres::stop, Postgres::kill] {
        server.sql(&url, "INSERT INTO here VALUES (1)");
        stop(&mut server);
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.start_again();
    }
    assert_eq!(server.sql(&url, "SELECT count(*) FROM here"), "2");
    server.freeze();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    server.thaw();
    assert_eq!(server.sql(&url, "SELECT count(*) FROM here"), "2");
}

#[test]
fn a_server_ends_with_a_test_that_is_killed() {
    let mut test = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "start_a_server_and_wait", "--nocapture"])
        .env(STARTED, "")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test can be started");
    let lines = BufReader::new(test.stdout.take().expect("it is piped")).lines();
    let port = lines.map_while(Result::ok).find_map(|line| line.parse::<u16>().ok());
    let port = port.expect("it says where its server is");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    test.kill().expect("it waits");
    test.wait().expect("it was started here");
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn a_frozen_server_can_be_ended() {
    let server = Postgres::start(&[]);
    server.freeze();
    let port = server.port();
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Waits to be killed; does nothing unless it is started by the test above.
#[test]
fn start_a_server_and_wait() {
    if env::var_os(STARTED).is_some() {
        println!("\n{}", Postgres::shared().port());
        loop {
            std::thread::park();
        }
    }
}
