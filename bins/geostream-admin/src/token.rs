//! `token`

use clap::{Subcommand, ValueEnum};
use geostream_api::{NewToken, Token, TokenRequest};
use serde::Deserialize;

use crate::End;
use crate::client::Client;
use crate::output::{Output, or_dash, say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what is known of the tokens, and mark the one that this command uses
    List,
    /// Make a token; its text is shown this once
    Create {
        /// Who will use it: the author of what is done with it
        name: String,
        /// What it is good for
        #[arg(long)]
        scope: ScopeName,
    },
    /// Revoke a token
    Revoke {
        /// The token's id
        id: String,
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

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
}

pub(crate) fn run(client: &Client, output: Output, command: &Command) -> anyhow::Result<End> {
    let path = "/api/v1/tokens";
    match command {
        Command::List => {
            let Tokens { tokens } = client.get(path)?;
            output.show(&tokens, || {
                let rows = tokens.iter().map(|token| {
                    let Token { id, name, scope, created, node, current } = token;
                    [
                        if *current { "*" } else { "" }.to_owned(),
                        id.clone(),
                        name.clone(),
                        scope.clone(),
                        created.to_string(),
                        or_dash(node.clone()),
                    ]
                });
                table(["in use", "id", "name", "scope", "made", "by node"], rows);
            })
        }
        Command::Create { name, scope } => {
            let scope = match scope {
                ScopeName::Reporter => "reporter",
                ScopeName::Viewer => "viewer",
                ScopeName::Operator => "operator",
                ScopeName::Admin => "admin",
            };
            let request = TokenRequest { name: name.clone(), scope: scope.to_owned() };
            let made: NewToken = client.post(path, &request)?;
            output.show(&made, || say(&made.token))
        }
        Command::Revoke { id } => {
            client.remove(&format!("{path}/{id}"))?;
            output.show(&serde_json::json!({ "revoked": id }), || say("the token is revoked"))
        }
    }
}
