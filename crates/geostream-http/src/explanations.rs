//! The places of explanations that are being made, or are still to be sent.

use std::sync::Arc;

use geostream_app::Caller;
use geostream_domain::ClientKey;
use tokio::sync::Semaphore;

use crate::places::{NoPlace, Place, Places};
use crate::problem::Failure;

/// How many regions are explained at a time to all who ask without a token, and as many to all who
/// ask with one: four explanations of the largest configuration, or thousands of a small one.
const REGIONS: usize = 80_000;

/// How many of them one client network or one token may have.
const REGIONS_OF_ONE: usize = REGIONS / 2;

/// The explanations that are being made, or are still to be sent.
#[derive(Debug)]
pub(crate) struct Explanations {
    public: Arc<Places>,
    known: Arc<Places>,
    /// Held while an explanation is made.
    pub(crate) turn: Arc<Semaphore>,
}

/// Who asks for an explanation, which decides how much it says.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// A client network without a token that may read the service.
    Public(ClientKey),
    /// A token that may read the service.
    Known(Caller),
}

impl Explanations {
    pub(crate) fn new() -> Self {
        let places = || Places::new(REGIONS, REGIONS_OF_ONE);
        Self { public: places(), known: places(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Takes a place for an explanation of so many regions.
    pub(crate) fn place(&self, asker: &Asker, regions: usize) -> Result<Place, Failure> {
        let place = match asker {
            Asker::Public(network) => self.public.take((*network).into(), regions),
            Asker::Known(caller) => self.known.take(caller.id.into(), regions),
        };
        place.map_err(|why| match why {
            NoPlace::Full => Failure::busy("too many explanations are under way; ask again in 1 s"),
            NoPlace::HasItsPart => Failure::has_its_part(match asker {
                Asker::Public(_) => "this client's network has too many explanations under way",
                Asker::Known(_) => "this token has too many explanations under way",
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use geostream_domain::Grant;
    use geostream_ports::{Scope, TokenId};
    use http::StatusCode;

    use super::*;

    #[test]
    fn strangers_leave_room_for_tokens_and_a_network_for_others() {
        let explanations = Explanations::new();
        let caller = Caller {
            id: TokenId(1),
            name: "ci".parse().unwrap(),
            grant: Grant::unlimited(Scope::Viewer),
        };
        let network = |number: u8| Asker::Public(ClientKey::of_bytes(&[number]));
        let take =
            |asker: Asker| explanations.place(&asker, 20_000).map_err(|failure| failure.status());
        let held: Vec<_> = [1, 1, 2, 2].map(|number| take(network(number)).unwrap()).into();
        assert_eq!(take(network(3)).unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
        let token = take(Asker::Known(caller)).unwrap();
        drop(held);
        let held = [take(network(1)).unwrap(), take(network(1)).unwrap()];
        assert_eq!(take(network(1)).unwrap_err(), StatusCode::TOO_MANY_REQUESTS);
        assert!(take(network(2)).is_ok());
        drop((held, token));
    }

    #[test]
    fn small_configurations_are_explained_to_thousands_at_once() {
        let explanations = Explanations::new();
        let network = |number: u32| Asker::Public(ClientKey::of_bytes(&number.to_be_bytes()));
        let held: Vec<_> = (0..2_000)
            .map(|number| explanations.place(&network(number % 2), 30).unwrap())
            .collect();
        assert_eq!(held.len(), 2_000);
    }
}
