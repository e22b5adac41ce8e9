//! How messages and effects look in a trace.

use std::fmt::Write as _;

use geostream_consensus::{
    Body, Call, Command, Effect, Entry, Index, Membership, Message, Op, Payload, Promise, Word,
};

use crate::machine::{Append, Wanted};

/// A command that can be written in a trace.
pub(crate) trait Shown: Command {
    /// Writes it in a word.
    fn shown(&self) -> String;
}

impl Shown for Wanted {
    fn shown(&self) -> String {
        let Self { call, .. } = self;
        match call {
            Call::Open => "open".to_owned(),
            Call::Close { .. } => "close".to_owned(),
            Call::Once { command: Append { client, request, attempt }, .. } => {
                format!("c{client}/{request}/{attempt}")
            }
        }
    }
}

/// Writes a message in one line: `n1 -> n2 t3 append 2.5 [3.6] commit 4`.
pub(crate) fn message<C: Shown>(message: &Message<C>) -> String {
    let Message { from, to, term, body } = message;
    let said = match body {
        Body::Word(word) => self::word(word),
        Body::Promise(promise) => self::promise(*promise),
    };
    format!("{from} -> {to} t{term} {said}")
}

fn word<C: Shown>(word: &Word<C>) -> String {
    match word {
        Word::PreVote { last, .. } => format!("pre-vote? {last}"),
        Word::PreVoteReply { granted, .. } => format!("pre-vote {}", yes(*granted)),
        Word::VoteRefused => "vote no".to_owned(),
        Word::AppendEntries(append) => {
            let entries = entries(&append.entries);
            format!("append {} {entries} commit {}", append.prev, append.commit)
        }
        Word::AppendRefused { prev, hint, .. } => format!("append {prev} no, try {hint}"),
        Word::SnapshotChunk(chunk) => {
            let end = if chunk.is_last { " end" } else { "" };
            let (last, from) = (chunk.meta.last, chunk.offset);
            format!("snapshot {last} bytes {from}+{}{end}", chunk.data.len())
        }
        Word::TimeoutNow => "stand now".to_owned(),
        Word::Read { .. } => "read?".to_owned(),
        Word::ReadReply { index: Some(index), .. } => format!("read at {index}"),
        Word::ReadReply { index: None, .. } => "read no".to_owned(),
    }
}

fn promise(promise: Promise) -> String {
    match promise {
        Promise::RequestVote { last, forced: false } => format!("vote? {last}"),
        Promise::RequestVote { last, forced: true } => format!("vote? {last} as told"),
        Promise::Vote => "vote yes".to_owned(),
        Promise::AppendAck { matched, is_full: false, .. } => format!("appended {matched}"),
        Promise::AppendAck { matched, is_full: true, .. } => format!("appended {matched}, full"),
        Promise::Staged { snapshot, next } => format!("staged {snapshot} to {next}"),
    }
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

/// Writes what a step did in one line each; what a trace has elsewhere is left out.
pub(crate) fn effect<C: Shown>(effect: &Effect<C>) -> Option<String> {
    let line = match effect {
        Effect::Write(write) => {
            let ops: Vec<_> = write.ops.iter().map(op).collect();
            format!("write {} {}", write.id.0, ops.join(", "))
        }
        Effect::Send(message) => format!("send {}", self::message(message)),
        Effect::Apply(page) => {
            let first = page.first().map_or(Index::ORIGIN, |committed| committed.entry.id.index);
            format!("apply {first} to {}", first.plus(page.len() as u64).previous())
        }
        Effect::Restore(meta) => format!("restore {}", meta.last),
        Effect::TakeSnapshot(meta) => format!("take snapshot {}", meta.last),
        Effect::ReadChunk { .. } => return None,
        Effect::ReadReady { index, .. } => format!("read at {index}"),
        Effect::Refused { why, .. } => format!("refuse: {why}"),
        Effect::Leads { term, leader: Some(leader) } => format!("{leader} leads in term {term}"),
        Effect::Leads { term, leader: None } => format!("nobody leads in term {term}"),
        Effect::Halt(reason) => format!("halt: {reason}"),
    };
    Some(line)
}

pub(crate) fn op<C: Shown>(op: &Op<C>) -> String {
    match op {
        Op::SetHardState(hard) => match hard.vote {
            Some(vote) => format!("term {} vote {vote}", hard.term),
            None => format!("term {}", hard.term),
        },
        Op::Truncate { from } => format!("truncate from {from}"),
        Op::Append(entries) => self::entries(entries),
        Op::Stage { snapshot, offset, .. } => format!("stage {snapshot} at {offset}"),
        Op::UseTaken(meta) => format!("use snapshot {}", meta.last),
        Op::UseStaged(meta) => format!("use received snapshot {}", meta.last),
        Op::Purge { through } => format!("purge to {through}"),
    }
}

pub(crate) fn entries<'a, C: Shown + 'a>(
    entries: impl IntoIterator<Item = &'a Entry<C>>,
) -> String {
    let mut shown = String::from("[");
    for entry in entries {
        let space = if shown.len() > 1 { " " } else { "" };
        let id = entry.id;
        // Writing to a string does not fail.
        let _ok = match &entry.payload {
            Payload::Blank => write!(shown, "{space}{id}"),
            Payload::Command(command) => write!(shown, "{space}{id}:{}", command.shown()),
            Payload::Membership(membership) => {
                write!(shown, "{space}{id}:{}", self::membership(membership))
            }
        };
    }
    shown + "]"
}

pub(crate) fn membership(membership: &Membership) -> String {
    let list = |ids: &std::collections::BTreeSet<geostream_consensus::NodeId>| {
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let mut shown = format!("voters {}", list(membership.voters()));
    if membership.is_joint() {
        shown = format!("{shown} from {}", list(membership.outgoing()));
    }
    if !membership.learners().is_empty() {
        shown = format!("{shown} learners {}", list(membership.learners()));
    }
    shown
}
