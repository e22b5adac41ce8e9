//! The limits of requests that a node goes by.

use std::sync::Arc;

use geostream_domain::{ClientKey, RequestLimit, Settings};
use geostream_ports::TokenId;

use crate::rate::RateLimit;

/// How often clients and holders of tokens may ask.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// How often each client's network may ask.
    pub clients: Arc<RateLimit<ClientKey>>,
    /// How often may be asked with each token.
    pub tokens: Arc<RateLimit<TokenId>>,
}

impl RequestLimits {
    /// Goes by these limits of the node, for clients and for tokens, until the configuration says
    /// otherwise.
    #[must_use]
    pub fn new(clients: RequestLimit, tokens: RequestLimit) -> Self {
        Self {
            clients: Arc::new(RateLimit::new("client", clients)),
            tokens: Arc::new(RateLimit::new("token", tokens)),
        }
    }

    /// Goes by what the settings of a configuration say from now on.
    pub(crate) fn handle_settings(&self, settings: &Settings) {
        self.clients.handle_configured(settings.requests_per_second);
        self.tokens.handle_configured(settings.requests_per_second_per_token);
    }
}

impl Default for RequestLimits {
    /// Limits nothing by itself.
    fn default() -> Self {
        Self::new(RequestLimit::NONE, RequestLimit::NONE)
    }
}
