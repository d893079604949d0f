//! Buildsets.

use buildguild_db::buildsets::{self, NewBuildset};
use buildguild_db::{DbError, properties};
use buildguild_types::ids::BuildId;
use buildguild_types::resources::{BuildRequest, Buildset};

use crate::{Update, events};

impl Update {
    /// Adds a buildset with one request for each builder. Its `scheduler` property names the scheduler in the event.
    ///
    /// # Errors
    /// What the database reported.
    pub async fn add_buildset(&self, new: &NewBuildset) -> Result<(Buildset, Vec<BuildRequest>), DbError> {
        let (buildset, requests) = buildsets::add(self.tx(), new, self.now()).await?;
        let scheduler = new.properties.value("scheduler").and_then(serde_json::Value::as_str);
        let announced = Buildset { complete: false, complete_at: None, results: None, ..buildset.clone() };
        self.emit(events::buildset(&announced, Some(scheduler.unwrap_or_default()), "new")?);
        for request in &requests {
            self.emit(events::buildrequest(request, "new")?);
        }
        if buildset.complete {
            self.emit(events::buildset(&buildset, None, "complete")?);
        }
        Ok((buildset, requests))
    }

    /// Adds a buildset that does a build again: the same builder, source stamps and properties. Of a chain of rebuilds,
    /// each names the first build.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if there is no such build.
    pub async fn rebuild(&self, build: BuildId) -> Result<(Buildset, Vec<BuildRequest>), DbError> {
        let tx = self.tx();
        let build = buildguild_db::builds::get(tx, build).await?.ok_or(DbError::NotFound("build"))?;
        let request = buildguild_db::buildrequests::get(tx, build.buildrequestid)
            .await?
            .ok_or(DbError::NotFound("build request"))?;
        let old = buildsets::get(tx, request.buildsetid).await?.ok_or(DbError::NotFound("buildset"))?;
        let new = NewBuildset {
            sourcestamps: old.sourcestamps.iter().map(|stamp| buildsets::StampRef::Id(stamp.ssid)).collect(),
            reason: "rebuild".to_owned(),
            properties: properties::of_buildset(tx, request.buildsetid).await?,
            builders: vec![build.builderid],
            priority: request.priority,
            waited_for: false,
            external_idstring: old.external_idstring,
            parent_buildid: old.parent_buildid,
            parent_relationship: old.parent_relationship,
            rebuilt_buildid: Some(old.rebuilt_buildid.unwrap_or(build.buildid)),
        };
        self.add_buildset(&new).await
    }
}
