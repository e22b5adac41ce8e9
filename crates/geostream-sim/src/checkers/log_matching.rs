//! If two logs contain an entry with the same index and term, then the logs are identical in all entries
//! up through the given index (Raft paper, figure 3).
//!
//! By induction that is so if every entry of a name says the same and has the same one before it.

use geostream_consensus::{LogId, Term};

use super::{Checker, Seen};

/// All entries that were ever in any log: by index, what there was in which term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LogMatching {
    entries: Vec<Vec<Known>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    term: Term,
    before: LogId,
    digest: u64,
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        for added in &seen.history.added {
            if added.before.index.next() != added.id.index || added.before.term > added.id.term {
                return Err(format!("{} has {} after {}", seen.id(), added.id, added.before));
            }
            let place = usize::try_from(added.id.index.get()).unwrap_or(usize::MAX);
            self.entries.resize_with(self.entries.len().max(place + 1), Vec::new);
            let there = &mut self.entries[place];
            let known = Known { term: added.id.term, before: added.before, digest: added.digest };
            match there.iter().find(|other| other.term == added.id.term) {
                None => there.push(known),
                Some(other) if *other == known => {}
                Some(other) => {
                    let before = [known.before, other.before];
                    return Err(format!("two entries are called {}, after {before:?}", added.id));
                }
            }
        }
        let (log, known) = (seen.view.log.last(), seen.history.logs[seen.node].last());
        if log != known {
            return Err(format!("{}'s log ends with {log}, and is written to {known}", seen.id()));
        }
        Ok(())
    }
}
