//! Why a database operation failed, in terms that a caller can act on.

use std::sync::Arc;

use sea_orm::{DbErr, RuntimeErr, sqlx};

/// Why a database operation failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// There is no such row.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A row with the same unique value, or one that is still referred to, is in the way.
    #[error("conflict with existing data")]
    Conflict(#[source] Arc<DbErr>),
    /// Somebody else was faster: at least one of the things to claim is taken or complete.
    #[error("already claimed")]
    AlreadyClaimed,
    /// The claim under which this was to be written is no longer held: the writer was declared dead or gave it up.
    #[error("the claim is no longer held by this master")]
    ClaimLost,
    /// It is complete already.
    #[error("already complete")]
    AlreadyComplete,
    /// The process's epoch is not the active one (any more).
    #[error("this master's epoch has ended")]
    EpochEnded,
    /// A value breaks a rule of the database page (an identifier, a length).
    #[error("invalid value: {0}")]
    Invalid(String),
    /// What the database holds cannot be read.
    #[error("unreadable data in the database: {0}")]
    Corrupt(String),
    /// Two transactions got into each other's way, beyond the retries.
    #[error("the database is busy")]
    Busy(#[source] Arc<DbErr>),
    /// The database cannot be reached, or is shutting down. Nothing was written.
    #[error("the database is unavailable")]
    Unavailable(#[source] Arc<DbErr>),
    /// The connection broke while committing: the transaction may or may not have been committed.
    #[error("the database was lost during a commit")]
    Uncertain(#[source] Arc<DbErr>),
    /// The URL is not one of a database that is supported.
    #[error("not a database URL: {0}")]
    Url(String),
    /// The schema could not be upgraded or read.
    #[error("check the schema")]
    Schema(#[source] Arc<migrations::UpgradeError>),
    /// Any other error of the database.
    #[error("database error")]
    Database(#[source] Arc<DbErr>),
}

impl DbError {
    /// Whether the same operation may well succeed later, without any change by a person.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy(_) | Self::Unavailable(_) | Self::Uncertain(_) => true,
            Self::NotFound(_)
            | Self::Conflict(_)
            | Self::AlreadyClaimed
            | Self::ClaimLost
            | Self::AlreadyComplete
            | Self::EpochEnded
            | Self::Invalid(_)
            | Self::Corrupt(_)
            | Self::Url(_)
            | Self::Schema(_)
            | Self::Database(_) => false,
        }
    }

    /// Whether the server cannot be reached, or starts or ends just now: it may well answer later. Not if it answers that
    /// it does not know this user, password or database, or if the files of a database cannot be opened.
    pub fn is_away(&self) -> bool {
        let (Self::Unavailable(source) | Self::Uncertain(source)) = self else { return false };
        match &**source {
            DbErr::Conn(RuntimeErr::SqlxError(sqlx))
            | DbErr::Exec(RuntimeErr::SqlxError(sqlx))
            | DbErr::Query(RuntimeErr::SqlxError(sqlx)) => match &**sqlx {
                sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => false,
                // What SQLite says has no such code: its files do not come back by themselves.
                error @ sqlx::Error::Database(said)
                    if said.code().is_some_and(|code| code.len() == SQLSTATE_LENGTH) =>
                {
                    matches!(classify(error), Kind::Unavailable)
                }
                sqlx::Error::Database(_) => false,
                _ => true,
            },
            _ => true,
        }
    }

    /// Whether the writer has lost the right to write: it must stop what it does.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::ClaimLost | Self::EpochEnded)
    }

    /// What an error of a commit means: if the connection broke, nobody knows; if PostgreSQL ended a session that was
    /// idle within its transaction (this process was paused), it rolled back before the commit arrived.
    pub(crate) fn from_commit(error: DbErr) -> Self {
        let rolled_back = sqlstate(&error).is_some_and(|code| code == "25P03");
        match Self::from(error) {
            Self::Unavailable(source) if rolled_back => Self::Unavailable(source),
            Self::Unavailable(source) => Self::Uncertain(source),
            other => other,
        }
    }
}

impl From<migrations::UpgradeError> for DbError {
    fn from(error: migrations::UpgradeError) -> Self {
        match error {
            migrations::UpgradeError::Database(error) => Self::from(error),
            other => Self::Schema(Arc::new(other)),
        }
    }
}

impl From<DbErr> for DbError {
    fn from(error: DbErr) -> Self {
        let kind = match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Kind::Unavailable,
            DbErr::Exec(RuntimeErr::SqlxError(sqlx)) | DbErr::Query(RuntimeErr::SqlxError(sqlx)) => classify(sqlx),
            DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } => return Self::Corrupt(error.to_string()),
            _ => Kind::Other,
        };
        let error = Arc::new(error);
        match kind {
            Kind::Conflict => Self::Conflict(error),
            Kind::Busy => Self::Busy(error),
            Kind::Unavailable => Self::Unavailable(error),
            Kind::Other => Self::Database(error),
        }
    }
}

/// Of PostgreSQL's codes.
const SQLSTATE_LENGTH: usize = 5;

fn sqlstate(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(sqlx))
        | DbErr::Exec(RuntimeErr::SqlxError(sqlx))
        | DbErr::Query(RuntimeErr::SqlxError(sqlx)) => Some(sqlx.as_database_error()?.code()?.into_owned()),
        _ => None,
    }
}

enum Kind {
    Conflict,
    Busy,
    Unavailable,
    Other,
}

/// Whether PostgreSQL refuses a prepared statement that a change of the schema has overtaken: prepared anew, it works. Its
/// code stands for other things, too, and its text is in the server's language.
pub(crate) fn is_stale_plan(error: &dyn sqlx::error::DatabaseError) -> bool {
    let postgres = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
    postgres.and_then(sqlx::postgres::PgDatabaseError::routine) == Some("RevalidateCachedQuery")
}

/// Sorts a driver's error by its SQLSTATE (PostgreSQL) or extended result code (SQLite).
fn classify(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(database) if is_stale_plan(&**database) => Kind::Busy,
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            match code.as_ref() {
                // Serialization failure, deadlock, lock not available; SQLITE_BUSY, _LOCKED and their extended codes.
                "40001" | "40P01" | "55P03" | "5" | "6" | "261" | "262" | "517" => Kind::Busy,
                // Unique and foreign key violations.
                "23505" | "23503" | "787" | "1555" | "2067" => Kind::Conflict,
                // Idle in transaction for too long, statement timeout, shutdowns, read-only (a standby after a
                // failover), out of connections or disk; SQLITE_FULL, _IOERR, _CANTOPEN, _READONLY.
                "25P03" | "57014" | "57P01" | "57P02" | "57P03" | "25006" | "13" | "10" | "14" | "8" => {
                    Kind::Unavailable
                }
                code if code.starts_with("08") || code.starts_with("53") => Kind::Unavailable,
                _ => Kind::Other,
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Kind::Unavailable,
        _ => Kind::Other,
    }
}
