//! Control calls: what a user may ask of the farm over the API. The web layer reads them from JSON-RPC and decides who
//! may make them; the data layer carries them out.

use std::collections::BTreeMap;
use std::error::Error;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::ids::{BuildId, BuildRequestId, BuilderId, BuildsetId, MasterId, SchedulerId, WorkerId};

/// A builder, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BuilderRef {
    /// By id.
    Id(BuilderId),
    /// By name.
    Name(String),
}

/// A build, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BuildRef {
    /// By id.
    Id(BuildId),
    /// By builder and number.
    Number(BuilderRef, i64),
}

/// A worker, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkerRef {
    /// By id.
    Id(WorkerId),
    /// By name.
    Name(String),
}

/// Who makes a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The name logged in with; nothing for an anonymous user.
    pub username: Option<String>,
    /// The e-mail address, if known.
    pub email: Option<String>,
}

impl Caller {
    /// The owner of what the caller makes: the e-mail address, else the user name.
    pub fn owner(&self) -> Option<&str> {
        self.email.as_deref().or(self.username.as_deref())
    }
}

/// A control call that was decoded and allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlCall {
    /// Who makes it.
    pub caller: Caller,
    /// What is to be done.
    pub action: ControlAction,
}

/// What a control call does. The comment names the JSON-RPC result.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ControlAction {
    /// `force` of a force scheduler: `[bsid, {"<builderid>": buildrequestid}]`.
    Force {
        /// The scheduler's name.
        scheduler: String,
        /// The parameters as sent: `builderid` or `builderNames`, and the form's values by full name.
        values: Map<String, Value>,
    },
    /// `stop` of a build: null.
    StopBuild {
        /// The build.
        build: BuildRef,
        /// Why.
        reason: String,
    },
    /// `rebuild` of a build: as of `force`.
    RebuildBuild {
        /// The build.
        build: BuildRef,
    },
    /// `cancel` of a build request: null.
    CancelRequest {
        /// The request.
        request: BuildRequestId,
        /// Why.
        reason: String,
    },
    /// `set_priority` of a build request: null.
    SetPriority {
        /// The request.
        request: BuildRequestId,
        /// The new priority.
        priority: i64,
    },
    /// `cancel` of a buildset: all its requests are cancelled; null.
    CancelBuildset {
        /// The buildset.
        buildset: BuildsetId,
        /// Why.
        reason: String,
    },
    /// `pause` of a worker: null.
    PauseWorker {
        /// The worker.
        worker: WorkerRef,
        /// Why.
        reason: String,
    },
    /// `unpause` of a worker: null.
    UnpauseWorker {
        /// The worker.
        worker: WorkerRef,
        /// Why.
        reason: String,
    },
    /// `stop` of a worker, when it is idle: null.
    StopWorker {
        /// The worker.
        worker: WorkerRef,
        /// Why.
        reason: String,
    },
    /// `kill` of a worker, at once: null.
    KillWorker {
        /// The worker.
        worker: WorkerRef,
        /// Why.
        reason: String,
    },
    /// `enable` of a scheduler: null.
    EnableScheduler {
        /// The scheduler.
        scheduler: SchedulerId,
        /// Whether it may start builds.
        enabled: bool,
    },
    /// `drain` of a master (not in Buildbot): it finishes its builds, takes no more and leaves; null.
    DrainMaster {
        /// The master.
        master: MasterId,
        /// Why.
        reason: String,
    },
    /// `submit` of a change (not in Buildbot): the change's id.
    SubmitChange {
        /// The change's fields by their API names.
        change: Map<String, Value>,
    },
}

/// Why a control call was not carried out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// What it names does not exist.
    #[error("no such object: {0}")]
    NotFound(String),
    /// Values of a force form are wrong: full name of the field to what is wrong with it, all of them at once.
    #[error("invalid values in {} fields", .0.len())]
    InvalidForce(BTreeMap<String, String>),
    /// A parameter is wrong.
    #[error("{0}")]
    InvalidParams(String),
    /// It cannot be done in the present state, and will not be done later.
    #[error("{0}")]
    Conflict(String),
    /// This replica has not brought its farm config into force yet; another one may have.
    #[error("the master is still starting; try again in a moment")]
    Starting,
    /// The database cannot be reached now.
    #[error("reach the database")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Anything unexpected; the cause is for the log, not for the caller.
    #[error("carry out the call")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}
