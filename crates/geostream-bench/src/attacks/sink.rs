//! What an attacker talks to in the quiet run.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

use crate::process::permit_many_files;

/// Connections that wait to be accepted, as many as at the server.
const BACKLOG: i32 = 4096;

/// How many answers are made at once: as many as the server's control runtime has threads.
const THREADS: usize = 2;

pub(super) fn run(lines: Option<u32>) -> anyhow::Result<()> {
    permit_many_files()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    thread::spawn(move || match lines {
        Some(lines) => {
            answer_all(&listener, lines);
            Ok(())
        }
        None => discard_all(listener),
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Reads all connections on one thread, and answers nothing.
fn discard_all(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _client) = listener.accept().await?;
            tokio::spawn(async move { discard(&stream).await.ok() });
        }
    })
}

async fn discard(stream: &tokio::net::TcpStream) -> io::Result<()> {
    // One for all connections: thousands of them have nothing to read at a time.
    thread_local! {
        static PART: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into());
    }
    loop {
        stream.readable().await?;
        match PART.with_borrow_mut(|part| stream.try_read(part)) {
            Ok(0) => return Ok(()),
            Ok(_read) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Answers each connection with lines that are written anew, since a server whose answers are heavy
/// keeps its processors busy with them.
fn answer_all(listener: &TcpListener, lines: u32) {
    let threads: Arc<[Mutex<()>; THREADS]> = Arc::default();
    for (number, stream) in listener.incoming().flatten().enumerate() {
        let threads = Arc::clone(&threads);
        thread::spawn(move || answer(stream, lines, &threads[number % THREADS]).ok());
    }
}

fn answer(mut stream: TcpStream, lines: u32, thread: &Mutex<()>) -> io::Result<()> {
    // A request comes in one piece.
    if stream.read(&mut [0; 4 << 10])? == 0 {
        return Ok(());
    }
    let mut answer = String::from("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
    {
        let _turn = thread.lock().unwrap_or_else(PoisonError::into_inner);
        for line in 0..lines {
            // Writing to a string cannot fail.
            writeln!(answer, "sink_line{{region=\"region-{line}\"}} {}", f64::from(line) / 7.0)
                .ok();
        }
    }
    stream.write_all(answer.as_bytes())
}
