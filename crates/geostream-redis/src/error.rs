//! What can go wrong with Redis.

use geostream_ports::Unavailable;
use thiserror::Error;

/// Why Redis does not do what it is asked.
#[derive(Debug, Error)]
pub enum RedisError {
    /// The client cannot be made.
    #[error("Redis cannot be used so")]
    Unusable(#[source] fred::error::Error),
    /// The time is over.
    #[error("Redis does not answer in time")]
    Timeout,
    /// It has not answered just now.
    #[error("Redis has not answered, and is left alone for a second")]
    Resting,
    /// It answers with an error.
    #[error("Redis says: {0}")]
    Refused(String),
    /// The connection fails.
    #[error("the connection to Redis is lost")]
    Lost(#[source] fred::error::Error),
    /// The connection fails, and there are several hosts.
    #[error("the connection to Redis is lost ({hosts})")]
    Hosts {
        /// What each host says.
        hosts: String,
        /// What the client says.
        #[source]
        source: fred::error::Error,
    },
    /// What it answers cannot be understood.
    #[error("Redis holds {what} that cannot be read")]
    Nonsense {
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How Redis begins its errors where it does not look at what it was asked: nobody knows who asks,
/// it still reads its file, it has lost its primary or its cluster, or a script does not end.
const SERVES_NOBODY: [&str; 6] =
    ["NOAUTH", "WRONGPASS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY"];

impl RedisError {
    pub(crate) fn nonsense(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Nonsense { what, source: source.into() }
    }

    /// Tells whether Redis serves nobody, whatever it is asked.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Unusable(_)
            | Self::Timeout
            | Self::Resting
            | Self::Lost(_)
            | Self::Hosts { .. } => true,
            Self::Refused(reason) => {
                let kind = reason.split(' ').next();
                kind.is_some_and(|kind| SERVES_NOBODY.contains(&kind))
            }
            Self::Nonsense { .. } => false,
        }
    }

    /// Tells whether Redis is well, and what it holds is wrong.
    pub(crate) fn is_about_content(&self) -> bool {
        match self {
            Self::Nonsense { .. } => true,
            Self::Refused(reason) => reason.starts_with("WRONGTYPE"),
            Self::Unusable(_)
            | Self::Timeout
            | Self::Resting
            | Self::Lost(_)
            | Self::Hosts { .. } => false,
        }
    }
}

impl From<RedisError> for Unavailable {
    fn from(error: RedisError) -> Self {
        Self::new("Redis", error)
    }
}
