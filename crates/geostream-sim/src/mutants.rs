//! Known bugs, and how soon the simulator finds them.

use std::time::Duration;

use geostream_consensus::mutants::activate;

use crate::checkers::Violation;
use crate::plan::Plan;
use crate::scenario::{play, scenarios};
use crate::world::run;

/// What is known of a bug: its number, what it is, and why it cannot be had here, if so. 100 and 200 more are other ways
/// to have the same.
pub type Mutant = (u8, &'static str, Option<&'static str>);

/// How a bug was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// In which seed; the first is 0.
    pub seed: u64,
    /// What went wrong.
    pub violation: Violation,
}

/// Switches a bug on, and runs seeds until something goes wrong that does not without it.
#[must_use]
pub fn hunt(mutant: u8, seeds: u64, length: Duration) -> Option<Finding> {
    let found = (0..seeds).find_map(|seed| {
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

/// The bugs that other implementations had.
pub const MUTANTS: &[Mutant] = &[
    (1, "a vote is sent before it is durable", None),
    (101, "a candidacy is sent before the node's own vote is durable", None),
    (2, "a term is not written", None),
    (3, "who steps down within a term forgets its vote", None),
    (4, "votes of past terms are counted", None),
    (5, "logs are compared by index before term", None),
    (6, "half of an even number is a quorum", None),
    (7, "learners stand for election", None),
    (107, "learners are counted", None),
    (8, "the later term in a refused pre-vote is ignored", None),
    (9, "pre-votes of an earlier round are counted", None),
    (109, "who hears a leader goes on asking for pre-votes", None),
    (10, "there is no pre-vote", None),
    (11, "a leader that hears from nobody leads on", None),
    (12, "all timers are equal", None),
    (13, "entries of past terms are committed by counting", None),
    (14, "an append truncates what agrees with it", None),
    (15, "a follower commits beyond what was compared", None),
    (16, "a conflicting entry is replaced, and what follows kept", None),
    (17, "acknowledgements of past terms are counted", None),
    (117, "what a quorum has is looked up in no order", None),
    (18, "a late refusal takes back what was acknowledged", None),
    (19, "a leader counts what is not on its own disk", None),
    (20, "entries are acknowledged before they are durable", None),
    (120, "a term is written after its entries", None),
    (21, "entries are applied before they are durable", None),
    (22, "a later write's confirmation stands for earlier ones", None),
    (23, "a page to be applied skips what did not fit", None),
    (24, "nobody gets a snapshot", None),
    (25, "what waits to be committed is counted for ever", None),
    (125, "what is in flight is counted for ever", None),
    (26, "the search for the last common entry gives up", None),
    (27, "a received snapshot does not bring its membership", None),
    (28, "a snapshot replaces what is committed", None),
    (29, "a received snapshot leaves the old log's tail", None),
    (129, "a received snapshot leaves clients waiting for what it passes over", None),
    (30, "what was purged is taken for a conflict", None),
    (31, "pieces of two snapshots are mixed", None),
    (32, "a crash within the installation of a snapshot is not cleaned up", None),
    (33, "a snapshot has a membership that is not committed", None),
    (34, "a joint membership is settled by a restart", None),
    (35, "the membership is changed before the leader's first commit", None),
    (36, "a restart forgets a membership that is not committed", None),
    (136, "a new leader forgets a membership that is not committed", None),
    (37, "truncation does not take a membership back", None),
    (38, "an id is given twice", None),
    (39, "a joint membership is never left", None),
    (139, "a joint membership is left twice", None),
    (239, "who takes itself for a learner does not vote", None),
    (40, "who is being removed may not stand for election", None),
    (41, "leadership is handed to who lacks entries", None),
    (42, "a leader reads without asking anybody", None),
    (43, "a new leader reads before its first commit", None),
    (44, "a late answer confirms a later read", None),
    (45, "a lease is used while leadership is handed over", None),
    (145, "a lease outlives a clock that jumps back", None),
    (46, "a request that is tried again is applied again", None),
    (146, "a truncated command is called lost", None),
    (47, "a failed write is taken for done", None),
    (48, "a corrupt entry is taken for a torn one", Some("the log on disk is not in this crate")),
];
