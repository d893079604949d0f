//! The running master: what it is made of, in which order it starts, and in which order it ends.

mod broker;
mod control;
mod master;
mod reload;
mod versions;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use buildguild_config::{EvaluatorOptions, Evaluators, FarmSource, LoadedFarm, Settings, render_all};
use buildguild_db::hooks::Hooks;
use buildguild_db::{Db, DbOptions};
use tokio::runtime::Runtime;

use crate::basedir::{Basedir, RunState};
use crate::telemetry;

/// The database of a master that names none, as in Buildbot.
const DEFAULT_DATABASE: &str = "sqlite:///state.sqlite";

/// The settings of the master in a directory.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn load_settings(basedir: &Basedir) -> Result<Settings> {
    let file = basedir.settings_file();
    Settings::load(basedir.path(), file.as_deref(), std::env::vars()).context("the settings cannot be used")
}

/// The runtime of a command or of the master.
///
/// # Errors
/// If the system gives no threads.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// Evaluator processes: this program, run as `buildguild evaluator`.
///
/// # Errors
/// If the program does not know where it is.
pub(crate) fn evaluators(settings: &Settings) -> Result<Evaluators> {
    let options = EvaluatorOptions::of_this_program(&settings.evaluator).context("cannot find this program")?;
    Ok(Evaluators::start(options))
}

/// `buildguild evaluator`: serves one master over its standard input and output.
///
/// # Errors
/// If the master breaks the protocol.
pub(crate) fn evaluator() -> Result<ExitCode> {
    buildguild_config::run_evaluator().context("the evaluator ended")?;
    Ok(ExitCode::SUCCESS)
}

/// The farm config of a master.
///
/// # Errors
/// If the settings name no file.
pub(crate) fn farm_source(basedir: &Basedir, settings: &Settings) -> Result<FarmSource> {
    let path = basedir.path().join(&settings.farm.config_file);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().context("farm.config_file names no file")?.to_string_lossy();
    Ok(FarmSource::new(directory, name))
}

/// Loads the farm config. Warnings go to the log.
///
/// # Errors
/// All that is wrong with it, as one text.
async fn load_farm(evaluators: &Evaluators, source: &FarmSource) -> Result<LoadedFarm> {
    match evaluators.load(source).await {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!("{}", warning.render());
            }
            Ok(loaded)
        }
        Err(diagnostics) => bail!("the configuration has errors:\n{}", render_all(&diagnostics)),
    }
}

/// The URL of the database: the settings', else the farm config's, else a file in the master's directory.
fn database_url(settings: &Settings, farm: Option<&LoadedFarm>) -> String {
    settings
        .database
        .url
        .as_ref()
        .map(|url| url.expose().to_owned())
        .or_else(|| farm.and_then(|loaded| loaded.farm.db_url.clone()))
        .unwrap_or_else(|| DEFAULT_DATABASE.to_owned())
}

fn database_options(basedir: &Basedir, settings: &Settings, url: String) -> DbOptions {
    let mut options = DbOptions::new(url);
    options.base_dir = Some(basedir.path().to_path_buf());
    options.pool_size = settings.database.pool_size;
    options.acquire_timeout = settings.database.connect_timeout;
    // The locks of a paused master must be gone before it is declared dead.
    options.idle_in_transaction_timeout = settings.cluster.expire_after / 2;
    // Only debug builds let a test kill or pause them.
    if cfg!(debug_assertions)
        && let Some(directory) = std::env::var_os("BUILDGUILD_TEST_HOOKS")
    {
        options.hooks = Hooks::watching(Path::new(&directory));
    }
    options
}

/// Connects to the database of a master that does not run.
///
/// # Errors
/// If the farm config is needed to find it and has errors, or the database cannot be reached.
pub(crate) async fn connect_database_of(basedir: &Basedir, settings: &Settings) -> Result<Db> {
    let farm = match settings.database.url {
        Some(_) => None,
        None => Some(load_farm(&evaluators(settings)?, &farm_source(basedir, settings)?).await?),
    };
    let options = database_options(basedir, settings, database_url(settings, farm.as_ref()));
    Db::connect(&options).await.context("cannot connect to the database")
}

/// Runs the master in a directory until it is told to end.
///
/// # Errors
/// Why it could not start, or what made it end.
pub(crate) fn master(basedir: &Basedir, log_to_file: bool) -> Result<ExitCode> {
    let _lock = basedir.lock()?;
    let settings = load_settings(basedir)?;
    let log_file = basedir.log_file();
    telemetry::start(&settings.telemetry, log_to_file.then_some(log_file.as_path()))?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(master::run(basedir, &settings));
    // Whatever still runs in the background (a blocking file system, for example) does not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    if let Err(error) = &outcome {
        tracing::error!("the master ended: {error:#}");
        let before = basedir.state().filter(|state| Some(state.pid) == own_pid());
        let sequence = before.map_or(1, |state| state.sequence + 1);
        say(basedir, sequence, Some(format!("{error:#}")));
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

fn own_pid() -> Option<i32> {
    i32::try_from(std::process::id()).ok()
}

/// Tells the commands that wait for it how a start or a reconfiguration went.
fn say(basedir: &Basedir, sequence: u64, problem: Option<String>) {
    let state = RunState { pid: own_pid().unwrap_or_default(), sequence, problem };
    if let Err(error) = basedir.set_state(&state) {
        tracing::warn!("cannot write how the (re)configuration went: {error:#}");
    }
}
