//! Addresses of databases, as Buildbot (SQLAlchemy) writes them.

/// Why a text is no address of a database that can be used. It never repeats the text: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// No `scheme://`.
    #[error("expected postgresql://... or sqlite:///path")]
    Form,
    /// Another kind of database.
    #[error("`{0}` databases are not supported; use postgresql://... or sqlite:///path")]
    Scheme(String),
    /// SQLite without a file.
    #[error("SQLite needs a file: sqlite:///path")]
    NoFile,
}

/// A database and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// PostgreSQL: everything behind `postgresql://`.
    Postgres(String),
    /// SQLite: the path behind `sqlite:///`, so that an absolute one has four slashes.
    Sqlite(String),
}

impl DatabaseUrl {
    /// Reads `postgresql[+driver]://…`, `postgres://…` or `sqlite:///path`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, DatabaseUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(DatabaseUrlError::Form)?;
        let kind = scheme.split('+').next().unwrap_or(scheme);
        match kind {
            "postgresql" | "postgres" if rest.is_empty() => Err(DatabaseUrlError::Form),
            "postgresql" | "postgres" => Ok(Self::Postgres(rest.to_owned())),
            "sqlite" => match rest.strip_prefix('/') {
                Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.to_owned())),
                _ => Err(DatabaseUrlError::NoFile),
            },
            // What is no word may be a part of a password that lacks its scheme.
            other if !other.is_empty() && other.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                Err(DatabaseUrlError::Scheme(other.to_owned()))
            }
            _ => Err(DatabaseUrlError::Form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_kinds_are_understood_and_others_are_named() {
        assert_eq!(DatabaseUrl::parse("sqlite:///state.sqlite"), Ok(DatabaseUrl::Sqlite("state.sqlite".to_owned())));
        assert_eq!(DatabaseUrl::parse("sqlite:////var/x"), Ok(DatabaseUrl::Sqlite("/var/x".to_owned())));
        assert_eq!(
            DatabaseUrl::parse("postgresql+psycopg2://u:p@h/d"),
            Ok(DatabaseUrl::Postgres("u:p@h/d".to_owned()))
        );
        assert_eq!(DatabaseUrl::parse("mysql://x"), Err(DatabaseUrlError::Scheme("mysql".to_owned())));
        assert_eq!(DatabaseUrl::parse("sqlite://"), Err(DatabaseUrlError::NoFile));
        assert_eq!(DatabaseUrl::parse("nothing"), Err(DatabaseUrlError::Form));
        assert_eq!(DatabaseUrl::parse("se cret@://x"), Err(DatabaseUrlError::Form));
    }
}
