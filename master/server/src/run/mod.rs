//! The running master: what it is made of, in which order it starts, and in which order it ends.

mod broker;
mod control;
mod database;
mod master;
mod reload;
mod versions;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use buildguild_config::{EvaluatorOptions, Evaluators, FarmSource, LoadedFarm, Settings, render_all};
use tokio::runtime::Runtime;

use crate::basedir::{Basedir, RunState};
use crate::telemetry;

pub(crate) use database::connect_database_of;

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
    // From here on tasks are cancelled. A library's own thread that waits for one of them panics (lapin's does while it
    // connects), which is no failure of ours.
    std::panic::set_hook(Box::new(|panic| tracing::debug!("in the background, while ending: {panic}")));
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
