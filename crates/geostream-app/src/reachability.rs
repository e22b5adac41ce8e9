//! Which addresses tell this node whether it has a network.

use std::net::SocketAddr;

use geostream_domain::{InForce, PermittedNetworks, Settings};

/// The reachability targets of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachability {
    /// Those that are set.
    pub targets: InForce<Vec<SocketAddr>>,
    /// Those of them that the node may not probe. They are left out: one that is never asked would
    /// keep every dead region in service.
    pub forbidden: Vec<SocketAddr>,
}

impl Reachability {
    /// Returns what the configuration says, or else the node's own targets.
    pub(crate) fn of(
        settings: &Settings,
        own: &[SocketAddr],
        networks: &PermittedNetworks,
    ) -> Self {
        let configured = settings.reachability_targets.as_ref();
        let configured = configured.map(|targets| targets.iter().collect());
        let targets = InForce::of(configured, own.to_vec());
        let forbidden = targets.value.iter().filter(|target| !networks.permits(target.ip()));
        let forbidden = forbidden.copied().collect();
        Self { targets, forbidden }
    }

    /// Returns the targets that the node asks.
    pub(crate) fn asked(&self) -> impl Iterator<Item = SocketAddr> {
        self.targets.value.iter().copied().filter(|target| !self.forbidden.contains(target))
    }

    /// Logs what is in force, and what of it is left out.
    pub(crate) fn log(&self) {
        let source = self.targets.source.as_str();
        tracing::info!(targets = ?self.targets.value, source, "reachability targets in force");
        if !self.forbidden.is_empty() {
            tracing::warn!(
                targets = ?self.forbidden,
                "reachability targets are not public addresses; this server does not probe them \
                 until probe.networks in its settings permits them"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geostream_domain::{ReachabilityTargets, SettingSource};

    #[test]
    fn the_configuration_goes_over_the_node_and_what_may_not_be_probed_is_left_out() {
        use SettingSource as S;
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let own = [address("9.9.9.9:53")];
        let networks = PermittedNetworks::new([("10.1.0.0".parse().unwrap(), 16)]);
        for (configured, asked, forbidden, source) in [
            (None, vec!["9.9.9.9:53"], vec![], S::Node),
            (Some(vec![]), vec![], vec![], S::Configuration),
            (Some(vec!["10.1.2.3:1"]), vec!["10.1.2.3:1"], vec![], S::Configuration),
            (
                Some(vec!["8.8.8.8:53", "10.2.2.3:1"]),
                vec!["8.8.8.8:53"],
                vec!["10.2.2.3:1"],
                S::Configuration,
            ),
            (Some(vec!["10.2.2.3:1"]), vec![], vec!["10.2.2.3:1"], S::Configuration),
        ] {
            let targets = configured.as_ref().map(|targets: &Vec<&str>| {
                ReachabilityTargets::new(targets.iter().map(|text| address(text))).unwrap()
            });
            let settings = Settings { reachability_targets: targets, ..Settings::default() };
            let found = Reachability::of(&settings, &own, &networks);
            let all = |texts: &[&str]| texts.iter().map(|text| address(text)).collect::<Vec<_>>();
            assert_eq!(found.asked().collect::<Vec<_>>(), all(&asked), "{configured:?}");
            assert_eq!(found.forbidden, all(&forbidden), "{configured:?}");
            assert_eq!(found.targets.source, source, "{configured:?}");
        }
    }
}
