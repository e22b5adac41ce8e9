//! A way to a server on which everything can be late.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Passes on what is said between a server and its clients, until it is told to hold it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Proxy {
    /// Leads to this port of 127.0.0.1, for as long as the test runs.
    #[must_use]
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
        let port = listener.local_addr().expect("it listens").port();
        let gate = Arc::<Gate>::default();
        let kept = Arc::clone(&gate);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is away is one that hangs up.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    join(&client, &server, &gate);
                    join(&server, &client, &gate);
                }
            }
        });
        Self { port, gate: kept }
    }

    /// Returns the port of 127.0.0.1 that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Keeps back what is said from now on.
    pub fn hold(&self) {
        self.gate.set(true);
    }

    /// Passes on what was kept back, in its order.
    pub fn release(&self) {
        self.gate.set(false);
    }
}

impl Gate {
    fn set(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = is_closed;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(closed, |is_closed| *is_closed));
    }
}

fn join(from: &TcpStream, to: &TcpStream, gate: &Arc<Gate>) {
    let copy = |stream: &TcpStream| stream.try_clone().expect("there is room for a file");
    let (mut from, mut to, gate) = (copy(from), copy(to), Arc::clone(gate));
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            gate.pass();
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
    });
}
