//! Test result sets and test results.

use super::super::resource::{Kind, Resource, Ties, Totals, column, nullable};

/// Test result sets.
pub static TEST_RESULT_SETS: Resource = Resource {
    type_name: "test_result_set",
    plural: "test_result_sets",
    from: "test_result_sets ts",
    default_order: "ts.id",
    key: "ts.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("test_result_setid", Kind::Integer, "ts.id"),
        column("builderid", Kind::Integer, "ts.builderid"),
        column("buildid", Kind::Integer, "ts.buildid"),
        column("stepid", Kind::Integer, "ts.stepid"),
        nullable("description", Kind::Text, "ts.description"),
        column("category", Kind::Text, "ts.category"),
        column("value_unit", Kind::Text, "ts.value_unit"),
        nullable("tests_passed", Kind::Integer, "ts.tests_passed"),
        nullable("tests_failed", Kind::Integer, "ts.tests_failed"),
        column("complete", Kind::Boolean, "ts.complete"),
    ],
};

/// Test results.
pub static TEST_RESULTS: Resource = Resource {
    type_name: "test_result",
    plural: "test_results",
    from: "test_results tr LEFT JOIN test_names tn ON tn.id = tr.test_nameid \
           LEFT JOIN test_code_paths tp ON tp.id = tr.test_code_pathid",
    default_order: "tr.id",
    key: "tr.id",
    unique: &[],
    ties: Ties::Follow,
    totals: Totals::All,
    fields: &[
        column("test_resultid", Kind::Integer, "tr.id"),
        column("builderid", Kind::Integer, "tr.builderid"),
        column("test_result_setid", Kind::Integer, "tr.test_result_setid"),
        nullable("test_name", Kind::Text, "tn.name"),
        nullable("test_code_path", Kind::Text, "tp.path"),
        nullable("line", Kind::Integer, "tr.line"),
        nullable("duration_ns", Kind::Integer, "tr.duration_ns"),
        nullable("value", Kind::Text, "tr.value"),
    ],
};
