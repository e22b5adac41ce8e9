//! Decisions whose instructions are counted: `cargo xtask bench instructions`.
//!
//! `instructions OBJECTIVE REGIONS` decides once for each of 1,024 clients, within [`counted`].

mod scene;

use std::hint::black_box;

use geostream_domain::{Client, Objective, ServiceTable};

use crate::scene::{clients, objectives, table};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(Ok(regions))) =
        (arguments.next(), arguments.next().map(|regions| regions.parse()))
    else {
        // As a test of all targets, there is nothing to count.
        return;
    };
    let other = objectives().into_iter().find(|(objective, _)| *objective == name);
    let table =
        table(regions, other.map_or_else(Objective::default, |(_name, objective)| objective));
    let service = table.service("api").expect("the service");
    counted(service, &clients());
}

#[inline(never)]
fn counted(service: &ServiceTable, clients: &[Client]) {
    for client in clients {
        black_box(service.route(client)).expect("a region for every client");
    }
}
