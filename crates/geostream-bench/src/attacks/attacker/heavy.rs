//! What takes the server long to answer, asked for again as soon as it is answered.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use crate::attacks::attacker::shared::{Attacker, EXPLAIN, Tally, source};

/// How many ask; every other one for metrics.
const CLIENTS: u8 = 8;

pub(super) fn begin(attacker: &Attacker) {
    for (client, path) in (0..CLIENTS).zip(["/metrics", EXPLAIN].into_iter().cycle()) {
        let attacker = attacker.clone();
        thread::spawn(move || {
            loop {
                attacker.attempt(source(client), |stream| ask(stream, path, &attacker.tally));
            }
        });
    }
}

/// Asks once, and takes all of the answer.
fn ask(mut stream: TcpStream, path: &str, tally: &Tally) -> io::Result<()> {
    // The heavy answers take longer than any other.
    stream.set_read_timeout(None)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Tally::add(&tally.sent, 1);
    Ok(())
}
