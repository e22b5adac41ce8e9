//! `token`

use std::time::{Duration, SystemTime};

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use geostream_api::{NewToken, Time, Token, TokenRequest};
use serde::{Deserialize, Serialize};

use crate::End;
use crate::client::Client;
use crate::output::{Output, or_dash, say, table, warn};
use crate::when::Now;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the tokens that the token in use reaches, and mark that one with *
    ///
    /// LAST USED is when the server last accepted the token, to the minute; each node keeps its own
    /// record.
    List,
    /// Make a token; its text is shown this once
    ///
    /// A token can do no more than the one that makes it: it has no larger scope, reaches no other
    /// services and regions, and does not expire later.
    Add {
        /// Who will use it: the author of what is done with it
        name: String,
        /// What it is good for
        #[arg(long)]
        scope: ScopeName,
        /// When it expires: after a time (90d, 12h), on a day (2027-01-31, at 00:00 UTC), at a time
        /// (2027-01-31T12:00:00Z), or never
        #[arg(long, value_name = "WHEN", default_value = "never", value_parser = parse_end)]
        expires: Expiry,
        /// Limits it to services by name, or by how names begin: api, web-*; repeatable
        ///
        /// With --region or --service, the token reaches what they name and nothing else.
        #[arg(long = "service", value_name = "NAME")]
        services: Vec<String>,
        /// Limits it to regions in the same way: eu-west-1, eu-*; repeatable
        #[arg(long = "region", value_name = "NAME")]
        regions: Vec<String>,
    },
    /// Revoke a token
    Revoke {
        /// The token's id, or its name if no other token has the same
        token: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScopeName {
    /// Reports outcomes, and nothing else
    Reporter,
    /// Reads
    Viewer,
    /// Also drains and restores regions
    Operator,
    /// Also changes configuration and tokens
    Admin,
}

impl ScopeName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Reporter => "reporter",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// When a token ends; without a time, only when it is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(Option<Time>);

#[derive(Deserialize, Serialize)]
struct Tokens {
    tokens: Vec<Token>,
}

/// The longest time after which a token ends by itself.
const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);

const PATH: &str = "/api/v1/tokens";

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    match command {
        Command::List => {
            let listed: Tokens = client.get(PATH)?;
            output.show(&listed, || show(&listed.tokens, output == Output::Wide))
        }
        Command::Add { name, scope, expires, services, regions } => {
            let listed = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
            let request = TokenRequest {
                name: name.clone(),
                scope: scope.as_str().to_owned(),
                services: listed(services),
                regions: listed(regions),
                expires: expires.0,
            };
            let made: NewToken = client.post(PATH, &request)?;
            let shown = output.show(&made, || say(&made.token));
            warn(
                "this token is shown only now, and cannot be shown again: keep it in a safe place",
            );
            shown
        }
        Command::Revoke { token } => {
            let Tokens { tokens } = client.get(PATH)?;
            let id = find(&tokens, token)?;
            client.remove(&format!("{PATH}/{id}"))?;
            output.show(&serde_json::json!({ "revoked": id }), || {
                say(format_args!("token {id} is revoked"));
            })
        }
    }
}

fn show(tokens: &[Token], is_wide: bool) {
    let now = Now::read();
    let rows = tokens.iter().map(|token| {
        let in_use = if token.current { "*" } else { "" };
        let expires = match token.expires {
            None => "never".to_owned(),
            Some(_) if token.expired => "expired".to_owned(),
            Some(end) => now.tell(end),
        };
        let used = or_dash(token.last_used.map(|at| now.tell_minute(at)));
        let Token { id, name, scope, .. } = token;
        [in_use, id, name, scope, &limits(token), &expires, &used].map(str::to_owned)
    });
    let header = ["", "id", "name", "scope", "limited to", "expires", "last used"];
    if !is_wide {
        return table(header, rows);
    }
    let rows = rows.zip(tokens).map(|(row, token)| {
        let [in_use, id, name, scope, limits, expires, used] = row;
        let made = now.tell(token.created);
        let node = or_dash(token.node.clone());
        [in_use, id, name, scope, limits, expires, used, made, node]
    });
    let [in_use, id, name, scope, limits, expires, used] = header;
    table([in_use, id, name, scope, limits, expires, used, "made", "by node"], rows);
}

/// Says what a token is limited to.
fn limits(token: &Token) -> String {
    let named = |kind: &str, names: &[String]| {
        let listed = names.join(", ");
        (!names.is_empty()).then(|| format!("{kind} {listed}"))
    };
    let parts = [named("services", &token.services), named("regions", &token.regions)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join("; ") }
}

/// Finds the id of the token that an operator names by its id or its name.
///
/// What is an id of a token is not looked for among the names.
fn find(tokens: &[Token], wanted: &str) -> anyhow::Result<String> {
    if let Some(token) = tokens.iter().find(|token| token.id == wanted) {
        return Ok(token.id.clone());
    }
    let named: Vec<_> = tokens.iter().filter(|token| token.name == wanted).collect();
    match named[..] {
        [token] => Ok(token.id.clone()),
        [] => bail!("there is no token of the id or name {wanted:?}; token list shows them"),
        _ => {
            let ids: Vec<_> = named.iter().map(|token| token.id.as_str()).collect();
            let ids = ids.join(", ");
            bail!("{} tokens are called {wanted:?}; name one by its id: {ids}", named.len())
        }
    }
}

/// Reads the end of a token: a duration from now, a day, a time, or `never`.
fn parse_end(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    if let Ok(lasts) = humantime::parse_duration(text) {
        #[expect(clippy::disallowed_methods, reason = "a command asks once, for its operator")]
        let now = SystemTime::now();
        let end = now.checked_add(lasts).filter(|_| lasts <= LONGEST);
        let end = end.ok_or_else(|| format!("{text:?} is too long; say never"))?;
        let end = humantime::format_rfc3339_millis(end).to_string();
        return end.parse().map(|end| Expiry(Some(end)));
    }
    let of_day = format!("{text}T00:00:00Z").parse();
    let end = of_day.or_else(|_: String| text.parse());
    end.map(|end| Expiry(Some(end))).map_err(|_: String| {
        format!("{text:?} is no end; give a time from now (90d), a day (2027-01-31) or never")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_day_a_time_or_never() {
        let end = |text: &str| parse_end(text).map(|Expiry(end)| end.map(|end| end.to_string()));
        assert_eq!(end("never"), Ok(None));
        assert_eq!(end("2027-01-31"), Ok(Some("2027-01-31T00:00:00.000Z".to_owned())));
        assert_eq!(end("2027-01-31T12:00:00Z"), Ok(Some("2027-01-31T12:00:00.000Z".to_owned())));
        assert!(end("90d").unwrap().is_some());
        for bad in ["", "soon", "90", "2027-02-30", "31.01.2027"] {
            assert!(end(bad).unwrap_err().contains("90d"), "{bad}");
        }
        assert!(end("100years").is_ok());
        assert!(end("101years").unwrap_err().contains("never"));
    }

    #[test]
    fn a_token_is_found_by_its_id_or_by_a_name_that_it_has_alone() {
        let token = |id: &str, name: &str| -> Token {
            serde_json::from_value(serde_json::json!({
                "id": id, "name": name, "scope": "viewer", "created": "2026-12-01T00:00:00Z"
            }))
            .unwrap()
        };
        let tokens = [token("01", "ci"), token("02", "ci"), token("03", "ops"), token("04", "01")];
        assert_eq!(find(&tokens, "ops").unwrap(), "03");
        assert_eq!(find(&tokens, "01").unwrap(), "01", "an id comes first");
        let many = find(&tokens, "ci").unwrap_err().to_string();
        assert!(many.contains("01, 02"), "{many}");
        assert!(find(&tokens, "nothing").is_err());
    }
}
