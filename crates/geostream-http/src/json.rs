//! Writing JSON by hand, for the one document that is written for every client.
//!
//! `serde_json` looks at every byte of every name and text for something to escape, which costs more
//! than the decision. Here names are the program's own, and texts are those that the domain has
//! proved to be plain.

use std::io::Write as _;

use serde::Serialize;

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    /// Writes a text that needs no escaping: printable ASCII without quotes and backslashes.
    pub(crate) fn plain(&mut self, name: &'static str, text: &str) {
        debug_assert!(is_plain(text), "{text:?}");
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }

    /// Writes such a text, or `null`.
    pub(crate) fn plain_or_null(&mut self, name: &'static str, text: Option<&str>) {
        match text {
            Some(text) => self.plain(name, text),
            None => self.null(name),
        }
    }

    /// Writes something whose text needs no escaping, or `null`.
    pub(crate) fn shown_or_null(
        &mut self,
        name: &'static str,
        value: Option<impl std::fmt::Display>,
    ) {
        let Some(value) = value else { return self.null(name) };
        let out = self.name(name);
        // Writing to memory cannot fail.
        let _written = write!(out, "\"{value}\"");
    }

    /// Writes a whole number.
    pub(crate) fn whole(&mut self, name: &'static str, number: u64) {
        write_whole(self.name(name), number);
    }

    /// Writes a number with at most so many decimals, or `null`.
    pub(crate) fn decimal_or_null(
        &mut self,
        name: &'static str,
        number: Option<f64>,
        decimals: u32,
    ) {
        match number {
            Some(number) => write_decimal(self.name(name), number, decimals),
            None => self.null(name),
        }
    }

    /// Writes what serde knows to write.
    pub(crate) fn document(&mut self, name: &'static str, document: &impl Serialize) {
        write_document(self.name(name), document);
    }

    /// Writes an array, whose items are written by the caller.
    pub(crate) fn array<T>(
        &mut self,
        name: &'static str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Vec<u8>, T),
    ) {
        let out = self.name(name);
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
    pub(crate) fn object(&mut self, name: &'static str) -> Object<'_> {
        Object::begin(self.name(name))
    }

    /// Writes `null`.
    pub(crate) fn null(&mut self, name: &'static str) {
        self.name(name).extend_from_slice(b"null");
    }

    fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
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

fn write_whole(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a number that is rounded to so many decimals, without zeros at its end but for one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is written here is at most an hour in milliseconds"
)]
fn write_decimal(out: &mut Vec<u8>, number: f64, decimals: u32) {
    let scale = 10_u64.pow(decimals);
    let scaled = (number.abs() * 10_f64.powi(decimals.cast_signed()) + 0.5) as u64;
    if number < 0.0 && scaled > 0 {
        out.push(b'-');
    }
    write_whole(out, scaled / scale);
    out.push(b'.');
    let (mut rest, mut unit) = (scaled % scale, scale / 10);
    loop {
        out.push(b'0' + u8::try_from(rest / unit).unwrap_or_default());
        rest %= unit;
        unit /= 10;
        if rest == 0 || unit == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_json_reads_them() {
        for (number, decimals, written) in [
            (0.0, 1, "0.0"),
            (24.74, 1, "24.7"),
            (142.0, 1, "142.0"),
            (9.96, 1, "10.0"),
            (-122.085, 4, "-122.085"),
            (37.42249, 4, "37.4225"),
            (-0.00001, 4, "0.0"),
            (0.0301, 4, "0.0301"),
        ] {
            let mut out = Vec::new();
            write_decimal(&mut out, number, decimals);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
        let mut out = Vec::new();
        write_whole(&mut out, u64::MAX);
        assert_eq!(String::from_utf8(out).unwrap(), u64::MAX.to_string());
    }

    #[test]
    fn objects_nest() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.plain("a", "x");
        object.plain_or_null("b", None);
        object.array("c", [1, 2], write_whole);
        object.document("f", &["\n"]);
        object.object("d").end();
        object.shown_or_null("e", Some(std::net::Ipv4Addr::LOCALHOST));
        object.end();
        let expected = r#"{"a":"x","b":null,"c":[1,2],"f":["\n"],"d":{},"e":"127.0.0.1"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
