//! Redis: alone, with a replica under a sentinel, and as a cluster.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::account::Account;
use crate::keeper::Keeper;
use crate::process::{directory, free_port, said, start_on_a_free_port};

/// A Redis server of one's own, which keeps nothing on disk; dropping it stops it.
#[derive(Debug)]
pub struct Redis {
    /// `None` while it is stopped. It comes first: what it keeps goes before its directory.
    keeper: Option<Keeper>,
    directory: TempDir,
    port: u16,
    kind: Kind,
    settings: Vec<String>,
}

/// What the program is started as.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Server,
    /// A server that speaks TLS only.
    Secure,
    Sentinel,
}

/// What a sentinel calls the server that it watches over.
const WATCHED: &str = "geostream";

impl Redis {
    /// Returns the server that the tests of a process share: each takes a [`prefix`](Self::prefix)
    /// of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// Returns what nobody else's keys begin with.
    #[must_use]
    pub fn prefix() -> String {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        format!("test{}", TAKEN.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts a server, with settings such as `maxmemory 2mb`.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        Self::new(Kind::Server, settings).on_a_free_port()
    }

    /// Starts a server that speaks TLS only, with this certificate and its key, as PEM.
    #[must_use]
    pub fn start_secure(certificate: &str, key: &str) -> Self {
        let server = Self::new(Kind::Secure, &[]);
        server.keep("certificate.pem", certificate);
        server.keep("key.pem", key);
        server.on_a_free_port()
    }

    /// Starts a server that repeats what this one does.
    #[must_use]
    pub fn start_replica(&self) -> Self {
        let replica = Self::start(&[&format!("replicaof 127.0.0.1 {}", self.port)]);
        replica.wait_for("info replication", "master_link_status:up");
        replica
    }

    /// Starts a sentinel, which alone decides that this server is gone, and promotes its replica.
    #[must_use]
    pub fn start_sentinel(&self) -> Self {
        let settings = [
            &format!("sentinel monitor {WATCHED} 127.0.0.1 {} 1", self.port)[..],
            &format!("sentinel down-after-milliseconds {WATCHED} 500"),
            &format!("sentinel failover-timeout {WATCHED} 3000"),
        ];
        let sentinel = Self::new(Kind::Sentinel, &settings).on_a_free_port();
        sentinel.wait_for(&format!("sentinel replicas {WATCHED}"), "127.0.0.1:");
        sentinel
    }

    /// Starts three primaries that share the keys.
    #[must_use]
    pub fn start_cluster() -> [Self; 3] {
        let start = |_| {
            let bus = format!("cluster-port {}", free_port());
            Self::start(&["cluster-enabled yes", "cluster-node-timeout 1000", &bus])
        };
        let nodes: [Self; 3] = [(); 3].map(start);
        let addresses = nodes.each_ref().map(|node| format!("127.0.0.1:{}", node.port));
        let mut create = Command::new(CLIENT);
        said(create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes"));
        for node in &nodes {
            node.wait_for("cluster info", "cluster_state:ok");
        }
        nodes
    }

    /// Returns the port of 127.0.0.1 that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's URL; where it is a sentinel, that of the server that it watches over.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.port;
        match self.kind {
            Kind::Server => format!("redis://127.0.0.1:{port}"),
            // Certificates are made out to names.
            Kind::Secure => format!("rediss://localhost:{port}"),
            Kind::Sentinel => {
                format!("redis-sentinel://127.0.0.1:{port}/0?sentinelServiceName={WATCHED}")
            }
        }
    }

    /// Has redis-cli send a command, whose words have no spaces, and returns what it answers.
    pub fn ask(&self, command: &str) -> String {
        said(self.client().args(command.split(' ')))
    }

    /// Stops the server as an operator does, if it runs.
    pub fn stop(&mut self) {
        self.stop_by("TERM");
    }

    /// Has the server end at once.
    pub fn kill(&mut self) {
        self.stop_by("KILL");
    }

    /// Starts the server again after it was stopped: it is empty.
    pub fn start_again(&mut self) {
        if let Err(log) = self.run() {
            panic!("Redis does not start again:\n{log}");
        }
    }

    /// Stops the server where it is: it accepts connections, and does not answer.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Waits until the answer to a command contains this, for as long as no machine should need.
    pub fn wait_for(&self, command: &str, expected: &str) {
        for _ in 0..20_000 {
            let mut client = self.client();
            let output = client.args(command.split(' ')).output().expect("there is a client");
            if String::from_utf8_lossy(&output.stdout).replace('\r', "").contains(expected) {
                return;
            }
            // Starting a process is the pause.
        }
        panic!("{command:?} does not come to say {expected:?}: {}", self.ask(command));
    }

    fn new(kind: Kind, settings: &[&str]) -> Self {
        assert!(Path::new(PROGRAM).exists(), "this test needs Redis: apt-get install redis-server");
        let directory = directory();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        Self { keeper: None, directory, port: 0, kind, settings }
    }

    fn on_a_free_port(mut self) -> Self {
        start_on_a_free_port("Redis", |port| {
            self.port = port;
            self.run()
        });
        self
    }

    fn run(&mut self) -> Result<(), String> {
        // A sentinel writes into its own.
        let file = self.keep("redis.conf", &self.configuration());
        let mut shell = Command::new("/bin/sh");
        if let Some(account) = Account::unprivileged() {
            account.run(&mut shell);
        }
        let mut server = vec![PROGRAM.to_owned(), file];
        let ready = match self.kind {
            Kind::Server | Kind::Secure => "Ready to accept connections",
            Kind::Sentinel => {
                server.push("--sentinel".to_owned());
                "+monitor master"
            }
        };
        self.keeper = Some(Keeper::start(shell, self.directory.path(), &server, ready)?);
        Ok(())
    }

    fn configuration(&self) -> String {
        let (port, place) = (self.port, self.directory.path().display());
        let listen = match self.kind {
            Kind::Server | Kind::Sentinel => format!("port {port}"),
            Kind::Secure => format!(
                "port 0\ntls-port {port}\ntls-auth-clients no\ntls-key-file {place}/key.pem\n\
                 tls-cert-file {place}/certificate.pem\ntls-ca-cert-file {place}/certificate.pem"
            ),
        };
        let settings = self.settings.join("\n");
        format!(
            "bind 127.0.0.1\n{listen}\ndir {place}\npidfile {place}/pid\n{ALWAYS}\n{settings}\n"
        )
    }

    /// Writes a file that the server can read, and returns its path.
    fn keep(&self, name: &str, content: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("the directory is there");
        if let Some(account) = Account::unprivileged() {
            account.own(&path);
        }
        path.to_string_lossy().into_owned()
    }

    fn stop_by(&mut self, signal: &str) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop(signal);
        }
    }

    fn client(&self) -> Command {
        let mut client = Command::new(CLIENT);
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        client
    }

    fn signal(&self, signal: &str) {
        let process = fs::read_to_string(self.directory.path().join("pid")).expect("it runs");
        said(Command::new("kill").args(["-s", signal, process.trim()]));
    }
}

/// Nothing is kept on disk, and nothing waits for other replicas.
const ALWAYS: &str = "save \"\"\nrepl-diskless-sync-delay 0";

const PROGRAM: &str = "/usr/bin/redis-server";
const CLIENT: &str = "/usr/bin/redis-cli";
