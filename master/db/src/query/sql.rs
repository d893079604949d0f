//! The text of a statement with its bound values, in either database's dialect.

use sea_orm::{DatabaseBackend, Statement, Value};

/// A statement under construction.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    backend: DatabaseBackend,
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// An empty statement for `backend`.
    pub(super) fn new(backend: DatabaseBackend) -> Self {
        Self { backend, text: String::with_capacity(512), values: Vec::new() }
    }

    /// Appends text of ours; never anything that a client sent.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a parameter with its value.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        // `$1` works on both.
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Appends parameters separated by commas; `NULL`, which equals nothing, if there are none.
    pub(super) fn bind_list<V: Into<Value>>(&mut self, values: impl IntoIterator<Item = V>) -> &mut Self {
        let mut first = true;
        for value in values {
            if !first {
                self.text.push_str(", ");
            }
            first = false;
            self.bind(value);
        }
        if first {
            self.text.push_str("NULL");
        }
        self
    }

    /// Whether the dialect is PostgreSQL's; otherwise it is SQLite's.
    pub(super) fn is_postgres(&self) -> bool {
        self.backend == DatabaseBackend::Postgres
    }

    /// The finished statement.
    pub(super) fn into_statement(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.text, self.values)
    }
}
