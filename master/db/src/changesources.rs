//! Change sources: their ids, and which master runs them.

use buildguild_types::ids::{ChangeSourceId, MasterId};
use buildguild_types::resources::ChangeSource;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::leases::{self, Lease};
use crate::sql::{column, execute, fetch_all, fetch_one, id, name_hash};
use crate::{DbError, Owner, Tx, masters, params};

/// The id of the change source with this name; added if there is none.
///
/// # Errors
/// What the database reported.
pub async fn find_id(connection: &impl ConnectionTrait, name: &str) -> Result<ChangeSourceId, DbError> {
    let hash = name_hash(name);
    let find = "SELECT id FROM changesources WHERE name_hash = $1";
    if let Some(row) = fetch_one(connection, find, params![hash.as_str()]).await? {
        return id(&row, "id");
    }
    let sql = "INSERT INTO changesources (name, name_hash) VALUES ($1, $2) ON CONFLICT (name_hash) DO NOTHING";
    execute(connection, sql, params![name, hash.as_str()]).await?;
    match fetch_one(connection, find, params![hash]).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("change source")),
    }
}

/// Gives a change source to a master, or takes it from whichever has it.
///
/// # Errors
/// [`DbError::AlreadyClaimed`] if another living master runs it, [`DbError::EpochEnded`] if the new owner is not alive.
pub async fn set_master(tx: &Tx, changesource: ChangeSourceId, owner: Option<Owner>) -> Result<(), DbError> {
    match owner {
        Some(owner) => match leases::acquire(tx, Lease::ChangeSource(changesource), owner).await? {
            true => Ok(()),
            false => Err(DbError::AlreadyClaimed),
        },
        None => {
            execute(tx, "DELETE FROM changesource_masters WHERE changesourceid = $1", params![changesource]).await?;
            Ok(())
        }
    }
}

/// The master that runs a change source.
///
/// # Errors
/// What the database reported.
pub async fn master(
    connection: &impl ConnectionTrait,
    changesource: ChangeSourceId,
) -> Result<Option<MasterId>, DbError> {
    Ok(leases::holder(connection, Lease::ChangeSource(changesource)).await?.map(|owner| owner.master_id))
}

const SELECT: &str = "SELECT cs.id AS changesourceid, cs.name AS changesource_name,
        m.id AS masterid, m.name AS name, m.active AS active, m.last_active AS last_active
    FROM changesources cs LEFT JOIN changesource_masters csm ON csm.changesourceid = cs.id
    LEFT JOIN masters m ON m.id = csm.masterid";

fn from_row(row: &QueryResult) -> Result<ChangeSource, DbError> {
    let master = match column::<Option<i64>>(row, "masterid")? {
        Some(_) => Some(masters::from_row(row)?),
        None => None,
    };
    Ok(ChangeSource { changesourceid: id(row, "changesourceid")?, name: column(row, "changesource_name")?, master })
}

/// A change source with the master that runs it.
///
/// # Errors
/// What the database reported.
pub async fn get(
    connection: &impl ConnectionTrait,
    changesource: ChangeSourceId,
) -> Result<Option<ChangeSource>, DbError> {
    let sql = format!("{SELECT} WHERE cs.id = $1");
    fetch_one(connection, sql, params![changesource]).await?.as_ref().map(from_row).transpose()
}

/// The change sources that run on some master (`active`) or on none, and on this one; all if nothing is asked for. By
/// id.
///
/// # Errors
/// What the database reported.
pub async fn list(
    connection: &impl ConnectionTrait,
    active: Option<bool>,
    master: Option<MasterId>,
) -> Result<Vec<ChangeSource>, DbError> {
    let sql = format!(
        "{SELECT} WHERE (CAST($1 AS BOOLEAN) IS NULL OR (csm.masterid IS NOT NULL) = $1)
           AND (CAST($2 AS BIGINT) IS NULL OR csm.masterid = $2) ORDER BY cs.id"
    );
    fetch_all(connection, sql, params![active, master]).await?.iter().map(from_row).collect()
}
