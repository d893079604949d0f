//! The properties that a build begins with, in the order of precedence: later ones win.

use buildguild_types::farm::{BuilderConfig, FarmConfig, WorkerConfig};
use buildguild_types::ids::ProjectId;
use buildguild_types::properties::Properties;
use buildguild_types::resources::{Build, Change, SourceStamp};
use serde_json::json;

/// Where the first properties come from.
pub(crate) struct Origins<'a> {
    pub(crate) farm: &'a FarmConfig,
    /// The buildset's: the scheduler's or the form's.
    pub(crate) buildset: &'a Properties,
    pub(crate) changes: &'a [Change],
    pub(crate) sources: &'a [SourceStamp],
    pub(crate) builder: &'a BuilderConfig,
    pub(crate) project: Option<ProjectId>,
    pub(crate) worker: Option<&'a WorkerConfig>,
    pub(crate) worker_name: &'a str,
    pub(crate) build: &'a Build,
}

/// Global < scheduler < change < builder < worker < build; defaults only where nothing else is.
pub(crate) fn first_properties(origins: &Origins<'_>) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in &origins.farm.properties {
        properties.set(name, value.clone(), "BuildmasterConfig");
    }
    properties.extend(origins.buildset);
    for change in origins.changes {
        properties.extend(&change.properties);
    }
    for (name, value) in &origins.builder.properties {
        properties.set(name, value.clone(), "Builder");
    }
    properties.set("buildername", origins.builder.name.as_str(), "Builder");
    properties.set("builderid", origins.build.builderid.get(), "Builder");
    if let Some(project) = &origins.builder.project {
        properties.set("projectname", project.as_str(), "Builder");
        if let Some(id) = origins.project {
            properties.set("projectid", id.get(), "Builder");
        }
    }
    if let Some(worker) = origins.worker {
        for (name, value) in &worker.properties {
            properties.set(name, value.clone(), "Worker");
        }
    }
    properties.set("workername", origins.worker_name, "Worker");
    properties.set("buildnumber", origins.build.number, "Build");
    if let [source] = origins.sources {
        properties.set("branch", json!(source.branch), "Build");
        properties.set("revision", json!(source.revision), "Build");
        properties.set("repository", source.repository.as_str(), "Build");
        properties.set("codebase", source.codebase.as_str(), "Build");
        properties.set("project", source.project.as_str(), "Build");
    }
    let owners = owners(&properties, origins.changes);
    if !owners.is_empty() {
        properties.set("owners", json!(owners), "Build");
    }
    for (name, value) in &origins.builder.default_properties {
        properties.set_default(name, value.clone(), "Builder");
    }
    if let Some(worker) = origins.worker {
        for (name, value) in &worker.default_properties {
            properties.set_default(name, value.clone(), "Worker");
        }
    }
    properties
}

/// Who is responsible: the authors of the changes, and the `owner`. As in Buildbot that may be an empty one, of a build
/// that was forced without a login: clients count on the list of a forced build.
fn owners(properties: &Properties, changes: &[Change]) -> Vec<String> {
    let mut owners: Vec<String> = changes.iter().map(|change| change.author.clone()).collect();
    owners.extend(properties.value("owner").and_then(|owner| owner.as_str()).map(str::to_owned));
    owners.sort();
    owners.dedup();
    owners
}
