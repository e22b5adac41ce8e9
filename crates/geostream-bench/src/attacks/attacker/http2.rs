//! HTTP/2 frames by hand (RFC 9113), since no client library sends what an attacker does.

/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames that are used here (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
}

pub(super) const NO_FLAGS: u8 = 0;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Streams of clients have odd numbers; this is the first.
pub(super) const FIRST_STREAM: u32 = 1;

/// The "stream" of frames that concern the connection.
pub(super) const CONNECTION: u32 = 0;

const HEADER_BYTES: usize = 9;

pub(super) fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind as u8, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Returns settings that make the window of each new stream so large.
pub(super) fn initial_window(bytes: u32) -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut payload = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    payload.extend_from_slice(&bytes.to_be_bytes());
    frame(Kind::Settings, NO_FLAGS, CONNECTION, &payload)
}

/// Returns how a connection begins whose streams have a window of so many bytes.
pub(super) fn beginning(window: u32) -> Vec<u8> {
    let acknowledged = frame(Kind::Settings, ACK, CONNECTION, &[]);
    [PREFACE, &initial_window(window), &acknowledged].concat()
}

/// Returns the head of a request; a body follows unless the stream ends with it.
pub(super) fn request(stream: u32, method: &str, path: &str, flags: u8) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/json"),
    ];
    let block: Vec<u8> = fields.into_iter().flat_map(|(name, value)| field(name, value)).collect();
    frame(Kind::Headers, END_HEADERS | flags, stream, &block)
}

/// Writes a header field that needs no table: a literal that is not indexed, with a new name
/// (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        // Longer texts would have their length in several bytes.
        debug_assert!(text.len() < 127, "{text} is short");
        field.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        field.extend_from_slice(text.as_bytes());
    }
    field
}

/// What frames that have come say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// How much more the connection may send.
    pub(super) window: i64,
    /// The server is about to close the connection.
    pub(super) is_over: bool,
}

/// Takes all complete frames out of what has come.
pub(super) fn take_frames(bytes: &mut Vec<u8>) -> Received {
    let mut received = Received::default();
    let mut rest = &bytes[..];
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let &[high, middle, low, kind, _flags, stream @ ..] = header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let Some((payload, behind)) = behind.split_at_checked(length) else { break };
        if kind == Kind::GoAway as u8 {
            received.is_over = true;
        }
        if kind == Kind::WindowUpdate as u8
            && u32::from_be_bytes(stream) == CONNECTION
            && let Some(&increment) = payload.first_chunk()
        {
            received.window += i64::from(u32::from_be_bytes(increment));
        }
        rest = behind;
    }
    *bytes = rest.to_vec();
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_type_flags_and_stream_in_front() {
        let ping = frame(Kind::Ping, ACK, CONNECTION, b"12345678");
        assert_eq!(ping, b"\0\0\x08\x06\x01\0\0\0\x0012345678");
        let window = initial_window(0x0001_0002);
        assert_eq!(window, b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\x01\0\x02");
    }

    #[test]
    fn a_field_is_literal() {
        assert_eq!(field(":method", "GET"), b"\0\x07:method\x03GET");
    }

    #[test]
    fn frames_count_when_all_of_them_is_there() {
        let update =
            |stream, bytes: u32| frame(Kind::WindowUpdate, NO_FLAGS, stream, &bytes.to_be_bytes());
        let goodbye = frame(Kind::GoAway, NO_FLAGS, CONNECTION, &[0; 8]);
        let all =
            [update(CONNECTION, 70_000), update(1, 5), update(CONNECTION, 1), goodbye].concat();
        let mut begun = Vec::new();
        let mut received = Received::default();
        for byte in all {
            begun.push(byte);
            let Received { window, is_over } = take_frames(&mut begun);
            received.window += window;
            received.is_over |= is_over;
        }
        assert_eq!(received, Received { window: 70_001, is_over: true });
        assert!(begun.is_empty());
    }
}
