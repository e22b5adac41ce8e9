//! Picks a region for a few cities, with a residency rule and a region that is down.
//!
//! `cargo run -p geostream-domain --example pick_region`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::error::Error;

use geostream_domain::{
    Change, Client, ClientSelector, Config, Continent, FenceRule, GeoPoint, Geofence, Health,
    Labels, Location, Observation, Observations, Region, RoutingTable, Service, Timestamp,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    let mut members = Vec::new();
    for (id, latitude, longitude, residency) in [
        ("us-west-2", 45.5, -122.7, "us"),
        ("us-east-1", 39.0, -77.5, "us"),
        ("eu-west-1", 53.3, -6.3, "eu"),
        ("eu-central-1", 50.1, 8.7, "eu"),
        ("ap-northeast-1", 35.7, 139.7, "jp"),
    ] {
        let mut region = Region::new(id.parse()?, GeoPoint::new(latitude, longitude)?);
        region.labels = Labels::new(BTreeMap::from([("residency".parse()?, residency.parse()?)]))?;
        members.push(region.id.clone());
        config.apply(Change::from(region))?;
    }
    let mut api = Service::new("api".parse()?, members);
    api.geofence = Geofence::new(vec![FenceRule {
        clients: ClientSelector { continents: vec![Continent::Europe], ..Default::default() },
        allow: vec!["residency=eu".parse()?],
        deny: Vec::new(),
    }])?;
    config.apply(Change::from(api))?;

    let mut observed = Observations::default();
    observed.note("eu-central-1".parse()?, Observation::of(Health::Unhealthy, Timestamp::EPOCH));
    let table = RoutingTable::compile(config.into(), &observed, Timestamp::EPOCH, None);
    let service = table.service("api").ok_or("the service is not there")?;

    for (city, country, latitude, longitude) in [
        ("Berlin", "DE", 52.5, 13.4),
        ("Seattle", "US", 47.6, -122.3),
        ("São Paulo", "BR", -23.6, -46.6),
        ("Osaka", "JP", 34.7, 135.5),
    ] {
        let point = GeoPoint::new(latitude, longitude)?;
        let mut client = Client::at(point);
        client.location = Location::at(point).in_country(country.parse()?);
        let explanation = table.explain(service, &client);
        let decision = explanation.outcome?;
        let region = &table.region(decision.region).id;
        println!("{city}: {region} ({})", decision.reason.as_str());
        for explained in explanation.regions {
            let region = &table.region(explained.region).id;
            let km = explained.distance_km.unwrap_or_default();
            println!("    {region:16} {km:6.0} km  {}", explained.fate.as_str());
        }
    }
    Ok(())
}
