//! Status codes as people write them: a number, a text, or a list of both.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Reads any of these forms as one text, such as `200-299,401`; its parts are parsed later.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<Codes>::deserialize(deserializer)?;
    Ok(text.map(|Codes(text)| text))
}

/// The whole value.
struct Codes(String);

/// A part of a list.
struct Part(String);

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodesVisitor).map(Self)
    }
}

struct CodesVisitor;

impl<'de> Visitor<'de> for CodesVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"status codes: 200, "200-299,401" or [200, "300-399"]"#)
    }

    fn visit_u64<E: Error>(self, code: u64) -> Result<String, E> {
        Ok(code.to_string())
    }

    fn visit_i64<E: Error>(self, code: i64) -> Result<String, E> {
        Ok(code.to_string())
    }

    /// JSON has one kind of number: 204.0 is 204, and 204.5 is refused as a text.
    fn visit_f64<E: Error>(self, code: f64) -> Result<String, E> {
        Ok(code.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<String, A::Error> {
        let mut text = String::new();
        while let Some(Part(part)) = parts.next_element()? {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&part);
        }
        Ok(text)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor).map(Self)
    }
}

struct PartVisitor;

impl Visitor<'_> for PartVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a status code or a range: 200 or "300-399""#)
    }

    fn visit_u64<E: Error>(self, code: u64) -> Result<String, E> {
        Ok(code.to_string())
    }

    fn visit_i64<E: Error>(self, code: i64) -> Result<String, E> {
        Ok(code.to_string())
    }

    /// JSON has one kind of number: 204.0 is 204, and 204.5 is refused as a text.
    fn visit_f64<E: Error>(self, code: f64) -> Result<String, E> {
        Ok(code.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use crate::Check;

    #[test]
    fn status_codes_are_read_from_a_number_a_text_and_a_list() {
        for (document, expected) in [
            ("{}", None),
            ("status = 204", Some("204")),
            ("status = '200-399'", Some("200-399")),
            ("status = '200-299,401'", Some("200-299,401")),
            ("status = [200, 204, '300-399']", Some("200,204,300-399")),
            ("status = []", Some("")),
            ("status = 204.0", Some("204")),
            ("status = [204.0, 204.5]", Some("204,204.5")),
        ] {
            let check: Check = toml::from_str(document.trim_matches(['{', '}'])).unwrap();
            assert_eq!(check.status.as_deref(), expected, "{document}");
        }
        let null: Check = serde_json::from_str(r#"{"status": null}"#).unwrap();
        assert_eq!(null.status, None);
        let wrong = serde_json::from_str::<Check>(r#"{"status": [[200]]}"#).unwrap_err();
        assert!(wrong.to_string().contains("a status code or a range"), "{wrong}");
    }
}
