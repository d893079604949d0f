//! Workers: what is configured where, and which master holds a worker's session.

use std::collections::{BTreeMap, HashMap};

use buildguild_types::ids::{BuilderId, MasterId, WorkerId};
use buildguild_types::resources::{ConfiguredOn, ConnectedTo, Worker};
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};
use serde_json::Value;

use crate::builders::json;
use crate::claims::lock_master;
use crate::sql::{Cell, column, execute, fetch_all, fetch_one, id, id_list, in_list, rows_of};
use crate::{DbError, Owner, Tx, params};

/// The longest name of a worker, in characters.
pub const NAME_LENGTH: usize = 50;

/// The columns of a worker, without its links.
pub(crate) const COLUMNS: &str = "w.id AS workerid, w.name AS name, w.info AS info, w.paused AS paused,
    w.pause_reason AS pause_reason, w.graceful AS graceful";

pub(crate) fn from_row(row: &QueryResult) -> Result<Worker, DbError> {
    let info: String = column(row, "info")?;
    Ok(Worker {
        workerid: id(row, "workerid")?,
        name: column(row, "name")?,
        configured_on: Vec::new(),
        connected_to: Vec::new(),
        paused: column(row, "paused")?,
        pause_reason: column(row, "pause_reason")?,
        graceful: column(row, "graceful")?,
        workerinfo: serde_json::from_str(&info).map_err(|error| DbError::Corrupt(error.to_string()))?,
    })
}

/// A worker's session: which process holds its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The worker.
    pub worker: WorkerId,
    /// The process.
    pub owner: Owner,
    /// The session's UUID.
    pub session: String,
}

/// The outcome of [`connected`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connected {
    /// The session is the worker's now.
    Yes,
    /// A living master holds another session, which must be found dead first.
    HeldBy(Session),
}

/// The id of the worker with this name (an identifier of at most 50 characters); added if it is new.
///
/// # Errors
/// [`DbError::Invalid`] if the name is too long or empty.
pub async fn find_id(connection: &impl ConnectionTrait, name: &str) -> Result<WorkerId, DbError> {
    if name.is_empty() || name.chars().count() > NAME_LENGTH {
        return Err(DbError::Invalid(format!("worker name {name:?}: 1 to {NAME_LENGTH} characters")));
    }
    let find = "SELECT id FROM workers WHERE name = $1";
    if let Some(row) = fetch_one(connection, find, params![name]).await? {
        return id(&row, "id");
    }
    let sql = "INSERT INTO workers (name, info) VALUES ($1, '{}') ON CONFLICT (name) DO NOTHING";
    execute(connection, sql, params![name]).await?;
    match fetch_one(connection, find, params![name]).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("worker")),
    }
}

/// Makes the database agree with the whole configuration of a master: which workers there are, and for which builders
/// (which must have been noted before, see [`crate::builders::sync`]). Returns the ids by name.
///
/// # Errors
/// What the database reported.
pub async fn sync(
    tx: &Tx,
    master: MasterId,
    workers: &[(String, Vec<BuilderId>)],
) -> Result<HashMap<String, WorkerId>, DbError> {
    let backend = tx.get_database_backend();
    if let Some((name, _)) = workers.iter().find(|(name, _)| name.chars().count() > NAME_LENGTH) {
        return Err(DbError::Invalid(format!("worker name {name:?}: at most {NAME_LENGTH} characters")));
    }
    let names: Vec<[&str; 1]> = workers.iter().map(|(name, _)| [name.as_str()]).collect();
    let names = json(&names)?;
    let (cells, from) = rows_of(backend, 1, &[Cell::Text]);
    let sql = format!(
        "INSERT INTO workers (name, info) SELECT {0}, '{{}}' FROM {from} WHERE true ORDER BY e.key
         ON CONFLICT (name) DO NOTHING",
        cells[0]
    );
    execute(tx, sql, params![names.as_str()]).await?;
    let sql = format!("SELECT id, name FROM workers WHERE name IN (SELECT {} FROM {from})", cells[0]);
    let mut ids: HashMap<String, WorkerId> = HashMap::new();
    for row in fetch_all(tx, sql, params![names]).await? {
        ids.insert(column(&row, "name")?, id(&row, "id")?);
    }

    deconfigure_all(tx, master).await?;
    let links: Vec<(i64, i64)> = workers
        .iter()
        .filter_map(|(name, builders)| Some((ids.get(name)?.get(), builders)))
        .flat_map(|(worker, builders)| builders.iter().map(move |builder| (worker, builder.get())))
        .collect();
    let (cells, from) = rows_of(backend, 2, &[Cell::Int, Cell::Int]);
    let sql = format!(
        "INSERT INTO configured_workers (buildermasterid, workerid)
         SELECT bm.id, {} FROM {from} JOIN builder_masters bm ON bm.builderid = {} AND bm.masterid = $1
         WHERE true ON CONFLICT (buildermasterid, workerid) DO NOTHING",
        cells[0], cells[1]
    );
    execute(tx, sql, params![master, json(&links)?]).await?;
    Ok(ids)
}

/// Sets for which builders of a master a worker is configured.
///
/// # Errors
/// What the database reported.
pub async fn configured(tx: &Tx, worker: WorkerId, master: MasterId, builders: &[BuilderId]) -> Result<(), DbError> {
    let sql = "DELETE FROM configured_workers WHERE workerid = $1
               AND buildermasterid IN (SELECT id FROM builder_masters WHERE masterid = $2)";
    execute(tx, sql, params![worker, master]).await?;
    let sql = format!(
        "INSERT INTO configured_workers (buildermasterid, workerid)
         SELECT bm.id, $1 FROM builder_masters bm WHERE bm.masterid = $2 AND bm.builderid {}",
        in_list(tx.get_database_backend(), 3)
    );
    execute(tx, sql, params![worker, master, id_list(builders)]).await?;
    Ok(())
}

/// Removes a master's worker configuration.
///
/// # Errors
/// What the database reported.
pub async fn deconfigure_all(tx: &Tx, master: MasterId) -> Result<(), DbError> {
    let sql = "DELETE FROM configured_workers
               WHERE buildermasterid IN (SELECT id FROM builder_masters WHERE masterid = $1)";
    execute(tx, sql, params![master]).await?;
    Ok(())
}

/// Makes a session the worker's, unless a living master holds another one; `replacing` names a session that was found
/// dead. Stores what the worker told about itself.
///
/// # Errors
/// [`DbError::EpochEnded`] if the owner is not active.
pub async fn connected(
    tx: &Tx,
    session: &Session,
    replacing: Option<&str>,
    info: &BTreeMap<String, Value>,
    now: Timestamp,
) -> Result<Connected, DbError> {
    lock_master(tx, session.owner).await?;
    let sql = "INSERT INTO connected_workers (workerid, masterid, epoch, session, connected_at)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (workerid) DO UPDATE SET masterid = excluded.masterid, epoch = excluded.epoch,
                   session = excluded.session, connected_at = excluded.connected_at
               WHERE connected_workers.session = $4 OR connected_workers.session = $6
                  OR NOT EXISTS (SELECT 1 FROM masters m WHERE m.id = connected_workers.masterid
                                 AND m.epoch = connected_workers.epoch AND m.active)";
    let values = params![
        session.worker,
        session.owner.master_id,
        session.owner.epoch,
        &session.session,
        now,
        replacing.unwrap_or("")
    ];
    if execute(tx, sql, values).await? == 0 {
        let held = self::session(tx, session.worker).await?.ok_or(DbError::NotFound("worker session"))?;
        return Ok(Connected::HeldBy(held));
    }
    execute(tx, "UPDATE workers SET info = $2 WHERE id = $1", params![session.worker, json(info)?]).await?;
    Ok(Connected::Yes)
}

/// Ends a session. Returns whether it was still the worker's.
///
/// # Errors
/// What the database reported.
pub async fn disconnected(tx: &Tx, session: &Session) -> Result<bool, DbError> {
    let sql = "DELETE FROM connected_workers WHERE workerid = $1 AND masterid = $2 AND epoch = $3 AND session = $4";
    let values = params![session.worker, session.owner.master_id, session.owner.epoch, &session.session];
    Ok(execute(tx, sql, values).await? == 1)
}

/// The worker's session.
///
/// # Errors
/// What the database reported.
pub async fn session(connection: &impl ConnectionTrait, worker: WorkerId) -> Result<Option<Session>, DbError> {
    let sql = "SELECT workerid, masterid, epoch, session FROM connected_workers WHERE workerid = $1";
    fetch_one(connection, sql, params![worker]).await?.as_ref().map(session_from_row).transpose()
}

fn session_from_row(row: &QueryResult) -> Result<Session, DbError> {
    Ok(Session {
        worker: id(row, "workerid")?,
        owner: Owner { master_id: id(row, "masterid")?, epoch: column(row, "epoch")? },
        session: column(row, "session")?,
    })
}

/// Ends the sessions of epochs that have ended, and returns their workers.
///
/// # Errors
/// What the database reported.
pub async fn disconnect_orphans(tx: &Tx) -> Result<Vec<WorkerId>, DbError> {
    // By what each row was when it was found, not by `NOT EXISTS (.. masters ..)`: a worker that connects here meanwhile
    // replaces its row, and PostgreSQL, which then looks again at the new row, does not look for its master again.
    let sql = "DELETE FROM connected_workers WHERE (workerid, masterid, epoch) IN (
                   SELECT c.workerid, c.masterid, c.epoch FROM connected_workers c JOIN masters m ON m.id = c.masterid
                   WHERE NOT m.active OR m.epoch <> c.epoch)
               RETURNING workerid";
    fetch_all(tx, sql, vec![]).await?.iter().map(|row| id(row, "workerid")).collect()
}

/// Pauses or unpauses a worker. Returns whether anything changed.
///
/// # Errors
/// What the database reported.
pub async fn set_paused(tx: &Tx, worker: WorkerId, paused: bool, reason: Option<&str>) -> Result<bool, DbError> {
    let sql = "UPDATE workers SET paused = $2, pause_reason = $3
               WHERE id = $1 AND (paused <> $2 OR pause_reason IS DISTINCT FROM $3)";
    Ok(execute(tx, sql, params![worker, paused, reason]).await? == 1)
}

/// Sets whether a worker leaves when its builds are done. Returns whether anything changed.
///
/// # Errors
/// What the database reported.
pub async fn set_graceful(tx: &Tx, worker: WorkerId, graceful: bool) -> Result<bool, DbError> {
    let sql = "UPDATE workers SET graceful = $2 WHERE id = $1 AND graceful <> $2";
    Ok(execute(tx, sql, params![worker, graceful]).await? == 1)
}

/// A worker, with all its links.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, worker: WorkerId) -> Result<Option<Worker>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM workers w WHERE w.id = $1");
    let worker = fetch_one(connection, sql, params![worker]).await?.as_ref().map(from_row).transpose()?;
    let mut list: Vec<Worker> = worker.into_iter().collect();
    fill(connection, &mut list, None, None).await?;
    Ok(list.pop())
}

/// The workers, by id: those configured on a master or for a builder, if asked for (their links are restricted to it).
///
/// # Errors
/// What the database reported.
pub async fn list(
    connection: &impl ConnectionTrait,
    master: Option<MasterId>,
    builder: Option<BuilderId>,
) -> Result<Vec<Worker>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM workers w
         WHERE (CAST($1 AS BIGINT) IS NULL AND CAST($2 AS BIGINT) IS NULL) OR EXISTS (
             SELECT 1 FROM configured_workers cw JOIN builder_masters bm ON bm.id = cw.buildermasterid
             WHERE cw.workerid = w.id AND (CAST($1 AS BIGINT) IS NULL OR bm.masterid = $1)
               AND (CAST($2 AS BIGINT) IS NULL OR bm.builderid = $2))
         ORDER BY w.id"
    );
    let mut workers = fetch_all(connection, sql, params![master, builder])
        .await?
        .iter()
        .map(from_row)
        .collect::<Result<Vec<_>, _>>()?;
    fill(connection, &mut workers, master, builder).await?;
    Ok(workers)
}

/// Fills in where workers are configured and connected.
///
/// # Errors
/// What the database reported.
pub(crate) async fn fill(
    connection: &impl ConnectionTrait,
    workers: &mut [Worker],
    master: Option<MasterId>,
    builder: Option<BuilderId>,
) -> Result<(), DbError> {
    if workers.is_empty() {
        return Ok(());
    }
    let ids = id_list(&workers.iter().map(|worker| worker.workerid).collect::<Vec<_>>());
    let list = in_list(connection.get_database_backend(), 1);
    let sql = format!(
        "SELECT cw.workerid AS workerid, bm.builderid AS builderid, bm.masterid AS masterid
         FROM configured_workers cw JOIN builder_masters bm ON bm.id = cw.buildermasterid
         WHERE cw.workerid {list} AND (CAST($2 AS BIGINT) IS NULL OR bm.masterid = $2)
           AND (CAST($3 AS BIGINT) IS NULL OR bm.builderid = $3)
         ORDER BY bm.builderid, bm.masterid"
    );
    let mut configured: HashMap<WorkerId, Vec<ConfiguredOn>> = HashMap::new();
    for row in fetch_all(connection, sql, params![ids.as_str(), master, builder]).await? {
        let on = ConfiguredOn { builderid: id(&row, "builderid")?, masterid: id(&row, "masterid")? };
        configured.entry(id(&row, "workerid")?).or_default().push(on);
    }
    let sql = format!(
        "SELECT workerid, masterid FROM connected_workers
         WHERE workerid {list} AND (CAST($2 AS BIGINT) IS NULL OR masterid = $2)"
    );
    let mut connected: HashMap<WorkerId, Vec<ConnectedTo>> = HashMap::new();
    for row in fetch_all(connection, sql, params![ids, master]).await? {
        let to = ConnectedTo { masterid: id(&row, "masterid")? };
        connected.entry(id(&row, "workerid")?).or_default().push(to);
    }
    for worker in workers {
        worker.configured_on = configured.remove(&worker.workerid).unwrap_or_default();
        worker.connected_to = connected.remove(&worker.workerid).unwrap_or_default();
    }
    Ok(())
}
