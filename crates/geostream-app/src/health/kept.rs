//! Connections that are kept between probes, since their ends tell of crashes.

use std::collections::BTreeMap;

use geostream_ports::KeptConnection;
use tokio::task::{AbortHandle, JoinSet};

/// One connection an endpoint, `host:port`.
///
/// Each is awaited by a task that ends with it: when another connection takes its place, when no
/// region is probed at the endpoint any more, or when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct KeptConnections {
    tasks: JoinSet<String>,
    by_endpoint: BTreeMap<String, AbortHandle>,
}

impl KeptConnections {
    /// Keeps a connection, and closes the one that was kept for the endpoint before.
    pub(crate) fn keep(&mut self, endpoint: String, connection: KeptConnection) {
        let of = endpoint.clone();
        let task = self.tasks.spawn(async move {
            connection.await;
            of
        });
        if let Some(before) = self.by_endpoint.insert(endpoint, task) {
            before.abort();
        }
    }

    /// Closes the connections of endpoints at which nothing is probed any more.
    pub(crate) fn retain(&mut self, is_probed: impl Fn(&str) -> bool) {
        self.by_endpoint.retain(|endpoint, task| {
            let is_probed = is_probed(endpoint);
            if !is_probed {
                task.abort();
            }
            is_probed
        });
    }

    /// Waits until the other side ends a connection, and returns its endpoint; never returns while
    /// none is kept. Nothing is lost if this is cancelled.
    pub(crate) async fn ended(&mut self) -> String {
        loop {
            match self.tasks.join_next_with_id().await {
                Some(Ok((id, endpoint))) => {
                    // Another may have taken its place at the same moment, and goes on.
                    if self.by_endpoint.get(&endpoint).is_some_and(|task| task.id() == id) {
                        self.by_endpoint.remove(&endpoint);
                        return endpoint;
                    }
                }
                // It was closed by this side.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;
    use tokio::task::yield_now;

    use super::*;

    /// A connection that ends when it is told to, and the count of those that are open.
    fn connection(open: &Arc<()>) -> (KeptConnection, Arc<Notify>) {
        let end = Arc::new(Notify::new());
        let ended = Arc::clone(&end);
        let held = Arc::clone(open);
        let connection = KeptConnection::new(async move {
            ended.notified().await;
            drop(held);
        });
        (connection, end)
    }

    /// Lets every task go as far as it can.
    async fn settle() {
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_end_is_told_once_and_only_of_the_connection_that_is_kept() {
        let open = Arc::new(());
        let mut kept = KeptConnections::default();
        let (first, end_first) = connection(&open);
        let (second, end_second) = connection(&open);
        kept.keep("a:80".to_owned(), first);
        settle().await;
        end_first.notify_one();
        kept.keep("a:80".to_owned(), second);
        settle().await;
        end_second.notify_one();
        assert_eq!(kept.ended().await, "a:80");
        assert_eq!(Arc::strong_count(&open), 1, "both are closed");
        let nothing = tokio::time::timeout(std::time::Duration::ZERO, kept.ended()).await;
        assert!(nothing.is_err(), "the first was not kept any more when it ended");
    }

    #[tokio::test]
    async fn connections_are_closed_with_their_place_their_endpoint_and_their_keeper() {
        let open = Arc::new(());
        let mut kept = KeptConnections::default();
        for endpoint in ["a:80", "a:80", "b:80", "c:80"] {
            kept.keep(endpoint.to_owned(), connection(&open).0);
        }
        settle().await;
        assert_eq!(Arc::strong_count(&open), 4, "one for each endpoint");
        kept.retain(|endpoint| endpoint == "b:80");
        settle().await;
        assert_eq!(Arc::strong_count(&open), 2);
        drop(kept);
        settle().await;
        assert_eq!(Arc::strong_count(&open), 1);
    }
}
