//! What every server needs: a port, and commands that succeed.

use std::net::TcpListener;
use std::process::Command;

/// How often another port is tried, where somebody has taken one since it was seen to be free.
pub(crate) const ATTEMPTS: usize = 5;

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
    listener.local_addr().expect("it listens").port()
}

/// Runs a command that is to succeed, and returns what it says.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
