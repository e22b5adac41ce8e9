//! What is known of the tokens, in a file, for a start without the store.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use geostream_api::Time;
use geostream_ports::{KnownTokens, SavedTokens, TokenRecord, Unavailable};
use serde::{Deserialize, Serialize};

use crate::documents::TokenDocument;
use crate::last_good::{blocking, replace};

/// Keeps what is known of the tokens in one file, which is replaced as a whole and is its owner's
/// alone: hashes, names and scopes, and no token.
#[derive(Clone, Debug)]
pub struct KnownTokensFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document {
    at: Time,
    /// By their ids.
    tokens: BTreeMap<String, TokenDocument>,
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
        let by_id = tokens.records.iter().map(|record| (record.id.to_string(), record.into()));
        let document = Document { at: Time(tokens.at), tokens: by_id.collect() };
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
        let id = id.parse().map_err(|_| format!("{id:?} is no id of a token"))?;
        token.to_record(id).map_err(|error| error.to_string())
    };
    let records = document.tokens.iter().map(record).collect::<Result<_, String>>()?;
    Ok(SavedTokens { records, at: document.at.0 })
}
