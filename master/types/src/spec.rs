//! Result specs: which items of a collection, in which order, with which fields.
//!
//! A spec is what the query string of a REST call says, parsed but not yet checked against a resource type.

/// How a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterOp {
    /// Equal to one of the values.
    Eq,
    /// Equal to none of the values.
    Ne,
    /// Less than the value.
    Lt,
    /// At most the value.
    Le,
    /// Greater than the value.
    Gt,
    /// At least the value.
    Ge,
    /// A text that contains one of the values, or a list that has one of them.
    Contains,
}

impl FilterOp {
    /// The operator that a suffix (`lt` of `number__lt`) names; `in` and `notin` are `Eq` and `Ne` with several values.
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "eq" | "in" => Some(Self::Eq),
            "ne" | "notin" => Some(Self::Ne),
            "lt" => Some(Self::Lt),
            "le" => Some(Self::Le),
            "gt" => Some(Self::Gt),
            "ge" => Some(Self::Ge),
            "contains" => Some(Self::Contains),
            _ => None,
        }
    }
}

/// One condition on a field. All filters of a spec must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The field's name in the API.
    pub field: String,
    /// How to compare.
    pub op: FilterOp,
    /// The values as the client wrote them; never empty. The field's type says how to read them.
    pub values: Vec<String>,
}

/// One key of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy {
    /// The field's name in the API.
    pub field: String,
    /// Largest first.
    pub descending: bool,
}

/// Which items, in which order, with which fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSpec {
    /// Only these fields of each item; all if empty.
    pub fields: Vec<String>,
    /// Conditions, all of which must hold.
    pub filters: Vec<Filter>,
    /// Sort keys, the most significant first.
    pub order: Vec<OrderBy>,
    /// At most so many items.
    pub limit: Option<u64>,
    /// Skip so many items first.
    pub offset: Option<u64>,
    /// Properties to fill in (builds and build requests); `*` for all.
    pub properties: Vec<String>,
}
