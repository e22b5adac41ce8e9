//! All connections of a process: how many a client network may have, which are closed for others,
//! and how much memory they hold.
//!
//! A limit that is merely reached would lock out the clients that come next, for as long as those
//! who filled it like. So room is made before: of connections, by closing the ones that have been
//! idle for longest, and of memory, by giving up the answers that have not moved for longest. In
//! both cases the client network that has most loses first, since an attacker holds more than
//! others do. What trusted proxies hold goes last: it belongs to many clients.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use geostream_domain::ClientKey;
use metrics::counter;

use crate::client::TrustedProxies;
use crate::connection::{Connection, Listener, Stream};
use crate::totals::{BATCH, Cause, Shed, Totals, closed, millis, reset};
use crate::verdict::Over;

/// How many connections a client network may have at once.
#[derive(Clone, Copy, Debug)]
pub struct NetworkLimit {
    /// The most; 0 for as many as there is room for.
    pub connections: usize,
    /// Whether the limit holds for this machine's own addresses too.
    pub includes_loopback: bool,
}

/// The most memory that requests and their unsent answers may take.
///
/// An explanation of 20,000 regions takes 4 MB, and a batch of 1,000 decisions 0.6 MB.
const MEMORY: usize = 96 << 20;

/// How long ago the last request of a connection must have begun or ended before it is closed for
/// another one. Bytes that trickle in do not protect a place.
const STANDSTILL: Duration = Duration::from_secs(1);

/// How long idle connections are not looked for again where there were none: looking takes time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The connections of all listeners of a process, and the memory that they hold.
pub struct Connections {
    limit: NetworkLimit,
    proxies: TrustedProxies,
    totals: Arc<Totals>,
    open: Mutex<Open>,
    refused: Cause,
    full: Cause,
    shed: Cause,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
    networks: HashMap<ClientKey, Network>,
}

/// What a client network has.
#[derive(Clone, Copy, Default)]
struct Network {
    open: usize,
    /// How many of them have been told to close.
    closing: usize,
    /// When idle ones were last looked for among them in vain.
    vain_at: Option<Duration>,
}

/// A connection's place among all; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    pub(crate) connection: Arc<Connection>,
    all: Arc<Connections>,
    listener: Arc<Listener>,
}

impl Place {
    /// Gives the connection the place of this client instead of its proxy's, unless the client's
    /// network has too many.
    pub(crate) fn pass_to(self, client: IpAddr) -> Option<Self> {
        self.all.admit(&self.listener, client)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connection = &self.connection;
        let mut open = self.all.open();
        open.connections.remove(&self.id);
        let is_closing = connection.is_closing();
        if is_closing {
            self.listener.closing.fetch_sub(1, Ordering::Relaxed);
        }
        if connection.is_exempt {
            return;
        }
        if let Some(network) = open.networks.get_mut(&connection.network) {
            network.open -= 1;
            network.closing -= usize::from(is_closing);
            if network.open == 0 {
                open.networks.remove(&connection.network);
            }
        }
    }
}

impl Connections {
    /// Limits the connections of each client network; those of trusted proxies are no client's.
    #[must_use]
    pub fn new(limit: NetworkLimit, proxies: TrustedProxies) -> Arc<Self> {
        Self::with_memory(limit, proxies, MEMORY)
    }

    fn with_memory(limit: NetworkLimit, proxies: TrustedProxies, memory: usize) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            limit,
            proxies,
            totals: Arc::new(Totals::new(memory, this.clone())),
            open: Mutex::default(),
            refused: Cause::new(counter!("connections_refused_total", "reason" => "network")),
            full: closed("full"),
            shed: reset("memory"),
        })
    }

    /// Returns how many connections a client network may have; 0 for as many as there is room for.
    #[must_use]
    pub fn network_limit(&self) -> usize {
        self.limit.connections
    }

    /// Returns how many connections are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open().connections.len()
    }

    /// Returns how many bytes requests and their unsent answers hold.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.totals.held_bytes()
    }

    /// Gives an accepted connection its place, unless its client's network has too many.
    pub(crate) fn admit(self: &Arc<Self>, listener: &Arc<Listener>, peer: IpAddr) -> Option<Place> {
        let now = self.totals.look_at_clock();
        let network = ClientKey::of_address(peer);
        let is_exempt = self.is_exempt(peer.to_canonical());
        let mut open = self.open();
        if !is_exempt && !self.has_room(&mut open, network, now) {
            drop(open);
            if self.refused.note(1, now) {
                tracing::warn!(
                    limit = self.limit.connections,
                    "a client network has too many connections; more of it are refused"
                );
            }
            tracing::debug!(client = %peer, "a connection is refused");
            return None;
        }
        if !is_exempt {
            open.networks.entry(network).or_default().open += 1;
        }
        let connection = Connection::new(&self.totals, listener, network, is_exempt);
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&connection));
        drop(open);
        Some(Place { id, connection, all: Arc::clone(self), listener: Arc::clone(listener) })
    }

    /// Tells whether a network may have another connection; where it is about to have no room left,
    /// those of its own that are idle make some.
    fn has_room(&self, open: &mut Open, key: ClientKey, now: Duration) -> bool {
        let most = self.limit.connections;
        if most == 0 {
            return true;
        }
        let network = open.networks.entry(key).or_default();
        let has_room = network.open < most;
        if network.open + most / BATCH < most {
            return true;
        }
        let is_vain = network.vain_at.is_some_and(|then| now.saturating_sub(then) < LOOK_EVERY);
        if network.closing == 0 && !is_vain {
            let wanted = (most / BATCH).max(1);
            let idle = self.candidates(open, |connection| {
                connection.network == key && !connection.is_exempt && !connection.is_open()
            });
            let closed = close(open, idle, wanted, Over::Idle);
            if closed == 0 {
                open.networks.entry(key).or_default().vain_at = Some(now);
            }
        }
        has_room
    }

    /// Makes room for an accepted connection at its listener, if that has so few places left.
    pub(crate) fn make_room(&self, waiting: &Place, left: usize) {
        let listener = &waiting.listener;
        let wanted = (listener.limit / BATCH).max(1);
        let coming = left + listener.closing.load(Ordering::Relaxed);
        if coming >= wanted.div_ceil(2) {
            return;
        }
        let now = self.totals.look_at_clock();
        let vain_at = Duration::from_millis(listener.vain_at.load(Ordering::Relaxed));
        if vain_at > Duration::ZERO && now.saturating_sub(vain_at) < LOOK_EVERY {
            return;
        }
        let mut open = self.open();
        let is_here = |connection: &Connection| {
            Arc::ptr_eq(&connection.listener, listener)
                && !std::ptr::eq(connection, &raw const *waiting.connection)
        };
        let idle =
            self.candidates(&open, |connection| is_here(connection) && !connection.is_open());
        let mut closed = close(&mut open, idle, wanted - coming, Over::Idle);
        if closed == 0 && coming == 0 {
            let standing = self.candidates(&open, |connection| {
                is_here(connection) && now.saturating_sub(connection.moved_at()) >= STANDSTILL
            });
            closed = close(&mut open, standing, wanted, Over::Shed);
        }
        drop(open);
        if closed == 0 {
            listener.vain_at.store(millis(now), Ordering::Relaxed);
        }
        if closed > 0 && self.full.note(closed, now) {
            tracing::warn!(
                limit = listener.limit,
                "a listener has hardly any room left; the longest idle connections are closed"
            );
        }
    }

    /// Returns the connections that may be closed, those first that are to be closed first.
    fn candidates(
        &self,
        open: &Open,
        is_candidate: impl Fn(&Connection) -> bool,
    ) -> Vec<Arc<Connection>> {
        let all = open.connections.values();
        let mut found: Vec<_> = all
            .filter(|connection| !connection.is_closing() && is_candidate(connection))
            .map(|connection| {
                let of_network = match connection.is_exempt {
                    true => 0,
                    false => {
                        open.networks.get(&connection.network).map_or(0, |network| network.open)
                    }
                };
                let rank = (connection.is_exempt, Reverse(of_network), connection.moved_at());
                (rank, connection)
            })
            .collect();
        found.sort_unstable_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, connection)| Arc::clone(connection)).collect()
    }

    fn is_exempt(&self, peer: IpAddr) -> bool {
        (peer.is_loopback() && !self.limit.includes_loopback) || self.proxies.trusts(peer)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shed for Connections {
    fn shed(&self, wanted: usize) {
        let now = self.totals.look_at_clock();
        let open = self.open();
        let mut streams: Vec<Arc<Stream>> = Vec::new();
        for connection in open.connections.values() {
            connection.streams_into(&mut streams);
        }
        drop(open);
        let mut by_network: HashMap<ClientKey, usize> = HashMap::new();
        for stream in &streams {
            *by_network.entry(stream.connection.network).or_default() += stream.held();
        }
        let mut ranked: Vec<_> = streams
            .iter()
            .map(|stream| {
                let connection = &stream.connection;
                let of_network = match connection.is_exempt {
                    true => connection.held_in_answers(),
                    false => by_network.get(&connection.network).copied().unwrap_or(0),
                };
                ((connection.is_exempt, Reverse(of_network), stream.moved_at()), stream)
            })
            .collect();
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        let mut freed = 0;
        let mut given_up = 0;
        for (_, stream) in ranked {
            if freed >= wanted {
                break;
            }
            // What was given up before is still counted until its task has ended.
            freed += stream.held();
            given_up += usize::from(stream.give_up());
        }
        if self.shed.note(given_up, now) {
            tracing::warn!(
                limit_bytes = self.totals.memory(),
                "clients take their answers too slowly; those that stand still are given up"
            );
        }
    }
}

/// Tells the first of these connections to close, and returns how many have been told.
fn close(open: &mut Open, ranked: Vec<Arc<Connection>>, most: usize, over: Over) -> usize {
    let mut closed = 0;
    for connection in ranked.into_iter().take(most) {
        if !connection.begin_closing() {
            continue;
        }
        connection.listener.closing.fetch_add(1, Ordering::Relaxed);
        if let Some(network) = open.networks.get_mut(&connection.network)
            && !connection.is_exempt
        {
            network.closing += 1;
        }
        connection.verdict.tell(over);
        closed += 1;
    }
    closed
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::client::ClientSource;

    fn all(most: usize, memory: usize) -> Arc<Connections> {
        let limit = NetworkLimit { connections: most, includes_loopback: true };
        let proxies =
            TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], ClientSource::default());
        Connections::with_memory(limit, proxies, memory)
    }

    fn told(place: &Place) -> Option<Over> {
        place.connection.verdict.over()
    }

    #[test]
    fn a_network_has_its_limit_and_no_other_pays_for_it() {
        let all = all(3, MEMORY);
        let here = Listener::new(100);
        let admit = |address: &str| all.admit(&here, address.parse().unwrap());
        let places = ["127.1.0.1", "127.1.0.2", "::ffff:127.1.0.3"].map(|a| admit(a).unwrap());
        assert!(admit("127.1.0.4").is_none(), "the network is full");
        assert_eq!(places.iter().filter_map(told).count(), 1, "an idle one makes room");
        assert!(admit("127.2.0.1").is_some(), "another network has room");
        let proxied: Vec<_> = (0..10).map(|_| admit("10.0.0.1").unwrap()).collect();
        assert_eq!(all.count(), 13, "those of a trusted proxy are not counted");
        drop(places);
        assert!(admit("127.1.0.4").is_some(), "there is room again");
        drop(proxied);
        assert_eq!(all.count(), 0);
        assert!(all.open().networks.is_empty(), "nothing is kept of networks that have gone");
    }

    #[test]
    fn this_machine_is_limited_only_if_that_is_set() {
        let limit = NetworkLimit { connections: 1, includes_loopback: false };
        let all = Connections::new(limit, TrustedProxies::default());
        let here = Listener::new(100);
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let address: IpAddr = address.parse().unwrap();
            let _first = all.admit(&here, address).unwrap();
            assert!(all.admit(&here, address).is_some(), "{address}");
        }
    }

    #[test]
    fn a_full_listener_closes_idle_connections_of_the_network_that_has_most() {
        let all = all(0, MEMORY);
        let here = Listener::new(4);
        let other = Listener::new(4);
        let admit =
            |listener, address: &str| all.admit(listener, address.parse().unwrap()).unwrap();
        let _elsewhere = [(); 3].map(|()| admit(&other, "127.1.0.1"));
        let proxied = admit(&here, "10.0.0.1");
        let waiting = admit(&here, "127.1.0.1");
        let legitimate = admit(&here, "127.2.0.1");
        let busy = admit(&here, "127.1.0.1");
        let stream = Stream::only(&busy.connection);
        let request = crate::connection::OpenRequest::begin(stream);
        let idle = admit(&here, "127.1.0.1");
        all.make_room(&waiting, 1);
        let every = [&waiting, &proxied, &legitimate, &busy, &idle];
        assert_eq!(every.map(told), [None; 5], "there is room");
        all.make_room(&waiting, 0);
        assert_eq!(told(&idle), Some(Over::Idle));
        all.make_room(&waiting, 0);
        assert_eq!([&proxied, &legitimate, &busy].map(told), [None; 3], "one is closing already");
        drop(idle);
        all.make_room(&waiting, 0);
        assert_eq!(told(&legitimate), Some(Over::Idle), "all others are busy or a proxy's");
        assert_eq!(told(&waiting), None, "it is what room is made for");
        drop(request);
    }

    #[test]
    fn memory_is_freed_by_the_network_that_holds_most() {
        let all = all(0, 10_000);
        let here = Listener::new(100);
        let answer = |place: &Place, bytes: usize| {
            let stream = Stream::only(&place.connection);
            let answer = stream.charge_answer(Bytes::from(vec![0; bytes]), 0);
            (stream, answer)
        };
        let admit = |address: &str| all.admit(&here, address.parse().unwrap()).unwrap();
        let slow = admit("127.2.0.1");
        let many = [(); 4].map(|()| admit("127.1.0.1"));
        let held = answer(&slow, 1_000);
        let mut hoarded: Vec<_> = many.iter().map(|place| answer(place, 1_400)).collect();
        assert_eq!(many.iter().filter_map(told).count(), 0, "there is room for all of it");
        hoarded.push(answer(&many[3], 4_000));
        assert!(many.iter().filter_map(told).count() > 0);
        assert_eq!(told(&slow), None, "a slow client keeps its answer");
        drop(hoarded);
        drop(held);
        assert_eq!(all.held_bytes(), 0, "everything is counted back");
    }
}
