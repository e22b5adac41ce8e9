//! The PROXY protocol, versions 1 and 2: whom a proxy that speaks TCP was asked by.
//!
//! Source: <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What every header of version 2 begins with; no header of version 1 is as short.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its end of line.
const LONGEST_LINE: usize = 107;

/// The most that is read of a header of version 2 behind its length: more than addresses and the
/// usual extensions take.
const LONGEST_REST: usize = 4096;

/// Reads the header that a proxy sends before anything else, and nothing behind it.
///
/// Returns the client; `None` where the connection is the proxy's own, as for its health checks, or
/// where the proxy does not know the client's address.
///
/// # Errors
///
/// If the stream ends or begins otherwise.
pub(crate) async fn read<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<Option<SocketAddr>> {
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin == *SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > LONGEST_REST {
            return Err(invalid("its PROXY header is too long"));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return version_2(head[0], head[1], &rest);
    }
    if !begin.starts_with(b"PROXY ") {
        return Err(invalid("it sends no PROXY header"));
    }
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(invalid("its PROXY header has no end"));
        }
        // Nothing behind the line may be taken, and there is one line a connection.
        line.push(stream.read_u8().await?);
    }
    version_1(&line[..line.len() - 2])
}

fn version_1(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let wrong = || invalid("its PROXY header is not one of version 1");
    let line = std::str::from_utf8(line).map_err(|_| wrong())?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let (Some(source), Some(_), Some(port), Some(_), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(wrong());
    };
    let address: IpAddr = match family {
        Some("TCP4") => source.parse::<Ipv4Addr>().map_err(|_| wrong())?.into(),
        Some("TCP6") => source.parse::<Ipv6Addr>().map_err(|_| wrong())?.into(),
        _ => return Err(wrong()),
    };
    let port = port.parse().map_err(|_| wrong())?;
    Ok(Some(SocketAddr::new(address, port)))
}

fn version_2(version: u8, family: u8, rest: &[u8]) -> io::Result<Option<SocketAddr>> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    let wrong = || invalid("its PROXY header is not one of version 2");
    match (version, family) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP4) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *part(rest).ok_or_else(wrong)?;
            let port = u16::from_be_bytes([high, low]);
            Ok(Some(SocketAddr::from(([a, b, c, d], port))))
        }
        (PROXY, TCP6) => {
            let addresses: &[u8; 36] = part(rest).ok_or_else(wrong)?;
            let source: [u8; 16] = *part(addresses).ok_or_else(wrong)?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Ok(Some(SocketAddr::from((source, port))))
        }
        // Another family, whose addresses say nothing of a client's place.
        (PROXY, _) => Ok(None),
        _ => Err(wrong()),
    }
}

/// Returns the first bytes, if there are so many.
fn part<const N: usize>(bytes: &[u8]) -> Option<&[u8; N]> {
    bytes.first_chunk()
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Reads a header, and returns what is left behind it.
    async fn header(bytes: &[u8]) -> io::Result<(Option<String>, Vec<u8>)> {
        let mut rest = bytes;
        let client = read(&mut rest).await?;
        Ok((client.map(|client| client.to_string()), rest.to_vec()))
    }

    fn binary(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn either_version_names_the_client_and_leaves_what_follows() {
        let v4 = [198, 51, 100, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&[0x12, 0x67]);
        let extended = [&v4[..], &[4, 0, 2, 1, 2]].concat();
        for (header_bytes, client) in [
            (b"PROXY TCP4 198.51.100.9 10.0.0.1 4711 80\r\n".to_vec(), Some("198.51.100.9:4711")),
            (b"PROXY TCP6 2001:db8::9 ::1 4711 80\r\n".to_vec(), Some("[2001:db8::9]:4711")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (binary(0x21, 0x11, &v4), Some("198.51.100.9:4711")),
            (binary(0x21, 0x11, &extended), Some("198.51.100.9:4711")),
            (binary(0x21, 0x21, &v6), Some("[2001:db8::9]:4711")),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &v4), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            let read = header(&[&header_bytes[..], b"GET /"].concat()).await.unwrap();
            assert_eq!(read, (client.map(str::to_owned), b"GET /".to_vec()), "{header_bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        let mut huge = binary(0x21, 0x11, &[]);
        huge[14..16].copy_from_slice(&[0xff, 0xff]);
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY".to_vec(),
            b"PROXY TCP4 198.51.100.9 10.0.0.1 4711\r\n".to_vec(),
            b"PROXY TCP4 ::1 10.0.0.1 4711 80\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.9 10.0.0.1 4711 80 90\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.9 10.0.0.1 99999 80\r\n".to_vec(),
            b"PROXY UDP4 198.51.100.9 10.0.0.1 4711 80\r\n".to_vec(),
            b"PROXY \xff\xff\xff\xff\xff\xff\xff\r\n".to_vec(),
            long,
            binary(0x11, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 4]),
            binary(0x21, 0x21, &[0; 12]),
            huge,
            SIGNATURE.to_vec(),
        ] {
            assert!(header(&bytes).await.is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_may_come_in_any_pieces_and_nonsense_does_no_harm(
            at in 1_usize..40,
            nonsense in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let whole = b"PROXY TCP4 198.51.100.9 10.0.0.1 4711 80\r\nrest";
                let (mut near, mut far) = tokio::io::duplex(64);
                let (first, second) = whole.split_at(at);
                let write = async {
                    near.write_all(first).await.unwrap();
                    tokio::task::yield_now().await;
                    near.write_all(second).await.unwrap();
                };
                let (client, ()) = tokio::join!(read(&mut far), write);
                assert_eq!(client.unwrap().unwrap().to_string(), "198.51.100.9:4711");
                drop(header(&nonsense).await);
                drop(header(&[&SIGNATURE[..], &nonsense].concat()).await);
                drop(header(&[&b"PROXY "[..], &nonsense].concat()).await);
            });
        }
    }
}
