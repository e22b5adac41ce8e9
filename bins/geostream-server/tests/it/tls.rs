//! TLS, with both versions of HTTP, and certificates that are replaced.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::server::{Home, Server, wait_for};

/// Returns the command of a server that presents the identity in its home.
pub(crate) fn command(home: &Home) -> Command {
    let mut command = home.command();
    command.arg("--tls-certificate").arg(home.path("cert.pem"));
    command.arg("--tls-key").arg(home.path("key.pem"));
    command
}

/// Puts a certificate for localhost and its key in the place of those in a home; it is valid from
/// the begin of one year to the begin of another.
pub(crate) fn write_identity(home: &Home, [from, until]: [i32; 2]) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    for (name, content) in [("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
        fs::write(home.path("new.pem"), content).unwrap();
        fs::rename(home.path("new.pem"), home.path(name)).unwrap();
    }
    certificate.der().clone()
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connects as a client that trusts these certificates and offers this protocol.
fn connect(server: &Server, trusted: &[&CertificateDer<'static>], protocol: &str) -> Stream {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add((*certificate).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, server.connect())
}

/// Asks by HTTP/1.1, and returns the body of the answer.
fn get(stream: &mut Stream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    body.to_owned()
}

/// Returns the warnings of a server whose certificate is one of these.
fn warnings(server: &Server, trusted: &[&CertificateDer<'static>]) -> Vec<String> {
    let ready: Value =
        serde_json::from_str(&get(&mut connect(server, trusted, "http/1.1"), "/ready")).unwrap();
    let warnings = ready["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|warning| format!("{}: {}", warning["code"], warning["detail"])).collect()
}

#[test]
fn tls_is_spoken_where_a_certificate_is_given() {
    let home = Home::new();
    let certificate = write_identity(&home, [2020, 2999]);
    let server = Server::start(&mut command(&home));
    for protocol in ["http/1.1", "h2"] {
        let mut stream = connect(&server, &[&certificate], protocol);
        if protocol == "h2" {
            // The preface and empty settings; the server answers with its own settings.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).unwrap();
            assert_eq!(frame[3], 4, "a settings frame");
        } else {
            get(&mut stream, "/health");
        }
        assert_eq!(stream.conn.alpn_protocol(), Some(protocol.as_bytes()));
    }
    let mut plain = server.connect();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    assert!(!answer.starts_with(b"HTTP"), "nothing is said in the clear");
}

#[test]
fn a_certificate_is_replaced_without_a_restart_and_a_bad_one_is_not_used() {
    let home = Home::new();
    let first = write_identity(&home, [2020, 2999]);
    let server = Server::start(&mut command(&home));
    let mut kept = connect(&server, &[&first], "http/1.1");
    kept.flush().unwrap();
    assert!(warnings(&server, &[&first]).is_empty());

    // What does not fit its key, or has expired, is told, and the first one goes on.
    let key = fs::read(home.path("key.pem")).unwrap();
    write_identity(&home, [2020, 2998]);
    fs::write(home.path("key.pem"), key).unwrap();
    wait_for(|| {
        let told = warnings(&server, &[&first]).join("\n");
        told.contains("certificate-refused") && told.contains("cannot be used together")
    });
    write_identity(&home, [2020, 2021]);
    server.signal("HUP");
    wait_for(|| warnings(&server, &[&first]).join("\n").contains("has expired"));

    let second = write_identity(&home, [2020, 2997]);
    let both = [&first, &second];
    let presented = || {
        let mut stream = connect(&server, &both, "http/1.1");
        let metrics = get(&mut stream, "/metrics");
        (stream.conn.peer_certificates().unwrap()[0].clone(), metrics)
    };
    wait_for(|| presented().0 == second);
    wait_for(|| warnings(&server, &both).is_empty());
    // As `date -u -d 2020-01-01 +%s` has it.
    assert!(presented().1.contains("\ntls_certificate_not_before_seconds 1577836800\n"));
    // As `date -u -d 2997-01-01 +%s` has it.
    wait_for(|| presented().1.contains("\ntls_certificate_not_after_seconds 32409072000\n"));
    assert!(get(&mut kept, "/health").contains("alive"), "an open connection goes on");
}

#[test]
fn a_server_starts_with_an_expired_certificate_and_replaces_it() {
    let home = Home::new();
    write_identity(&home, [2020, 2021]);
    let server = Server::start(&mut command(&home));
    let second = write_identity(&home, [2020, 2999]);
    // No client that checks certificates takes the expired one.
    wait_for(|| connect(&server, &[&second], "http/1.1").flush().is_ok());
    assert!(warnings(&server, &[&second]).is_empty());
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("new connections get the new TLS certificate"), "{log}");
}
