//! A region's server for `cargo xtask bench failover`: well, until it is told otherwise.
//!
//! It says when it listens, and reads a word a line from standard input: how it is to behave
//! (`well`, `error`, `body`, `slow`, `reset`, `expired`), or `count`, which it answers with the
//! number of probes so far. Requests for `/work` are its load; all others are probes.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

#[derive(Debug, Parser)]
struct Arguments {
    /// Where it listens
    address: SocketAddr,

    /// Speak TLS, with the certificates in this directory
    #[arg(long)]
    tls: Option<PathBuf>,

    /// Report the load, and fail above so many requests a second
    #[arg(long)]
    capacity: Option<u32>,

    /// Close every connection that is idle, each time that so many seconds have passed
    #[arg(long, value_name = "SECONDS")]
    close_every: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { address, tls, capacity, close_every } = Arguments::parse();
    let close_every = close_every.map(Duration::from_secs);
    let state = Mutex::new(State { manner: Manner::Well, probes: 0, work: VecDeque::new() });
    let (cuts, _) = watch::channel(());
    let region = Arc::new(Region { state, capacity: capacity.map(f64::from), close_every, cuts });
    let acceptor = tls.map(|directory| acceptor(&directory, &region)).transpose()?;
    let told = Arc::clone(&region);
    thread::spawn(move || told.listen_to(io::stdin()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(address, region, acceptor))
}

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Well,
    /// A status of 500.
    Error,
    /// Another body.
    Body,
    /// Five seconds.
    Slow,
    /// Cuts every connection, those that are idle at once.
    Reset,
    /// Presents a certificate that has run out.
    Expired,
}

#[derive(Debug)]
struct Region {
    state: Mutex<State>,
    capacity: Option<f64>,
    close_every: Option<Duration>,
    /// Tells idle connections to end.
    cuts: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    probes: u64,
    /// When it was used of late.
    work: VecDeque<Instant>,
}

/// The time over which the load is counted.
const COUNTED: Duration = Duration::from_secs(2);

async fn serve(
    address: SocketAddr,
    region: Arc<Region>,
    acceptor: Option<TlsAcceptor>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.context("listening")?;
    writeln!(io::stdout(), "{address}")?;
    if let Some(period) = region.close_every {
        let region = Arc::clone(&region);
        tokio::spawn(async move {
            loop {
                sleep(period).await;
                region.cuts.send_replace(());
            }
        });
    }
    loop {
        let (stream, _client) = listener.accept().await?;
        let (region, acceptor) = (Arc::clone(&region), acceptor.clone());
        // Whoever has gone away needs no answer.
        tokio::spawn(async move { region.accept(stream, acceptor).await.ok() });
    }
}

impl Region {
    async fn accept(&self, stream: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        // Wherever this side closes, it is meant as a reset, except for what is merely idle.
        if self.close_every.is_none() {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        if self.manner() == Manner::Reset {
            return Ok(());
        }
        match acceptor {
            Some(acceptor) => self.converse(acceptor.accept(stream).await?).await,
            None => self.converse(stream).await,
        }
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Send) -> io::Result<()> {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut lines = BufReader::new(reader).lines();
        let mut cuts = self.cuts.subscribe();
        loop {
            let first = tokio::select! {
                line = lines.next_line() => line?,
                _ = cuts.changed() => None,
            };
            let Some(first) = first else { return Ok(()) };
            while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
            let (load, is_full) = self.count(first.contains(" /work "));
            let (status, body) = match self.manner() {
                Manner::Reset => return Ok(()),
                Manner::Error => ("500 Internal Server Error", "well"),
                Manner::Well | Manner::Expired if is_full => ("503 Service Unavailable", "full"),
                Manner::Body => ("200 OK", "down for maintenance"),
                Manner::Slow => {
                    sleep(Duration::from_secs(5)).await;
                    ("200 OK", "well")
                }
                Manner::Well | Manner::Expired => ("200 OK", "well"),
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\n{load}content-length: {length}\r\n\r\n{body}");
            writer.write_all(answer.as_bytes()).await?;
        }
    }

    /// Counts a request, and returns the header that reports the load, and whether it is too much.
    fn count(&self, is_work: bool) -> (String, bool) {
        let mut state = self.state();
        let now = Instant::now();
        if is_work {
            state.work.push_back(now);
        } else {
            state.probes += 1;
        }
        let Some(capacity) = self.capacity else { return (String::new(), false) };
        while state.work.front().is_some_and(|at| now - *at >= COUNTED) {
            state.work.pop_front();
        }
        let work = u32::try_from(state.work.len()).unwrap_or(u32::MAX);
        let load = f64::from(work) / COUNTED.as_secs_f64();
        (format!("geostream-load: {load}\r\n"), load > capacity)
    }

    /// Does what it is told, and ends with whoever tells it.
    fn listen_to(&self, input: io::Stdin) {
        for word in input.lines().map_while(Result::ok) {
            let manner = match word.as_str() {
                "well" => Manner::Well,
                "error" => Manner::Error,
                "body" => Manner::Body,
                "slow" => Manner::Slow,
                "reset" => Manner::Reset,
                "expired" => Manner::Expired,
                "count" => {
                    // The lab is still there, since it has asked.
                    writeln!(io::stdout(), "{}", self.state().probes).ok();
                    continue;
                }
                other => panic!("{other:?} is no way to behave"),
            };
            self.state().manner = manner;
            if manner == Manner::Reset {
                self.cuts.send_replace(());
            }
        }
        std::process::exit(0);
    }

    fn manner(&self) -> Manner {
        self.state().manner
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The certificates that it presents; sessions begun with one can be resumed under the other.
#[derive(Debug)]
struct Certificates {
    valid: Arc<CertifiedKey>,
    expired: Arc<CertifiedKey>,
    region: Arc<Region>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let presented =
            if self.region.manner() == Manner::Expired { &self.expired } else { &self.valid };
        Some(Arc::clone(presented))
    }
}

fn acceptor(directory: &Path, region: &Arc<Region>) -> anyhow::Result<TlsAcceptor> {
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).context("key.pem")?;
    let key = ring::sign::any_supported_type(&key).context("key.pem")?;
    let certified = |file: &'static str| {
        let certificate = CertificateDer::from_pem_file(directory.join(file)).context(file)?;
        anyhow::Ok(Arc::new(CertifiedKey::new(vec![certificate], Arc::clone(&key))))
    };
    let (valid, expired) = (certified("valid.pem")?, certified("expired.pem")?);
    let certificates = Certificates { valid, expired, region: Arc::clone(region) };
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    Ok(TlsAcceptor::from(Arc::new(config)))
}
