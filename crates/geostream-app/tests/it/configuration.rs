//! Writes.

use std::slice;
use std::sync::Arc;

use geostream_app::{
    Configuration, ForbiddenProbe, Publisher, RequestLimits, StoreState, WriteError,
};
use geostream_domain::{
    Change, InForce, Override, OverrideAction, PermittedNetworks, ReachabilityTargets,
    RequestLimit, Revision, Setting, Timestamp,
};
use geostream_embedded::EmbeddedStore;

use crate::world::{SetClock, config, intent, line, region, two_regions};

type Setup = (Configuration<EmbeddedStore, SetClock>, Arc<Publisher<SetClock>>);

fn setup() -> Setup {
    let clock = SetClock::default();
    let publisher = Arc::new(Publisher::new(clock.clone()));
    publisher.publish(<_>::default(), StoreState::Current);
    let store = EmbeddedStore::in_memory().unwrap();
    (Configuration::new(store, Arc::clone(&publisher), clock), publisher)
}

async fn write(
    configuration: &Configuration<EmbeddedStore, SetClock>,
    expected: u64,
    changes: Vec<Change>,
) -> Result<u64, WriteError> {
    let written = configuration.write(intent(expected), changes).await?;
    Ok(written.after.revision.get())
}

fn drain(id: &str) -> Change {
    Change::SetOverride(Override {
        region: id.parse().unwrap(),
        action: OverrideAction::Drain,
        owner: line("ops"),
        reason: line("because"),
        since: Timestamp::EPOCH,
        expires: None,
    })
}

#[tokio::test]
async fn what_is_written_is_in_use_when_the_write_returns() {
    let (configuration, publisher) = setup();
    assert_eq!(write(&configuration, 0, two_regions()).await.unwrap(), 1);
    assert_eq!(publisher.snapshot().revision, Revision::new(1));
    assert_eq!(*publisher.snapshot().config, config());
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_no_revision() {
    let (configuration, _) = setup();
    write(&configuration, 0, two_regions()).await.unwrap();
    assert_eq!(write(&configuration, 1, two_regions()).await.unwrap(), 1);
    assert_eq!(configuration.history(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_write_on_another_revision_is_refused() {
    let (configuration, _) = setup();
    write(&configuration, 0, two_regions()).await.unwrap();
    let stale = write(&configuration, 0, vec![region("asia", 1.3, 103.8)]).await;
    assert!(matches!(stale, Err(WriteError::Conflict { current, .. }) if current.get() == 1));
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_and_leaves_overrides_alone() {
    let (configuration, publisher) = setup();
    write(&configuration, 0, two_regions()).await.unwrap();
    write(&configuration, 1, vec![region("eu", 48.9, 2.4), drain("us")]).await.unwrap();
    let written = configuration.roll_back(intent(2), Revision::new(1)).await.unwrap();
    assert_eq!(written.after.revision, Revision::new(3));
    let now = publisher.snapshot().config;
    assert_eq!(now.regions(), config().regions());
    assert_eq!(now.overrides().len(), 1, "the drain is still needed");
    let missing = configuration.roll_back(intent(3), Revision::new(9)).await;
    assert!(matches!(missing, Err(WriteError::NotKept(_))));
}

#[tokio::test]
async fn limits_follow_a_write_before_it_returns() {
    let limit = |number| RequestLimit::new(number).unwrap();
    let clock = SetClock::default();
    let limits = RequestLimits::new(limit(7), RequestLimit::NONE);
    let publisher = Publisher::new(clock.clone()).with_limits(limits.clone());
    publisher.publish(<_>::default(), StoreState::Current);
    let store = EmbeddedStore::in_memory().unwrap();
    let configuration = Configuration::new(store, Arc::new(publisher), clock);
    let in_force = || {
        let both = [limits.clients.in_force(), limits.tokens.in_force()];
        both.map(|InForce { value, source }| (value.per_second(), source.as_str()))
    };
    assert_eq!(in_force(), [(7, "node"), (0, "node")]);
    write(&configuration, 0, two_regions()).await.unwrap();
    let set = vec![
        Change::SetSetting(Setting::RequestsPerSecond(Some(RequestLimit::NONE))),
        Change::SetSetting(Setting::RequestsPerSecondPerToken(Some(limit(9)))),
    ];
    write(&configuration, 1, set).await.unwrap();
    assert_eq!(in_force(), [(0, "configuration"), (9, "configuration")]);
    configuration.roll_back(intent(2), Revision::new(1)).await.unwrap();
    assert_eq!(in_force(), [(7, "node"), (0, "node")]);
}

#[tokio::test]
async fn a_new_reachability_target_that_may_not_be_probed_is_refused_and_an_old_one_is_told() {
    let (_, publisher) = setup();
    let clock = SetClock::default();
    let store = EmbeddedStore::in_memory().unwrap();
    let networks = PermittedNetworks::new([("10.0.0.0".parse().unwrap(), 8)]);
    let permissive = Configuration::new(store.clone(), Arc::clone(&publisher), clock.clone());
    let permissive = permissive.with_probe_networks(networks);
    let strict = Configuration::new(store, publisher, clock);
    let targets = |texts: &[&str]| {
        let targets = ReachabilityTargets::new(texts.iter().map(|text| text.parse().unwrap()));
        vec![Change::SetSetting(Setting::ReachabilityTargets(Some(targets.unwrap())))]
    };
    let private = ForbiddenProbe::Target("10.1.2.3:443".parse().unwrap());
    let refused = write(&strict, 0, targets(&["8.8.8.8:53", "10.1.2.3:443"])).await;
    assert!(
        matches!(&refused, Err(WriteError::Forbidden(probes)) if *probes == [private.clone()]),
        "{refused:?}"
    );
    let one = write(&permissive, 0, targets(&["10.1.2.3:443"])).await;
    assert_eq!(one.unwrap(), 1, "what this node may probe is taken");
    let kept = strict.write(intent(1), targets(&["8.8.8.8:53", "10.1.2.3:443"])).await.unwrap();
    assert_eq!(kept.forbidden, slice::from_ref(&private), "it was there before");
    let added = write(&strict, 2, targets(&["10.1.2.3:443", "10.9.9.9:1"])).await;
    let other = ForbiddenProbe::Target("10.9.9.9:1".parse().unwrap());
    assert!(matches!(added, Err(WriteError::Forbidden(probes)) if probes == [other]));
    let public = strict.write(intent(2), targets(&["8.8.8.8:53"])).await.unwrap();
    assert_eq!(public.forbidden, []);
    let back = strict.roll_back(intent(3), Revision::new(1)).await.unwrap();
    assert_eq!(back.forbidden, [private], "what was stored is restored");
}

#[tokio::test]
async fn a_first_configuration_is_declared_once() {
    let (configuration, _) = setup();
    let declare = async || configuration.bootstrap(intent(0), &config()).await;
    assert!(declare().await.unwrap());
    assert!(!declare().await.unwrap());
}
