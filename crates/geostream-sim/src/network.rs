//! The network: which messages come, when, and how often.

use std::collections::VecDeque;

use geostream_consensus::{Body, Message, Promise, Word};

use crate::agenda::Micros;
use crate::machine::Wanted;
use crate::plan::Weather;
use crate::rng::Rng;

/// How many messages of the past are remembered.
const MEMORY: usize = 64;

/// All links between all nodes. A node is meant by its place.
#[derive(Debug)]
pub(crate) struct Network {
    weather: Weather,
    seed: u64,
    /// By sender and receiver.
    links: Vec<Vec<Link>>,
    /// Some messages of the past.
    memory: VecDeque<Message<Wanted>>,
    memory_rng: Rng,
}

#[derive(Clone, Debug)]
struct Link {
    is_cut: bool,
    /// How much longer everything takes.
    slower: Micros,
    /// Its own, so that what happens on one link changes nothing on another.
    rng: Rng,
}

impl Network {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let memory_rng = Rng::of(seed, 2);
        Self { weather, seed, links: Vec::new(), memory: VecDeque::new(), memory_rng }
    }

    /// Connects nodes up to this many.
    pub(crate) fn grow(&mut self, nodes: usize) {
        self.links.resize(nodes, Vec::new());
        for (from, links) in self.links.iter_mut().enumerate() {
            for to in links.len()..nodes {
                let name = (from as u64) << 32 | (to as u64) << 8 | 7;
                let rng = Rng::of(self.seed, name);
                links.push(Link { is_cut: false, slower: 0, rng });
            }
        }
    }

    /// Returns after what times a message arrives: never, once or twice.
    pub(crate) fn carry(&mut self, from: usize, to: usize) -> [Option<Micros>; 2] {
        let Weather { lost, doubled, late, delay, lateness, .. } = self.weather;
        let Some(link) = self.links.get_mut(from).and_then(|links| links.get_mut(to)) else {
            return [None, None];
        };
        if link.is_cut || link.rng.hits(lost) {
            return [None, None];
        }
        let mut time = || {
            let (least, most) = if link.rng.hits(late) { lateness } else { delay };
            link.slower + link.rng.between(least, most)
        };
        let first = time();
        let again = time();
        [Some(first), link.rng.hits(doubled).then_some(again)]
    }

    /// Remembers some of the messages, for a replay.
    pub(crate) fn remember(&mut self, message: &Message<Wanted>) {
        let is_rare = matches!(
            message.body,
            Body::Word(Word::SnapshotChunk(_)) | Body::Promise(Promise::Vote)
        );
        if self.memory_rng.hits(if is_rare { 500_000 } else { 30_000 }) {
            if self.memory.len() == MEMORY {
                self.memory.pop_front();
            }
            self.memory.push_back(message.clone());
        }
    }

    pub(crate) fn remembered(&self) -> Vec<Message<Wanted>> {
        self.memory.iter().cloned().collect()
    }

    /// Cuts exactly the links that are named.
    pub(crate) fn cut(&mut self, is_cut: impl Fn(usize, usize) -> bool) {
        for (from, links) in self.links.iter_mut().enumerate() {
            for (to, link) in links.iter_mut().enumerate() {
                link.is_cut = is_cut(from, to);
            }
        }
    }

    /// Cuts one link in one direction, and leaves the others as they are.
    pub(crate) fn cut_link(&mut self, from: usize, to: usize) {
        if let Some(link) = self.link(from, to) {
            link.is_cut = true;
        }
    }

    /// Makes all that goes from one node to another slower.
    pub(crate) fn slow_link(&mut self, from: usize, to: usize, slower: Micros) {
        if let Some(link) = self.link(from, to) {
            link.slower = slower;
        }
    }

    fn link(&mut self, from: usize, to: usize) -> Option<&mut Link> {
        self.links.get_mut(from)?.get_mut(to)
    }

    /// Makes all that goes to or comes from a node slower.
    pub(crate) fn slow(&mut self, node: usize, slower: Micros) {
        for (from, links) in self.links.iter_mut().enumerate() {
            for (to, link) in links.iter_mut().enumerate() {
                if from == node || to == node {
                    link.slower = slower;
                }
            }
        }
    }

    /// Repairs everything.
    pub(crate) fn heal(&mut self, weather: Weather) {
        self.cut(|_, _| false);
        for link in self.links.iter_mut().flatten() {
            link.slower = 0;
        }
        self.weather = weather;
    }
}
