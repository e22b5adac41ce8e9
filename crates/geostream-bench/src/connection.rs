//! A kept connection to a server that is measured.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(address)?, Duration::from_secs(10))
    }

    /// Opens a connection from one of this machine's addresses; the handshake and each read fail
    /// after the timeout.
    pub(crate) fn open_from(
        source: Ipv4Addr,
        address: SocketAddr,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let socket = socket_from(source)?;
        socket.connect_timeout(&address.into(), timeout)?;
        Self::over(socket.into(), timeout)
    }

    fn over(stream: TcpStream, timeout: Duration) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        Ok(Self { stream })
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request)?)
    }

    /// Receives a whole answer and returns its body; a status but 200 is an error.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Vec<u8>> {
        let (status, body) = self.receive_any()?;
        ensure!(status == 200, "the server answers {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Receives a whole answer and returns its status and its body.
    pub(crate) fn receive_any(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut received = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            let read = self.stream.read(&mut part)?;
            ensure!(read > 0, "the server has closed a connection");
            received.extend_from_slice(&part[..read]);
            let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&received[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no length")?.parse()?;
            if received.len() == end + 4 + length {
                let status = head.split(' ').nth(1).context("no status")?.parse()?;
                return Ok((status, received.split_off(end + 4)));
            }
        }
    }
}

/// Makes a TCP socket that has one of this machine's addresses and is not connected yet.
pub(crate) fn socket_from(source: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    Ok(socket)
}
