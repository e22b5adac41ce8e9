//! `bench http`: what a request costs the server in processor time.
//!
//! The server and a bare hyper server, which answers fixed bytes of the same size, take turns under
//! the same load. Each has one core and the load the other; what is compared is the processor time
//! that the kernel has charged to each process, so the load's own speed does not matter.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fmt, fs};

use anyhow::{Context as _, ensure};

use crate::bench::connection::Connection;
use crate::bench::process::{self, Process, now, pause};
use crate::bench::{Figure, Options};
use crate::geoip;
use crate::shell::{cargo, command, root, run as run_command, say};

const CONNECTIONS: usize = 64;
const QUESTION: &str = r#"{"client_ip": "8.8.8.8", "service": "api"}"#;

pub(crate) fn run(options: Options) -> anyhow::Result<Vec<Figure>> {
    geoip::ensure()?;
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "-p", "geostream-server", "-p", "xtask"]);
    run_command(build.stdout(std::io::stderr()))?;
    let (rounds, requests) = if options.quick { (3, 60_000) } else { (9, 200_000) };

    let geostream = Served::geostream()?;
    let answer = geostream.ask()?;
    let bare = Served::bare(answer.len())?;
    ensure!(bare.ask()?.len() == answer.len(), "both answers have the same size");
    say(&format!(
        "{rounds} rounds of {requests} requests over {CONNECTIONS} kept connections, {} bytes each way back",
        answer.len()
    ));
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let ours = geostream.measure(requests)?;
        let theirs = bare.measure(requests)?;
        say(&format!("round {round}: processor time a request {ours}, against {theirs}"));
        pairs.push((ours, theirs));
    }
    let median = |of: fn(&(Cost, Cost)) -> f64| {
        let mut values: Vec<f64> = pairs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok(vec![
        Figure::shown("processor time a request", median(|p| p.0.cpu_us()), "us"),
        Figure::shown("of which in the kernel", median(|p| p.0.kernel_us), "us"),
        Figure::shown("of a bare hyper server", median(|p| p.1.cpu_us()), "us"),
        Figure::shown("of which in the kernel", median(|p| p.1.kernel_us), "us"),
        Figure::shown("ratio, round by round", median(|p| p.0.cpu_us() / p.1.cpu_us()), "times")
            .at_most(1.25),
        Figure::shown("requests a second on one core", median(|p| p.0.per_second), "1/s"),
        Figure::shown(
            "memory of the server",
            process::resident_mb(geostream.process.0.id())?,
            "MB",
        ),
        Figure::shown("of which GeoIP data", geoip_mb()?, "MB"),
    ])
}

/// What requests cost a server.
struct Cost {
    user_us: f64,
    kernel_us: f64,
    per_second: f64,
}

impl Cost {
    fn cpu_us(&self) -> f64 {
        self.user_us + self.kernel_us
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} us (kernel {:.2})", self.cpu_us(), self.kernel_us)
    }
}

/// A server on one core.
struct Served {
    process: Process,
    address: SocketAddr,
    request: Vec<u8>,
}

impl Served {
    fn geostream() -> anyhow::Result<Self> {
        let data = root().join("target/bench-http");
        if data.exists() {
            fs::remove_dir_all(&data).context("removing the data of an earlier run")?;
        }
        fs::create_dir_all(&data)?;
        let mut server = on_core(0, &root().join("target/release/geostream-server"));
        server.args(["--listen", "127.0.0.1:18081", "--workers", "1", "--log", "warn"]);
        server.args(["--bootstrap", "xtask/sample/sample.toml", "--data-dir"]).arg(&data);
        for file in fs::read_dir(geoip::directory())? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "mmdb") {
                server.arg("--geoip-file").arg(path);
            }
        }
        Self::start(server, 18081)
    }

    fn bare(bytes: usize) -> anyhow::Result<Self> {
        let mut server = on_core(0, &root().join("target/release/bare-hyper"));
        server.args(["127.0.0.1:18082", &bytes.to_string()]);
        Self::start(server, 18082)
    }

    fn start(mut server: Command, port: u16) -> anyhow::Result<Self> {
        let process = server.stdin(Stdio::null()).spawn();
        let process = Process(process.context("starting a server")?);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let request = format!(
            "POST /api/v1/route HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{QUESTION}",
            QUESTION.len()
        );
        let mut served = Self { process, address, request: request.into_bytes() };
        while TcpStream::connect(address).is_err() {
            let ended = served.process.0.try_wait()?;
            ensure!(ended.is_none(), "a server has ended: {ended:?}");
            pause(Duration::from_millis(50));
        }
        Ok(served)
    }

    /// Asks once and returns the body.
    fn ask(&self) -> anyhow::Result<Vec<u8>> {
        let mut connection = Connection::open(self.address)?;
        connection.send(&self.request)?;
        connection.receive()
    }

    /// Sends so many requests, as fast as one core can, and tells what they cost.
    fn measure(&self, requests: usize) -> anyhow::Result<Cost> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(self.address)?);
        }
        // Caches and allocators are warm, and every connection is accepted.
        self.load(&mut connections, requests / 20)?;
        let (before, started) = (process::cpu_time(self.process.0.id())?, now());
        self.load(&mut connections, requests)?;
        let (after, took) = (process::cpu_time(self.process.0.id())?, now() - started);
        let requests = f64::from(u32::try_from(requests)?);
        let each_us = |seconds: f64| seconds * 1e6 / requests;
        Ok(Cost {
            user_us: each_us(after.user - before.user),
            kernel_us: each_us(after.kernel - before.kernel),
            per_second: requests / took.as_secs_f64(),
        })
    }

    /// Sends a request on every connection, and receives all answers, as often as needed.
    ///
    /// The last is waited for first: a client that sleeps is woken by the server, at the server's
    /// cost, and here that happens once a round, however fast either of them is.
    fn load(&self, connections: &mut [Connection], requests: usize) -> anyhow::Result<()> {
        for _ in 0..requests / CONNECTIONS {
            for connection in &mut *connections {
                connection.send(&self.request)?;
            }
            for connection in connections.iter_mut().rev() {
                connection.receive()?;
            }
        }
        Ok(())
    }
}

fn on_core(core: usize, program: &Path) -> Command {
    let mut command = command("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

fn geoip_mb() -> anyhow::Result<f64> {
    let mut bytes = 0;
    for file in fs::read_dir(geoip::directory())? {
        let file = file?;
        if file.path().extension().is_some_and(|extension| extension == "mmdb") {
            bytes += file.metadata()?.len();
        }
    }
    Ok(f64::from(u32::try_from(bytes / 1000)?) / 1000.0)
}
