//! `bench failover`: how long clients are still sent to a region that has just died, and that no
//! region is dropped which is well.
//!
//! Servers are the built one at its defaults, regions are processes, and faults are caused for
//! real. All this happens in namespaces that the lab makes, so that packets can be dropped and
//! names removed.

mod closing;
mod endpoints;
mod faults;
mod flapping;
mod ground;
mod loss;
mod losses;
mod overload;
mod plan;
mod thirds;
mod thousands;
pub(crate) mod world;

use clap::{Args, ValueEnum};

use crate::failover::plan::{Fault, Plan};
use crate::figure::{Figure, Options};
use crate::process::now;
use xtask::shell::say;

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,

    /// Only these scenarios; without any, all
    scenarios: Vec<Scenario>,

    /// Only these faults, and no other scenario unless it is named
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,

    /// Runs of each fault; 30, or 3 with --quick
    #[arg(long)]
    runs: Option<usize>,

    /// Minutes of packet loss and flapping; 10, or 0.3 with --quick
    #[arg(long)]
    minutes: Option<f64>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// A region breaks down and recovers, in ten ways
    Faults,
    /// Some packets are lost
    Loss,
    /// The prober's own network is cut
    CutOff,
    /// Servers close idle connections every five seconds
    Closing,
    /// A region fails and recovers, over and over
    Flapping,
    /// Many regions share an endpoint
    Endpoints,
    /// One of three regions is lost at 60 % load
    Thirds,
    /// One of three regions is lost 2, 4 and 8 s after a cold start at 60 % load
    ColdStart,
    /// One of three regions is lost 20 s after a cold start at 60 % load
    WarmStart,
    /// One of three regions is lost while the load rises from 20 to 60 %
    Rising,
    /// Two of three regions are lost 5 s apart, at 25 % load
    Second,
    /// Two of three regions are lost at 60 % load, which is more than the third can take
    AboveCapacity,
    /// One of three regions has clients for 150 % of its capacity
    Overload,
    /// 5,000 regions are probed each second
    Thousands,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    if !ground::is_inside() {
        ground::go_inside()?;
    }
    ground::prepare()?;
    let Arguments { options, scenarios, faults, runs, minutes } = arguments.clone();
    let quick = options.quick;
    let scenarios = match &scenarios[..] {
        [] if faults.is_empty() => Scenario::value_variants().to_vec(),
        [] => vec![Scenario::Faults],
        _ => scenarios,
    };
    let plan = Plan {
        faults: if faults.is_empty() { Fault::value_variants().to_vec() } else { faults },
        runs: runs.unwrap_or(if quick { 3 } else { 30 }),
        minutes: minutes.unwrap_or(if quick { 0.3 } else { 10.0 }),
        is_quick: quick,
    };
    let (heavy, light): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|scenario| scenario.is_heavy());
    let began = now();
    // What mostly waits goes on side by side.
    let mut figures = ground::at_once(light, |scenario| scenario.run(&plan))?;
    for scenario in heavy {
        figures.push(scenario.run(&plan)?);
    }
    say(&format!("all of this took {:.0} s", (now() - began).as_secs_f64()));
    Ok(figures.into_iter().flatten().collect())
}

impl Scenario {
    /// Tells whether it needs the machine for itself.
    fn is_heavy(self) -> bool {
        match self {
            Self::Thirds
            | Self::ColdStart
            | Self::WarmStart
            | Self::Rising
            | Self::Second
            | Self::AboveCapacity
            | Self::Overload
            | Self::Thousands => true,
            Self::Faults
            | Self::Loss
            | Self::CutOff
            | Self::Closing
            | Self::Flapping
            | Self::Endpoints => false,
        }
    }

    fn run(self, plan: &Plan) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Faults => faults::run(plan),
            Self::Loss => loss::run(plan),
            Self::CutOff => loss::cut_off(plan),
            Self::Closing => closing::run(plan),
            Self::Flapping => flapping::run(plan),
            Self::Endpoints => endpoints::run(plan),
            Self::Thirds => thirds::run(plan),
            Self::ColdStart => losses::cold_start(plan),
            Self::WarmStart => losses::warm_start(plan),
            Self::Rising => losses::rising(plan),
            Self::Second => losses::second(plan),
            Self::AboveCapacity => losses::above_capacity(plan),
            Self::Overload => overload::run(plan),
            Self::Thousands => thousands::run(plan),
        }
    }
}
