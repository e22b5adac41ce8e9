//! Where the server listens: for clients, and on addresses of their own, if these are set, for
//! control requests and for metrics.

use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, ensure};
use geostream_http::{Limits, Serves, TlsIdentity, listen, serve};
use geostream_ports::Store;
use tokio::runtime;
use tokio::sync::watch;

use crate::config::Config;
use crate::wire::ServerApi;

/// The most connections on the listener for control requests. Its places are its own, so clients
/// that use up those of the other listeners do not keep operators out.
const CONTROL_CONNECTIONS: usize = 1_000;

/// The most connections on the listener for metrics.
const METRICS_CONNECTIONS: usize = 100;

/// The addresses that the server listens on.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// For clients.
    pub(crate) clients: SocketAddr,
    /// For control requests; `None` if these go to the clients' address.
    pub(crate) control: Option<SocketAddr>,
    /// For metrics; `None` if these are asked for at the other addresses.
    pub(crate) metrics: Option<SocketAddr>,
}

impl Addresses {
    /// Checks that no address is given twice; errors call settings as this function does.
    pub(crate) fn check(&self, name: impl Fn(&str) -> String) -> anyhow::Result<()> {
        let given = [
            Some(("listen", self.clients)),
            self.control.map(|address| ("control.listen", address)),
            self.metrics.map(|address| ("metrics.listen", address)),
        ];
        let given: Vec<_> = given.into_iter().flatten().collect();
        for (number, (setting, address)) in given.iter().enumerate() {
            for (other, taken) in &given[..number] {
                ensure!(
                    !overlap(*address, *taken),
                    "{} and {other} are both {address}: each needs an address of its own, or leave \
                     the former out",
                    name(setting)
                );
            }
        }
        Ok(())
    }
}

/// Tells whether one listener would be asked what is meant for the other. Port 0 is a free port
/// each.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = |address: SocketAddr| address.ip().is_unspecified();
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_ip = one.ip() == other.ip() || same_family && (is_any(one) || is_any(other));
    one.port() == other.port() && one.port() != 0 && same_ip
}

/// The listeners of a server that does not answer yet.
pub(crate) struct Listeners {
    /// One for each worker.
    clients: Vec<TcpListener>,
    control: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

impl Listeners {
    /// Opens all of them.
    pub(crate) fn open(addresses: &Addresses, workers: usize) -> anyhow::Result<Self> {
        let one = |address: Option<SocketAddr>, setting| {
            let opened = address.map(|address| open(address, 1).context(setting)).transpose()?;
            anyhow::Ok(opened.and_then(|mut listeners| listeners.pop()))
        };
        Ok(Self {
            clients: open(addresses.clients, workers)?,
            control: one(addresses.control, "control.listen")?,
            metrics: one(addresses.metrics, "metrics.listen")?,
        })
    }

    /// Starts the threads that answer.
    pub(crate) fn serve<S: Store>(
        self,
        api: &ServerApi<S>,
        config: &Config,
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<JoinHandle<anyhow::Result<()>>>> {
        let has_control = self.control.is_some();
        let has_metrics = self.metrics.is_some();
        let start = |name: &str, listener, serves, connections| {
            let api = api.clone().serving(serves);
            let limits = Limits { connections, ..config.limits };
            let tls = config.tls.clone();
            let stop = stop.clone();
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || work(listener, api, limits, tls, stop))
                .context("starting a thread that answers")
        };
        let mut threads = Vec::new();
        if let Some(listener) = self.control {
            tracing::info!(address = %address_of(&listener)?, "listening for control requests");
            let serves = Serves { metrics: !has_metrics, ..Serves::ALL };
            threads.push(start("control-http", listener, serves, CONTROL_CONNECTIONS)?);
        }
        if let Some(listener) = self.metrics {
            tracing::info!(address = %address_of(&listener)?, "listening for metrics");
            threads.push(start("metrics-http", listener, Serves::METRICS, METRICS_CONNECTIONS)?);
        }
        let address = address_of(&self.clients[0])?;
        let serves = Serves { decisions: true, control: !has_control, metrics: !has_metrics };
        for listener in self.clients {
            threads.push(start("worker", listener, serves, config.limits.connections)?);
        }
        tracing::info!(%address, workers = config.workers, "listening");
        Ok(threads)
    }
}

fn address_of(listener: &TcpListener) -> anyhow::Result<SocketAddr> {
    listener.local_addr().context("asking for the port")
}

/// Opens a number of listeners, all on the same port.
fn open(address: SocketAddr, number: usize) -> anyhow::Result<Vec<TcpListener>> {
    let cannot = || format!("listening on {address}");
    // Listeners that share a port would share it with another server's as well, so the port is
    // first asked for without sharing.
    drop(TcpListener::bind(address).with_context(cannot)?);
    let first = listen(address).with_context(cannot)?;
    let address = first.local_addr().with_context(cannot)?;
    let mut listeners = vec![first];
    while listeners.len() < number {
        listeners.push(listen(address).with_context(cannot)?);
    }
    Ok(listeners)
}

/// Answers the connections of one listener on this thread.
fn work<S: Store>(
    listener: TcpListener,
    api: ServerApi<S>,
    limits: Limits,
    tls: Option<TlsIdentity>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting a worker's runtime")?;
    runtime.block_on(serve(listener, api, limits, tls, stop)).context("serving")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_once() {
        for (clients, control, metrics, error) in [
            ("127.0.0.1:1", None, None, None),
            ("127.0.0.1:1", Some("127.0.0.1:2"), Some("127.0.0.1:3"), None),
            ("127.0.0.1:0", Some("127.0.0.1:0"), Some("127.0.0.1:0"), None),
            ("0.0.0.0:1", Some("[::1]:1"), None, None),
            ("127.0.0.1:1", Some("127.0.0.1:1"), None, Some("control.listen and listen are both")),
            ("0.0.0.0:1", None, Some("127.0.0.1:1"), Some("metrics.listen and listen")),
            ("127.0.0.1:1", Some("[::]:2"), Some("[::1]:2"), Some("metrics.listen and control")),
        ] {
            let address = |text: &str| text.parse().unwrap();
            let clients = address(clients);
            let addresses =
                Addresses { clients, control: control.map(address), metrics: metrics.map(address) };
            let checked = addresses.check(str::to_owned).map_err(|error| error.to_string());
            match error {
                None => assert_eq!(checked, Ok(())),
                Some(error) => assert!(checked.unwrap_err().starts_with(error), "{addresses:?}"),
            }
        }
    }
}
