//! Processes that end with the test, even if it is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// Keeps a server until it is told to stop it, or until there is nobody left to tell it: then the
/// server's directory goes as well.
///
/// The log ends with the server: the keeper itself has none. PostgreSQL, Redis and Prometheus end at
/// once by QUIT, `PgBouncer` by TERM. Redis and rotel log to standard output.
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
    log: Arc<Log>,
}

/// What a server has said so far.
#[derive(Debug, Default)]
struct Log {
    text: Mutex<String>,
    longer: Condvar,
}

impl Log {
    fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &str) {
        let mut text = self.text();
        text.push_str(line);
        text.push('\n');
        self.longer.notify_all();
    }
}

/// Longer than any server takes to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server is silent between two things that it says.
const MOMENT: Duration = Duration::from_millis(100);

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
        Self { shell: shell.spawn().expect("there is a shell"), log: Arc::default() }
    }

    /// Tells when the server is ready, or else its log.
    fn listen(&mut self, ready: &'static str) -> mpsc::Receiver<Result<(), String>> {
        let shell = &mut self.shell;
        let log = BufReader::new(shell.stderr.take().expect("it is piped"));
        let (tell, told) = mpsc::channel();
        let kept = Arc::clone(&self.log);
        // Somebody has to read on, or the server would wait for room in the pipe.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains(ready) {
                    tell.send(Ok(())).ok();
                }
                kept.push(&line);
            }
            tell.send(Err(kept.text().clone())).ok();
        });
        told
    }

    /// Returns what the server has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.text().clone()
    }

    /// Waits until what the server has said is enough, and returns it; else the error is what it has
    /// said in a time in which it should have been.
    pub(crate) fn wait_for(&self, is_enough: impl Fn(&str) -> bool) -> Result<String, String> {
        let too_little = |text: &mut String| !is_enough(text);
        let waited = self.log.longer.wait_timeout_while(self.log.text(), PATIENCE, too_little);
        let (text, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() { Err(text.clone()) } else { Ok(text.clone()) }
    }

    /// Waits until the server is at the end of what it is saying, and returns what it has said.
    pub(crate) fn settled(&self) -> String {
        let mut text = self.log.text();
        loop {
            let before = text.len();
            let is_silent = |text: &mut String| text.len() == before;
            let waited = self.log.longer.wait_timeout_while(text, MOMENT, is_silent);
            let (now, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() {
                return now.clone();
            }
            text = now;
        }
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
