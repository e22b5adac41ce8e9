//! Memory: by how many regions there are, and by how many clients are connected and ask nothing.

use anyhow::Context as _;

use crate::clients::requests;
use crate::connection::Connection;
use crate::figure::Figure;
use crate::http::{CONNECTIONS, Scene};
use crate::load::Load;
use crate::places::{declaration, spread};
use crate::process::permit_many_files;
use crate::served::Served;
use xtask::geoip;

/// Clients that have asked once and stay, and how long they may.
const IDLE: usize = 10_000;
const SETTINGS: &str = "[http]\nmax_connections = 20000\nheader_timeout_seconds = 600\n";

pub(crate) fn run(scene: &Scene) -> anyhow::Result<Vec<Figure>> {
    let count = if scene.is_quick { 10_000 } else { 100_000 };
    let requests = requests(&scene.many);
    let mut bytes = 0;
    for file in geoip::files()? {
        bytes += file.metadata()?.len();
    }
    let geoip_mb = f64::from(u32::try_from(bytes / 1000)?) / 1000.0;
    let mut figures = vec![Figure::shown("GeoIP files", geoip_mb, "MB")];
    for regions in [30, 1_000, 10_000] {
        let server = Served::geostream(&spread(regions)?)?;
        let mut load = Load::new(server.address, CONNECTIONS, &requests)?;
        let before = server.cpu_time()?;
        load.as_fast_as_possible(count)?;
        let took = (server.cpu_time()?.all() - before.all()) / count as f64 * 100_000.0;
        let shown = |what: &str, value, unit| {
            Figure::shown(format!("{regions} regions: {what}"), value, unit)
        };
        figures.push(shown("memory", server.resident_mb()?, "MB"));
        figures.push(shown("processor time of 100,000 requests", took, "s"));
    }
    figures.extend(idle(scene, &requests)?);
    Ok(figures)
}

/// Keeps many connections that nobody asks anything on.
fn idle(scene: &Scene, requests: &[Vec<u8>]) -> anyhow::Result<[Figure; 2]> {
    permit_many_files()?;
    let server = Served::geostream_with(&declaration(&scene.regions), SETTINGS, &[])?;
    // What the first requests leave behind is not the connections'.
    Load::new(server.address, CONNECTIONS, requests)?.as_fast_as_possible(10_000)?;
    let before = server.resident_mb()?;
    let mut connections = Vec::with_capacity(IDLE);
    for request in requests.iter().cycle().take(IDLE) {
        let mut connection = Connection::open(server.address).with_context(|| {
            format!("{} connections, and no more: see ulimit -n", connections.len())
        })?;
        connection.send(request)?;
        connection.receive()?;
        connections.push(connection);
    }
    let with = server.resident_mb()?;
    Ok([
        Figure::shown("memory with 10,000 idle connections", with, "MB"),
        Figure::shown("memory of an idle connection", (with - before) / IDLE as f64 * 1000.0, "kB"),
    ])
}
