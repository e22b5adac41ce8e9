//! How regions are, and what is reported of them.

use std::time::Duration;

use geostream_api::{
    BudgetSpent, Fields, HealthChange, HealthHistory, HealthReport, HeldRegion, OutcomeKind,
    OutcomeReport, OutcomesAnswer, OutcomesRequest, RegionHealth, Time,
};
use geostream_app::{Outcome, RegionStatus, Reported};
use geostream_domain::{Load, NodeId, RegionId, Removal, RoutingTable, ServiceTable, Touched};
use geostream_ports::{Clock, GeoLocator, HealthRecord, Store};

use crate::api::Api;
use crate::body;
use crate::call::Call;
use crate::client::read_address;
use crate::limited::Visible;
use crate::problem::{Answer, Failure};
use crate::query::Query;
use crate::words::{self, breaker, votes};

/// The most outcomes in a report.
const OUTCOMES: usize = 1_000;

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    pub(crate) fn region_health(&self, call: &Call) -> Result<Answer, Failure> {
        let view = self.router.view();
        let table = view.table();
        let mut regions = self.parts.health.regions();
        regions.retain(|status| call.visible.has_region(&status.region));
        body::json(&HealthReport {
            regions: regions.into_iter().map(|status| describe(table, status)).collect(),
            budget_spent: budget_spent(table, &call.visible),
        })
    }

    pub(crate) async fn list_health_changes(&self, call: &Call) -> Result<Answer, Failure> {
        let mut query = Query::of(&call.uri);
        let region: Option<RegionId> = query.parsed("region")?;
        let limit = query.page_limit()?;
        query.end()?;
        // The history has no pages, so one that leaves out regions would look complete.
        call.visible.check(region.as_ref().map_or(Touched::Everything, Touched::Region))?;
        let changes = self.parts.health.changes(region.clone(), limit).await?;
        if changes.is_empty()
            && let Some(region) = region
            && self.router.view().table().entry(&region).is_none()
        {
            return Err(Failure::no_region(&region).at("?region"));
        }
        body::json(&HealthHistory { changes: changes.iter().map(describe_change).collect() })
    }

    pub(crate) fn take_outcomes(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let OutcomesRequest { outcomes } = body::read(&call.headers, &call.body)?;
        if !(1..=OUTCOMES).contains(&outcomes.len()) {
            let detail = format!("1 to {OUTCOMES} are expected, and {} were given", outcomes.len());
            return Err(Failure::field("/outcomes", detail));
        }
        let mut fields = Fields::default();
        let read: Vec<Outcome> = outcomes
            .iter()
            .enumerate()
            .filter_map(|(number, report)| read(number, report, &mut fields))
            .collect();
        let read = fields.finish(Some(read))?;
        for outcome in &read {
            call.visible.check(Touched::Region(&outcome.region))?;
        }
        let Reported { accepted, mut unknown, .. } = self.parts.health.report(read);
        unknown.sort();
        unknown.dedup();
        let unknown = unknown.iter().map(RegionId::to_string).collect();
        body::json(&OutcomesAnswer { accepted, unknown })
    }
}

fn read(number: usize, report: &OutcomeReport, fields: &mut Fields) -> Option<Outcome> {
    let at = |field: &str| format!("/outcomes/{number}/{field}");
    let region: Option<RegionId> = fields.check(at("region"), report.region.parse());
    let load = fields.check_some(at("load"), report.load.map(Load::new));
    if report.outcome.is_none() && report.load.is_none() {
        fields.note(at("outcome"), "an outcome or a load is expected");
    }
    let rtt = fields.check_some(at("rtt_ms"), report.rtt_ms.map(read_rtt));
    let client = fields.check_some(at("client_ip"), report.client_ip.as_deref().map(read_address));
    let is_well = report.outcome.map(|outcome| outcome == OutcomeKind::Ok);
    Some(Outcome { region: region?, is_well, client, rtt, load })
}

fn read_rtt(millis: f64) -> Result<Duration, &'static str> {
    if (0.0..=3_600_000.0).contains(&millis) {
        Ok(Duration::from_secs_f64(millis / 1_000.0))
    } else {
        Err("0 to 3600000 milliseconds are expected")
    }
}

fn describe(table: &RoutingTable, status: RegionStatus) -> RegionHealth {
    let RegionStatus { region, watched, observed, load, seen_at, evidence, held_until } = status;
    let overridden = table.entry(&region).and_then(|entry| entry.overridden.as_ref());
    RegionHealth {
        region: region.to_string(),
        health: words::health(watched.health).to_owned(),
        removal: watched.removal.map(|removal| removal.as_str().to_owned()),
        held_until: held_until.map(Time),
        seen_here: words::health(watched.own).to_owned(),
        votes: watched.votes.map(votes),
        breaker: watched.breaker.map(|state| breaker(state).to_owned()),
        failures: watched.failures,
        share: words::rounded(watched.share.fraction(), 100.0),
        abstains: watched.abstains,
        probe_forbidden: watched.is_forbidden,
        load: load.map(|load| words::rounded(load.units(), 100.0)),
        since: observed.map(|observed| Time(observed.since)),
        seen: seen_at.map(Time),
        evidence,
        overridden: overridden.map(|wish| wish.action.as_str().to_owned()),
    }
}

fn describe_change(record: &HealthRecord) -> HealthChange {
    let HealthRecord { region, node, health, evidence, at, response_time, errors } = record;
    HealthChange {
        region: region.to_string(),
        node: node.as_ref().map(NodeId::to_string),
        health: words::health(*health).to_owned(),
        at: Time(*at),
        evidence: evidence.clone(),
        errors: *errors,
        response_time_ms: response_time.map(|took| words::rounded(took.as_secs_f64() * 1e3, 1e3)),
    }
}

/// Returns the regions that answer their probes and are held back for flapping.
pub(crate) fn held(regions: &[RegionStatus]) -> Vec<HeldRegion> {
    let held = regions.iter().filter(|status| status.watched.removal == Some(Removal::Held));
    held.map(|status| HeldRegion {
        region: status.region.to_string(),
        held_until: status.held_until.map(Time),
    })
    .collect()
}

/// Returns the services of which no more may be removed, and the regions that are retained.
pub(crate) fn budget_spent(table: &RoutingTable, visible: &Visible) -> Vec<BudgetSpent> {
    let services = table.services().iter();
    let services = services.filter(|service| visible.has_service(&service.service().id));
    services.filter_map(|service| spent(table, service)).collect()
}

fn spent(table: &RoutingTable, service: &ServiceTable) -> Option<BudgetSpent> {
    let retained = service.retained().iter().map(|&index| table.region(index).id.to_string());
    let retained: Vec<_> = retained.collect();
    let service = service.service().id.to_string();
    (!retained.is_empty()).then_some(BudgetSpent { service, retained })
}
