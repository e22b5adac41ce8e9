//! Where the clients of a drained region go: the server is asked for clients at its place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use geostream_api::{
    BatchAnswer, BatchItem, BatchRequest, LocationClaim, Region, RouteRequest, Service,
};
use serde::Deserialize;

use crate::client::Client;
use crate::sentence::listed;

/// How many clients are asked for; each has a share of 1 %.
const CLIENTS: usize = 100;

/// The most services that are asked for.
const SERVICES: usize = 3;

#[derive(Deserialize)]
struct Services {
    services: BTreeMap<String, Service>,
}

/// Says where the clients near a region go that was drained, by what the server decides now.
///
/// A service with a geofence is left out, since it depends on the clients' country. So is everything
/// if the server does not answer: the drain is in force either way.
pub(crate) fn of(client: &Client, region: &str) -> Option<String> {
    let at: Region = client.get(&format!("/api/v1/regions/{region}")).ok()?;
    let Services { services } = client.get("/api/v1/services").ok()?;
    let concerned = services
        .iter()
        .filter(|(_, service)| service.members.contains_key(region) && service.geofence.is_empty());
    let concerned: Vec<&str> = concerned.map(|(id, _)| &**id).collect();
    let mut told = Vec::<(String, Vec<&str>)>::new();
    for service in concerned.iter().take(SERVICES) {
        let goes = shares(&ask(client, service, &at)?);
        match told.iter_mut().find(|(known, _)| *known == goes) {
            Some((_, same)) => same.push(service),
            None => told.push((goes, vec![service])),
        }
    }
    let is_one = told.len() == 1 && concerned.len() <= SERVICES;
    let parts = told.iter().map(|(goes, services)| match is_one {
        true => format!("clients near it go to {goes}"),
        false => format!("clients of {} near it go to {goes}", listed(services)),
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns the regions that serve clients at this place, with how many each serves.
fn ask(client: &Client, service: &str, at: &Region) -> Option<BTreeMap<String, usize>> {
    let location = LocationClaim { latitude: at.latitude, longitude: at.longitude, country: None };
    let question = |number: usize| RouteRequest {
        service: Some(Cow::from(service)),
        location: Some(location.clone()),
        key: Some(Cow::from(format!("drained-{number}"))),
        ..RouteRequest::default()
    };
    let request = BatchRequest { requests: (0..CLIENTS).map(question).collect() };
    let BatchAnswer { answers } = client.ask_once("/api/v1/route/batch", &request).ok()?;
    let mut counts = BTreeMap::new();
    for answer in answers {
        let region = match answer {
            BatchItem::Answer(answer) => answer.region,
            BatchItem::Problem(_) => NONE.to_owned(),
        };
        *counts.entry(region).or_insert(0) += 1;
    }
    Some(counts)
}

/// What is told of clients that are refused.
const NONE: &str = "no region";

fn shares(counts: &BTreeMap<String, usize>) -> String {
    let mut ranked: Vec<(&String, &usize)> = counts.iter().collect();
    ranked.sort_by_key(|(region, count)| (std::cmp::Reverse(**count), *region));
    if let [(region, _)] = ranked[..] {
        return region.clone();
    }
    let all: usize = counts.values().sum();
    let shares = ranked
        .iter()
        .map(|(region, count)| format!("{region} {} %", (**count * 100 + all / 2) / all.max(1)));
    let shares: Vec<String> = shares.collect();
    listed(&shares.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_share_is_told_first() {
        let counts = |shares: &[(&str, usize)]| {
            shares.iter().map(|(region, count)| ((*region).to_owned(), *count)).collect()
        };
        assert_eq!(shares(&counts(&[("sin", 40), ("fra", 60)])), "fra 60 %, sin 40 %");
        assert_eq!(shares(&counts(&[("fra", 100)])), "fra");
        let many = shares(&counts(&[("a", 30), ("b", 25), ("c", 20), ("d", 15), ("e", 10)]));
        assert_eq!(many, "a 30 %, b 25 %, c 20 %, d 15 % and 1 more");
    }
}
