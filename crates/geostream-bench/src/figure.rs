//! Figures, the bars that they keep, and the options of every bench.

use clap::Args;
use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Options {
    /// Fewer runs: quicker, and less sure
    #[arg(long)]
    pub(crate) quick: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A figure, and the bar that it is to keep, if there is one.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) at_most: Option<f64>,
}

impl Figure {
    /// A figure that is shown for comparison.
    pub(crate) fn shown(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, at_most: None }
    }

    /// A figure that is to be at most so much, if that is said.
    pub(crate) fn at_most(self, bar: impl Into<Option<f64>>) -> Self {
        Self { at_most: bar.into(), ..self }
    }

    pub(crate) fn misses(&self) -> bool {
        self.at_most.is_some_and(|bar| self.value > bar)
    }
}

/// The same figure of many runs.
#[derive(Debug)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn least(&self) -> f64 {
        self.at(0)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(500)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(990)
    }

    pub(crate) fn p999(&self) -> f64 {
        self.at(999)
    }

    pub(crate) fn most(&self) -> f64 {
        self.at(1_000)
    }

    /// Returns the nearest rank: of fewer than a hundred values, the 99th percentile is the most.
    fn at(&self, per_thousand: usize) -> f64 {
        let rank = (self.0.len() * per_thousand).div_ceil(1_000);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Returns a count as a figure.
pub(crate) fn float(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
