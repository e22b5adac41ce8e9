//! A region's server for `cargo xtask bench failover`: well, until it is told otherwise.
//!
//! `region-server` says which port it has, and reads its manner from standard input, a word a line: `well`, `error` (a
//! status of 500), `body` (another body), `slow` (five seconds), `reset` (cuts every connection).

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use socket2::SockRef;

fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let manner = Arc::new(Mutex::new("well".to_owned()));
    let told = Arc::clone(&manner);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    });
    for stream in listener.incoming() {
        let (stream, manner) = (stream?, Arc::clone(&manner));
        // Whoever has gone away needs no answer.
        thread::spawn(move || converse(&stream, &manner).ok());
    }
    Ok(())
}

fn converse(mut stream: &TcpStream, manner: &Mutex<String>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let read = || manner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if read() == "reset" {
        return cut(stream);
    }
    for line in BufReader::new(stream.try_clone()?).lines() {
        if !line?.is_empty() {
            continue;
        }
        let (status, body) = match read().as_str() {
            "error" => ("500 Internal Server Error", "well"),
            "body" => ("200 OK", "down for maintenance"),
            "reset" => return cut(stream),
            "slow" => {
                pause(Duration::from_secs(5));
                ("200 OK", "well")
            }
            _ => ("200 OK", "well"),
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")?;
    }
    Ok(())
}

/// Closes with a reset: what is not yet sent is thrown away.
fn cut(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

#[expect(clippy::disallowed_methods, reason = "being slow is what was asked for")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
