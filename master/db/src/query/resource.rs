//! Resource types as data: the fields of the API and the SQL behind them.

use serde_json::Value;

use super::attach::Attachment;
use super::error::QueryError;
use super::property_set::PropertySet;

/// A resource type.
#[derive(Debug)]
pub struct Resource {
    /// The name of the type: `build`.
    pub type_name: &'static str,
    /// The name of the list in answers: `builds`.
    pub plural: &'static str,
    /// Its fields, in the order of the API reference.
    pub fields: &'static [Field],
    /// The tables, with aliases and outer joins that never multiply rows.
    pub(super) from: &'static str,
    /// The order of rows that the query leaves open; ends in something unique.
    pub(super) default_order: &'static str,
    /// The unique key by which an order is made total.
    pub(super) key: &'static str,
    /// Columns that are unique together, if there are such: an order by them needs no key.
    pub(super) unique: &'static [&'static str],
    /// In which direction equals go on.
    pub(super) ties: Ties,
    /// What `meta.total` of a page tells.
    pub(super) totals: Totals,
}

/// In which direction equals go on by the unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ties {
    /// As the last key asked for, so that an index can be read in one direction.
    Follow,
    /// The same, but after this column the oldest come first, as in a queue.
    OldestFirstAfter(&'static str),
}

/// What `meta.total` tells when there is a limit or an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Totals {
    /// How many items match; counted.
    All,
    /// The size of the page, because counting would read the whole table.
    Page,
}

/// A field of a resource type.
#[derive(Debug)]
pub struct Field {
    /// Its name in the API.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// Whether it can be null.
    pub nullable: bool,
    /// Where the values come from.
    pub(super) source: Source,
}

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A whole number.
    Integer,
    /// A text.
    Text,
    /// A text that is an identifier.
    Identifier,
    /// True or false.
    Boolean,
    /// A time: microseconds in the database, seconds in the API.
    Time,
    /// A list of numbers.
    Integers,
    /// A list of texts.
    Texts,
    /// A list of objects.
    Objects,
    /// An object, or opaque JSON.
    Json,
    /// Another resource, embedded.
    Embedded,
}

/// Where the values of a field come from.
#[derive(Debug)]
pub(super) enum Source {
    /// An SQL expression of the field's type.
    Column(&'static str),
    /// A boolean that is a condition: when it is true and when it is false, each so that an index can serve it.
    Flag {
        /// Holds when the field is true.
        when_true: &'static str,
        /// Holds when the field is false.
        when_false: &'static str,
    },
    /// JSON as text in one column; the default is taken for null.
    JsonText {
        /// The column.
        column: &'static str,
        /// The value when the column is null or not JSON.
        default: fn() -> Value,
    },
    /// Built from several columns of the same row.
    Built {
        /// SQL expressions with their types, in the order in which `build` gets the values.
        columns: &'static [(&'static str, Kind)],
        /// Makes the value; takes what it needs out of the slice.
        build: fn(&mut [Value]) -> Value,
    },
    /// A column with the only element of a list, null for the empty list.
    SingletonList(&'static str),
    /// Attached by a statement of its own for the whole page.
    Attached(Attachment),
    /// The properties that the query asks for.
    Properties(PropertySet),
    /// The same for all.
    Constant(fn() -> Value),
}

impl Resource {
    /// The field called `name`.
    ///
    /// # Errors
    /// [`QueryError::UnknownField`] if there is none.
    pub fn field(&'static self, name: &str) -> Result<&'static Field, QueryError> {
        self.fields.iter().find(|field| field.name == name).ok_or_else(|| QueryError::UnknownField(name.to_owned()))
    }

    /// Whether it has a field called `name`.
    pub fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// Whether the collection grows without end, so that all of it may be more than one wants to hold in memory.
    pub fn grows(&self) -> bool {
        self.totals == Totals::Page
    }

    /// Whether its unique key is a number.
    pub(super) fn has_id(&self) -> bool {
        self.key.ends_with(".id") || self.key.ends_with(".changeid")
    }

    /// The fields that `field=` selects: those named; without those named with `-` before the name; all if none is named.
    ///
    /// # Errors
    /// [`QueryError::UnknownField`].
    pub(super) fn select(&'static self, names: &[String]) -> Result<Vec<&'static Field>, QueryError> {
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for name in names {
            match name.strip_prefix('-') {
                Some(name) => unwanted.push(self.field(name)?.name),
                None => wanted.push(self.field(name)?.name),
            }
        }
        Ok(self
            .fields
            .iter()
            .filter(|field| wanted.is_empty() || wanted.contains(&field.name))
            .filter(|field| !unwanted.contains(&field.name))
            .collect())
    }
}

/// A field with a column of its own.
pub(super) const fn column(name: &'static str, kind: Kind, sql: &'static str) -> Field {
    Field { name, kind, nullable: false, source: Source::Column(sql) }
}

/// A field with a column of its own that can be null.
pub(super) const fn nullable(name: &'static str, kind: Kind, sql: &'static str) -> Field {
    Field { name, kind, nullable: true, source: Source::Column(sql) }
}

/// A boolean field that is a condition.
pub(super) const fn flag(name: &'static str, when_true: &'static str, when_false: &'static str) -> Field {
    Field { name, kind: Kind::Boolean, nullable: false, source: Source::Flag { when_true, when_false } }
}

/// A field whose values are attached.
pub(super) const fn attached(name: &'static str, kind: Kind, attachment: Attachment) -> Field {
    Field { name, kind, nullable: false, source: Source::Attached(attachment) }
}
