//! How fast regions are believed to be dead, and how seldom wrongly.

use std::time::Duration;

use geostream_domain::{
    Answering, BreakerState, Change, CheckTiming, Config, Evidence, GeoPoint, Health, HealthCheck,
    HealthMonitor, HealthWatch, MonitorOutput, ProbeFailure, ProbeOutcome, ProbeRequest,
    ProbeTarget, Region, Removal, Report, Subject, TlsFailure, WatchOutput,
};

use crate::simulation::{Fault, Simulation, begin, canary};

/// Returns how long it took to remove one of three regions, the slowest of many runs.
fn slowest_removal(fault: Fault) -> Duration {
    slowest_removal_by(|simulation| simulation.break_region("r1", fault))
}

fn slowest_removal_by(break_down: impl Fn(&mut Simulation)) -> Duration {
    let removal = |seed: u64| {
        let mut simulation = Simulation::new(3, seed);
        simulation.run(Duration::from_millis(10_000 + seed * 37));
        let broken = simulation.now - simulation.start;
        break_down(&mut simulation);
        simulation.run(Duration::from_secs(5));
        let removals = simulation.removals();
        assert_eq!(removals.len(), 1, "{:?}", simulation.changes);
        removals[0] - broken
    };
    (0..300).map(removal).max().unwrap()
}

#[test]
fn a_dead_region_is_removed_within_two_seconds_whether_it_refuses_or_is_silent() {
    let (refusing, silent) = (slowest_removal(Fault::Refuses), slowest_removal(Fault::Silent));
    println!("refusing: {refusing:?}, silent: {silent:?}");
    assert!(refusing < Duration::from_secs(2), "{refusing:?}");
    // An interval, a twentieth of lateness, and the timeout of which half a gap is spared.
    assert!(silent < Duration::from_millis(1_960), "{silent:?}");
}

#[test]
fn a_region_that_crashes_is_removed_by_five_probes_in_half_a_second() {
    let crashed = slowest_removal_by(|simulation| simulation.crash("r1"));
    println!("crashed: {crashed:?}");
    // One probe at once, four more an eighth of a second apart, and the time of an answer.
    assert!(crashed < Duration::from_millis(600), "{crashed:?}");
}

#[test]
fn an_hour_of_connections_that_are_closed_removes_no_region() {
    for every in [1, 5, 60] {
        let mut simulation = Simulation::new(10, every);
        for region in 0..10 {
            let closes = Fault::Closes(Duration::from_secs(every), 0.01);
            simulation.break_region(&format!("r{region}"), closes);
        }
        simulation.run(Duration::from_secs(3600));
        assert_eq!(simulation.removals(), [], "closed every {every} s");
    }
}

#[test]
fn connections_that_are_closed_cost_one_early_probe_an_interval_at_most() {
    for (fault, most) in [
        (Fault::None, 100),
        // The end comes at the same age each time, and is a surprise once.
        (Fault::Hangs(Duration::ZERO), 101),
        (Fault::Hangs(Duration::from_millis(2)), 101),
        (Fault::Hangs(Duration::from_millis(100)), 101),
        (Fault::Hangs(Duration::from_millis(500)), 101),
        (Fault::Closes(Duration::from_millis(50), 0.0), 200),
        (Fault::Closes(Duration::from_secs(5), 0.0), 120),
    ] {
        let mut simulation = Simulation::new(1, 15);
        simulation.run(Duration::from_secs(10));
        let before = simulation.sent.len();
        simulation.break_region("r0", fault);
        simulation.run(Duration::from_secs(100));
        let sent = simulation.sent.len() - before;
        assert!(sent <= most, "{sent} probes in 100 s with {fault:?}");
    }
}

#[test]
fn the_end_of_a_connection_brings_a_probe_forward_only_where_it_may_tell_something() {
    let start = begin();
    let probe = |monitor: &mut HealthMonitor| {
        std::iter::from_fn(|| monitor.poll_output()).find_map(|output| match output {
            MonitorOutput::Probe(id) => Some(id),
            MonitorOutput::Changed { .. } => None,
        })
    };
    let at = |millis: u64| start + Duration::from_millis(millis);
    let mut monitor = HealthMonitor::new(Some(CheckTiming::default()), Health::Healthy, 1, start);
    monitor.handle_timeout(at(1_000));
    let first = probe(&mut monitor).unwrap();
    monitor.handle_connection_end(at(1_001));
    assert_eq!(probe(&mut monitor), None, "a probe is under way");
    monitor.handle_outcome(first, ProbeOutcome::Well(Duration::from_millis(9)), at(1_009));
    monitor.handle_connection_end(at(1_500));
    let early = probe(&mut monitor).expect("it is probed at once");
    monitor.handle_outcome(early, ProbeOutcome::Well(Duration::from_millis(9)), at(1_509));
    monitor.handle_connection_end(at(2_400));
    assert_eq!(probe(&mut monitor), None, "one probe an interval is brought forward");
    monitor.handle_connection_end(at(2_502));
    let early = probe(&mut monitor).expect("an interval has passed");
    let refused = ProbeOutcome::Failed(ProbeFailure::Refused);
    monitor.handle_outcome(early, refused, at(2_503));
    assert_eq!(monitor.poll_timeout(), Some(at(2_627)), "a failed one is confirmed quickly");

    let mut unchecked = HealthMonitor::new(None, Health::Healthy, 1, start);
    unchecked.handle_connection_end(at(1));
    assert_eq!(unchecked.poll_output(), None);
}

#[test]
fn reports_of_a_crash_are_believed_in_a_quarter_of_a_second() {
    for seed in 0..40 {
        let mut simulation = Simulation::new(3, seed);
        let report = |simulation: &mut Simulation, times: u64, is_well: bool| {
            for _ in 0..times {
                simulation.run(Duration::from_millis(20));
                let report = Report { is_well, client: None };
                let region = "r0".parse().unwrap();
                assert!(simulation.watch.handle_report(&region, report, simulation.now));
            }
        };
        report(&mut simulation, 250 + seed, true);
        let crashed = simulation.now - simulation.start;
        simulation.crash("r0");
        report(&mut simulation, 50, false);
        let removals = simulation.removals();
        assert_eq!(removals.len(), 1, "{:?}", simulation.changes);
        let took = removals[0] - crashed;
        assert!(took <= Duration::from_millis(250), "{took:?} with seed {seed}");
    }
}

#[test]
fn a_node_whose_connections_all_end_removes_no_region() {
    for (seed, fault) in (0..40).flat_map(|seed| [(seed, Fault::Refuses), (seed, Fault::Silent)]) {
        let mut simulation = Simulation::new(5, seed);
        simulation.run(Duration::from_millis(10_000 + seed * 47));
        for region in 0..5 {
            simulation.crash(&format!("r{region}"));
            simulation.break_region(&format!("r{region}"), fault);
        }
        simulation.run(Duration::from_secs(15));
        assert_eq!(simulation.removals(), [], "{fault:?} with seed {seed}");
    }
}

#[test]
fn all_regions_behind_an_endpoint_are_probed_when_its_connection_ends() {
    let mut simulation = Simulation::new(2, 16);
    let endpoint = "r0.example.com:80";
    assert!(simulation.watch.probes_at(endpoint));
    simulation.watch.handle_config(&Config::default(), |_| Health::Unknown, simulation.now);
    assert!(!simulation.watch.probes_at(endpoint), "no region is behind it any more");
    simulation.watch.handle_connection_end(endpoint, simulation.now);
    assert_eq!(simulation.watch.poll_output(), None);
}

/// Returns how sure the removal of `r1` is, and when that changed since this moment.
fn removal(simulation: &Simulation) -> Option<Removal> {
    simulation.of("r1").removal
}

#[test]
fn a_certificate_for_another_name_is_told_with_the_name_that_was_asked_for() {
    let check = |text: &str| {
        let target = ProbeTarget::new("https://192.0.2.10/".parse().unwrap()).unwrap();
        let request = ProbeRequest { host: text.parse().ok(), ..ProbeRequest::default() };
        HealthCheck { request, ..HealthCheck::of(target) }
    };
    for (failure, host, expected) in [
        (TlsFailure::WrongName, "api.example.com:8443", "for another name than api.example.com"),
        (TlsFailure::WrongName, "", "for another name than 192.0.2.10"),
        (TlsFailure::Expired, "api.example.com", "the certificate has expired"),
    ] {
        let now = begin();
        let mut region = Region::new("r1".parse().unwrap(), GeoPoint::new(0.0, 0.0).unwrap());
        region.check = Some(check(host));
        let config = Config::default().after([Change::from(region)]).unwrap();
        let mut watch = HealthWatch::new(1).with_canaries([canary(1)], now);
        watch.handle_config(&config, |_| Health::Unknown, now);
        let mut told = None;
        for tenth in 0..200 {
            let now = now + Duration::from_millis(100) * tenth;
            watch.handle_timeout(now);
            while let Some(output) = watch.poll_output() {
                match output {
                    WatchOutput::Probe { subject, id, .. } => {
                        let outcome = match subject {
                            Subject::Region(_) => ProbeOutcome::Failed(ProbeFailure::Tls(failure)),
                            Subject::Canary(_) => ProbeOutcome::Well(Duration::from_millis(1)),
                        };
                        watch.handle_outcome(&subject, id, outcome, now);
                    }
                    WatchOutput::Changed(change) => told = Some(change.why().to_string()),
                    WatchOutput::Regraded(_)
                    | WatchOutput::Confirmation(_)
                    | WatchOutput::Breaker { .. } => {}
                }
            }
        }
        let told = told.expect("it is removed");
        assert!(told.ends_with(expected), "{told}");
    }
}

#[test]
fn failed_connections_are_proof_and_wrong_answers_are_not() {
    use ProbeFailure as F;
    for (failure, expected) in [
        (F::Refused, Removal::Proven),
        (F::Reset, Removal::Proven),
        (F::Timeout, Removal::Proven),
        (F::Unreachable, Removal::Proven),
        (F::Name, Removal::Unproven),
        (F::Tls(TlsFailure::Expired), Removal::Unproven),
        (F::Redirect, Removal::Unproven),
        (F::Incomplete, Removal::Unproven),
        (F::HeadTooLarge, Removal::Unproven),
        (F::Status(503), Removal::Unproven),
        (F::Body, Removal::Unproven),
        (F::Protocol, Removal::Unproven),
    ] {
        for seed in 0..20 {
            let mut simulation = Simulation::new(3, seed);
            simulation.run(Duration::from_millis(10_000 + seed * 37));
            assert_eq!(removal(&simulation), None);
            simulation.break_region("r1", Fault::Answers(failure));
            while simulation.of("r1").health != Health::Unhealthy {
                simulation.run(Duration::from_millis(1));
            }
            assert_eq!(removal(&simulation), Some(expected), "with the removal: {failure}");
            simulation.run(Duration::from_secs(100));
            assert_eq!(removal(&simulation), Some(expected), "trials or not: {failure}");
            assert_eq!(simulation.regraded, []);
        }
    }
}

#[test]
fn proof_follows_the_newest_evidence() {
    let mut simulation = Simulation::new(3, 12);
    let status = Fault::Answers(ProbeFailure::Status(503));
    simulation.run(Duration::from_secs(10));
    for (fault, expected) in [
        (status, Some(Removal::Unproven)),
        (Fault::Refuses, Some(Removal::Proven)),
        (status, Some(Removal::Unproven)),
        (Fault::Silent, Some(Removal::Proven)),
        (Fault::None, None),
    ] {
        simulation.break_region("r1", fault);
        simulation.run(Duration::from_secs(5));
        assert_eq!(removal(&simulation), expected, "{fault:?}");
    }
    assert_eq!(simulation.removals().len(), 1, "all of it is one removal");
    assert!(simulation.regraded.len() >= 3, "each is told: {:?}", simulation.regraded);
}

#[test]
fn what_clients_report_is_no_proof_until_probes_fail_as_well() {
    let mut simulation = Simulation::new(3, 13);
    simulation.run(Duration::from_secs(10));
    for _ in 0..50 {
        simulation.run(Duration::from_millis(20));
        let report = Report { is_well: false, client: None };
        simulation.watch.handle_report(&"r1".parse().unwrap(), report, simulation.now);
    }
    assert_eq!(removal(&simulation), Some(Removal::Unproven));
    simulation.break_region("r1", Fault::Refuses);
    simulation.run(Duration::from_secs(3));
    assert_eq!(removal(&simulation), Some(Removal::Proven));
    assert_eq!(simulation.removals().len(), 1);
}

#[test]
fn without_anything_else_to_ask_there_is_no_proof() {
    let mut simulation = Simulation::new(1, 14);
    simulation.run(Duration::from_secs(5));
    simulation.break_region("r0", Fault::Refuses);
    simulation.run(Duration::from_secs(60));
    assert_eq!(simulation.of("r0").removal, Some(Removal::Unproven));
    let mut simulation = Simulation::new(1, 14).with_canaries(1);
    simulation.run(Duration::from_secs(5));
    simulation.break_region("r0", Fault::Refuses);
    simulation.run(Duration::from_secs(5));
    assert_eq!(simulation.of("r0").removal, Some(Removal::Proven));
}

#[test]
fn a_flapping_region_that_answers_is_held_until_its_time_and_dead_at_the_first_failure() {
    let mut simulation = Simulation::new(3, 15);
    simulation.run(Duration::from_secs(5));
    for _ in 0..2 {
        simulation.break_region("r1", Fault::Refuses);
        simulation.run(Duration::from_secs(5));
        assert_eq!(removal(&simulation), Some(Removal::Proven));
        simulation.break_region("r1", Fault::None);
        simulation.run(Duration::from_secs(5));
    }
    let held = simulation.of("r1");
    assert_eq!((held.health, held.removal), (Health::Unhealthy, Some(Removal::Held)));
    let until = held.held_until.unwrap();
    let left = until - simulation.now;
    assert!((105..=120).contains(&left.as_secs()), "two minutes from its removal: {left:?}");
    simulation.break_region("r1", Fault::Refuses);
    simulation.run(Duration::from_millis(1_100));
    let dead = simulation.of("r1");
    assert_eq!((dead.removal, dead.held_until), (Some(Removal::Unproven), None), "at once");
    simulation.run(Duration::from_secs(4));
    assert_eq!(removal(&simulation), Some(Removal::Proven));
    simulation.break_region("r1", Fault::None);
    simulation.run(until - simulation.now);
    assert_eq!(removal(&simulation), Some(Removal::Held));
    simulation.run(Duration::from_secs(4));
    let back = simulation.of("r1");
    assert_eq!((back.health, back.removal, back.held_until), (Health::Healthy, None, None));
}

#[test]
fn a_region_that_clients_report_again_and_again_is_held_after_the_usual_cooldown() {
    let mut simulation = Simulation::new(3, 16);
    let report = |simulation: &mut Simulation, is_well: bool| {
        for _ in 0..50 {
            simulation.run(Duration::from_millis(20));
            let report = Report { is_well, client: None };
            simulation.watch.handle_report(&"r1".parse().unwrap(), report, simulation.now);
        }
    };
    simulation.run(Duration::from_secs(5));
    report(&mut simulation, false);
    simulation.run(Duration::from_secs(31));
    report(&mut simulation, true);
    assert_eq!(removal(&simulation), None);
    report(&mut simulation, false);
    assert_eq!(removal(&simulation), Some(Removal::Unproven), "its clients have just said so");
    simulation.run(Duration::from_secs(31));
    let held = simulation.of("r1");
    assert_eq!(held.removal, Some(Removal::Held));
    assert!(held.held_until.unwrap() > simulation.now + Duration::from_secs(80));
}

#[test]
fn what_is_known_from_before_a_restart_is_no_proof_until_probes_fail() {
    let mut monitor =
        HealthMonitor::new(Some(CheckTiming::default()), Health::Unhealthy, 1, begin());
    assert_eq!(monitor.removal(), Some(Removal::Unproven));
    assert_eq!(monitor.poll_output(), None);
}

/// Returns how long `r1` is silent until it is removed, if its silence is excused for so long.
fn removed_after(excused: Duration) -> Duration {
    let mut simulation = Simulation::new(3, 21);
    simulation.run(Duration::from_secs(10));
    let region = "r1".parse().unwrap();
    let began = simulation.now;
    let watch = &mut simulation.watch;
    watch.excuse_silence(&region, began + excused);
    loop {
        let now = watch.poll_timeout().unwrap();
        watch.handle_timeout(now);
        while let Some(output) = watch.poll_output() {
            match output {
                WatchOutput::Probe { subject, id, .. }
                    if subject != Subject::Region(region.clone()) =>
                {
                    let well = ProbeOutcome::Well(Duration::from_millis(1));
                    watch.handle_outcome(&subject, id, well, now);
                }
                WatchOutput::Changed(change) if change.to == Health::Unhealthy => {
                    assert_eq!(change.region, region);
                    return now - began;
                }
                WatchOutput::Probe { .. }
                | WatchOutput::Changed(_)
                | WatchOutput::Regraded(_)
                | WatchOutput::Confirmation(_)
                | WatchOutput::Breaker { .. } => {}
            }
        }
    }
}

#[test]
fn silence_that_is_excused_says_nothing_until_the_excuse_ends() {
    assert!(removed_after(Duration::ZERO) < Duration::from_secs(2));
    let excused = Duration::from_secs(4);
    assert!(removed_after(excused) >= excused);
}

#[test]
fn a_probe_that_could_not_be_sent_says_nothing() {
    let mut simulation = Simulation::new(3, 22);
    simulation.run(Duration::from_secs(10));
    simulation.break_region("r1", Fault::Answers(ProbeFailure::Local));
    simulation.run(Duration::from_secs(60));
    assert_eq!(simulation.removals(), []);
    assert_eq!(simulation.of("r1").health, Health::Healthy);
}

#[test]
fn what_a_breaker_says_is_told_each_time_it_is_something_else() {
    let mut simulation = Simulation::new(3, 3);
    simulation.run(Duration::from_secs(10));
    for fault in [Fault::Refuses, Fault::None] {
        simulation.break_region("r1", fault);
        simulation.run(Duration::from_secs(10));
    }
    let expected = [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Closed];
    assert_eq!(simulation.breakers, expected.map(|state| ("r1".parse().unwrap(), state)));
}

#[test]
fn an_hour_of_one_lost_probe_in_a_hundred_removes_nobody() {
    let mut simulation = Simulation::new(10, 42);
    for region in 0..10 {
        simulation.break_region(&format!("r{region}"), Fault::Loses(0.01));
    }
    simulation.run(Duration::from_secs(3600));
    assert_eq!(simulation.removals(), []);
    assert!(simulation.sent.len() > 36_000, "it did look: {} probes", simulation.sent.len());
}

#[test]
fn a_flapping_region_is_removed_three_times_in_ten_minutes_at_most() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(3, seed);
        simulation.break_region("r0", Fault::Flaps(Duration::from_secs(2)));
        simulation.run(Duration::from_secs(600));
        let removals = simulation.removals();
        assert!((1..=3).contains(&removals.len()), "{removals:?}");
    }
}

#[test]
fn whoever_loses_its_own_network_takes_nobody_for_dead() {
    let mut simulation = Simulation::new(5, 7);
    simulation.run(Duration::from_secs(10));
    for region in 0..5 {
        simulation.break_region(&format!("r{region}"), Fault::Silent);
    }
    simulation.run(Duration::from_secs(60));
    assert_eq!(simulation.removals(), []);
    let now = simulation.now;
    assert!(simulation.watch.regions(now).all(|(_, seen)| seen.abstains), "and it says so");

    for region in 0..4 {
        simulation.break_region(&format!("r{region}"), Fault::None);
    }
    simulation.run(Duration::from_secs(10));
    let removed: Vec<_> =
        simulation.changes.iter().filter(|(_, c)| c.to == Health::Unhealthy).collect();
    assert_eq!(removed.len(), 1, "with its network back it sees who is dead: {removed:?}");
    assert_eq!(removed[0].1.region.as_str(), "r4");
}

#[test]
fn a_total_loss_without_targets_is_told_and_ends_with_the_first_answer() {
    let refuses = Fault::Answers(ProbeFailure::Status(500));
    for fault in [Fault::Silent, Fault::Refuses, refuses] {
        let mut simulation = Simulation::new(3, 8);
        assert_eq!(simulation.watch.answering(), Answering::Answered, "nothing failed yet");
        simulation.run(Duration::from_secs(10));
        assert_eq!(simulation.watch.answering(), Answering::Answered);
        for region in ["r0", "r1", "r2"] {
            simulation.break_region(region, fault);
        }
        let lost = simulation.now;
        simulation.run(Duration::from_secs(30));
        let Answering::Unanswered(since) = simulation.watch.answering() else {
            panic!("{fault:?}: {:?}", simulation.watch.answering());
        };
        assert!(since - lost < Duration::from_secs(3), "{fault:?}: {:?}", since - lost);
        let abstaining = simulation.watch.abstaining();
        assert_eq!(abstaining.len(), 3, "{fault:?}");
        assert!(abstaining.values().all(|at| *at - lost < Duration::from_secs(3)), "{fault:?}");
        for region in ["r0", "r1", "r2"] {
            assert!(simulation.of(region).is_unconfirmed, "{fault:?}: {region}");
        }
        assert_eq!(simulation.confirmations.len(), 3, "{fault:?}");

        for region in ["r0", "r1", "r2"] {
            simulation.break_region(region, Fault::None);
        }
        simulation.run(Duration::from_secs(3));
        assert_eq!(simulation.watch.answering(), Answering::Answered);
        assert!(simulation.watch.abstaining().is_empty());
        assert_eq!(simulation.confirmations.len(), 6, "{fault:?}");
        assert_eq!(simulation.removals(), []);
    }
}

#[test]
fn with_a_target_a_total_loss_leaves_no_region_unconfirmed_and_something_answers() {
    let mut simulation = Simulation::new(3, 9).with_canaries(1);
    simulation.run(Duration::from_secs(10));
    for region in ["r0", "r1", "r2"] {
        simulation.break_region(region, Fault::Silent);
    }
    simulation.run(Duration::from_secs(30));
    assert_eq!(simulation.removals().len(), 3);
    assert!(simulation.watch.abstaining().is_empty());
    assert_eq!(simulation.watch.answering(), Answering::Answered, "the target does");
    simulation.break_canary(0, Fault::Silent);
    simulation.run(Duration::from_secs(5));
    assert!(matches!(simulation.watch.answering(), Answering::Unanswered(_)));
}

#[test]
fn a_region_that_is_configured_no_more_is_not_abstained_from() {
    let mut simulation = Simulation::new(2, 10);
    simulation.run(Duration::from_secs(10));
    for region in ["r0", "r1"] {
        simulation.break_region(region, Fault::Silent);
    }
    simulation.run(Duration::from_secs(10));
    assert_eq!(simulation.watch.abstaining().len(), 2);
    simulation.watch.handle_config(&Config::default(), |_| Health::Unknown, simulation.now);
    assert!(simulation.watch.abstaining().is_empty());
    assert_eq!(simulation.watch.answering(), Answering::Unprobed);
}

/// Cuts this node off from everything for a while, which is another for each seed.
fn after_an_outage(mut simulation: Simulation, rtt: u64, seed: u64) -> Simulation {
    simulation.rtt = Duration::from_millis(rtt);
    let begins = Duration::from_millis(10_000 + seed * 47);
    let lasts = Duration::from_millis(200 + seed * 331);
    simulation.cut = Some((begins, begins + lasts));
    simulation.run(Duration::from_secs(40));
    assert_eq!(simulation.removals(), [], "{rtt} ms away, {lasts:?} cut off");
    simulation
}

#[test]
fn an_outage_of_ones_own_removes_nobody_when_it_begins_and_when_it_ends() {
    for rtt in [5, 20, 100, 200, 300] {
        for seed in 0..40 {
            after_an_outage(Simulation::new(10, seed), rtt, seed);
        }
    }
}

#[test]
fn the_removal_of_a_dead_regions_check_is_told() {
    let mut monitor = HealthMonitor::new(None, Health::Unhealthy, 1, begin());
    let (from, to) = (Health::Unhealthy, Health::Unknown);
    let told = MonitorOutput::Changed { from, to, evidence: Evidence::CheckRemoved };
    assert_eq!(monitor.poll_output(), Some(told));
    assert_eq!(monitor.poll_output(), None);
}

#[test]
fn whoever_is_cut_off_with_some_regions_on_its_side_sees_it_by_its_canaries() {
    for (canaries, removed) in [(0, vec!["r2", "r3"]), (2, Vec::new())] {
        let mut simulation = Simulation::new(4, 21).with_canaries(canaries);
        simulation.run(Duration::from_secs(10));
        for region in ["r2", "r3"] {
            simulation.break_region(region, Fault::Silent);
        }
        for number in 0..canaries {
            simulation.break_canary(number, Fault::Silent);
        }
        simulation.run(Duration::from_secs(60));
        let mut found: Vec<_> =
            simulation.changes.iter().filter(|(_, c)| c.to == Health::Unhealthy).collect();
        found.sort_by_key(|(_, change)| &change.region);
        let found: Vec<_> = found.iter().map(|(_, change)| change.region.as_str()).collect();
        assert_eq!(found, removed, "with {canaries} canaries");
    }
}

#[test]
fn one_canary_that_is_well_vouches_for_the_death_of_all_regions() {
    for regions in [1, 3] {
        for fault in [Fault::Refuses, Fault::Silent] {
            let mut simulation = Simulation::new(regions, 22).with_canaries(2);
            simulation.break_canary(1, Fault::Silent);
            simulation.run(Duration::from_secs(10));
            for region in 0..regions {
                simulation.break_region(&format!("r{region}"), fault);
            }
            simulation.run(Duration::from_millis(2_300));
            assert_eq!(simulation.removals().len(), regions, "{:?}", simulation.changes);
        }
    }
}

#[test]
fn reachability_targets_that_are_set_at_run_time_are_the_witnesses_until_they_are_taken_away() {
    let mut simulation = Simulation::new(4, 24);
    simulation.run(Duration::from_secs(10));
    simulation.set_canaries(&[0, 1]);
    let healths = |simulation: &Simulation| -> Vec<_> { simulation.watch.canaries().collect() };
    let all = |health| vec![(canary(0), health), (canary(1), health)];
    assert_eq!(healths(&simulation), all(Health::Unknown));
    assert!(!simulation.watch.is_blind(), "a target that has not been asked yet says nothing");
    simulation.run(Duration::from_millis(500));
    assert_eq!(healths(&simulation), all(Health::Healthy), "they are asked at once");
    for region in ["r2", "r3"] {
        simulation.break_region(region, Fault::Silent);
    }
    simulation.break_canary(0, Fault::Silent);
    simulation.break_canary(1, Fault::Silent);
    simulation.run(Duration::from_secs(60));
    assert_eq!(simulation.removals().len(), 0, "the node may have lost its network");
    simulation.set_canaries(&[]);
    assert_eq!(healths(&simulation), []);
    simulation.run(Duration::from_secs(10));
    assert_eq!(simulation.removals().len(), 2, "the other regions vouch for it again");
}

#[test]
fn a_reachability_target_that_is_gone_vouches_for_nothing_and_one_that_stays_goes_on() {
    let mut simulation = Simulation::new(2, 25).with_canaries(2);
    simulation.break_canary(2, Fault::Silent);
    simulation.run(Duration::from_secs(10));
    simulation.set_canaries(&[1, 2]);
    let healths: Vec<_> = simulation.watch.canaries().collect();
    assert_eq!(healths, [(canary(1), Health::Healthy), (canary(2), Health::Unknown)]);
    simulation.break_region("r0", Fault::Refuses);
    simulation.run(Duration::from_secs(5));
    assert_eq!(simulation.of("r0").removal, Some(Removal::Proven), "the one that stays vouches");
    simulation.set_canaries(&[2]);
    simulation.break_region("r1", Fault::Refuses);
    simulation.run(Duration::from_secs(60));
    assert_eq!(simulation.of("r1").removal, None);
    assert!(simulation.of("r1").abstains && simulation.watch.is_blind());
}

#[test]
fn only_the_reachability_targets_of_the_moment_are_waited_for() {
    let mut simulation = Simulation::new(1, 26).with_canaries(1);
    simulation.run(Duration::from_secs(10));
    simulation.break_region("r0", Fault::Silent);
    simulation.run(Duration::from_secs(10));
    assert_eq!(simulation.watch.answering(), Answering::Answered, "the target answers");
    simulation.set_canaries(&[]);
    assert!(matches!(simulation.watch.answering(), Answering::Unanswered(_)));
    simulation.set_canaries(&[1]);
    simulation.run(Duration::from_millis(500));
    assert_eq!(simulation.watch.answering(), Answering::Answered, "the new target does");
}

#[test]
fn an_outage_of_ones_own_removes_nobody_where_canaries_are_asked() {
    for rtt in [5, 100, 300] {
        for seed in 0..40 {
            let simulation = Simulation::new(4, seed).with_canaries(2);
            let simulation = after_an_outage(simulation, rtt, seed);
            let mut canaries = simulation.watch.canaries();
            assert!(canaries.all(|(_, health)| health == Health::Healthy), "they are back");
        }
    }
}

#[test]
fn a_canary_is_asked_once_a_second_and_while_a_region_is_in_doubt_five_times() {
    let mut simulation = Simulation::new(3, 23).with_canaries(1);
    let asked = |simulation: &Simulation, from: Duration| {
        let sent = simulation.sent.iter().filter(|(at, _)| *at >= from);
        sent.filter(|(_, subject)| *subject == Subject::Canary(canary(0))).count()
    };
    simulation.run(Duration::from_secs(100));
    assert!((95..=100).contains(&asked(&simulation, Duration::ZERO)));
    // A region that loses every other probe is in doubt most of the time.
    simulation.break_region("r0", Fault::Loses(0.5));
    simulation.run(Duration::from_secs(10));
    let often = asked(&simulation, Duration::from_secs(100));
    assert!((11..=70).contains(&often), "{often} in 10 s");
}

#[test]
fn two_of_five_regions_that_die_together_are_both_removed() {
    for seed in 0..40 {
        let mut simulation = Simulation::new(5, seed);
        simulation.run(Duration::from_millis(10_000 + seed * 53));
        let broken = simulation.now - simulation.start;
        simulation.break_region("r1", Fault::Silent);
        simulation.break_region("r3", Fault::Silent);
        simulation.run(Duration::from_secs(5));
        let removals = simulation.removals();
        assert_eq!(removals.len(), 2, "{:?}", simulation.changes);
        let slowest = removals[1] - broken;
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    }
}

#[test]
fn a_region_that_is_well_again_comes_back_slowly() {
    let mut simulation = Simulation::new(3, 11);
    simulation.run(Duration::from_secs(5));
    simulation.break_region("r2", Fault::Refuses);
    simulation.run(Duration::from_secs(20));
    simulation.break_region("r2", Fault::None);
    simulation.run(Duration::from_secs(4));
    let seen = |simulation: &Simulation| simulation.of("r2");
    assert_eq!(seen(&simulation).health, Health::Healthy, "after three good probes");
    assert!(seen(&simulation).share.fraction() < 0.2, "{:?}", seen(&simulation));
    simulation.run(Duration::from_secs(15));
    let half = seen(&simulation).share.fraction();
    assert!((0.4..0.7).contains(&half), "{half}");
    simulation.run(Duration::from_secs(20));
    assert_eq!(seen(&simulation).share.fraction(), 1.0);
}

#[test]
fn a_region_is_probed_at_most_once_a_second_while_all_is_well_or_all_is_lost() {
    let mut simulation = Simulation::new(4, 3);
    simulation.break_region("r3", Fault::Refuses);
    simulation.run(Duration::from_secs(10));
    let before = simulation.sent.len();
    simulation.run(Duration::from_secs(100));
    let sent = simulation.sent.len() - before;
    // A little late each time, by up to a twentieth.
    assert!((380..=400).contains(&sent), "{sent} probes of four regions in 100 s");
}

#[test]
fn clients_reports_remove_a_region_within_a_second() {
    for seed in 0..40 {
        let mut simulation = Simulation::new(3, seed);
        let report = |simulation: &mut Simulation, times: u64, is_well: bool| {
            for _ in 0..times {
                simulation.run(Duration::from_millis(20));
                let (now, report) = (simulation.now, Report { is_well, client: None });
                assert!(simulation.watch.handle_report(&"r0".parse().unwrap(), report, now));
            }
        };
        report(&mut simulation, 250 + seed, true);
        assert_eq!(simulation.removals(), []);
        let failing = simulation.now - simulation.start;
        report(&mut simulation, 100, false);
        simulation.run(Duration::ZERO);
        let removals = simulation.removals();
        assert_eq!(removals.len(), 1, "{:?}", simulation.changes);
        // Half a second of failures outweighs what was well, and others are asked at once.
        let took = removals[0] - failing;
        assert!(took < Duration::from_millis(600), "{took:?} with seed {seed}");
    }
}

#[test]
fn a_few_reports_say_nothing() {
    let mut simulation = Simulation::new(3, 6);
    simulation.run(Duration::from_secs(5));
    for _ in 0..100 {
        simulation.run(Duration::from_secs(1));
        let report = Report { is_well: false, client: None };
        simulation.watch.handle_report(&"r0".parse().unwrap(), report, simulation.now);
    }
    assert_eq!(simulation.removals(), []);
}

#[test]
fn probes_end_with_their_configuration() {
    let mut simulation = Simulation::new(3, 8);
    simulation.run(Duration::from_secs(5));
    simulation.watch.handle_config(&Config::default(), |_| Health::Unknown, simulation.now);
    let before = simulation.sent.len();
    simulation.run(Duration::from_secs(60));
    assert_eq!(simulation.sent.len(), before);
    assert_eq!(simulation.watch.poll_timeout(), None);
}

#[test]
fn a_region_whose_probes_are_forbidden_is_unknown_and_never_unhealthy() {
    let mut simulation = Simulation::new(3, 12);
    simulation.run(Duration::from_secs(5));
    assert_eq!(simulation.of("r1").health, Health::Healthy);
    // A dead one and a healthy one both become unknown when their names resolve elsewhere.
    simulation.break_region("r0", Fault::Refuses);
    simulation.run(Duration::from_secs(5));
    assert_eq!(simulation.of("r0").health, Health::Unhealthy);
    simulation.break_region("r0", Fault::Forbidden);
    simulation.break_region("r1", Fault::Forbidden);
    simulation.run(Duration::from_secs(60));
    for region in ["r0", "r1"] {
        let seen = simulation.of(region);
        assert_eq!((seen.health, seen.is_forbidden), (Health::Unknown, true), "{region}");
        let id = region.parse().unwrap();
        let mut changes = simulation.changes.iter().filter(|(_, change)| change.region == id);
        let (_, last) = changes.next_back().unwrap();
        assert_eq!(last.evidence, Some(Evidence::ProbesForbidden));
        assert!(
            simulation.watch.votes(simulation.now).any(|(of, vote)| *of == id && vote.is_none())
        );
    }
    assert_eq!(simulation.removals().len(), 1, "only r0, while it refused");
    simulation.break_region("r1", Fault::None);
    simulation.run(Duration::from_secs(2));
    assert_eq!(simulation.of("r1").health, Health::Healthy);
    assert!(!simulation.of("r1").is_forbidden);
}

#[test]
fn regions_that_may_not_be_probed_are_no_witnesses_that_a_dead_one_waits_for() {
    let mut simulation = Simulation::new(3, 13);
    simulation.break_region("r1", Fault::Forbidden);
    simulation.break_region("r2", Fault::Forbidden);
    simulation.run(Duration::from_secs(5));
    simulation.break_region("r0", Fault::Refuses);
    simulation.run(Duration::from_secs(3));
    assert_eq!(simulation.of("r0").health, Health::Unhealthy, "it is alone, as a lone region is");
}

#[test]
fn clients_reports_make_known_what_may_not_be_probed() {
    let mut simulation = Simulation::new(2, 14);
    simulation.run(Duration::from_secs(5));
    simulation.break_region("r0", Fault::Forbidden);
    simulation.run(Duration::from_secs(2));
    assert_eq!(simulation.of("r0").health, Health::Unknown);
    let report = Report { is_well: true, client: None };
    simulation.watch.handle_report(&"r0".parse().unwrap(), report, simulation.now);
    simulation.run(Duration::from_secs(5));
    assert_eq!(simulation.of("r0").health, Health::Healthy);
}
