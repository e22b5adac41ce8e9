//! How the node is: alive, ready, and in numbers.

use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use geostream_api::{
    ClockSkews, GeoData, GeoDatabase, Node, NodeState, Override, Peers, Readiness, Status, Time,
    Warning,
};
use geostream_app::{LocationSource, StoreState};
use geostream_domain::{ClientKey, KnownSkew, NodeSummary, RequestLimit, Revision, RosterEntry};
use geostream_ports::{Clock, Families, GeoLocator, Place, Store};
use http::Request;
use http::header::HeaderValue;
use hyper::body::Incoming;
use tokio::time::sleep;

use crate::OPENAPI;
use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::gauges;
use crate::health;
use crate::json::Object;
use crate::limited::Visible;
use crate::problem::{Answer, Failure, Kind};
use crate::query::Query;
use crate::route;
use crate::routes::{Route, Watch};
use crate::trace::trace_of;
use crate::warnings;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Answers what watches the node, on the thread that has the connection.
    pub(crate) async fn answer_watcher(
        &self,
        watch: Watch,
        route: &Route,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        body::collect(request.body_mut(), route.body_limit, patience).await?;
        Query::of(request.uri()).end()?;
        match watch {
            Watch::Health => Self::health(),
            Watch::Readiness => self.readiness(),
            Watch::Metrics => self.metrics(route, request, peer).await,
        }
    }

    fn health() -> Result<Answer, Failure> {
        body::json(&Readiness { status: "alive".into(), warnings: Vec::new() })
    }

    /// Tells whether the node has a configuration and the GeoIP files that it is to have.
    fn readiness(&self) -> Result<Answer, Failure> {
        let not_ready = |detail: &str| Err(Failure::new(Kind::NotReady, detail));
        if (self.parts.stopping)() {
            return not_ready("the server is about to stop");
        }
        let view = self.router.view();
        match view.store() {
            StoreState::Unread => return not_ready("the configuration has not been read yet"),
            StoreState::Nothing { error } => {
                return not_ready(&format!("the configuration cannot be read: {error}"));
            }
            StoreState::Current | StoreState::LastGood { .. } | StoreState::Behind(_) => {}
        }
        if view.table().revision() == Revision::ZERO {
            return not_ready("nothing has been configured yet");
        }
        if !self.router.geo().is_complete() {
            let refused = warnings::of_geoip(&self.router.geo().databases());
            let detail = refused
                .map_or_else(|| "a GeoIP file is missing".to_owned(), |refused| refused.detail);
            return not_ready(&detail);
        }
        body::json(&Readiness { status: "ready".into(), warnings: self.warnings() })
    }

    /// Returns what needs an operator's attention although the node answers.
    fn warnings(&self) -> Vec<Warning> {
        let view = self.router.view();
        let now = self.parts.clock.now();
        let wall = self.parts.clock.own_wall();
        let doubts = self.parts.health.doubts();
        let reachability = self.parts.health.reachability(view.table().config().settings());
        let proxy = self.shared.forwarding.untrusted(now);
        let mut warnings = warnings::of_store(view.store(), &self.parts.store.troubles(), wall);
        warnings.extend(warnings::of_directory(&self.parts.directory.files(), wall));
        if let Some(certificate) = &self.parts.certificate {
            warnings.extend(warnings::of_certificate(certificate, wall));
        }
        let others = [
            warnings::of_admins(self.parts.access.admins_end()),
            warnings::of_clocks(&self.parts.clock.skews()),
            warnings::of_targets(&reachability),
            warnings::of_fences(view.unassigned()),
            warnings::of_geoip(&self.router.geo().databases()),
            warnings::of_loss(&doubts, now, wall),
            warnings::of_abstaining(&doubts, now),
            proxy.map(|proxy| warnings::of_proxy(proxy, self.parts.proxies.source().header())),
        ];
        warnings.extend(others.into_iter().flatten());
        warnings
    }

    /// Answers with the latest rendering of the metrics, which at most one request a second makes
    /// anew.
    async fn metrics(
        &self,
        route: &Route,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Answer, Failure> {
        let exposition = &self.shared.exposition;
        let network = ClientKey::of_address(self.client_address(request.headers(), peer));
        let wait = exposition.wait(network, exposition.size(), self.parts.clock.now());
        match wait {
            Some(Duration::ZERO) => {}
            Some(wait) => sleep(wait).await,
            None => return Err(Failure::busy("this client's network reads the metrics too fast")),
        }
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        if let Some(bytes) = exposition.fresh(self.parts.clock.now()) {
            return Ok(body::answer(bytes, content_type));
        }
        let work = |api: Self| async move {
            let renderer = api.clone();
            let render = move || renderer.render_metrics();
            let rendering = api.shared.exposition.render(|| api.parts.clock.now(), render);
            match rendering.await {
                Ok(bytes) => Ok(body::answer(bytes, content_type)),
                Err(error) => {
                    tracing::error!(%error, "the metrics cannot be rendered");
                    Err(Failure::new(Kind::Internal, "the metrics cannot be rendered"))
                }
            }
        };
        self.on_control(route.operation.id(), trace_of(request), work).await
    }

    fn render_metrics(&self) -> String {
        let now = self.parts.clock.wall();
        let view = self.router.view();
        gauges::show_table(view.table(), now);
        gauges::show_node(self.parts.version, self.readiness().is_ok(), view.store());
        gauges::show_store(&self.parts.store.troubles());
        gauges::show_last_good(&self.parts.directory.files(), self.parts.clock.own_wall());
        if let Some(certificate) = &self.parts.certificate {
            gauges::show_certificate(certificate.validity());
        }
        gauges::show_warnings(&self.warnings());
        gauges::show_skews(&self.parts.clock.skews());
        self.parts.health.regions().iter().for_each(gauges::show_region);
        self.parts.health.canaries().iter().for_each(gauges::show_canary);
        gauges::show_answering(self.parts.health.doubts().answering, self.parts.clock.now());
        self.parts.cache.iter().for_each(|tally| gauges::show_cache(tally));
        gauges::show_peers(self.parts.health.peers().as_ref());
        gauges::show_limits(&self.parts.limits);
        gauges::show_connections(&self.parts.connections);
        gauges::show_geo(&self.router.geo().databases(), now);
        (self.parts.metrics)()
    }

    pub(crate) fn openapi(&self) -> Answer {
        body::answer(OPENAPI, HeaderValue::from_static("application/yaml"))
    }

    pub(crate) fn look_up_address(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let address: IpAddr = call.parameter()?;
        let place = self.router.geo().locate(address);
        let known = place != Place::UNKNOWN;
        let source = if known { LocationSource::GeoIp } else { LocationSource::None };
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        route::write_client(&mut object, &place.location, place.network, Some(address), source);
        object.end();
        Ok(body::answer(out, HeaderValue::from_static("application/json")))
    }

    pub(crate) fn status(&self, call: &Call) -> Result<Answer, Failure> {
        let visible = &call.visible;
        let view = self.router.view();
        let (table, config) = (view.table(), view.table().config());
        let now = self.parts.clock.wall();
        let mut regions = self.parts.health.regions();
        regions.retain(|status| visible.has_region(&status.region));
        let overrides = config.overrides().values();
        let overrides =
            overrides.filter(|wish| wish.holds_at(now) && visible.has_region(&wish.region));
        let troubles = self.parts.store.troubles();
        let store = warnings::of_store(view.store(), &troubles, self.parts.clock.own_wall());
        let store: Vec<_> = store.into_iter().map(|warning| warning.detail).collect();
        body::json(&Status {
            version: self.parts.version.to_owned(),
            node: self.parts.node.to_string(),
            peers: self.parts.health.peers().map(describe_peers),
            started: Time(self.parts.started),
            revision: table.revision().get(),
            table_compiled: Time(table.compiled_at()),
            store_error: (!store.is_empty()).then(|| store.join("; ")),
            warnings: self.warnings(),
            regions: config.regions().keys().filter(|id| visible.has_region(id)).count(),
            services: config.services().keys().filter(|id| visible.has_service(id)).count(),
            overrides: overrides
                .map(|wish| (wish.region.to_string(), Override::from(wish)))
                .collect(),
            budget_spent: health::budget_spent(table, visible),
            held: health::held(&regions),
            abstaining: regions
                .iter()
                .filter(|status| status.watched.abstains)
                .map(|status| status.region.to_string())
                .collect(),
            probe_forbidden: regions
                .iter()
                .filter(|status| status.watched.is_forbidden)
                .map(|status| status.region.to_string())
                .collect(),
            limits: (!visible.is_limited()).then(|| self.limits(config.settings())),
            clock_skew_ms: ClockSkews::from(&self.parts.clock.skews()),
            nodes: self.nodes(visible),
            geo: self.router.geo().databases().into_iter().map(describe).collect(),
        })
    }

    /// Returns what this node says of itself, for the others and for operators.
    #[must_use]
    pub fn summary(&self) -> NodeSummary {
        let view = self.router.view();
        let skews = self.parts.clock.skews();
        let settled = |known: Option<KnownSkew>| known.map(|known| known.settled);
        NodeSummary {
            version: self.parts.version.to_owned(),
            started: self.parts.started,
            revision: view.table().revision(),
            store: self.store_in_a_word().to_owned(),
            warnings: self.warnings().into_iter().map(|warning| warning.code).collect(),
            store_skew: settled(skews.store),
            cache_skew: settled(skews.cache),
            limits: self.limits_by_name(),
            last_good: self.parts.directory.files().last_good.map(|(revision, _)| revision),
            is_leaving: (self.parts.stopping)(),
        }
    }

    /// Returns the limits in force, by the names of their settings.
    fn limits_by_name(&self) -> BTreeMap<String, u32> {
        let limits = &self.parts.limits;
        let limits = [
            ("requests_per_second", limits.clients.in_force()),
            ("requests_per_second_per_token", limits.tokens.in_force()),
        ];
        let limits = limits.into_iter().filter(|(_, limit)| limit.value != RequestLimit::NONE);
        limits.map(|(name, limit)| (name.to_owned(), limit.value.per_second())).collect()
    }

    /// Says in a word how the store is, or where the configuration in use comes from.
    fn store_in_a_word(&self) -> &'static str {
        let troubles = self.parts.store.troubles();
        if !troubles.is_readable() {
            "unreadable"
        } else if !troubles.is_writable() {
            "read_only"
        } else {
            self.router.view().store().as_str()
        }
    }

    /// Returns this node and those that it hears or misses.
    fn nodes(&self, visible: &Visible) -> Vec<Node> {
        let own = Node {
            node: self.parts.node.to_string(),
            state: NodeState::Answers,
            silent_ms: 0,
            summary: Some(geostream_api::NodeSummary::from(&self.summary())),
        };
        let now = self.parts.clock.now();
        let others = self.parts.nodes.iter().flat_map(|nodes| nodes.others(now));
        let mut nodes: Vec<_> = iter::once(own).chain(others.map(describe_node)).collect();
        if visible.is_limited() {
            let summaries = nodes.iter_mut().filter_map(|node| node.summary.as_mut());
            summaries.for_each(|summary| summary.limits.clear());
        }
        nodes
    }
}

fn describe_node(entry: RosterEntry) -> Node {
    let RosterEntry { node, summary, silent, is_missing } = entry;
    Node {
        node: node.to_string(),
        state: if is_missing { NodeState::Missing } else { NodeState::Heard },
        silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
        summary: summary.map(|summary| geostream_api::NodeSummary::from(&*summary)),
    }
}

fn describe_peers(peers: geostream_app::Peers) -> Peers {
    let geostream_app::Peers { nodes, error, is_blind } = peers;
    let nodes = nodes.iter().map(ToString::to_string).collect();
    Peers { nodes, error, abstains: is_blind }
}

fn describe(file: geostream_ports::GeoDatabase) -> GeoDatabase {
    GeoDatabase { path: file.path, data: file.data.map(describe_data), refused: file.refused }
}

fn describe_data(data: geostream_ports::GeoData) -> GeoData {
    GeoData {
        kind: data.kind,
        built: Time(data.built),
        bytes: data.bytes,
        families: match data.families {
            Families::V4 => "ipv4",
            Families::V6 => "ipv6",
            Families::Both => "both",
        }
        .to_owned(),
        attribution: data.attribution.map(str::to_owned),
    }
}
