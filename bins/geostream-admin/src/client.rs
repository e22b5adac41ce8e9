//! Talking to the server.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use geostream_api::{FieldError, Problem, Proposed};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use ureq::Agent;
use ureq::http::{Request, Response, StatusCode};
use ureq::tls::TlsConfig;

use crate::proxy::{self, NamedProxy};
use crate::server::{is_on_this_machine, read_server};
use crate::trust;

/// Where the server is and who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connection {
    /// The server; `status --all` asks several, given more than once or separated by commas, and all
    /// other commands ask the last of them
    #[arg(
        long,
        global = true,
        env = "GEOSTREAM_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_delimiter = ',',
        num_args = 1,
        value_name = "URL",
        value_parser = read_server
    )]
    server: Vec<String>,

    /// A file with the token
    #[arg(long, global = true, env = "GEOSTREAM_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// The data directory of a server on this machine, for its admin token
    #[arg(long, global = true, env = "GEOSTREAM_DATA_DIR", value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,

    /// The authorities (PEM) that vouch for a server of https:// [default: the system's, or those that
    /// `SSL_CERT_FILE` names]
    #[arg(long, global = true, env = "GEOSTREAM_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// The token, by the environment only: arguments are seen by everybody on the machine
    #[arg(long, env = "GEOSTREAM_TOKEN", hide = true, hide_env_values = true)]
    token: Option<String>,
}

/// Asks the server, with a token where there is one.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    server: String,
    proxy: Option<NamedProxy>,
    tls: TlsConfig,
    connection: Connection,
}

/// A token, and where it was found.
pub(crate) struct Token {
    text: String,
    origin: Origin,
}

/// Where a token was found.
#[derive(Debug)]
pub(crate) enum Origin {
    /// In `GEOSTREAM_TOKEN`.
    Environment,
    /// In the file of `--token-file` or `GEOSTREAM_TOKEN_FILE`.
    File(PathBuf),
    /// In the data directory of a server on this machine.
    DataDirectory(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str(
                "it is that of GEOSTREAM_TOKEN in the environment; unset it or set a valid one",
            ),
            Self::File(path) => write!(
                f,
                "it is that in {}, as --token-file or GEOSTREAM_TOKEN_FILE names it; name a file \
                 with a valid one",
                path.display()
            ),
            Self::DataDirectory(path) => write!(
                f,
                "it is that in {}, which is of another store or was revoked, since an import brings \
                 no tokens; restart the server with --new-admin-token, which writes a valid one \
                 there, or set GEOSTREAM_TOKEN or --token-file",
                path.display()
            ),
        }
    }
}

/// Why the server did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// There is no server, or no way to it.
    #[error(
        "the server {server} cannot be reached{}{}",
        .proxy.as_ref().map_or_else(String::new, |proxy| format!(" by the proxy {proxy}")),
        trust::remedy(.source).unwrap_or_default()
    )]
    Unreachable {
        server: String,
        /// The proxy that it was asked through, if there is one.
        proxy: Option<NamedProxy>,
        #[source]
        source: ureq::Error,
    },
    /// The server says why.
    #[error("{}", describe(.0))]
    Problem(Problem),
    /// The server does not know the token.
    #[error("{}: {origin}", describe(.problem))]
    Token { origin: Origin, problem: Problem },
    /// The server, or something before it, says something else.
    #[error("{url} answers with status {status}, which GeoStream does not: is it another program?")]
    Answer { url: String, status: u16 },
    /// No token was found.
    #[error(
        "there is no token: run this on the server's machine, or set GEOSTREAM_TOKEN or --token-file"
    )]
    NoToken,
    /// Nobody has said which token the server may see.
    #[error(
        "there is no token for {0}: set GEOSTREAM_TOKEN or --token-file; the admin.token of a \
         server on this machine is sent to no other"
    )]
    NoTokenFor(String),
}

/// Something that the server showed, and the revision that it was shown at.
#[derive(Debug)]
pub(crate) struct Versioned<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

/// Something that is read as it comes.
pub(crate) struct Download<R> {
    /// How many bytes it has.
    pub(crate) length: u64,
    pub(crate) content: R,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// How often a request is repeated that a rate limit refuses, each time after as long as the server
/// says: a command is several requests, and one of them may be to lift a limit that is too low.
const REPEATS: u32 = 5;

/// The longest time that a repetition waits for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The largest answer that is read: an explanation of 20,000 regions has a few megabytes.
const LARGEST_ANSWER: u64 = 64 << 20;

impl Client {
    /// Asks the server that was named last.
    ///
    /// # Errors
    ///
    /// If the authorities that vouch for a server cannot be read.
    pub(crate) fn new(connection: Connection) -> anyhow::Result<Self> {
        let server = connection.server.last().cloned().unwrap_or_default();
        let uses_tls = connection.server.iter().any(|server| server.starts_with("https:"));
        let tls = trust::config(connection.ca_file.as_deref(), uses_tls)?;
        Ok(Self::of(server, connection, tls))
    }

    /// Returns a client for each server that was named, in this order.
    pub(crate) fn of_each(self) -> Vec<Self> {
        let Self { connection, tls, .. } = self;
        let servers = connection.server.clone();
        let client = |server| Self::of(server, connection.clone(), tls.clone());
        servers.into_iter().map(client).collect()
    }

    /// Returns the server that is asked.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    fn of(server: String, connection: Connection, tls: TlsConfig) -> Self {
        let proxy = proxy::of(&server, is_on_this_machine(&server));
        let config = Agent::config_builder()
            .proxy(proxy.as_ref().map(|named| named.proxy.clone()))
            .tls_config(tls.clone())
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("geostream-admin/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), server, proxy, tls, connection }
    }

    /// Begins to read something of any size, which may take any time as long as it goes on.
    pub(crate) fn download(&self, path: &str) -> anyhow::Result<Download<impl Read + use<>>> {
        let server = self.server.trim_end_matches('/');
        let token = self.token()?;
        let request = Request::get(format!("{server}{path}"))
            .header("authorization", format!("Bearer {}", token.text))
            .body(())?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(None)
            .timeout_recv_response(Some(PATIENCE))
            .build();
        let unreachable = |source| self.unreachable(source);
        let answer = self.agent.run(request).map_err(unreachable)?;
        let status = answer.status();
        let (_, mut body) = answer.into_parts();
        if !status.is_success() {
            let text = body.with_config().limit(LARGEST_ANSWER).read_to_string();
            return Err(self
                .refusal(path, status, &text.map_err(unreachable)?, Some(token))
                .into());
        }
        let length = body.content_length().context("the server does not tell the length")?;
        Ok(Download { length, content: body.into_reader() })
    }

    /// Reads something that anybody may read, or nearly so.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
        token: Option<Token>,
    ) -> anyhow::Result<T> {
        Ok(self.send("POST", path, token, None, Some(question))?.value)
    }

    /// Asks what may go unanswered: without a token, and once, whatever a rate limit says.
    pub(crate) fn ask_once<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
    ) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.server.trim_end_matches('/'));
        let answer = self.send_once("POST", &url, None, None, Some(question))?;
        Ok(serde_json::from_str(answer.body())?)
    }

    /// Reads what needs no token.
    pub(crate) fn get_openly<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(self.send("GET", path, None, None, None::<&()>)?.value)
    }

    /// Reads a part of the server.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(self.get_versioned(path)?.value)
    }

    /// Reads a part of the configuration and its revision.
    pub(crate) fn get_versioned<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> anyhow::Result<Versioned<T>> {
        self.send("GET", path, Some(self.token()?), None, None::<&()>)
    }

    /// Writes a part of the configuration that was read at this revision.
    pub(crate) fn put(
        &self,
        path: &str,
        revision: u64,
        reason: Option<&str>,
        value: &impl Serialize,
    ) -> anyhow::Result<Proposed> {
        self.write("PUT", path, revision, reason, Some(value))
    }

    /// Replaces something that is no part of the configuration.
    pub(crate) fn set<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
    ) -> anyhow::Result<T> {
        Ok(self.send("PUT", path, Some(self.token()?), None, Some(value))?.value)
    }

    /// Removes a part of the configuration that was read at this revision.
    pub(crate) fn delete(
        &self,
        path: &str,
        revision: u64,
        reason: Option<&str>,
    ) -> anyhow::Result<Proposed> {
        self.write("DELETE", path, revision, reason, None::<&()>)
    }

    pub(crate) fn write(
        &self,
        method: &str,
        path: &str,
        revision: u64,
        reason: Option<&str>,
        value: Option<&impl Serialize>,
    ) -> anyhow::Result<Proposed> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = match reason {
            Some(reason) => format!("{path}{separator}reason={}", percent_encoded(reason)),
            None => path.to_owned(),
        };
        Ok(self.send(method, &path, Some(self.token()?), Some(revision), value)?.value)
    }

    /// Makes something that is no part of the configuration.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
    ) -> anyhow::Result<T> {
        Ok(self.send("POST", path, Some(self.token()?), None, Some(value))?.value)
    }

    /// Hands something in, of which nothing comes back.
    pub(crate) fn hand_in(&self, path: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.answer("POST", path, Some(self.token()?), None, Some(value)).map(|_answer| ())
    }

    /// Removes something that is no part of the configuration.
    pub(crate) fn remove(&self, path: &str) -> anyhow::Result<()> {
        self.answer("DELETE", path, Some(self.token()?), None, None::<&()>).map(|_answer| ())
    }

    fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        token: Option<Token>,
        revision: Option<u64>,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Versioned<T>> {
        let answer = self.answer(method, path, token, revision, body)?;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
        // A proxy that compresses makes the tag weak: W/"17".
        let opaque = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
        let revision = opaque.and_then(|opaque| opaque.parse().ok()).unwrap_or_default();
        let value = serde_json::from_str(answer.body());
        let value = value.with_context(|| format!("reading the answer to {method} {path}"))?;
        Ok(Versioned { value, revision })
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        token: Option<Token>,
        revision: Option<u64>,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Response<String>> {
        let server = self.server.trim_end_matches('/');
        let url = format!("{server}{path}");
        let authorization = token.as_ref().map(|token| format!("Bearer {}", token.text));
        let mut repeats = 0;
        let answer = loop {
            let answer = self.send_once(method, &url, authorization.as_deref(), revision, body)?;
            let wait = wait_of(&answer).filter(|wait| *wait <= LONGEST_WAIT);
            match wait.filter(|_| repeats < REPEATS) {
                Some(wait) => pause(wait),
                None => break answer,
            }
            repeats += 1;
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(path, answer.status(), answer.body(), token).into())
    }

    fn unreachable(&self, source: ureq::Error) -> ClientError {
        let server = self.server.trim_end_matches('/').to_owned();
        ClientError::Unreachable { server, proxy: self.proxy.clone(), source }
    }

    /// Returns why the server has not done what it was asked with this token.
    fn refusal(
        &self,
        path: &str,
        status: StatusCode,
        body: &str,
        token: Option<Token>,
    ) -> ClientError {
        match (serde_json::from_str::<Problem>(body), token) {
            (Ok(problem), Some(Token { origin, .. })) if problem.status == 401 => {
                ClientError::Token { origin, problem }
            }
            (Ok(problem), _) => ClientError::Problem(problem),
            (Err(_), _) => {
                let url = format!("{}{path}", self.server.trim_end_matches('/'));
                ClientError::Answer { url, status: status.as_u16() }
            }
        }
    }

    fn send_once(
        &self,
        method: &str,
        url: &str,
        authorization: Option<&str>,
        revision: Option<u64>,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Response<String>> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(revision) = revision {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        let unreachable = |source| self.unreachable(source);
        let sent = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(serde_json::to_string(body)?)?)
            }
            None => self.agent.run(request.body(())?),
        };
        let (head, mut body) = sent.map_err(unreachable)?.into_parts();
        let text = body.with_config().limit(LARGEST_ANSWER).read_to_string();
        Ok(Response::from_parts(head, text.map_err(unreachable)?))
    }

    /// Returns the token that was given, else for a server on this machine the one in its data.
    pub(crate) fn token(&self) -> anyhow::Result<Token> {
        let Self { server, connection, .. } = self;
        let Connection { token_file, data_dir, token, .. } = connection;
        if let Some(token) = token {
            return Ok(Token { text: token.trim().to_owned(), origin: Origin::Environment });
        }
        let read = |path: &PathBuf, origin: fn(PathBuf) -> Origin| {
            let text = fs::read_to_string(path);
            let text = text.with_context(|| format!("reading the token in {}", path.display()))?;
            Ok(Token { text: text.trim().to_owned(), origin: origin(path.clone()) })
        };
        if let Some(path) = token_file {
            return read(path, Origin::File);
        }
        if !is_on_this_machine(server) {
            return Err(ClientError::NoTokenFor(server.clone()).into());
        }
        let home = std::env::home_dir().map(|home| home.join(".local/share/geostream"));
        let directories = match data_dir {
            Some(directory) => vec![directory.clone()],
            None => [Some(".geostream".into()), home, Some("/var/lib/geostream".into())]
                .into_iter()
                .flatten()
                .collect(),
        };
        let files = directories.into_iter().map(|directory| directory.join("admin.token"));
        match files.into_iter().find(|file| file.exists()) {
            Some(file) => read(&file, Origin::DataDirectory),
            None => Err(ClientError::NoToken.into()),
        }
    }
}

/// Returns after how long a request may be repeated that a rate limit refused.
fn wait_of(answer: &Response<String>) -> Option<Duration> {
    if answer.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let seconds = answer.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[expect(clippy::disallowed_methods, reason = "a program of one thread has nothing else to do")]
fn pause(wait: Duration) {
    thread::sleep(wait);
}

fn describe(problem: &Problem) -> String {
    let lines = problem.errors.iter().map(|FieldError { pointer, detail }| {
        // What else there is in a request, a user of this program knows nothing of.
        let is_in_document = pointer.starts_with('/');
        if is_in_document { format!("{detail} (at {pointer})") } else { detail.clone() }
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { problem.detail.clone() } else { lines.join("\n") }
}

/// Writes a text as part of a query.
pub(crate) fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if plain(byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_this_machine() {
        for server in ["http://127.0.0.1:8080", "https://[::1]/", "http://LOCALHOST", "127.8.9.1:1"]
        {
            assert!(is_on_this_machine(server), "{server}");
        }
        for server in [
            "http://10.0.0.1",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost@example.org",
            "http://localhost:1@example.org",
            "http://[2001:db8::1]",
            "",
        ] {
            assert!(!is_on_this_machine(server), "{server}");
        }
    }
}
