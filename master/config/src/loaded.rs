//! A config version that was loaded and checked.

use std::collections::HashMap;

use buildguild_types::farm::{ConfigHash, FarmConfig, WorkerConfig};
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::source::FarmBundle;

/// A farm config that is ready to run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadedFarm {
    /// What the config says.
    pub farm: FarmConfig,
    /// The identity of this version.
    pub hash: ConfigHash,
    /// The files and inputs of this version, to be stored under the hash.
    pub bundle: FarmBundle,
    /// What the author should know, without being an error.
    pub warnings: Vec<Diagnostic>,
    /// Where each worker stands in the farm.
    workers: HashMap<String, usize>,
}

impl LoadedFarm {
    /// A version made from its parts.
    pub fn new(farm: FarmConfig, bundle: FarmBundle) -> Self {
        let hash = bundle.hash();
        let workers = farm.workers.iter().enumerate().map(|(place, worker)| (worker.name.clone(), place)).collect();
        Self { farm, hash, bundle, warnings: Vec::new(), workers }
    }

    /// A worker by its name. A large farm asks this often.
    pub fn worker(&self, name: &str) -> Option<&WorkerConfig> {
        self.farm.workers.get(*self.workers.get(name)?)
    }
}

/// Why a function of the config gave no answer. Only the call that asked is affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum CallError {
    /// The function failed.
    #[error("call {function} ({location}): {message}")]
    Failed {
        /// The function's name.
        function: String,
        /// Where it is defined, `file:line`.
        location: String,
        /// What went wrong, with the place.
        message: String,
    },
    /// The function ran too long; its evaluator was killed.
    #[error("call {function} ({location}): it did not end within {limit_secs} s")]
    TimedOut {
        /// The function's name.
        function: String,
        /// Where it is defined.
        location: String,
        /// The limit.
        limit_secs: u64,
    },
    /// The evaluator died: out of memory, or worse.
    #[error("call {function} ({location}): its evaluator died ({why}); does it use more memory than allowed?")]
    Died {
        /// The function's name.
        function: String,
        /// Where it is defined.
        location: String,
        /// How it died.
        why: String,
    },
    /// No such config version is known here; give it with `Evaluators::provide`.
    #[error("call {function}: the config version {hash} is not known here")]
    UnknownConfig {
        /// The function's name.
        function: String,
        /// The version.
        hash: String,
    },
    /// No evaluator could be started.
    #[error("start an evaluator: {0}")]
    Unavailable(String),
}

/// What a step function wants next.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAdvance {
    /// Do this, append the answer to the journal, and advance again.
    Effect {
        /// The effect.
        effect: StepEffect,
    },
    /// The function is done.
    Done {
        /// What it returned: an integer result, True or None for success, False for failure.
        returned: Value,
    },
}

/// What a step function can do. The answer of each is journaled.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEffect {
    /// `ctx.run(command, ...)`: run a command on the worker.
    /// Answer: `{"rc": int, "stdout": str, "stderr": str, "results": int}`.
    Run {
        /// The command: a text or a list; may hold renderables (in `types::render` form).
        command: Value,
        /// Working directory, if not the step's.
        workdir: Option<Value>,
        /// Further environment.
        env: Option<Value>,
        /// Seconds without output; nothing: the step's default.
        timeout_secs: Option<f64>,
        /// Seconds in all.
        max_time_secs: Option<f64>,
        /// The log that gets the output, `stdio` by default.
        log: String,
        /// Whether output is given back (it is always logged).
        collect_stdout: bool,
        /// The same for stderr.
        collect_stderr: bool,
        /// Text for its standard input.
        stdin: Option<String>,
        /// Results by exit code; nothing: 0 is success, all else failure.
        decode_rc: Option<Value>,
    },
    /// `ctx.addLog(name, type)` without content. Answer: null.
    AddLog {
        /// The log's name.
        name: String,
        /// `s`, `t` or `h`.
        log_type: String,
    },
    /// `log.addStdout(text)` and the like. Answer: null.
    AppendLog {
        /// The log's name.
        name: String,
        /// `o`, `e` or `h` for stdio logs, nothing for others.
        channel: String,
        /// The text.
        text: String,
    },
    /// `log.finish()`. Answer: null.
    FinishLog {
        /// The log's name.
        name: String,
    },
    /// `ctx.addCompleteLog(name, text)` and `ctx.addHTMLLog(name, html)`. Answer: null.
    AddCompleteLog {
        /// The log's name.
        name: String,
        /// `t` or `h`.
        log_type: String,
        /// The content.
        text: String,
    },
    /// `ctx.addURL(name, url)`. Answer: null.
    AddUrl {
        /// The link's text.
        name: String,
        /// Where it leads.
        url: String,
    },
    /// `ctx.setProperty(name, value, source)`. Answer: null.
    SetProperty {
        /// The property.
        name: String,
        /// Its value.
        value: Value,
        /// Who set it; the step's name by default.
        source: Option<String>,
    },
    /// `ctx.getProperty(name)` after the step has set any, and `ctx.render(renderable)`.
    /// Answer: the rendered value.
    Render {
        /// The renderable, in `types::render` form.
        renderable: Value,
    },
    /// `ctx.setBuildData(name, value, source)`. Answer: null.
    SetBuildData {
        /// Its name.
        name: String,
        /// The content.
        value: String,
        /// Who says so.
        source: String,
    },
    /// `ctx.addTestResultSet(description, category, value_unit)`. Answer: the set's id.
    AddTestResultSet {
        /// What it is.
        description: String,
        /// For example `pass_fail`.
        category: String,
        /// For example `boolean`.
        value_unit: String,
    },
    /// `ctx.addTestResult(set, value, test_name, test_code_path, line, duration_ns)`. Answer: null.
    AddTestResult {
        /// The set's id.
        set: Value,
        /// The value.
        value: String,
        /// The test.
        test_name: Option<String>,
        /// Its file.
        test_code_path: Option<String>,
        /// The line there.
        line: Option<i64>,
        /// How long it took.
        duration_ns: Option<i64>,
    },
    /// `ctx.setSummary(text)`: the step's state string. Answer: null.
    SetSummary {
        /// The text.
        text: String,
    },
}
