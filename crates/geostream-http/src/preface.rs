//! How a connection begins: which version of HTTP its client speaks.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// What every client says first that knows the server to speak HTTP/2 (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, which were read before hyper reads.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    bytes: [u8; PREFACE.len()],
    read: usize,
    given: usize,
}

impl Beginning {
    /// Reads until it is clear which version of HTTP a client speaks that has not said so by TLS,
    /// and tells whether it is HTTP/2.
    ///
    /// hyper can tell as well, but waits for the bytes without a limit (hyperium/hyper #3756), and
    /// costs each request more for it. What is read here is read once, so a client that stops in
    /// the middle costs nothing until more comes.
    pub(crate) async fn read<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<(Self, bool)> {
        let mut beginning = Self::default();
        loop {
            let room = &mut beginning.bytes[beginning.read..];
            beginning.read += match stream.read(room).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => length,
            };
            let read = &beginning.bytes[..beginning.read];
            if read == PREFACE {
                return Ok((beginning, true));
            }
            if !PREFACE.starts_with(read) {
                return Ok((beginning, false));
            }
        }
    }

    /// Gives out what was read, as far as there is room for it, and tells whether there was any
    /// left.
    pub(crate) fn give_out(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.bytes[self.given..self.read];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.given += length;
        length > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn begin(mut bytes: &[u8]) -> io::Result<(Vec<u8>, bool)> {
        let (mut beginning, is_http2) = Beginning::read(&mut bytes).await?;
        let mut given = Vec::new();
        let mut room = [0; 7];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            if !beginning.give_out(&mut buffer) {
                break;
            }
            given.extend_from_slice(buffer.filled());
        }
        given.extend_from_slice(bytes);
        Ok((given, is_http2))
    }

    #[tokio::test]
    async fn nothing_is_lost_by_finding_out() {
        for (text, expected) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes", true),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("PRI * HTTP/1.1\r\nhost: x\r\n\r\n", false),
            ("G", false),
        ] {
            let (given, is_http2) = begin(text.as_bytes()).await.unwrap();
            assert_eq!((&*given, is_http2), (text.as_bytes(), expected), "{text}");
        }
        assert!(begin(b"PRI * HT").await.is_err(), "it ends in the middle");
    }
}
