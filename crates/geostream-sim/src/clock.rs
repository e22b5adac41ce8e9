//! A node's clock, which runs as it likes.

use geostream_consensus::Moment;

use crate::agenda::Micros;

/// What a node takes for the time: it drifts from the world's, and can jump.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// At this moment of the world ...
    world: Micros,
    /// ... it showed this.
    shown: u64,
    /// How many microseconds it goes in a second of the world.
    speed: u64,
}

impl Clock {
    pub(crate) fn new(world: Micros, shown: u64, speed: u64) -> Self {
        Self { world, shown, speed }
    }

    pub(crate) fn shows(&self, world: Micros) -> Moment {
        Moment::from_micros(self.shown + (world - self.world) * self.speed / 1_000_000)
    }

    /// Returns when the clock shows this at last.
    pub(crate) fn reaches(&self, shown: Moment) -> Micros {
        let ahead = shown.as_micros().saturating_sub(self.shown);
        self.world + (ahead * 1_000_000).div_ceil(self.speed)
    }

    pub(crate) fn jump(&mut self, world: Micros, by: i64) {
        self.shown = self.shows(world).as_micros().saturating_add_signed(by);
        self.world = world;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_at_the_first_moment_that_shows_it() {
        let mut clock = Clock::new(1_000, 77, 1_000_300);
        for deadline in [77, 78, 5_000, 1_234_567] {
            let deadline = Moment::from_micros(deadline);
            let world = clock.reaches(deadline);
            assert!(clock.shows(world) >= deadline);
            assert!(world == 1_000 || clock.shows(world - 1) < deadline);
        }
        clock.jump(2_000, -500);
        assert_eq!(clock.shows(2_000), Moment::from_micros(577));
    }
}
