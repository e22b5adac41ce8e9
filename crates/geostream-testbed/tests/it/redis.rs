//! Redis, in each of its arrangements.

use std::net::TcpStream;

use geostream_testbed::Redis;

#[test]
fn a_server_is_empty_after_it_was_stopped_or_killed() {
    let mut server = Redis::start(&["maxmemory 5mb"]);
    assert_eq!(server.ask("config get maxmemory"), "maxmemory\n5242880");
    for stop in [Redis::stop, Redis::kill] {
        assert_eq!(server.ask("set here 1"), "OK");
        stop(&mut server);
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.start_again();
        assert_eq!(server.ask("exists here"), "0");
    }
    server.freeze();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    server.thaw();
    assert_eq!(server.ask("ping"), "PONG");
}

#[test]
fn a_sentinel_promotes_the_replica_of_a_server_that_is_gone() {
    let mut primary = Redis::start(&[]);
    let replica = primary.start_replica();
    let sentinel = primary.start_sentinel();
    primary.ask("set here 1");
    primary.kill();
    let promoted = format!("127.0.0.1\n{}", replica.port());
    sentinel.wait_for("sentinel get-master-addr-by-name geostream", &promoted);
    replica.wait_for("role", "master");
}

#[test]
fn a_cluster_shares_the_keys() {
    let nodes = Redis::start_cluster();
    let owned = |node: &Redis| node.ask("set here 1") == "OK";
    assert_eq!(nodes.iter().filter(|node| owned(node)).count(), 1);
}
