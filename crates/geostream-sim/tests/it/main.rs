//! Seeds, scenarios, and the simulator itself.

mod scenarios;

use std::ops::Range;
use std::time::Duration;

use geostream_sim::{Bounds, CHECKS, Plan, check, run, shrink};

const LENGTH: Duration = Duration::from_secs(10);

#[test]
fn nothing_goes_wrong_in_some_seeds() {
    for seed in SEEDS {
        let plan = Plan::draw(seed, LENGTH);
        if let Some(violation) = run(&plan, false).violation {
            panic!("{violation}\n{}", shrink(&plan).0);
        }
    }
}

/// `cargo xtask sim` runs more; these take some seconds.
const SEEDS: Range<u64> = 0..150;

#[test]
fn nothing_goes_wrong_in_any_short_run_of_three_nodes() {
    for bounds in CHECKS {
        let checked = check(Bounds { steps: 5, ..bounds });
        assert_eq!(checked.violation, None, "{}", bounds.name);
        assert!(checked.states > 100, "{}", bounds.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..100 {
        let plan = Plan::draw(seed, LENGTH);
        let (one, other) = (run(&plan, false), run(&plan, true));
        assert_eq!((one.hash, one.events), (other.hash, other.events), "seed {seed}");
        assert_ne!(one.hash, run(&Plan::draw(seed + 1, LENGTH), false).hash);
    }
}
