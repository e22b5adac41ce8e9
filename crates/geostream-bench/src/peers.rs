//! What else answers which region should serve a client: other servers, set up for it as well as
//! their manuals permit (`crates/geostream-bench/peers/`).

mod maps;

use std::path::Path;

use anyhow::Context as _;
use geostream_geoip::Database;
use serde_json::json;

use crate::cores;
use crate::peers::maps::Maps;
use crate::places::Region;
use crate::served::{Served, Site};
use xtask::debian::{self, Package};
use xtask::geoip;
use xtask::shell::say;

/// Another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// nginx with the geoip2 module, and a region for each country.
    NginxMap,
    /// haproxy with a region for each network.
    Haproxy,
    /// nginx with Lua, which calls libmaxminddb directly and decides as GeoStream does.
    NginxFfi,
    /// The same by the library for Lua that Debian has.
    NginxLibrary,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::NginxMap => "nginx, a map by country",
            Self::Haproxy => "haproxy, a map by network",
            Self::NginxFfi => "nginx + Lua, by FFI",
            Self::NginxLibrary => "nginx + Lua, by a library",
        }
    }

    /// Returns how many times its processor time GeoStream may take at most.
    pub(crate) fn bar(self) -> f64 {
        match self {
            Self::NginxMap => 1.1,
            Self::Haproxy => 0.9,
            Self::NginxFfi => 0.62,
            Self::NginxLibrary => 0.36,
        }
    }

    fn packages(self) -> &'static [Package] {
        match self {
            Self::NginxMap => &[NGINX, GEOIP2],
            Self::Haproxy => &[HAPROXY],
            Self::NginxFfi => &[NGINX, LUA, CJSON, MAXMINDDB],
            Self::NginxLibrary => &[NGINX, LUA, CJSON, MMDB, COMPAT],
        }
    }
}

const NGINX: Package = ("nginx", || Path::new(NGINX_PROGRAM).exists());
const NGINX_PROGRAM: &str = "/usr/sbin/nginx";
const GEOIP2: Package = ("libnginx-mod-http-geoip2", || {
    Path::new("/usr/lib/nginx/modules/ngx_http_geoip2_module.so").exists()
});
const LUA: Package = ("libnginx-mod-http-lua", || {
    Path::new("/usr/lib/nginx/modules/ngx_http_lua_module.so").exists()
});
const CJSON: Package = ("lua-cjson", || Path::new("/usr/share/lua/5.1/cjson/util.lua").exists());
const MMDB: Package = ("lua-mmdb", || Path::new("/usr/share/lua/5.1/mmdb/init.lua").exists());
const COMPAT: Package = ("lua-compat53", || Path::new("/usr/share/lua/5.1/compat53").exists());
const MAXMINDDB: Package = ("libmaxminddb0", || {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"].map(Path::new);
    places.iter().any(|place| place.join("libmaxminddb.so.0").exists())
});
const HAPROXY: Package = ("haproxy", || Path::new(HAPROXY_PROGRAM).exists());
const HAPROXY_PROGRAM: &str = "/usr/sbin/haproxy";

/// Starts those that can be had, each with its bar; says which ones are left out, and why.
pub(crate) fn start_all(
    peers: &[Peer],
    regions: &[Region],
    database: &Database,
) -> anyhow::Result<Vec<(Served, f64)>> {
    let maps = Maps::new(regions, database)?;
    let mut started = Vec::new();
    for &peer in peers {
        match debian::install(peer.packages()) {
            Ok(()) => started.push((start(peer, regions, &maps)?, peer.bar())),
            Err(missing) => say(&format!("left out: {}: {missing:#}", peer.name())),
        }
    }
    Ok(started)
}

fn start(peer: Peer, regions: &[Region], maps: &Maps<'_>) -> anyhow::Result<Served> {
    let site = Site::new()?;
    std::fs::create_dir(site.directory().join("temp"))?;
    let program = match peer {
        Peer::NginxMap => {
            site.write("countries.map", &maps.countries())?;
            site.write("bodies.map", &maps.bodies("'", "';"))?;
            NGINX_PROGRAM
        }
        Peer::Haproxy => {
            site.write("networks.map", &maps.networks())?;
            site.write("bodies.map", &maps.bodies("", ""))?;
            HAPROXY_PROGRAM
        }
        Peer::NginxFfi | Peer::NginxLibrary => {
            site.write("regions.json", &described(regions))?;
            site.write("decide.lua", include_str!("../peers/decide.lua"))?;
            site.write("ffi_mmdb.lua", &fill(include_str!("../peers/ffi_mmdb.lua"), peer, &site)?)?;
            site.write("library_mmdb.lua", include_str!("../peers/library_mmdb.lua"))?;
            NGINX_PROGRAM
        }
    };
    let config = match peer {
        Peer::NginxMap => include_str!("../peers/nginx-map.conf"),
        Peer::Haproxy => include_str!("../peers/haproxy.cfg"),
        Peer::NginxFfi | Peer::NginxLibrary => include_str!("../peers/nginx-lua.conf"),
    };
    site.write("config", &fill(config, peer, &site)?)?;
    let config = site.directory().join("config");
    let mut server = cores::server(Path::new(program));
    match peer {
        Peer::Haproxy => server.arg("-db").arg("-f").arg(config),
        Peer::NginxMap | Peer::NginxFfi | Peer::NginxLibrary => {
            server.arg("-p").arg(site.directory()).arg("-c").arg(config)
        }
    };
    site.start(peer.name(), server)
}

/// Fills in what a configuration leaves open.
fn fill(text: &str, peer: Peer, site: &Site) -> anyhow::Result<String> {
    let (file, is_nested) = geoip::ipv4_file();
    let file = file.to_str().context("the GeoIP file's path is text")?;
    let directory = site.directory().to_str().context("the directory's path is text")?;
    let module = if peer == Peer::NginxLibrary { "library_mmdb" } else { "ffi_mmdb" };
    let [country, latitude, longitude] = if is_nested {
        ["country iso_code", r#""location", "latitude""#, r#""location", "longitude""#]
    } else {
        ["country_code", r#""latitude""#, r#""longitude""#]
    };
    Ok(text
        .replace("@DIRECTORY@", directory)
        .replace("@PORT@", &site.port.to_string())
        .replace("@HTTP2_PORT@", &site.http2_port.to_string())
        .replace("@GEOIP@", file)
        .replace("@COUNTRY@", country)
        .replace("@LATITUDE@", latitude)
        .replace("@LONGITUDE@", longitude)
        .replace("@MODULE@", module))
}

/// Describes the regions for Lua.
fn described(regions: &[Region]) -> String {
    let described: Vec<_> = regions
        .iter()
        .map(|Region { id, point }| {
            json!({ "id": id, "latitude": point.latitude(), "longitude": point.longitude() })
        })
        .collect();
    json!(described).to_string()
}
