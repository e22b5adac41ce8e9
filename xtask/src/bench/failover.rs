//! `bench failover`: how long clients are still sent to a region that has just died.
//!
//! Each run has a server of its own at its defaults, and three regions, which are processes. A fault
//! is caused for real at a random moment; from then on the server is asked until it avoids the
//! region and stays away from it. All this happens in a network namespace that the lab makes, so
//! that packets can be dropped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::bench::{Figure, Options};
use crate::shell::{cargo, command, has, output, root, run as run_command, say};

/// What happens to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Stopped,
    Reset,
    BlackHole,
    Error,
    Body,
    Slow,
    /// Killed, while clients report what comes of each of their fifty requests a second.
    KilledWithReports,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::Killed,
        Self::Stopped,
        Self::Reset,
        Self::BlackHole,
        Self::Error,
        Self::Body,
        Self::Slow,
        Self::KilledWithReports,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "process killed",
            Self::Stopped => "process stopped",
            Self::Reset => "connections reset",
            Self::BlackHole => "packets dropped",
            Self::Error => "status 500",
            Self::Body => "wrong body",
            Self::Slow => "five seconds slow",
            Self::KilledWithReports => "killed, 50 reports/s",
        }
    }

    /// The most seconds that the slowest run may take.
    fn bar(self) -> f64 {
        if self == Self::KilledWithReports { 1.0 } else { 3.0 }
    }
}

/// How many runs go on at the same time: they mostly wait.
const AT_ONCE: usize = 6;

/// How long the region has to stay away.
const STAYS_AWAY: Duration = Duration::from_secs(1);

/// Marks the process that is inside the namespace already.
const INSIDE: &str = "GEOSTREAM_LAB";

pub(crate) fn run(options: Options) -> anyhow::Result<Vec<Figure>> {
    ensure!(has("iptables"), "iptables is missing; install it: apt-get install iptables");
    if std::env::var_os(INSIDE).is_none() {
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "-p", "geostream-server", "-p", "xtask"]);
        run_command(build.stdout(std::io::stderr()))?;
        return go_inside();
    }
    run_command(command("ip").args(["link", "set", "lo", "up"]))?;
    let runs = if options.quick { 6 } else { 30 };
    let mut figures = Vec::new();
    for fault in Fault::ALL {
        let mut seconds = Vec::new();
        while seconds.len() < runs {
            let batch = AT_ONCE.min(runs - seconds.len());
            seconds.extend(at_once(batch, |cell| measure(fault, seconds_seed(cell)))?);
        }
        seconds.sort_by(f64::total_cmp);
        let at = |share: usize| seconds[(seconds.len() - 1) * share / 100];
        let (least, median, most) = (at(0), at(50), at(100));
        say(&format!("{:22} min {least:.2} s, p50 {median:.2} s, max {most:.2} s", fault.name()));
        figures.push(Figure::shown(format!("{}, median", fault.name()), median, "s"));
        let slowest = Figure::shown(format!("{}, slowest of {runs}", fault.name()), most, "s");
        figures.push(slowest.at_most(fault.bar()));
    }
    let minutes = if options.quick { 0.5 } else { 5.0 };
    for percent in [1, 5] {
        let removed = lose(percent, Duration::from_secs_f64(minutes * 60.0))?;
        let what = format!("regions removed in {minutes} min at {percent} % packet loss");
        let figure = Figure::shown(what, removed, "");
        figures.push(if percent == 1 { figure.at_most(0.0) } else { figure });
    }
    let removed = at_once(1, |_| cut_off())?.iter().sum();
    figures.push(
        Figure::shown("regions removed by a prober that is cut off", removed, "").at_most(0.0),
    );
    Ok(figures)
}

/// Runs the same task again in a network namespace, which ends with it.
fn go_inside() -> anyhow::Result<Vec<Figure>> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut inside = command("unshare");
    inside.arg("--net").arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let status = inside.status().context("making a network namespace")?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Does something in several threads, and returns what each has brought.
fn at_once<T: Send>(
    count: usize,
    work: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a run has panicked"),
        });
        joined.collect()
    })
}

/// Causes a fault, and returns how many seconds clients were sent to the region after it.
fn measure(fault: Fault, wait: Duration) -> anyhow::Result<f64> {
    let mut world = World::new()?;
    pause(wait);
    let broken = now();
    world.cause(fault)?;
    let mut reporter = world.reporter()?;
    let mut reported = broken;
    let (mut last, deadline) = (broken, broken + Duration::from_secs(20));
    while now() - last < STAYS_AWAY {
        ensure!(now() < deadline, "{fault:?}: the region is still answered");
        let asked = now();
        if world.decide()? == "r0" {
            last = asked;
        }
        if fault == Fault::KilledWithReports && now() - reported >= Duration::from_millis(20) {
            reported = now();
            world.report(&mut reporter)?;
        }
        pause(Duration::from_millis(1));
    }
    Ok((last - broken).as_secs_f64())
}

/// Drops a share of all packets, and returns how many regions were removed meanwhile.
fn lose(percent: u32, duration: Duration) -> anyhow::Result<f64> {
    let removed = at_once(4, |_| {
        let world = World::new()?;
        let rule = Rule::new(&[
            "-p",
            "tcp",
            "-m",
            "multiport",
            "--dports",
            &world.ports(),
            "-m",
            "statistic",
            "--mode",
            "random",
            "--probability",
            &format!("{:.2}", f64::from(percent) / 100.0),
            "-j",
            "DROP",
        ])?;
        let removed = world.count_removals(duration)?;
        drop(rule);
        Ok(removed)
    })?;
    Ok(removed.iter().sum())
}

/// Cuts the server off from all its regions, and returns how many it removes.
fn cut_off() -> anyhow::Result<f64> {
    let world = World::new()?;
    let _rule =
        Rule::new(&["-p", "tcp", "-m", "multiport", "--dports", &world.ports(), "-j", "DROP"])?;
    let removed = world.count_removals(Duration::from_secs(15))?;
    let abstaining = world.health()?.iter().filter(|region| region["abstains"] == true).count();
    ensure!(abstaining == 3, "{abstaining} of 3 regions are said to be abstained from");
    Ok(removed)
}

/// A server and three regions.
struct World {
    _server: Process,
    address: SocketAddr,
    token: String,
    regions: Vec<Region>,
    data: PathBuf,
    connection: std::cell::RefCell<Connection>,
    rules: Vec<Rule>,
}

struct Region {
    process: Process,
    port: u16,
}

/// A process that ends with whoever has started it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already.
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

impl World {
    fn new() -> anyhow::Result<Self> {
        let regions: Vec<Region> =
            (0..3).map(|_| Region::start()).collect::<anyhow::Result<_>>()?;
        let data = root().join("target/bench-failover").join(regions[0].port.to_string());
        if data.exists() {
            fs::remove_dir_all(&data).context("removing the data of an earlier run")?;
        }
        fs::create_dir_all(&data)?;
        let config = data.join("regions.toml");
        fs::write(&config, declaration(&regions))?;
        let mut server = command(&root().join("target/release/geostream-server").to_string_lossy());
        server.args(["--log-format", "json", "--workers", "1", "--probe-network", "127.0.0.0/8"]);
        server.args(["--listen", "127.0.0.1:0"]);
        server.arg("--bootstrap").arg(&config).arg("--data-dir").arg(&data);
        let server = server.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut server = Process(server);
        let log = server.0.stderr.take().context("the server's log")?;
        let mut log = BufReader::new(log).lines();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            event["address"].as_str()?.parse().ok()
        });
        let address = address.context("the server has not started")?;
        // Somebody has to read on, or the server would wait for room in the pipe.
        thread::spawn(move || log.map_while(Result::ok).count());
        let token = fs::read_to_string(data.join("admin.token")).context("reading the token")?;
        let token = token.trim().to_owned();
        let connection = std::cell::RefCell::new(Connection::open(address)?);
        let rules = Vec::new();
        let world = Self { _server: server, address, token, regions, data, connection, rules };
        let deadline = now() + Duration::from_secs(20);
        while world.health()?.iter().filter(|region| region["health"] == "healthy").count() < 3 {
            ensure!(now() < deadline, "the regions are not healthy");
            pause(Duration::from_millis(20));
        }
        Ok(world)
    }

    fn cause(&mut self, fault: Fault) -> anyhow::Result<()> {
        let region = &mut self.regions[0];
        match fault {
            Fault::Killed | Fault::KilledWithReports => region.process.0.kill()?,
            Fault::Stopped => {
                run_quietly("kill", &["-s", "STOP", &region.process.0.id().to_string()])?;
            }
            Fault::BlackHole => {
                let port = region.port.to_string();
                self.rules.push(Rule::new(&["-p", "tcp", "--dport", &port, "-j", "DROP"])?);
            }
            Fault::Reset => region.tell("reset")?,
            Fault::Error => region.tell("error")?,
            Fault::Body => region.tell("body")?,
            Fault::Slow => region.tell("slow")?,
        }
        Ok(())
    }

    /// Asks for a client that is nearest to the first region.
    fn decide(&self) -> anyhow::Result<String> {
        let body = r#"{"location": {"latitude": 1, "longitude": 0}}"#;
        let answer = self.connection.borrow_mut().ask("POST", "/api/v1/route", "", body)?;
        Ok(answer["region"].as_str().context("no region")?.to_owned())
    }

    fn health(&self) -> anyhow::Result<Vec<Value>> {
        let mut connection = self.connection.borrow_mut();
        let report = connection.ask("GET", "/api/v1/health/regions", &self.token, "")?;
        Ok(report["regions"].as_array().context("no regions")?.clone())
    }

    fn count_removals(&self, duration: Duration) -> anyhow::Result<f64> {
        let until = now() + duration;
        let (mut removals, mut before) = (0.0, 0);
        while now() < until {
            let unhealthy =
                self.health()?.iter().filter(|region| region["health"] == "unhealthy").count();
            if unhealthy > before {
                removals += 1.0;
            }
            before = unhealthy;
            pause(Duration::from_millis(100));
        }
        Ok(removals)
    }

    fn reporter(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address)
    }

    /// Uses the first region as a client would, and reports what came of it.
    fn report(&self, reporter: &mut Connection) -> anyhow::Result<()> {
        let region = SocketAddr::from((Ipv4Addr::LOCALHOST, self.regions[0].port));
        let outcome = if TcpStream::connect(region).is_ok() { "ok" } else { "connect" };
        let body = format!(r#"{{"outcomes": [{{"region": "r0", "outcome": "{outcome}"}}]}}"#);
        reporter.ask("POST", "/api/v1/outcomes", &self.token, &body).map(|_answer| ())
    }

    /// The ports of all regions, as iptables takes several.
    fn ports(&self) -> String {
        let ports: Vec<_> = self.regions.iter().map(|region| region.port.to_string()).collect();
        ports.join(",")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.data).ok();
    }
}

impl Region {
    fn start() -> anyhow::Result<Self> {
        let program = root().join("target/release/region-server");
        let process = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut process = Process(process);
        let said = process.0.stdout.take().context("the region says its port")?;
        let mut port = String::new();
        BufReader::new(said).read_line(&mut port)?;
        Ok(Self { process, port: port.trim().parse()? })
    }

    fn tell(&mut self, manner: &str) -> anyhow::Result<()> {
        let input = self.process.0.stdin.as_mut().context("the region reads its manner")?;
        Ok(writeln!(input, "{manner}")?)
    }
}

/// A rule that holds as long as it is kept.
struct Rule(Vec<String>);

impl Rule {
    fn new(rule: &[&str]) -> anyhow::Result<Self> {
        let rule: Vec<String> = rule.iter().map(|&word| word.to_owned()).collect();
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

/// A kept connection to the server.
struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream })
    }

    fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> anyhow::Result<Value> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes())?;
        let mut received = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            let read = self.stream.read(&mut part)?;
            ensure!(read > 0, "the server has closed a connection");
            received.extend_from_slice(&part[..read]);
            let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            ensure!(head.starts_with("http/1.1 200"), "the server answers {head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no length")?.parse()?;
            if received.len() == end + 4 + length {
                return Ok(serde_json::from_slice(&received[end + 4..])?);
            }
        }
    }
}

/// Declares the regions with checks at their defaults.
fn declaration(regions: &[Region]) -> String {
    let mut text = String::from("[settings]\ndefault_service = \"api\"\n");
    for (number, Region { port, .. }) in regions.iter().enumerate() {
        text.push_str(&format!(
            "[regions.r{number}]\nlatitude = 0.0\nlongitude = {number}.0\n\
             check = {{ url = \"http://127.0.0.1:{port}/\", body = \"well\" }}\n"
        ));
    }
    text.push_str("[services.api.members]\nr0 = {}\nr1 = {}\nr2 = {}\n");
    text
}

fn run_quietly(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    output(Command::new(Path::new(program)).args(arguments)).map(|_nothing| ())
}

/// Faults happen anywhere between two probes: a second's worth of moments, by the clock's nanoseconds.
fn seconds_seed(cell: usize) -> Duration {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Duration::from_nanos(u64::from(since.subsec_nanos())) / 2
        + Duration::from_millis(u64::try_from(cell).unwrap_or_default() * 83)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is a program of its own")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "faults take their time, and so do remedies")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
