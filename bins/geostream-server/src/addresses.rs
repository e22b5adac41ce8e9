//! The addresses that the server listens on, and that none of them is given twice.

use std::net::SocketAddr;

use anyhow::ensure;

/// The addresses that the server listens on.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// For clients.
    pub(crate) clients: SocketAddr,
    /// For control requests; `None` if these go to the clients' address.
    pub(crate) control: Option<SocketAddr>,
    /// For metrics; `None` if these are asked for at the other addresses.
    pub(crate) metrics: Option<SocketAddr>,
}

impl Addresses {
    /// Checks that no address is given twice; errors call settings as this function does.
    pub(crate) fn check(&self, name: impl Fn(&str) -> String) -> anyhow::Result<()> {
        let given = [
            Some(("listen", self.clients)),
            self.control.map(|address| ("control.listen", address)),
            self.metrics.map(|address| ("metrics.listen", address)),
        ];
        let given: Vec<_> = given.into_iter().flatten().collect();
        for (number, (setting, address)) in given.iter().enumerate() {
            for (other, taken) in &given[..number] {
                ensure!(
                    !overlap(*address, *taken),
                    "{} and {other} are both {address}: each needs an address of its own, or leave \
                     the former out",
                    name(setting)
                );
            }
        }
        Ok(())
    }
}

/// Tells whether one listener would be asked what is meant for the other. Port 0 is a free port
/// each.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = |address: SocketAddr| address.ip().is_unspecified();
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_ip = one.ip() == other.ip() || same_family && (is_any(one) || is_any(other));
    one.port() == other.port() && one.port() != 0 && same_ip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_once() {
        for (clients, control, metrics, error) in [
            ("127.0.0.1:1", None, None, None),
            ("127.0.0.1:1", Some("127.0.0.1:2"), Some("127.0.0.1:3"), None),
            ("127.0.0.1:0", Some("127.0.0.1:0"), Some("127.0.0.1:0"), None),
            ("0.0.0.0:1", Some("[::1]:1"), None, None),
            ("127.0.0.1:1", Some("127.0.0.1:1"), None, Some("control.listen and listen are both")),
            ("0.0.0.0:1", None, Some("127.0.0.1:1"), Some("metrics.listen and listen")),
            ("127.0.0.1:1", Some("[::]:2"), Some("[::1]:2"), Some("metrics.listen and control")),
        ] {
            let address = |text: &str| text.parse().unwrap();
            let clients = address(clients);
            let addresses =
                Addresses { clients, control: control.map(address), metrics: metrics.map(address) };
            let checked = addresses.check(str::to_owned).map_err(|error| error.to_string());
            match error {
                None => assert_eq!(checked, Ok(())),
                Some(error) => assert!(checked.unwrap_err().starts_with(error), "{addresses:?}"),
            }
        }
    }
}
