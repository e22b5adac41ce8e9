//! Whether one region is well, by what its probes answer and what its clients report.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::config::CheckTiming;
use crate::health::breaker::{Breaker, BreakerRules, BreakerState};
use crate::health::evidence::{Evidence, ProbeFailure, ProbeId, ProbeOutcome, Witness};
use crate::health::observation::{Health, Share};
use crate::health::reports::{Report, Reports};
use crate::health::votes::Removal;

/// Watches one region.
///
/// Probes and reports are separate evidence, each with a breaker of its own; the region is well
/// while neither is open. A first failure, a silence, or the end of a kept connection brings the
/// next probes forward.
///
/// [`HealthWatch`](crate::HealthWatch) has one for each region of a configuration, and keeps them
/// from taking regions for dead because its own network is. By itself, a monitor believes what it
/// sees. Whoever drives one sends the probes that it asks for, hands in what comes of them, and
/// calls it when its time comes:
///
/// ```
/// use std::time::Instant;
/// use geostream_domain::{
///     CheckTiming, Health, HealthMonitor, MonitorOutput, ProbeFailure, ProbeOutcome,
/// };
///
/// let mut now = Instant::now();
/// let mut monitor = HealthMonitor::new(Some(CheckTiming::default()), Health::Unknown, 42, now);
/// let evidence = loop {
///     now = monitor.poll_timeout().ok_or("a region with a check is always probed again")?;
///     monitor.handle_timeout(now);
///     match monitor.poll_output() {
///         Some(MonitorOutput::Probe(id)) => {
///             monitor.handle_outcome(id, ProbeOutcome::Failed(ProbeFailure::Refused), now);
///         }
///         Some(MonitorOutput::Changed { evidence, .. }) => break evidence,
///         None => {}
///     }
/// };
/// assert_eq!(monitor.health(), Health::Unhealthy);
/// assert_eq!(evidence.to_string(), "5 probes in a row failed, the last one: connection refused");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug)]
pub struct HealthMonitor {
    /// `None` for a region that is not probed.
    timing: Option<CheckTiming>,
    probes: Breaker,
    reports: Reports,
    schedule: Schedule,
    flaps: Flaps,
    /// Whether anybody else is well.
    others: Witness,
    /// The present run of failures.
    run: Run,
    /// The present run of failed connections, which the newest failures end with.
    unconnected: Run,
    /// How many probes in a row have succeeded.
    successes: u8,
    /// Whether the region has ended a kept connection since it was last well.
    has_ended: bool,
    hang_ups: HangUps,
    abstains: bool,
    /// Until when silence says nothing of the region: it may be overloaded.
    silence_excused: Option<Instant>,
    wants_witness: bool,
    is_known: bool,
    /// Whether this node may not probe it, as far as is known.
    is_forbidden: bool,
    response_time: Option<Duration>,
    ramp_began: Option<Instant>,
    announced: Health,
    /// Why that is its health; `None` as long as nothing has changed.
    evidence: Option<Evidence>,
    outputs: VecDeque<MonitorOutput>,
}

/// What a monitor wants to be done or known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MonitorOutput {
    /// Ask the region, and hand in what comes of it, with this number.
    Probe(ProbeId),
    /// The region's health is another.
    Changed {
        /// What it was.
        from: Health,
        /// What it is.
        to: Health,
        /// Why.
        evidence: Evidence,
    },
}

/// The time from one probe to the next while something seems to be wrong.
pub(crate) const CONFIRM_GAP: Duration = Duration::from_millis(200);

/// The same after a kept connection was ended and the next probe has failed: the process is gone,
/// unless it has just been started again.
const CRASH_GAP: Duration = Duration::from_millis(125);

/// Connections of which one lives this much longer than another end at the same age.
const SAME_AGE: Duration = Duration::from_millis(20);

/// The fewest probes whose silence is believed before the first of them times out.
const SILENT_PROBES: usize = 5;

/// How late a probe may be, as a share of the interval.
const LATENESS: f64 = 0.05;

/// The most probes of one region that are under way at once.
const MOST_IN_FLIGHT: usize = 8;

/// The share of clients that a region begins a slow start with.
const FIRST_SHARE: f64 = 0.1;

/// The share of clients that try a region whose clients have reported failures.
const TRIAL_SHARE: f64 = 0.05;

impl HealthMonitor {
    /// Begins to watch a region of which this is known; one without a timing is not probed.
    ///
    /// The first probes of many regions are spread over the interval by their seeds.
    #[must_use]
    pub fn new(timing: Option<CheckTiming>, known: Health, seed: u64, now: Instant) -> Self {
        let defaults = timing.unwrap_or_default();
        let rules = BreakerRules {
            threshold: defaults.fall(),
            trials: defaults.rise(),
            ..BreakerRules::default()
        };
        let mut probes = Breaker::new(rules);
        // Without probes nobody would ever close it again.
        if known == Health::Unhealthy && timing.is_some() {
            probes.open(now);
        }
        let mut chance = Chance::new(seed);
        let first = now + defaults.interval().mul_f64(chance.fraction());
        let mut monitor = Self {
            timing,
            probes,
            reports: Reports::new(),
            schedule: Schedule::new(first, chance),
            flaps: Flaps::default(),
            others: Witness::Alone,
            run: Run::default(),
            unconnected: Run::default(),
            successes: 0,
            has_ended: false,
            hang_ups: HangUps::default(),
            abstains: false,
            silence_excused: None,
            wants_witness: false,
            is_known: known == Health::Healthy,
            is_forbidden: false,
            response_time: None,
            ramp_began: None,
            announced: known,
            evidence: None,
            outputs: VecDeque::new(),
        };
        // A death that nobody looks after any more is not believed any more.
        monitor.announce(Evidence::CheckRemoved);
        monitor
    }

    /// Notes what became of a probe.
    ///
    /// A probe that has timed out speaks for those that were sent while it was waited for and have
    /// not been answered either: so a silence takes no longer to believe than a refusal.
    pub fn handle_outcome(&mut self, id: ProbeId, outcome: ProbeOutcome, now: Instant) {
        let sent = self.schedule.take(id);
        match outcome {
            ProbeOutcome::NotAsked | ProbeOutcome::Failed(ProbeFailure::Local) => {}
            ProbeOutcome::Failed(ProbeFailure::Forbidden) => self.handle_forbidden(),
            ProbeOutcome::Well(took) => {
                self.response_time = Some(took);
                self.schedule.usual = self.schedule.usual.mul_f64(0.8) + took.mul_f64(0.2);
                self.handle_well(now);
            }
            ProbeOutcome::Failed(failure) => {
                // Without a time it was spoken for by another that timed out.
                let Some(sent) = sent else { return };
                self.handle_failure(failure, sent, now);
                if failure == ProbeFailure::Timeout {
                    while let Some(sent) = self.schedule.take_silent(now) {
                        self.handle_failure(failure, sent, now);
                    }
                }
            }
        }
        self.handle_timeout(now);
    }

    /// Forgets what earlier probes have said: a region that cannot be looked at is unknown, and not
    /// unhealthy. What clients report of it goes on to count.
    fn handle_forbidden(&mut self) {
        self.run = Run::default();
        self.unconnected = Run::default();
        self.successes = 0;
        self.has_ended = false;
        self.abstains = false;
        self.probes.close();
        if !self.is_forbidden {
            self.is_forbidden = true;
            self.is_known = false;
        }
        self.announce(Evidence::ProbesForbidden);
    }

    fn handle_well(&mut self, now: Instant) {
        self.hang_ups.handle_answer(now);
        self.run = Run::default();
        self.unconnected = Run::default();
        self.successes = self.successes.saturating_add(1);
        self.has_ended = false;
        self.abstains = false;
        self.is_known = true;
        self.is_forbidden = false;
        let before = self.probes.state();
        self.probes.handle_success(now);
        if before != BreakerState::Closed && self.probes.state() == BreakerState::Closed {
            self.come_back(now);
        }
        let run = self.timing.unwrap_or_default().rise();
        self.announce(Evidence::ProbesWell(if before == BreakerState::Closed { 1 } else { run }));
    }

    fn handle_failure(&mut self, failure: ProbeFailure, sent: Sent, now: Instant) {
        self.is_forbidden = false;
        if self.has_ended && self.run.first.is_none() {
            // What clients have reported so far is of the process that has ended.
            self.reports.begin_anew();
        }
        self.run.handle_failure(sent);
        self.successes = 0;
        if failure.is_of_connection() {
            self.unconnected.handle_failure(sent);
        } else {
            self.unconnected = Run::default();
        }
        let fall = self.timing.unwrap_or_default().fall();
        let is_last =
            self.probes.state() == BreakerState::Closed && self.probes.failures() + 1 >= fall;
        self.abstains = is_last && !self.run.is_vouched_for;
        if self.abstains {
            return;
        }
        let was_removed = self.health() == Health::Unhealthy;
        self.probes.handle_failure(now);
        if is_last {
            if !was_removed && let Some(rest) = self.flaps.handle_removal(now) {
                self.probes.punish(rest, now);
            }
            self.announce(Evidence::ProbesFailed(fall, failure));
        }
    }

    /// Notes that the region has ended the connection that was kept since its last probe.
    ///
    /// A process that crashes closes its connections at once, so the next probe is sent now. The
    /// end itself is no failure: servers close idle connections, reload and restart. Ends bring one
    /// probe an interval forward at most, and none where each connection ends at the same age.
    pub fn handle_connection_end(&mut self, now: Instant) {
        let Some(timing) = self.timing else { return };
        let is_habit = self.hang_ups.handle_end(now);
        if is_habit || !self.may_doubt() {
            return;
        }
        self.has_ended = true;
        if self.probes.failures() == 0 {
            self.schedule.bring_forward(timing, now);
        }
        self.handle_timeout(now);
    }

    /// Notes whether anybody else is well.
    pub(crate) fn handle_witness(&mut self, others: Witness) {
        self.others = others;
    }

    /// Tells, once, whether somebody else should be asked now: this region is in doubt.
    pub(crate) fn wants_witness(&mut self) -> bool {
        std::mem::take(&mut self.wants_witness)
    }

    /// Lets silence say nothing of the region until then.
    pub(crate) fn excuse_silence(&mut self, until: Instant) {
        self.silence_excused = Some(until);
    }

    /// Sends the next probe now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.schedule.next = self.schedule.next.min(now);
        self.handle_timeout(now);
    }

    /// Notes what a client has reported of the region.
    pub fn handle_report(&mut self, report: Report, now: Instant) {
        let (before, was_removed) = (self.reports.state(), self.health() == Health::Unhealthy);
        self.reports.handle(report, self.others, now);
        self.wants_witness |= self.reports.lacks_witness();
        match (before, self.reports.state()) {
            (BreakerState::Closed, BreakerState::Open) => {
                if !was_removed && let Some(rest) = self.flaps.handle_removal(now) {
                    self.reports.punish(rest, now);
                }
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => self.come_back(now),
            _ => self.is_known |= report.is_well,
        }
        self.announce(self.reports.evidence());
    }

    /// Does what is due: sends probes, ends rests.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.probes.handle_timeout(now);
        let before = self.reports.state();
        self.reports.handle_timeout(now);
        if before == BreakerState::HalfOpen && self.reports.state() == BreakerState::Closed {
            self.come_back(now);
        }
        self.announce(self.reports.evidence());
        if self.ramp_began.is_some() && self.share(now) == Share::ALL {
            self.ramp_began = None;
        }
        let Some(timing) = self.timing else { return };
        if self.silence_ends(timing).is_some_and(|ends| now >= ends) {
            while let Some(sent) = self.schedule.take_silent(now) {
                self.handle_failure(ProbeFailure::Timeout, sent, now);
            }
        }
        let gap = self.doubts(timing, now).then(|| self.gap());
        if let Some(id) = self.schedule.send(timing, gap, self.others, now) {
            self.outputs.push_back(MonitorOutput::Probe(id));
            self.wants_witness |= gap.is_some();
        }
    }

    /// Returns when [`HealthMonitor::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let gap = self.may_doubt().then(|| self.gap());
        let probe = self.timing.and_then(|timing| self.schedule.due(timing, gap));
        let silence = self.timing.and_then(|timing| self.silence_ends(timing));
        let breakers = [self.probes.poll_timeout(), self.reports.poll_timeout()];
        breakers.into_iter().chain([probe, silence]).flatten().min()
    }

    /// Returns what is to be done or known, in order.
    pub fn poll_output(&mut self) -> Option<MonitorOutput> {
        self.outputs.pop_front()
    }

    /// Returns whether the region is well.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.probes.state() != BreakerState::Closed || self.is_reported() {
            Health::Unhealthy
        } else if self.is_known {
            Health::Healthy
        } else {
            Health::Unknown
        }
    }

    /// Returns how sure it is that the region cannot serve; `None` unless it is unhealthy.
    ///
    /// The newest evidence decides: failed connections that are corroborated are proof until a
    /// probe is answered, in whatever way, and successful probes hold until one fails.
    #[must_use]
    pub fn removal(&self) -> Option<Removal> {
        self.probe_removal().max(self.reports.removal())
    }

    /// Returns how sure the removal is that clients' reports alone have caused.
    pub(crate) fn reported_removal(&self) -> Option<Removal> {
        self.reports.removal()
    }

    fn probe_removal(&self) -> Option<Removal> {
        if self.probes.state() == BreakerState::Closed {
            None
        } else if self.successes >= self.timing.unwrap_or_default().rise() {
            // As many would bring it back, were it not for the cooldown.
            Some(Removal::Held)
        } else if self.unconnected.is_corroborated {
            Some(Removal::Proven)
        } else {
            Some(Removal::Unproven)
        }
    }

    /// Returns when a region that is held back is tried again; `None` for all others, and while it
    /// is being tried.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        if self.removal() != Some(Removal::Held) {
            return None;
        }
        self.probes.poll_timeout().max(self.reports.open_until())
    }

    /// Returns the share of its clients that the region is to have: less than all of them while it
    /// comes back.
    #[must_use]
    pub fn share(&self, now: Instant) -> Share {
        if self.reports.state() == BreakerState::HalfOpen {
            return Share::new(TRIAL_SHARE);
        }
        let Some(began) = self.ramp_began else { return Share::ALL };
        let ramp = self.timing.unwrap_or_default().ramp();
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= ramp {
            return Share::ALL;
        }
        Share::new((elapsed.as_secs_f64() / ramp.as_secs_f64()).max(FIRST_SHARE))
    }

    /// Returns the breaker of its probes.
    pub(crate) fn probes(&self) -> &Breaker {
        &self.probes
    }

    /// Tells whether its clients have reported it, and it rests.
    fn is_reported(&self) -> bool {
        self.reports.state() == BreakerState::Open
    }

    /// Tells whether nothing seems to be wrong.
    pub(crate) fn is_clear(&self) -> bool {
        self.health() == Health::Healthy && self.probes.failures() == 0 && !self.abstains
    }

    /// Tells whether this node may not probe it, as its last probe has found.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.is_forbidden
    }

    /// Returns why its health is what it is; `None` as long as nothing has changed.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        self.evidence
    }

    /// Begins the slow start: the region was removed, and has its clients back from now on.
    pub(crate) fn begin_ramp(&mut self, now: Instant) {
        self.ramp_began = Some(now);
    }

    /// Ends the slow start: the region has had its clients all the time.
    pub(crate) fn end_ramp(&mut self) {
        self.ramp_began = None;
    }

    /// Returns how long the last good probe took.
    pub(crate) fn response_time(&self) -> Option<Duration> {
        self.response_time
    }

    /// Tells whether it would be taken for dead, if anybody else were well.
    pub(crate) fn abstains(&self) -> bool {
        self.abstains
    }

    /// Tells whether more probes would make clear what seems to be wrong.
    fn may_doubt(&self) -> bool {
        self.probes.state() == BreakerState::Closed && !self.abstains
    }

    fn doubts(&self, timing: CheckTiming, now: Instant) -> bool {
        let is_wrong = self.probes.failures() > 0 || self.schedule.is_silent(timing, now);
        self.may_doubt() && is_wrong
    }

    /// Returns the time from one probe to the next while something seems to be wrong.
    fn gap(&self) -> Duration {
        let has_crashed = self.has_ended && self.probes.failures() > 0;
        if has_crashed { CRASH_GAP } else { CONFIRM_GAP }
    }

    /// Returns when the probes that are under way are believed to get no answer, if they are enough
    /// to remove the region.
    fn silence_ends(&self, timing: CheckTiming) -> Option<Instant> {
        let needed = timing.fall().checked_sub(self.probes.failures())?;
        let needed = usize::from(needed).max(SILENT_PROBES);
        let ends =
            self.may_doubt().then(|| self.schedule.silence_ends(timing, needed)).flatten()?;
        Some(self.silence_excused.map_or(ends, |excused| ends.max(excused)))
    }

    fn come_back(&mut self, now: Instant) {
        self.flaps.handle_return(now);
        self.ramp_began = Some(now);
    }

    fn announce(&mut self, evidence: Evidence) {
        let (from, to) = (self.announced, self.health());
        if from != to {
            self.announced = to;
            self.evidence = Some(evidence);
            self.outputs.push_back(MonitorOutput::Changed { from, to, evidence });
        }
    }
}

/// When a probe was sent, and when others had last been well by then.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    others: Witness,
}

/// Failures in a row, in the order in which they were asked for.
///
/// Whoever loses its network, or gets it back, sees the probes fail that are under way. So a run is
/// believed only if somebody else was well after its second probe was sent, and a probe that was
/// sent after that has failed as well.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    first: Option<Instant>,
    second: Option<Instant>,
    is_vouched_for: bool,
    /// Whether another endpoint or a reachability target was well: where nothing else is watched,
    /// the run is believed and yet no proof.
    is_corroborated: bool,
}

impl Run {
    fn handle_failure(&mut self, Sent { at, others }: Sent) {
        match (self.first, self.second) {
            (None, _) => self.first = Some(at),
            (Some(_), None) => self.second = Some(at),
            (Some(_), Some(_)) => {}
        }
        self.is_corroborated |= match (others, self.second) {
            (Witness::Others(Some(well)), Some(second)) => well >= second,
            (Witness::Alone | Witness::Others(_), _) => false,
        };
        self.is_vouched_for |= self.is_corroborated || others == Witness::Alone;
    }
}

/// When probes are sent.
#[derive(Clone, Debug)]
struct Schedule {
    next: Instant,
    last: Option<Instant>,
    /// When a probe was last brought forward, since a connection had ended.
    early: Option<Instant>,
    in_flight: Vec<(ProbeId, Sent)>,
    next_id: u64,
    /// How long an answer usually takes.
    usual: Duration,
    chance: Chance,
}

impl Schedule {
    fn new(first: Instant, chance: Chance) -> Self {
        Self {
            next: first,
            last: None,
            early: None,
            in_flight: Vec::new(),
            next_id: 0,
            usual: Duration::ZERO,
            chance,
        }
    }

    /// Sends the next probe now, unless one is under way already, or another was brought forward
    /// within an interval.
    fn bring_forward(&mut self, timing: CheckTiming, now: Instant) {
        let is_soon = self.early.is_some_and(|early| now < early + timing.interval());
        if !is_soon && self.in_flight.is_empty() {
            self.early = Some(now);
            self.next = self.next.min(now);
        }
    }

    /// Sends a probe if one is due: the next one then follows after this gap if there are doubts.
    fn send(
        &mut self,
        timing: CheckTiming,
        gap: Option<Duration>,
        others: Witness,
        now: Instant,
    ) -> Option<ProbeId> {
        if let Some((gap, last)) = gap.zip(self.last) {
            self.next = self.next.min(last + gap);
        }
        if now < self.next || self.in_flight.len() >= MOST_IN_FLIGHT {
            return None;
        }
        let id = ProbeId(self.next_id);
        self.next_id += 1;
        self.in_flight.push((id, Sent { at: now, others }));
        self.last = Some(now);
        // Always a little late, so that many do not fall into step, and no more than one comes in
        // an interval.
        let jitter = 1.0 + LATENESS * self.chance.fraction();
        self.next = now + gap.unwrap_or_else(|| timing.interval().mul_f64(jitter));
        Some(id)
    }

    /// Returns when to look again: for a silence as well, if it would raise doubts, after which
    /// probes follow after this gap.
    fn due(&self, timing: CheckTiming, gap: Option<Duration>) -> Option<Instant> {
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            // The next outcome comes first.
            return None;
        }
        let silent = self.in_flight.first().map(|(_, sent)| sent.at + self.patience(timing));
        // What is sent because of a silence keeps its distance from the probe before.
        let confirm = gap.zip(self.last).zip(silent);
        let confirm = confirm.map(|((gap, last), silent)| silent.max(last + gap));
        Some(confirm.map_or(self.next, |confirm| confirm.min(self.next)))
    }

    /// How long an answer may take before it is missed: longer where answers usually take long.
    fn patience(&self, timing: CheckTiming) -> Duration {
        CONFIRM_GAP.max(self.usual * 3).min(timing.timeout())
    }

    fn is_silent(&self, timing: CheckTiming, now: Instant) -> bool {
        let patience = self.patience(timing);
        self.in_flight.iter().any(|(_, sent)| now.saturating_duration_since(sent.at) >= patience)
    }

    fn take(&mut self, id: ProbeId) -> Option<Sent> {
        let place = self.in_flight.iter().position(|(sent, _)| *sent == id)?;
        Some(self.in_flight.remove(place).1)
    }

    /// Returns when so many probes are believed to get no answer: half a gap before the first of
    /// them times out, if the last of them should have been answered by then.
    ///
    /// Five connections that are silent say more than one that is silent for a little longer.
    fn silence_ends(&self, timing: CheckTiming, needed: usize) -> Option<Instant> {
        let (_, first) = self.in_flight.first()?;
        let (_, last) = self.in_flight.get(needed.checked_sub(1)?)?;
        let believed = timing.timeout().saturating_sub(CONFIRM_GAP / 2);
        Some((first.at + believed).max(last.at + self.answer_due()))
    }

    /// How long a probe that is sent in doubt may take before the timeout of an earlier one speaks
    /// for it: half a gap, since the last of them was sent a gap ago, give or take a moment.
    fn answer_due(&self) -> Duration {
        (CONFIRM_GAP / 2).max(self.usual * 2)
    }

    /// Takes a probe that should have been answered by now.
    fn take_silent(&mut self, now: Instant) -> Option<Sent> {
        let due = self.answer_due();
        let is_silent = |sent: &Sent| now.saturating_duration_since(sent.at) >= due;
        let place = self.in_flight.iter().position(|(_, sent)| is_silent(sent))?;
        Some(self.in_flight.remove(place).1)
    }
}

/// How long after an answer its connection ends.
///
/// A server that closes each connection with the answer, or when it has been idle for a while, does
/// so each time at the same age. A crash comes at any.
#[derive(Clone, Copy, Debug, Default)]
struct HangUps {
    answered: Option<Instant>,
    /// The age at which the connection of the last answer has ended, and that of the one before.
    last: Option<Duration>,
    before: Option<Duration>,
}

impl HangUps {
    fn handle_answer(&mut self, now: Instant) {
        self.answered = Some(now);
        self.before = self.last.take();
    }

    /// Notes an end, and tells whether it is the server's habit.
    fn handle_end(&mut self, now: Instant) -> bool {
        self.last = self.answered.map(|answered| now.saturating_duration_since(answered));
        let ages = self.last.zip(self.before);
        ages.is_some_and(|(last, before)| last.abs_diff(before) < SAME_AGE)
    }
}

/// How often a region was removed lately, and what that costs it.
#[derive(Clone, Copy, Debug, Default)]
struct Flaps {
    count: u32,
    returned: Option<Instant>,
}

impl Flaps {
    /// A region that comes back and stays for so long has a clean slate.
    const MEMORY: Duration = Duration::from_secs(600);
    const FIRST_REST: Duration = Duration::from_secs(30);
    const LONGEST_REST: Duration = Duration::from_secs(900);

    /// Notes a removal, and returns how long the region has to stay away: nothing the first time,
    /// then 2 and 8 minutes, and 15 from then on.
    fn handle_removal(&mut self, now: Instant) -> Option<Duration> {
        let is_flap = self.returned.is_some_and(|returned| now < returned + Self::MEMORY);
        self.count = if is_flap { self.count + 1 } else { 0 };
        let rest = Self::FIRST_REST * 4_u32.saturating_pow(self.count.min(4));
        (self.count > 0).then(|| rest.min(Self::LONGEST_REST))
    }

    fn handle_return(&mut self, now: Instant) {
        self.returned = Some(now);
    }
}
