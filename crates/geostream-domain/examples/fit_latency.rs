//! Fits the latency estimate on round trips that were measured between regions.
//!
//! `cargo run --release -p geostream-domain --example fit_latency -- REGIONS.csv ROUND_TRIPS.csv`
//!
//! `REGIONS.csv` has a header and the columns region, name, latitude, longitude; `ROUND_TRIPS.csv` a
//! header and the columns from, to, milliseconds. The constants in use were fitted on the 21 AWS
//! regions that CloudPing published in November 2024.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

use geostream_domain::{FIBRE_KM_PER_MS, FLOOR_MS, GeoPoint, ROUTE_STRETCH};

/// A great-circle distance and the round-trip time measured over it.
struct Sample {
    km: f64,
    millis: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let [regions, round_trips] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("two files are expected: REGIONS.csv ROUND_TRIPS.csv".into());
    };
    let samples = samples(&fs::read_to_string(regions)?, &fs::read_to_string(round_trips)?)?;
    let (mut best, mut fitted) = (f64::INFINITY, (0.0, 0.0));
    // The sum of absolute errors is convex, so a grid finds the one minimum.
    for floor in (0_u32..120).map(|half| f64::from(half) / 2.0) {
        for stretch in (1_000_u32..2_600).step_by(5).map(|step| f64::from(step) / 1_000.0) {
            let mean = errors(&samples, floor, stretch).iter().sum::<f64>();
            if mean < best {
                (best, fitted) = (mean, (floor, stretch));
            }
        }
    }
    println!("fitted on {} pairs: floor {} ms, stretch {}", samples.len(), fitted.0, fitted.1);
    for (name, floor, stretch) in
        [("fitted", fitted.0, fitted.1), ("in use", FLOOR_MS, ROUTE_STRETCH)]
    {
        let errors = errors(&samples, floor, stretch);
        let count = errors.len();
        let mean = errors.iter().sum::<f64>() / f64::from(u32::try_from(count)?);
        let (median, p95) = (errors[count / 2], errors[count * 95 / 100]);
        println!("{name}: error {mean:.1} ms mean, {median:.1} ms median, {p95:.1} ms p95");
    }
    Ok(())
}

/// Returns the absolute errors in milliseconds, ascending.
fn errors(samples: &[Sample], floor: f64, stretch: f64) -> Vec<f64> {
    let estimate = |km: f64| floor + stretch * km / FIBRE_KM_PER_MS;
    let mut errors: Vec<f64> = samples.iter().map(|s| (estimate(s.km) - s.millis).abs()).collect();
    errors.sort_by(f64::total_cmp);
    errors
}

fn samples(regions: &str, round_trips: &str) -> Result<Vec<Sample>, Box<dyn Error>> {
    let mut places = BTreeMap::new();
    for line in regions.lines().skip(1) {
        let mut fields = line.rsplit(',');
        let longitude: f64 = fields.next().ok_or("a longitude is missing")?.parse()?;
        let latitude: f64 = fields.next().ok_or("a latitude is missing")?.parse()?;
        let id = line.split(',').next().ok_or("an id is missing")?;
        places.insert(id, GeoPoint::new(latitude, longitude)?);
    }
    let mut samples = Vec::new();
    for line in round_trips.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [from, to, millis] = fields[..] else { return Err("three fields are expected".into()) };
        if from != to {
            let place =
                |id| places.get(id).ok_or_else(|| format!("{id} is no region of the first file"));
            let km = place(from)?.distance_km(*place(to)?);
            samples.push(Sample { km, millis: millis.parse()? });
        }
    }
    Ok(samples)
}
