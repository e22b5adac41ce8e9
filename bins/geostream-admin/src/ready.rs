//! `ready`

use geostream_api::Readiness;

use crate::End;
use crate::client::Client;
use crate::output::{Output, say, warn};

/// Asks whether the server is ready; an error says what is missing.
pub(crate) fn run(client: &Client, output: Output) -> anyhow::Result<End> {
    let state: Readiness = client.get_openly("/ready")?;
    output.show(&state, || {
        say(&state.status);
        for warning in &state.warnings {
            warn(&format!("{}: {}", warning.code, warning.detail));
        }
    })
}
