//! The regions that cloud providers have.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A region in the catalog.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) provider: String,
    pub(crate) region: String,
    pub(crate) name: String,
    pub(crate) country: String,
    pub(crate) continent: String,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) cost_per_gb: Option<f64>,
    /// `commercial`, or for whom the region is.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// Reads the regions that providers have.
pub(crate) fn catalog() -> anyhow::Result<Vec<Entry>> {
    let text = include_str!("../catalog/regions.csv");
    let entries = csv::Reader::from_reader(text.as_bytes()).into_deserialize();
    entries.collect::<Result<_, _>>().context("reading the catalog")
}
