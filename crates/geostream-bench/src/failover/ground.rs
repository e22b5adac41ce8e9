//! What the lab stands on: namespaces of its own, so that packets can be dropped and names removed.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::process::{now, pause};
use xtask::debian::{self, Package};
use xtask::shell::{command, has, output, root, run as run_command, say};

/// Marks the process that is inside the namespaces.
const INSIDE: &str = "GEOSTREAM_LAB";

/// What makes namespaces, and drops packets in them.
const TOOLS: &[Package] = &[
    ("iptables", || has("iptables")),
    ("util-linux", || has("unshare")),
    ("iproute2", || output(Command::new("ip").arg("-V")).is_ok()),
];

/// Tells whether this process has namespaces of its own.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Builds what the lab runs, and does the same task again in namespaces that end with it.
pub(crate) fn go_inside() -> anyhow::Result<()> {
    let user = output(command("id").arg("-u"))?;
    ensure!(
        user.trim() == "0",
        "only root may drop packets; run it as root: sudo -E env \"PATH=$PATH\" cargo xtask bench failover"
    );
    debian::install(TOOLS)?;
    let mut inside = command("unshare");
    inside.args(["--net", "--mount"]).arg(built("geostream-bench"));
    inside.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let status = inside.status().context("making namespaces")?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Sets up the network, the names and the certificates of the lab.
pub(crate) fn prepare() -> anyhow::Result<()> {
    run_command(command("ip").args(["link", "set", "lo", "up"]))?;
    let directory = directory();
    if directory.exists() {
        fs::remove_dir_all(&directory).context("removing the data of an earlier run")?;
    }
    fs::create_dir_all(&directory)?;
    // Names are in one file and nowhere else.
    let files = [
        ("hosts", "127.0.0.1 localhost\n"),
        ("nsswitch.conf", "hosts: files\n"),
        ("resolv.conf", ""),
    ];
    for (name, content) in files {
        let ours = directory.join(name);
        fs::write(&ours, content)?;
        output(command("mount").arg("--bind").arg(&ours).arg(Path::new("/etc").join(name)))?;
    }
    make_certificates(&directory)
}

/// Returns where the lab keeps its files.
pub(crate) fn directory() -> PathBuf {
    root().join("target/bench-failover")
}

/// Returns a program that was built for the lab.
pub(crate) fn built(program: &str) -> PathBuf {
    root().join("target/release").join(program)
}

/// Returns a port that nobody else in the lab has or will have.
pub(crate) fn port() -> anyhow::Result<u16> {
    // Below those that the system gives to whoever asks for any.
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    ensure!(port < 32_000, "the lab has no more ports");
    Ok(port)
}

/// Makes a certificate that is valid and one that has run out, by one authority.
fn make_certificates(directory: &Path) -> anyhow::Result<()> {
    let key = rcgen::KeyPair::generate()?;
    for (file, year) in [("valid.pem", 2999), ("expired.pem", 2001)] {
        let mut params = rcgen::CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string()])?;
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        fs::write(directory.join(file), params.self_signed(&key)?.pem())?;
    }
    Ok(fs::write(directory.join("key.pem"), key.serialize_pem())?)
}

/// A name of the loopback address.
#[derive(Debug)]
pub(crate) struct HostName {
    pub(crate) name: String,
    hosts: File,
    offset: u64,
}

impl HostName {
    pub(crate) fn new(name: String) -> anyhow::Result<Self> {
        // Several append at the same time, and each has to know where.
        static APPENDING: Mutex<()> = Mutex::new(());
        let _appending = APPENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = directory().join("hosts");
        let offset = fs::metadata(&path)?.len();
        let mut end = OpenOptions::new().append(true).open(&path)?;
        end.write_all(format!("127.0.0.1 {name}\n").as_bytes())?;
        Ok(Self { name, hosts: OpenOptions::new().write(true).open(&path)?, offset })
    }

    /// Makes a comment of it: of one byte nobody reads a half.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        Ok(self.hosts.write_all_at(b"#", self.offset)?)
    }

    pub(crate) fn restore(&self) -> anyhow::Result<()> {
        Ok(self.hosts.write_all_at(b"1", self.offset)?)
    }
}

/// A rule about packets that holds as long as it is kept.
#[derive(Debug)]
pub(crate) struct Rule(Vec<String>);

impl Rule {
    /// Drops a share of the packets to these ports, and of those that come back from them.
    pub(crate) fn drop(ports: &[u16], share: f64) -> anyhow::Result<[Self; 2]> {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let (ports, share) = (ports.join(","), format!("{share:.3}"));
        let rule = |direction| {
            Self::new(&format!(
                "-p tcp -m multiport {direction} {ports} -m statistic --mode random --probability {share} -j DROP"
            ))
        };
        Ok([rule("--dports")?, rule("--sports")?])
    }

    fn new(rule: &str) -> anyhow::Result<Self> {
        let rule: Vec<String> = rule.split(' ').map(str::to_owned).collect();
        let mut add = Command::new("iptables");
        output(add.args(["--wait", "--append", "INPUT"]).args(&rule))?;
        Ok(Self(rule))
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let mut delete = Command::new("iptables");
        delete.args(["--wait", "--delete", "INPUT"]).args(&self.0).output().ok();
    }
}

/// Does something in several threads, and returns what each has brought.
pub(crate) fn at_once<T: Send, W: Send>(
    works: impl IntoIterator<Item = W>,
    work: impl Fn(W) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = works.into_iter().map(|of| scope.spawn(move || work(of))).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a run has panicked"),
        });
        joined.collect()
    })
}

/// Waits, and says now and then how far it is.
pub(crate) fn wait(what: &str, duration: Duration) {
    const SAID_EVERY: Duration = Duration::from_secs(60);
    let (began, minutes) = (now(), duration.as_secs_f64() / 60.0);
    while now() - began < duration {
        let passed = (now() - began).as_secs_f64() / 60.0;
        say(&format!("{what}: {passed:.1} of {minutes:.1} minutes"));
        pause(SAID_EVERY.min(duration.saturating_sub(now() - began)));
    }
}
