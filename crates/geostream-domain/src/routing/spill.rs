//! Where the clients of a region go that cannot serve them.

use crate::hash::ClientKey;
use crate::routing::candidate::Eligibility;
use crate::routing::index::RegionIndex;

/// Spreads displaced clients over the next regions up to what each can take.
///
/// Each region takes a fixed fraction of all displaced clients: its spare capacity over the
/// displaced load. A client holds one number from 0 to 1 for all regions, and goes down its own
/// order until the fractions add up to more than its number. So whatever the orders of the clients
/// are, no region is given more than its fraction, and all are placed as long as there is room.
///
/// As long as the displaced load is unknown, all spare capacity is given away: the fractions add up
/// to 1, and each region has its share by spare capacity. A region whose own load is unknown has
/// that share even where the displaced load is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spill {
    /// By the regions' index; empty where nothing limits.
    fractions: Box<[f64]>,
}

/// What a member can take, or no longer takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) region: RegionIndex,
    /// Whether it may take others' clients, and behind which other regions.
    pub(crate) eligibility: Eligibility,
    /// The load whose clients have to go elsewhere; infinite if it is unknown.
    pub(crate) displaced: f64,
    /// The same, as it is assumed where it is unknown.
    pub(crate) assumed: f64,
    /// The load that it can take beside its own; `None` if nothing limits it.
    pub(crate) spare: Option<f64>,
    /// Whether its own load is known, and may not be just the beginning of more.
    pub(crate) is_settled: bool,
}

/// Tells the lots of displaced clients from others.
const PURPOSE: u64 = 0x7370_696c_6c5f_7631;

impl Spill {
    pub(crate) fn new(rooms: impl Iterator<Item = Room> + Clone, regions: usize) -> Self {
        let displaced: f64 = rooms.clone().map(|room| room.displaced).sum();
        let limits = rooms.clone().filter_map(|room| room.spare);
        let Some(widest) = limits.reduce(f64::max) else { return Self::default() };
        let is_unlimited = rooms.clone().any(|room| room.spare.is_none());
        // What nothing limits counts like the widest region where shares are compared.
        let spare: f64 = rooms.clone().map(|room| room.spare.unwrap_or(widest)).sum();
        if displaced <= 0.0 || (spare <= 0.0 && !is_unlimited) {
            return Self::default();
        }
        // Where there is too little room, all of it is given away.
        let is_enough = displaced <= spare || (is_unlimited && displaced.is_finite());
        let placed = if is_enough { displaced } else { spare };
        let mut fractions = vec![0.0; regions].into_boxed_slice();
        for room in rooms {
            fractions[room.region.get()] = match room.spare {
                None => 1.0,
                Some(spare) if spare <= 0.0 => 0.0,
                Some(of_it) if room.is_settled => of_it / placed,
                Some(of_it) => of_it / placed.max(spare),
            };
        }
        Self { fractions }
    }

    pub(crate) fn is_limited(&self) -> bool {
        !self.fractions.is_empty()
    }

    /// Returns the client's number, from 0 up to but not 1.
    pub(crate) fn number(client: ClientKey) -> f64 {
        unit(client.lot(PURPOSE))
    }

    /// Returns the place in the order at which a client of this number is taken.
    ///
    /// Where the order is too short to take all, those that it holds are filled alike.
    pub(crate) fn place(
        &self,
        order: impl Iterator<Item = RegionIndex> + Clone,
        number: f64,
    ) -> usize {
        if !self.is_limited() {
            return 0;
        }
        let fraction = |region: RegionIndex| self.fractions[region.get()];
        let all: f64 = order.clone().map(fraction).sum();
        let number = number * all.min(1.0);
        let mut taken = 0.0;
        let is_taken = |region| {
            taken += fraction(region);
            number < taken
        };
        order.map(is_taken).position(|is_taken| is_taken).unwrap_or_default()
    }
}

/// Spreads lots evenly from 0 up to but not 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn unit(lot: u64) -> f64 {
    (lot >> 11) as f64 / (1_u64 << 53) as f64
}
