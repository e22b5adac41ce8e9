//! What `cargo xtask bench http` compares the server with: hyper, and nothing else.
//!
//! `bare-hyper ADDRESS BYTES` answers every request with so many bytes, on one thread.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().context("an address is expected")?.parse()?;
    let bytes: usize = arguments.next().context("a number of bytes is expected")?.parse()?;
    let body = Bytes::from(vec![b'x'; bytes]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(|_request| {
                    let body = body.clone();
                    async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                });
                // A client that goes away is no concern here.
                let _ended =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}
