//! From the query string to a result spec. Whether the fields exist and the values fit is checked by who knows the
//! resource type.

use std::borrow::Cow;

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
/// `name` or `name__op`. Unknown operators are ignored, as Buildbot does; and of several limits the first one counts.
pub(crate) fn parse_spec(query: &str) -> Result<ResultSpec, QueryError> {
    let mut spec = ResultSpec::default();
    let (mut limits, mut offsets) = (0, 0);
    // The parameter behind each filter: `id=1&id__eq=2` are two conditions, `id=1&id=2` is one.
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    for (n, (name, value)) in parameters(query).enumerate() {
        if n == MAX_PARAMETERS {
            return Err(QueryError::TooMany);
        }
        match name.as_ref() {
            "field" => spec.fields.push(value.into_owned()),
            "property" => spec.properties.push(value.into_owned()),
            "limit" => {
                let limit = number(&value).ok_or(QueryError::Limit)?;
                limits += 1;
                if limits == 1 {
                    spec.limit = u64::try_from(limit).ok();
                }
            }
            "offset" => {
                let offset = number(&value).ok_or(QueryError::Offset)?;
                offsets += 1;
                if offsets == 1 {
                    spec.offset = u64::try_from(offset).ok();
                }
            }
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
                let Some(op) = op else { continue };
                match names.iter().position(|known| *known == name) {
                    Some(filter) => spec.filters[filter].values.push(value.into_owned()),
                    None => {
                        spec.filters.push(Filter { field: field.to_owned(), op, values: vec![value.into_owned()] });
                        names.push(name);
                    }
                }
            }
        }
    }
    Ok(spec)
}

/// A whole number, with or without a sign; one beyond all collections counts as the largest. A negative limit or offset
/// means none, as for the large collections of Buildbot.
fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let beyond = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    is_decimal.then(|| text.parse().unwrap_or(beyond))
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
                ("name", FilterOp::Eq, "x".to_owned()),
                ("name", FilterOp::Eq, "y".to_owned()),
                ("builderid", FilterOp::Eq, "1".to_owned()),
                ("builderid", FilterOp::Gt, "3".to_owned()),
            ]
        );
    }

    #[test]
    fn limits_must_be_numbers() {
        for (query, error) in [
            ("limit=x", QueryError::Limit),
            ("limit=", QueryError::Limit),
            ("limit=+", QueryError::Limit),
            ("limit=%2B-1", QueryError::Limit),
            ("limit=1&limit=x", QueryError::Limit),
            ("offset=1.5", QueryError::Offset),
        ] {
            assert_eq!(parse_spec(query), Err(error), "{query}");
        }
        assert_eq!(parse_spec(&"a=1&".repeat(MAX_PARAMETERS + 1)), Err(QueryError::TooMany));
        let huge = parse_spec("limit=99999999999999999999999").expect("parses");
        assert_eq!(huge.limit, Some(i64::MAX.unsigned_abs()));
    }

    #[test]
    fn limits_may_have_signs() {
        for (query, limit, offset) in [
            ("limit=-1&offset=-99999999999999999999999", None, None),
            ("limit=+2&offset=%2B3", Some(2), Some(3)),
            ("limit=1&limit=2&offset=3&offset=4", Some(1), Some(3)),
            ("limit=-1&limit=2", None, None),
            ("limit&offset", None, None),
        ] {
            let spec = parse_spec(query).expect("parses");
            assert_eq!((spec.limit, spec.offset), (limit, offset), "{query}");
        }
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
