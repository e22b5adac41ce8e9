//! Keeping what is known of the tokens for a start without the store.

use std::sync::Arc;
use std::time::Duration;

use geostream_domain::Timestamp;
use geostream_ports::{Chain, Clock, KnownTokens, SavedTokens, TokenStore};

use crate::access::Access;
use crate::data_directory::DataDirectory;

/// Keeps what is known of the tokens where the next start finds it: when each was used here, and
/// hashes, names, scopes and limits, so that operators can look at a node whose store is away.
#[derive(Debug)]
pub struct TokenKeeper<K, C> {
    file: K,
    directory: Arc<DataDirectory>,
    clock: C,
    /// What is in the file.
    written: Option<SavedTokens>,
}

/// How old the file may be: a token that was revoked at another node since then is valid for
/// reading until this node reaches the store again.
const MOST_AGE: Duration = Duration::from_secs(7 * 86_400);

/// How often the file is written though nothing has changed: its time is that of the last reading.
const REFRESH: Duration = Duration::from_secs(3600);

/// How often the file is written for tokens that were used: uses are kept to the minute.
const USES: Duration = Duration::from_secs(60);

impl<K: KnownTokens, C: Clock> TokenKeeper<K, C> {
    /// Keeps them in this file.
    pub fn new(file: K, directory: Arc<DataDirectory>, clock: C) -> Self {
        Self { file, directory, clock, written: None }
    }

    /// Tells when an earlier run saw the tokens used, and gives a node whose store is away the
    /// tokens that it knew, for reading only.
    pub async fn recall<T: TokenStore>(&mut self, access: &Access<T, C>, is_store_away: bool) {
        let saved = match self.file.load().await {
            Ok(Some(saved)) => saved,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the known tokens cannot be read");
                return;
            }
        };
        access.recall_uses(&saved.used);
        let is_usable = is_usable(saved.at, self.clock.own_wall());
        if is_store_away && is_usable {
            tracing::info!(tokens = saved.records.len(), "known tokens are valid for reading");
            access.recall(&saved);
        } else if is_store_away {
            tracing::warn!("the known tokens are older than a week, and not used");
        }
        self.written = Some(saved);
    }

    /// Writes what was read from the store last, if the file does not say the same.
    ///
    /// If it cannot be written, the file that is there is removed: a token that it knows may have
    /// been revoked.
    pub async fn keep<T: TokenStore>(&mut self, access: &Access<T, C>) {
        let Some(records) = access.known() else { return };
        let at = self.clock.own_wall();
        let used = access.last_uses();
        let is_changed = match &self.written {
            Some(written) if written.records != records => true,
            Some(written) => {
                let age = at.since(written.at).max(written.at.since(at));
                let holds = if written.used == used { REFRESH } else { USES };
                if age < holds {
                    return;
                }
                false
            }
            None => true,
        };
        let tokens = SavedTokens { records, at, used };
        let saved = self.file.save(&tokens).await.map_err(|error| Chain(&error).to_string());
        if saved.is_ok() {
            self.written = Some(tokens);
        } else if is_changed && let Err(error) = self.file.forget().await {
            tracing::debug!(error = %Chain(&error), "nor can the old ones be removed");
        }
        self.directory.handle_tokens(saved, at);
    }
}

/// Tells whether a file of that time may be used; a clock that went back is no way to an older one.
fn is_usable(at: Timestamp, now: Timestamp) -> bool {
    now.since(at).max(at.since(now)) <= MOST_AGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_used_for_a_week_in_either_direction() {
        let now = Timestamp::from_unix_millis(1_700_000_000_000);
        let minute = Duration::from_secs(60);
        for (at, expected) in [
            (now, true),
            (now.before(MOST_AGE), true),
            (now.before(MOST_AGE + minute), false),
            (now.after(MOST_AGE + minute), false),
        ] {
            assert_eq!(is_usable(at, now), expected, "{at:?}");
        }
    }
}
