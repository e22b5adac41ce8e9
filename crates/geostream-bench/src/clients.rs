//! Who asks: addresses whose places are known, and the requests in which they are.

use std::net::{IpAddr, Ipv4Addr};

use geostream_domain::GeoPoint;
use geostream_geoip::Database;

/// The address of the one client.
pub(crate) const ONE: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

/// A client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) address: Ipv4Addr,
    /// Where the data says that it is.
    pub(crate) point: GeoPoint,
}

/// Returns random public addresses with a known place, the same in every run.
///
/// They are spread over all addresses, not over people. All are IPv4, which every peer can look up.
pub(crate) fn many(database: &Database, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    let mut state = 1_u64;
    while clients.len() < count {
        // Knuth's MMIX, of which the upper half is used.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let address = Ipv4Addr::from(u32::try_from(state >> 32)?);
        if let Some(point) = locate(database, address) {
            clients.push(Client { address, point });
        }
    }
    Ok(clients)
}

/// Returns where the data says that an address is; private and reserved ones are nowhere.
pub(crate) fn locate(database: &Database, address: Ipv4Addr) -> Option<GeoPoint> {
    database.find(IpAddr::V4(address))?.location.point
}

/// Returns a request for each of these clients.
pub(crate) fn requests(clients: &[Client]) -> Vec<Vec<u8>> {
    clients.iter().map(|client| ask_for(client.address)).collect()
}

/// Returns the request that every server gets: some read its body, others can read but a header.
pub(crate) fn ask_for(address: Ipv4Addr) -> Vec<u8> {
    let body = body(address);
    let length = body.len();
    format!(
        "POST /api/v1/route HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         x-forwarded-for: {address}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn body(address: Ipv4Addr) -> String {
    format!(r#"{{"client_ip": "{address}", "service": "api"}}"#)
}
