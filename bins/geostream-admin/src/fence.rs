//! Rules of a geofence, as `--geofence` takes them.

use std::str::FromStr;

use geostream_api::FenceRule;

/// What a `--geofence` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The service has no geofence.
    None,
    /// A rule of it.
    Rule(FenceRule),
}

/// What a rule may say, for errors.
const EXPECTED: &str = "expected are, separated by spaces, countries=DE,FR groups=EU continents=EU \
                        unknown (which clients; without, all) and allow=LABEL=VALUE or \
                        deny=LABEL=VALUE (of regions), or none";

impl FromStr for Fence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let mut rule = FenceRule::default();
        for word in text.split_whitespace() {
            if word == "unknown" {
                rule.clients.unknown = true;
                continue;
            }
            let (name, values) = word.split_once('=').unwrap_or((word, ""));
            let list = match name {
                "countries" => &mut rule.clients.countries,
                "groups" => &mut rule.clients.groups,
                "continents" => &mut rule.clients.continents,
                "allow" => &mut rule.allow,
                "deny" => &mut rule.deny,
                _ => return Err(format!("{word:?} is not known; {EXPECTED}")),
            };
            if values.is_empty() {
                return Err(format!("{name} has no value; {EXPECTED}"));
            }
            list.extend(values.split(',').map(str::to_owned));
        }
        if rule.allow.is_empty() && rule.deny.is_empty() {
            return Err(format!("neither allow= nor deny= is said; {EXPECTED}"));
        }
        Ok(Self::Rule(rule))
    }
}

/// Changes the geofence of a service as is wanted of it: nothing said leaves it as it is, and rules
/// replace all that it has.
pub(crate) fn apply(wanted: &[Fence], fence: &mut Vec<FenceRule>) -> Result<(), String> {
    if wanted.is_empty() {
        return Ok(());
    }
    let rules = wanted.iter().filter_map(|one| match one {
        Fence::None => None,
        Fence::Rule(rule) => Some(rule.clone()),
    });
    let rules: Vec<_> = rules.collect();
    if !rules.is_empty() && rules.len() < wanted.len() {
        return Err("--geofence none takes all rules away; say either none or rules".to_owned());
    }
    *fence = rules;
    Ok(())
}

#[cfg(test)]
mod tests {
    use geostream_api::Clients;

    use super::*;

    fn rule(text: &str) -> FenceRule {
        match text.parse().unwrap() {
            Fence::Rule(rule) => rule,
            Fence::None => panic!("{text} is a rule"),
        }
    }

    #[test]
    fn a_rule_names_clients_and_labels_of_regions() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let whole = "countries=DE,FR groups=EU continents=EU unknown allow=continent=EU,tier \
                     deny=provider=aws";
        let expected = FenceRule {
            clients: Clients {
                countries: texts(&["DE", "FR"]),
                groups: texts(&["EU"]),
                continents: texts(&["EU"]),
                unknown: true,
            },
            allow: texts(&["continent=EU", "tier"]),
            deny: texts(&["provider=aws"]),
        };
        assert_eq!(rule(whole), expected);
        assert_eq!(rule("allow=*").clients, Clients::default(), "all clients");
        for (bad, expected) in [
            ("", "neither allow= nor deny="),
            ("groups=EU", "neither allow= nor deny="),
            ("EU", "\"EU\" is not known"),
            ("country=DE allow=*", "\"country=DE\" is not known"),
            ("countries= allow=*", "countries has no value"),
        ] {
            let error = bad.parse::<Fence>().unwrap_err();
            assert!(error.contains(expected) && error.contains("countries=DE"), "{error}");
        }
    }

    #[test]
    fn rules_replace_a_geofence_and_none_takes_it_away() {
        let old = vec![rule("allow=a")];
        let after = |wanted: &[&str]| {
            let wanted: Vec<Fence> = wanted.iter().map(|text| text.parse().unwrap()).collect();
            let mut fence = old.clone();
            apply(&wanted, &mut fence).map(|()| fence)
        };
        assert_eq!(after(&[]), Ok(old.clone()));
        assert_eq!(after(&["allow=b", "deny=c"]), Ok(vec![rule("allow=b"), rule("deny=c")]));
        assert_eq!(after(&["none"]), Ok(Vec::new()));
        assert!(after(&["none", "allow=b"]).is_err());
    }
}
