//! The values of checks' header fields, which may be secrets and which answers do not show.
//!
//! A value is written, kept and sent to the region, and never read back: what an answer shows in its
//! place stands for the kept value when the document is written again, so that reading a region,
//! changing it and writing it keeps its secrets. A check that asks another server keeps none:
//! otherwise a token that may write a region could have its secrets sent to a server of choice.

use geostream_domain as domain;

use crate::config::{Change, Check, Config, Region};
use crate::log::{Commit, Snapshot};

/// How the text begins that stands for a value.
const MARK: &str = "[redacted";

/// What a difference shows for a value that was another before.
const CHANGED: &str = "[redacted, changed]";

impl Check {
    /// What answers show for the value of a header field.
    pub const REDACTED: &str = "[redacted]";

    /// Tells whether a text stands for a value that is not shown.
    pub(crate) fn is_redacted(value: &str) -> bool {
        value.starts_with(MARK)
    }

    fn has_redacted(&self) -> bool {
        self.headers.values().any(|value| Self::is_redacted(value))
    }

    /// Puts the values of this check in the place of those that are not shown.
    fn keep_headers_of(&mut self, kept: &domain::HealthCheck) {
        for (name, value) in &mut self.headers {
            let of_name = |(kept, _): &(&domain::ProbeHeaderName, _)| kept.as_str() == name;
            if Self::is_redacted(value)
                && let Some((_, kept)) = kept.request.headers.iter().find(of_name)
            {
                kept.reveal().clone_into(value);
            }
        }
    }
}

impl Region {
    /// Returns the document without the values of header fields.
    #[must_use]
    pub fn redacted(self) -> Self {
        self.redacted_since(None)
    }

    /// Does the same, and marks the values that are not those of the document before.
    pub(crate) fn redacted_since(mut self, before: Option<&Self>) -> Self {
        let before = before.and_then(|before| before.check.as_ref());
        for (name, value) in self.check.iter_mut().flat_map(|check| &mut check.headers) {
            let was = before.and_then(|before| before.headers.get(name));
            let is_changed = was.is_some_and(|was| was != value);
            (if is_changed { CHANGED } else { Check::REDACTED }).clone_into(value);
        }
        self
    }

    /// Tells whether a value of the document is not shown.
    #[must_use]
    pub fn has_redacted(&self) -> bool {
        self.check.as_ref().is_some_and(Check::has_redacted)
    }

    /// Puts the values that a region keeps in the place of those that the document does not show.
    ///
    /// Only where the check asks the same server as before, by the same name; the values that are
    /// left are refused when the document is read.
    pub fn keep_headers_of(&mut self, kept: &domain::Region) {
        let endpoint = self.endpoint.as_ref();
        let Some(check) = &mut self.check else { return };
        let Some(kept) = &kept.check else { return };
        let url = check.url.as_ref().or(endpoint).and_then(|url| url.parse().ok());
        let target = url.and_then(|url| domain::ProbeTarget::new(url).ok());
        let host = kept.request.host.as_ref().map(domain::ProbeHost::as_str);
        let is_same_server = target.is_some_and(|target| {
            target.protocol() == kept.target.protocol()
                && target.endpoint() == kept.target.endpoint()
                && check.host.as_deref() == host
        });
        if is_same_server {
            check.keep_headers_of(kept);
        }
    }
}

impl Config {
    /// Returns the document without the values of header fields.
    #[must_use]
    pub fn redacted(self) -> Self {
        let regions = self.regions.into_iter().map(|(id, region)| (id, region.redacted()));
        Self { regions: regions.collect(), ..self }
    }

    /// Tells whether a value of the document is not shown.
    #[must_use]
    pub fn has_redacted(&self) -> bool {
        self.regions.values().any(Region::has_redacted)
    }

    /// Puts the values that a configuration keeps in the place of those that the document does not
    /// show, as [`Region::keep_headers_of`].
    pub fn keep_headers_of(&mut self, kept: &domain::Config) {
        for (id, region) in &mut self.regions {
            if let Some(kept) = kept.regions().get(id.as_str()) {
                region.keep_headers_of(kept);
            }
        }
    }
}

impl Snapshot {
    /// Returns the document without the values of header fields.
    #[must_use]
    pub fn redacted(self) -> Self {
        Self { config: self.config.redacted(), ..self }
    }
}

impl Commit {
    /// Returns the document without the values of header fields.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        for change in &mut self.changes {
            if let Change::PutRegion { region, .. } = change {
                *region = region.clone().redacted();
            }
        }
        self
    }

    /// Tells whether a value of the document is not shown.
    #[must_use]
    pub fn has_redacted(&self) -> bool {
        let has_redacted = |change: &Change| matches!(change, Change::PutRegion { region, .. } if region.has_redacted());
        self.changes.iter().any(has_redacted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(check: &str) -> Region {
        let text = format!("latitude = 1\nlongitude = 2\nendpoint = 'https://a.example'\n{check}");
        toml::from_str(&text).unwrap()
    }

    const KEPT: &str =
        "check = { url = 'https://a.example/h', headers = { authorization = 's3cret' } }";

    #[test]
    fn a_value_that_is_not_shown_is_kept_where_the_check_asks_the_same_server() {
        let kept = region(KEPT).to_domain("a").unwrap();
        let shown = Region::from(&*kept).redacted();
        assert!(shown.has_redacted());
        assert!(!serde_json::to_string(&shown).unwrap().contains("s3cret"));
        let redacted = "headers = { authorization = '[redacted]' }";
        for (check, is_kept) in [
            ("url = 'https://a.example/h'", true),
            ("url = 'https://a.example/other', body = 'ok'", true),
            ("url = 'https://a.example:443/h'", true),
            ("fall = 3", true),
            ("url = 'https://b.example/h'", false),
            ("url = 'http://a.example/h'", false),
            ("url = 'http://a.example:443/h'", false),
            ("url = 'https://a.example:8443/h'", false),
            ("url = 'https://a.example/h', host = 'b.example'", false),
        ] {
            let mut written = region(&format!("check = {{ {check}, {redacted} }}"));
            written.keep_headers_of(&kept);
            assert_eq!(written.to_domain("a").is_ok(), is_kept, "{check}");
            assert_eq!(written.has_redacted(), !is_kept, "{check}");
        }
        let mut other =
            region(&KEPT.replace("authorization", "x-key").replace("s3cret", "[redacted]"));
        other.keep_headers_of(&kept);
        let error = other.to_domain("a").unwrap_err();
        assert!(
            error.to_string().starts_with("/check/headers/x-key: the value is redacted"),
            "{error}"
        );
    }

    #[test]
    fn a_difference_marks_a_value_that_is_another() {
        let config = |value: &str| {
            let region = region(&KEPT.replace("s3cret", value)).to_domain("a").unwrap();
            domain::Config::default().after([domain::Change::PutRegion(region)]).unwrap()
        };
        let difference = crate::Difference::between(&config("one"), &config("two")).remove(0);
        let value = |document: Option<serde_json::Value>| {
            document.unwrap()["check"]["headers"]["authorization"].clone()
        };
        assert_eq!(value(difference.before), "[redacted]");
        assert_eq!(value(difference.after), "[redacted, changed]");
    }

    #[test]
    fn an_error_does_not_show_a_value() {
        let wrong = region(&KEPT.replace("s3cret", "s3cret\\r\\nx: y").replace('\'', "\""));
        let error = wrong.to_domain("a").unwrap_err().to_string();
        assert!(error.starts_with("/check/headers/authorization: the value"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        let wrong = serde_json::from_str::<Check>(r#"{"headers": "s3cret"}"#).unwrap_err();
        assert!(wrong.to_string().starts_with("headers is a table"), "{wrong}");
    }
}
