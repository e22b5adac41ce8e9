//! `bench engine`: criterion's medians, in one table.

use std::fs;

use anyhow::Context as _;
use serde_json::Value;

use crate::figure::{Figure, Options};
use xtask::geoip;
use xtask::shell::{cargo, root, run as run_command};

pub(crate) fn run(options: Options) -> anyhow::Result<Vec<Figure>> {
    geoip::ensure()?;
    for (package, target) in
        [("geostream-domain", "route"), ("geostream-geoip", "locate"), ("geostream-app", "limits")]
    {
        let mut bench = cargo();
        bench.args(["bench", "--quiet", "--locked", "-p", package, "--bench", target, "--"]);
        if options.quick {
            bench.args(["--warm-up-time", "0.5", "--measurement-time", "1", "--sample-size", "20"]);
        }
        bench.env("GEOSTREAM_GEOIP_DIR", geoip::directory());
        // Criterion's report goes where a person's does: the table is for standard output.
        bench.stdout(std::io::stderr());
        run_command(&mut bench)?;
    }
    let latency = |regions: &str| median_ns(&format!("latency/{regions}"));
    let (few, many, most) = (latency("30")?, latency("1000")?, latency("10000")?);
    let bare = median_ns("bare_dot_30")?;
    let mut figures = vec![
        Figure::shown("decision among 30 regions", few, "ns").at_most(250.0),
        Figure::shown("decision among 1,000 regions", many, "ns"),
        Figure::shown("decision among 10,000 regions", most, "ns").at_most(1000.0),
        Figure::shown("growth from 1,000 to 10,000", most / many, "times").at_most(10.0),
        Figure::shown("a bare dot-product scan of 30", bare, "ns"),
        Figure::shown("a bare dot-product scan of 10,000", median_ns("bare_dot_10000")?, "ns"),
        Figure::shown("a bare haversine scan of 30", median_ns("bare_haversine_30")?, "ns"),
        Figure::shown("a bare haversine scan of 10,000", median_ns("bare_haversine_10000")?, "ns"),
    ];
    for objective in ["proximity", "cost", "load", "priority", "weighted"] {
        for regions in ["30", "10000"] {
            let what = format!("decision by {objective} among {regions} regions");
            let took = median_ns(&format!("objective_{objective}/{regions}"))?;
            figures.push(Figure::shown(what, took, "ns"));
        }
    }
    for regions in ["30", "1000", "10000"] {
        let took = median_ns(&format!("compile_{regions}"))? / 1e3;
        figures.push(Figure::shown(format!("a new table of {regions} regions"), took, "us"));
    }
    for (clients, group) in [("one client", "one_client"), ("100,000 clients", "many_clients")] {
        let took = median_ns(&format!("rate_limit_{group}"))?;
        figures.push(Figure::shown(format!("counting a request, {clients}"), took, "ns"));
    }
    let locate = median_ns("dbip-city-ipv4/locate")?;
    let whole = median_ns("dbip-city-ipv4/locate-and-route")?;
    figures.push(Figure::shown("address to place", locate, "ns"));
    figures.push(Figure::shown("address to decision among 30", whole, "ns").at_most(1500.0));
    Ok(figures)
}

/// Reads the median that criterion has estimated.
fn median_ns(benchmark: &str) -> anyhow::Result<f64> {
    let file = root().join("target/criterion").join(benchmark).join("new/estimates.json");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let estimates: Value = serde_json::from_str(&text)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("no median of {benchmark}"))
}
