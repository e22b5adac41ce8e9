//! The best few of many candidates.

use crate::hash::ClientKey;
use crate::routing::candidate::{Candidate, Eligibility};
use crate::routing::decision::SLOTS;
use crate::routing::index::RegionIndex;
use crate::routing::rank::exact;

/// The best candidates seen, best first.
#[derive(Debug)]
pub(crate) struct Best<'a> {
    hits: [Hit; SLOTS],
    length: usize,
    wanted: usize,
    /// The terms of the last of the wanted hits.
    worst: f64,
    /// The best candidate that could not be chosen though nobody has drained it.
    refused: Option<Hit>,
    /// The best candidate that is drained.
    drained: Option<Hit>,
    candidates: &'a [Candidate],
    client: ClientKey,
}

/// A candidate that was found.
#[derive(Clone, Copy, Debug)]
struct Hit {
    terms: f64,
    /// What settles near-ties; drawn when there is one.
    draw: Option<u64>,
    position: u32,
    /// The angle from the client in radians; not a number for a client without a location.
    angle: f32,
}

impl<'a> Best<'a> {
    /// Prepares for as many hits among the candidates as are wanted, 1 to [`SLOTS`].
    pub(crate) fn new(wanted: usize, candidates: &'a [Candidate], client: ClientKey) -> Self {
        let nothing = Hit { terms: exact::WORST, draw: None, position: 0, angle: f32::NAN };
        Self {
            hits: [nothing; SLOTS],
            length: 0,
            wanted: wanted.clamp(1, SLOTS),
            worst: exact::WORST,
            refused: None,
            drained: None,
            candidates,
            client,
        }
    }

    /// Returns each region that was found and its angle from the client, best first.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (RegionIndex, f32)> + Clone {
        let found = &self.hits[..self.length];
        found.iter().map(|hit| (self.candidates[hit.position as usize].region, hit.angle))
    }

    /// Returns how many hits are wanted.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Tells whether as many have been found as are wanted.
    pub(crate) fn is_full(&self) -> bool {
        self.length == self.wanted
    }

    /// The terms beyond which nothing is of interest.
    pub(crate) fn worst(&self) -> f64 {
        self.worst
    }

    /// Tells whether all hits but the first take others' clients.
    pub(crate) fn can_replace_first(&self) -> bool {
        let mut others = self.hits[..self.length].iter().skip(1);
        others.all(|hit| self.candidates[hit.position as usize].takes_others())
    }

    /// Returns the best candidate that goes before the first hit: its client this is.
    pub(crate) fn home(&mut self) -> Option<RegionIndex> {
        let mut home: Option<Hit> = None;
        for mut refused in [self.refused, self.drained].into_iter().flatten() {
            let is_better = home
                .as_mut()
                .is_none_or(|home| is_before(&mut refused, home, self.candidates, self.client));
            if is_better && self.goes_before(&mut refused, 0) {
                home = Some(refused);
            }
        }
        home.map(|hit| self.candidates[hit.position as usize].region)
    }

    /// Returns the eligibility of the best candidate that goes before the first hit; one that is
    /// drained is told of only if there is no other.
    pub(crate) fn passed_over(&mut self) -> Option<Eligibility> {
        for refused in [self.refused, self.drained] {
            if let Some(mut refused) = refused
                && self.goes_before(&mut refused, 0)
            {
                return Some(self.candidates[refused.position as usize].eligibility);
            }
        }
        None
    }

    /// Notes a candidate that may not be chosen.
    pub(crate) fn refuse(&mut self, position: u32, terms: f64, angle: f32) {
        let mut hit = Hit { terms, draw: None, position, angle };
        let refused = match self.candidates[position as usize].eligibility {
            Eligibility::Drained => &mut self.drained,
            Eligibility::Able
            | Eligibility::Recovering
            | Eligibility::Full
            | Eligibility::Held
            | Eligibility::Retained
            | Eligibility::Unhealthy => &mut self.refused,
        };
        let is_best = match refused {
            Some(best) => is_before(&mut hit, best, self.candidates, self.client),
            None => true,
        };
        if is_best {
            *refused = Some(hit);
        }
    }

    /// Puts a candidate in its place among the others, if it is one of the best.
    pub(crate) fn insert(&mut self, position: u32, terms: f64, angle: f32) {
        let mut hit = Hit { terms, draw: None, position, angle };
        let last = self.wanted - 1;
        if !self.goes_before(&mut hit, last) {
            return;
        }
        let mut at = self.length.min(last);
        while at > 0 && self.goes_before(&mut hit, at - 1) {
            self.hits[at] = self.hits[at - 1];
            at -= 1;
        }
        self.hits[at] = hit;
        self.length = (self.length + 1).min(self.wanted);
        self.worst = self.hits[last].terms;
    }

    fn goes_before(&mut self, hit: &mut Hit, at: usize) -> bool {
        is_before(hit, &mut self.hits[at], self.candidates, self.client)
    }
}

/// Compares as the two regions' [`Rank`](crate::Rank)s do, and draws for near-ties alone.
#[inline]
fn is_before(a: &mut Hit, b: &mut Hit, candidates: &[Candidate], client: ClientKey) -> bool {
    if a.terms != b.terms {
        return a.terms < b.terms;
    }
    let draw = |hit: &mut Hit| {
        let candidate = &candidates[hit.position as usize];
        let draw = *hit.draw.get_or_insert_with(|| candidate.draw(client));
        (draw, candidate.region)
    };
    draw(a) < draw(b)
}
