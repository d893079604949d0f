//! Changes, with their files, properties and users.

use std::collections::BTreeMap;

use buildguild_types::ids::{BuildId, ChangeId, SourceStampId, UserId};
use buildguild_types::properties::{Properties, Property};
use buildguild_types::resources::{Change, SourceStamp};
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::builders::json;
use crate::sourcestamps::{self, NewSourceStamp};
use crate::sql::{Cell, column, execute, fetch_all, fetch_one, id, id_list, in_list, maybe_id, rows_of, time};
use crate::{DbError, Tx, builds, params};

/// The columns of a change and its source stamp, without files and properties.
pub(crate) const COLUMNS: &str = "c.changeid AS changeid, c.author AS author, c.committer AS committer,
    c.comments AS comments, c.branch AS branch, c.revision AS revision, c.revlink AS revlink,
    c.when_timestamp AS when_timestamp, c.category AS category, c.repository AS repository, c.codebase AS codebase,
    c.project AS project, c.parent_changeids AS parent_changeids";

pub(crate) fn from_row(row: &QueryResult) -> Result<Change, DbError> {
    Ok(Change {
        changeid: id(row, "changeid")?,
        author: column(row, "author")?,
        committer: column(row, "committer")?,
        comments: column(row, "comments")?,
        branch: column(row, "branch")?,
        revision: column(row, "revision")?,
        revlink: column(row, "revlink")?,
        repository: column(row, "repository")?,
        project: column(row, "project")?,
        codebase: column(row, "codebase")?,
        category: column(row, "category")?,
        files: Vec::new(),
        when_timestamp: time(row, "when_timestamp")?,
        parent_changeids: maybe_id(row, "parent_changeids")?.into_iter().collect(),
        properties: Properties::new(),
        sourcestamp: sourcestamps::from_row(row)?,
    })
}

/// `SELECT` of changes with their source stamps; a `WHERE` follows.
pub(crate) fn select() -> String {
    format!(
        "SELECT {COLUMNS}, {} FROM changes c JOIN sourcestamps ss ON ss.id = c.sourcestampid
         LEFT JOIN patches p ON p.id = ss.patchid",
        sourcestamps::COLUMNS
    )
}

/// A change that is to be added.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct NewChange {
    /// Who wrote it.
    pub author: String,
    /// Who committed it.
    pub committer: Option<String>,
    /// The commit message.
    pub comments: String,
    /// The files it touches.
    pub files: Vec<String>,
    /// The revision.
    pub revision: Option<String>,
    /// When it was made, in microseconds since the epoch; nothing for now.
    pub when_micros: Option<i64>,
    /// The branch.
    pub branch: Option<String>,
    /// A category for filters.
    pub category: Option<String>,
    /// A link to it.
    pub revlink: Option<String>,
    /// Properties that it brings along.
    pub properties: Properties,
    /// The repository's URL.
    pub repository: String,
    /// The project, free text.
    pub project: String,
    /// The code base's name.
    pub codebase: String,
    /// The user who made it, if known.
    pub user: Option<UserId>,
}

/// Adds a change (and, if new, its source stamp), and returns it as the API gives it.
///
/// # Errors
/// What the database reported.
pub async fn add(tx: &Tx, change: &NewChange, now: Timestamp) -> Result<Change, DbError> {
    let stamp = NewSourceStamp {
        branch: change.branch.clone(),
        revision: change.revision.clone(),
        repository: change.repository.clone(),
        project: change.project.clone(),
        codebase: change.codebase.clone(),
        patch: None,
    };
    let ssid = sourcestamps::find_or_create(tx, &stamp, now).await?;
    let parent = parent_of(tx, change.branch.as_deref(), &change.repository, &change.project, &change.codebase).await?;
    let when = change.when_micros.map_or(now, Timestamp::from_micros);
    let sql = "INSERT INTO changes (author, committer, comments, branch, revision, revlink, when_timestamp, category,
                   repository, codebase, project, sourcestampid, parent_changeids)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING changeid";
    let values = params![
        &change.author,
        change.committer.as_deref(),
        &change.comments,
        change.branch.as_deref(),
        change.revision.as_deref(),
        change.revlink.as_deref(),
        when,
        change.category.as_deref(),
        &change.repository,
        &change.codebase,
        &change.project,
        ssid,
        parent
    ];
    let row = fetch_one(tx, sql, values).await?.ok_or(DbError::NotFound("change"))?;
    let changeid: ChangeId = id(&row, "changeid")?;
    add_parts(tx, changeid, change).await?;
    let sourcestamp = sourcestamps::get(tx, ssid).await?.ok_or(DbError::NotFound("source stamp"))?;
    Ok(added(changeid, change, when, parent, sourcestamp))
}

fn added(
    changeid: ChangeId,
    change: &NewChange,
    when_timestamp: Timestamp,
    parent: Option<ChangeId>,
    sourcestamp: SourceStamp,
) -> Change {
    Change {
        changeid,
        author: change.author.clone(),
        committer: change.committer.clone(),
        comments: change.comments.clone(),
        branch: change.branch.clone(),
        revision: change.revision.clone(),
        revlink: change.revlink.clone(),
        repository: change.repository.clone(),
        project: change.project.clone(),
        codebase: change.codebase.clone(),
        category: change.category.clone(),
        files: change.files.clone(),
        when_timestamp,
        parent_changeids: parent.into_iter().collect(),
        properties: change.properties.clone(),
        sourcestamp,
    }
}

async fn add_parts(tx: &Tx, changeid: ChangeId, change: &NewChange) -> Result<(), DbError> {
    let backend = tx.get_database_backend();
    if !change.files.is_empty() {
        let rows: Vec<(usize, &String)> = change.files.iter().enumerate().collect();
        let (cells, from) = rows_of(backend, 2, &[Cell::Int, Cell::Text]);
        let sql = format!(
            "INSERT INTO change_files (changeid, position, filename) SELECT $1, {}, {} FROM {from}",
            cells[0], cells[1]
        );
        execute(tx, sql, params![changeid, json(&rows)?]).await?;
    }
    if !change.properties.is_empty() {
        let rows = change
            .properties
            .iter()
            .map(|(name, property)| Ok((name, json(property)?)))
            .collect::<Result<Vec<_>, DbError>>()?;
        let (cells, from) = rows_of(backend, 2, &[Cell::Text, Cell::Text]);
        let sql = format!(
            "INSERT INTO change_properties (changeid, property_name, property_value) SELECT $1, {}, {} FROM {from}",
            cells[0], cells[1]
        );
        execute(tx, sql, params![changeid, json(&rows)?]).await?;
    }
    if let Some(user) = change.user {
        execute(tx, "INSERT INTO change_users (changeid, uid) VALUES ($1, $2)", params![changeid, user]).await?;
    }
    Ok(())
}

/// The latest change of a line of development: the parent of the next one.
///
/// # Errors
/// What the database reported.
pub async fn parent_of(
    connection: &impl ConnectionTrait,
    branch: Option<&str>,
    repository: &str,
    project: &str,
    codebase: &str,
) -> Result<Option<ChangeId>, DbError> {
    // Index changes_line; a branch that is null needs its own form for the index to be used.
    let branch_is = if branch.is_some() { "branch = $4" } else { "branch IS NULL" };
    let sql = format!(
        "SELECT changeid FROM changes WHERE repository = $1 AND codebase = $2 AND project = $3 AND {branch_is}
         ORDER BY changeid DESC LIMIT 1"
    );
    let mut values = params![repository, codebase, project];
    if let Some(branch) = branch {
        values.extend(params![branch]);
    }
    fetch_one(connection, sql, values).await?.map(|row| id(&row, "changeid")).transpose()
}

/// A change.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, change: ChangeId) -> Result<Option<Change>, DbError> {
    Ok(fetch(connection, "WHERE c.changeid = $1", params![change]).await?.pop())
}

/// Changes by their ids, in the order of ids.
///
/// # Errors
/// What the database reported.
pub async fn get_many(connection: &impl ConnectionTrait, changes: &[ChangeId]) -> Result<Vec<Change>, DbError> {
    let clause = format!("WHERE c.changeid {} ORDER BY c.changeid", in_list(connection.get_database_backend(), 1));
    fetch(connection, &clause, params![id_list(changes)]).await
}

/// At most `limit` changes with an id above `after`, oldest first.
///
/// # Errors
/// What the database reported.
pub async fn list_after(
    connection: &impl ConnectionTrait,
    after: ChangeId,
    limit: i64,
) -> Result<Vec<Change>, DbError> {
    fetch(connection, "WHERE c.changeid > $1 ORDER BY c.changeid LIMIT $2", params![after, limit]).await
}

/// The latest change with this source stamp.
///
/// # Errors
/// What the database reported.
pub async fn from_sourcestamp(
    connection: &impl ConnectionTrait,
    stamp: SourceStampId,
) -> Result<Option<Change>, DbError> {
    let clause = "WHERE c.sourcestampid = $1 ORDER BY c.changeid DESC LIMIT 1";
    Ok(fetch(connection, clause, params![stamp]).await?.pop())
}

/// The id of the latest change.
///
/// # Errors
/// What the database reported.
pub async fn latest_id(connection: &impl ConnectionTrait) -> Result<Option<ChangeId>, DbError> {
    let row = fetch_one(connection, "SELECT max(changeid) AS id FROM changes", vec![]).await?;
    row.map_or(Ok(None), |row| maybe_id(&row, "id"))
}

/// How many changes there are.
///
/// # Errors
/// What the database reported.
pub async fn count(connection: &impl ConnectionTrait) -> Result<i64, DbError> {
    match fetch_one(connection, "SELECT count(*) AS n FROM changes", vec![]).await? {
        Some(row) => column(&row, "n"),
        None => Ok(0),
    }
}

/// The users who made a change.
///
/// # Errors
/// What the database reported.
pub async fn users_of(connection: &impl ConnectionTrait, change: ChangeId) -> Result<Vec<UserId>, DbError> {
    fetch_all(connection, "SELECT uid FROM change_users WHERE changeid = $1 ORDER BY uid", params![change])
        .await?
        .iter()
        .map(|row| id(row, "uid"))
        .collect()
}

/// The most changes that [`for_build`] gives.
const CHANGES_OF_BUILD: i64 = 1000;

/// The changes that are new in a build: of each of its source stamps, the change and its parents back to (without) the
/// change that the previous successful build of the same source had. Newest first.
///
/// # Errors
/// What the database reported.
pub async fn for_build(connection: &impl ConnectionTrait, build: BuildId) -> Result<Vec<Change>, DbError> {
    let Some(this) = builds::get(connection, build).await? else {
        return Ok(Vec::new());
    };
    let stamps = sourcestamps::for_build(connection, build).await?;
    let before = match builds::previous_successful(connection, &this).await? {
        Some(previous) => sourcestamps::for_build(connection, previous.buildid).await?,
        None => Vec::new(),
    };
    let mut ids: Vec<ChangeId> = Vec::new();
    for stamp in &stamps {
        let Some(first) = latest_with(connection, stamp.ssid).await? else { continue };
        let stop = match before.iter().find(|other| other.codebase == stamp.codebase) {
            Some(other) => latest_with(connection, other.ssid).await?,
            None => None,
        };
        // Parents are older, so the walk ends at the latest below the stop.
        let sql = "WITH RECURSIVE line (changeid, parent, depth) AS (
                       SELECT changeid, parent_changeids, 1 FROM changes WHERE changeid = $1 AND changeid > $2
                       UNION ALL
                       SELECT c.changeid, c.parent_changeids, line.depth + 1
                       FROM changes c JOIN line ON c.changeid = line.parent WHERE c.changeid > $2 AND line.depth < $3)
                   SELECT changeid FROM line";
        let stop = stop.map_or(0, ChangeId::get);
        for row in fetch_all(connection, sql, params![first, stop, CHANGES_OF_BUILD]).await? {
            ids.push(id(&row, "changeid")?);
        }
    }
    let mut changes = get_many(connection, &ids).await?;
    changes.reverse();
    Ok(changes)
}

async fn latest_with(connection: &impl ConnectionTrait, stamp: SourceStampId) -> Result<Option<ChangeId>, DbError> {
    let sql = "SELECT max(changeid) AS id FROM changes WHERE sourcestampid = $1";
    let row = fetch_one(connection, sql, params![stamp]).await?;
    row.map_or(Ok(None), |row| maybe_id(&row, "id"))
}

/// Deletes all but the newest `keep` changes; returns how many.
///
/// # Errors
/// What the database reported.
pub async fn prune(tx: &Tx, keep: i64) -> Result<u64, DbError> {
    let sql = "DELETE FROM changes WHERE changeid <= (
                   SELECT changeid FROM changes ORDER BY changeid DESC LIMIT 1 OFFSET $1)";
    execute(tx, sql, params![keep.max(0)]).await
}

async fn fetch(
    connection: &impl ConnectionTrait,
    clause: &str,
    values: Vec<sea_orm::Value>,
) -> Result<Vec<Change>, DbError> {
    let sql = format!("{} {clause}", select());
    let mut changes = fetch_all(connection, sql, values).await?.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    fill(connection, &mut changes).await?;
    Ok(changes)
}

/// Fills in the files and properties of changes.
///
/// # Errors
/// What the database reported.
pub(crate) async fn fill(connection: &impl ConnectionTrait, changes: &mut [Change]) -> Result<(), DbError> {
    if changes.is_empty() {
        return Ok(());
    }
    let ids = id_list(&changes.iter().map(|change| change.changeid).collect::<Vec<_>>());
    let list = in_list(connection.get_database_backend(), 1);
    let sql = format!("SELECT changeid, filename FROM change_files WHERE changeid {list} ORDER BY changeid, position");
    let mut files: BTreeMap<ChangeId, Vec<String>> = BTreeMap::new();
    for row in fetch_all(connection, sql, params![ids.as_str()]).await? {
        files.entry(id(&row, "changeid")?).or_default().push(column(&row, "filename")?);
    }
    let sql = format!("SELECT changeid, property_name, property_value FROM change_properties WHERE changeid {list}");
    let mut properties: BTreeMap<ChangeId, Vec<(String, Property)>> = BTreeMap::new();
    for row in fetch_all(connection, sql, params![ids]).await? {
        let value: String = column(&row, "property_value")?;
        let value = serde_json::from_str(&value).map_err(|error| DbError::Corrupt(error.to_string()))?;
        properties.entry(id(&row, "changeid")?).or_default().push((column(&row, "property_name")?, value));
    }
    for change in changes {
        change.files = files.remove(&change.changeid).unwrap_or_default();
        change.properties = properties.remove(&change.changeid).unwrap_or_default().into_iter().collect();
    }
    Ok(())
}
