//! Watching all regions of a configuration.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::{Config, HealthCheck};
use crate::hash::stable_hash;
use crate::health::answers::{Answering, Answers, Subject};
use crate::health::breaker::BreakerState;
use crate::health::canary::Canaries;
use crate::health::evidence::{Evidence, ProbeFailure, ProbeId, ProbeOutcome, Witness};
use crate::health::monitor::{CONFIRM_GAP, HealthMonitor, MonitorOutput};
use crate::health::observation::{Health, Share};
use crate::health::quorum::{HeardView, LoadShare, Quorum};
use crate::health::reports::Report;
use crate::health::votes::Removal;
use crate::health::votes::Vote;
use crate::health::votes::Votes;
use crate::name::{NodeId, RegionId};

/// Watches every region of a configuration, and lets none be taken for dead by somebody who sees
/// nobody well.
///
/// Where other nodes are heard, what all see adds up to a verdict on each region, by the rule of
/// [`Votes`]. Clients' reports count at once where they are handed in, and for the other nodes as
/// this one's vote.
#[derive(Clone, Debug, Default)]
pub struct HealthWatch {
    watched: BTreeMap<RegionId, Watched>,
    timers: BTreeSet<(Instant, RegionId)>,
    /// The regions that are probed at each endpoint, without those that may not be: these can
    /// never be witnesses.
    endpoints: BTreeMap<String, BTreeSet<RegionId>>,
    last_well: LastWell,
    canaries: Canaries,
    answers: Answers,
    /// The regions that this node abstains from, and since when.
    abstaining: BTreeMap<RegionId, Instant>,
    /// When others were last asked out of turn, since a region was in doubt.
    asked_others: Option<Instant>,
    /// Regions whose monitors may have something to say.
    talking: BTreeSet<RegionId>,
    /// What is to be known, and not told yet.
    news: VecDeque<WatchOutput>,
    quorum: Quorum,
    /// How many of the regions that are probed are well without a doubt.
    clear: usize,
    /// Whether it sees nobody well.
    is_blind: bool,
    /// Whether it votes otherwise than it last told.
    has_news: bool,
    seed: u64,
}

#[derive(Clone, Debug)]
struct Watched {
    check: Option<HealthCheck>,
    monitor: HealthMonitor,
    /// When there was evidence last.
    seen: Option<Instant>,
    timer: Option<Instant>,
    /// What the monitor said when it was last looked at, and the breaker of its probes.
    own: Health,
    breaker: BreakerState,
    is_clear: bool,
    is_forbidden: bool,
    /// What this node says of it to others.
    vote: Option<Vote>,
    votes: Option<Votes>,
    /// The verdict of all.
    health: Health,
    /// How sure the verdict is; `None` unless it is unhealthy.
    removal: Option<Removal>,
    is_unconfirmed: bool,
}

/// What a watch wants to be done or known.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchOutput {
    /// Ask by this check, and hand in what comes of it, with this number.
    Probe {
        /// Who is asked.
        subject: Subject,
        /// How it is asked.
        check: HealthCheck,
        /// The number.
        id: ProbeId,
    },
    /// A region's health is another.
    Changed(HealthChange),
    /// A region is as unhealthy as before, and that is more or less sure.
    Regraded(RegionId),
    /// A region has come to be unconfirmed, or to be so no longer.
    Confirmation(RegionId),
    /// The breaker of a region's probes says something else.
    Breaker {
        /// The region.
        region: RegionId,
        /// What it says.
        state: BreakerState,
    },
}

/// A region's health is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// The region.
    pub region: RegionId,
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
    /// What this node has seen of it; `None` if it sees it otherwise, or has not looked.
    pub evidence: Option<Evidence>,
    /// How many nodes see it down; `None` if no other is heard.
    pub votes: Option<Votes>,
    /// How long its last good probe took; `None` if there was none.
    pub response_time: Option<Duration>,
    /// The name for which its certificate is not, if that is why.
    pub missing_name: Option<String>,
}

impl HealthChange {
    /// Returns why, in words.
    pub fn why(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            if let Some(evidence) = self.evidence {
                write!(f, "{evidence}")?;
            }
            if let Some(name) = &self.missing_name {
                write!(f, " than {name}")?;
            }
            match (self.evidence, self.votes) {
                (Some(_), Some(votes)) => write!(f, "; {votes}"),
                (Some(_), None) => Ok(()),
                (None, Some(votes)) => write!(f, "{votes}"),
                (None, None) => f.write_str("no other node is heard any more"),
            }
        })
    }
}

/// How a region is, as the watch sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchedHealth {
    /// Whether it is well: the verdict of all nodes that are heard.
    pub health: Health,
    /// How sure that is; `None` unless it is unhealthy.
    pub removal: Option<Removal>,
    /// Until when this node holds it back though its probes succeed; `None` for all others, and
    /// while it is being tried.
    pub held_until: Option<Instant>,
    /// Whether this node sees it well.
    pub own: Health,
    /// How many nodes see it down; `None` if no other is heard.
    pub votes: Option<Votes>,
    /// The share of its clients that it is to have.
    pub share: Share,
    /// What the breaker of its probes says; `None` for a region that is not probed.
    pub breaker: Option<BreakerState>,
    /// How many probes in a row have failed, while that is not yet believed.
    pub failures: u8,
    /// Whether it would be taken for dead, if anybody else were well.
    pub abstains: bool,
    /// Whether this node abstains from it and no other node votes on it, so that it serves although
    /// its probes fail.
    pub is_unconfirmed: bool,
    /// Whether this node may not probe it, so that it says nothing of its health.
    pub is_forbidden: bool,
}

/// How long this node votes by what clients have reported of a region that it does not probe.
const REPORTS_HOLD: Duration = Duration::from_secs(30);

impl HealthWatch {
    /// Watches nothing yet; the seed spreads probes over time.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Watches these addresses as well: nobody is taken for dead while none of them is well.
    #[must_use]
    pub fn with_canaries(
        self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        now: Instant,
    ) -> Self {
        let canaries = Canaries::new(addresses, self.seed, now);
        let mut answers = self.answers;
        for address in canaries.addresses() {
            answers.expect(Subject::Canary(address));
        }
        Self { canaries, answers, ..self }
    }

    /// Watches these addresses as reachability targets from now on, and no others.
    ///
    /// One that was watched before goes on undisturbed; a new one is unknown and is probed at once.
    /// One that is gone vouches for nothing any more.
    pub fn handle_reachability_targets(
        &mut self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        now: Instant,
    ) {
        let before: BTreeSet<SocketAddr> = self.canaries.addresses().collect();
        self.canaries.handle_addresses(addresses, self.seed, now);
        let current: BTreeSet<SocketAddr> = self.canaries.addresses().collect();
        for &gone in before.difference(&current) {
            self.answers.forget(&Subject::Canary(gone));
        }
        for &new in current.difference(&before) {
            self.answers.expect(Subject::Canary(new));
        }
        self.answers.settle(now);
        self.look_around(now);
    }

    /// Watches the regions of this configuration from now on, and no others.
    ///
    /// A region whose check is as it was goes on undisturbed; one that is new begins with what is
    /// known of it.
    pub fn handle_config(
        &mut self,
        config: &Config,
        known: impl Fn(&RegionId) -> Health,
        now: Instant,
    ) {
        let gone: Vec<_> =
            self.watched.keys().filter(|id| !config.regions().contains_key(*id)).cloned().collect();
        for id in gone {
            self.forget(&id);
        }
        for (id, region) in config.regions() {
            let (known, health, seen) = match self.watched.get(id) {
                Some(watched) if watched.check == region.check => continue,
                Some(watched) => (watched.monitor.health(), watched.health, watched.seen),
                None => (known(id), known(id), None),
            };
            // What is known from before comes without its proof.
            let removal = (health == Health::Unhealthy).then_some(Removal::Unproven);
            self.forget(id);
            if let Some(check) = &region.check {
                self.endpoints.entry(endpoint(check)).or_default().insert(id.clone());
                self.answers.expect(Subject::Region(id.clone()));
            }
            let timing = region.check.as_ref().map(|check| check.timing);
            let seed = self.seed ^ stable_hash(id.as_str().as_bytes());
            let monitor = HealthMonitor::new(timing, known, seed, now);
            let breaker = monitor.probes().state();
            let watched = Watched {
                check: region.check.clone(),
                monitor,
                seen,
                timer: None,
                own: known,
                breaker,
                is_clear: false,
                is_forbidden: false,
                vote: None,
                votes: None,
                health,
                removal,
                is_unconfirmed: false,
            };
            self.watched.insert(id.clone(), watched);
            self.follow_up(id, now);
        }
        self.answers.settle(now);
        self.look_around(now);
    }

    /// Takes in what the other nodes say by now; what they have said before holds for its time.
    pub fn handle_views(&mut self, views: Vec<HeardView>, now: Instant) {
        if self.quorum.handle_views(views, now) {
            self.judge_all(now);
        }
    }

    /// Notes what became of a probe; one of a region that is no longer watched means nothing.
    pub fn handle_outcome(
        &mut self,
        subject: &Subject,
        id: ProbeId,
        outcome: ProbeOutcome,
        now: Instant,
    ) {
        let is_watched = match subject {
            Subject::Region(region) => self.watched.contains_key(region),
            Subject::Canary(canary) => self.canaries.watches(*canary),
        };
        if !is_watched {
            return;
        }
        self.answers.handle_outcome(subject, outcome, now);
        match subject {
            Subject::Region(region) => self.handle_region_outcome(region, id, outcome, now),
            Subject::Canary(canary) => {
                self.canaries.handle_outcome(*canary, id, outcome, now);
                self.look_around(now);
            }
        }
    }

    fn handle_region_outcome(
        &mut self,
        region: &RegionId,
        id: ProbeId,
        outcome: ProbeOutcome,
        now: Instant,
    ) {
        let witness = self.witness(region);
        let Some(watched) = self.watched.get_mut(region) else { return };
        if matches!(outcome, ProbeOutcome::Well(_))
            && let Some(check) = &watched.check
        {
            self.last_well.note(&endpoint(check), region, now);
        }
        let has_looked = match outcome {
            ProbeOutcome::NotAsked
            | ProbeOutcome::Failed(ProbeFailure::Forbidden | ProbeFailure::Local) => false,
            ProbeOutcome::Well(_) | ProbeOutcome::Failed(_) => true,
        };
        if has_looked {
            watched.seen = Some(now);
        }
        watched.monitor.handle_witness(witness);
        watched.monitor.handle_outcome(id, outcome, now);
        self.follow_up(region, now);
        self.ask_others(region, now);
    }

    /// Lets silence say nothing of a region until then: it has just answered, and may be
    /// overloaded.
    pub fn excuse_silence(&mut self, region: &RegionId, until: Instant) {
        if let Some(watched) = self.watched.get_mut(region) {
            watched.monitor.excuse_silence(until);
        }
    }

    /// Notes that an endpoint, `host:port`, has ended the connection that was kept since a probe:
    /// each region behind it is probed early.
    pub fn handle_connection_end(&mut self, endpoint: &str, now: Instant) {
        let regions = self.endpoints.get(endpoint).cloned().unwrap_or_default();
        for region in regions {
            let witness = self.witness(&region);
            let Some(watched) = self.watched.get_mut(&region) else { continue };
            watched.monitor.handle_witness(witness);
            watched.monitor.handle_connection_end(now);
            self.follow_up(&region, now);
            self.ask_others(&region, now);
        }
    }

    /// Notes what a client has reported of a region; tells whether there is such a region.
    pub fn handle_report(&mut self, region: &RegionId, report: Report, now: Instant) -> bool {
        let witness = self.witness(region);
        let Some(watched) = self.watched.get_mut(region) else { return false };
        if report.is_well {
            let name = watched.check.as_ref().map_or_else(|| region.to_string(), endpoint);
            self.last_well.note(&name, region, now);
        }
        watched.seen = Some(now);
        watched.monitor.handle_witness(witness);
        watched.monitor.handle_report(report, now);
        self.follow_up(region, now);
        self.ask_others(region, now);
        true
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.canaries.handle_timeout(now);
        self.look_around(now);
        if self.quorum.handle_timeout(now) {
            self.judge_all(now);
        }
        let later = self.timers.iter().take_while(|(due, _)| *due <= now).count();
        for _ in 0..later {
            let Some((_, region)) = self.timers.pop_first() else { return };
            let witness = self.witness(&region);
            if let Some(watched) = self.watched.get_mut(&region) {
                watched.timer = None;
                watched.monitor.handle_witness(witness);
                watched.monitor.handle_timeout(now);
            }
            self.follow_up(&region, now);
            self.ask_others(&region, now);
        }
    }

    /// Returns when [`HealthWatch::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let regions = self.timers.first().map(|(due, _)| *due);
        let others = [self.canaries.poll_timeout(), self.quorum.poll_timeout()];
        others.into_iter().chain([regions]).flatten().min()
    }

    /// Returns what is to be done or known.
    pub fn poll_output(&mut self) -> Option<WatchOutput> {
        if let Some(news) = self.news.pop_front() {
            return Some(news);
        }
        if let Some((canary, check, id)) = self.canaries.poll_probe() {
            return Some(WatchOutput::Probe { subject: Subject::Canary(canary), check, id });
        }
        while let Some(region) = self.talking.first().cloned() {
            let watched = self.watched.get_mut(&region);
            let said = watched.and_then(|watched| {
                let output = watched.monitor.poll_output()?;
                Some((output, &watched.check))
            });
            match said {
                Some((MonitorOutput::Probe(id), Some(check))) => {
                    let (subject, check) = (Subject::Region(region), check.clone());
                    return Some(WatchOutput::Probe { subject, check, id });
                }
                // That one is the monitor's own; what is told is the verdict of all.
                Some((MonitorOutput::Changed { .. }, _)) => {}
                Some((MonitorOutput::Probe(_), None)) | None => {
                    self.talking.remove(&region);
                }
            }
        }
        None
    }

    /// Tells, once, whether this node votes otherwise than when this was last asked.
    pub fn poll_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Returns what this node says of each region to others; `None` if it abstains.
    pub fn votes(&self, now: Instant) -> impl Iterator<Item = (&RegionId, Option<Vote>)> {
        // Whoever drives this may have stopped, and then says nothing any more.
        let holds = move |watched: &Watched| watched.vote_ends().is_some_and(|ends| now < ends);
        self.watched.iter().map(move |(id, watched)| (id, watched.vote.filter(|_| holds(watched))))
    }

    /// Returns what the other nodes know of a region's load.
    #[must_use]
    pub fn load_of_others(&self, region: &RegionId) -> LoadShare {
        self.quorum.load(region)
    }

    /// Returns the other nodes that are heard.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.quorum.nodes()
    }

    /// Tells whether this node sees nobody well, and so votes on nothing.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// Tells whether anything answers this node's probes.
    #[must_use]
    pub fn answering(&self) -> Answering {
        self.answers.answering()
    }

    /// Returns the regions that this node would take for dead if anything corroborated it, in the
    /// order of their ids, each with the moment since when that is so.
    #[must_use]
    pub fn abstaining(&self) -> &BTreeMap<RegionId, Instant> {
        &self.abstaining
    }

    /// Tells whether any region is probed at an endpoint, `host:port`.
    #[must_use]
    pub fn probes_at(&self, endpoint: &str) -> bool {
        self.endpoints.contains_key(endpoint)
    }

    /// Tells whether a region is watched.
    #[must_use]
    pub fn watches(&self, region: &RegionId) -> bool {
        self.watched.contains_key(region)
    }

    /// Tells whether this node may not probe a region, as its last probe has found.
    #[must_use]
    pub fn is_forbidden(&self, region: &RegionId) -> bool {
        self.watched.get(region).is_some_and(|watched| watched.is_forbidden)
    }

    /// Returns when there was evidence last of how a region is: what came of a probe, or a report.
    #[must_use]
    pub fn seen(&self, region: &RegionId) -> Option<Instant> {
        self.watched.get(region)?.seen
    }

    /// Returns how each region is, in the order of their ids.
    pub fn regions(&self, now: Instant) -> impl Iterator<Item = (&RegionId, WatchedHealth)> {
        self.watched.iter().map(move |(id, watched)| {
            let Watched { check, monitor, health, removal, own, votes, is_unconfirmed, .. } =
                watched;
            let health = WatchedHealth {
                health: *health,
                removal: *removal,
                held_until: monitor.held_until().filter(|_| *removal == Some(Removal::Held)),
                own: *own,
                votes: *votes,
                share: monitor.share(now),
                breaker: check.as_ref().map(|_| monitor.probes().state()),
                failures: monitor.probes().failures(),
                abstains: monitor.abstains(),
                is_unconfirmed: *is_unconfirmed,
                is_forbidden: monitor.is_forbidden(),
            };
            (id, health)
        })
    }

    /// Returns how each canary is, in the order of their addresses.
    pub fn canaries(&self) -> impl Iterator<Item = (SocketAddr, Health)> {
        self.canaries.health()
    }

    fn witness(&self, region: &RegionId) -> Witness {
        if let Some(witness) = self.canaries.witness() {
            return witness;
        }
        let check = self.watched.get(region).and_then(|watched| watched.check.as_ref());
        let own = check.map_or_else(|| region.to_string(), endpoint);
        let others = self.endpoints.len() - usize::from(self.endpoints.contains_key(&own));
        if others == 0 {
            return Witness::Alone;
        }
        Witness::Others(self.last_well.of_others(&own))
    }

    /// Asks the canaries out of turn, or else those who were last well, if a region is in doubt:
    /// whether they still are tells whether it is this node that has lost its network.
    fn ask_others(&mut self, region: &RegionId, now: Instant) {
        let Some(watched) = self.watched.get_mut(region) else { return };
        if !watched.monitor.wants_witness()
            || self.asked_others.is_some_and(|asked| now < asked + CONFIRM_GAP)
        {
            return;
        }
        self.asked_others = Some(now);
        if self.canaries.witness().is_some() {
            self.canaries.hurry(now);
            return;
        }
        let own = watched.check.as_ref().map(endpoint).unwrap_or_default();
        for other in self.last_well.regions_besides(&own) {
            if let Some(watched) = self.watched.get_mut(&other) {
                watched.monitor.hurry(now);
            }
            self.follow_up(&other, now);
        }
    }

    /// Sets a region's timer anew, listens to what it says, and judges it.
    fn follow_up(&mut self, region: &RegionId, now: Instant) {
        let Some(watched) = self.watched.get_mut(region) else { return };
        let vote_ends = watched.vote_ends().filter(|ends| now < *ends);
        let due = [watched.monitor.poll_timeout(), vote_ends].into_iter().flatten().min();
        if due != watched.timer {
            if let Some(old) = watched.timer {
                self.timers.remove(&(old, region.clone()));
            }
            if let Some(due) = due {
                self.timers.insert((due, region.clone()));
            }
            watched.timer = due;
        }
        self.talking.insert(region.clone());
        let state = watched.monitor.probes().state();
        if std::mem::replace(&mut watched.breaker, state) != state {
            self.news.push_back(WatchOutput::Breaker { region: region.clone(), state });
        }
        let (before, is_clear) = (watched.is_clear, watched.is_clear());
        watched.is_clear = is_clear;
        self.clear = self.clear + usize::from(is_clear) - usize::from(before);
        if !watched.monitor.abstains() {
            self.abstaining.remove(region);
        } else if !self.abstaining.contains_key(region) {
            self.abstaining.insert(region.clone(), now);
        }
        let is_forbidden = watched.monitor.is_forbidden();
        if std::mem::replace(&mut watched.is_forbidden, is_forbidden) != is_forbidden
            && let Some(endpoint) = watched.check.as_ref().map(endpoint)
        {
            if is_forbidden {
                self.leave_endpoint(region, &endpoint);
            } else {
                self.endpoints.entry(endpoint).or_default().insert(region.clone());
            }
        }
        self.look_around(now);
        self.judge(region, now);
    }

    /// Finds out whether it sees anybody well.
    fn look_around(&mut self, now: Instant) {
        let sees = self.canaries.are_clear().unwrap_or(self.clear > 0 || self.endpoints.is_empty());
        if self.is_blind == sees {
            self.is_blind = !sees;
            self.judge_all(now);
        }
    }

    fn judge_all(&mut self, now: Instant) {
        let regions: Vec<_> = self.watched.keys().cloned().collect();
        for region in regions {
            self.judge(&region, now);
        }
    }

    /// Comes to a verdict on a region, by what this node sees and what others say.
    fn judge(&mut self, region: &RegionId, now: Instant) {
        let Some(watched) = self.watched.get_mut(region) else { return };
        let vote = if self.is_blind { None } else { watched.vote(now) };
        self.has_news |= vote != watched.vote;
        watched.vote = vote;
        watched.votes = self.quorum.votes(region, vote);
        let own = std::mem::replace(&mut watched.own, watched.monitor.health());
        let (verdict, removal) = watched.verdict();
        let before = std::mem::replace(&mut watched.health, verdict);
        let removal_before = std::mem::replace(&mut watched.removal, removal);
        let is_back = own == Health::Unhealthy && watched.own != Health::Unhealthy;
        // A region that may not be probed any more is unknown, and nothing says that it can take
        // all.
        let is_served_again = verdict == Health::Healthy || watched.is_forbidden;
        if before == Health::Unhealthy && verdict != Health::Unhealthy && is_served_again {
            watched.monitor.begin_ramp(now);
        } else if is_back && verdict != Health::Unhealthy {
            watched.monitor.end_ramp();
        }
        let is_unconfirmed = watched.lacks_confirmation();
        let was_unconfirmed = std::mem::replace(&mut watched.is_unconfirmed, is_unconfirmed);
        if before != verdict {
            self.news.push_back(WatchOutput::Changed(watched.change(region, before)));
        } else if removal_before != removal {
            self.news.push_back(WatchOutput::Regraded(region.clone()));
        }
        if was_unconfirmed != is_unconfirmed {
            self.news.push_back(WatchOutput::Confirmation(region.clone()));
        }
    }

    fn forget(&mut self, region: &RegionId) {
        let Some(watched) = self.watched.remove(region) else { return };
        if let Some(due) = watched.timer {
            self.timers.remove(&(due, region.clone()));
        }
        self.last_well.forget(region.as_str());
        self.abstaining.remove(region);
        self.answers.forget(&Subject::Region(region.clone()));
        self.clear -= usize::from(watched.is_clear);
        if let Some(check) = &watched.check {
            self.leave_endpoint(region, &endpoint(check));
        }
    }

    /// Notes that a region is not probed at an endpoint any more.
    fn leave_endpoint(&mut self, region: &RegionId, endpoint: &str) {
        let Some(regions) = self.endpoints.get_mut(endpoint) else { return };
        regions.remove(region);
        if regions.is_empty() {
            self.endpoints.remove(endpoint);
            self.last_well.forget(endpoint);
        }
    }
}

impl Watched {
    /// Tells whether its probes say without a doubt that somebody is well.
    fn is_clear(&self) -> bool {
        self.check.is_some() && self.monitor.is_clear()
    }

    /// Returns what this node says of it to others: only what it has seen itself, and lately.
    fn vote(&self, now: Instant) -> Option<Vote> {
        if self.vote_ends().is_none_or(|ends| now >= ends) || self.monitor.abstains() {
            return None;
        }
        match self.monitor.health() {
            Health::Unknown => None,
            Health::Healthy => Some(Vote::Well),
            // It is unhealthy, so it has a removal.
            Health::Unhealthy => Some(Vote::Down(self.monitor.removal().unwrap_or_default())),
        }
    }

    /// Returns when what this node has seen is too long ago to vote by; `None` if it has seen nothing.
    fn vote_ends(&self) -> Option<Instant> {
        let timing = self.check.as_ref().map(|check| check.timing);
        let holds = timing.map_or(REPORTS_HOLD, |timing| timing.interval() * 3 + timing.timeout());
        self.seen.map(|seen| seen + holds)
    }

    /// Returns the verdict of all, and how sure it is; reports count here at once.
    fn verdict(&self) -> (Health, Option<Removal>) {
        let (health, removal) = match self.votes.and_then(Votes::verdict) {
            Some(Vote::Down(removal)) => (Health::Unhealthy, Some(removal)),
            Some(Vote::Well) => (Health::Healthy, None),
            None => (self.own, self.monitor.removal()),
        };
        let removal = removal.max(self.monitor.reported_removal());
        (if removal.is_some() { Health::Unhealthy } else { health }, removal)
    }

    /// Tells whether it serves although its probes fail: this node abstains, and no vote of another
    /// node says that it is well.
    fn lacks_confirmation(&self) -> bool {
        let has_verdict = self.votes.and_then(Votes::verdict).is_some();
        self.monitor.abstains() && !has_verdict && self.health != Health::Unhealthy
    }

    /// Says that the verdict on it is another.
    fn change(&self, region: &RegionId, from: Health) -> HealthChange {
        let evidence = self.monitor.evidence().filter(|_| self.own == self.health);
        let check = self.check.as_ref().filter(|_| evidence.is_some_and(Evidence::is_of_name));
        HealthChange {
            region: region.clone(),
            from,
            to: self.health,
            evidence,
            votes: self.votes,
            response_time: self.monitor.response_time(),
            missing_name: check.map(|check| check.tls_name().to_owned()),
        }
    }
}

/// What probes share a fate: regions behind one host and port are no witnesses of each other.
fn endpoint(check: &HealthCheck) -> String {
    check.target.endpoint()
}

/// When the two endpoints that were last well were so: whoever asks is at most one of them.
#[derive(Clone, Debug, Default)]
struct LastWell {
    latest: Option<Well>,
    /// The latest of another endpoint.
    other: Option<Well>,
}

#[derive(Clone, Debug)]
struct Well {
    endpoint: String,
    region: RegionId,
    at: Instant,
}

impl LastWell {
    fn note(&mut self, endpoint: &str, region: &RegionId, now: Instant) {
        match &mut self.latest {
            Some(latest) if latest.endpoint == endpoint => latest.at = now,
            _ => {
                let well = Well { endpoint: endpoint.to_owned(), region: region.clone(), at: now };
                self.other = self.latest.replace(well);
            }
        }
    }

    fn of_others(&self, endpoint: &str) -> Option<Instant> {
        let found = [&self.latest, &self.other].into_iter().flatten();
        let mut found = found.filter(|well| well.endpoint != endpoint);
        found.next().map(|well| well.at)
    }

    fn regions_besides(&self, endpoint: &str) -> Vec<RegionId> {
        let found = [&self.latest, &self.other].into_iter().flatten();
        found.filter(|well| well.endpoint != endpoint).map(|well| well.region.clone()).collect()
    }

    fn forget(&mut self, endpoint: &str) {
        for kept in [&mut self.latest, &mut self.other] {
            if kept.as_ref().is_some_and(|well| well.endpoint == endpoint) {
                *kept = None;
            }
        }
    }
}
