//! A copy of everything that the store keeps, while the server goes on.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use geostream_ports::{Clock, GeoLocator, Store, Unavailable};
use http::Response;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::api::Api;
use crate::call::Call;
use crate::content::Content;
use crate::places::Place;
use crate::problem::{Answer, Failure, Kind};

/// How much is read and sent at once, and how many such pieces wait for the client.
const PIECE: usize = 64 << 10;
const WAITING: usize = 4;

/// How long a client may keep a piece waiting.
const SLOW: Duration = Duration::from_secs(30);

impl<S, G, C> Api<S, G, C>
where
    S: Store,
    G: GeoLocator,
    C: Clock + 'static,
{
    /// Answers with a copy of the store, byte for byte.
    pub(crate) async fn back_up(&self, call: &Call) -> Result<Answer, Failure> {
        call.no_query()?;
        let Some(backup) = &self.parts.backup else {
            let detail = "this server keeps everything in PostgreSQL: back that up with pg_dump";
            return Err(Failure::new(Kind::NotFound, detail));
        };
        let place = self.shared.backups.take(0, 1);
        let place =
            place.map_err(|_| Failure::new(Kind::Busy, "a backup is being made already"))?;
        let copy = backup().await?;
        let unreadable = |error| Failure::from(Unavailable::new("the copy of the store", error));
        let length = copy.metadata().map_err(unreadable)?.len();
        let (sender, receiver) = mpsc::channel(WAITING);
        self.parts.control.spawn(send(copy, sender, place));
        let mut answer = Response::new(Content::events(receiver));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // A copy that breaks off is seen by its length.
        headers.insert(CONTENT_LENGTH, length.into());
        let name = HeaderValue::from_static("attachment; filename=\"config.redb\"");
        headers.insert(CONTENT_DISPOSITION, name);
        Ok(answer)
    }
}

/// Sends a file until its end, or until the client takes no more of it.
async fn send(mut file: File, sender: mpsc::Sender<Bytes>, place: Place) {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok::<_, std::io::Error>((file, piece))
        });
        let piece = match read.await {
            Ok(Ok((rest, piece))) => {
                file = rest;
                piece
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the copy of the store cannot be read; the backup ends");
                break;
            }
            Err(error) => {
                tracing::error!(%error, "reading the copy of the store failed; the backup ends");
                break;
            }
        };
        let is_end = piece.is_empty();
        let sent = timeout(SLOW, sender.send(piece.into()));
        if is_end || !matches!(sent.await, Ok(Ok(()))) {
            break;
        }
    }
    drop(place);
}
