//! Where the server listens: for clients, and on addresses of their own, if these are set, for
//! control requests and for metrics.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use geostream_app::{Clocks, Traced};
use geostream_geoip::GeoIp;
use geostream_http::{Api, BoundSocket, Limits, Serves, Stage, Tls, bind, check_unused, serve};
use geostream_ports::Store;
use tokio::runtime;
use tokio::sync::watch;

use crate::addresses::Addresses;
use crate::config::Config;

/// What the server answers with.
pub(crate) type ServerApi<S> = Api<Traced<S>, GeoIp, Clocks>;

/// The most connections on the listener for control requests. Its places are its own, so clients
/// that use up those of the other listeners do not keep operators out.
const CONTROL_CONNECTIONS: usize = 1_000;

/// The most connections on the listener for metrics.
const METRICS_CONNECTIONS: usize = 100;

/// The sockets of a server that does not answer yet: they have their addresses, and connections to
/// them are refused, so that a balancer tries another node.
pub(crate) struct Sockets {
    /// One for each worker.
    clients: Vec<BoundSocket>,
    control: Option<BoundSocket>,
    metrics: Option<BoundSocket>,
}

/// One listener, and the thread that it is to have.
struct Door {
    thread: &'static str,
    socket: BoundSocket,
    serves: Serves,
    connections: usize,
    proxy_protocol: bool,
}

impl Sockets {
    /// Binds all of them; errors name the setting.
    pub(crate) fn bind(addresses: &Addresses, workers: usize) -> anyhow::Result<Self> {
        let one = |address: Option<SocketAddr>, setting| {
            let bound = address.map(|address| bind_all(address, 1).context(setting)).transpose()?;
            anyhow::Ok(bound.and_then(|mut sockets| sockets.pop()))
        };
        Ok(Self {
            clients: bind_all(addresses.clients, workers)?,
            control: one(addresses.control, "control.listen")?,
            metrics: one(addresses.metrics, "metrics.listen")?,
        })
    }

    /// Listens, and starts the threads that answer.
    pub(crate) fn serve<S: Store>(
        self,
        api: &ServerApi<S>,
        config: &Config,
        stage: &watch::Receiver<Stage>,
    ) -> anyhow::Result<Vec<JoinHandle<anyhow::Result<()>>>> {
        let address = address_of(&self.clients[0])?;
        let control = self.control.as_ref().map(address_of).transpose()?;
        let metrics = self.metrics.as_ref().map(address_of).transpose()?;
        for address in [Some(address), control, metrics].into_iter().flatten() {
            // Another server may have begun to listen there since the sockets were bound.
            check_unused(address).with_context(|| format!("listening on {address}"))?;
        }
        let tls = config.certificate.as_ref().map(Tls::new).transpose().context("TLS")?;
        let mut prepared = Vec::new();
        for door in self.into_doors(config) {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            prepared.push((door, runtime.context("starting a worker's runtime")?));
        }
        // From here on connections come in, so nothing that takes long is left to do: those that a
        // socket has wait until its thread accepts them.
        let mut listening = Vec::new();
        for (Door { thread, socket, serves, connections, proxy_protocol }, runtime) in prepared {
            let listener = socket.listen().context("listening")?;
            let api = api.clone().serving(serves);
            let limits = Limits { connections, proxy_protocol, ..config.limits };
            let tls = tls.clone();
            let stage = stage.clone();
            let work = move || {
                runtime.block_on(serve(listener, api, limits, tls, stage)).context("serving")
            };
            listening.push((thread, work));
        }
        let threads = listening.into_iter().map(|(name, work)| {
            let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.context("starting a thread that answers")
        });
        let threads = threads.collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(address) = control {
            tracing::info!(%address, "listening for control requests");
        }
        if let Some(address) = metrics {
            tracing::info!(%address, "listening for metrics");
        }
        tracing::info!(%address, workers = config.workers, "listening");
        Ok(threads)
    }

    /// Says what is answered at each socket.
    fn into_doors(self, config: &Config) -> Vec<Door> {
        let control = self.control.is_none();
        let metrics = self.metrics.is_none();
        let mut doors = Vec::new();
        doors.extend(self.control.map(|socket| Door {
            thread: "control-http",
            socket,
            serves: Serves { metrics, ..Serves::ALL },
            connections: CONTROL_CONNECTIONS,
            proxy_protocol: config.proxy_protocol.control,
        }));
        doors.extend(self.metrics.map(|socket| Door {
            thread: "metrics-http",
            socket,
            serves: Serves::METRICS,
            connections: METRICS_CONNECTIONS,
            proxy_protocol: config.proxy_protocol.metrics,
        }));
        doors.extend(self.clients.into_iter().map(|socket| Door {
            thread: "worker",
            socket,
            serves: Serves { decisions: true, control, metrics },
            connections: config.limits.connections,
            proxy_protocol: config.proxy_protocol.clients,
        }));
        doors
    }
}

fn address_of(socket: &BoundSocket) -> anyhow::Result<SocketAddr> {
    socket.local_addr().context("asking for the port")
}

/// Binds a number of sockets, all to the same port.
fn bind_all(address: SocketAddr, number: usize) -> anyhow::Result<Vec<BoundSocket>> {
    let cannot = || format!("listening on {address}");
    check_unused(address).with_context(cannot)?;
    let first = bind(address).with_context(cannot)?;
    let address = first.local_addr().with_context(cannot)?;
    let mut sockets = vec![first];
    while sockets.len() < number {
        sockets.push(bind(address).with_context(cannot)?);
    }
    Ok(sockets)
}
