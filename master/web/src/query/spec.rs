//! From the query string to a result spec. Whether the fields exist and the values fit is checked by who knows the
//! resource type.

use buildguild_types::spec::{Filter, FilterOp, OrderBy, ResultSpec};
use thiserror::Error;

use super::decode::parameters;

/// The most parameters of one query: a page asks for some hundred builders by id; more is no page.
const MAX_PARAMETERS: usize = 2000;

/// A query that is refused before looking at any data. The texts name the parameter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum QueryError {
    #[error("invalid limit")]
    Limit,
    #[error("invalid offset")]
    Offset,
    #[error("too many query parameters (at most {MAX_PARAMETERS})")]
    TooMany,
}

/// Parses a query string by the grammar of the API: `field`, `order`, `limit`, `offset`, `property`, and filters
/// `name` or `name__op`. Unknown operators are ignored, as Buildbot does.
pub(crate) fn parse_spec(query: &str) -> Result<ResultSpec, QueryError> {
    let mut spec = ResultSpec::default();
    for (n, (name, value)) in parameters(query).enumerate() {
        if n == MAX_PARAMETERS {
            return Err(QueryError::TooMany);
        }
        match name.as_ref() {
            "field" => spec.fields.push(value.into_owned()),
            "property" => spec.properties.push(value.into_owned()),
            "limit" => spec.limit = Some(number(&value).ok_or(QueryError::Limit)?),
            "offset" => spec.offset = Some(number(&value).ok_or(QueryError::Offset)?),
            "order" => {
                let (field, descending) = match value.strip_prefix('-') {
                    Some(field) => (field, true),
                    None => (value.as_ref(), false),
                };
                spec.order.push(OrderBy { field: field.to_owned(), descending });
            }
            _ => {
                let (field, op) = match name.split_once("__") {
                    None => (name.as_ref(), Some(FilterOp::Eq)),
                    Some((field, suffix)) => (field, FilterOp::from_suffix(suffix)),
                };
                if let Some(op) = op {
                    add_filter(&mut spec.filters, field, op, value.into_owned());
                }
            }
        }
    }
    Ok(spec)
}

/// Values of one field and operator belong to one filter.
fn add_filter(filters: &mut Vec<Filter>, field: &str, op: FilterOp, value: String) {
    match filters.iter_mut().find(|filter| filter.op == op && filter.field == field) {
        Some(filter) => filter.values.push(value),
        None => filters.push(Filter { field: field.to_owned(), op, values: vec![value] }),
    }
}

/// A decimal number; one beyond all collections counts as the largest.
fn number(text: &str) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_decimal.then(|| text.parse().unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_all_kinds_of_parameters() {
        let spec = parse_spec(
            "field=name&field=builderid&order=-builderid&order=name&limit=5&offset=10&property=owner&\
             tags__contains=a&tags__contains=b&name=x&name__eq=y&builderid__in=1&builderid__gt=3&builderid__bogus=7",
        )
        .expect("parses");
        assert_eq!(spec.fields, ["name", "builderid"]);
        assert_eq!(spec.properties, ["owner"]);
        assert_eq!((spec.limit, spec.offset), (Some(5), Some(10)));
        let order: Vec<_> = spec.order.iter().map(|o| (o.field.as_str(), o.descending)).collect();
        assert_eq!(order, [("builderid", true), ("name", false)]);
        let filters: Vec<_> = spec.filters.iter().map(|f| (f.field.as_str(), f.op, f.values.join(","))).collect();
        assert_eq!(
            filters,
            [
                ("tags", FilterOp::Contains, "a,b".to_owned()),
                ("name", FilterOp::Eq, "x,y".to_owned()),
                ("builderid", FilterOp::Eq, "1".to_owned()),
                ("builderid", FilterOp::Gt, "3".to_owned()),
            ]
        );
    }

    #[test]
    fn limits_must_be_numbers() {
        for (query, error) in [
            ("limit=x", QueryError::Limit),
            ("limit=-1", QueryError::Limit),
            ("limit=", QueryError::Limit),
            ("limit=%2B1", QueryError::Limit),
            ("offset=1.5", QueryError::Offset),
        ] {
            assert_eq!(parse_spec(query), Err(error), "{query}");
        }
        assert_eq!(parse_spec(&"a=1&".repeat(MAX_PARAMETERS + 1)), Err(QueryError::TooMany));
        let huge = parse_spec("limit=99999999999999999999999").expect("parses");
        assert_eq!(huge.limit, Some(i64::MAX.unsigned_abs()));
    }

    proptest! {
        #[test]
        fn never_panics(query in any::<String>()) {
            let _ = parse_spec(&query);
        }

        /// Filters are never empty, and nothing gets lost.
        #[test]
        fn keeps_every_value(pairs in prop::collection::vec(("[a-c]{1,2}", "(__(eq|lt|contains))?", "[0-9]{0,3}"), 0..20)) {
            let query: Vec<_> = pairs.iter().map(|(f, op, v)| format!("{f}{op}={v}")).collect();
            let spec = parse_spec(&query.join("&")).expect("parses");
            prop_assert!(spec.filters.iter().all(|f| !f.values.is_empty()));
            prop_assert_eq!(spec.filters.iter().map(|f| f.values.len()).sum::<usize>(), pairs.len());
        }
    }
}
