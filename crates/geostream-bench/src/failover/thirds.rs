//! One of three regions is lost while each uses 60 % of its capacity.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::connection::Connection;
use crate::failover::ground::wait;
use crate::failover::plan::Plan;
use crate::failover::world::{Client, Declared, Region, World, request};
use crate::figure::Figure;
use crate::figure::float;
use crate::process::{now, pause};

/// What each region can take, in requests a second.
pub(super) const CAPACITY: u32 = 800;

/// How many clients each region has; each asks once in a cycle.
const CLIENTS: usize = 960;

/// 960 clients in 2 s are 480 requests a second: 60 % of the capacity.
pub(super) const CYCLE: Duration = Duration::from_secs(2);

/// How many threads send the requests.
const SENDERS: usize = 4;

/// The region that is lost, and those that take its clients.
const LOST: usize = 0;
const OTHERS: [usize; 2] = [1, 2];

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Vec<Figure>> {
    let capacity = CAPACITY.to_string();
    let mut regions = Region::several(3, &["--capacity", &capacity])?;
    let declared: Vec<_> = regions
        .iter()
        .map(|region| Declared { check: Some(region.url()), capacity: Some(CAPACITY) })
        .collect();
    let world = World::new(&declared)?;
    let phase = Duration::from_secs(if plan.is_quick { 8 } else { 45 });
    let lost = now() + phase;
    let sent = lose_one(&world, &mut regions, phase)?;

    let figure = |what: &str, value, unit| {
        Figure::shown(format!("one of three lost at 60 % load: {what}"), value, unit)
    };
    let highest = |region| highest_share(&sent, region) * 100.0;
    let elsewhere = OTHERS.map(highest).into_iter().fold(0.0, f64::max);
    let removals = world.removals();
    let removed: usize = OTHERS.iter().map(|region| removals.of(*region)).sum();
    let failed: Vec<&Sent> = sent.iter().filter(|sent| !sent.is_served).collect();
    let late = failed.iter().filter(|sent| sent.at > lost + SETTLED).count();
    Ok(vec![
        figure("highest share of capacity elsewhere", elsewhere, "%").at_most(100.0),
        figure("highest share of its own, as it comes back", highest(LOST), "%").at_most(100.0),
        figure("others removed", float(removed), "").at_most(0.0),
        figure("requests that failed", float(failed.len()), ""),
        figure("of which later than 3 s", float(late), "").at_most(0.0),
    ])
}

/// Lets clients come while one region is lost and comes back, a phase each.
fn lose_one(world: &World, regions: &mut [Region], phase: Duration) -> anyhow::Result<Vec<Sent>> {
    let end = now() + phase * 3;
    let addresses: Vec<_> = regions.iter().map(|region| region.address).collect();
    send_during(world, &addresses, Traffic::even(&[CLIENTS; 3]), end, || {
        wait("60 % load on three regions", phase);
        regions[LOST].process().end();
        wait("60 % load, one of three lost", phase);
        regions[LOST].restart()?;
        wait("60 % load, and back", phase);
        Ok(())
    })
}

/// The clients of each region, and how often they ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic<'a> {
    /// How many clients each region has; each asks once in a cycle, at the end of the rise.
    pub(super) clients: &'a [usize],
    /// The share of that with which the traffic begins, and the time over which it rises.
    pub(super) rise: Option<(f64, Duration)>,
}

impl<'a> Traffic<'a> {
    pub(super) fn even(clients: &'a [usize]) -> Self {
        Self { clients, rise: None }
    }

    /// Returns the share of all traffic after this time.
    fn share(rise: Option<(f64, Duration)>, elapsed: Duration) -> f64 {
        let Some((from, over)) = rise else { return 1.0 };
        from + (1.0 - from) * (elapsed.as_secs_f64() / over.as_secs_f64()).min(1.0)
    }
}

/// Lets the clients of each region ask while something happens.
pub(super) fn send_during(
    world: &World,
    addresses: &[SocketAddr],
    traffic: Traffic<'_>,
    end: Instant,
    happens: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Sent>> {
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let sender = Sender::new(number, world, addresses.to_vec(), traffic)?;
                Ok(scope.spawn(move || sender.send_until(end)))
            })
            .collect::<anyhow::Result<_>>()?;
        happens()?;
        let mut sent = Vec::new();
        for sender in senders {
            sent.extend(sender.join().ok().context("a sender has panicked")??);
        }
        Ok(sent)
    })
}

/// By when nobody is sent to the lost region any more.
pub(super) const SETTLED: Duration = Duration::from_secs(3);

/// A request that a decision has sent somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) to: usize,
    pub(super) is_served: bool,
    /// The number of the client that has asked.
    pub(super) client: usize,
}

/// Asks for clients, and goes where it is sent.
struct Sender {
    clients: Vec<(usize, Client)>,
    rise: Option<(f64, Duration)>,
    server: Connection,
    addresses: Vec<SocketAddr>,
    regions: Vec<Option<Connection>>,
}

impl Sender {
    /// Takes every so manieth client of each region.
    fn new(
        number: usize,
        world: &World,
        addresses: Vec<SocketAddr>,
        Traffic { clients, rise }: Traffic<'_>,
    ) -> anyhow::Result<Self> {
        let clients = in_order(clients).into_iter().enumerate();
        let clients = clients.skip(number).step_by(SENDERS).collect();
        let regions = addresses.iter().map(|_| None).collect();
        Ok(Self { clients, rise, server: world.connect()?, addresses, regions })
    }

    /// Lets each client ask once in a cycle, whatever the answers take; less often before the rise.
    fn send_until(mut self, end: Instant) -> anyhow::Result<Vec<Sent>> {
        let gap = CYCLE / u32::try_from(self.clients.len())?;
        let mut sent = Vec::new();
        let began = now();
        let mut next = began;
        for (number, client) in self.clients.clone().into_iter().cycle() {
            if next >= end {
                break;
            }
            pause(next.saturating_duration_since(now()));
            let to = self.server.decide(client)?;
            sent.push(Sent { at: next, to, is_served: self.go_to(to), client: number });
            next += gap.div_f64(Traffic::share(self.rise, next - began));
        }
        Ok(sent)
    }

    /// Uses a region, and tells whether it serves.
    fn go_to(&mut self, region: usize) -> bool {
        let kept = self.regions[region].take();
        let Some(mut connection) = kept.or_else(|| Connection::open(self.addresses[region]).ok())
        else {
            return false;
        };
        let is_served = connection.exchange(&request("GET", "/work", "", "")).is_ok();
        if is_served {
            self.regions[region] = Some(connection);
        }
        is_served
    }
}

/// Returns so many clients of each region in the order in which they ask: each region's are spread
/// over the cycle.
fn in_order(clients: &[usize]) -> Vec<Client> {
    let mut all: Vec<(f64, Client)> = Vec::new();
    for (region, &count) in clients.iter().enumerate() {
        let moments = (0..count).map(|place| float(place) / float(count));
        all.extend(moments.zip(Client::around(region, count)));
    }
    all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    all.into_iter().map(|(_, client)| client).collect()
}

/// Returns the highest share of its capacity that a region was sent in any two seconds.
pub(super) fn highest_share(sent: &[Sent], region: usize) -> f64 {
    let mut moments: Vec<Instant> =
        sent.iter().filter(|sent| sent.to == region).map(|sent| sent.at).collect();
    moments.sort();
    let mut first = 0;
    let mut most = 0;
    for (last, at) in moments.iter().enumerate() {
        while *at - moments[first] >= CYCLE {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    float(most) / CYCLE.as_secs_f64() / f64::from(CAPACITY)
}
