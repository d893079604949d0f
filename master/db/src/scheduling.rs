//! What schedulers and distribution ask beyond the connectors of single tables.

use buildguild_types::ids::{BuildRequestId, ChangeId, SchedulerId};
use buildguild_types::resources::SourceStamp;
use sea_orm::{ConnectionTrait, DbBackend};

use crate::sql::{column, execute, fetch_all, fetch_one, id, id_list, in_list};
use crate::{DbError, Tx, params, sourcestamps};

/// Forgets what a scheduler thought of these changes: they are built.
///
/// # Errors
/// What the database reported.
pub async fn forget_classifications(tx: &Tx, scheduler: SchedulerId, changes: &[ChangeId]) -> Result<u64, DbError> {
    let sql = format!(
        "DELETE FROM scheduler_changes WHERE schedulerid = $1 AND changeid {}",
        in_list(tx.get_database_backend(), 2)
    );
    execute(tx, sql, params![scheduler, id_list(changes)]).await
}

/// Whether a scheduler may start builds. One that does not exist may not.
///
/// # Errors
/// What the database reported.
pub async fn is_enabled(connection: &impl ConnectionTrait, scheduler: SchedulerId) -> Result<bool, DbError> {
    match fetch_one(connection, "SELECT enabled FROM schedulers WHERE id = $1", params![scheduler]).await? {
        Some(row) => column(&row, "enabled"),
        None => Ok(false),
    }
}

/// A source stamp of a build request.
#[derive(Clone, Debug)]
pub struct RequestStamp {
    /// The request.
    pub request: BuildRequestId,
    /// The source stamp.
    pub stamp: SourceStamp,
    /// Whether it is that of a change.
    pub has_changes: bool,
}

/// The source stamps of these requests, ordered by request.
///
/// # Errors
/// What the database reported.
pub async fn request_stamps(
    connection: &impl ConnectionTrait,
    requests: &[BuildRequestId],
) -> Result<Vec<RequestStamp>, DbError> {
    let sql = format!(
        "SELECT r.id AS requestid, {},
                EXISTS (SELECT 1 FROM changes c WHERE c.sourcestampid = ss.id) AS has_changes
         FROM buildrequests r JOIN buildset_sourcestamps bs ON bs.buildsetid = r.buildsetid
         JOIN sourcestamps ss ON ss.id = bs.sourcestampid LEFT JOIN patches p ON p.id = ss.patchid
         WHERE r.id {} ORDER BY r.id, bs.id",
        sourcestamps::COLUMNS,
        in_list(connection.get_database_backend(), 1)
    );
    fetch_all(connection, sql, params![id_list(requests)])
        .await?
        .iter()
        .map(|row| {
            Ok(RequestStamp {
                request: id(row, "requestid")?,
                stamp: sourcestamps::from_row(row)?,
                has_changes: column(row, "has_changes")?,
            })
        })
        .collect()
}

/// Locks a request against being completed, if it is not. Returns whether that is so.
///
/// # Errors
/// What the database reported.
pub async fn lock_open_request(tx: &Tx, request: BuildRequestId) -> Result<bool, DbError> {
    let lock = match tx.get_database_backend() {
        DbBackend::Postgres => " FOR SHARE",
        _ => "",
    };
    let sql = format!("SELECT id FROM buildrequests WHERE id = $1 AND NOT complete{lock}");
    Ok(fetch_one(tx, sql, params![request]).await?.is_some())
}
