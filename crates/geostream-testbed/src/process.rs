//! What every server needs: a directory, a port, and commands that succeed.

use std::net::TcpListener;
use std::process::Command;

use tempfile::TempDir;

use crate::account::Account;

/// How often another port is tried, where somebody has taken one since it was seen to be free.
const ATTEMPTS: usize = 5;

/// Starts a server on a port that nobody else has; what does not start returns its log.
pub(crate) fn start_on_a_free_port(name: &str, mut start: impl FnMut(u16) -> Result<(), String>) {
    for _ in 0..ATTEMPTS {
        match start(free_port()) {
            Ok(()) => return,
            Err(log) if log.to_lowercase().contains("address already in use") => {}
            Err(log) => panic!("{name} does not start:\n{log}"),
        }
    }
    panic!("somebody else is faster at every port");
}

/// Makes a directory that the account has which servers run as.
pub(crate) fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    if let Some(account) = Account::unprivileged() {
        account.own(directory.path());
    }
    directory
}

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
