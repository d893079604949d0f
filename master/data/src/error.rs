//! Why the Data API refused or failed.

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
        }
    }
}
