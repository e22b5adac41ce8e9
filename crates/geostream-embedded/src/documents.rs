//! What is kept, as documents.

use std::net::IpAddr;
use std::time::Duration;

use geostream_api::{self as api, FieldErrors, Time};
use geostream_domain::{Commit, Grant, Health, NodeId, Revision, Timestamp};
use geostream_ports::{
    Actor, Attempt, AuditOutcome, AuditRecord, Effect, HealthRecord, Scope, TokenId, TokenRecord,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A commit without its revision, which is its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommitDocument {
    at: Time,
    author: String,
    reason: String,
    changes: Vec<api::Change>,
}

impl From<&Commit> for CommitDocument {
    fn from(commit: &Commit) -> Self {
        Self {
            at: Time(commit.at),
            author: commit.author.to_string(),
            reason: commit.reason.to_string(),
            changes: commit.changes.iter().map(Into::into).collect(),
        }
    }
}

impl CommitDocument {
    pub(crate) fn to_commit(&self, revision: Revision) -> Result<Commit, FieldErrors> {
        let line = |text: &str| text.parse().map_err(|error| FieldErrors::one("", error));
        let changes: Result<_, _> = self.changes.iter().map(api::Change::to_domain).collect();
        Ok(Commit {
            revision,
            changes: changes?,
            author: line(&self.author)?,
            reason: line(&self.reason)?,
            at: self.at.0,
        })
    }
}

/// A token's record without its id, which is its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TokenDocument {
    name: String,
    scope: String,
    hash: [u8; 32],
    created: u64,
    /// Absent where earlier versions have not kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Absent for a token without limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limits: Option<api::TokenLimits>,
    /// Absent for a token without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl From<&TokenRecord> for TokenDocument {
    fn from(record: &TokenRecord) -> Self {
        Self {
            name: record.name.to_string(),
            scope: record.grant.scope.to_string(),
            hash: record.hash,
            created: record.created.unix_millis(),
            node: record.node.as_ref().map(NodeId::to_string),
            limits: record.grant.limits.as_ref().map(|limits| (&**limits).into()),
            expires: record.grant.expires.map(Timestamp::unix_millis),
        }
    }
}

/// Returns what is told of a token: not its hash.
pub(crate) fn describe_token(record: &TokenRecord) -> api::Token {
    let TokenRecord { id, name, grant, created, node, .. } = record;
    api::Token::of_grant(id.to_string(), name, grant, *created, node.as_ref())
}

impl TokenDocument {
    pub(crate) fn to_record(&self, id: TokenId) -> Result<TokenRecord, FieldErrors> {
        let scope: Scope = self.scope.parse().map_err(|e| FieldErrors::one("/scope", e))?;
        let limits = self.limits.as_ref().map(api::TokenLimits::to_domain).transpose()?;
        let expires = self.expires.map(Timestamp::from_unix_millis);
        Ok(TokenRecord {
            id,
            name: self.name.parse().map_err(|error| FieldErrors::one("/name", error))?,
            grant: Grant { scope, limits, expires },
            hash: self.hash,
            created: Timestamp::from_unix_millis(self.created),
            node: read_node(self.node.as_deref())?,
        })
    }
}

fn read_node(name: Option<&str>) -> Result<Option<NodeId>, FieldErrors> {
    name.map(str::parse).transpose().map_err(|error| FieldErrors::one("/node", error))
}

/// How a region was, without its id, which is its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HealthDocument {
    /// Absent where earlier versions have not kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    health: HealthName,
    evidence: String,
    at: Time,
    #[serde(default)]
    response_time_us: Option<u64>,
    #[serde(default)]
    errors: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HealthName {
    Unknown,
    Healthy,
    Unhealthy,
}

impl From<&HealthRecord> for HealthDocument {
    fn from(record: &HealthRecord) -> Self {
        let health = match record.health {
            Health::Unknown => HealthName::Unknown,
            Health::Healthy => HealthName::Healthy,
            Health::Unhealthy => HealthName::Unhealthy,
        };
        Self {
            node: record.node.as_ref().map(NodeId::to_string),
            health,
            evidence: record.evidence.clone(),
            at: Time(record.at),
            response_time_us: record.response_time.map(micros),
            errors: record.errors,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl HealthDocument {
    pub(crate) fn to_record(&self, region: &str) -> Result<HealthRecord, FieldErrors> {
        Ok(HealthRecord {
            region: region.parse().map_err(|error| FieldErrors::one("", error))?,
            node: read_node(self.node.as_deref())?,
            health: match self.health {
                HealthName::Unknown => Health::Unknown,
                HealthName::Healthy => Health::Healthy,
                HealthName::Unhealthy => Health::Unhealthy,
            },
            evidence: self.evidence.clone(),
            at: self.at.0,
            response_time: self.response_time_us.map(Duration::from_micros),
            errors: self.errors,
        })
    }
}

/// A record of the audit trail without its number, which is its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditDocument {
    at: Time,
    node: String,
    who: Option<String>,
    token: Option<(String, String)>,
    address: Option<IpAddr>,
    action: String,
    target: String,
    outcome: OutcomeDocument,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeDocument {
    Done {
        revision: Option<u64>,
        reason: Option<String>,
        changes: Box<RawValue>,
    },
    Refused {
        status: u16,
        problem: String,
        detail: String,
        /// Absent for one, as earlier versions wrote it.
        #[serde(default = "once", skip_serializing_if = "is_once")]
        count: u64,
    },
}

fn once() -> u64 {
    1
}

fn is_once(count: &u64) -> bool {
    *count == 1
}

impl AuditDocument {
    /// Tells whether this is of a request without a valid token.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.who.is_none()
    }

    pub(crate) fn new(
        AuditRecord { attempt, outcome }: &AuditRecord,
    ) -> Result<Self, serde_json::Error> {
        let who = attempt.who.as_ref();
        let token = who.and_then(|who| who.token);
        Ok(Self {
            at: Time(attempt.at),
            node: attempt.node.to_string(),
            who: who.map(|who| who.name.to_string()),
            token: token.map(|(id, scope)| (id.to_string(), scope.to_string())),
            address: attempt.address,
            action: attempt.action.clone(),
            target: attempt.target.clone(),
            outcome: match outcome.clone() {
                AuditOutcome::Done(Effect { revision, reason, changes }) => OutcomeDocument::Done {
                    revision: revision.map(Revision::get),
                    reason: reason.map(|reason| reason.to_string()),
                    changes: RawValue::from_string(changes)?,
                },
                AuditOutcome::Refused { status, problem, detail, count } => {
                    OutcomeDocument::Refused { status, problem, detail, count }
                }
            },
        })
    }

    pub(crate) fn to_record(&self) -> Result<AuditRecord, FieldErrors> {
        let line = |text: &String| text.parse().map_err(|error| FieldErrors::one("", error));
        let who = self.who.as_ref().map(|name| -> Result<_, FieldErrors> {
            let token = self.token.as_ref().map(read_token).transpose()?;
            Ok(Actor { name: line(name)?, token })
        });
        let attempt = Attempt {
            at: self.at.0,
            node: self.node.parse().map_err(|error| FieldErrors::one("/node", error))?,
            who: who.transpose()?,
            address: self.address,
            action: self.action.clone(),
            target: self.target.clone(),
        };
        let outcome = match &self.outcome {
            OutcomeDocument::Done { revision, reason, changes } => AuditOutcome::Done(Effect {
                revision: revision.map(Revision::new),
                reason: reason.as_ref().map(line).transpose()?,
                changes: changes.get().to_owned(),
            }),
            OutcomeDocument::Refused { status, problem, detail, count } => AuditOutcome::Refused {
                status: *status,
                problem: problem.clone(),
                detail: detail.clone(),
                count: *count,
            },
        };
        Ok(AuditRecord { attempt, outcome })
    }
}

fn read_token((id, scope): &(String, String)) -> Result<(TokenId, Scope), FieldErrors> {
    let id = id.parse().map_err(|error| FieldErrors::one("/token/0", error))?;
    Ok((id, scope.parse().map_err(|error| FieldErrors::one("/token/1", error))?))
}
