//! The composition root: which adapter stands behind which port, and what runs where.
//!
//! Each worker is a thread with a runtime and a listener of its own, and does nothing but answer
//! (`listeners.rs`).
//! Stores, files and everything else that waits are on the control runtime.

use std::fs;
use std::hash::Hash;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use geostream_app::{
    Access, AuditTrail, CacheTally, Cached, Clocks, Configuration, Counted, Follower, HealthDriver,
    Intent, KnownNodes, LeaseKeeper, LogFilter, LogLevel, NewToken, Publisher, RateLimit,
    RegionHealth, RequestLimits, Router, StoreHealth, StoreWatch, TokenKeeper, Traced, Tracer,
    ViewExchange, WriteError,
};
use geostream_domain::{Grant, Line, NodeId, Revision};
use geostream_embedded::{EmbeddedStore, KnownTokensFile, LastGoodFile};
use geostream_geoip::GeoIp;
use geostream_http::{AllowedOrigins, Api, Backup, Connections, Parts, Stage, TrustedProxies};
use geostream_http_probe::HttpProber;
use geostream_otlp::{Sender, Target};
use geostream_pg::PgStore;
use geostream_ports::{
    Actor, Attempt, Chain, Clock as _, GeoLocator as _, Scope, Store, SystemClock, TokenRecord,
};
use geostream_redis::{Redis, RedisCache, RedisCounters, RedisViews};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{self, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificate;
use crate::config::{self, Config};
use crate::listeners::{ServerApi, Sockets};
use crate::process;
use crate::telemetry::{self, Telemetry};
use crate::trace::Trace;

/// How often the tokens are read, so that those made or revoked at other nodes are known.
const TOKENS_LOOK: Duration = Duration::from_secs(1);

/// How long after it the tokens are read again where a request has one that is not known here. So
/// requests with invented tokens cost the store no more than ten reads a second.
const TOKENS_PAUSE: Duration = Duration::from_millis(100);

/// How long a server that has answered its last client may take to keep what has happened, and then
/// again for what is still under way: together with the time to drain, less than supervisors wait.
const KEEPING_PATIENCE: Duration = Duration::from_secs(3);

/// Runs the server until it is told to stop.
pub(crate) fn run(config: &Config, telemetry: Telemetry) -> anyhow::Result<()> {
    permit_many_files();
    let control = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("starting the control runtime")?;
    let outcome =
        start(config, &control, telemetry).and_then(|server| server.until_stopped(&control));
    control.shutdown_timeout(KEEPING_PATIENCE);
    outcome
}

/// A server that answers.
struct Server {
    workers: Vec<JoinHandle<anyhow::Result<()>>>,
    stage: watch::Sender<Stage>,
    shutdown_delay: Duration,
    keeping: Keeping,
    signals: Signals,
}

/// What keeps things for the next start, and is waited for when the server stops.
#[derive(Default)]
struct Keeping {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Keeping {
    /// Lets everything be kept that has happened, as far as that does not take too long.
    async fn finish(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(KEEPING_PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("what happened last could not be kept in time");
        }
    }
}

fn start(config: &Config, control: &Runtime, telemetry: Telemetry) -> anyhow::Result<Server> {
    // Bound first, so that a second server on the same port fails before it touches anything.
    let sockets = Sockets::bind(&config.listen, config.workers)?;
    make_private_directory(&config.data_dir)?;
    let last_good = config.data_dir.join("last-good.json");
    match &config.store {
        config::Store::Embedded => {
            let store = open_store(&config.data_dir.join("config.redb"), &last_good)?;
            let backup = Some(backup(store.clone(), config.data_dir.join("backup.redb")));
            let beside = Beside { cache: None, clocks: Clocks::default(), backup };
            start_on(store, beside, &last_good, sockets, config, control, telemetry)
        }
        config::Store::Postgres(target) => {
            let _context = control.enter();
            let store = PgStore::new(target.clone(), config.health_days, seed()?);
            let clocks = Clocks::following(store.clock_readings());
            let Some(cache) = &config.cache else {
                let beside = Beside { cache: None, clocks, backup: None };
                return start_on(store, beside, &last_good, sockets, config, control, telemetry);
            };
            if cache.travels_in_clear() {
                tracing::warn!(
                    %cache,
                    "the password and what nodes share travel in clear text; use rediss:// for TLS"
                );
            }
            let redis = Redis::new(cache.clone()).context("cache")?;
            let store = Cached::new(store, RedisCache::new(redis, seed()?).context("cache")?);
            let beside = Beside { cache: Some(store.tally()), clocks, backup: None };
            start_on(store, beside, &last_good, sockets, config, control, telemetry)
        }
    }
}

/// What is known of a store beside what its ports tell.
struct Beside {
    /// Counts what comes of asking the cache, if there is one.
    cache: Option<Arc<CacheTally>>,
    /// Follows the store's clock, if it has one.
    clocks: Clocks,
    /// Copies the store, if this server keeps it.
    backup: Option<Backup>,
}

/// Copies this store by way of a file of this name.
fn backup(store: EmbeddedStore, path: PathBuf) -> Backup {
    Box::new(move || {
        let store = store.clone();
        let path = path.clone();
        Box::pin(async move { store.back_up(path).await })
    })
}

fn start_on<S: Store + Clone>(
    store: S,
    beside: Beside,
    last_good: &Path,
    sockets: Sockets,
    config: &Config,
    control: &Runtime,
    telemetry: Telemetry,
) -> anyhow::Result<Server> {
    let (stage, watched) = watch::channel(Stage::Serving);
    let keeping = Keeping::default();
    let Beside { cache, clocks, backup } = beside;
    let store = Counted::new(store, SystemClock);
    let health = store.health();
    let stores = Stores { store, health, cache, clocks, backup };
    let assembling = assemble(stores, last_good, config, telemetry, watched.clone(), &keeping);
    let api = control.block_on(assembling)?;
    let signals = Signals::await_on(control)?;
    let workers = sockets.serve(&api, config, &watched)?;
    Ok(Server { workers, stage, shutdown_delay: config.shutdown_delay, keeping, signals })
}

impl Server {
    /// Waits for a signal, then lets the workers finish what they have begun.
    fn until_stopped(mut self, control: &Runtime) -> anyhow::Result<()> {
        control.block_on(self.leave());
        tracing::info!("stopping: no connection is accepted, requests under way are finished");
        self.stage.send_replace(Stage::Draining);
        for worker in self.workers {
            match worker.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a worker has panicked"),
            }
        }
        control.block_on(self.keeping.finish());
        tracing::info!("stopped");
        Ok(())
    }

    /// Waits for a signal, and then serves on as not ready for the shutdown delay.
    ///
    /// SIGINT comes from a terminal, where nothing has to notice that the server leaves.
    async fn leave(&mut self) {
        let signal = self.signals.next().await;
        if signal == StopSignal::Interrupt || self.shutdown_delay.is_zero() {
            tracing::info!(signal = signal.name(), "told to stop");
            return;
        }
        tracing::info!(
            signal = signal.name(),
            delay_seconds = self.shutdown_delay.as_secs(),
            "told to stop: not ready from now on, serving until the shutdown delay ends"
        );
        self.stage.send_replace(Stage::Leaving);
        if let Ok(signal) = timeout(self.shutdown_delay, self.signals.next()).await {
            let signal = signal.name();
            tracing::info!(signal, "told to stop again: the rest of the shutdown delay is skipped");
        }
    }
}

/// Asks for as many open files as the system permits: each client has one, and each probe, and what
/// a process gets unasked is often 1,024.
fn permit_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the number of open files stays as it is");
    }
}

/// The store, and what says how it and its cache are.
struct Stores<S> {
    store: S,
    health: Arc<StoreHealth>,
    cache: Option<Arc<CacheTally>>,
    clocks: Clocks,
    backup: Option<Backup>,
}

/// Puts everything together and starts what runs beside the answers.
async fn assemble<S: Store + Clone>(
    Stores { store, health: store_health, cache, clocks: clock, backup }: Stores<S>,
    last_good: &Path,
    config: &Config,
    telemetry: Telemetry,
    stage: watch::Receiver<Stage>,
    keeping: &Keeping,
) -> anyhow::Result<ServerApi<S>> {
    // Others compare it with their own time, so it is the node's own.
    let started = clock.own_wall();
    let node = NodeId::of_start(&config.node, seed()?).context("node")?;
    let tracer = match &config.trace {
        Some(trace) => start_tracing(trace, &node, keeping)?,
        None => Tracer::OFF,
    };
    let store = Traced::new(store, tracer.clone());
    let last_good = LastGoodFile::new(last_good);
    let limits =
        RequestLimits::new(config.requests_per_second, config.requests_per_second_per_token);
    let publisher = Arc::new(Publisher::new(clock.clone()).with_limits(limits.clone()));
    let mut follower =
        Follower::new(store.clone(), last_good, Arc::clone(&publisher), clock.clone());
    // A store that hangs is waited for while the files are read.
    let (is_read, geo) = tokio::join!(follower.start(), open_geoip(config));
    let geo = Arc::new(geo?);
    let directory = follower.directory();
    tokio::spawn(clock.clone().refresh(Arc::clone(&publisher)));

    let networks = config.probe.permitted();
    let configuration = || {
        Configuration::new(store.clone(), Arc::clone(&publisher), clock.clone())
            .with_probe_networks(networks.clone())
    };
    let access = Arc::new(Access::new(store.clone(), clock.clone()));
    let first = FirstStart {
        configuration: configuration(),
        first_token: access.draw(
            line("first-admin")?,
            Grant::unlimited(Scope::Admin),
            Some(node.clone()),
        )?,
        access: Arc::clone(&access),
        declared: config.bootstrap.clone(),
        token: config.data_dir.join("admin.token"),
        wants_token: config.new_admin_token,
        node: node.clone(),
        clock: clock.clone(),
    };
    // Clients are answered all the same; control requests are refused until the store is there.
    let is_prepared = is_read && first.prepare().await?;
    let known_tokens = KnownTokensFile::new(&config.data_dir.join("known-tokens.json"));
    let mut tokens = TokenKeeper::new(known_tokens, Arc::clone(&directory), clock.clone());
    tokens.recall(&access, !is_prepared).await;
    let configuration = configuration();

    let (trail, keeper) = AuditTrail::new(store.clone(), config.audit, clock.clone());
    let canaries = &config.probe.canaries;
    let watch =
        StoreWatch { store: store.clone(), health: Arc::clone(&store_health), clock: SystemClock };
    let health = RegionHealth::new(Arc::clone(&publisher), store, clock.clone(), canaries, seed()?);
    let health = health.with_probe_networks(networks.clone()).with_node(node.clone());
    let health = Arc::new(health);
    let prober = HttpProber::new(networks, config.probe.authorities.as_deref())
        .context("preparing health checks")?;
    let mut nodes = None;
    let mut exchange = None;
    if let Some(target) = &config.cache {
        // Connections of their own: views wait neither for a large configuration nor for leases.
        let connect = || Redis::new(target.clone()).context("cache");
        let known = share_limits(&limits, &connect()?, keeping);
        let views = RedisViews::new(connect()?, node.clone()).context("cache")?;
        nodes = Some(Arc::clone(&known));
        exchange = Some(ViewExchange::new(views, Arc::clone(&health), known, clock.clone()));
    }
    let driver = HealthDriver::resume(Arc::clone(&health), prober, tracer.clone()).await;
    keeping.tasks.spawn(follower.run(keeping.stop.clone()));
    keeping.tasks.spawn(watch.run(keeping.stop.clone()));
    keeping.tasks.spawn(driver.run(keeping.stop.clone()));
    keeping.tasks.spawn(keeper.run(keeping.stop.clone()));
    tokio::spawn(look_after_tokens(first, is_prepared, tokens));
    let hangup = signal(SignalKind::hangup()).context("awaiting SIGHUP")?;
    tokio::spawn(refresh_geoip(Arc::clone(&geo), config.geoip.refresh, hangup));
    if let Some(certificate) = &config.certificate {
        let hangup = signal(SignalKind::hangup()).context("awaiting SIGHUP")?;
        tokio::spawn(certificate::refresh(Arc::clone(certificate), hangup));
    }
    tokio::spawn(telemetry::upkeep(telemetry.metrics.clone()));
    let metrics = telemetry.metrics.clone();
    let proxies =
        TrustedProxies::new(config.trusted_proxies.clone(), config.client_address.clone());
    let apply = move |filter: &LogFilter| telemetry.apply(filter);
    let api = Api::new(Parts {
        router: Router::new(&publisher, geo),
        configuration,
        backup,
        store: store_health,
        directory,
        health,
        nodes,
        cache,
        access,
        trail,
        clock: clock.clone(),
        limits,
        max_connections: config.limits.connections * config.workers,
        log_level: Arc::new(LogLevel::new(config.log.filter.clone(), apply, clock)),
        tracer,
        origins: AllowedOrigins::new(config.cors_origins.clone()),
        certificate: config.certificate.clone(),
        connections: Connections::new(config.per_network, proxies.clone()),
        proxies,
        control: Handle::current(),
        metrics: Box::new(move || metrics.render() + &process::metrics(started)),
        node,
        version: env!("CARGO_PKG_VERSION"),
        started,
        stopping: Box::new(move || *stage.borrow() >= Stage::Leaving),
    });
    if let Some(exchange) = exchange {
        let summarizing = api.clone();
        keeping.tasks.spawn(exchange.run(move || summarizing.summary(), keeping.stop.clone()));
    }
    Ok(api)
}

/// Has spans sent, as long as the server keeps anything.
fn start_tracing(trace: &Trace, node: &NodeId, keeping: &Keeping) -> anyhow::Result<Tracer> {
    let target = Target {
        endpoint: trace.endpoint.clone(),
        protocol: trace.protocol,
        sender: Sender {
            name: trace.service.clone(),
            version: env!("CARGO_PKG_VERSION"),
            instance: node.to_string(),
        },
    };
    let (sink, exporter) = geostream_otlp::connect(&target).context("trace")?;
    keeping.tasks.spawn(exporter.run(keeping.stop.clone()));
    tracing::info!(endpoint = trace.endpoint, sampling = ?trace.sampling, "traces are sent");
    Ok(Tracer::new(sink, trace.sampling, SystemClock))
}

/// Has the limits hold for all nodes together, and returns where the number of nodes is noted.
fn share_limits(limits: &RequestLimits, redis: &Redis, keeping: &Keeping) -> Arc<KnownNodes> {
    let nodes = Arc::default();
    share_limit(&limits.clients, redis, &nodes, keeping);
    share_limit(&limits.tokens, redis, &nodes, keeping);
    nodes
}

fn share_limit<K: Copy + Eq + Hash + Into<u64> + Send + Sync + 'static>(
    limit: &Arc<RateLimit<K>>,
    redis: &Redis,
    nodes: &Arc<KnownNodes>,
    keeping: &Keeping,
) {
    let (limit, nodes) = (Arc::clone(limit), Arc::clone(nodes));
    let counters = RedisCounters::new(redis.clone());
    let keeper = LeaseKeeper { limit, counters, nodes, clock: SystemClock };
    keeping.tasks.spawn(keeper.run(keeping.stop.clone()));
}

/// Opens the store, or makes it where nothing says that there was one.
///
/// One that is lost or damaged is left to the last good table, until it is mended.
fn open_store(path: &Path, last_good: &Path) -> anyhow::Result<EmbeddedStore> {
    let is_first_start = is_missing(path)? && is_missing(last_good)?;
    let opened =
        if is_first_start { EmbeddedStore::create(path) } else { EmbeddedStore::open(path) };
    match opened {
        Ok(store) => Ok(store),
        Err(error) if error.is_in_use() => {
            bail!("{} is in use: does another server run on this data?", path.display())
        }
        Err(error) => {
            tracing::error!(path = %path.display(), error = %Chain(&error), "store not opened");
            EmbeddedStore::unopened(path).context("starting the store's thread")
        }
    }
}

fn is_missing(path: &Path) -> anyhow::Result<bool> {
    let exists = path.try_exists().with_context(|| format!("looking for {}", path.display()))?;
    Ok(!exists)
}

/// What a first start leaves behind: a configuration, and a token to change it with.
struct FirstStart<S> {
    configuration: Configuration<S, Clocks>,
    access: Arc<Access<S, Clocks>>,
    /// The admin token, if this node is the one that makes it: the same however often it is tried,
    /// since a store that did not answer may have it all the same.
    first_token: NewToken,
    declared: Option<geostream_domain::Config>,
    /// Where the token is to be.
    token: PathBuf,
    /// Whether one is made though there is one.
    wants_token: bool,
    /// Who does this, for the audit trail.
    node: NodeId,
    /// Tells when.
    clock: Clocks,
}

impl<S: Store> FirstStart<S> {
    /// Does what is to be done, and tells whether it is: else the store is away.
    async fn prepare(&self) -> anyhow::Result<bool> {
        Ok(self.declare().await? && self.make_admin_token().await?)
    }

    async fn declare(&self) -> anyhow::Result<bool> {
        let Some(declared) = &self.declared else { return Ok(true) };
        let (author, reason) = (line("bootstrap")?, line("first start")?);
        let attempt = Some(self.attempt(author.clone(), "putConfig", "/api/v1/config"));
        let intent = Intent { expected: Revision::ZERO, author, reason, attempt };
        match self.configuration.bootstrap(intent, declared).await {
            Ok(true) => tracing::info!("the first configuration is declared"),
            Ok(false) | Err(WriteError::Conflict { .. }) => {
                tracing::debug!("there is a configuration; the first one is not needed");
            }
            Err(WriteError::Unavailable(error)) => {
                tracing::error!(error = %Chain(&error), "nothing can be declared yet");
                return Ok(false);
            }
            Err(
                error @ (WriteError::Invalid(_)
                | WriteError::LastRegion { .. }
                | WriteError::UnassignedCodes(_)
                | WriteError::Forbidden(_)
                | WriteError::NotKept(_)),
            ) => tracing::error!(error = %Chain(&error), "nothing could be declared"),
        }
        Ok(true)
    }

    /// Writes an admin token where the CLI finds it, if there is none yet or another one is wanted.
    async fn make_admin_token(&self) -> anyhow::Result<bool> {
        let attempt =
            |name: &Line| Some(self.attempt(name.clone(), "createToken", "/api/v1/tokens"));
        let first = &self.first_token;
        match self.access.first_admin(first, attempt(&first.record.name)).await {
            Ok(None) => write_token(&self.token, first.text())?,
            Ok(Some(_)) if self.wants_token => {
                let name = line("new-admin")?;
                let attempt = attempt(&name);
                let grant = Grant::unlimited(Scope::Admin);
                let made = self.access.create(name, grant, None, attempt).await;
                write_token(&self.token, made.context("making a token")?.text())?;
            }
            Ok(Some(other)) => self.tell_where_the_token_is(&other),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "tokens cannot be read");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says at which node the first admin token was made, unless this node has a file with a valid
    /// one, or the token was made for an operator and is in no file.
    fn tell_where_the_token_is(&self, first: &TokenRecord) {
        let is_valid = |text: String| self.access.authenticate(text.trim()).is_ok();
        let has_file = fs::read_to_string(&self.token).is_ok_and(is_valid);
        if has_file || first.name != self.first_token.record.name {
            return;
        }
        let made_by = first.node.as_ref().map_or("an earlier version", NodeId::as_str);
        tracing::info!(
            made_by,
            token = %first.id,
            "there is an admin token: it is in admin.token in the data directory of the node that \
             made it"
        );
    }

    /// Says in the words of the API what the node does by itself.
    fn attempt(&self, name: Line, action: &str, target: &str) -> Attempt {
        Attempt {
            at: self.clock.wall(),
            node: self.node.clone(),
            who: Some(Actor { name, token: None }),
            address: None,
            action: action.to_owned(),
            target: target.to_owned(),
        }
    }
}

fn write_token(path: &Path, token: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&new)
        .and_then(|mut file| {
            // The mode above holds only for a new file, and less what the umask takes.
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            writeln!(file, "{token}")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    written.with_context(|| format!("writing the admin token to {}", path.display()))?;
    tracing::info!(path = %path.display(), "an admin token is in this file");
    Ok(())
}

/// Finishes the first start as soon as the store is there; then knows within a second which tokens
/// other nodes have made and revoked, and sooner where a request waits for it; keeps what is known of
/// them.
async fn look_after_tokens<S: Store>(
    first: FirstStart<S>,
    mut is_prepared: bool,
    mut tokens: TokenKeeper<KnownTokensFile, Clocks>,
) {
    loop {
        tokens.keep(&first.access).await;
        if is_prepared {
            tokio::select! {
                () = tokio::time::sleep(TOKENS_LOOK - TOKENS_PAUSE) => {}
                () = first.access.load_wanted() => {}
            }
            let pause = match first.access.load().await {
                Ok(()) => TOKENS_PAUSE,
                Err(error) => {
                    tracing::debug!(error = %Chain(&error), "tokens cannot be read");
                    TOKENS_LOOK
                }
            };
            tokio::time::sleep(pause).await;
            continue;
        }
        tokio::time::sleep(TOKENS_LOOK).await;
        is_prepared = first.prepare().await.unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "the first start is not finished");
            true
        });
    }
}

fn make_private_directory(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making the data directory {}", path.display()))
}

async fn open_geoip(config: &Config) -> anyhow::Result<GeoIp> {
    let (files, directory) = (config.geoip.files.clone(), config.data_dir.join("geoip"));
    let opening = tokio::task::spawn_blocking(move || match &files[..] {
        [] => GeoIp::open_directory(&directory),
        _ => GeoIp::open(files),
    });
    let geoip = opening.await.context("reading the GeoIP files")?;
    let files = geoip.databases();
    if files.is_empty() {
        tracing::warn!("there is no GeoIP file: only callers can say where clients are");
    }
    for file in files {
        let Some(data) = file.data else { continue };
        let age = SystemClock.wall().since(data.built).as_secs() / 86_400;
        tracing::info!(path = file.path, kind = data.kind, age_days = age, "GeoIP data");
    }
    Ok(geoip)
}

/// Looks at the GeoIP files now and then, and at once on SIGHUP, for ever.
async fn refresh_geoip(geo: Arc<GeoIp>, every: Duration, mut hangup: Signal) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = hangup.recv() => tracing::info!("looking at the GeoIP files"),
        }
        let geo = Arc::clone(&geo);
        if let Err(error) = tokio::task::spawn_blocking(move || geo.refresh()).await {
            tracing::error!(%error, "the GeoIP files could not be looked at");
        }
    }
}

/// Returns a number that differs from start to start: many nodes are not to probe in step.
fn seed() -> anyhow::Result<u64> {
    let mut seed = [0; size_of::<u64>()];
    getrandom::fill(&mut seed).context("asking the system for a random number")?;
    Ok(u64::from_ne_bytes(seed))
}

/// The signals that end the server, which are taken from the moment that they are awaited: before it,
/// they end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn await_on(control: &Runtime) -> anyhow::Result<Self> {
        let _context = control.enter();
        let terminate = signal(SignalKind::terminate()).context("awaiting SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("awaiting SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StopSignal {
    /// Supervisors send it.
    Terminate,
    /// A terminal sends it at Ctrl-C.
    Interrupt,
}

impl StopSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }
}

fn line(text: &str) -> anyhow::Result<Line> {
    text.parse().with_context(|| format!("{text:?}"))
}
