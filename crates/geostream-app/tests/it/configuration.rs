//! Writes.

use std::sync::Arc;

use geostream_app::{Configuration, Publisher, StoreState, WriteError};
use geostream_domain::{Change, Override, OverrideAction, Revision, Timestamp};
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
async fn a_first_configuration_is_declared_once() {
    let (configuration, _) = setup();
    let declare = async || configuration.bootstrap(intent(0), &config()).await;
    assert!(declare().await.unwrap());
    assert!(!declare().await.unwrap());
}
