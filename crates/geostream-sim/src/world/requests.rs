//! What clients ask, and what they are told.

use geostream_consensus::{Call, Input, NodeId, Proposal, Request, SessionId};

use super::{Event, World};
use crate::agenda::Micros;
use crate::checkers::{Acknowledged, Linearizability, Violation};
use crate::clients::{What, Wish};
use crate::machine::Append;

/// How long a client waits for an answer.
const TIMEOUT: Micros = 400_000;

/// How long a client waits before it tries again what was refused.
const BACKOFF: Micros = 10_000;

impl World {
    pub(super) fn call(&mut self, client: usize) {
        let (floor, reads) = (self.linearizability.floor(), self.plan.weather.reads);
        if self.clients[client].wish.is_none() {
            self.clients[client].call(floor, reads);
            self.send_request(client, 0);
        }
    }

    fn send_request(&mut self, number: usize, wait: Micros) {
        let client = &mut self.clients[number];
        let Some(Wish { what, .. }) = client.wish else { return };
        let append = client.attempt();
        // A read can be asked of anybody.
        let anybody = what == What::Read && client.rng.hits(300_000);
        let other = usize::try_from(client.rng.below(self.nodes.len() as u64)).unwrap_or(0);
        let node = if anybody { other } else { client.at };
        let at = self.now + wait + client.rng.between(100, 400);
        self.agenda.push(at, Event::Asked { node, append, what });
        self.agenda.push(at + TIMEOUT, Event::TimedOut { append });
    }

    pub(super) fn ask(&mut self, node: usize, append: Append, what: What) -> Result<(), Violation> {
        let until = self.nodes[node].stands_until;
        if until > self.now {
            self.agenda.push(until, Event::Asked { node, append, what });
            return Ok(());
        }
        if self.nodes[node].raft.is_none() {
            return self.tell(append, None, None);
        }
        let ticket = append.ticket();
        let number = u64::from(append.request);
        let call = match what {
            What::Read => return self.step(node, Input::Read { ticket }),
            What::Open => Call::Open,
            What::Append(session) => {
                Call::Once { session, number, answered_below: number, command: append }
            }
        };
        let at_micros = self.nodes[node].clock.shows(self.now).as_micros();
        let command = Request { at_micros, call };
        self.step(node, Input::Propose(vec![Proposal { ticket, command }]))
    }

    pub(super) fn tell(
        &mut self,
        append: Append,
        place: Option<u64>,
        hint: Option<NodeId>,
    ) -> Result<(), Violation> {
        let Some(number) = self.waiting_client(append) else { return Ok(()) };
        let Some(place) = place else {
            if append == self.clients[number].attempt() {
                self.try_again(number, hint, BACKOFF);
            }
            return Ok(());
        };
        let floor = self.clients[number].wish.map_or(0, |wish| wish.floor);
        let judged = self.linearizability.appended(floor, place);
        judged.map_err(|what| self.violation(Linearizability::NAME, what))?;
        let judged = self.acknowledged.answered(append, place);
        judged.map_err(|what| self.violation(Acknowledged::NAME, what))?;
        self.rest(number);
        Ok(())
    }

    pub(super) fn welcome(&mut self, append: Append, session: SessionId) {
        let Some(number) = self.waiting_client(append) else { return };
        self.clients[number].session = Some(session);
        self.clients[number].wish = None;
        self.agenda.push(self.now, Event::Calls { client: number });
    }

    pub(super) fn show(
        &mut self,
        append: Append,
        length: u64,
        digest: u64,
    ) -> Result<(), Violation> {
        let Some(number) = self.waiting_client(append) else { return Ok(()) };
        let floor = self.clients[number].wish.map_or(0, |wish| wish.floor);
        let judged = self.linearizability.read(floor, length, digest);
        judged.map_err(|what| self.violation(Linearizability::NAME, what))?;
        self.rest(number);
        Ok(())
    }

    pub(super) fn time_out(&mut self, append: Append) {
        let Some(number) = self.waiting_client(append) else { return };
        if append == self.clients[number].attempt() {
            self.try_again(number, None, 0);
        }
    }

    fn waiting_client(&self, append: Append) -> Option<usize> {
        let number = usize::from(append.client);
        self.clients.get(number).is_some_and(|client| client.waits_for(append)).then_some(number)
    }

    /// Asks the leader it was told of, or else anybody.
    fn try_again(&mut self, number: usize, hint: Option<NodeId>, after: Micros) {
        let nodes = self.nodes.len() as u64;
        let hinted = hint.and_then(|id| self.place(id));
        let client = &mut self.clients[number];
        client.try_again();
        let anybody = usize::try_from(client.rng.below(nodes)).unwrap_or(0);
        client.at = hinted.unwrap_or(anybody);
        self.send_request(number, if hinted.is_some() { 0 } else { after });
    }

    fn rest(&mut self, number: usize) {
        self.answers += 1;
        let client = &mut self.clients[number];
        client.wish = None;
        let rest = client.rng.between(self.plan.rest / 2, self.plan.rest * 3 / 2);
        self.agenda.push(self.now + rest, Event::Calls { client: number });
    }
}
