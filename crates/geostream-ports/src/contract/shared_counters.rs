//! What all [`SharedCounters`] promise.

use geostream_domain::{LeaseRequest, Rate};

use super::now;
use crate::{CounterKey, SharedCounters};

/// Holds [`SharedCounters`] to their promises.
///
/// # Panics
///
/// Where they break one.
pub async fn shared_counters<S: SharedCounters>(new: impl AsyncFn() -> S) {
    let counters = new().await;
    let rate = Rate::per_second(10).expect("a rate");
    let key = |number| CounterKey { purpose: "test", number };
    let lease = async |number, reserved, spent, wanted| {
        let request = (key(number), LeaseRequest { spent, wanted });
        let tokens = counters.lease(rate, reserved, vec![request]).await.expect("lease");
        assert_eq!(tokens.len(), 1);
        tokens[0].expect("the bucket is there")
    };
    let begun = now();
    // What comes meanwhile.
    let since = || u32::try_from((now() - begun).as_millis() / 100).expect("a short while") + 1;
    assert_eq!(lease(1, 0, 0, 4).await, 4);
    let rest = lease(1, 0, 0, 100).await;
    assert!((6..=6 + since()).contains(&rest), "the rest of a burst: {rest}");
    // What is reserved is not handed out, and what has passed is charged all the same.
    assert_eq!(lease(2, 7, 0, 100).await, 3);
    let beyond = lease(2, 7, 5, 100).await;
    assert!(beyond <= since().saturating_sub(5), "{beyond}");
    let rest = beyond + lease(2, 0, 0, 100).await;
    assert!((2..=2 + since()).contains(&rest), "{rest}");
    // A debt is bounded: it is over when two bursts have come.
    assert_eq!(lease(3, 0, u32::MAX, 100).await, 0);
    // Each key has a bucket of its own, and the tokens come in the order of the requests.
    let many = (10..200).map(|number| {
        let wanted = u32::try_from(number % 10).expect("a digit");
        (key(number), LeaseRequest { spent: 0, wanted })
    });
    let tokens = counters.lease(rate, 0, many.collect()).await.expect("lease");
    let tokens = tokens.into_iter().map(|tokens| tokens.map(u64::from));
    assert!(tokens.eq((10..200).map(|number| Some(number % 10))));
    assert_eq!(counters.lease(rate, 0, Vec::new()).await.expect("lease"), []);
    // A bucket fills again by the clock of whoever keeps it.
    let mut tokens = 0;
    while tokens < 3 {
        tokens += lease(3, 0, 0, 1).await;
    }
}
