//! Progress after healing: once nothing goes wrong any more, somebody leads, answers are given, and every member
//! applies what is committed (Raft paper, §5.6: timing is all that availability may depend on).

use geostream_consensus::{Index, Membership, NodeId};

use crate::agenda::Micros;

/// How long a cluster may take to work again once nothing goes wrong any more; who only lacks entries has as
/// long again, once, and whenever it lacks half as many.
const RECOVERY: Micros = 10_000_000;

/// How far a repaired cluster has come.
#[derive(Debug)]
pub(crate) struct Progress {
    /// When it must have come nearer.
    end: Micros,
    /// How much the one furthest behind lacked when it last came nearer.
    least: u64,
    /// What every member must have applied: all that was committed when clients had got their answers.
    target: Option<Index>,
}

/// A cluster that is repaired.
#[derive(Debug)]
pub(crate) struct Repaired<'a> {
    pub(crate) now: Micros,
    /// What the latest leader's membership is; `None` if nobody leads.
    pub(crate) membership: Option<&'a Membership>,
    /// How many requests were answered since.
    pub(crate) answers: u64,
    pub(crate) clients: u16,
    pub(crate) committed: Index,
}

/// A member's machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) is_up: bool,
    /// It was started, at least once.
    pub(crate) has_started: bool,
    pub(crate) applied: Index,
}

/// What keeps a cluster from working again.
#[derive(Debug)]
struct Obstacle {
    what: String,
    /// How many entries a member lacks; `None` where it is not only that.
    missing: Option<u64>,
}

impl Progress {
    pub(crate) const NAME: &'static str = "progress after healing";

    /// Begins when everything is repaired.
    pub(crate) fn since(healed: Micros) -> Self {
        Self { end: healed + RECOVERY, least: u64::MAX, target: None }
    }

    /// Tells whether all is well again; an error says what has kept it from that for too long.
    pub(crate) fn is_made(
        &mut self,
        cluster: &Repaired<'_>,
        member: impl Fn(NodeId) -> Option<Member>,
    ) -> Result<bool, String> {
        let Some(obstacle) = self.obstacle(cluster, member) else { return Ok(true) };
        if cluster.now < self.end {
            return Ok(false);
        }
        // Whoever gets one entry at a time needs longer for thousands, but comes nearer soon.
        match obstacle.missing {
            Some(missing) if missing <= self.least / 2 => self.least = missing,
            Some(_) | None => return Err(obstacle.what),
        }
        self.end += RECOVERY;
        Ok(false)
    }

    fn obstacle(
        &mut self,
        cluster: &Repaired<'_>,
        member: impl Fn(NodeId) -> Option<Member>,
    ) -> Option<Obstacle> {
        let all = |what: String| Some(Obstacle { what, missing: None });
        let Some(membership) = cluster.membership else { return all("nobody leads".to_owned()) };
        if membership.is_joint() {
            return all(format!("{membership:?} is never left"));
        }
        if cluster.answers < u64::from(cluster.clients) {
            return all(format!("only {} answers to clients", cluster.answers));
        }
        let target = *self.target.get_or_insert(cluster.committed);
        let lags = membership.members().filter_map(|id| lag(id, member(id), target));
        lags.max_by_key(|lag| lag.missing)
    }
}

/// Returns by how much a member is behind; one that was never started cannot be.
fn lag(id: NodeId, member: Option<Member>, target: Index) -> Option<Obstacle> {
    let applied = member.map(|member| member.applied);
    let is_behind = member
        .is_none_or(|member| member.has_started && (!member.is_up || member.applied < target));
    is_behind.then(|| Obstacle {
        what: format!("{id} has applied {applied:?} of {target}"),
        missing: Some(target.since(applied.unwrap_or_default())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a cluster of one member, all else being well.
    fn look(progress: &mut Progress, now: Micros, applied: u64) -> Result<bool, String> {
        let membership = Membership::of([NodeId(1)]);
        let cluster = Repaired {
            now,
            membership: Some(&membership),
            answers: 1,
            clients: 1,
            committed: Index::new(100),
        };
        progress.is_made(&cluster, |_| {
            Some(Member { is_up: true, has_started: true, applied: Index::new(applied) })
        })
    }

    #[test]
    fn who_comes_nearer_has_time_and_who_does_not_is_seen() {
        let mut progress = Progress::since(0);
        assert_eq!(look(&mut progress, 1, 0), Ok(false));
        assert_eq!(look(&mut progress, RECOVERY, 20), Ok(false));
        assert_eq!(look(&mut progress, 2 * RECOVERY, 60), Ok(false));
        assert!(look(&mut progress, 3 * RECOVERY, 61).is_err());
        assert_eq!(look(&mut progress, 3 * RECOVERY, 100), Ok(true));
    }
}
