//! The listening sockets: bound at once, listening when the server can answer, and closed without
//! resetting a connection that the kernel has already accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// How long the other side of a connection may acknowledge nothing of what it is sent.
pub(crate) const STALLED: Duration = Duration::from_secs(60);

/// The connections that the kernel holds for one socket until they are accepted.
const BACKLOG: i32 = 4096;

/// A socket that has its address and does not listen yet: the kernel refuses connections to it.
#[derive(Debug)]
pub struct BoundSocket(Socket);

/// Binds a socket that shares its address with others, so that each thread has its own.
///
/// # Errors
///
/// If the address is not this machine's, or is taken by a socket that does not share it.
pub fn bind(address: SocketAddr) -> io::Result<BoundSocket> {
    let socket = stream_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    give_up_on_the_silent(&socket)?;
    socket.bind(&address.into())?;
    Ok(BoundSocket(socket))
}

/// Checks that no process listens on an address.
///
/// A socket that is to share its address would share it with another server's as well, so the
/// address is first asked for without sharing. Sockets that are bound and do not listen yet, this
/// process' own among them, are no obstacle.
///
/// # Errors
///
/// If a process listens on the address, or it is not this machine's.
pub fn check_unused(address: SocketAddr) -> io::Result<()> {
    stream_socket(address)?.bind(&address.into())
}

fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process that are in TIME_WAIT do not keep the address.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

impl BoundSocket {
    /// Returns the address, with the port that the kernel has chosen where 0 was asked for.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.0.local_addr()?.as_socket();
        address.ok_or_else(|| io::Error::other("the socket has no address"))
    }

    /// Has the kernel accept connections, which wait to be accepted by [`serve`](crate::serve).
    ///
    /// # Errors
    ///
    /// If another process has taken the address since it was bound.
    pub fn listen(self) -> io::Result<std::net::TcpListener> {
        self.0.listen(BACKLOG)?;
        Ok(self.0.into())
    }
}

/// Closes a listener, and returns the connections that waited to be accepted.
///
/// Closing alone would reset them, although their clients are connected already and may have sent
/// their requests.
pub(crate) fn close(listener: TcpListener) -> io::Result<Vec<(TcpStream, SocketAddr)>> {
    let listener = Socket::from(listener.into_std()?);
    if let Err(error) = ignore_connection_requests(&listener) {
        // Without the filter, a client that connects between the last accept and the close is reset.
        tracing::debug!(%error, "connection requests cannot be filtered");
    }
    let listener = std::net::TcpListener::from(listener);
    let mut waiting = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                waiting.push((TcpStream::from_std(stream)?, peer));
            }
            // The next one may be well.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(waiting),
        }
    }
}

/// Has the kernel drop the SYN segments that reach a listener, so that its queue only gets shorter.
///
/// Handshakes that have begun are finished. A client whose SYN is dropped sends it again, and is then
/// refused, since the listener is closed.
#[cfg(target_os = "linux")]
fn ignore_connection_requests(listener: &Socket) -> io::Result<()> {
    use socket2::SockFilter;
    // Classic BPF (linux/filter.h). A listener's filter sees segments from their TCP header on
    // (tcp_v4_rcv, tcp_v6_rcv), in which the flags are byte 13 (RFC 9293, section 3.1).
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    listener.attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn ignore_connection_requests(_listener: &Socket) -> io::Result<()> {
    Ok(())
}

/// Has the kernel end connections whose other side acknowledges or takes nothing of what it is sent
/// (RFC 5482): it does so anyway, but only after a quarter of an hour.
///
/// What is accepted inherits it. A client that hangs while its kernel goes on is not found by it.
#[cfg(target_os = "linux")]
fn give_up_on_the_silent(listener: &Socket) -> io::Result<()> {
    listener.set_tcp_user_timeout(Some(STALLED))
}

#[cfg(not(target_os = "linux"))]
fn give_up_on_the_silent(_listener: &Socket) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream as Client};

    use socket2::SockRef;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn connections_end_when_nothing_is_acknowledged() {
        let listener = bind(ANY).unwrap().listen().unwrap();
        let _client = Client::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(STALLED));
    }

    #[test]
    fn a_bound_socket_refuses_connections_until_it_listens() {
        let bound = bind(ANY).unwrap();
        let address = bound.local_addr().unwrap();
        assert_eq!(Client::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let _listener = bound.listen().unwrap();
        Client::connect(address).unwrap();
    }

    #[test]
    fn an_address_is_in_use_when_a_process_listens_on_it() {
        let bound = bind(ANY).unwrap();
        let address = bound.local_addr().unwrap();
        check_unused(address).unwrap();
        let _listener = bound.listen().unwrap();
        assert_eq!(check_unused(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn closing_a_listener_loses_no_waiting_connection() {
        let listener = bind(ANY).unwrap().listen().unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let mut clients: Vec<_> = (0..10).map(|_| Client::connect(address).unwrap()).collect();
        clients.iter_mut().for_each(|client| client.write_all(b"?").unwrap());
        let waiting = close(listener).unwrap();
        assert_eq!(Client::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(waiting.len(), clients.len());
        for (mut stream, _) in waiting {
            assert_eq!(stream.read_u8().await.unwrap(), b'?');
            stream.write_all(b"!").await.unwrap();
        }
        for client in &mut clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "!");
        }
    }
}
