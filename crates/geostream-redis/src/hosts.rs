//! Which of several hosts accept connections.
//!
//! Of several sentinels or nodes of a cluster, the client tells the trouble of the last one, or that
//! it has tried all. So each is tried here, by TCP alone.

use std::io;
use std::time::Duration;

use fred::types::config::Server;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a host may take to accept a connection.
const TIMEOUT: Duration = Duration::from_millis(250);

/// The most hosts that are tried, and the most characters that are told of each.
const HOSTS: usize = 8;
const LONGEST: usize = 160;

/// Says of each of several hosts whether it accepts connections, in the order of the URL; `None` for
/// a single host.
pub(crate) async fn try_all(hosts: &[Server]) -> Option<String> {
    if hosts.len() < 2 {
        return None;
    }
    let mut told = Vec::new();
    for Server { host, port, .. } in hosts.iter().take(HOSTS) {
        let connected = timeout(TIMEOUT, TcpStream::connect((&**host, *port))).await;
        told.push(format!(
            "{host}:{port}: {}",
            in_words(connected.ok().map(|done| done.map(drop)))
        ));
    }
    if hosts.len() > HOSTS {
        told.push(format!("and {} more", hosts.len() - HOSTS));
    }
    Some(told.join("; "))
}

fn in_words(connected: Option<io::Result<()>>) -> String {
    match connected {
        Some(Ok(())) => "accepts connections".to_owned(),
        Some(Err(error)) => error.to_string().chars().take(LONGEST).collect(),
        None => "does not answer in time".to_owned(),
    }
}
