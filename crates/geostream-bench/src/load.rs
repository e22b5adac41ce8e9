//! Load on a server from one thread, over kept connections.
//!
//! The thread looks for answers all the time and never sleeps: to wake it would be the server's cost,
//! and the time that takes a part of every latency.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::mem::take;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::figure::Spread;
use crate::process::now;

/// How long answers are waited for behind the end of a load.
const GRACE: Duration = Duration::from_secs(10);

/// A longer answer comes in parts.
const PART: usize = 64 << 10;

/// Kept connections to a server, and what is asked on them, over and over.
pub(crate) struct Load<'a> {
    address: SocketAddr,
    requests: &'a [Vec<u8>],
    next: usize,
    streams: Vec<Stream>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    part: Box<[u8]>,
}

#[derive(Debug)]
struct Stream {
    tcp: TcpStream,
    /// When the request was to be sent.
    intended: Instant,
    /// What has come of an answer that is not there as a whole.
    begun: Vec<u8>,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Answers with a status but 200, and requests without an answer.
    pub(crate) errors: usize,
    /// How many were answered a second.
    pub(crate) per_second: f64,
    /// From when a request was to be sent to its answer; nobody waits for an answer before.
    pub(crate) latency_ms: Spread,
}

impl<'a> Load<'a> {
    pub(crate) fn new(
        address: SocketAddr,
        connections: usize,
        requests: &'a [Vec<u8>],
    ) -> anyhow::Result<Self> {
        ensure!(!requests.is_empty(), "a load has requests");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Vec::with_capacity(connections);
        for place in 0..connections {
            let tcp = connect(address, &epoll, place).context("connecting")?;
            streams.push(Stream { tcp, intended: now(), begun: Vec::new() });
        }
        let events = Vec::with_capacity(connections);
        Ok(Self { address, requests, next: 0, streams, epoll, events, part: vec![0; PART].into() })
    }

    /// Asks on every connection again as soon as it is answered, so often in all.
    pub(crate) fn as_fast_as_possible(&mut self, requests: usize) -> anyhow::Result<Outcome> {
        self.drive(requests, Duration::from_secs(600), |_number, now| Some(now))
    }

    /// Asks so often a second, whether or not earlier requests are answered: who finds no free
    /// connection waits for one, and its latency counts from when it came.
    pub(crate) fn at_rate(&mut self, per_second: u32, during: Duration) -> anyhow::Result<Outcome> {
        let began = now();
        let requests = usize::try_from(u64::from(per_second) * during.as_secs())?;
        let at = |number| began + Duration::from_secs_f64(number as f64 / f64::from(per_second));
        self.drive(requests, during, |number, now| {
            Some(at(number)).filter(|intended| *intended <= now)
        })
    }

    /// Sends requests when they are due, and receives the answers.
    fn drive(
        &mut self,
        requests: usize,
        during: Duration,
        due: impl Fn(usize, Instant) -> Option<Instant>,
    ) -> anyhow::Result<Outcome> {
        let began = now();
        let deadline = began + during + GRACE;
        let mut idle: VecDeque<usize> = (0..self.streams.len()).collect();
        let mut latencies = Vec::with_capacity(requests);
        let (mut sent, mut errors) = (0, 0);
        while latencies.len() + errors < requests {
            let at = now();
            if at > deadline {
                break;
            }
            while sent < requests
                && let Some(&stream) = idle.front()
                && let Some(intended) = due(sent, at)
            {
                idle.pop_front();
                sent += 1;
                if self.send(stream, intended).is_err() {
                    errors += 1;
                    self.reopen(stream)?;
                    idle.push_back(stream);
                }
            }
            let mut events = self.look()?;
            for event in events.drain(..) {
                let data = event.data;
                let stream = usize::try_from(data.u64())?;
                match self.receive(stream) {
                    Ok(None) => continue,
                    Ok(Some(200)) => {
                        let took = now() - self.streams[stream].intended;
                        latencies.push(took.as_secs_f64() * 1e3);
                    }
                    Ok(Some(_status)) => errors += 1,
                    Err(_lost) => {
                        errors += 1;
                        self.reopen(stream)?;
                    }
                }
                idle.push_back(stream);
            }
            self.events = events;
        }
        let took = (now() - began).as_secs_f64();
        Ok(Outcome {
            errors: requests - latencies.len(),
            per_second: latencies.len() as f64 / took,
            latency_ms: Spread::new(latencies.into_iter()),
        })
    }

    fn send(&mut self, stream: usize, intended: Instant) -> io::Result<()> {
        let request = &self.requests[self.next];
        self.next = (self.next + 1) % self.requests.len();
        let stream = &mut self.streams[stream];
        stream.intended = intended;
        // There is room: nothing else is under way.
        stream.tcp.write_all(request)
    }

    /// Finds the connections on which something has come.
    fn look(&mut self) -> anyhow::Result<Vec<epoll::Event>> {
        let mut events = take(&mut self.events);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once))?;
        Ok(events)
    }

    /// Receives what is there, and returns the status of an answer that is complete.
    fn receive(&mut self, stream: usize) -> io::Result<Option<u16>> {
        let stream = &mut self.streams[stream];
        let read = match stream.tcp.read(&mut self.part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if stream.begun.is_empty() {
            let status = status(&self.part[..read]);
            if status.is_none() {
                stream.begun.extend_from_slice(&self.part[..read]);
            }
            return Ok(status);
        }
        stream.begun.extend_from_slice(&self.part[..read]);
        let status = status(&stream.begun);
        if status.is_some() {
            stream.begun.clear();
        }
        Ok(status)
    }

    fn reopen(&mut self, stream: usize) -> anyhow::Result<()> {
        let tcp = connect(self.address, &self.epoll, stream).context("connecting again")?;
        self.streams[stream] = Stream { tcp, intended: now(), begun: Vec::new() };
        Ok(())
    }
}

fn connect(address: SocketAddr, epoll: &OwnedFd, place: usize) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_nodelay(true)?;
    tcp.set_nonblocking(true)?;
    epoll::add(epoll, &tcp, epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?;
    Ok(tcp)
}

/// Returns the status of an answer, if all of it is there.
fn status(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    })?;
    let length: usize = length.trim().parse().ok()?;
    (answer.len() >= end + 4 + length).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_all_of_it_is_there() {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nx: y\r\n\r\nabc";
        assert_eq!(status(answer), Some(404));
        for shorter in 0..answer.len() {
            assert_eq!(status(&answer[..shorter]), None);
        }
    }
}
