//! Regions and a network that are simulated: what a watch asks for is answered after a while, or
//! never, by the fault that the region has. Time is the watch's own.

#![expect(clippy::print_stdout, reason = "a run that fails can be repeated by its seed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use geostream_domain::{
    BreakerState, Chance, Change, Config, GeoPoint, Health, HealthChange, HealthCheck, HealthWatch,
    ProbeFailure, ProbeId, ProbeOutcome, ProbeTarget, Region, RegionId, Subject, WatchOutput,
    WatchedHealth,
};

/// What is wrong with a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    Refuses,
    /// Its address may not be probed.
    Forbidden,
    Silent,
    /// It answers, and fails by this.
    Answers(ProbeFailure),
    /// This share of its probes get no answer.
    Loses(f64),
    /// The node is too busy to ask it.
    NotAsked,
    /// It is silent for so long, then well for as long.
    Flaps(Duration),
    /// It closes its connections this often, and this share of its probes get no answer.
    Closes(Duration, f64),
    /// It closes each connection so long after the answer.
    Hangs(Duration),
}

pub(crate) struct Simulation {
    pub(crate) watch: HealthWatch,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    chance: Chance,
    faults: BTreeMap<Subject, Fault>,
    /// How long an answer takes.
    pub(crate) rtt: Duration,
    /// From when to when nothing gets through, in either direction.
    pub(crate) cut: Option<(Duration, Duration)>,
    /// When servers next close the connections that are kept.
    ends: BTreeSet<(Instant, Subject)>,
    /// Answers that are under way.
    answers: BTreeMap<(Instant, u64), (Subject, ProbeId, ProbeOutcome)>,
    pub(crate) sent: Vec<(Duration, Subject)>,
    pub(crate) changes: Vec<(Duration, HealthChange)>,
    pub(crate) breakers: Vec<(RegionId, BreakerState)>,
    /// Regions whose removal became more or less sure.
    pub(crate) regraded: Vec<(Duration, RegionId)>,
    /// Regions that have come to be unconfirmed, or to be so no longer.
    pub(crate) confirmations: Vec<RegionId>,
}

const TIMEOUT: Duration = Duration::from_secs(1);

impl Simulation {
    pub(crate) fn new(regions: usize, seed: u64) -> Self {
        Self::begin_at(begin(), regions, seed)
    }

    pub(crate) fn begin_at(start: Instant, regions: usize, seed: u64) -> Self {
        println!("seed {seed}");
        let ids: Vec<RegionId> = (0..regions).map(|n| format!("r{n}").parse().unwrap()).collect();
        let change = |id: &RegionId| {
            let mut region = Region::new(id.clone(), GeoPoint::new(1.0, 2.0).unwrap());
            let url = format!("http://{id}.example.com/").parse().unwrap();
            region.check = Some(HealthCheck::of(ProbeTarget::new(url).unwrap()));
            Change::from(region)
        };
        let config = Config::default().after(ids.iter().map(change)).unwrap();
        let mut watch = HealthWatch::new(seed);
        watch.handle_config(&config, |_| Health::Unknown, start);
        Self {
            watch,
            start,
            now: start,
            chance: Chance::new(!seed),
            faults: BTreeMap::new(),
            rtt: Duration::from_millis(20),
            cut: None,
            ends: BTreeSet::new(),
            answers: BTreeMap::new(),
            sent: Vec::new(),
            changes: Vec::new(),
            breakers: Vec::new(),
            regraded: Vec::new(),
            confirmations: Vec::new(),
        }
    }

    /// Has so many canaries watched as well.
    pub(crate) fn with_canaries(mut self, count: u16) -> Self {
        self.watch = self.watch.with_canaries((0..count).map(canary), self.start);
        self
    }

    /// Sets the reachability targets while the watch runs.
    pub(crate) fn set_canaries(&mut self, numbers: &[u16]) {
        let addresses = numbers.iter().map(|number| canary(*number));
        self.watch.handle_reachability_targets(addresses, self.now);
    }

    pub(crate) fn break_region(&mut self, region: &str, fault: Fault) {
        let subject = Subject::Region(region.parse().unwrap());
        if let Fault::Closes(every, _) = fault {
            self.ends.insert((self.now + every, subject.clone()));
        }
        self.faults.insert(subject, fault);
    }

    /// Crashes a region: its connections end, also those of probes that are not answered yet, and
    /// others are refused.
    pub(crate) fn crash(&mut self, region: &str) {
        self.break_region(region, Fault::Refuses);
        let crashed = Subject::Region(region.parse().unwrap());
        for (subject, _, outcome) in self.answers.values_mut() {
            if *subject == crashed {
                *outcome = ProbeOutcome::Failed(ProbeFailure::Reset);
            }
        }
        self.end_connection(&crashed);
    }

    fn end_connection(&mut self, subject: &Subject) {
        if let Subject::Region(region) = subject {
            self.watch.handle_connection_end(&format!("{region}.example.com:80"), self.now);
        }
    }

    pub(crate) fn break_canary(&mut self, number: u16, fault: Fault) {
        self.faults.insert(Subject::Canary(canary(number)), fault);
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.perform();
            let answer = self.answers.keys().next().map(|(at, _)| *at);
            let end = self.ends.first().map(|(at, _)| *at);
            let next = [answer, end, self.watch.poll_timeout()].into_iter().flatten().min();
            match next {
                Some(next) if next <= until => self.now = self.now.max(next),
                _ => break,
            }
            while let Some(entry) = self.answers.first_entry()
                && entry.key().0 <= self.now
            {
                let (subject, id, outcome) = entry.remove();
                self.watch.handle_outcome(&subject, id, outcome, self.now);
            }
            while self.ends.first().is_some_and(|(at, _)| *at <= self.now)
                && let Some((_, subject)) = self.ends.pop_first()
            {
                self.end_connection(&subject);
                if let Some(Fault::Closes(every, _)) = self.faults.get(&subject) {
                    self.ends.insert((self.now + *every, subject));
                }
            }
            self.watch.handle_timeout(self.now);
        }
        self.now = until;
    }

    fn perform(&mut self) {
        while let Some(output) = self.watch.poll_output() {
            let since = self.now - self.start;
            match output {
                WatchOutput::Changed(change) => self.changes.push((since, change)),
                WatchOutput::Breaker { region, state } => self.breakers.push((region, state)),
                WatchOutput::Regraded(region) => self.regraded.push((since, region)),
                WatchOutput::Confirmation(region) => self.confirmations.push(region),
                WatchOutput::Probe { subject, id, .. } => {
                    let (after, outcome) = self.answer(&subject, since);
                    self.sent.push((since, subject.clone()));
                    if let Some(Fault::Hangs(delay)) = self.faults.get(&subject) {
                        self.ends.insert((self.now + after + *delay, subject.clone()));
                    }
                    let number = u64::try_from(self.sent.len()).unwrap();
                    self.answers.insert((self.now + after, number), (subject, id, outcome));
                }
            }
        }
    }

    fn answer(&mut self, subject: &Subject, since: Duration) -> (Duration, ProbeOutcome) {
        let quick = self.rtt;
        let well = (quick, ProbeOutcome::Well(quick));
        let silent = (TIMEOUT, ProbeOutcome::Failed(ProbeFailure::Timeout));
        if self.cut.is_some_and(|(from, to)| since < to && since + quick > from) {
            return silent;
        }
        match self.faults.get(subject).copied().unwrap_or(Fault::None) {
            Fault::None | Fault::Hangs(_) => well,
            Fault::Refuses => (quick, ProbeOutcome::Failed(ProbeFailure::Refused)),
            Fault::Forbidden => (quick, ProbeOutcome::Failed(ProbeFailure::Forbidden)),
            Fault::Silent => silent,
            Fault::Answers(failure) => (quick, ProbeOutcome::Failed(failure)),
            Fault::Loses(share) | Fault::Closes(_, share) if self.chance.fraction() < share => {
                silent
            }
            Fault::Loses(_) | Fault::Closes(..) => well,
            Fault::NotAsked => (quick, ProbeOutcome::NotAsked),
            Fault::Flaps(half) => {
                let is_silent = (since.as_millis() / half.as_millis()).is_multiple_of(2);
                if is_silent { silent } else { well }
            }
        }
    }

    /// Returns how a region is seen now.
    pub(crate) fn of(&self, region: &str) -> WatchedHealth {
        let found = self.watch.regions(self.now).find(|(id, _)| id.as_str() == region);
        found.unwrap().1
    }

    pub(crate) fn removals(&self) -> Vec<Duration> {
        let removed = self.changes.iter().filter(|(_, c)| c.to == Health::Unhealthy);
        removed.map(|(at, _)| *at).collect()
    }
}

pub(crate) fn canary(number: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1000 + number))
}

#[expect(clippy::disallowed_methods, reason = "any moment will do")]
pub(crate) fn begin() -> Instant {
    Instant::now()
}
