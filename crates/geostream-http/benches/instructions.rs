//! Requests whose instructions are counted: `cargo xtask bench instructions`.
//!
//! `instructions recorded|unrecorded REQUESTS` answers so many requests, one after the other, on a thread
//! that does nothing else, within [`counted`]: everything that the server does for a request outside
//! of the kernel, but for finding the client's place. Metrics are recorded as the server records
//! them, or by nobody.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use geostream_app::{
    Access, AuditTrail, Configuration, Intent, LogLevel, Publisher, RegionHealth, RequestLimits,
    Retention, Router, Tracer,
};
use geostream_domain::{
    Change, Config, CountryCode, GeoPoint, Location, Precision, Region, Revision, Service,
};
use geostream_embedded::EmbeddedStore;
use geostream_http::{
    AllowedOrigins, Api, Connections, Limits, NetworkLimit, Parts, Stage, TrustedProxies, bind,
    serve,
};
use geostream_ports::{Clock as _, GeoDatabase, GeoLocator, Network, Place, SystemClock};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(mode), Some(Ok(requests))) =
        (arguments.next(), arguments.next().map(|requests| requests.parse()))
    else {
        // As a test of all targets, there is nothing to count.
        return;
    };
    if mode == "recorded" {
        PrometheusBuilder::new().install_recorder().expect("the only recorder");
    }
    let control = runtime::Builder::new_current_thread().enable_all().build();
    let control = control.expect("a runtime");
    let api = control.block_on(api(&control));
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let listener = listener.listen().expect("it listens");
    let address = listener.local_addr().expect("it listens");
    let (stop, stopping) = watch::channel(Stage::Serving);
    let worker = thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        counted(&runtime.expect("a runtime"), listener, api, stopping);
    });
    ask(address, requests);
    stop.send_replace(Stage::Draining);
    worker.join().expect("the worker ends");
}

type EveryPart = Api<EmbeddedStore, OnePlace, SystemClock>;

#[inline(never)]
fn counted(
    runtime: &Runtime,
    listener: TcpListener,
    api: EveryPart,
    stopping: watch::Receiver<Stage>,
) {
    let limits = Limits {
        proxy_protocol: false,
        connections: 100,
        header_patience: Duration::from_secs(600),
        body_patience: Duration::from_secs(600),
        drain_patience: Duration::from_secs(600),
    };
    runtime.block_on(serve(listener, api, limits, None, stopping)).expect("it serves");
}

/// Asks for one client, over and over, on one connection.
fn ask(address: SocketAddr, requests: usize) {
    let body = r#"{"client_ip": "8.8.8.8", "service": "api"}"#;
    let length = body.len();
    let request = format!(
        "POST /api/v1/route HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut answer = vec![0; 64 << 10];
    for _request in 0..requests {
        stream.write_all(request.as_bytes()).expect("it reads");
        let read = stream.read(&mut answer).expect("it answers");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "it answers well");
    }
}

async fn api(control: &Runtime) -> EveryPart {
    let (store, clock) = (EmbeddedStore::in_memory().expect("a store"), SystemClock);
    let publisher = Arc::new(Publisher::new(clock));
    let configuration = Configuration::new(store.clone(), Arc::clone(&publisher), clock);
    let line = || "bench".parse().expect("a line");
    let expected = Revision::ZERO;
    let intent = Intent { expected, author: line(), reason: line(), attempt: None };
    let declared = configuration.bootstrap(intent, &config()).await;
    assert!(declared.expect("a valid configuration"), "it is the first");
    let retention = Retention { age: Duration::from_secs(600), records: 1 };
    let silence = "off".parse().expect("a filter");
    let (trail, _keeper) = AuditTrail::new(store.clone(), retention, clock);
    Api::new(Parts {
        origins: AllowedOrigins::default(),
        certificate: None,
        backup: None,
        router: Router::new(&publisher, Arc::new(OnePlace)),
        configuration,
        store: Arc::default(),
        directory: Arc::default(),
        health: Arc::new(RegionHealth::new(publisher, store.clone(), clock, &[], 1)),
        nodes: None,
        cache: None,
        access: Arc::new(Access::new(store, clock)),
        trail,
        clock,
        limits: RequestLimits::default(),
        max_connections: 1,
        log_level: Arc::new(LogLevel::new(silence, |_filter| {}, clock)),
        tracer: Tracer::OFF,
        proxies: TrustedProxies::default(),
        connections: Connections::new(
            NetworkLimit { connections: 0, includes_loopback: false },
            TrustedProxies::default(),
        ),
        control: control.handle().clone(),
        metrics: Box::new(String::new),
        node: "bench".parse().expect("a name"),
        version: "",
        started: clock.wall(),
        stopping: Box::new(|| false),
    })
}

/// Thirty regions spread over the Earth.
fn config() -> Config {
    let mut changes = Vec::new();
    let mut members = Vec::new();
    for number in 0..30_u32 {
        let latitude = f64::from(number) * 4.0 - 55.0;
        let longitude = (f64::from(number) * 137.5).rem_euclid(360.0) - 180.0;
        let point = GeoPoint::new(latitude, longitude).expect("a point");
        let id = format!("region-{number}");
        let mut region = Region::new(id.parse().expect("a name"), point);
        region.endpoint = format!("https://{id}.api.example.com").parse().ok();
        members.push(region.id.clone());
        changes.push(Change::from(region));
    }
    let service = Service::new("api".parse().expect("a name"), members);
    changes.push(Change::from(service));
    Config::default().after(changes).expect("a valid configuration")
}

/// Where everybody is.
#[derive(Debug)]
struct OnePlace;

impl GeoLocator for OnePlace {
    fn locate(&self, address: IpAddr) -> Place {
        let location = Location {
            point: GeoPoint::new(37.4, -122.1).ok(),
            precision: Precision::City,
            country: "US".parse::<CountryCode>().ok(),
            ..Location::UNKNOWN
        };
        Place { location, network: Some(Network { address, prefix: 24 }) }
    }

    fn databases(&self) -> Vec<GeoDatabase> {
        Vec::new()
    }

    fn is_complete(&self) -> bool {
        true
    }
}
