//! Builders, their tags, and the masters that have them.

use std::collections::{BTreeMap, HashMap};

use buildguild_types::ids::{BuilderId, MasterId, ProjectId, WorkerId};
use buildguild_types::resources::Builder;
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{Cell, column, execute, fetch_all, fetch_one, id, id_list, in_list, maybe_id, name_hash, rows_of};
use crate::{DbError, Tx, params};

/// The columns of a builder, without its masters and tags.
pub(crate) const COLUMNS: &str = "b.id AS builderid, b.name AS name, b.description AS description,
    b.description_format AS description_format, b.description_html AS description_html, b.projectid AS projectid";

pub(crate) fn from_row(row: &QueryResult) -> Result<Builder, DbError> {
    Ok(Builder {
        builderid: id(row, "builderid")?,
        name: column(row, "name")?,
        description: column(row, "description")?,
        description_format: column(row, "description_format")?,
        description_html: column(row, "description_html")?,
        masterids: Vec::new(),
        projectid: maybe_id(row, "projectid")?,
        tags: Vec::new(),
    })
}

/// What the configuration says of a builder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuilderInfo {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// `markdown`, or nothing.
    pub description_format: Option<String>,
    /// The description as sanitised HTML.
    pub description_html: Option<String>,
    /// Its project.
    pub project: Option<ProjectId>,
    /// Its tags, in order.
    pub tags: Vec<String>,
}

/// What [`sync`] found and changed.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// The ids of the builders, by name.
    pub ids: HashMap<String, BuilderId>,
    /// Those that this master did not have before.
    pub started: Vec<BuilderId>,
    /// Those that this master no longer has.
    pub stopped: Vec<BuilderId>,
}

/// The id of the builder with this name; added if wanted.
///
/// # Errors
/// [`DbError::NotFound`] if there is none and none is to be added.
pub async fn find_id(connection: &impl ConnectionTrait, name: &str, create: bool) -> Result<BuilderId, DbError> {
    let hash = name_hash(name);
    let find = "SELECT id FROM builders WHERE name_hash = $1";
    if let Some(row) = fetch_one(connection, find, params![hash.as_str()]).await? {
        return id(&row, "id");
    }
    if create {
        let sql = "INSERT INTO builders (name, name_hash) VALUES ($1, $2) ON CONFLICT (name_hash) DO NOTHING";
        execute(connection, sql, params![name, hash.as_str()]).await?;
        if let Some(row) = fetch_one(connection, find, params![hash]).await? {
            return id(&row, "id");
        }
    }
    Err(DbError::NotFound("builder"))
}

/// Makes the database agree with the whole configuration of a master in a handful of statements, however many builders
/// there are: names, descriptions, tags, and which builders this master has.
///
/// # Errors
/// What the database reported.
pub async fn sync(tx: &Tx, master: MasterId, builders: &[BuilderInfo]) -> Result<Synced, DbError> {
    let ids = insert_missing(tx, builders).await?;
    update_infos(tx, &ids, builders).await?;
    update_tags(tx, &ids, builders).await?;

    let wanted: Vec<BuilderId> = builders.iter().filter_map(|builder| ids.get(&builder.name).copied()).collect();
    let sql = format!(
        "DELETE FROM builder_masters WHERE masterid = $1 AND NOT (builderid {}) RETURNING builderid",
        in_list(tx.get_database_backend(), 2)
    );
    let stopped = fetch_all(tx, sql, params![master, id_list(&wanted)]).await?;
    let started = add_masters(tx, master, &wanted).await?;
    Ok(Synced { ids, started, stopped: stopped.iter().map(|row| id(row, "builderid")).collect::<Result<_, _>>()? })
}

async fn insert_missing(tx: &Tx, builders: &[BuilderInfo]) -> Result<HashMap<String, BuilderId>, DbError> {
    let backend = tx.get_database_backend();
    let rows: Vec<[String; 2]> = builders.iter().map(|b| [b.name.clone(), name_hash(&b.name)]).collect();
    let rows = json(&rows)?;
    let (cells, from) = rows_of(backend, 1, &[Cell::Text, Cell::Text]);
    // Ids follow the configured order, as in Buildbot: pages list builders by id. Two masters with equal configurations
    // so lock in the same order, too. `WHERE true` keeps SQLite's parser from reading ON CONFLICT as a join.
    let sql = format!(
        "INSERT INTO builders (name, name_hash) SELECT {}, {} FROM {from} WHERE true ORDER BY e.key
         ON CONFLICT (name_hash) DO NOTHING",
        cells[0], cells[1]
    );
    execute(tx, sql, params![rows.as_str()]).await?;
    let sql = format!("SELECT id, name FROM builders WHERE name_hash IN (SELECT {} FROM {from})", cells[1]);
    fetch_all(tx, sql, params![rows]).await?.iter().map(|row| Ok((column(row, "name")?, id(row, "id")?))).collect()
}

async fn update_infos(tx: &Tx, ids: &HashMap<String, BuilderId>, builders: &[BuilderInfo]) -> Result<(), DbError> {
    let rows: Vec<_> = builders
        .iter()
        .filter_map(|b| {
            let id = ids.get(&b.name)?.get();
            let project = b.project.map(ProjectId::get);
            Some((id, &b.description, &b.description_format, &b.description_html, project))
        })
        .collect();
    let cells = [Cell::Int, Cell::Text, Cell::Text, Cell::Text, Cell::Int];
    let (cells, from) = rows_of(tx.get_database_backend(), 1, &cells);
    let sql = format!(
        "UPDATE builders SET description = v.d, description_format = v.f, description_html = v.h, projectid = v.p
         FROM (SELECT {} AS id, {} AS d, {} AS f, {} AS h, {} AS p FROM {from}) AS v
         WHERE builders.id = v.id AND (builders.description IS DISTINCT FROM v.d
            OR builders.description_format IS DISTINCT FROM v.f OR builders.description_html IS DISTINCT FROM v.h
            OR builders.projectid IS DISTINCT FROM v.p)",
        cells[0], cells[1], cells[2], cells[3], cells[4]
    );
    execute(tx, sql, params![json(&rows)?]).await?;
    Ok(())
}

async fn update_tags(tx: &Tx, ids: &HashMap<String, BuilderId>, builders: &[BuilderInfo]) -> Result<(), DbError> {
    let backend = tx.get_database_backend();
    let all: Vec<BuilderId> = ids.values().copied().collect();
    let present = tags_of(tx, &all).await?;
    let none = Vec::new();
    let changed: Vec<(BuilderId, &Vec<String>)> = builders
        .iter()
        .filter_map(|b| Some((*ids.get(&b.name)?, &b.tags)))
        .filter(|(builder, tags)| present.get(builder).unwrap_or(&none) != *tags)
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let mut names: Vec<(&String, String)> =
        changed.iter().flat_map(|(_, tags)| tags.iter()).map(|tag| (tag, name_hash(tag))).collect();
    names.sort_by(|a, b| a.1.cmp(&b.1));
    names.dedup();
    let (cells, from) = rows_of(backend, 1, &[Cell::Text, Cell::Text]);
    let sql = format!(
        "INSERT INTO tags (name, name_hash) SELECT {}, {} FROM {from} WHERE true ORDER BY 2
         ON CONFLICT (name_hash) DO NOTHING",
        cells[0], cells[1]
    );
    execute(tx, sql, params![json(&names)?]).await?;
    let builder_ids: Vec<BuilderId> = changed.iter().map(|(builder, _)| *builder).collect();
    let sql = format!("DELETE FROM builders_tags WHERE builderid {}", in_list(backend, 1));
    execute(tx, sql, params![id_list(&builder_ids)]).await?;
    let rows: Vec<(i64, String)> =
        changed.iter().flat_map(|(builder, tags)| tags.iter().map(|tag| (builder.get(), name_hash(tag)))).collect();
    let (cells, from) = rows_of(backend, 1, &[Cell::Int, Cell::Text]);
    let sql = format!(
        "INSERT INTO builders_tags (builderid, tagid)
         SELECT {}, t.id FROM {from} JOIN tags t ON t.name_hash = {} ORDER BY e.key
         ON CONFLICT (builderid, tagid) DO NOTHING",
        cells[0], cells[1]
    );
    execute(tx, sql, params![json(&rows)?]).await?;
    Ok(())
}

/// Sets a builder's description, project and tags.
///
/// # Errors
/// What the database reported.
pub async fn update_info(tx: &Tx, builder: BuilderId, info: &BuilderInfo) -> Result<(), DbError> {
    let ids = HashMap::from([(info.name.clone(), builder)]);
    update_infos(tx, &ids, std::slice::from_ref(info)).await?;
    update_tags(tx, &ids, std::slice::from_ref(info)).await
}

/// Notes that a master has these builders. Returns those that it did not have before.
///
/// # Errors
/// What the database reported.
pub async fn add_masters(tx: &Tx, master: MasterId, builders: &[BuilderId]) -> Result<Vec<BuilderId>, DbError> {
    let sql = format!(
        "INSERT INTO builder_masters (builderid, masterid) SELECT b.id, $1 FROM builders b WHERE b.id {} ORDER BY b.id
         ON CONFLICT (builderid, masterid) DO NOTHING RETURNING builderid",
        in_list(tx.get_database_backend(), 2)
    );
    fetch_all(tx, sql, params![master, id_list(builders)]).await?.iter().map(|row| id(row, "builderid")).collect()
}

/// Removes one builder from a master, or all of them. Returns those that were removed.
///
/// # Errors
/// What the database reported.
pub async fn remove_masters(tx: &Tx, master: MasterId, builder: Option<BuilderId>) -> Result<Vec<BuilderId>, DbError> {
    let sql = "DELETE FROM builder_masters WHERE masterid = $1 AND ($2 IS NULL OR builderid = $2) RETURNING builderid";
    let sql = sql.replace("$2 IS NULL", "CAST($2 AS BIGINT) IS NULL");
    fetch_all(tx, sql, params![master, builder]).await?.iter().map(|row| id(row, "builderid")).collect()
}

/// Removes the builders of masters that are not active, and returns them by master.
///
/// # Errors
/// What the database reported.
pub async fn remove_of_inactive_masters(tx: &Tx) -> Result<BTreeMap<MasterId, Vec<BuilderId>>, DbError> {
    let sql = "DELETE FROM builder_masters WHERE masterid IN (SELECT id FROM masters WHERE NOT active)
               RETURNING masterid, builderid";
    let mut removed: BTreeMap<MasterId, Vec<BuilderId>> = BTreeMap::new();
    for row in fetch_all(tx, sql, params![]).await? {
        removed.entry(id(&row, "masterid")?).or_default().push(id(&row, "builderid")?);
    }
    Ok(removed)
}

/// A builder.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, builder: BuilderId) -> Result<Option<Builder>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM builders b WHERE b.id = $1");
    let builder = fetch_one(connection, sql, params![builder]).await?.as_ref().map(from_row).transpose()?;
    let mut list: Vec<Builder> = builder.into_iter().collect();
    fill(connection, &mut list).await?;
    Ok(list.pop())
}

/// Builders by their ids, in the order of ids.
///
/// # Errors
/// What the database reported.
pub async fn get_many(connection: &impl ConnectionTrait, ids: &[BuilderId]) -> Result<Vec<Builder>, DbError> {
    let list = in_list(connection.get_database_backend(), 1);
    let sql = format!("SELECT {COLUMNS} FROM builders b WHERE b.id {list} ORDER BY b.id");
    let mut builders =
        fetch_all(connection, sql, params![id_list(ids)]).await?.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    fill(connection, &mut builders).await?;
    Ok(builders)
}

/// The builders that a master has, that belong to a project, and that a worker is configured for; all if nothing is
/// asked for. By id.
///
/// # Errors
/// What the database reported.
pub async fn list(
    connection: &impl ConnectionTrait,
    master: Option<MasterId>,
    project: Option<ProjectId>,
    worker: Option<WorkerId>,
) -> Result<Vec<Builder>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM builders b
         WHERE (CAST($1 AS BIGINT) IS NULL
                OR EXISTS (SELECT 1 FROM builder_masters bm WHERE bm.builderid = b.id AND bm.masterid = $1))
           AND (CAST($2 AS BIGINT) IS NULL OR b.projectid = $2)
           AND (CAST($3 AS BIGINT) IS NULL
                OR EXISTS (SELECT 1 FROM builder_masters bm JOIN configured_workers cw ON cw.buildermasterid = bm.id
                           WHERE bm.builderid = b.id AND cw.workerid = $3))
         ORDER BY b.id"
    );
    let mut builders = fetch_all(connection, sql, params![master, project, worker])
        .await?
        .iter()
        .map(from_row)
        .collect::<Result<Vec<_>, _>>()?;
    fill(connection, &mut builders).await?;
    Ok(builders)
}

/// Fills in the masters and tags of builders.
///
/// # Errors
/// What the database reported.
pub(crate) async fn fill(connection: &impl ConnectionTrait, builders: &mut [Builder]) -> Result<(), DbError> {
    if builders.is_empty() {
        return Ok(());
    }
    let ids: Vec<BuilderId> = builders.iter().map(|builder| builder.builderid).collect();
    let mut tags = tags_of(connection, &ids).await?;
    let sql = format!(
        "SELECT builderid, masterid FROM builder_masters WHERE builderid {} ORDER BY masterid",
        in_list(connection.get_database_backend(), 1)
    );
    let mut masters: BTreeMap<BuilderId, Vec<MasterId>> = BTreeMap::new();
    for row in fetch_all(connection, sql, params![id_list(&ids)]).await? {
        masters.entry(id(&row, "builderid")?).or_default().push(id(&row, "masterid")?);
    }
    for builder in builders {
        builder.tags = tags.remove(&builder.builderid).unwrap_or_default();
        builder.masterids = masters.remove(&builder.builderid).unwrap_or_default();
    }
    Ok(())
}

async fn tags_of(
    connection: &impl ConnectionTrait,
    builders: &[BuilderId],
) -> Result<BTreeMap<BuilderId, Vec<String>>, DbError> {
    let sql = format!(
        "SELECT bt.builderid AS builderid, t.name AS name FROM builders_tags bt JOIN tags t ON t.id = bt.tagid
         WHERE bt.builderid {} ORDER BY bt.id",
        in_list(connection.get_database_backend(), 1)
    );
    let mut tags: BTreeMap<BuilderId, Vec<String>> = BTreeMap::new();
    for row in fetch_all(connection, sql, params![id_list(builders)]).await? {
        tags.entry(id(&row, "builderid")?).or_default().push(column(&row, "name")?);
    }
    Ok(tags)
}

/// Writes a parameter for [`rows_of`].
pub(crate) fn json(rows: &impl serde::Serialize) -> Result<String, DbError> {
    serde_json::to_string(rows).map_err(|error| DbError::Invalid(error.to_string()))
}
