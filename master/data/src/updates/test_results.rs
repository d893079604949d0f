//! Test result sets.

use buildguild_db::test_result_sets::{self, NewTestResultSet};
use buildguild_db::{DbError, claims};
use buildguild_types::ids::{BuildId, StepId, TestResultSetId};

use crate::{Update, events};

impl Update {
    /// Adds a set of test results of a step, and announces it.
    ///
    /// # Errors
    /// [`DbError::ClaimLost`].
    pub async fn add_test_result_set(
        &self,
        build: BuildId,
        step: StepId,
        new: TestResultSetInfo<'_>,
    ) -> Result<TestResultSetId, DbError> {
        let locked = claims::lock_build(self.tx(), build, self.owner()).await?;
        let set = NewTestResultSet {
            builder: locked.builderid,
            build,
            step,
            description: (!new.description.is_empty()).then(|| new.description.to_owned()),
            category: new.category.to_owned(),
            value_unit: new.value_unit.to_owned(),
        };
        let id = test_result_sets::add(self.tx(), &set).await?;
        self.announce_test_result_set(id, "new").await?;
        Ok(id)
    }

    /// Says that all results of a set are in, with the numbers of tests if they are known.
    ///
    /// # Errors
    /// [`DbError::AlreadyComplete`].
    pub async fn complete_test_result_set(
        &self,
        set: TestResultSetId,
        tests_passed: Option<i64>,
        tests_failed: Option<i64>,
    ) -> Result<(), DbError> {
        test_result_sets::complete(self.tx(), set, tests_passed, tests_failed).await?;
        self.announce_test_result_set(set, "completed").await
    }

    async fn announce_test_result_set(&self, set: TestResultSetId, verb: &str) -> Result<(), DbError> {
        if let Some(set) = test_result_sets::get(self.tx(), set).await? {
            self.emit(events::test_result_set(&set, verb)?);
        }
        Ok(())
    }
}

/// What a set of test results holds.
#[derive(Clone, Copy, Debug)]
pub struct TestResultSetInfo<'a> {
    /// What was tested; may be empty.
    pub description: &'a str,
    /// What kind of result: `pass_fail`, `code_issue`, ...
    pub category: &'a str,
    /// The unit of the values: `boolean`, `ms`, ...
    pub value_unit: &'a str,
}
