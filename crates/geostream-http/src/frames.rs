//! HTTP/2 frames as they pass by: what a client has to pay for, and what it has received.
//!
//! h2 handles frames that ask for nothing, such as PRIORITY or `WINDOW_UPDATE`, as fast as they
//! arrive. Each costs the server a multiple of what it costs the client, so a connection has a
//! budget of them. Requests, delivered answer bytes and time replenish it. The headers of frames
//! are read beside h2, which exposes neither a count of frames nor their types.

use std::time::Duration;

use thiserror::Error;

/// The length of a frame's header (RFC 9113, section 4.1).
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const FLAG_END_STREAM: u8 = 1;
const FLAG_ACK: u8 = 1;

/// A DATA frame below this size carries less than it costs to handle.
const SMALL_DATA: u32 = 256;

/// What a connection may spend before its first request, and the most it can save.
const FIRST_CREDIT: u32 = 1_000;
const MOST_CREDIT: u32 = 4_000;

/// What a request brings: some `WINDOW_UPDATE`, PING and `RST_STREAM` frames belong to each.
const CREDIT_PER_REQUEST: u32 = 10;

/// How many delivered answer bytes bring one: a client sends two `WINDOW_UPDATE` frames for a DATA
/// frame, which may be small where the client's window is.
const BYTES_PER_CREDIT: u32 = 256;

/// What time brings: a keep-alive PING now and then is no abuse on a connection that only listens.
const CREDIT_PER_SECOND: u64 = 10;

/// The frame type GOAWAY, and why it is sent: `ENHANCE_YOUR_CALM` (RFC 9113, section 7).
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The client has spent more on control frames than its requests justify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client sends more control frames than its requests need")]
pub(crate) struct Exhausted;

/// The frames of one HTTP/2 connection, in both directions.
#[derive(Debug)]
pub(crate) struct Frames {
    received: Cursor,
    sent: Cursor,
    credit: u32,
    /// Delivered bytes that have not brought a whole credit yet.
    delivered: u32,
    /// The last stream that the client has begun.
    last_stream: u32,
    replenished_at: Duration,
}

impl Frames {
    /// Begins behind the client's preface, which is `skipped` bytes of what will be received.
    pub(crate) fn new(skipped: usize, now: Duration) -> Self {
        let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
        Self {
            received: Cursor { payload: skipped, ..Cursor::default() },
            sent: Cursor::default(),
            credit: FIRST_CREDIT,
            delivered: 0,
            last_stream: 0,
            replenished_at: now,
        }
    }

    /// Takes in what the client has sent, and returns what it costs to handle, in small frames.
    pub(crate) fn handle_received(
        &mut self,
        bytes: &[u8],
        now: Duration,
    ) -> Result<u32, Exhausted> {
        self.replenish(now);
        let Self { received, credit, last_stream, .. } = self;
        let mut price = 0_u32;
        let mut cost = 0_u32;
        received.take_in(bytes, |head| {
            let is_request = head.kind == HEADERS && head.stream > *last_stream;
            if is_request {
                *last_stream = head.stream;
                *credit = (*credit + CREDIT_PER_REQUEST).min(MOST_CREDIT);
            }
            let its_price = if is_request { 0 } else { head.price() };
            price = price.saturating_add(its_price);
            cost = cost.saturating_add(1 + its_price);
        });
        match self.credit.checked_sub(price) {
            Some(rest) => {
                self.credit = rest;
                Ok(cost)
            }
            None => Err(Exhausted),
        }
    }

    /// Takes in what has been written to the client, and tells whether answer bytes were among it.
    pub(crate) fn handle_sent(&mut self, bytes: &[u8]) -> bool {
        let mut data = 0_u32;
        self.sent.take_in(bytes, |head| {
            if head.kind == DATA {
                data = data.saturating_add(head.length);
            }
        });
        self.delivered = self.delivered.saturating_add(data);
        let earned = self.delivered / BYTES_PER_CREDIT;
        self.delivered %= BYTES_PER_CREDIT;
        self.credit = self.credit.saturating_add(earned).min(MOST_CREDIT);
        data > 0
    }

    /// Returns the last frame of the connection, if it can be written without cutting another one.
    pub(crate) fn goaway(&self) -> Option<[u8; HEADER + 8]> {
        if !self.sent.is_between_frames() {
            return None;
        }
        let mut frame = [0; HEADER + 8];
        frame[2] = 8;
        frame[3] = GOAWAY;
        frame[HEADER..HEADER + 4].copy_from_slice(&self.last_stream.to_be_bytes());
        frame[HEADER + 4..].copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        Some(frame)
    }

    fn replenish(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.replenished_at).as_secs();
        if passed > 0 {
            self.replenished_at = now;
            let earned = u32::try_from(passed * CREDIT_PER_SECOND).unwrap_or(MOST_CREDIT);
            self.credit = self.credit.saturating_add(earned).min(MOST_CREDIT);
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct Head {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn read(bytes: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, s, t, u, v] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
        }
    }

    /// Returns what the client pays for a frame that begins no request, by what it costs the server.
    ///
    /// h2 passes over the frames of a stream that it has reset, so the end of a stream and headers that
    /// follow others are not free: a client can repeat both for as long as h2 remembers the stream.
    fn price(self) -> u32 {
        let ends_stream = self.flags & FLAG_END_STREAM != 0;
        match self.kind {
            DATA if self.length >= SMALL_DATA => 0,
            DATA if self.length == 0 && !ends_stream => 4,
            SETTINGS if self.flags & FLAG_ACK != 0 => 1,
            // A new initial window is applied to every stream.
            SETTINGS => 20,
            PING => 2,
            // Trailers, or headers of a stream that was reset.
            HEADERS | CONTINUATION => 4,
            // Small DATA, the end of a stream, PRIORITY, RST_STREAM, WINDOW_UPDATE, and types that are not known.
            _ => 1,
        }
    }
}

/// Where in a frame a direction is.
#[derive(Debug, Default)]
struct Cursor {
    head: [u8; HEADER],
    /// How much of the header has passed.
    have: usize,
    /// How much of the payload is still to pass.
    payload: u32,
}

impl Cursor {
    /// Passes bytes, and shows the header of each frame that begins in them.
    fn take_in(&mut self, mut bytes: &[u8], mut see: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.payload as usize);
            // It is at most `payload`.
            self.payload -= u32::try_from(skipped).unwrap_or(self.payload);
            bytes = &bytes[skipped..];
            let wanted = bytes.len().min(HEADER - self.have);
            self.head[self.have..self.have + wanted].copy_from_slice(&bytes[..wanted]);
            self.have += wanted;
            bytes = &bytes[wanted..];
            if self.have == HEADER {
                let head = Head::read(self.head);
                self.have = 0;
                self.payload = head.length;
                see(head);
            }
        }
    }

    fn is_between_frames(&self) -> bool {
        self.have == 0 && self.payload == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Returns how many frames of a kind a connection gets through without any request.
    fn passed(frame: &[u8]) -> usize {
        let mut frames = Frames::new(0, NOW);
        (0..10_000).take_while(|_| frames.handle_received(frame, NOW).is_ok()).count()
    }

    #[test]
    fn frames_that_ask_for_nothing_come_to_an_end() {
        for (kind, flags, payload, expected) in [
            (2, 0, &[0; 5][..], 1_000),
            (SETTINGS, 0, &[0; 6], 50),
            (SETTINGS, FLAG_ACK, &[], 1_000),
            (PING, 0, &[0; 8], 500),
            (8, 0, &[0; 4], 1_000),
            (3, 0, &[0; 4], 1_000),
            (DATA, 0, &[], 250),
            (DATA, 0, b"x", 1_000),
            (CONTINUATION, 0, &[], 250),
            (DATA, FLAG_END_STREAM, &[], 1_000),
            (0xfa, 0, &[0; 3], 1_000),
        ] {
            assert_eq!(passed(&frame(kind, flags, 1, payload)), expected, "type {kind}");
        }
    }

    #[test]
    fn headers_are_free_where_they_begin_a_request_and_not_again() {
        let mut frames = Frames::new(0, NOW);
        let headers = frame(HEADERS, 4, 1, &[0x82]);
        let passed = (0..10_000).take_while(|_| frames.handle_received(&headers, NOW).is_ok());
        assert_eq!(passed.count(), 1 + (FIRST_CREDIT + CREDIT_PER_REQUEST) as usize / 4);
    }

    #[test]
    fn what_carries_a_request_is_free() {
        assert_eq!(passed(&frame(DATA, 0, 1, &[0; 300])), 10_000);
        let mut frames = Frames::new(0, NOW);
        for stream in 0..10_000 {
            let begin = frame(HEADERS, 4, 2 * stream + 1, &[0x82]);
            let end = frame(DATA, FLAG_END_STREAM, 2 * stream + 1, b"{}");
            let request = [begin, end].concat();
            assert!(frames.handle_received(&request, NOW).is_ok(), "stream {stream}");
        }
    }

    #[test]
    fn each_request_brings_the_frames_that_belong_to_it() {
        let mut frames = Frames::new(0, NOW);
        for stream in 0..10_000 {
            let mut bytes = frame(HEADERS, 5, 2 * stream + 1, &[0x82]);
            for _update in 0..8 {
                bytes.extend(frame(8, 0, 0, &[0; 4]));
            }
            bytes.extend(frame(PING, 0, 0, &[0; 8]));
            assert!(frames.handle_received(&bytes, NOW).is_ok(), "stream {stream}");
        }
        // Headers on a stream that has begun already, as trailers, bring nothing.
        let trailers = frame(HEADERS, 5, 1, &[0x82]);
        let update = frame(8, 0, 0, &[0; 4]);
        let both = [trailers, update].concat();
        assert!((0..MOST_CREDIT).any(|_| frames.handle_received(&both, NOW).is_err()));
    }

    #[test]
    fn delivered_bytes_and_time_bring_credit() {
        let update = frame(8, 0, 0, &[0; 4]);
        let mut frames = Frames::new(0, NOW);
        while frames.handle_received(&update, NOW).is_ok() {}
        assert!(frames.handle_sent(&frame(DATA, 0, 1, &[0; 512])));
        assert!(frames.handle_received(&update, NOW).is_ok());
        assert!(frames.handle_received(&update, NOW).is_ok());
        assert_eq!(frames.handle_received(&update, NOW), Err(Exhausted));
        assert!(!frames.handle_sent(&frame(SETTINGS, FLAG_ACK, 0, &[])));
        assert_eq!(frames.handle_received(&update, NOW), Err(Exhausted));
        assert!(frames.handle_received(&update, NOW + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let preface = [b'x'; 24];
        let bytes = [&preface[..], &frame(PING, 0, 0, &[0; 8]), &frame(8, 0, 0, &[0; 4])].concat();
        for piece in 1..bytes.len() {
            let mut frames = Frames::new(preface.len(), NOW);
            for part in bytes.chunks(piece) {
                frames.handle_received(part, NOW).unwrap();
            }
            assert_eq!(frames.credit, FIRST_CREDIT - 3, "pieces of {piece}");
        }
    }

    #[test]
    fn a_farewell_cuts_no_frame() {
        let mut frames = Frames::new(0, NOW);
        frames.handle_received(&frame(HEADERS, 5, 7, &[0x82]), NOW).unwrap();
        let farewell = frames.goaway().unwrap();
        assert_eq!(farewell, *frame(GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11]));
        let answer = frame(DATA, 0, 7, b"half");
        frames.handle_sent(&answer[..answer.len() - 1]);
        assert_eq!(frames.goaway(), None);
        frames.handle_sent(&answer[answer.len() - 1..]);
        assert!(frames.goaway().is_some());
    }
}
