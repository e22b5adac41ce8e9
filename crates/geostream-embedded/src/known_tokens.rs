//! What is known of the tokens, in a file, for a start without the store.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use geostream_api::Time;
use geostream_ports::{KnownTokens, SavedTokens, TokenId, TokenRecord, Unavailable};
use serde::{Deserialize, Serialize};

use crate::documents::TokenDocument;
use crate::last_good::blocking;
use crate::private_file::replace;

/// Keeps what is known of the tokens in one file, which is replaced as a whole and is its owner's
/// alone: hashes, names, scopes, limits and when each was used here, and no token.
#[derive(Clone, Debug)]
pub struct KnownTokensFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document {
    at: Time,
    /// By their ids.
    tokens: BTreeMap<String, TokenDocument>,
    /// Those with limits or an end, which earlier versions would take for tokens without either.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    limited: BTreeMap<String, TokenDocument>,
    /// When each was last used, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    used: BTreeMap<String, Time>,
}

/// What errors call the file.
const FILE: &str = "the file of known tokens";

impl KnownTokensFile {
    /// Keeps them in this file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl KnownTokens for KnownTokensFile {
    async fn save(&self, tokens: &SavedTokens) -> Result<(), Unavailable> {
        let by_id = |record: &TokenRecord| (record.id.to_string(), TokenDocument::from(record));
        let is_plain = |record: &&TokenRecord| record.grant.is_plain();
        let (plain, limited): (Vec<_>, Vec<_>) = tokens.records.iter().partition(is_plain);
        let document = Document {
            at: Time(tokens.at),
            tokens: plain.into_iter().map(by_id).collect(),
            limited: limited.into_iter().map(by_id).collect(),
            used: tokens.used.iter().map(|(id, &at)| (id.to_string(), Time(at))).collect(),
        };
        let path = self.path.clone();
        blocking(FILE, move || replace(&path, &serde_json::to_vec(&document)?)).await
    }

    async fn forget(&self) -> Result<(), Unavailable> {
        let path = self.path.clone();
        blocking(FILE, move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    async fn load(&self) -> Result<Option<SavedTokens>, Unavailable> {
        let path = self.path.clone();
        blocking(FILE, move || match fs::read(&path) {
            Ok(bytes) => parse(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }
}

fn parse(bytes: &[u8]) -> Result<SavedTokens, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let record = |(id, token): (&String, &TokenDocument)| -> Result<TokenRecord, String> {
        token.to_record(read_id(id)?).map_err(|error| error.to_string())
    };
    let tokens = document.tokens.iter().chain(&document.limited);
    let mut records = tokens.map(record).collect::<Result<Vec<_>, String>>()?;
    records.sort_by_key(|record| record.id);
    let used = document.used.iter().map(|(id, Time(at))| Ok((read_id(id)?, *at)));
    let used = used.collect::<Result<_, String>>()?;
    Ok(SavedTokens { records, at: document.at.0, used })
}

fn read_id(text: &str) -> Result<TokenId, String> {
    text.parse().map_err(|_| format!("{text:?} is no id of a token"))
}
