//! Why the Data API refused or failed.

use buildguild_db::DbError;
use buildguild_db::query::QueryError;

/// Why the Data API refused or failed.
///
/// [`DataError::kind`] sorts the variants for those who only turn them into an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No endpoint has this path.
    #[error("Invalid path: {0}")]
    InvalidPath(String),
    /// The path is right, but there is no such object.
    #[error("not found while getting from {0}")]
    NotFound(String),
    /// The query names an unknown field, has a bad value, or asks for too much.
    #[error("{0}")]
    BadQuery(String),
    /// The database refused or failed.
    #[error("database: {0}")]
    Db(#[from] DbError),
}

impl From<QueryError> for DataError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Database(error) => Self::Db(error),
            refused => Self::BadQuery(refused.to_string()),
        }
    }
}

/// What an error means to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such path or object.
    NotFound,
    /// The query is wrong; the error's text says what.
    BadQuery,
    /// Something else changed the same thing first.
    Conflict,
    /// The database cannot be reached just now.
    Unavailable,
    /// Our own fault; the text is for the log only.
    Internal,
}

impl DataError {
    /// What the error means to whoever asked.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidPath(_) | Self::NotFound(_) => ErrorKind::NotFound,
            Self::BadQuery(_) => ErrorKind::BadQuery,
            Self::Db(error) if error.is_transient() => ErrorKind::Unavailable,
            Self::Db(error) => match error {
                DbError::NotFound(_) => ErrorKind::NotFound,
                DbError::Conflict(_)
                | DbError::AlreadyClaimed
                | DbError::AlreadyComplete
                | DbError::ClaimLost
                | DbError::EpochEnded => ErrorKind::Conflict,
                _ => ErrorKind::Internal,
            },
        }
    }
}
