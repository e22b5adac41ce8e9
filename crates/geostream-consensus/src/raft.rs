//! The node.
use crate::config::Config;
use crate::effect::Effect;
use crate::entry::Command;
use crate::error::RestoreError;
use crate::input::Input;
use crate::restart::Stored;
use crate::time::Moment;
use crate::view::View;

/// A node of a Raft cluster, as a machine: what happens goes in, what is to be done comes out.
#[derive(Clone, Debug)]
pub struct Raft<C> {
    config: Config,
    stored: Stored<C>,
}

impl<C: Command> Raft<C> {
    /// Continues from what is on disk.
    ///
    /// The seed determines all that is left to chance: two nodes need two seeds.
    ///
    /// # Errors
    ///
    /// The configuration, or what is on disk, makes no sense.
    pub fn restore(
        config: Config,
        stored: Stored<C>,
        now: Moment,
        seed: u64,
    ) -> Result<Self, RestoreError> {
        config.check().map_err(RestoreError::Config)?;
        let _ = (now, seed);
        Ok(Self { config, stored })
    }

    /// Takes in what has happened, and adds what is to be done.
    pub fn step(&mut self, now: Moment, input: Input<C>, out: &mut Vec<Effect<C>>) {
        let _ = (now, input, out);
    }

    /// Returns when the next [`Input::Tick`] is due; `None` once the node has stopped.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }
    /// Looks at the node.
    #[must_use]
    pub fn view(&self) -> View<'_, C> {
        todo!()
    }
}
