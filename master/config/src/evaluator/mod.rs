//! Evaluator processes: Starlark runs there and never in the master, because one expression can
//! allocate gigabytes and a bad function would otherwise take down every replica at once.
//!
//! The pool hands each request to a process of its own. A process that takes too long is killed, one
//! that dies is replaced; only the call that it was working on fails.

mod child;
mod idle;
mod process;
mod protocol;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use buildguild_types::farm::ConfigHash;
use buildguild_types::render::{CallableRef, Renderable};
use serde_json::Value;
use tokio::sync::Semaphore;

pub use self::child::{EvaluatorError, run_evaluator, run_evaluator_on};
use self::idle::Idle;
use self::process::{ExchangeError, Process};
use self::protocol::{Answer, Request};
use crate::calls::CallArgs;
use crate::diagnostic::{Diagnostic, Place};
use crate::loaded::{CallError, LoadedFarm, StepAdvance};
use crate::source::{FarmBundle, FarmSource};
use crate::storage::StoredVersions;

/// How much longer than its limit a call may take before its process is killed: a function that runs
/// too long usually stops by itself, with the line where it was.
const GRACE: Duration = Duration::from_secs(1);
/// A request that takes longer than this no longer counts among the processes of the settings.
const LONG: Duration = Duration::from_millis(500);
/// So many processes may work on such requests, for each process of the settings.
const OVERTIME_FOR_EACH: usize = 4;
/// How often an evaluator may ask for further inputs; each round it gets further.
const MAX_ROUNDS: usize = 50;
/// How many config versions the pool remembers.
const MAX_BUNDLES: usize = 64;

/// How evaluators run.
#[derive(Debug, Clone)]
pub struct EvaluatorOptions {
    /// The program that is an evaluator when started with `args`.
    pub program: PathBuf,
    /// Its arguments, usually `evaluator`.
    pub args: Vec<String>,
    /// How many processes.
    pub processes: usize,
    /// How long one function may take before its process is killed.
    pub call_timeout: Duration,
    /// How long loading a config may take.
    pub load_timeout: Duration,
    /// Address space of one process, in bytes.
    pub memory_limit_bytes: u64,
}

impl EvaluatorOptions {
    /// This program itself as the evaluator, with the limits of the settings.
    ///
    /// # Errors
    /// If the system does not tell where this program is.
    pub fn of_this_program(settings: &crate::settings::EvaluatorSettings) -> std::io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            args: vec!["evaluator".to_owned()],
            processes: settings.processes,
            call_timeout: settings.call_timeout,
            load_timeout: settings.load_timeout,
            memory_limit_bytes: settings.memory_limit_bytes,
        })
    }
}

/// A pool of evaluator processes. Cheap to clone; the processes end with the last clone.
#[derive(Debug, Clone)]
pub struct Evaluators {
    inner: Arc<Inner>,
}

struct Inner {
    options: EvaluatorOptions,
    /// One permit per process.
    permits: Semaphore,
    /// More processes, for while others are busy with requests that take long: a function that hangs must not keep
    /// those waiting that do not.
    overtime: Semaphore,
    /// Processes that have nothing to do.
    idle: Idle,
    bundles: Mutex<Bundles>,
    /// Where versions are that are not in `bundles`.
    stored: OnceLock<Arc<dyn StoredVersions>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluators").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Config versions by hash, the least recently used forgotten first.
#[derive(Debug, Default)]
struct Bundles {
    by_hash: HashMap<String, (Arc<FarmBundle>, u64)>,
    used: u64,
}

/// Why a request got no answer.
enum Failure {
    TimedOut,
    Died(String),
    Unavailable(String),
    UnknownConfig,
}

impl Evaluators {
    /// Makes a pool; processes start when they are needed.
    pub fn start(options: EvaluatorOptions) -> Self {
        let permits = Semaphore::new(options.processes.max(1));
        let overtime = Semaphore::new(options.processes.max(1).saturating_mul(OVERTIME_FOR_EACH));
        Self {
            inner: Arc::new(Inner {
                options,
                permits,
                overtime,
                idle: Idle::default(),
                bundles: Mutex::default(),
                stored: OnceLock::new(),
            }),
        }
    }

    /// Loads and checks the config at that place.
    ///
    /// # Errors
    /// All diagnostics of the config, errors and warnings, in the order of its files.
    pub async fn load(&self, source: &FarmSource) -> Result<LoadedFarm, Vec<Diagnostic>> {
        let mut bundle = FarmBundle { main: source.main.clone(), ..FarmBundle::default() };
        let first = crate::source::Missing { files: [source.main.clone()].into(), ..Default::default() };
        source.fetch(&mut bundle, &first);
        self.load_rounds(bundle, Some(source)).await
    }

    /// Loads a stored config version, for its farm.
    ///
    /// # Errors
    /// All diagnostics; a version that was loaded once loads again.
    pub async fn load_bundle(&self, bundle: FarmBundle) -> Result<LoadedFarm, Vec<Diagnostic>> {
        self.load_rounds(bundle, None).await
    }

    async fn load_rounds(
        &self,
        mut bundle: FarmBundle,
        source: Option<&FarmSource>,
    ) -> Result<LoadedFarm, Vec<Diagnostic>> {
        let at_main =
            |message: String| vec![Diagnostic::error(Place { file: bundle_main(source), line: 0, column: 0 }, message)];
        for _ in 0..MAX_ROUNDS {
            let hash = bundle.hash();
            let limit = self.inner.options.load_timeout;
            let request = Request::Load { hash: hash.0.clone(), bundle: bundle.clone(), timeout_ms: millis(limit) };
            match self.exchange(None, &request, limit + GRACE).await {
                Ok(Answer::Missing(missing)) => match source {
                    Some(source) => source.fetch(&mut bundle, &missing),
                    None => return Err(at_main("the stored version is not complete".to_owned())),
                },
                Ok(Answer::Loaded { farm, diagnostics }) => {
                    if diagnostics.iter().any(Diagnostic::is_error) {
                        return Err(diagnostics);
                    }
                    self.provide(bundle.clone());
                    let mut loaded = LoadedFarm::new(*farm, bundle);
                    loaded.warnings = diagnostics;
                    return Ok(loaded);
                }
                Ok(_) => return Err(at_main("the evaluator gave a wrong answer".to_owned())),
                Err(Failure::TimedOut) => {
                    return Err(at_main(format!("loading the config did not end within {} s", limit.as_secs())));
                }
                Err(Failure::Died(why)) => {
                    return Err(at_main(format!("the evaluator died while it loaded the config: {why}")));
                }
                Err(Failure::Unavailable(why)) => return Err(at_main(format!("start an evaluator: {why}"))),
                Err(Failure::UnknownConfig) => return Err(at_main("the version is not known".to_owned())),
            }
        }
        Err(at_main(format!("the config asks for new inputs after {MAX_ROUNDS} rounds")))
    }

    /// Makes a stored config version known, so that its functions can be called.
    pub fn provide(&self, bundle: FarmBundle) -> ConfigHash {
        let hash = bundle.hash();
        let mut bundles = self.inner.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        bundles.used += 1;
        let used = bundles.used;
        bundles.by_hash.insert(hash.0.clone(), (Arc::new(bundle), used));
        while bundles.by_hash.len() > MAX_BUNDLES {
            let oldest = bundles.by_hash.iter().min_by_key(|(_, (_, used))| *used).map(|(h, _)| h.clone());
            match oldest {
                Some(hash) => bundles.by_hash.remove(&hash),
                None => break,
            };
        }
        hash
    }

    /// Says where versions are that this pool does not know; the first one counts.
    pub fn look_up_versions_in(&self, stored: Arc<dyn StoredVersions>) {
        let _ = self.inner.stored.set(stored);
    }

    /// Makes a version known that another replica, or an earlier process, has loaded.
    async fn recall(&self, hash: &ConfigHash) {
        if self.knows(hash) {
            return;
        }
        if let Some(stored) = self.inner.stored.get()
            && let Some(bundle) = stored.find(hash).await
        {
            self.provide(bundle);
        }
    }

    /// True if the functions of that version can be called here.
    pub fn knows(&self, hash: &ConfigHash) -> bool {
        self.bundle(&hash.0).is_some()
    }

    fn bundle(&self, hash: &str) -> Option<Arc<FarmBundle>> {
        let mut bundles = self.inner.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        bundles.used += 1;
        let now = bundles.used;
        let (bundle, used) = bundles.by_hash.get_mut(hash)?;
        *used = now;
        Some(bundle.clone())
    }

    /// Calls a function of a config version; it must return plain data. See `docs/farm-config.md` for
    /// what each function gets.
    ///
    /// # Errors
    /// The function failed, took too long, used too much memory, or its version is not known here.
    pub async fn call(
        &self,
        hash: &ConfigHash,
        callable: &CallableRef,
        args: impl Into<CallArgs>,
    ) -> Result<Value, CallError> {
        match self.call_renderable(hash, callable, args).await? {
            Renderable::Literal { value } => Ok(value),
            _ => Err(failed(callable, "it returned a renderable where a plain value is needed".to_owned())),
        }
    }

    /// Calls a function that may return a renderable, as `@util.renderer` functions do.
    ///
    /// # Errors
    /// As for [`Evaluators::call`].
    pub async fn call_renderable(
        &self,
        hash: &ConfigHash,
        callable: &CallableRef,
        args: impl Into<CallArgs>,
    ) -> Result<Renderable, CallError> {
        let request = Request::Call {
            hash: hash.0.clone(),
            path: callable.path.clone(),
            args: args.into(),
            timeout_ms: self.timeout_ms(),
        };
        match self.call_exchange(hash, callable, &request).await? {
            Answer::Returned(value) => Ok(value),
            Answer::Failed(message) => Err(self.failed_or_late(callable, message)),
            _ => Err(failed(callable, "the evaluator gave a wrong answer".to_owned())),
        }
    }

    /// Runs a step function from the top with the journal's answers, up to the first effect that has
    /// none. `ctx` is an object with `name`, `properties` (pairs of value and source), `args` (the
    /// rendered arguments of the step) and whatever else the function shall see as attributes.
    ///
    /// # Errors
    /// As for [`Evaluators::call`].
    pub async fn advance_step(
        &self,
        hash: &ConfigHash,
        callable: &CallableRef,
        ctx: Value,
        journal: &[Value],
    ) -> Result<StepAdvance, CallError> {
        let request = Request::Advance {
            hash: hash.0.clone(),
            path: callable.path.clone(),
            ctx,
            journal: journal.to_vec(),
            timeout_ms: self.timeout_ms(),
        };
        match self.call_exchange(hash, callable, &request).await? {
            Answer::Advanced(advance) => Ok(advance),
            Answer::Failed(message) => Err(self.failed_or_late(callable, message)),
            _ => Err(failed(callable, "the evaluator gave a wrong answer".to_owned())),
        }
    }

    fn timeout_ms(&self) -> u64 {
        millis(self.inner.options.call_timeout)
    }

    fn failed_or_late(&self, callable: &CallableRef, message: String) -> CallError {
        if message.contains("cancelled") {
            let limit = self.inner.options.call_timeout.as_secs_f64();
            return failed(
                callable,
                message.replace("Evaluation cancelled", &format!("it did not end within {limit} s")),
            );
        }
        failed(callable, message)
    }

    async fn call_exchange(
        &self,
        hash: &ConfigHash,
        callable: &CallableRef,
        request: &Request,
    ) -> Result<Answer, CallError> {
        self.recall(hash).await;
        let limit = self.inner.options.call_timeout + GRACE;
        let (function, location) = (callable.name.clone(), callable.location.clone());
        self.exchange(Some(&hash.0), request, limit).await.map_err(|failure| match failure {
            Failure::TimedOut => {
                CallError::TimedOut { function, location, limit_secs: self.inner.options.call_timeout.as_secs() }
            }
            Failure::Died(why) => CallError::Died { function, location, why },
            Failure::Unavailable(why) => CallError::Unavailable(why),
            Failure::UnknownConfig => CallError::UnknownConfig { function, hash: hash.0.clone() },
        })
    }

    /// Sends a request to a process that has `needs` loaded.
    async fn exchange(&self, needs: Option<&str>, request: &Request, limit: Duration) -> Result<Answer, Failure> {
        let permit = self.inner.permits.acquire().await.map_err(|e| Failure::Unavailable(e.to_string()))?;
        let answer = self.exchange_now(needs, request, limit);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = tokio::time::sleep(LONG) => {}
        }
        let _held = match self.inner.overtime.try_acquire() {
            Ok(overtime) => {
                drop(permit);
                overtime
            }
            Err(_) => permit,
        };
        answer.await
    }

    async fn exchange_now(&self, needs: Option<&str>, request: &Request, limit: Duration) -> Result<Answer, Failure> {
        // A process that died while it was idle says nothing about the request: try a fresh one.
        for _ in 0..2 {
            let mut process = match self.inner.idle.take(needs) {
                Some(process) => process,
                None => Process::start(&self.inner.options).await.map_err(Failure::Unavailable)?,
            };
            match self.on(&mut process, needs, request, limit).await {
                Ok(answer) => {
                    self.inner.idle.put(process);
                    return Ok(answer);
                }
                Err(Some(failure)) => return Err(failure),
                Err(None) => {}
            }
        }
        Err(Failure::Died("it ended before it could answer".to_owned()))
    }

    /// Loads the version if necessary and sends the request. `Err(None)`: try another process.
    async fn on(
        &self,
        process: &mut Process,
        needs: Option<&str>,
        request: &Request,
        limit: Duration,
    ) -> Result<Answer, Option<Failure>> {
        let failure = |e: ExchangeError| match e {
            ExchangeError::TimedOut => Some(Failure::TimedOut),
            ExchangeError::Died(why) => Some(Failure::Died(why)),
            ExchangeError::Stale => None,
        };
        if let Some(hash) = needs
            && !process.loaded.contains(hash)
        {
            self.load_on(process, hash).await?;
        }
        let answer = process.exchange(request, limit).await.map_err(failure)?;
        match (&answer, needs, request) {
            (Answer::Unknown, Some(hash), _) => {
                // It has forgotten the version in favour of others.
                process.loaded.remove(hash);
                self.load_on(process, hash).await?;
                process.exchange(request, limit).await.map_err(failure)
            }
            (Answer::Loaded { diagnostics, .. }, _, Request::Load { hash, .. })
                if !diagnostics.iter().any(Diagnostic::is_error) =>
            {
                process.loaded.insert(hash.clone());
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    async fn load_on(&self, process: &mut Process, hash: &str) -> Result<(), Option<Failure>> {
        let bundle = self.bundle(hash).ok_or(Some(Failure::UnknownConfig))?;
        let limit = self.inner.options.load_timeout;
        let request =
            Request::Load { hash: hash.to_owned(), bundle: FarmBundle::clone(&bundle), timeout_ms: millis(limit) };
        match process.exchange(&request, limit + GRACE).await {
            Ok(Answer::Loaded { diagnostics, .. }) if !diagnostics.iter().any(Diagnostic::is_error) => {
                process.loaded.insert(hash.to_owned());
                Ok(())
            }
            Ok(_) => Err(Some(Failure::Died("the stored config version does not load any more".to_owned()))),
            Err(ExchangeError::TimedOut) => Err(Some(Failure::TimedOut)),
            Err(ExchangeError::Died(why)) => Err(Some(Failure::Died(why))),
            Err(ExchangeError::Stale) => Err(None),
        }
    }
}

fn millis(limit: Duration) -> u64 {
    // An absurdly long limit must still be one that can be added to a clock.
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).min(1000 * 86400 * 365)
}

fn bundle_main(source: Option<&FarmSource>) -> String {
    source.map_or_else(|| "master.cfg".to_owned(), |s| s.main.clone())
}

fn failed(callable: &CallableRef, message: String) -> CallError {
    CallError::Failed { function: callable.name.clone(), location: callable.location.clone(), message }
}
