//! The resources of the REST API. Serialising one gives the JSON of the API, field by field
//! (`null` for `None`, whole seconds for times); events carry the same bodies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{
    BranchId, BuildId, BuildRequestId, BuilderId, BuildsetId, ChangeId, ChangeSourceId, CodebaseId, CommitId, LogId,
    MasterId, PatchId, ProjectId, SchedulerId, SourceStampId, StepId, TestResultId, TestResultSetId, WorkerId,
};
use crate::properties::Properties;
use crate::results::Results;
use crate::time::Timestamp;

/// A master of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Master {
    /// Its id.
    pub masterid: MasterId,
    /// Its name, usually `host:directory`.
    pub name: String,
    /// Whether it is running and checked in.
    pub active: bool,
    /// When it checked in last, by the database's clock.
    pub last_active: Timestamp,
}

/// A builder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Builder {
    /// Its id.
    pub builderid: BuilderId,
    /// Its name.
    pub name: String,
    /// What it is for, as configured.
    pub description: Option<String>,
    /// `markdown`, or nothing for plain text.
    pub description_format: Option<String>,
    /// The description as sanitised HTML.
    pub description_html: Option<String>,
    /// The active masters that have it in their configuration.
    pub masterids: Vec<MasterId>,
    /// Its project.
    pub projectid: Option<ProjectId>,
    /// Its tags, in configured order.
    pub tags: Vec<String>,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub projectid: ProjectId,
    /// Its name, an identifier.
    pub name: String,
    /// The name for URLs.
    pub slug: String,
    /// What it is, as configured.
    pub description: Option<String>,
    /// `markdown`, or nothing for plain text.
    pub description_format: Option<String>,
    /// The description as sanitised HTML.
    pub description_html: Option<String>,
    /// Whether it has builders; only told when asked for.
    pub active: Option<bool>,
}

/// A code base of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Codebase {
    /// Its id.
    pub codebaseid: CodebaseId,
    /// The project it belongs to.
    pub projectid: ProjectId,
    /// Its name, unique in the project.
    pub name: String,
    /// The name for URLs.
    pub slug: String,
}

/// A branch of a code base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Its id.
    pub branchid: BranchId,
    /// The code base.
    pub codebaseid: CodebaseId,
    /// Its name.
    pub name: String,
    /// The commit at its head.
    pub commitid: Option<CommitId>,
    /// When the head was seen last.
    pub last_timestamp: Timestamp,
}

/// A commit of a code base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its id.
    pub commitid: CommitId,
    /// The code base.
    pub codebaseid: CodebaseId,
    /// Who wrote it.
    pub author: String,
    /// Who committed it.
    pub committer: Option<String>,
    /// The commit message.
    pub comments: String,
    /// When it was made.
    pub when_timestamp: Timestamp,
    /// The revision in the version control system.
    pub revision: String,
    /// The commit before it.
    pub parent_commitid: Option<CommitId>,
}

/// The way from two commits to their last common ancestor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitGraph {
    /// The last common commit, if one was found.
    pub common: Option<CommitId>,
    /// The commits from it to the first one.
    pub to1: Vec<CommitId>,
    /// The commits from it to the second one.
    pub to2: Vec<CommitId>,
}

/// A patch on top of a source stamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// Its id.
    pub patchid: PatchId,
    /// How many leading path components to strip (`patch -p`).
    pub level: i64,
    /// The directory to apply it in.
    pub subdir: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What it is for.
    pub comment: Option<String>,
    /// The diff itself; left out where only its existence matters.
    pub body: Option<String>,
}

/// A source stamp: what to check out of one code base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceStamp {
    /// Its id.
    pub ssid: SourceStampId,
    /// The branch; nothing for the default branch.
    pub branch: Option<String>,
    /// The revision; nothing for the newest.
    pub revision: Option<String>,
    /// The repository's URL.
    pub repository: String,
    /// The project it belongs to, free text.
    pub project: String,
    /// The code base's name, empty for the only one.
    pub codebase: String,
    /// When it was first used.
    pub created_at: Timestamp,
    /// A patch on top.
    pub patch: Option<Patch>,
}

/// A change: one commit, as a change source announced it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its id.
    pub changeid: ChangeId,
    /// Who wrote it.
    pub author: String,
    /// Who committed it.
    pub committer: Option<String>,
    /// The commit message.
    pub comments: String,
    /// The branch; nothing for the default branch.
    pub branch: Option<String>,
    /// The revision.
    pub revision: Option<String>,
    /// A link to it.
    pub revlink: Option<String>,
    /// The repository's URL.
    pub repository: String,
    /// The project, free text.
    pub project: String,
    /// The code base's name.
    pub codebase: String,
    /// A category for filters.
    pub category: Option<String>,
    /// The files it touches.
    pub files: Vec<String>,
    /// When it was made.
    pub when_timestamp: Timestamp,
    /// The change before it on the same branch, repository, project and code base.
    pub parent_changeids: Vec<ChangeId>,
    /// Properties that it brings along.
    pub properties: Properties,
    /// The source stamp that checks it out.
    pub sourcestamp: SourceStamp,
}

/// A change source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSource {
    /// Its id.
    pub changesourceid: ChangeSourceId,
    /// Its name.
    pub name: String,
    /// The master that runs it now.
    pub master: Option<Master>,
}

/// A scheduler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scheduler {
    /// Its id.
    pub schedulerid: SchedulerId,
    /// Its name.
    pub name: String,
    /// Whether it may start builds.
    pub enabled: bool,
    /// The master that runs it now.
    pub master: Option<Master>,
}

/// A buildset: requests that belong together, for the same source stamps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buildset {
    /// Its id.
    pub bsid: BuildsetId,
    /// Why it was made.
    pub reason: String,
    /// An id that whoever made it may use.
    pub external_idstring: Option<String>,
    /// The build whose step triggered it.
    pub parent_buildid: Option<BuildId>,
    /// How it came from that build, for example `Triggered from`.
    pub parent_relationship: Option<String>,
    /// The first build of a chain of rebuilds.
    pub rebuilt_buildid: Option<BuildId>,
    /// When it was made.
    pub submitted_at: Timestamp,
    /// Whether all its requests are complete.
    pub complete: bool,
    /// When they were.
    pub complete_at: Option<Timestamp>,
    /// The worst result of its requests.
    pub results: Option<Results>,
    /// What to check out.
    pub sourcestamps: Vec<SourceStamp>,
}

/// A build request: a buildset's wish for one build of one builder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// Its id.
    pub buildrequestid: BuildRequestId,
    /// The buildset it belongs to.
    pub buildsetid: BuildsetId,
    /// The builder asked.
    pub builderid: BuilderId,
    /// The higher, the sooner.
    pub priority: i64,
    /// Whether a master works on it.
    pub claimed: bool,
    /// Since when.
    pub claimed_at: Option<Timestamp>,
    /// Which master.
    pub claimed_by_masterid: Option<MasterId>,
    /// Whether it is done.
    pub complete: bool,
    /// When it was.
    pub complete_at: Option<Timestamp>,
    /// The result, `-1` until complete (Buildbot's way of saying "none").
    #[serde(with = "results_or_minus_one")]
    pub results: Option<Results>,
    /// When it was made.
    pub submitted_at: Timestamp,
    /// Whether the build that triggered it waits for it.
    pub waited_for: bool,
    /// The buildset's properties, only when asked for.
    pub properties: Option<Properties>,
}

/// A build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Its id.
    pub buildid: BuildId,
    /// Its number within the builder: 1, 2, 3, ...
    pub number: i64,
    /// The builder.
    pub builderid: BuilderId,
    /// The request it serves.
    pub buildrequestid: BuildRequestId,
    /// The worker it runs on.
    pub workerid: WorkerId,
    /// The master that runs it.
    pub masterid: MasterId,
    /// When it started.
    pub started_at: Timestamp,
    /// Whether it has ended.
    pub complete: bool,
    /// When it ended.
    pub complete_at: Option<Timestamp>,
    /// How it ended.
    pub results: Option<Results>,
    /// What it is doing, or how it went, in words.
    pub state_string: String,
    /// Seconds spent waiting for locks.
    pub locks_duration_s: i64,
    /// Its properties; empty unless asked for.
    pub properties: Properties,
}

/// A link that a step shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUrl {
    /// The text of the link.
    pub name: String,
    /// Where it leads.
    pub url: String,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its id.
    pub stepid: StepId,
    /// The build.
    pub buildid: BuildId,
    /// Its number within the build, from 0.
    pub number: i64,
    /// Its name, unique within the build.
    pub name: String,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it had its locks.
    pub locks_acquired_at: Option<Timestamp>,
    /// Whether it has ended.
    pub complete: bool,
    /// When it ended.
    pub complete_at: Option<Timestamp>,
    /// How it ended.
    pub results: Option<Results>,
    /// What it is doing, or how it went, in words.
    pub state_string: String,
    /// Whether pages leave it out.
    pub hidden: bool,
    /// Its links, in order of addition.
    pub urls: Vec<StepUrl>,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogKind {
    /// Lines, each with a letter for its channel: `o` stdout, `e` stderr, `h` header, `i` stdin.
    #[serde(rename = "s")]
    Stream,
    /// Plain text.
    #[serde(rename = "t")]
    Text,
    /// HTML.
    #[serde(rename = "h")]
    Html,
    /// Nothing any more: its content was deleted.
    #[serde(rename = "d")]
    Deleted,
}

impl LogKind {
    /// The letter in the database and in the API.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Stream => "s",
            Self::Text => "t",
            Self::Html => "h",
            Self::Deleted => "d",
        }
    }

    /// The kind that a letter stands for.
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "s" => Some(Self::Stream),
            "t" => Some(Self::Text),
            "h" => Some(Self::Html),
            "d" => Some(Self::Deleted),
            _ => None,
        }
    }
}

/// A log of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Its id.
    pub logid: LogId,
    /// The step.
    pub stepid: StepId,
    /// Its name.
    pub name: String,
    /// The name as an identifier, unique within the step.
    pub slug: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: LogKind,
    /// How many lines it has so far.
    pub num_lines: i64,
    /// Whether it has ended.
    pub complete: bool,
}

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// The log.
    pub logid: LogId,
    /// The number of the first line, from 0.
    pub firstline: i64,
    /// Whole lines, each ended by a newline.
    pub content: String,
}

/// That a builder is configured on a master for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredOn {
    /// The builder.
    pub builderid: BuilderId,
    /// The master.
    pub masterid: MasterId,
}

/// That a worker is connected to a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedTo {
    /// The master.
    pub masterid: MasterId,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its id.
    pub workerid: WorkerId,
    /// Its name.
    pub name: String,
    /// Where it is configured.
    pub configured_on: Vec<ConfiguredOn>,
    /// Where it is connected: at most one master.
    pub connected_to: Vec<ConnectedTo>,
    /// Whether it gets no new builds.
    pub paused: bool,
    /// Why not.
    pub pause_reason: Option<String>,
    /// Whether it leaves when its builds are done.
    pub graceful: bool,
    /// What it told about itself: `admin`, `host`, `access_uri`, `version`, ...
    pub workerinfo: BTreeMap<String, Value>,
}

/// A piece of data that a build keeps, without its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildData {
    /// The build.
    pub buildid: BuildId,
    /// Its name.
    pub name: String,
    /// The value; `null` here, it has an endpoint of its own.
    pub value: Option<Value>,
    /// The size of the value in bytes.
    pub length: i64,
    /// Who set it.
    pub source: String,
}

/// A set of test results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResultSet {
    /// Its id.
    pub test_result_setid: TestResultSetId,
    /// The builder.
    pub builderid: BuilderId,
    /// The build.
    pub buildid: BuildId,
    /// The step.
    pub stepid: StepId,
    /// What was tested.
    pub description: Option<String>,
    /// What kind of result: `pass_fail`, `code_issue`, ...
    pub category: String,
    /// The unit of the values: `boolean`, `ms`, ...
    pub value_unit: String,
    /// How many passed.
    pub tests_passed: Option<i64>,
    /// How many failed.
    pub tests_failed: Option<i64>,
    /// Whether all results are in.
    pub complete: bool,
}

/// One test result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// Its id.
    pub test_resultid: TestResultId,
    /// The set.
    pub test_result_setid: TestResultSetId,
    /// The builder.
    pub builderid: BuilderId,
    /// The test's name.
    pub test_name: Option<String>,
    /// The file it is about.
    pub test_code_path: Option<String>,
    /// The line in that file.
    pub line: Option<i64>,
    /// How long it took, in nanoseconds.
    pub duration_ns: Option<i64>,
    /// The value, as text.
    pub value: String,
}

/// Request results: `-1` on the wire until there is one.
mod results_or_minus_one {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::results::Results;

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(results: &Option<Results>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i16(results.map_or(-1, Results::code))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Results>, D::Error> {
        match Option::<i64>::deserialize(deserializer)? {
            None | Some(-1) => Ok(None),
            Some(code) => Results::try_from(code).map(Some).map_err(serde::de::Error::custom),
        }
    }
}
