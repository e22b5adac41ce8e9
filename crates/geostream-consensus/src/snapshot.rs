//! Snapshots: taken, sent piece by piece, and put in place of a log (Raft paper, §7).

use crate::config::Limits;
use crate::effect::Op;
use crate::entry::{Command, SnapshotMeta};
use crate::error::Refusal;
use crate::id::{LogId, NodeId};
use crate::input::Piece;
use crate::log::Log;
use crate::memberships::Memberships;
use crate::message::{Promise, SnapshotChunk, Word};
use crate::outbox::Fact;
use crate::progress::{Mode, Sending};
use crate::raft::Raft;
use crate::state::{Expected, Receiving, SnapshotOffer};

/// How often a piece is sent again before the follower is asked anew what it has.
const RETRIES: u8 = 5;

impl<C: Command> Raft<C> {
    /// Wants a snapshot when the log has grown, or somebody asks for one.
    ///
    /// It is taken between two pages, so the state machine is exactly where the snapshot ends; what it
    /// says of the membership is what was in force there, and so is committed.
    pub(crate) fn take_snapshot(&mut self) {
        let due = self.has_grown() || self.own_snapshot.wanted;
        let busy = self.own_snapshot.taking.is_some() || self.handed_out != self.applied;
        if !due || busy || self.is_clogged() {
            return;
        }
        self.own_snapshot.wanted = false;
        let end = self.snapshot.last.index;
        let Some(last) = self.log.id_at(self.applied).filter(|last| last.index > end) else {
            return;
        };
        let membership = self.memberships.at(self.applied).clone();
        let meta = SnapshotMeta { last, membership };
        self.own_snapshot.taking = Some(meta.clone());
        self.outbox.take_snapshot(meta);
    }

    fn has_grown(&self) -> bool {
        let (limits, end) = (&self.config.limits, self.snapshot.last.index);
        self.applied.since(end) >= limits.snapshot_after_entries
            || self.log.weight_between(end, self.applied) >= limits.snapshot_after_bytes
    }

    /// Uses the snapshot that was taken.
    pub(crate) fn use_own_snapshot(&mut self, snapshot: LogId) {
        let Some(meta) = self.own_snapshot.taking.take_if(|meta| meta.last == snapshot) else {
            return;
        };
        if snapshot.index <= self.snapshot.last.index {
            return;
        }
        self.outbox.write(Op::UseTaken(meta.clone()));
        self.memberships.forget_before(snapshot.index);
        self.snapshot = meta;
        self.purge();
    }

    /// Forgets what the snapshot stands for, except a little for followers that are a little behind.
    pub(crate) fn purge(&mut self) {
        let Limits { keep_entries, keep_bytes, .. } = self.config.limits;
        let end = self.snapshot.last.index;
        let through = end.minus(self.log.tail(end, keep_entries, keep_bytes));
        if through > self.log.base().index {
            self.log.purge(through);
            self.outbox.write(Op::Purge { through });
        }
    }

    /// Begins to send the latest snapshot.
    pub(crate) fn start_snapshot(&mut self, to: NodeId) {
        let meta = self.snapshot.clone();
        let retry_at = self.now();
        let sending = Sending { meta, offset: 0, retry_at, retries: 0 };
        if let Some(progress) = self.progress_mut(to) {
            progress.mode = Mode::Snapshot(sending);
        }
        self.ask_for_piece(to);
    }

    /// Wants the next piece, and waits for it to be taken only so long.
    fn ask_for_piece(&mut self, to: NodeId) {
        let retry_at = self.now() + self.config.timing.chunk;
        let limit = self.config.limits.chunk_bytes;
        let Some(sending) = self.sending_mut(to) else { return };
        sending.retry_at = retry_at;
        let (snapshot, offset) = (sending.meta.last, sending.offset);
        self.outbox.read_chunk(to, snapshot, offset, limit);
    }

    /// Sends a piece that was read; begins anew if that snapshot is gone.
    pub(crate) fn send_piece(
        &mut self,
        to: NodeId,
        snapshot: LogId,
        offset: u64,
        piece: Option<Piece>,
    ) {
        let now = self.now();
        let Some(probe) = self.leading().map(|leading| leading.probe(now)) else { return };
        let Some(sending) = self.sending_mut(to) else { return };
        if sending.meta.last != snapshot || sending.offset != offset {
            return;
        }
        let Some(Piece { data, is_last }) = piece else { return self.search_anew(to) };
        let chunk = SnapshotChunk { meta: sending.meta.clone(), offset, data, is_last, probe };
        self.say(to, Word::SnapshotChunk(chunk));
    }

    /// Goes on where the follower is: after a restart, it begins again.
    pub(crate) fn handle_staged(&mut self, from: NodeId, snapshot: LogId, next: u64) {
        let Some(sending) = self.sending_mut(from) else { return };
        if sending.meta.last == snapshot && sending.offset != next {
            sending.offset = next;
            sending.retries = 0;
            self.ask_for_piece(from);
        }
    }

    /// Sends again what was not answered, and after a while asks the follower anew what it has.
    pub(crate) fn retry_chunks(&mut self) {
        let now = self.now();
        let Some(leading) = self.leading() else { return };
        let late = leading.progress.iter().filter_map(|(id, progress)| match &progress.mode {
            Mode::Snapshot(sending) => (now >= sending.retry_at).then_some(*id),
            Mode::Search { .. } | Mode::Stream => None,
        });
        for to in late.collect::<Vec<_>>() {
            let Some(sending) = self.sending_mut(to) else { continue };
            sending.retries += 1;
            if sending.retries > RETRIES {
                self.search_anew(to);
            } else {
                self.ask_for_piece(to);
            }
        }
    }

    fn search_anew(&mut self, to: NodeId) {
        let last = self.log.last().index;
        if let Some(progress) = self.progress_mut(to) {
            progress.next = last.next();
            progress.mode = Mode::Search { asked: false };
        }
    }

    fn sending_mut(&mut self, to: NodeId) -> Option<&mut Sending> {
        match &mut self.progress_mut(to)?.mode {
            Mode::Snapshot(sending) => Some(sending),
            Mode::Search { .. } | Mode::Stream => None,
        }
    }

    /// Takes a piece of the leader's snapshot, unless it has all that the snapshot stands for.
    pub(crate) fn handle_snapshot_chunk(&mut self, from: NodeId, chunk: SnapshotChunk) {
        if !self.heed(from) {
            return;
        }
        let (snapshot, probe) = (chunk.meta.last, chunk.probe);
        let of = SnapshotOffer { term: self.hard.term, last: snapshot };
        // What is committed here is never replaced, whatever the snapshot says.
        if snapshot.index <= self.commit || self.log.contains(snapshot) {
            self.commit = self.commit.max(snapshot.index);
            // A piece that comes late ends nothing newer.
            self.receiving.take_if(|receiving| receiving.of <= of);
            let (matched, is_full) = (self.commit, self.is_behind());
            return self.promise(from, Promise::AppendAck { matched, is_full, probe });
        }
        if self.receiving.as_ref().is_some_and(|receiving| of < receiving.of) {
            return;
        }
        let begun = self.receiving.take().filter(|receiving| receiving.of == of);
        let mut next = begun.map_or(0, |receiving| receiving.next);
        let fits = chunk.offset == next;
        if fits {
            next += chunk.data.len() as u64;
            self.outbox.write(Op::Stage { snapshot, offset: chunk.offset, data: chunk.data });
        }
        if fits && chunk.is_last {
            self.install(chunk.meta);
            let matched = snapshot.index;
            self.promise(from, Promise::AppendAck { matched, is_full: false, probe });
        } else {
            self.receiving = Some(Receiving { of, next });
            self.promise(from, Promise::Staged { snapshot, next });
        }
    }

    /// Forgets a snapshot half received that entries have made useless.
    pub(crate) fn forget_overtaken(&mut self) {
        let commit = self.commit;
        self.receiving.take_if(|receiving| receiving.of.last.index <= commit);
    }

    /// Puts a snapshot in place of the whole log: what there was does not contain the snapshot's end, so
    /// it ends before it or is of another history. The membership is the snapshot's.
    fn install(&mut self, meta: SnapshotMeta) {
        let last = meta.last.index;
        let agreed = self.commit;
        self.outbox.write_installation(&meta, agreed);
        self.outbox.learn_later(Fact::Installed(meta.clone()));
        self.log = Log::starting_after(meta.last);
        self.memberships = Memberships::starting_with(&meta);
        self.durable = self.durable.min(agreed);
        self.commit = last;
        self.handed_out = last;
        self.snapshot = meta;
        for (_, Expected { ticket, .. }) in self.take_tickets_through(last) {
            self.refuse(ticket, Refusal::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::entry::SnapshotMeta;
    use crate::error::Refusal;
    use crate::id::{Index, LogId, NodeId, Term, Ticket};
    use crate::input::{Input, Proposal};
    use crate::membership::Membership;
    use crate::message::{Body, Message, Probe, SnapshotChunk, Word};
    use crate::progress::Mode;
    use crate::restart::Stored;
    use crate::testing::{A, Answer, B, C, Cluster, log_id};
    use crate::view::Received;

    /// C was away while the others took many snapshots, of several pieces.
    fn one_is_far_behind() -> Cluster {
        let mut config = Cluster::of(0).config;
        config.limits.snapshot_after_entries = 10;
        config.limits.keep_entries = 2;
        config.limits.chunk_bytes = 7;
        let mut cluster = Cluster::with(3, config);
        cluster.make_leader(A);
        cluster.isolate(C);
        for command in 0..55 {
            cluster.propose(A, &[command]);
            cluster.deliver();
        }
        cluster
    }

    #[test]
    fn the_log_is_purged_behind_a_snapshot_except_a_little() {
        let cluster = one_is_far_behind();
        for id in [A, B] {
            let view = cluster.view(id);
            assert!(view.applied.since(view.snapshot.last.index) < 10);
            assert_eq!(view.log.base().index, view.snapshot.last.index.minus(2));
            let stored = cluster.stored(id);
            assert_eq!(stored.entries[0].id.index, view.log.base().index.next());
        }
    }

    #[test]
    fn a_state_machine_that_is_always_behind_is_asked_for_snapshots_too() {
        let mut config = Cluster::of(0).config;
        config.limits.snapshot_after_entries = 10;
        config.limits.apply_bytes = 1;
        let mut cluster = Cluster::with(1, config);
        cluster.make_leader(A);
        let first = cluster.view(A).applied;
        let proposal = |command| Proposal { ticket: Ticket(command), command: vec![0] };
        cluster.step(A, Input::Propose((0..50).map(proposal).collect()));
        assert_eq!(cluster.view(A).applied, first.plus(50), "a page after another");
        let steps =
            cluster.snapshots(A).windows(2).map(|two| two[1].since(two[0])).collect::<Vec<_>>();
        assert_eq!(steps, [10; 4]);
    }

    #[test]
    fn a_follower_that_is_far_behind_gets_a_snapshot_piece_by_piece() {
        let mut cluster = one_is_far_behind();
        cluster.heal();
        cluster.pass(200);
        assert_eq!(cluster.state(C), cluster.state(A));
        assert_eq!(cluster.view(C).snapshot, cluster.view(A).snapshot);
        assert_eq!(cluster.view(A).progress.unwrap()[&C].mode, Mode::Stream);
        cluster.restart(C);
        cluster.pass(300);
        assert_eq!(cluster.state(C), cluster.state(A));
    }

    #[test]
    fn pieces_that_are_lost_are_sent_again() {
        let mut cluster = one_is_far_behind();
        cluster.heal();
        for _ in 0..40 {
            cluster.pass(100);
            cluster.wire.retain(|message| message.to != C);
        }
        cluster.pass(3_000);
        assert_eq!(cluster.state(C), cluster.state(A));
    }

    #[test]
    fn a_follower_that_restarts_gets_the_snapshot_from_its_beginning() {
        let mut cluster = one_is_far_behind();
        cluster.heal();
        cluster.until(|cluster| cluster.view(C).receiving.is_some_and(|part| part.bytes >= 14));
        cluster.restart(C);
        cluster.pass(3_000);
        assert_eq!(cluster.state(C), cluster.state(A));
    }

    #[test]
    fn a_late_piece_does_not_undo_what_was_received_since() {
        let mut cluster = Cluster::of(3);
        let [contained, older, snapshot, newer] = [0, 40, 50, 60].map(snapshot_to);
        send(&mut cluster, 91, &snapshot, 0, false);
        send(&mut cluster, 91, &older, 0, false);
        send(&mut cluster, 91, &contained, 0, false);
        assert_eq!(cluster.view(B).receiving, Some(received(&snapshot, 5)));
        send(&mut cluster, 91, &newer, 0, false);
        assert_eq!(cluster.view(B).receiving, Some(received(&newer, 5)));
    }

    #[test]
    fn pieces_of_two_leaders_are_not_put_together() {
        let mut cluster = Cluster::of(3);
        let snapshot = snapshot_to(50);
        send(&mut cluster, 91, &snapshot, 0, false);
        send(&mut cluster, 92, &snapshot, 5, true);
        assert_eq!(cluster.view(B).receiving, Some(received(&snapshot, 0)));
        send(&mut cluster, 92, &snapshot, 0, true);
        assert_eq!(cluster.state(B), b"state");
    }

    #[test]
    fn a_transfer_without_an_answer_ends() {
        let mut cluster = one_is_far_behind();
        cluster.heal();
        let sending = |cluster: &Cluster| {
            let progress = cluster.view(A).progress.map(|progress| progress[&C].clone());
            progress.is_some_and(|progress| matches!(progress.mode, Mode::Snapshot(_)))
        };
        cluster.until(sending);
        cluster.isolate(C);
        let timeout = cluster.config.timing.chunk * 7;
        let begin = cluster.now;
        cluster.until(|cluster| !sending(cluster));
        assert!(cluster.now - begin < timeout);
    }

    #[test]
    fn a_snapshot_brings_the_membership_and_ends_what_was_of_another_history() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(B);
        cluster.isolate(B);
        let ticket = cluster.propose(B, b"lost");
        let membership = Membership::of([A, B, C, NodeId(4)]);
        let meta = SnapshotMeta { last: log_id(90, 50), membership: membership.clone() };
        send(&mut cluster, 91, &meta, 0, true);
        let view = cluster.view(B);
        assert_eq!((view.log.last(), view.commit), (meta.last, Index::new(50)));
        assert_eq!((view.membership, view.membership_at), (&membership, Index::new(50)));
        assert_eq!(cluster.answer(ticket), Some(&Answer::Refused(Refusal::Unknown)));
        assert_eq!((cluster.state(B), cluster.stored(B).entries.len()), (&b"state"[..], 0));
    }

    #[test]
    fn what_is_committed_is_not_replaced() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.propose(A, b"x");
        cluster.pass(100);
        let before = cluster.view(B).log.clone();
        let at = before.last().index;
        let meta =
            SnapshotMeta { last: LogId::new(Term::new(90), at), membership: Membership::of([C]) };
        send(&mut cluster, 91, &meta, 0, true);
        assert_eq!(cluster.view(B).log, &before);
    }

    #[test]
    fn a_snapshot_holds_the_membership_at_its_end() {
        let mut cluster = Cluster::of(3);
        cluster.make_leader(A);
        cluster.isolate(A);
        cluster.change(A, &[1, 2], &[]);
        cluster.step(A, Input::Compact);
        let view = cluster.view(A);
        assert!(view.membership.is_joint());
        assert_eq!(view.snapshot.membership, Membership::of([A, B, C]));
        assert_eq!(view.snapshot.last.index, view.applied);
    }

    #[test]
    fn a_node_that_joins_late_gets_a_snapshot_too() {
        let mut cluster = one_is_far_behind();
        cluster.heal();
        cluster.pass(300);
        let joined = NodeId(7);
        cluster.change(A, &[1, 2, 3], &[7]);
        cluster.deliver();
        cluster.start(joined, Stored::joining());
        cluster.pass(300);
        assert_eq!(cluster.state(joined), cluster.state(A));
        assert!(cluster.view(joined).membership.learners().contains(&joined));
    }

    fn snapshot_to(index: u64) -> SnapshotMeta {
        SnapshotMeta { last: log_id(90, index), membership: Membership::of([A, B, C]) }
    }

    fn received(snapshot: &SnapshotMeta, bytes: u64) -> Received {
        Received { snapshot: snapshot.last, bytes }
    }

    /// Lets C lead in this term, and send a piece to B.
    fn send(cluster: &mut Cluster, term: u64, meta: &SnapshotMeta, offset: u64, is_last: bool) {
        let (meta, data) = (meta.clone(), b"state"[..].into());
        let chunk = SnapshotChunk { meta, offset, data, is_last, probe: Probe::default() };
        let body = Body::Word(Word::SnapshotChunk(chunk));
        cluster.step(B, Input::Message(Message { from: C, to: B, term: Term::new(term), body }));
    }
}
