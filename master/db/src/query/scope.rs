//! What a path limits a collection to.
//!
//! Objects are named as paths name them: by id, or by name, or by number within another object. A name becomes a
//! subquery on a unique index, so that even `builders/linux/builds/7/steps/2/logs/stdio` is one statement.

use super::error::QueryError;
use super::resource::{Resource, Source};
use super::sql::Sql;

/// A builder, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuilderRef {
    /// By id.
    Id(i64),
    /// By name.
    Name(String),
}

/// A worker, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerRef {
    /// By id.
    Id(i64),
    /// By name.
    Name(String),
}

/// A project, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectRef {
    /// By id.
    Id(i64),
    /// By name.
    Name(String),
}

/// A code base, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodebaseRef {
    /// By id.
    Id(i64),
    /// By its project's id and its own name.
    InProject(i64, String),
}

/// A build, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildRef {
    /// By id.
    Id(i64),
    /// By its number within a builder.
    Number(BuilderRef, i64),
}

/// A step, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepRef {
    /// By id.
    Id(i64),
    /// By its number within a build.
    Number(BuildRef, i64),
    /// By its name within a build.
    Name(BuildRef, String),
}

/// A log, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRef {
    /// By id.
    Id(i64),
    /// By its slug within a step.
    Slug(StepRef, String),
}

/// A condition on a collection that comes from the path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// An integer field of the resource has this value.
    Id(&'static str, i64),
    /// A text field of the resource has this value.
    Text(&'static str, String),
    /// An integer field of the resource has one of these values.
    Ids(&'static str, Vec<i64>),
    /// An integer field is the id of this builder.
    Builder(&'static str, BuilderRef),
    /// An integer field is the id of this worker.
    Worker(&'static str, WorkerRef),
    /// An integer field is the id of this project.
    Project(&'static str, ProjectRef),
    /// An integer field is the id of this code base.
    Codebase(&'static str, CodebaseRef),
    /// An integer field is the id of this build.
    Build(&'static str, BuildRef),
    /// An integer field is the id of this step.
    Step(&'static str, StepRef),
    /// An integer field is the id of this log.
    Log(&'static str, LogRef),
    /// Properties of this build.
    PropertiesOfBuild(BuildRef),
    /// Properties of this buildset.
    PropertiesOfBuildset(i64),
    /// Properties of this change.
    PropertiesOfChange(i64),
    /// Builders that this master has.
    BuildersOfMaster(i64),
    /// Builders for which this worker is configured.
    BuildersOfWorker(i64),
    /// Masters that have this builder.
    MastersOfBuilder(i64),
    /// Workers configured on this master and for this builder, where given.
    WorkersConfiguredOn {
        /// The master.
        masterid: Option<i64>,
        /// The builder.
        builderid: Option<i64>,
    },
    /// Builds of buildsets with the change's source stamp.
    BuildsOfChange(i64),
    /// Builds that this build triggered.
    BuildsTriggeredBy(i64),
    /// Changes with this source stamp.
    ChangesOfSourceStamp(i64),
    /// Source stamps of this buildset.
    SourceStampsOfBuildset(i64),
    /// Schedulers that run on this master.
    SchedulersOfMaster(i64),
    /// Change sources that run on this master.
    ChangeSourcesOfMaster(i64),
    /// Projects that have builders with a master, or those that have none.
    ActiveProjects(bool),
    /// Test result sets of builds of these revisions of a code base.
    TestResultSetsOfCommits(Vec<i64>),
}

impl Scope {
    /// The column that has one value in all rows of the scope.
    pub(super) fn fixed(&self, resource: &'static Resource) -> Option<&'static str> {
        match self {
            Self::Id(field, _)
            | Self::Text(field, _)
            | Self::Builder(field, _)
            | Self::Worker(field, _)
            | Self::Project(field, _)
            | Self::Codebase(field, _)
            | Self::Build(field, _)
            | Self::Step(field, _)
            | Self::Log(field, _) => column(resource, field).ok(),
            _ => None,
        }
    }

    /// Appends the condition.
    pub(super) fn push(&self, resource: &'static Resource, sql: &mut Sql) -> Result<(), QueryError> {
        match self {
            Self::Id(field, id) => {
                sql.push(column(resource, field)?).push(" = ").bind(*id);
            }
            Self::Text(field, text) => {
                sql.push(column(resource, field)?).push(" = ").bind(text.as_str());
            }
            Self::Ids(field, ids) => {
                sql.push(column(resource, field)?).push(" IN (").bind_list(ids.iter().copied()).push(")");
            }
            Self::Builder(field, builder) => {
                sql.push(column(resource, field)?).push(" = ");
                builder.push(sql);
            }
            Self::Worker(field, WorkerRef::Id(id)) | Self::Project(field, ProjectRef::Id(id)) => {
                sql.push(column(resource, field)?).push(" = ").bind(*id);
            }
            Self::Worker(field, WorkerRef::Name(name)) => {
                sql.push(column(resource, field)?).push(" = (SELECT xw.id FROM workers xw WHERE xw.name = ");
                sql.bind(name.as_str()).push(")");
            }
            Self::Project(field, ProjectRef::Name(name)) => {
                sql.push(column(resource, field)?).push(" = (SELECT xp.id FROM projects xp WHERE xp.name_hash = ");
                sql.bind(crate::name_hash(name)).push(")");
            }
            Self::Codebase(field, CodebaseRef::Id(id)) => {
                sql.push(column(resource, field)?).push(" = ").bind(*id);
            }
            Self::Codebase(field, CodebaseRef::InProject(projectid, name)) => {
                sql.push(column(resource, field)?);
                sql.push(" = (SELECT xc.id FROM codebases xc WHERE xc.projectid = ").bind(*projectid);
                sql.push(" AND xc.name_hash = ").bind(crate::name_hash(name)).push(")");
            }
            Self::Build(field, build) => {
                sql.push(column(resource, field)?).push(" = ");
                build.push(sql);
            }
            Self::Step(field, step) => {
                sql.push(column(resource, field)?).push(" = ");
                step.push(sql);
            }
            Self::Log(field, log) => {
                sql.push(column(resource, field)?).push(" = ");
                log.push(sql);
            }
            Self::PropertiesOfBuild(build) => {
                sql.push("bp.buildid = ");
                build.push(sql);
            }
            Self::PropertiesOfBuildset(bsid) => {
                sql.push("bp.buildsetid = ").bind(*bsid);
            }
            Self::PropertiesOfChange(changeid) => {
                sql.push("cp.changeid = ").bind(*changeid);
            }
            Self::BuildersOfMaster(masterid) => {
                sql.push("b.id IN (SELECT xbm.builderid FROM builder_masters xbm WHERE xbm.masterid = ");
                sql.bind(*masterid).push(")");
            }
            Self::BuildersOfWorker(workerid) => {
                sql.push(
                    "b.id IN (SELECT xbm.builderid FROM builder_masters xbm JOIN configured_workers xcw \
                     ON xcw.buildermasterid = xbm.id WHERE xcw.workerid = ",
                );
                sql.bind(*workerid).push(")");
            }
            Self::MastersOfBuilder(builderid) => {
                sql.push("m.id IN (SELECT xbm.masterid FROM builder_masters xbm WHERE xbm.builderid = ");
                sql.bind(*builderid).push(")");
            }
            Self::WorkersConfiguredOn { masterid, builderid } => {
                sql.push(
                    "w.id IN (SELECT xcw.workerid FROM configured_workers xcw JOIN builder_masters xbm \
                     ON xbm.id = xcw.buildermasterid WHERE 1 = 1",
                );
                if let Some(masterid) = masterid {
                    sql.push(" AND xbm.masterid = ").bind(*masterid);
                }
                if let Some(builderid) = builderid {
                    sql.push(" AND xbm.builderid = ").bind(*builderid);
                }
                sql.push(")");
            }
            Self::BuildsOfChange(changeid) => {
                sql.push(
                    "b.buildrequestid IN (SELECT xbr.id FROM changes xc JOIN buildset_sourcestamps xbs \
                     ON xbs.sourcestampid = xc.sourcestampid JOIN buildrequests xbr \
                     ON xbr.buildsetid = xbs.buildsetid WHERE xc.changeid = ",
                );
                sql.bind(*changeid).push(")");
            }
            Self::BuildsTriggeredBy(buildid) => {
                sql.push(
                    "b.buildrequestid IN (SELECT xbr.id FROM buildsets xbs JOIN buildrequests xbr \
                     ON xbr.buildsetid = xbs.id WHERE xbs.parent_buildid = ",
                );
                sql.bind(*buildid).push(")");
            }
            Self::ChangesOfSourceStamp(ssid) => {
                sql.push("c.sourcestampid = ").bind(*ssid);
            }
            Self::SourceStampsOfBuildset(bsid) => {
                sql.push("ss.id IN (SELECT xbs.sourcestampid FROM buildset_sourcestamps xbs WHERE xbs.buildsetid = ");
                sql.bind(*bsid).push(")");
            }
            Self::SchedulersOfMaster(masterid) => {
                sql.push("sm.masterid = ").bind(*masterid);
            }
            Self::ChangeSourcesOfMaster(masterid) => {
                sql.push("csm.masterid = ").bind(*masterid);
            }
            Self::ActiveProjects(active) => {
                sql.push(if *active { "" } else { "NOT " });
                sql.push(
                    "EXISTS (SELECT 1 FROM builders xb JOIN builder_masters xbm ON xbm.builderid = xb.id \
                     WHERE xb.projectid = p.id)",
                );
            }
            Self::TestResultSetsOfCommits(commits) => {
                sql.push(
                    "ts.buildid IN (SELECT xb.id FROM codebase_commits xc \
                     JOIN sourcestamps xs ON xs.revision = xc.revision \
                     JOIN buildset_sourcestamps xbs ON xbs.sourcestampid = xs.id \
                     JOIN buildrequests xbr ON xbr.buildsetid = xbs.buildsetid \
                     JOIN builds xb ON xb.buildrequestid = xbr.id WHERE xc.id IN (",
                );
                sql.bind_list(commits.iter().copied()).push("))");
            }
        }
        Ok(())
    }
}

/// The column behind a field that scopes compare.
fn column(resource: &'static Resource, name: &str) -> Result<&'static str, QueryError> {
    match resource.field(name)?.source {
        Source::Column(column) => Ok(column),
        _ => Err(QueryError::UnknownField(name.to_owned())),
    }
}

impl BuilderRef {
    fn push(&self, sql: &mut Sql) {
        match self {
            Self::Id(id) => {
                sql.bind(*id);
            }
            Self::Name(name) => {
                sql.push("(SELECT xb.id FROM builders xb WHERE xb.name_hash = ");
                sql.bind(crate::name_hash(name)).push(")");
            }
        }
    }
}

impl BuildRef {
    fn push(&self, sql: &mut Sql) {
        match self {
            Self::Id(id) => {
                sql.bind(*id);
            }
            Self::Number(builder, number) => {
                sql.push("(SELECT xn.id FROM builds xn WHERE xn.builderid = ");
                builder.push(sql);
                sql.push(" AND xn.number = ").bind(*number).push(")");
            }
        }
    }
}

impl StepRef {
    fn push(&self, sql: &mut Sql) {
        let build = match self {
            Self::Id(id) => {
                sql.bind(*id);
                return;
            }
            Self::Number(build, _) | Self::Name(build, _) => build,
        };
        sql.push("(SELECT xs.id FROM steps xs WHERE xs.buildid = ");
        build.push(sql);
        match self {
            Self::Number(_, number) => sql.push(" AND xs.number = ").bind(*number),
            Self::Name(_, name) => sql.push(" AND xs.name = ").bind(name.as_str()),
            Self::Id(_) => sql,
        };
        sql.push(")");
    }
}

impl LogRef {
    fn push(&self, sql: &mut Sql) {
        match self {
            Self::Id(id) => {
                sql.bind(*id);
            }
            Self::Slug(step, slug) => {
                sql.push("(SELECT xl.id FROM logs xl WHERE xl.stepid = ");
                step.push(sql);
                sql.push(" AND xl.slug = ").bind(slug.as_str()).push(")");
            }
        }
    }
}
