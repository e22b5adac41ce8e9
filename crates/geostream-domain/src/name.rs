//! Names: short texts with a fixed alphabet.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A text that is no name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is missing: 1 to {max} characters are expected")]
    Empty {
        /// How many characters the name may have.
        max: usize,
    },
    /// The text is longer than the name may be.
    #[error("the name has {length} characters, of at most {max}")]
    TooLong {
        /// How many characters the text has.
        length: usize,
        /// How many characters the name may have.
        max: usize,
    },
    /// A character is not of the name's alphabet, or not at that place.
    #[error("{found:?} at position {position} is not allowed: {rule}")]
    Character {
        /// The character that was found.
        found: char,
        /// Its position, counted in bytes from 0.
        position: usize,
        /// The alphabet that is allowed.
        rule: &'static str,
    },
}

/// Defines a name: a cheap-to-clone text that is proof of its rule.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most characters that such a name may have.
            pub const MAX_LENGTH: usize = $max;

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check_length(text, Self::MAX_LENGTH)?;
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// A region's id, such as `us-west-2`: a DNS label in lower case.
    RegionId, 63, check_dns_label
}

name! {
    /// A service's id, such as `api`: a DNS label in lower case.
    ServiceId, 63, check_dns_label
}

name! {
    /// What a node is called among those that share what they see: a DNS label in lower case.
    NodeId, 63, check_dns_label
}

name! {
    /// A label's key, such as `residency`: letters, digits, `-`, `_`, `.` and `/`.
    LabelKey, 63, check_label
}

name! {
    /// A label's value, such as `eu`: letters, digits, `-`, `_`, `.` and `/`.
    LabelValue, 63, check_label
}

name! {
    /// A line of text for people: who, why, or what something is called.
    Line, 200, check_printable
}

/// A start's number in a [`NodeId`], with the `-` before it.
const START_LENGTH: usize = 17;

impl NodeId {
    /// Names one start of a node: the configured name, `-`, and a number in 16 hexadecimal digits.
    ///
    /// Nodes that are configured with the same name stay apart by their numbers, and so do a node
    /// and what its former start said last.
    ///
    /// # Errors
    ///
    /// If the configured name is no name, or leaves no room for the number.
    pub fn of_start(configured: &str, number: u64) -> Result<Self, NameError> {
        format!("{configured}-{number:016x}").parse()
    }

    /// Returns the configured name: all but the number of the start, where there is one.
    #[must_use]
    pub fn configured(&self) -> &str {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let Some(at) = self.as_str().len().checked_sub(START_LENGTH) else { return self.as_str() };
        match self.as_str().split_at(at) {
            (configured, number)
                if !configured.is_empty()
                    && number.starts_with('-')
                    && number.bytes().skip(1).all(|byte| is_digit(&byte)) =>
            {
                configured
            }
            _ => self.as_str(),
        }
    }

    /// Tells whether a name means this node: its configured name, or that of this start.
    #[must_use]
    pub fn is_called(&self, name: &Self) -> bool {
        self == name || self.configured() == name.as_str()
    }
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.chars().take(TOO_LONG).count() {
        0 => Err(NameError::Empty { max }),
        length if length > max => Err(NameError::TooLong { length, max }),
        _ => Ok(()),
    }
}

/// What is longer than this is not counted to its end.
const TOO_LONG: usize = 10_000;

fn check_dns_label(text: &str) -> Result<(), NameError> {
    let last = text.len() - 1;
    reject(text, "a to z, 0 to 9, and - inside", |at, c| match c {
        'a'..='z' | '0'..='9' => true,
        '-' => at != 0 && at != last,
        _ => false,
    })
}

fn check_label(text: &str) -> Result<(), NameError> {
    reject(text, "letters, digits, -, _, . and /", |_, c| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
    })
}

fn check_printable(text: &str) -> Result<(), NameError> {
    let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
    reject(text, "printable characters, without space at either end", |at, c| match c {
        ' ' => at != 0 && at != last,
        c => !c.is_control() && !c.is_whitespace(),
    })
}

/// Finds the first character that the rule does not allow.
fn reject(
    text: &str,
    rule: &'static str,
    allowed: impl Fn(usize, char) -> bool,
) -> Result<(), NameError> {
    match text.char_indices().find(|&(at, c)| !allowed(at, c)) {
        Some((position, found)) => Err(NameError::Character { found, position, rule }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_dns_labels() {
        for good in ["a", "us-west-2", "0", &"x".repeat(63)] {
            assert!(good.parse::<RegionId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "US", "a.b", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<RegionId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_names_the_character_and_its_place() {
        let error = "us_west".parse::<RegionId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "'_' at position 2 is not allowed: a to z, 0 to 9, and - inside"
        );
    }

    #[test]
    fn a_node_is_called_by_its_configured_name_and_by_that_of_its_start() {
        let name = |text: &str| text.parse::<NodeId>().unwrap();
        let node = NodeId::of_start("eu-1", 0xab).unwrap();
        assert_eq!(node.as_str(), "eu-1-00000000000000ab");
        assert_eq!(node.configured(), "eu-1");
        for (called, expected) in [
            ("eu-1", true),
            ("eu-1-00000000000000ab", true),
            ("eu", false),
            ("eu-1-00000000000000ac", false),
            ("eu-12", false),
        ] {
            assert_eq!(node.is_called(&name(called)), expected, "{called}");
        }
        for whole in ["node-1", "0123456789abcdef", "n-0123456789abcdeg", "n-0123456789abcde"] {
            assert_eq!(name(whole).configured(), whole);
        }
        assert!(NodeId::of_start(&"x".repeat(47), 1).is_err(), "there is no room");
    }

    #[test]
    fn lines_are_printable_and_trimmed() {
        assert!("Québec, née 東京".parse::<Line>().is_ok());
        for bad in [" a", "a ", "a\tb", "a\u{0}", "a\u{2028}b"] {
            assert!(bad.parse::<Line>().is_err(), "{bad:?}");
        }
    }
}
