//! The database that a master belongs to: where it is, and getting at it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use buildguild_config::{LoadedFarm, Settings};
use buildguild_db::hooks::Hooks;
use buildguild_db::{Db, DbError, DbOptions, SchemaState};
use nix::fcntl::{Flock, FlockArg};

use super::{evaluators, farm_source, load_farm};
use crate::basedir::Basedir;

/// The database of a master that names none, as in Buildbot.
const DEFAULT_DATABASE: &str = "sqlite:///state.sqlite";

/// From one attempt to reach a database that is away to the next.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The URL of the database: the settings', else the farm config's, else a file in the master's directory.
pub(super) fn database_url(settings: &Settings, farm: Option<&LoadedFarm>) -> String {
    settings
        .database
        .url
        .as_ref()
        .map(|url| url.expose().to_owned())
        .or_else(|| farm.and_then(|loaded| loaded.farm.db_url.clone()))
        .unwrap_or_else(|| DEFAULT_DATABASE.to_owned())
}

pub(super) fn database_options(basedir: &Basedir, settings: &Settings, url: String) -> DbOptions {
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

/// The database of a master that starts, with a schema that it can work with.
///
/// A server that is away is waited for: masters that ended would all be started again and again, later and later by some
/// service managers, and be missing when it is back. Cancel safe: yes, nothing was changed.
///
/// # Errors
/// What only a person can change: the server refuses this user, or has no such database; the schema does not fit.
pub(super) async fn open_database(options: &DbOptions, basedir: &Basedir) -> Result<Db> {
    let (db, schema) = once_it_answers(async || {
        // The pool goes on trying without a word; this says why there is no connection.
        Db::probe(options).await?;
        let db = Db::connect(options).await?;
        let schema = db.schema_state().await?;
        Ok::<_, DbError>((db, schema))
    })
    .await
    .context("cannot connect to the database")?;
    check_schema(&schema, basedir)?;
    Ok(db)
}

/// Does `work` again while it fails because the database is away.
///
/// # Errors
/// Any other failure of `work`.
pub(super) async fn once_it_answers<T, E: Into<Error>>(work: impl AsyncFn() -> Result<T, E>) -> Result<T> {
    loop {
        let error = match work().await {
            Ok(done) => return Ok(done),
            Err(error) => error.into(),
        };
        if !error.chain().filter_map(|cause| cause.downcast_ref()).any(DbError::is_away) {
            return Err(error);
        }
        tracing::warn!("waiting for the database: {error:#}");
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

fn check_schema(state: &SchemaState, basedir: &Basedir) -> Result<()> {
    let directory = basedir.path().display();
    match state {
        SchemaState::Current => Ok(()),
        SchemaState::NewerCompatible => {
            tracing::warn!("the database is of a newer version; it allows this one to go on until it is upgraded");
            Ok(())
        }
        SchemaState::Newer => {
            bail!("the database is of a newer version of Buildguild; start that version, or restore a backup")
        }
        SchemaState::Outdated => {
            bail!("the database is empty or not up to date; run: buildguild upgrade-master {directory}")
        }
    }
}

/// SQLite serves one master. The lock is on a file beside the database, so that it holds across directories.
pub(super) fn lock_sqlite(basedir: &Basedir, url: &str) -> Result<Option<Flock<std::fs::File>>> {
    let Some(path) = url.strip_prefix("sqlite:///") else { return Ok(None) };
    let path = basedir.path().join(format!("{path}.lock"));
    let file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err(_) => bail!("another master uses this SQLite database; several masters need PostgreSQL"),
    }
}
