//! Writing JSON by hand, for the one document that is written for every client.
//!
//! `serde_json` looks at every byte of every name and text for something to escape, which costs more
//! than the decision. Here names are the program's own, and texts are those that the domain has
//! proved to be plain.

use std::io::Write as _;
use std::net::IpAddr;

use geostream_ports::Network;
use serde::Serialize;

/// Writes a field's name as a [`Key`].
macro_rules! key {
    ($name:literal) => {
        $crate::json::Key(concat!(",\"", $name, "\":"))
    };
}
pub(crate) use key;

/// A field's name as it is written, behind the comma that parts it from the field before.
#[derive(Clone, Copy)]
pub(crate) struct Key(#[doc(hidden)] pub(crate) &'static str);

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        // The first field's comma stands where the brace belongs.
        match self.out.get_mut(self.start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }

    /// Writes a text that needs no escaping: printable ASCII without quotes and backslashes.
    #[inline(always)]
    pub(crate) fn plain(&mut self, key: Key, text: &str) {
        debug_assert!(is_plain(text), "{text:?}");
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }

    /// Writes such a text, or `null`.
    #[inline(always)]
    pub(crate) fn plain_or_null(&mut self, key: Key, text: Option<&str>) {
        match text {
            Some(text) => self.plain(key, text),
            None => self.null(key),
        }
    }

    /// Writes an address, or `null`.
    pub(crate) fn address_or_null(&mut self, key: Key, address: Option<IpAddr>) {
        let Some(address) = address else { return self.null(key) };
        let out = self.key(key);
        out.push(b'"');
        write_address(out, address);
        out.push(b'"');
    }

    /// Writes a network, or `null`.
    pub(crate) fn network_or_null(&mut self, key: Key, network: Option<Network>) {
        let Some(Network { address, prefix }) = network else { return self.null(key) };
        let out = self.key(key);
        out.push(b'"');
        write_address(out, address);
        out.push(b'/');
        write_whole(out, prefix.into());
        out.push(b'"');
    }

    /// Writes fields that an object has written before.
    pub(crate) fn written(&mut self, fields: &[u8]) -> &mut Vec<u8> {
        self.out.extend_from_slice(fields);
        self.out
    }

    /// Writes a whole number.
    pub(crate) fn whole(&mut self, key: Key, number: u64) {
        write_whole(self.key(key), number);
    }

    /// Writes a number with at most `D` decimals, or `null`.
    pub(crate) fn decimal_or_null<const D: u32>(&mut self, key: Key, number: Option<f64>) {
        match number {
            Some(number) => write_decimal::<D>(self.key(key), number),
            None => self.null(key),
        }
    }

    /// Writes what serde knows to write.
    pub(crate) fn document(&mut self, key: Key, document: &impl Serialize) {
        write_document(self.key(key), document);
    }

    /// Writes an array, whose items are written by the caller.
    pub(crate) fn array<T>(
        &mut self,
        key: Key,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        let out = self.key(key);
        out.push(b'[');
        for (number, item) in items.into_iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
    }

    /// Begins an object within this one.
    pub(crate) fn object(&mut self, key: Key) -> Object<'_> {
        Object::begin(self.key(key))
    }

    /// Writes `null`.
    pub(crate) fn null(&mut self, key: Key) {
        self.key(key).extend_from_slice(b"null");
    }

    /// Writes a field's name, for a value that comes behind it.
    ///
    /// Where this is inlined, the name's length is known, and copying it takes a move or two.
    #[inline(always)]
    pub(crate) fn key(&mut self, Key(written): Key) -> &mut Vec<u8> {
        self.out.extend_from_slice(written.as_bytes());
        self.out
    }
}

/// Writes a document of the API's vocabulary, as serde does.
pub(crate) fn write_document(out: &mut Vec<u8>, document: &impl Serialize) {
    // Writing to memory cannot fail, nor can names that are texts and numbers that are finite.
    let _written = serde_json::to_writer(out, document);
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\')
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mut text = [0; 16];
            let mut length = 0;
            for octet in address.octets() {
                let (written, bytes) = OCTETS[usize::from(octet)];
                text[length..length + 4].copy_from_slice(&written);
                length += bytes;
            }
            out.extend_from_slice(&text[..length - 1]);
        }
        IpAddr::V6(address) => {
            // Writing to memory cannot fail.
            let _written = write!(out, "{address}");
        }
    }
}

/// Each octet as it is written with a dot behind it, and how many bytes that takes.
static OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut octet = 0_u8;
    loop {
        let (hundreds, tens, ones) =
            (b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10);
        octets[octet as usize] = match octet {
            0..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            100.. => ([hundreds, tens, ones, b'.'], 4),
        };
        if octet == u8::MAX {
            break octets;
        }
        octet += 1;
    }
};

fn write_whole(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a number that is rounded to `D` decimals.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "what is written here is at most 180 degrees"
)]
fn write_decimal<const D: u32>(out: &mut Vec<u8>, number: f64) {
    let scaled = (number.abs() * const { 10_u64.pow(D) } as f64 + 0.5) as u64;
    if number < 0.0 && scaled > 0 {
        out.push(b'-');
    }
    write_scaled::<D>(out, scaled);
}

/// Writes a number that is given in units of its last decimal, of which there are `D`; zeros at the
/// end are left out but for one.
#[expect(clippy::cast_possible_truncation, reason = "a digit is less than 10")]
pub(crate) fn write_scaled<const D: u32>(out: &mut Vec<u8>, scaled: u64) {
    let mut scale = const { 10_u64.pow(D) };
    write_whole(out, scaled / scale);
    out.push(b'.');
    let mut rest = scaled % scale;
    for place in 0..D {
        if place > 0 && rest == 0 {
            break;
        }
        scale /= 10;
        out.push(b'0' + (rest / scale) as u8);
        rest %= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_json_reads_them() {
        fn check<const D: u32>(number: f64, expected: &str) {
            let mut out = Vec::new();
            write_decimal::<D>(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        check::<1>(0.0, "0.0");
        check::<1>(24.74, "24.7");
        check::<1>(142.0, "142.0");
        check::<1>(9.96, "10.0");
        check::<4>(-122.085, "-122.085");
        check::<4>(37.42249, "37.4225");
        check::<4>(-0.00001, "0.0");
        check::<4>(0.0301, "0.0301");
        let mut out = Vec::new();
        write_whole(&mut out, u64::MAX);
        assert_eq!(String::from_utf8(out).unwrap(), u64::MAX.to_string());
    }

    #[test]
    fn objects_nest() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.plain(key!("a"), "x");
        object.plain_or_null(key!("b"), None);
        object.array(key!("c"), [1, 2], write_whole);
        object.document(key!("f"), &["\n"]);
        object.object(key!("d")).end();
        let network = "203.0.113.0".parse().map(|address| Network { address, prefix: 24 });
        object.address_or_null(key!("e"), "2001:db8::1".parse().ok());
        object.address_or_null(key!("h"), "255.10.9.100".parse().ok());
        object.network_or_null(key!("g"), network.ok());
        object.end();
        let expected = concat!(
            r#"{"a":"x","b":null,"c":[1,2],"f":["\n"],"d":{},"#,
            r#""e":"2001:db8::1","h":"255.10.9.100","g":"203.0.113.0/24"}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
