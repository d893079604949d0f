//! Steps: what they share, and each class.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LockAccess, OrCallable};
use crate::render::{CallableRef, Renderable};
use crate::results::Results;

/// How a step's result counts for its build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepFlags {
    /// `haltOnFailure`: a failure ends the build.
    pub halt_on_failure: bool,
    /// `flunkOnWarnings`: warnings make the build fail.
    pub flunk_on_warnings: bool,
    /// `flunkOnFailure`: a failure makes the build fail.
    pub flunk_on_failure: bool,
    /// `warnOnWarnings`: warnings make the build warn.
    pub warn_on_warnings: bool,
    /// `warnOnFailure`: a failure makes the build warn.
    pub warn_on_failure: bool,
    /// `alwaysRun`: runs even after a halt.
    pub always_run: bool,
}

impl Default for StepFlags {
    fn default() -> Self {
        Self {
            halt_on_failure: false,
            flunk_on_warnings: false,
            flunk_on_failure: true,
            warn_on_warnings: false,
            warn_on_failure: false,
            always_run: false,
        }
    }
}

/// A condition of a step: `doStepIf`, `hideStepIf`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Always or never.
    Constant(bool),
    /// What a renderable renders to, taken as true or false.
    Renderable(Renderable),
    /// A function of the step (and of its results).
    Callable(CallableRef),
}

/// `updateBuildSummaryPolicy`: which results bring a step's summary into the build's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SummaryPolicy {
    /// EXCEPTION, RETRY and CANCELLED, and FAILURE and WARNINGS as the flags say.
    #[default]
    ByFlags,
    /// None.
    Never,
    /// All.
    Always,
    /// These.
    On(Vec<Results>),
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepConfig {
    /// The class as `master.cfg` names it, for property sources and messages.
    pub class: String,
    /// `name`
    pub name: Renderable,
    /// The result flags.
    pub flags: StepFlags,
    /// `description`: shown while it runs.
    #[serde(default)]
    pub description: Option<Renderable>,
    /// `descriptionDone`: shown when it is done.
    #[serde(default)]
    pub description_done: Option<Renderable>,
    /// `descriptionSuffix`
    #[serde(default)]
    pub description_suffix: Option<Renderable>,
    /// `doStepIf`
    pub do_step_if: Condition,
    /// `hideStepIf`
    pub hide_step_if: Condition,
    /// `logEncoding`
    #[serde(default)]
    pub log_encoding: Option<OrCallable<String>>,
    /// `updateBuildSummaryPolicy`
    #[serde(default)]
    pub summary_policy: SummaryPolicy,
    /// `workdir`
    #[serde(default)]
    pub workdir: Option<Renderable>,
    /// `locks`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockAccess>,
    /// What it does.
    pub action: StepKind,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepKind {
    /// `ShellCommand`
    Shell(Box<ShellConfig>),
    /// `Git`
    Git(Box<GitConfig>),
    /// `SetProperty`
    SetProperty {
        /// `property`
        property: Renderable,
        /// `value`
        value: Renderable,
    },
    /// `SetProperties`
    SetProperties {
        /// `properties`: a dictionary, or something that renders to one.
        properties: Renderable,
    },
    /// `SetPropertyFromCommand`
    SetPropertyFromCommand(Box<SetPropertyFromCommandConfig>),
    /// A function of the configuration, run durably.
    Function {
        /// The function.
        run: CallableRef,
        /// Its further arguments.
        args: BTreeMap<String, Renderable>,
    },
}

/// The shell arguments of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShellConfig {
    /// `command`: a text for the shell, or a list to execute directly.
    pub command: Renderable,
    /// `env`
    #[serde(default)]
    pub env: Option<Renderable>,
    /// `want_stdout`
    pub want_stdout: bool,
    /// `want_stderr`
    pub want_stderr: bool,
    /// `usePTY`
    pub use_pty: bool,
    /// `logfiles`: name to path, or to `{filename, follow}`.
    #[serde(default)]
    pub logfiles: Option<Renderable>,
    /// `lazylogfiles`: create the logs only when there is something in them.
    pub lazy_logfiles: bool,
    /// `timeout`, in seconds without output.
    pub timeout_secs: Option<Renderable>,
    /// `maxTime`, in seconds.
    pub max_time_secs: Option<Renderable>,
    /// `max_lines`
    pub max_lines: Option<Renderable>,
    /// `logEnviron`
    pub log_environ: bool,
    /// `interruptSignal`
    pub interrupt_signal: String,
    /// `sigtermTime`, in seconds.
    pub sigterm_time_secs: Option<Renderable>,
    /// `initialStdin`
    pub initial_stdin: Option<Renderable>,
    /// `decodeRC`: exit code to result.
    #[serde(with = "exit_codes")]
    pub decode_rc: BTreeMap<i64, Results>,
}

/// `SetPropertyFromCommand`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetPropertyFromCommandConfig {
    /// The shell arguments.
    pub shell: ShellConfig,
    /// `property`, or nothing if a function extracts.
    pub property: Option<Renderable>,
    /// `extract_fn(rc, stdout, stderr)`
    pub extract_fn: Option<CallableRef>,
    /// `strip`
    pub strip: bool,
    /// `includeStdout`
    pub include_stdout: bool,
    /// `includeStderr`
    pub include_stderr: bool,
}

/// What a source step does with what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitMode {
    /// `mode='incremental'`: update, keep build results.
    Incremental,
    /// `mode='full', method='clobber'`: remove all and clone again.
    Clobber,
    /// `mode='full', method='fresh'`: remove all that is not tracked, ignored files included.
    Fresh,
    /// `mode='full', method='clean'`: remove what is neither tracked nor ignored.
    Clean,
    /// `mode='full', method='copy'`: keep a copy aside, update it, copy it here.
    Copy,
}

/// `Git`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GitConfig {
    /// `repourl`
    pub repourl: Renderable,
    /// `branch`: when the source stamp names none.
    pub branch: Renderable,
    /// `mode` and `method`
    pub mode: GitMode,
    /// `codebase`
    pub codebase: String,
    /// `reference`
    pub reference: Option<Renderable>,
    /// `origin`
    pub origin: Option<Renderable>,
    /// `submodules`
    pub submodules: bool,
    /// `remoteSubmodules`
    pub remote_submodules: bool,
    /// `tags`
    pub tags: bool,
    /// `shallow`: the depth, if shallow.
    pub shallow_depth: Option<Renderable>,
    /// `filters`
    pub filters: Vec<Renderable>,
    /// `progress`
    pub progress: bool,
    /// `retryFetch`
    pub retry_fetch: bool,
    /// `clobberOnFailure`
    pub clobber_on_failure: bool,
    /// `getDescription`: options of `git describe`.
    pub get_description: Option<BTreeMap<String, Value>>,
    /// `config`: options for each `git` command.
    pub config: Option<Renderable>,
    /// `alwaysUseLatest`
    pub always_use_latest: bool,
    /// `retry`: seconds between tries, and how many more.
    pub retry: Option<(u64, u32)>,
    /// `timeout`, in seconds without output.
    pub timeout_secs: Option<u64>,
    /// `env`
    pub env: Option<Renderable>,
    /// `logEnviron`
    pub log_environ: bool,
}

/// Exit codes as a list of pairs: keys that are numbers do not survive within a tagged enum.
mod exit_codes {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::results::Results;

    pub(super) fn serialize<S: Serializer>(codes: &BTreeMap<i64, Results>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(codes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<i64, Results>, D::Error> {
        Ok(Vec::<(i64, Results)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_step_survives_json() {
        let shell = ShellConfig {
            command: Renderable::literal("true"),
            env: None,
            want_stdout: true,
            want_stderr: true,
            use_pty: false,
            logfiles: None,
            lazy_logfiles: false,
            timeout_secs: None,
            max_time_secs: None,
            max_lines: None,
            log_environ: true,
            interrupt_signal: "KILL".to_owned(),
            sigterm_time_secs: None,
            initial_stdin: None,
            decode_rc: [(0, Results::Success), (3, Results::Warnings)].into(),
        };
        let step = StepKind::Shell(Box::new(shell));
        let text = serde_json::to_string(&step).expect("serialises");
        assert_eq!(serde_json::from_str::<StepKind>(&text).expect("parses"), step);
    }
}
