//! gRPC's health protocol, `grpc.health.v1.Health/Check`, without a generated client.
//!
//! Both messages have one field, so their bytes are written and read here. Source:
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use bytes::Bytes;

/// The path of the method.
pub(crate) const METHOD: &str = "/grpc.health.v1.Health/Check";

/// The response's status that means well.
const SERVING: u8 = 1;

/// Writes a `HealthCheckRequest` for a service, framed: no compression, the length, the message.
pub(crate) fn request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        // Field 1, a string.
        message.push(0x0a);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, &message].concat().into()
}

/// Tells whether a framed `HealthCheckResponse` says that the service is well; `None` for anything
/// else.
pub(crate) fn is_serving(body: &[u8]) -> Option<bool> {
    match body {
        [0, 0, 0, 0, 0] => Some(false),
        // Field 1, a number.
        [0, 0, 0, 0, 2, 0x08, status] => Some(*status == SERVING),
        _ => None,
    }
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_that_protoc_would_write() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("api")[..], *b"\0\0\0\0\x05\x0a\x03api");
        assert_eq!(request(&"x".repeat(300))[5..8], [0x0a, 0xac, 0x02]);
        assert_eq!(is_serving(b"\0\0\0\0\x02\x08\x01"), Some(true));
        assert_eq!(is_serving(b"\0\0\0\0\x02\x08\x02"), Some(false), "NOT_SERVING");
        assert_eq!(is_serving(b"\0\0\0\0\0"), Some(false), "UNKNOWN is the default");
        assert_eq!(is_serving(b"ok"), None);
    }
}
