//! Buildsets, with their source stamps, properties and requests.

use std::collections::BTreeMap;

use buildguild_types::ids::{BuildId, BuilderId, BuildsetId, SourceStampId};
use buildguild_types::properties::Properties;
use buildguild_types::resources::{BuildRequest, Buildset, SourceStamp};
use buildguild_types::results::Results;
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::builders::json;
use crate::sourcestamps::{self, NewSourceStamp};
use crate::sql::{
    Cell, column, execute, fetch_all, fetch_one, id, id_list, in_list, maybe_id, maybe_results, maybe_time, rows_of,
    time,
};
use crate::{DbError, Tx, params, properties};

/// The columns of a buildset, without its source stamps.
pub(crate) const COLUMNS: &str = "bs.id AS bsid, bs.external_idstring AS external_idstring, bs.reason AS reason,
    bs.submitted_at AS submitted_at, bs.complete AS complete, bs.complete_at AS complete_at, bs.results AS results,
    bs.parent_buildid AS parent_buildid, bs.parent_relationship AS parent_relationship,
    bs.rebuilt_buildid AS rebuilt_buildid";

pub(crate) fn from_row(row: &QueryResult) -> Result<Buildset, DbError> {
    Ok(Buildset {
        bsid: id(row, "bsid")?,
        reason: column(row, "reason")?,
        external_idstring: column(row, "external_idstring")?,
        parent_buildid: maybe_id(row, "parent_buildid")?,
        parent_relationship: column(row, "parent_relationship")?,
        rebuilt_buildid: maybe_id(row, "rebuilt_buildid")?,
        submitted_at: time(row, "submitted_at")?,
        complete: column(row, "complete")?,
        complete_at: maybe_time(row, "complete_at")?,
        results: maybe_results(row, "results")?,
        sourcestamps: Vec::new(),
    })
}

/// A source stamp of a new buildset.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a buildset has a handful of them, for the length of one call")]
pub enum StampRef {
    /// One that exists.
    Id(SourceStampId),
    /// One that is added unless it exists.
    New(NewSourceStamp),
}

/// A buildset that is to be added.
#[derive(Clone, Debug, Default)]
pub struct NewBuildset {
    /// What to check out.
    pub sourcestamps: Vec<StampRef>,
    /// Why.
    pub reason: String,
    /// Its properties.
    pub properties: Properties,
    /// One request for each of these builders.
    pub builders: Vec<BuilderId>,
    /// The priority of the requests.
    pub priority: i64,
    /// Whether a build waits for it.
    pub waited_for: bool,
    /// An id for whoever makes it.
    pub external_idstring: Option<String>,
    /// The build that triggers it.
    pub parent_buildid: Option<BuildId>,
    /// How it came from that build.
    pub parent_relationship: Option<String>,
    /// The build that is done again.
    pub rebuilt_buildid: Option<BuildId>,
}

/// Adds a buildset with its requests. Without builders it is complete at once, with success.
///
/// # Errors
/// What the database reported.
pub async fn add(tx: &Tx, new: &NewBuildset, now: Timestamp) -> Result<(Buildset, Vec<BuildRequest>), DbError> {
    let mut stamps: Vec<SourceStamp> = Vec::new();
    for stamp in &new.sourcestamps {
        let stamp = match stamp {
            StampRef::Id(ssid) => sourcestamps::get(tx, *ssid).await?.ok_or(DbError::NotFound("source stamp"))?,
            StampRef::New(stamp) => sourcestamps::find_or_create_whole(tx, stamp, now).await?,
        };
        if stamps.iter().all(|other| other.ssid != stamp.ssid) {
            stamps.push(stamp);
        }
    }
    let empty = new.builders.is_empty();
    let open = i64::try_from(new.builders.len()).unwrap_or(i64::MAX);
    let sql = "INSERT INTO buildsets (external_idstring, reason, submitted_at, complete, complete_at, results,
                   parent_buildid, parent_relationship, rebuilt_buildid, open_requests)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id";
    let values = params![
        new.external_idstring.as_deref(),
        &new.reason,
        now,
        empty,
        empty.then_some(now),
        empty.then_some(Results::Success),
        new.parent_buildid,
        new.parent_relationship.as_deref(),
        new.rebuilt_buildid,
        open
    ];
    let row = fetch_one(tx, sql, values).await?.ok_or(DbError::NotFound("buildset"))?;
    let bsid: BuildsetId = id(&row, "id")?;
    add_stamps(tx, bsid, &stamps).await?;
    properties::add_for_buildset(tx, bsid, &new.properties).await?;
    let requests = add_requests(tx, bsid, new, now).await?;
    let buildset = Buildset {
        bsid,
        reason: new.reason.clone(),
        external_idstring: new.external_idstring.clone(),
        parent_buildid: new.parent_buildid,
        parent_relationship: new.parent_relationship.clone(),
        rebuilt_buildid: new.rebuilt_buildid,
        submitted_at: now,
        complete: empty,
        complete_at: empty.then_some(now),
        results: empty.then_some(Results::Success),
        sourcestamps: stamps,
    };
    Ok((buildset, requests))
}

async fn add_stamps(tx: &Tx, bsid: BuildsetId, stamps: &[SourceStamp]) -> Result<(), DbError> {
    if stamps.is_empty() {
        return Ok(());
    }
    let rows: Vec<[i64; 1]> = stamps.iter().map(|stamp| [stamp.ssid.get()]).collect();
    let (cells, from) = rows_of(tx.get_database_backend(), 2, &[Cell::Int]);
    let sql = format!(
        "INSERT INTO buildset_sourcestamps (buildsetid, sourcestampid) SELECT $1, {} FROM {from} ORDER BY e.key",
        cells[0]
    );
    execute(tx, sql, params![bsid, json(&rows)?]).await?;
    Ok(())
}

async fn add_requests(
    tx: &Tx,
    bsid: BuildsetId,
    new: &NewBuildset,
    now: Timestamp,
) -> Result<Vec<BuildRequest>, DbError> {
    if new.builders.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<[i64; 1]> = new.builders.iter().map(|builder| [builder.get()]).collect();
    let (cells, from) = rows_of(tx.get_database_backend(), 5, &[Cell::Int]);
    let sql = format!(
        "INSERT INTO buildrequests (buildsetid, builderid, priority, submitted_at, waited_for)
         SELECT $1, {}, $2, $3, $4 FROM {from} ORDER BY e.key RETURNING id, builderid",
        cells[0]
    );
    let values = params![bsid, new.priority, now, new.waited_for, json(&rows)?];
    let mut requests = fetch_all(tx, sql, values)
        .await?
        .iter()
        .map(|row| {
            Ok(BuildRequest {
                buildrequestid: id(row, "id")?,
                buildsetid: bsid,
                builderid: id(row, "builderid")?,
                priority: new.priority,
                claimed: false,
                claimed_at: None,
                claimed_by_masterid: None,
                complete: false,
                complete_at: None,
                results: None,
                submitted_at: now,
                waited_for: new.waited_for,
                properties: None,
            })
        })
        .collect::<Result<Vec<_>, DbError>>()?;
    requests.sort_by_key(|request| request.buildrequestid);
    Ok(requests)
}

/// The results by severity: an index into this is what the column worst_severity holds.
const BY_SEVERITY: [Results; 7] = [
    Results::Skipped,
    Results::Success,
    Results::Warnings,
    Results::Failure,
    Results::Exception,
    Results::Retry,
    Results::Cancelled,
];

/// Counts down the open requests of buildsets, some of which have ended with `results`, and completes those that have
/// none left, with the worst result of all their requests. Returns those. Each is one atomic update, so of several
/// masters that complete the last requests exactly one sees zero.
///
/// # Errors
/// What the database reported.
pub(crate) async fn requests_completed(
    tx: &Tx,
    counts: &BTreeMap<BuildsetId, i64>,
    results: Results,
    now: Timestamp,
) -> Result<Vec<Buildset>, DbError> {
    let severity = BY_SEVERITY.iter().zip(0_i64..).find(|(other, _)| **other == results).map_or(0, |(_, index)| index);
    let worst = "CASE WHEN worst_severity > $3 THEN worst_severity ELSE $3 END";
    let mut code = format!("CASE {worst}");
    for (severity, results) in BY_SEVERITY.into_iter().enumerate() {
        // As in Buildbot a set of which all is skipped, because newer requests stand for it, is a success.
        let results = if results == Results::Skipped { Results::Success } else { results };
        code.push_str(&format!(" WHEN {severity} THEN {}", results.code()));
    }
    code.push_str(" END");
    let last = "open_requests <= $2";
    let sql = format!(
        "UPDATE buildsets SET open_requests = open_requests - $2, worst_severity = {worst}, complete = ({last}),
             complete_at = CASE WHEN {last} THEN $4 END, results = CASE WHEN {last} THEN {code} END
         WHERE id = $1 AND NOT complete
         RETURNING id AS bsid, external_idstring, reason, submitted_at, complete, complete_at, results, parent_buildid,
             parent_relationship, rebuilt_buildid"
    );
    let mut done = Vec::new();
    for (bsid, count) in counts {
        if let Some(row) = fetch_one(tx, sql.as_str(), params![*bsid, *count, severity, now]).await? {
            let buildset = from_row(&row)?;
            if buildset.complete {
                done.push(buildset);
            }
        }
    }
    fill(tx, &mut done).await?;
    Ok(done)
}

/// Completes a buildset.
///
/// # Errors
/// [`DbError::AlreadyComplete`] if it is complete.
pub async fn complete(tx: &Tx, bsid: BuildsetId, results: Results, now: Timestamp) -> Result<Buildset, DbError> {
    let sql = "UPDATE buildsets SET complete = TRUE, complete_at = $2, results = $3 WHERE id = $1 AND NOT complete";
    if execute(tx, sql, params![bsid, now, results]).await? == 0 {
        return Err(DbError::AlreadyComplete);
    }
    get(tx, bsid).await?.ok_or(DbError::NotFound("buildset"))
}

/// A buildset.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, bsid: BuildsetId) -> Result<Option<Buildset>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM buildsets bs WHERE bs.id = $1");
    let buildset = fetch_one(connection, sql, params![bsid]).await?.as_ref().map(from_row).transpose()?;
    let mut list: Vec<Buildset> = buildset.into_iter().collect();
    fill(connection, &mut list).await?;
    Ok(list.pop())
}

/// The latest `limit` buildsets, oldest first: all, or those (not) complete, or with a source stamp of this branch or
/// repository.
///
/// # Errors
/// What the database reported.
pub async fn recent(
    connection: &impl ConnectionTrait,
    limit: i64,
    branch: Option<&str>,
    repository: Option<&str>,
    complete: Option<bool>,
) -> Result<Vec<Buildset>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM buildsets bs
         WHERE (CAST($2 AS TEXT) IS NULL AND CAST($3 AS TEXT) IS NULL OR EXISTS (
                   SELECT 1 FROM buildset_sourcestamps x JOIN sourcestamps s ON s.id = x.sourcestampid
                   WHERE x.buildsetid = bs.id AND (CAST($2 AS TEXT) IS NULL OR s.branch = $2)
                     AND (CAST($3 AS TEXT) IS NULL OR s.repository = $3)))
           AND (CAST($4 AS BOOLEAN) IS NULL OR bs.complete = $4)
         ORDER BY bs.submitted_at DESC, bs.id DESC LIMIT $1"
    );
    let mut buildsets = fetch_all(connection, sql, params![limit, branch, repository, complete])
        .await?
        .iter()
        .map(from_row)
        .collect::<Result<Vec<_>, _>>()?;
    buildsets.reverse();
    fill(connection, &mut buildsets).await?;
    Ok(buildsets)
}

/// Fills in the source stamps of buildsets.
///
/// # Errors
/// What the database reported.
pub(crate) async fn fill(connection: &impl ConnectionTrait, buildsets: &mut [Buildset]) -> Result<(), DbError> {
    if buildsets.is_empty() {
        return Ok(());
    }
    let ids: Vec<BuildsetId> = buildsets.iter().map(|buildset| buildset.bsid).collect();
    let sql = format!(
        "SELECT x.buildsetid AS buildsetid, {} FROM buildset_sourcestamps x
         JOIN sourcestamps ss ON ss.id = x.sourcestampid LEFT JOIN patches p ON p.id = ss.patchid
         WHERE x.buildsetid {} ORDER BY x.id",
        sourcestamps::COLUMNS,
        in_list(connection.get_database_backend(), 1)
    );
    let mut stamps: BTreeMap<BuildsetId, Vec<SourceStamp>> = BTreeMap::new();
    for row in fetch_all(connection, sql, params![id_list(&ids)]).await? {
        stamps.entry(id(&row, "buildsetid")?).or_default().push(sourcestamps::from_row(&row)?);
    }
    for buildset in buildsets {
        buildset.sourcestamps = stamps.remove(&buildset.bsid).unwrap_or_default();
    }
    Ok(())
}
