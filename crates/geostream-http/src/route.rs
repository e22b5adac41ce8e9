//! Answering clients: which region should serve them now?

use std::cell::RefCell;
use std::mem::take;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use geostream_api::Explanation;
use geostream_app::{LocationSource, Routed, Trace, View};
use geostream_domain::{Continent, CountryCode, GeoPoint, Grant, Location, Precision, ServiceId};
use geostream_ports::{Clock, GeoLocator, Network, Store};
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Api;
use crate::body;
use crate::choice::Choices;
use crate::json::{self, Object, key};
use crate::problem::{Answer, Failure};
use crate::route_input::RouteInput;
use crate::trace::{log, route_watched, trace_of};

/// The most questions in a batch.
const BATCH: usize = 1_000;

/// How much room for writing answers a thread keeps: more than any answer but a batch's takes.
const LARGEST_KEPT: usize = 64 << 10;

/// A batch whose questions are still to be read: one that cannot be read spoils no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    requests: Vec<Box<RawValue>>,
}

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Answers one question, here and now, unless an explanation is wanted: that may take long.
    ///
    /// The answer takes over the request's headers, and hyper those of the answer for the next
    /// request: so no memory is asked for.
    pub(crate) async fn route(
        &self,
        asked: RouteInput<'_>,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Answer, Failure> {
        if asked.is_of_connection() {
            self.note_forwarding(request.headers(), peer);
        }
        let peer = self.client_address(request.headers(), peer);
        let mut asked = asked;
        if asked.states_country() {
            let voucher = self.voucher(request.headers()).await?;
            asked.is_vouched_for = self.vouches_for(voucher.as_ref(), &asked);
        }
        if !asked.explain {
            let view = self.router.view();
            let query = asked.query(peer);
            let trace = request.extensions_mut().remove::<Trace>();
            let routed = self.timer.time(&self.parts.clock, || match &trace {
                None => view.route(&query),
                Some(trace) => route_watched(&view, &query, trace),
            })?;
            let _span = trace.map(|trace| trace.open("answer"));
            return Ok(write(take(request.headers_mut()), |out, choices| {
                write_answer(out, choices, &routed, query.address, None);
            }));
        }
        let service = self.service_of(&asked);
        let asker = self.asker(request.headers(), peer, service.as_ref()).await?;
        self.explain(asked.into_owned(), asker, peer, trace_of(request)).await
    }

    /// Returns what the caller's token is good for, if it has a valid one.
    async fn voucher(&self, headers: &HeaderMap) -> Result<Option<Grant>, Failure> {
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        // On the heap, it takes no room in the futures of all other questions.
        match Box::pin(self.authenticate(headers)).await {
            Ok(caller) => Ok(Some(caller.grant)),
            Err(failure) if failure.status() == StatusCode::UNAUTHORIZED => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Tells whether a token may state the country of a client of the service that is asked for.
    fn vouches_for(&self, grant: Option<&Grant>, asked: &RouteInput<'_>) -> bool {
        grant.is_some_and(|grant| match (&grant.limits, self.service_of(asked)) {
            (None, _) => true,
            (Some(_), Some(service)) => grant.reaches_service(&service),
            (Some(_), None) => false,
        })
    }

    /// Returns the service that a question is about, if there can be one of that name.
    fn service_of(&self, asked: &RouteInput<'_>) -> Option<ServiceId> {
        match asked.service.as_deref() {
            Some(service) => service.parse().ok(),
            None => self.router.view().table().config().settings().default_service.clone(),
        }
    }

    /// Answers many questions by one table.
    pub(crate) async fn route_batch(
        &self,
        request: &Request<Incoming>,
        body: &[u8],
        peer: SocketAddr,
    ) -> Result<Answer, Failure> {
        let Batch { requests } = body::read(request.headers(), body)?;
        if !(1..=BATCH).contains(&requests.len()) {
            let detail = format!("1 to {BATCH} are expected, and {} were given", requests.len());
            return Err(Failure::field("/requests", detail));
        }
        let peer = self.client_address(request.headers(), peer);
        let states_country = requests.iter().any(|question| question.get().contains("\"country\""));
        let voucher = if states_country { self.voucher(request.headers()).await? } else { None };
        let trace = request.extensions().get::<Trace>();
        let mut span = trace.map(|trace| trace.open("answer"));
        if let Some(span) = &mut span {
            span.note("geostream.questions", requests.len());
        }
        let view = self.router.view();
        Ok(write(HeaderMap::new(), |out, choices| {
            let mut object = Object::begin(out);
            object.array(key!("answers"), &requests, |out, question| {
                let answered = read_one(question).and_then(|mut asked| {
                    asked.is_vouched_for =
                        asked.states_country() && self.vouches_for(voucher.as_ref(), &asked);
                    answer_one(out, choices, &view, &asked, peer, trace)
                });
                if let Err(failure) = answered {
                    json::write_document(out, &failure.to_problem());
                }
            });
            object.end();
        }))
    }
}

/// Reads one of many questions.
fn read_one(question: &RawValue) -> Result<RouteInput<'_>, Failure> {
    let asked = RouteInput::read(body::parse(question.get().as_bytes())?)?;
    if asked.explain {
        return Err(Failure::field("/explain", "explanations are given for one client at a time"));
    }
    Ok(asked)
}

/// Writes the answer to one of many questions.
fn answer_one<G: GeoLocator>(
    out: &mut Vec<u8>,
    choices: &mut Choices,
    view: &View<'_, G>,
    asked: &RouteInput<'_>,
    peer: IpAddr,
    trace: Option<&Trace>,
) -> Result<(), Failure> {
    let query = asked.query(peer);
    let routed = view.route(&query);
    if let Some(trace) = trace {
        log(&routed, query.address, trace.context());
    }
    write_answer(out, choices, &routed?, query.address, None);
    Ok(())
}

/// What a thread writes answers with.
struct Desk {
    out: Vec<u8>,
    choices: Choices,
}

/// Makes a response of what is written, and uses the room that these headers take.
///
/// It is written where the last one was, so that but one piece of memory, of the right size, is asked
/// for.
fn write(headers: HeaderMap, fill: impl FnOnce(&mut Vec<u8>, &mut Choices)) -> Answer {
    thread_local! {
        static DESK: RefCell<Desk> =
            const { RefCell::new(Desk { out: Vec::new(), choices: Choices::new() }) };
    }
    let written = DESK.with_borrow_mut(|Desk { out, choices }| {
        out.clear();
        out.shrink_to(LARGEST_KEPT);
        fill(out, choices);
        Bytes::copy_from_slice(out)
    });
    body::answer_in(headers, written, HeaderValue::from_static("application/json"))
}

/// Writes a decision, as [`geostream_api::RouteAnswer`] reads it.
pub(crate) fn write_answer(
    out: &mut Vec<u8>,
    choices: &mut Choices,
    routed: &Routed<'_>,
    address: Option<IpAddr>,
    explanation: Option<&Explanation>,
) {
    let Routed { table, service, decision, client, .. } = routed;
    let mut answer = Object::begin(out);
    choices.write(&mut answer, table, decision.region, decision.latency);
    answer.plain(key!("reason"), decision.reason.as_str());
    answer.array(key!("alternatives"), &*decision.alternatives, |out, alternative| {
        let mut object = Object::begin(out);
        choices.write(&mut object, table, alternative.region, alternative.latency);
        object.end();
    });
    answer.plain(key!("service"), service.service().id.as_str());
    let mut view = answer.object(key!("client"));
    write_client(&mut view, &client.location, routed.network, address, routed.source);
    view.end();
    let latency_source = decision.latency.map_or("none", |latency| latency.source.as_str());
    answer.plain(key!("latency_source"), latency_source);
    answer.whole(key!("revision"), table.revision().get());
    if !service.retained().is_empty() {
        answer.document(key!("removal_budget_spent"), &true);
    }
    if table.regions()[decision.region.get()].is_unconfirmed {
        answer.document(key!("unconfirmed"), &true);
    }
    if let Some(explanation) = explanation {
        answer.document(key!("explanation"), explanation);
    }
    answer.end();
}

/// Writes what is known of a client, as [`geostream_api::ClientView`] reads it.
pub(crate) fn write_client(
    object: &mut Object<'_>,
    location: &Location,
    network: Option<Network>,
    address: Option<IpAddr>,
    source: LocationSource,
) {
    let Location { point, precision, accuracy_km, country, continent } = location;
    object.address_or_null(key!("ip"), address);
    object.network_or_null(key!("network"), network);
    object.plain_or_null(key!("country"), country.as_ref().map(CountryCode::as_str));
    object.plain_or_null(key!("continent"), continent.map(Continent::code));
    object.decimal_or_null::<4>(key!("latitude"), point.map(GeoPoint::latitude));
    object.decimal_or_null::<4>(key!("longitude"), point.map(GeoPoint::longitude));
    match accuracy_km {
        Some(km) => object.whole(key!("accuracy_km"), u64::from(*km)),
        None => object.null(key!("accuracy_km")),
    }
    object.plain(
        key!("precision"),
        match precision {
            Precision::Unknown => "unknown",
            Precision::Country => "country",
            Precision::City => "city",
        },
    );
    object.plain(key!("source"), source.as_str());
}
