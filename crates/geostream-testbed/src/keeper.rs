//! Processes that end with the test, even if it is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// Keeps a server until it is told to stop it, or until there is nobody left to tell it: then the
/// server's directory goes as well.
///
/// The log ends with the server: the keeper itself has none. PostgreSQL, Redis and Prometheus end at
/// once by QUIT, `PgBouncer` by TERM. Redis logs to standard output.
const SCRIPT: &str = r#"
directory=$1; shift
"$@" >&2 &
exec 2>/dev/null
if read -r signal; then
    kill -s "$signal" $!
    wait $!
else
    kill -s CONT $!
    pkill -CONT -P $!
    kill -s QUIT $!
    kill -s TERM $!
    wait $!
    rm -rf "$directory"
fi
"#;

/// A server's process.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
}

impl Keeper {
    /// Starts a server, and waits until it says in its log that it is ready.
    ///
    /// Returns the log of one that has ended before.
    pub(crate) fn start(
        command: Command,
        directory: &Path,
        server: &[String],
        ready: &'static str,
    ) -> Result<Self, String> {
        let mut keeper = Self::spawn(command, directory, server);
        let told = keeper.listen(ready);
        let nothing = Err("it has said nothing".to_owned());
        told.recv().unwrap_or(nothing).map(|()| keeper)
    }

    fn spawn(mut command: Command, directory: &Path, server: &[String]) -> Self {
        command.args(["-c", SCRIPT, "keeper"]).arg(directory).args(server).current_dir(directory);
        let shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self { shell: shell.spawn().expect("there is a shell") }
    }

    /// Tells when the server is ready, or else its log.
    fn listen(&mut self, ready: &'static str) -> mpsc::Receiver<Result<(), String>> {
        let shell = &mut self.shell;
        let log = BufReader::new(shell.stderr.take().expect("it is piped"));
        let (tell, told) = mpsc::channel();
        // Somebody has to read on, or the server would wait for room in the pipe.
        std::thread::spawn(move || {
            let mut text = String::new();
            for line in log.lines().map_while(Result::ok) {
                if line.contains(ready) {
                    tell.send(Ok(())).ok();
                }
                text = text + &line + "\n";
            }
            tell.send(Err(text)).ok();
        });
        told
    }

    /// Has the server end by this signal, and waits for it.
    pub(crate) fn stop(mut self, signal: &str) {
        let mut stdin = self.shell.stdin.take().expect("it is piped");
        writeln!(stdin, "{signal}").expect("the keeper is there");
        self.shell.wait().expect("the keeper ends with its server");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Without anybody to tell it what to do, the keeper stops its server and ends.
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}
