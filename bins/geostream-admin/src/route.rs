//! `route`

use std::borrow::Cow;

use clap::Args;
use geostream_api::{
    Explained, Explanation, LocationClaim, Problem, RouteAnswer, RouteRequest, Status,
};

use crate::End;
use crate::client::{Client, ClientError};
use crate::output::{Output, facts, or_dash, say, table};
use crate::status::attributions;
use crate::wish::{latitude, longitude};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The client's address; without it, this machine's
    #[arg(value_name = "IP")]
    client_ip: Option<String>,

    /// The service; without it, the default one
    #[arg(long)]
    service: Option<String>,

    /// Where the client is, in degrees north
    #[arg(long, requires = "longitude", allow_negative_numbers = true, value_parser = latitude)]
    latitude: Option<f64>,

    /// Where the client is, in degrees east
    #[arg(long, requires = "latitude", allow_negative_numbers = true, value_parser = longitude)]
    longitude: Option<f64>,

    /// The client's country, with --latitude and --longitude
    #[arg(long, requires = "latitude")]
    country: Option<String>,

    /// What tells this client from others among equal regions
    #[arg(long)]
    key: Option<String>,

    /// Show every region's fate and ranking terms; with a token of scope viewer also overrides,
    /// loads and what was observed
    #[arg(long)]
    explain: bool,
}

pub(crate) fn run(client: &Client, output: Output, arguments: &Arguments) -> anyhow::Result<End> {
    let location = arguments.latitude.zip(arguments.longitude).map(|(latitude, longitude)| {
        LocationClaim { latitude, longitude, country: arguments.country.clone() }
    });
    let request = RouteRequest {
        client_ip: arguments.client_ip.as_deref().map(Cow::from),
        service: arguments.service.as_deref().map(Cow::from),
        location,
        key: arguments.key.as_deref().map(Cow::from),
        explain: arguments.explain,
    };
    // The server explains less without a token, and then counts no country that a caller states.
    let needs_token = arguments.explain || arguments.country.is_some();
    let token = if needs_token { client.token().ok() } else { None };
    let answer: RouteAnswer = match client.ask("/api/v1/route", &request, token) {
        Ok(answer) => answer,
        Err(error) => {
            if let Some(problem) = refusal(&error) {
                let explanation = problem.explanation.as_deref();
                output.show(problem, || {
                    explanation.into_iter().for_each(|told| explain(told, output));
                })?;
            }
            return Err(error);
        }
    };
    // Whoever sees a place that GeoIP data knows is to see whose data it is.
    let credits = || client.get::<Status>("/api/v1/status").map(|status| status.geo);
    output.show(&answer, || {
        show(&answer, output);
        if answer.client.source == "geoip" {
            attributions(&credits().unwrap_or_default()).into_iter().for_each(say);
        }
    })
}

fn show(answer: &RouteAnswer, output: Output) {
    let client = &answer.client;
    let place = client.latitude.zip(client.longitude);
    let place = place.map(|(latitude, longitude)| format!("{latitude}, {longitude}"));
    facts(&[
        ("region", answer.region.to_string()),
        ("reason", answer.reason.to_string()),
        ("latency", milliseconds(answer.latency_ms)),
        ("endpoint", or_dash(answer.endpoint.as_ref())),
        ("service", answer.service.to_string()),
        ("client", or_dash(client.ip)),
        ("place", or_dash(place)),
        ("country", or_dash(client.country.as_ref())),
        ("known from", format!("{} ({})", client.source, client.precision)),
        ("revision", answer.revision.to_string()),
    ]);
    if answer.unconfirmed {
        say("unconfirmed: the region's probes fail, and nothing corroborates that it is dead");
    }
    match &answer.explanation {
        None => table(
            ["alternative", "latency", "endpoint"],
            answer.alternatives.iter().map(|next| {
                let endpoint = or_dash(next.endpoint.as_ref());
                [next.region.to_string(), milliseconds(next.latency_ms), endpoint]
            }),
        ),
        Some(explanation) => explain(explanation, output),
    }
}

/// Tells whether the server has decided that no region may or can serve the client.
pub(crate) fn is_refusal(problem: &Problem) -> bool {
    let kind = problem.kind.rsplit(':').next();
    matches!(kind, Some("geofenced" | "no-region"))
}

fn refusal(error: &anyhow::Error) -> Option<&Problem> {
    match error.downcast_ref::<ClientError>()? {
        ClientError::Problem(problem) => Some(problem).filter(|problem| is_refusal(problem)),
        ClientError::Unreachable { .. }
        | ClientError::Token { .. }
        | ClientError::Answer { .. }
        | ClientError::NoToken
        | ClientError::NoTokenFor(_) => None,
    }
}

fn explain(explanation: &Explanation, output: Output) {
    say(format_args!("ranked by {}:", explanation.objective));
    let rows = explanation.regions.iter().map(row);
    if output == Output::Wide {
        let header = [
            "region", "fate", "distance", "latency", "within", "term", "band", "draw", "observed",
            "",
        ];
        table(header, rows);
    } else {
        let narrow = rows.map(|[region, fate, distance, latency, .., observed, detail]| {
            [region, fate, distance, latency, observed, detail]
        });
        table(["region", "fate", "distance", "latency", "observed", ""], narrow);
        say("`-o wide` shows the terms that they are ranked by");
    }
    if !explanation.complete {
        say("overrides, loads, votes and ages are shown with a token of scope viewer");
    }
}

fn row(region: &Explained) -> [String; 10] {
    let terms = region.terms;
    [
        region.region.to_string(),
        region.fate.to_string(),
        or_dash(region.distance_km.map(|km| format!("{km:.0} km"))),
        milliseconds(region.latency_ms),
        or_dash(terms.map(|terms| if terms.within_allowance { "yes" } else { "no" })),
        or_dash(terms.and_then(|terms| terms.term)),
        or_dash(terms.map(|terms| terms.band)),
        or_dash(terms.map(|terms| format!("{:.3}", terms.draw))),
        or_dash(region.observed.as_ref().map(|o| format!("{}, {} ms ago", o.health, o.age_ms))),
        region.detail.as_deref().unwrap_or_default().to_owned(),
    ]
}

fn milliseconds(latency: Option<f64>) -> String {
    or_dash(latency.map(|ms| format!("{ms} ms")))
}
