//! PostgreSQL.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::account::Account;
use crate::keeper::Keeper;
use crate::process::{directory, said, start_on_a_free_port};

/// A PostgreSQL server of one's own; dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    /// `None` while it is stopped. It comes first: what it keeps goes before its directory.
    keeper: Option<Keeper>,
    directory: TempDir,
    port: u16,
    settings: Vec<String>,
    /// The megabytes that its disk has, where it has one of its own.
    room: Option<u32>,
    /// What it says when it is ready.
    ready: &'static str,
    databases: AtomicU32,
}

const READY: &str = "database system is ready to accept connections";
const REPLICA_READY: &str = "database system is ready to accept read-only connections";

/// Nothing of a test outlives the machine's next crash.
const SETTINGS: &[&str] = &["fsync=off", "shared_buffers=16MB", "max_connections=40"];

impl Postgres {
    /// Returns the server that the tests of a process share: each makes a database of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// Starts a server, with settings such as `max_connections=5`.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        let settings = SETTINGS.iter().chain(settings).map(|&setting| setting.to_owned());
        let server = Self::new(settings.collect(), READY);
        server.make_cluster();
        server.on_a_free_port()
    }

    /// Tells whether this machine permits a server to have a disk of its own: some let nobody but
    /// root make namespaces.
    #[must_use]
    pub fn may_have_room() -> bool {
        let server = Self::new(Vec::new(), READY);
        let tried = server.alone().args(["-c", "mount -t tmpfs none /tmp"]).output();
        tried.is_ok_and(|output| output.status.success())
    }

    /// Starts a server whose data is on a small disk of its own, in memory, where
    /// [that is permitted](Self::may_have_room).
    ///
    /// It is gone when the server stops, and nobody else sees it: neither [`Self::keep`] nor
    /// [`Self::freeze`] reach there.
    #[must_use]
    pub fn with_room(megabytes: u32) -> Self {
        let settings = SETTINGS.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Self::new(settings, READY);
        server.room = Some(megabytes);
        server.make_cluster();
        server.on_a_free_port()
    }

    /// Fills what room there is on the server's disk.
    pub fn fill_disk(&self) {
        let file = self.data().join("fill");
        // It says that there is no room left, which is what is wanted.
        let fill = format!(
            "DO $$ BEGIN COPY (SELECT repeat('x', 1000000) FROM generate_series(1, 10000))
             TO '{}'; EXCEPTION WHEN disk_full THEN END $$",
            file.display()
        );
        self.sql(&self.url("postgres"), &fill);
    }

    /// Removes what fills the disk.
    pub fn clear_disk(&self) {
        let file = self.data().join("fill");
        let clear = format!("COPY (SELECT) TO PROGRAM 'rm {}'", file.display());
        self.sql(&self.url("postgres"), &clear);
    }

    /// Starts a server that follows this one and takes no writes.
    #[must_use]
    pub fn replica(&self) -> Self {
        let replica = Self::new(self.settings.clone(), REPLICA_READY);
        let mut backup = replica.command(&programs().join("pg_basebackup"));
        backup.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-password"]);
        backup.args(["--username=geostream", "--host=127.0.0.1", "--port"]);
        backup.arg(self.port.to_string()).arg("--pgdata").arg(replica.data());
        said(&mut backup);
        replica.on_a_free_port()
    }

    fn new(settings: Vec<String>, ready: &'static str) -> Self {
        let directory = directory();
        let (keeper, databases) = (None, AtomicU32::new(0));
        Self { keeper, directory, port: 0, settings, room: None, ready, databases }
    }

    fn on_a_free_port(mut self) -> Self {
        start_on_a_free_port("PostgreSQL", |port| {
            self.port = port;
            self.run()
        });
        self
    }

    /// Has every commit wait until the replica has it, from now on.
    pub fn wait_for_replica(&self) {
        let url = self.url("postgres");
        self.sql(&url, "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql(&url, "SELECT pg_reload_conf()");
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        // Asking takes a process each time, which is the pause.
        let is_synchronous = (0..1_000).any(|_| self.sql(&url, synchronous) == "1");
        assert!(is_synchronous, "no replica comes to be a synchronous one");
    }

    /// Makes a replica a server of its own, which takes writes.
    pub fn promote(&mut self) {
        assert_eq!(self.sql(&self.url("postgres"), "SELECT pg_promote()"), "t", "it is a replica");
        self.ready = READY;
    }

    /// Returns the port of 127.0.0.1 that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database and returns its URL.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&self.url("postgres"), &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Returns the URL of a database, for its owner.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://geostream@127.0.0.1:{}/{database}", self.port)
    }

    /// Has psql run statements in the database of this URL, and returns what they answer: a line
    /// for each row, with `|` between its columns.
    pub fn sql(&self, url: &str, statements: &str) -> String {
        let mut psql = Command::new(programs().join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password"]);
        psql.args(["--set", "ON_ERROR_STOP=1", "--command", statements, url]);
        said(&mut psql)
    }

    /// Ends what a role has open, and waits for it for up to ten seconds.
    ///
    /// What a role is to be bound by has to be committed before: it may connect again at once.
    pub fn end_connections(&self, role: &str) {
        let end = format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{role}'"
        );
        self.sql(&self.url("postgres"), &end);
    }

    /// Writes a file that the server can read, such as `data/pg_hba.conf`, and returns its path.
    pub fn keep(&self, name: &str, content: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("the directory is there");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it was just made");
        if let Some(account) = Account::unprivileged() {
            account.own(&path);
        }
        path.to_string_lossy().into_owned()
    }

    /// Stops the server as an operator does, if it runs.
    pub fn stop(&mut self) {
        self.stop_by("INT");
    }

    /// Has the server end at once, so that it has to recover when it is started again.
    pub fn kill(&mut self) {
        self.stop_by("QUIT");
    }

    /// Ends the server's first process without a chance to do anything; the others notice.
    pub fn kill_dead(&mut self) {
        self.stop_by("KILL");
    }

    /// Starts the server again after it was stopped.
    pub fn start_again(&mut self) {
        loop {
            match self.run() {
                Ok(()) => return,
                // Processes of a server that was killed dead take a moment to notice.
                Err(log) if log.contains("is still in use") => {}
                Err(log) => panic!("PostgreSQL does not start again:\n{log}"),
            }
        }
    }

    /// Stops the server's processes where they are: it accepts connections, and does not answer.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn stop_by(&mut self, signal: &str) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop(signal);
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn make_cluster(&self) {
        let mut initdb = self.command(&programs().join("initdb"));
        initdb.args(["--username=geostream", "--auth=trust", "--no-sync", "--no-instructions"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--pgdata"]).arg(self.data());
        said(&mut initdb);
    }

    fn run(&mut self) -> Result<(), String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let directory = text(self.directory.path().to_owned());
        let mut server = self.on_its_disk();
        server.extend([text(programs().join("postgres")), "-D".to_owned()]);
        server.extend([text(self.data()), "-p".to_owned(), self.port.to_string()]);
        let places = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={directory}"),
        ];
        let settings = self.settings.iter().cloned().chain(places);
        server.extend(settings.flat_map(|setting| ["-c".to_owned(), setting]));
        let shell = match self.room {
            Some(_) => self.alone(),
            None => self.command(Path::new("/bin/sh")),
        };
        self.keeper = Some(Keeper::start(shell, self.directory.path(), &server, self.ready)?);
        Ok(())
    }

    /// Returns what is to run before the server, in its place: it moves the data to its own disk.
    fn on_its_disk(&self) -> Vec<String> {
        let Some(megabytes) = self.room else { return Vec::new() };
        let move_data = format!(
            r#"cp -a data data.copy && mount -t tmpfs -o size={megabytes}m,mode=0700 none data &&
               cp -a data.copy/. data && exec "$@""#
        );
        ["/bin/sh", "-c", &move_data, "sh"].map(str::to_owned).to_vec()
    }

    /// Returns a shell that may mount disks which nobody else sees.
    fn alone(&self) -> Command {
        let mut shell = self.command(Path::new("unshare"));
        shell.args(["--user", "--map-current-user", "--keep-caps", "--mount", "/bin/sh"]);
        shell
    }

    /// Returns a command that runs as the server does.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(account) = Account::unprivileged() {
            account.run(&mut command);
        }
        // What is inherited may be a directory that the server must not see.
        command.current_dir(self.directory.path());
        command
    }

    /// Sends a signal to the first process and then to those that it has started.
    fn signal(&self, signal: &str) {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        let first = file.lines().next().expect("the first line is its number");
        said(Command::new("kill").args(["-s", signal, first]));
        said(Command::new("pkill").args([&format!("-{signal}"), "-P", first]));
    }
}

/// Returns where the newest PostgreSQL's programs are: Debian keeps them off the `PATH`.
fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = installed.map(|version| version.path().join("bin"));
    let newest = programs.filter(|programs| programs.join("initdb").exists()).max();
    newest.expect("this test needs PostgreSQL: apt-get install postgresql")
}
