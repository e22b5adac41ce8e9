//! Explanations: every region's fate in one decision, and what ranked it.
//!
//! An explanation looks at every region, and its answer has megabytes where there are thousands. So
//! explanations are made one at a time on a thread that may block, and a bounded number of regions
//! is explained in answers that were not taken yet.
//!
//! The fate and the ranking terms of a region are public as the flag `public_explain` says. Who
//! forced a region and why, and what was observed of it, is for tokens that may read: of the services
//! and regions that they reach.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use geostream_api::{Explained, Explanation, Observed, Terms, Time};
use geostream_app::{Caller, ExplainedRoute, Trace};
use geostream_domain::{
    ClientKey, Evidence, Fate, Flag, Objective, Rank, Reach, RegionEntry, RegionId, RoutingTable,
    ServiceId, ServiceTable, Touched,
};
use geostream_ports::{Clock, GeoLocator, Scope, Store, TraceContext};
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use tokio::task::spawn_blocking;
use tracing::Span;

use crate::api::Api;
use crate::body;
use crate::choice::Choices;
use crate::explanations::Asker;
use crate::places::Place;
use crate::problem::{Answer, Failure, Kind};
use crate::route::write_answer;
use crate::route_input::RouteInput;
use crate::trace::log;
use crate::words::{health, milliseconds, rounded, rounded_ms, votes};

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Says who asks for an explanation, or that it may have none.
    pub(crate) async fn asker(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        service: Option<&ServiceId>,
    ) -> Result<Asker, Failure> {
        let touched = service.map_or(Touched::Nothing, Touched::Service);
        let failure = match self.authenticate(headers).await {
            Ok(caller) => match caller.grant.permits(Scope::Viewer, touched) {
                Ok(()) => return Ok(Asker::Known(caller)),
                Err(error) => error.into(),
            },
            Err(failure) => failure,
        };
        let is_public = self.router.view().table().config().flag(Flag::PublicExplain);
        if is_public && failure.status() != StatusCode::TOO_MANY_REQUESTS {
            Ok(Asker::Public(ClientKey::of_address(client)))
        } else {
            Err(failure)
        }
    }

    /// Answers a question with an explanation.
    pub(crate) async fn explain(
        &self,
        asked: RouteInput<'static>,
        asker: Asker,
        peer: IpAddr,
        trace: Trace,
    ) -> Result<Answer, Failure> {
        let regions = self.router.view().table().regions().len();
        let place = self.shared.explanations.place(&asker, regions)?;
        let context = trace.context();
        self.on_control("explain", trace, move |api| async move {
            let turn = Arc::clone(&api.shared.explanations.turn).acquire_owned().await;
            let span = Span::current();
            let explaining = spawn_blocking(move || {
                let _turn = turn;
                span.in_scope(|| api.explain_now(&asked, &asker, peer, context, place))
            });
            explaining.await.unwrap_or_else(|error| {
                tracing::error!(%error, "an explanation could not be finished");
                Err(Failure::new(Kind::Internal, "the request could not be finished"))
            })
        })
        .await
    }

    fn explain_now(
        &self,
        asked: &RouteInput<'_>,
        asker: &Asker,
        peer: IpAddr,
        context: TraceContext,
        place: Place,
    ) -> Result<Answer, Failure> {
        let view = self.router.view();
        let query = asked.query(peer);
        let ExplainedRoute { service, routed, regions } = view.explain(&query)?;
        let explanation = self.explanation(view.table(), service, &regions, asker);
        log(&routed, query.address, context);
        Ok(match routed {
            Ok(routed) => {
                let mut out = Vec::new();
                let mut choices = Choices::new();
                let client = query.address;
                write_answer(&mut out, &mut choices, &routed, client, Some(&explanation));
                body::answer(place.holding(out), HeaderValue::from_static("application/json"))
            }
            Err(error) => {
                let failure = Failure::from(error).explained(explanation);
                failure.into_answer_in(|bytes| place.holding(bytes))
            }
        })
    }

    fn explanation(
        &self,
        table: &RoutingTable,
        service: &ServiceTable,
        regions: &[geostream_domain::Explained],
        asker: &Asker,
    ) -> Explanation {
        let objective = service.service().policy.objective;
        let told = match asker {
            Asker::Public(_) => {
                regions.iter().map(|explained| describe(table, service, explained)).collect()
            }
            Asker::Known(caller) => self.explain_to(caller, table, service, regions),
        };
        let reached = |caller: &Caller| {
            let mut ids = regions.iter().map(|explained| &table.region(explained.region).id);
            ids.all(|id| caller.grant.reaches_region(id))
        };
        Explanation {
            objective: geostream_api::Objective::from(objective).to_string(),
            table_compiled: Time(table.compiled_at()),
            complete: match asker {
                Asker::Public(_) => false,
                Asker::Known(caller) => reached(caller),
            },
            regions: told,
        }
    }

    /// Tells everything of the regions that a token reaches, and of the others what is public.
    fn explain_to(
        &self,
        caller: &Caller,
        table: &RoutingTable,
        service: &ServiceTable,
        regions: &[geostream_domain::Explained],
    ) -> Vec<Explained> {
        let is_public = table.config().flag(Flag::PublicExplain);
        let ids = regions.iter().map(|explained| &table.region(explained.region).id);
        let ages = self.ages(ids.clone());
        let are_forbidden = self.parts.health.are_forbidden(ids);
        let told = regions.iter().zip(ages.into_iter().zip(are_forbidden));
        let told = told.filter_map(|(explained, (age, is_forbidden))| {
            if !caller.grant.reaches_region(&table.region(explained.region).id) {
                return is_public.then(|| describe(table, service, explained));
            }
            let mut told = describe_whole(table, service, explained, age);
            if is_forbidden {
                told.detail.get_or_insert_with(|| Evidence::ProbesForbidden.to_string());
            }
            Some(told)
        });
        told.collect()
    }

    /// Returns how long ago each region was seen.
    fn ages<'a>(&self, regions: impl Iterator<Item = &'a RegionId>) -> Vec<Option<Duration>> {
        let now = self.parts.clock.wall();
        let seen_at = self.parts.health.seen_at(regions);
        seen_at.into_iter().map(|seen| seen.map(|seen| now.since(seen))).collect()
    }
}

/// Tells what is public of a region: its fate, and what ranked it.
fn describe(
    table: &RoutingTable,
    service: &ServiceTable,
    explained: &geostream_domain::Explained,
) -> Explained {
    Explained {
        region: table.region(explained.region).id.to_string(),
        fate: explained.fate.as_str().to_owned(),
        detail: public_detail(explained.fate, service),
        distance_km: explained.distance_km.map(|km| rounded(km, 10.0)),
        latency_ms: explained.latency.map(|latency| rounded_ms(latency.rtt)),
        terms: explained.rank.map(|rank| public_terms(rank, service.service().policy.objective)),
        observed: None,
    }
}

/// Tells who forced a region and why, and what was observed of it, as well.
fn describe_whole(
    table: &RoutingTable,
    service: &ServiceTable,
    explained: &geostream_domain::Explained,
    age: Option<Duration>,
) -> Explained {
    let entry = &table.regions()[explained.region.get()];
    let public = describe(table, service, explained);
    Explained {
        detail: public.detail.or_else(|| detail(explained.fate, entry)),
        terms: explained.rank.map(terms),
        observed: entry.observed.zip(age).map(|(observed, age)| Observed {
            health: health(observed.health).to_owned(),
            load: observed.load.map(geostream_domain::Load::units),
            age_ms: milliseconds(age),
            votes: observed.votes.map(votes),
            unconfirmed: observed.is_unconfirmed,
        }),
        ..public
    }
}

/// Says more about a fate that only configuration decides.
fn public_detail(fate: Fate, service: &ServiceTable) -> Option<String> {
    match fate {
        Fate::Fenced { rule } => {
            let rules = service.service().geofence.rules().len();
            Some(format!("rule {} of {rules} of the geofence", rule + 1))
        }
        Fate::Spilled => Some("its spare capacity is for other clients".to_owned()),
        Fate::Full
        | Fate::Recovering
        | Fate::Held
        | Fate::Retained
        | Fate::Drained
        | Fate::Unhealthy
        | Fate::Chosen
        | Fate::Outranked
        | Fate::NotMember => None,
    }
}

/// Says more about a fate that an operator or an observation decides.
fn detail(fate: Fate, entry: &RegionEntry) -> Option<String> {
    match fate {
        Fate::Full => entry
            .used_share()
            .map(|share| format!("it uses {:.0} % of its capacity", share * 100.0)),
        Fate::Recovering => {
            let share = entry.observed?.share.fraction() * 100.0;
            Some(format!("it comes back slowly, and has {share:.0} % of its clients by now"))
        }
        Fate::Held => Some("it answers its probes, and is held back for flapping".to_owned()),
        Fate::Retained => Some(
            "unhealthy without proof; the removal budget retains it as a last resort".to_owned(),
        ),
        Fate::Chosen | Fate::Outranked if entry.is_unconfirmed => Some(
            "its probes fail, and nothing corroborates that it is dead: not removed".to_owned(),
        ),
        Fate::Drained | Fate::Unhealthy | Fate::Chosen | Fate::Outranked => {
            let wish = entry.overridden.as_ref()?;
            let action = wish.action.as_str();
            let owner = &wish.owner;
            let reason = &wish.reason;
            Some(format!("override {action} by {owner}: {reason}"))
        }
        Fate::Fenced { .. } | Fate::Spilled | Fate::NotMember => None,
    }
}

/// Returns the terms without what was observed: the load, where regions are ranked by it.
fn public_terms(rank: Rank, objective: Objective) -> Terms {
    let all = terms(rank);
    match objective {
        Objective::Load { .. } => Terms { term: None, ..all },
        Objective::Latency { .. }
        | Objective::Proximity { .. }
        | Objective::Cost { .. }
        | Objective::Priority { .. }
        | Objective::Weighted => all,
    }
}

fn terms(rank: Rank) -> Terms {
    let term = rank.terms.term();
    Terms {
        within_allowance: rank.terms.reach() == Reach::Within,
        term: (term != u32::MAX).then_some(term),
        band: rank.terms.band(),
        draw: f64::from_bits(rank.draw & (u64::MAX >> 1)),
    }
}
