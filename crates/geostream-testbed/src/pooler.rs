//! `PgBouncer`, which pools connections.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::account::Account;
use crate::keeper::Keeper;
use crate::postgres::Postgres;
use crate::process::{directory, free_port};

/// A pooler before a server: it hands each transaction to any of two connections.
#[derive(Debug)]
pub struct Pooler {
    _keeper: Keeper,
    _directory: TempDir,
    port: u16,
}

impl Pooler {
    /// Starts a pooler in transaction mode.
    #[must_use]
    pub fn start(server: &Postgres) -> Self {
        let directory = directory();
        let file = directory.path().join("pgbouncer.ini");
        let port = free_port();
        let text = format!(
            "[databases]
             * = host=127.0.0.1 port={} user=geostream
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = any
             pool_mode = transaction
             default_pool_size = 2",
            server.port()
        );
        // Its format has no room before a name.
        let text = text.lines().map(|line| line.trim().to_owned() + "\n").collect::<String>();
        fs::write(&file, text).expect("the directory is new");
        let mut shell = Command::new("/bin/sh");
        if let Some(account) = Account::unprivileged() {
            account.own(&file);
            account.run(&mut shell);
        }
        let program = Path::new("/usr/sbin/pgbouncer");
        assert!(program.exists(), "this test needs PgBouncer: apt-get install pgbouncer");
        let command = [program, &file].map(|path| path.to_string_lossy().into_owned());
        let started = Keeper::start(shell, directory.path(), &command, "process up");
        let keeper = started.unwrap_or_else(|log| panic!("PgBouncer does not start:\n{log}"));
        Self { _keeper: keeper, _directory: directory, port }
    }

    /// Returns the URL that leads through the pooler to where this one leads.
    #[must_use]
    pub fn url(&self, server: &Postgres, url: &str) -> String {
        url.replace(&format!(":{}/", server.port()), &format!(":{}/", self.port))
    }
}
