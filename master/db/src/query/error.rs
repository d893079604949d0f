//! Why a read failed.

use sea_orm::DbErr;

use crate::DbError;

/// Why a read failed. All but the last are the client's fault, and their texts are for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// `field=` or `order=` names a field that the resource type does not have.
    #[error("no such field '{0}'")]
    UnknownField(String),
    /// A filter on a field that the resource type does not have.
    #[error("unrecognized query parameter '{0}'")]
    UnknownParameter(String),
    /// A filter on a field that `field=` leaves out.
    #[error("cannot filter on un-selected fields: '{0}'")]
    FilterNotSelected(String),
    /// An order by a field that `field=` leaves out.
    #[error("cannot order on un-selected fields: '{0}'")]
    OrderNotSelected(String),
    /// A value that does not fit the field's type, or several where one is needed.
    #[error("invalid filter value for {0}")]
    InvalidValue(String),
    /// A comparison that the field's type does not have.
    #[error("field '{field}' cannot be filtered with '{operator}'")]
    UnsupportedOperator {
        /// The field.
        field: String,
        /// The operator, as in the query string.
        operator: &'static str,
    },
    /// An order by a field that has none (most objects), or whose order would cost too much.
    #[error("cannot order by '{0}'")]
    Unordered(String),
    /// A filter on a single resource.
    #[error("this is not a collection")]
    NotACollection,
    /// `after` is nothing that an answer gave as a cursor, or was given for another order.
    #[error("'after' is no cursor of this collection in this order: take `meta.next` of the page before")]
    InvalidCursor,
    /// More items than one answer may have.
    #[error("more than {} items: ask for pages with limit and offset", super::MAX_ITEMS)]
    TooManyItems,
    /// More text than one answer may have.
    #[error("the answer has more than {} MiB: ask for fewer items with limit, or for less of each with field", super::MAX_ANSWER_BYTES >> 20)]
    TooLarge,
    /// More filters, values or keys of an order than one query may have.
    #[error("too many filters or values")]
    TooComplex,
    /// The database failed.
    #[error("read from the database")]
    Database(#[from] DbError),
}

impl From<DbErr> for QueryError {
    fn from(error: DbErr) -> Self {
        Self::Database(error.into())
    }
}
