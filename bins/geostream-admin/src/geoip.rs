//! `geoip`

use std::net::IpAddr;

use clap::Subcommand;
use geostream_api::{ClientView, Status};

use crate::End;
use crate::client::Client;
use crate::output::{Output, facts, or_dash, say};
use crate::status::{attributions, show_databases};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find the place of an address
    Lookup {
        /// The address
        address: IpAddr,
    },
    /// Describe the GeoIP data that the server uses
    Info,
}

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    let status: Status = client.get("/api/v1/status")?;
    match command {
        Command::Lookup { address } => {
            let place: ClientView = client.get(&format!("/api/v1/geoip/{address}"))?;
            output.show(&place, || {
                facts(&[
                    ("network", or_dash(place.network.as_ref())),
                    ("country", or_dash(place.country.as_ref())),
                    ("continent", or_dash(place.continent.as_ref())),
                    ("latitude", or_dash(place.latitude)),
                    ("longitude", or_dash(place.longitude)),
                    ("accuracy", or_dash(place.accuracy_km.map(|km| format!("{km} km")))),
                    ("precision", place.precision.to_string()),
                ]);
                attributions(&status.geo).into_iter().for_each(say);
            })
        }
        Command::Info => output.show(&status.geo, || show_databases(&status.geo)),
    }
}
