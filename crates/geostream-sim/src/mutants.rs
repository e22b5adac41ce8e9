//! Known bugs, and how soon the simulator finds them.

use std::ops::Range;
use std::time::Duration;

pub use geostream_consensus::mutants::MUTANTS;
use geostream_consensus::mutants::activate;

use crate::checkers::Violation;
use crate::plan::Plan;
use crate::scenario::{play, scenarios};
use crate::world::run;

/// How a bug was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The seed that found it.
    pub seed: u64,
    /// What went wrong.
    pub violation: Violation,
}

/// Switches a bug on, and runs seeds until something goes wrong that does not without it.
#[must_use]
pub fn hunt(mutant: u8, mut seeds: Range<u64>, length: Duration) -> Option<Finding> {
    let found = seeds.find_map(|seed| {
        let plan = Plan::draw(seed, length);
        activate(mutant);
        let violation = run(&plan, false).violation?;
        activate(0);
        let by_the_bug = run(&plan, false).violation.is_none();
        by_the_bug.then_some(Finding { seed, violation })
    });
    activate(0);
    found
}

/// Switches a bug on, and returns the names of the scripts that come otherwise than they say; first those
/// that are about it.
///
/// # Errors
///
/// A script cannot be read.
pub fn contradicted(mutant: u8) -> anyhow::Result<Vec<String>> {
    let mut scripts = scenarios()?;
    let number = format!("M{}", mutant % 100);
    let is_about =
        |script: &str| script.split([' ', ',', ':', ')', '(']).any(|word| word == number);
    scripts.sort_by_key(|(_, script)| !is_about(script));
    activate(mutant);
    let otherwise = scripts.iter().filter(|(_, script)| play(script) != *script);
    let names = otherwise.filter_map(|(path, _)| path.file_stem());
    let names = names.map(|name| name.to_string_lossy().into_owned()).collect();
    activate(0);
    Ok(names)
}
