//! GeoStream over HTTP.
//!
//! [`ROUTES`] is the one table of what the server answers: method, pattern, operation, scope, and
//! limits. [`Api`] answers a request by it. [`serve`] accepts connections, HTTP/1.1 and HTTP/2 on
//! one port, with limits on everything that a client can make grow or wait.
//!
//! The answers to clients, and to what watches the node, are made on the thread that has the
//! connection; whatever may wait for a store, or takes long, is handed to the control runtime.

mod api;
mod audit;
mod backup;
mod body;
mod call;
mod choice;
mod client;
mod config;
mod connection;
mod connections;
mod content;
mod control;
mod cors;
mod events;
mod explain;
mod explanations;
mod exposition;
mod forwarding;
mod frames;
mod gauges;
mod head;
mod health;
mod json;
mod lifetime;
mod limited;
mod limits;
mod log;
mod log_level;
mod node;
mod places;
mod preface;
mod problem;
mod proxy_protocol;
mod query;
mod route;
mod route_input;
mod routes;
mod serve;
mod shared;
mod socket;
mod stage;
mod stream;
mod strict;
mod tls;
mod totals;
mod trace;
mod verdict;
mod waker;
mod warnings;
mod wire;
mod words;

pub use api::{Api, Backup, CopiedStore, Parts};
pub use client::{ClientSource, ClientSourceError, TrustedProxies};
pub use connections::{Connections, NetworkLimit};
pub use cors::{AllowedOrigin, AllowedOrigins, OriginError};
pub use routes::{Control, Decide, Operation, ROUTES, Route, Serves, Watch};
pub use serve::{Limits, serve};
pub use socket::{BoundSocket, bind, check_unused};
pub use stage::Stage;
pub use tls::Tls;

/// The description of the API, as it is served.
pub const OPENAPI: &str = include_str!("../../../docs/openapi.yaml");
