//! What an endpoint does, as data: the table of endpoints turns a path's arguments into a [`Plan`].

use buildguild_db::query::{
    BuildRef, BuilderRef, CodebaseRef, LogRef, ProjectRef, Resource, Scope, StepRef, WorkerRef,
};

use super::path::Args;

/// What an endpoint does.
#[derive(Debug)]
pub(super) enum Plan {
    /// A collection from the database.
    List(&'static Resource, Vec<Scope>),
    /// One resource from the database.
    One(&'static Resource, Vec<Scope>),
    /// The projects, which can be filtered by being active.
    Projects,
    /// Workers below a builder or master, or one of them.
    Workers {
        /// Only entries of this master.
        masterid: Option<i64>,
        /// Only entries of this builder.
        builderid: Option<i64>,
        /// Only this worker, as a single resource.
        worker: Option<WorkerRef>,
    },
    /// The changes that a build has and the last successful one before it had not.
    ChangesOfBuild(BuildRef),
    /// The properties of a build, as one object.
    BuildProperties(BuildRef),
    /// The properties of a request's buildset, as one object.
    RequestProperties(i64),
    /// The properties of a buildset, as one object.
    BuildsetProperties(i64),
    /// The value of a piece of build data.
    BuildDataValue(BuildRef, String),
    /// Lines of a log.
    LogContents(LogRef),
    /// A log as a download, or shown in place.
    LogRaw {
        /// The log.
        log: LogRef,
        /// Shown in place, not saved.
        inline: bool,
    },
    /// The force schedulers, all or those of one builder.
    ForceSchedulers(Option<i64>),
    /// One force scheduler.
    ForceScheduler(String),
    /// The last common ancestor of two commits.
    CommonParent {
        /// The code base that both are of.
        codebaseid: i64,
        /// The two.
        commits: [i64; 2],
    },
    /// The test result sets of the commits between two.
    CommitRangeTestResultSets {
        /// The code base that both are of.
        codebaseid: i64,
        /// The two.
        commits: [i64; 2],
    },
    /// The links of the root.
    RootLinks,
    /// The description of all endpoints.
    ApplicationSpec,
}

impl Plan {
    /// Whether it answers with one resource, or something of it, whose fields are those of its resource type.
    pub(super) fn is_single(&self) -> bool {
        match self {
            Self::One(..)
            | Self::Workers { worker: Some(_), .. }
            | Self::BuildDataValue(..)
            | Self::LogContents(_)
            | Self::LogRaw { .. }
            | Self::ForceScheduler(_)
            | Self::CommonParent { .. } => true,
            Self::List(..)
            | Self::Projects
            | Self::Workers { worker: None, .. }
            | Self::ChangesOfBuild(_)
            | Self::BuildProperties(_)
            | Self::RequestProperties(_)
            | Self::BuildsetProperties(_)
            | Self::ForceSchedulers(_)
            | Self::CommitRangeTestResultSets { .. }
            | Self::RootLinks
            | Self::ApplicationSpec => false,
        }
    }
}

/// The builder that the path names.
pub(super) fn builder(args: &Args) -> Option<BuilderRef> {
    args.number("builderid")
        .map(BuilderRef::Id)
        .or_else(|| Some(BuilderRef::Name(args.text("buildername")?.to_owned())))
}

/// The build that the path names.
pub(super) fn build(args: &Args) -> Option<BuildRef> {
    args.number("buildid")
        .map(BuildRef::Id)
        .or_else(|| Some(BuildRef::Number(builder(args)?, args.number("build_number")?)))
}

/// The step that the path names.
pub(super) fn step(args: &Args) -> Option<StepRef> {
    if let Some(id) = args.number("stepid") {
        return Some(StepRef::Id(id));
    }
    let build = build(args)?;
    match args.number("step_number") {
        Some(number) => Some(StepRef::Number(build, number)),
        None => Some(StepRef::Name(build, args.text("step_name")?.to_owned())),
    }
}

/// The log that the path names.
pub(super) fn log(args: &Args) -> Option<LogRef> {
    args.number("logid").map(LogRef::Id).or_else(|| Some(LogRef::Slug(step(args)?, args.text("log_slug")?.to_owned())))
}

/// The worker that the path names.
pub(super) fn worker(args: &Args) -> Option<WorkerRef> {
    args.number("workerid").map(WorkerRef::Id).or_else(|| Some(WorkerRef::Name(args.text("name")?.to_owned())))
}

/// The project that the path names.
pub(super) fn project(args: &Args) -> Option<ProjectRef> {
    args.number("projectid")
        .map(ProjectRef::Id)
        .or_else(|| Some(ProjectRef::Name(args.text("projectname")?.to_owned())))
}

/// The code base that the path names.
pub(super) fn codebase(args: &Args) -> Option<CodebaseRef> {
    args.number("codebaseid")
        .map(CodebaseRef::Id)
        .or_else(|| Some(CodebaseRef::InProject(args.number("projectid")?, args.text("codebasename")?.to_owned())))
}
