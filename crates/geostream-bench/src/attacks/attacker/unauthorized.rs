//! Control requests without a valid token, many at a time.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::attacks::attacker::shared::{Attacker, Tally, drain};
use crate::process::{now, pause};

/// Connections at a time: each worker has one of them, more or less.
const CONNECTIONS: u8 = 2;

/// Requests that are sent at a time.
const BURST: u64 = 100;

/// From one burst of a connection to its next: 50,000 requests a second in all.
const PACE: Duration = Duration::from_millis(4);

/// Requests of a connection; the next one comes from another network.
const OF_A_CONNECTION: u64 = 5_000;

/// How long a number of requests may take in all.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends requests until the process ends.
pub(super) fn begin(attacker: &Attacker) {
    for first in 0..CONNECTIONS {
        let attacker = attacker.clone();
        thread::spawn(move || {
            for network in networks(first) {
                attacker.attempt(network, |stream| ask(stream, OF_A_CONNECTION, &attacker.tally));
            }
        });
    }
}

/// Sends so many requests, and waits until they are answered.
pub(super) fn send(attacker: &Attacker, requests: u64) {
    let deadline = now() + DEADLINE;
    thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let share = requests.div_ceil(u64::from(CONNECTIONS));
            scope.spawn(move || send_share(attacker, first, share, deadline));
        }
    });
}

fn send_share(attacker: &Attacker, first: u8, share: u64, deadline: Instant) {
    let mut networks = networks(first);
    let mut left = share;
    while left > 0
        && now() < deadline
        && let Some(network) = networks.next()
    {
        let requests = left.min(OF_A_CONNECTION);
        attacker.attempt(network, |stream| {
            ask(stream, requests, &attacker.tally)?;
            left -= requests;
            Ok(())
        });
    }
}

/// Returns an address in one network after the other, without end.
fn networks(first: u8) -> impl Iterator<Item = Ipv4Addr> {
    let numbers = (0..=u8::MAX).cycle().skip(usize::from(first)).step_by(CONNECTIONS.into());
    numbers.map(|network| Ipv4Addr::new(127, 1, network, 1))
}

/// Sends so many requests at a steady pace, and waits for the last answer.
fn ask(mut stream: TcpStream, requests: u64, tally: &Tally) -> io::Result<()> {
    let reading = drain(&stream)?;
    let mut left = requests;
    let mut due = now();
    while left > 0 {
        let burst = left.min(BURST);
        left -= burst;
        stream.write_all(&many(burst, left == 0))?;
        Tally::add(&tally.sent, burst);
        due += PACE;
        pause(due.saturating_duration_since(now()));
    }
    reading.join().map_err(|_panic| io::ErrorKind::Other.into())
}

/// Returns requests for several things, of which the last may be that of the connection.
fn many(count: u64, is_last: bool) -> Vec<u8> {
    const INVALID: &str = "authorization: Bearer gs_0123456789abcdef_0000\r\n";
    let kinds = [
        ("GET /api/v1/config", INVALID),
        ("GET /api/v1/audit", ""),
        ("PUT /api/v1/regions/stranger", INVALID),
        ("DELETE /api/v1/services/stranger", ""),
    ];
    let mut requests = String::new();
    for (number, (what, token)) in (1..=count).zip(kinds.into_iter().cycle()) {
        let close = if is_last && number == count { "connection: close\r\n" } else { "" };
        requests.push_str(&format!("{what} HTTP/1.1\r\nhost: localhost\r\n{token}{close}\r\n"));
    }
    requests.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_request_closes_the_connection() {
        let text = |count, is_last| String::from_utf8(many(count, is_last)).unwrap();
        assert_eq!(text(100, false).matches("HTTP/1.1").count(), 100);
        assert!(!text(100, false).contains("close"));
        assert!(text(7, true).ends_with("connection: close\r\n\r\n"));
    }
}
