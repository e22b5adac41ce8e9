//! What goes wrong, and what an operator does.

use std::collections::BTreeSet;

use geostream_consensus::{Input, NodeId, Raft, Role, Stored};

use super::{Event, LOOK, World};
use crate::agenda::Micros;
use crate::checkers::Violation;
use crate::machine::Wanted;
use crate::operator::{Errand, Next};
use crate::plan::{Fault, Who};

/// How many machines there are at most, running or not: no id is given twice.
const MACHINES: usize = 24;

impl World {
    pub(super) fn inject(&mut self, number: usize) -> Result<(), Violation> {
        let (_, fault) = self.plan.faults[number];
        if self.is_healed {
            return Ok(());
        }
        self.say(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Split(sides) => {
                self.network.cut(|from, to| side(sides, from) != side(sides, to));
            }
            Fault::Ring => {
                let near = |one: usize, other: usize, count: usize| (one + 1) % count == other;
                self.cut_among_up(|one, other, count| {
                    !near(one, other, count) && !near(other, one, count)
                });
            }
            Fault::Bridge => self.cut_among_up(|one, other, count| {
                let middle = count / 2;
                one.min(other) < middle && one.max(other) > middle
            }),
            Fault::CutLink(from, to) => {
                if let Some((from, to)) = self.link(from, to) {
                    self.network.cut_link(from, to);
                }
            }
            Fault::SlowLink(from, to, slower) => {
                if let Some((from, to)) = self.link(from, to) {
                    self.network.slow_link(from, to, slower);
                }
            }
            Fault::Heal => self.network.cut(|_, _| false),
            Fault::Blackout(down) => return self.black_out(down),
            Fault::Replay => self.replay(),
            Fault::Grow => self.send_operator(true, None),
            Fault::Revive => return self.revive(),
            Fault::Isolate(who)
            | Fault::Mute(who)
            | Fault::Deafen(who)
            | Fault::Crash(who, _)
            | Fault::Pause(who, _)
            | Fault::Jump(who, _)
            | Fault::Stall(who, _)
            | Fault::Hang(who, _)
            | Fault::BreakDisk(who)
            | Fault::LoseSnapshot(who)
            | Fault::Slow(who, _)
            | Fault::Transfer(who)
            | Fault::Shrink(who)
            | Fault::Replace(who)
            | Fault::Compact(who) => {
                if let Some(node) = self.who(who) {
                    return self.strike_node(fault, node);
                }
            }
        }
        Ok(())
    }

    fn strike_node(&mut self, fault: Fault, node: usize) -> Result<(), Violation> {
        match fault {
            Fault::Isolate(_) => self.network.cut(|from, to| from == node || to == node),
            Fault::Mute(_) => self.network.cut(|from, _| from == node),
            Fault::Deafen(_) => self.network.cut(|_, to| to == node),
            Fault::Crash(_, down) => {
                self.note_outage(node);
                self.crash(node)?;
                self.agenda.push(self.now + down, Event::Starts { node });
            }
            Fault::Pause(_, time) => {
                self.nodes[node].stands_until = self.now + time;
                self.nodes[node].is_odd = true;
            }
            Fault::Jump(_, by) => return self.jump(node, by),
            Fault::Stall(_, time) => self.nodes[node].disk_stalls_until = self.now + time,
            Fault::Hang(_, time) => self.nodes[node].machine_hangs_until = self.now + time,
            Fault::BreakDisk(_) => self.disks[node].breaks = true,
            Fault::LoseSnapshot(_) => {
                self.disks[node].loses_snapshot = true;
                return self.command(node, Input::Compact);
            }
            Fault::Slow(_, time) => self.network.slow(node, time),
            Fault::Transfer(_) => return self.transfer(NodeId(node as u64 + 1)),
            Fault::Shrink(_) => self.send_operator(false, Some(node)),
            Fault::Replace(_) => self.send_operator(true, Some(node)),
            Fault::Compact(_) => return self.command(node, Input::Compact),
            Fault::Split(_)
            | Fault::CutLink(..)
            | Fault::SlowLink(..)
            | Fault::Ring
            | Fault::Bridge
            | Fault::Heal
            | Fault::Blackout(_)
            | Fault::Replay
            | Fault::Grow
            | Fault::Revive => {}
        }
        Ok(())
    }

    /// Lets a clock jump. A lease trusts in clocks that do not: only back, and only where the node sees it at once.
    fn jump(&mut self, node: usize, by: i64) -> Result<(), Violation> {
        let trusted = self.plan.lease.is_some();
        if trusted && (by > 0 || self.stands(node)) {
            return Ok(());
        }
        self.nodes[node].clock.jump(self.now, by);
        self.nodes[node].is_odd = true;
        self.nodes[node].ticks_at = Micros::MAX;
        self.arm(node);
        if trusted { self.step(node, Input::Tick) } else { Ok(()) }
    }

    /// Finds out whom something happens to.
    fn who(&self, who: Who) -> Option<usize> {
        match who {
            Who::Leader => self.leader(),
            Who::Nth(number) => nth(&self.up(), number),
        }
    }

    /// Finds out which link something happens to; its ends are two nodes.
    fn link(&self, from: Who, to: Who) -> Option<(usize, usize)> {
        let from = self.who(from)?;
        let to = self.who(to).filter(|to| *to != from);
        let others = || self.up().into_iter().filter(|node| *node != from).collect::<Vec<_>>();
        Some((from, to.or_else(|| nth(&others(), from as u64))?))
    }

    /// Returns who is up, in order.
    fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].raft.is_some()).collect()
    }

    /// Cuts links between those that are up, by their places among them and how many they are.
    fn cut_among_up(&mut self, is_cut: impl Fn(usize, usize, usize) -> bool) {
        let up = self.up();
        self.network.cut(|from, to| {
            let (from, to) = (up.binary_search(&from), up.binary_search(&to));
            from.is_ok_and(|from| to.is_ok_and(|to| is_cut(from, to, up.len())))
        });
    }

    /// Returns who leads in the latest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let leaders = self.history.seen.iter().enumerate().filter_map(|(node, brief)| {
            let brief = brief.filter(|brief| brief.role == Role::Leader)?;
            Some((brief.term, node))
        });
        leaders.max().map(|(_, node)| node)
    }

    fn note_outage(&mut self, node: usize) {
        if self.leader() == Some(node)
            && let Some(brief) = self.history.seen[node]
        {
            self.outage = Some((self.now, brief.term));
        }
    }

    fn black_out(&mut self, down: Micros) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            if self.nodes[node].raft.is_some() {
                self.crash(node)?;
                let at = self.now + self.rng.between(down / 2, down);
                self.agenda.push(at, Event::Starts { node });
            }
        }
        Ok(())
    }

    fn replay(&mut self) {
        for message in self.network.remembered() {
            let at = self.now + self.rng.below(20_000);
            self.agenda.push(at, Event::Arrives(message));
        }
    }

    fn transfer(&mut self, to: NodeId) -> Result<(), Violation> {
        match self.leader() {
            Some(leader) => self.command(leader, Input::Transfer { to }),
            None => Ok(()),
        }
    }

    /// Gives a node an operator's command, if it listens now.
    fn command(&mut self, node: usize, input: Input<Wanted>) -> Result<(), Violation> {
        if self.stands(node) { Ok(()) } else { self.step(node, input) }
    }

    fn stands(&self, node: usize) -> bool {
        self.nodes[node].stands_until > self.now
    }

    /// Gives the operator something to do, unless there is something already or the leader's voters would be
    /// too few or too many.
    fn send_operator(&mut self, grows: bool, leaves: Option<usize>) {
        if self.errand.is_some() || grows && self.nodes.len() >= MACHINES {
            return;
        }
        let joins = grows.then(|| NodeId(self.nodes.len() as u64 + 1));
        let leaves = leaves.map(|node| self.nodes[node].id);
        let errand = Errand { joins, leaves, timeout: 40 };
        let leader = self.leader().and_then(|leader| self.nodes[leader].raft.as_ref());
        if leader.is_none_or(|leader| errand.voters(leader.view().membership).is_none()) {
            return;
        }
        if grows {
            self.build(Stored::joining());
        }
        self.errand = Some(errand);
    }

    /// Gives a machine that was removed a new disk, and asks for it under its old id.
    fn revive(&mut self) -> Result<(), Violation> {
        let gone = self.nodes.iter().position(|node| node.is_retired);
        let (Some(gone), Some(leader)) = (gone, self.leader()) else { return Ok(()) };
        let Some(raft) = &self.nodes[leader].raft else { return Ok(()) };
        let (voters, mut learners) = {
            let membership = raft.view().membership;
            (membership.voters().clone(), membership.learners().clone())
        };
        learners.insert(self.nodes[gone].id);
        self.change_membership(leader, voters, learners)
    }

    pub(super) fn operate(&mut self) -> Result<(), Violation> {
        self.agenda.push(self.now + LOOK, Event::Operator);
        self.retire();
        let (Some(errand), Some(leader)) = (self.errand, self.leader()) else { return Ok(()) };
        let Some(raft) = &self.nodes[leader].raft else { return Ok(()) };
        let next = errand.next(&raft.view(), |id| self.is_up(id));
        let timeout = errand.timeout.saturating_sub(1);
        self.errand = Some(Errand { timeout, ..errand }).filter(|_| timeout > 0);
        match next {
            Next::Wait => {}
            Next::Done => self.errand = None,
            Next::Start(id) => {
                if let Some(node) = self.place(id) {
                    self.agenda.push(self.now, Event::Starts { node });
                }
            }
            Next::Ask(voters, learners) => self.change_membership(leader, voters, learners)?,
        }
        Ok(())
    }

    /// Asks a leader for these members, and takes note of the entry by which it goes there.
    fn change_membership(
        &mut self,
        leader: usize,
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
    ) -> Result<(), Violation> {
        if self.stands(leader) {
            return Ok(());
        }
        let ticket = self.changes.ask(&voters, &learners);
        self.step(leader, Input::ChangeMembership { ticket, voters, learners })?;
        let view = self.nodes[leader].raft.as_ref().map(Raft::view);
        if let Some(entry) = view.and_then(|view| view.log.id_at(view.membership_at)) {
            self.changes.proposed(ticket, entry);
        }
        Ok(())
    }

    /// Switches off who was removed, unless this operator is forgetful.
    fn retire(&mut self) {
        if self.plan.weather.ghosts && !self.is_healed {
            return;
        }
        let Some(leader) = self.leader() else { return };
        let Some(raft) = &self.nodes[leader].raft else { return };
        let view = raft.view();
        if view.membership_at > view.commit {
            return;
        }
        let newest = view.membership.newest();
        let gone = |id: NodeId| !view.membership.contains(id) && Some(id) <= newest;
        let gone: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].starts > 0 && gone(self.nodes[*node].id))
            .collect();
        for node in gone {
            self.nodes[node].is_retired = true;
            self.nodes[node].raft = None;
            self.history.seen[node] = None;
        }
    }
}

/// Returns one of these, by a number that wraps around.
fn nth(nodes: &[usize], number: u64) -> Option<usize> {
    let at = number.checked_rem(nodes.len() as u64)?;
    nodes.get(usize::try_from(at).ok()?).copied()
}

fn side(sides: u64, node: usize) -> bool {
    sides >> (node % 64) & 1 == 1
}
