//! GeoStream's HTTP vocabulary.
//!
//! Plain types that serde reads and writes, shared by the server, the admin CLI and Rust clients.
//! Reading refuses unknown fields and duplicate names. What a document says is checked when it is
//! turned into the domain's types, and every bad field is reported with a pointer to it.
//!
//! The same vocabulary is what a declared configuration is written in (TOML or JSON), and what a
//! store keeps of a change.

mod audit;
mod config;
mod control;
mod explanation;
mod fields;
mod file;
mod health;
mod limits;
mod log;
mod nodes;
mod problem;
mod read;
mod redact;
mod remedy;
mod route;
mod status;
mod time;
mod unique;
mod variables;
mod write;

pub use audit::{AuditEntry, AuditOutcome, AuditPage, KeptChanges};
pub use config::{
    AllDown, AllDownRule, Change, Check, CheckMethod, Clients, Config, FenceRule, Member,
    Objective, Override, OverrideAction, Policy, Region, Service, Settings, WholeConfig,
};
pub use control::{
    Diff, Difference, Flag, GeoData, GeoDatabase, HistoryEntry, HistoryPage, LogLevel,
    LogLevelRequest, NewToken, OverrideRequest, Peers, Proposed, Readiness, RollbackRequest,
    Status, Toggle, Token, TokenLimits, TokenRequest, Warning,
};
pub use explanation::{Explained, Explanation, Observed, Terms};
pub use fields::{FieldError, FieldErrors, Fields, step};
pub use file::{ConfigFile, ConfigFileError, TomlLines, read_toml};
pub use health::{
    BudgetSpent, HealthChange, HealthEvent, HealthHistory, HealthReport, HeldRegion, OutcomeKind,
    OutcomeReport, OutcomesAnswer, OutcomesRequest, OverrideEnded, RegionHealth, Votes,
};
pub use limits::{InForce, Limits};
pub use log::{Commit, ImportPart, ImportRequest, LogPage, Snapshot};
pub use nodes::{ClockSkews, Node, NodeState, NodeSummary};
pub use problem::Problem;
pub use read::{pointer_in_config, pointer_in_service};
pub use remedy::{nearest, not_a_number, remedy};
pub use route::{
    Alternative, BatchAnswer, BatchItem, BatchRequest, ClientView, LocationClaim, RouteAnswer,
    RouteRequest,
};
pub use time::Time;
pub use variables::{COMMAND_LINE_VARIABLES, PREFIX, SERVER_VARIABLES, unknown_variables};
