//! Source stamps: one row for each distinct combination, found by a hash of all fields.

use buildguild_types::ids::{BuildId, BuildsetId, PatchId, SourceStampId};
use buildguild_types::resources::{Patch, SourceStamp};
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, QueryResult};
use sha2::{Digest, Sha256};

use crate::sql::{column, execute, fetch_all, fetch_one, hex, id, maybe_id, time};
use crate::{DbError, Tx, params};

pub(crate) const COLUMNS: &str = "ss.id AS ssid, ss.branch AS ss_branch, ss.revision AS ss_revision,
    ss.repository AS ss_repository, ss.project AS ss_project, ss.codebase AS ss_codebase, ss.created_at AS ss_created_at,
    p.id AS patchid, p.patchlevel AS patchlevel, p.subdir AS patch_subdir, p.patch_author AS patch_author,
    p.patch_comment AS patch_comment, p.patch_base64 AS patch_base64";

/// The tables that [`COLUMNS`] are from.
pub(crate) const FROM: &str = "sourcestamps ss LEFT JOIN patches p ON p.id = ss.patchid";

pub(crate) fn from_row(row: &QueryResult) -> Result<SourceStamp, DbError> {
    let patch = match maybe_id::<PatchId>(row, "patchid")? {
        Some(patchid) => Some(Patch {
            patchid,
            level: column(row, "patchlevel")?,
            subdir: column(row, "patch_subdir")?,
            author: column(row, "patch_author")?,
            comment: column(row, "patch_comment")?,
            body: Some(decode_body(&column::<String>(row, "patch_base64")?)?),
        }),
        None => None,
    };
    Ok(SourceStamp {
        ssid: id(row, "ssid")?,
        branch: column(row, "ss_branch")?,
        revision: column(row, "ss_revision")?,
        repository: column(row, "ss_repository")?,
        project: column(row, "ss_project")?,
        codebase: column(row, "ss_codebase")?,
        created_at: time(row, "ss_created_at")?,
        patch,
    })
}

fn decode_body(body: &str) -> Result<String, DbError> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(body)
        .map_err(|error| DbError::Corrupt(format!("a patch: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A source stamp that may not exist yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct NewSourceStamp {
    /// The branch; nothing for the default branch.
    pub branch: Option<String>,
    /// The revision; nothing for the newest.
    pub revision: Option<String>,
    /// The repository's URL.
    pub repository: String,
    /// The project, free text.
    pub project: String,
    /// The code base's name.
    pub codebase: String,
    /// A patch on top.
    pub patch: Option<NewPatch>,
}

/// A patch that may not exist yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct NewPatch {
    /// The diff.
    pub body: String,
    /// How many leading path components to strip.
    pub level: i64,
    /// Who made it.
    pub author: String,
    /// What it is for.
    pub comment: String,
    /// The directory to apply it in.
    pub subdir: Option<String>,
}

impl NewSourceStamp {
    /// A hash over all fields, each with its length, so that no two combinations run into each other.
    fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        let mut field = |value: Option<&str>| match value {
            Some(value) => {
                hasher.update([1]);
                hasher.update((value.len() as u64).to_le_bytes());
                hasher.update(value.as_bytes());
            }
            None => hasher.update([0]),
        };
        field(self.branch.as_deref());
        field(self.revision.as_deref());
        field(Some(&self.repository));
        field(Some(&self.project));
        field(Some(&self.codebase));
        if let Some(patch) = &self.patch {
            field(Some(&patch.body));
            field(Some(&patch.level.to_string()));
            field(Some(&patch.author));
            field(Some(&patch.comment));
            field(patch.subdir.as_deref());
        }
        hex(&hasher.finalize())
    }
}

/// The id of an equal source stamp, if there is one.
///
/// # Errors
/// What the database reported.
pub async fn find_id(
    connection: &impl ConnectionTrait,
    stamp: &NewSourceStamp,
) -> Result<Option<SourceStampId>, DbError> {
    let sql = "SELECT id FROM sourcestamps WHERE ss_hash = $1";
    fetch_one(connection, sql, params![stamp.hash()]).await?.map(|row| id(&row, "id")).transpose()
}

/// The id of this source stamp, which is added if it is new.
///
/// # Errors
/// What the database reported.
pub async fn find_or_create(tx: &Tx, stamp: &NewSourceStamp, now: Timestamp) -> Result<SourceStampId, DbError> {
    Ok(find_or_create_whole(tx, stamp, now).await?.ssid)
}

/// This source stamp as it is stored, which it is from now on.
///
/// # Errors
/// What the database reported.
pub(crate) async fn find_or_create_whole(
    tx: &Tx,
    stamp: &NewSourceStamp,
    now: Timestamp,
) -> Result<SourceStamp, DbError> {
    let hash = stamp.hash();
    let find = format!("SELECT {COLUMNS} FROM {FROM} WHERE ss.ss_hash = $1");
    if let Some(row) = fetch_one(tx, find.as_str(), params![hash.as_str()]).await? {
        return from_row(&row);
    }
    let patch: Option<PatchId> = match &stamp.patch {
        Some(patch) => Some(add_patch(tx, patch).await?),
        None => None,
    };
    let sql = "INSERT INTO sourcestamps (ss_hash, branch, revision, patchid, repository, codebase, project, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (ss_hash) DO NOTHING";
    let values = params![
        hash.as_str(),
        stamp.branch.as_deref(),
        stamp.revision.as_deref(),
        patch,
        &stamp.repository,
        &stamp.codebase,
        &stamp.project,
        now
    ];
    // If somebody else was faster, our patch is not needed.
    if execute(tx, sql, values).await? == 0
        && let Some(patch) = patch
    {
        execute(tx, "DELETE FROM patches WHERE id = $1", params![patch]).await?;
    }
    match fetch_one(tx, find, params![hash]).await? {
        Some(row) => from_row(&row),
        None => Err(DbError::NotFound("source stamp")),
    }
}

async fn add_patch(tx: &Tx, patch: &NewPatch) -> Result<PatchId, DbError> {
    use base64::Engine as _;
    let sql = "INSERT INTO patches (patchlevel, patch_base64, patch_author, patch_comment, subdir)
               VALUES ($1, $2, $3, $4, $5) RETURNING id";
    let body = base64::engine::general_purpose::STANDARD.encode(&patch.body);
    let values = params![patch.level, body, &patch.author, &patch.comment, patch.subdir.as_deref()];
    match fetch_one(tx, sql, values).await? {
        Some(row) => id(&row, "id"),
        None => Err(DbError::NotFound("patch")),
    }
}

/// A source stamp.
///
/// # Errors
/// What the database reported.
pub async fn get(connection: &impl ConnectionTrait, stamp: SourceStampId) -> Result<Option<SourceStamp>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE ss.id = $1");
    fetch_one(connection, sql, params![stamp]).await?.as_ref().map(from_row).transpose()
}

/// All source stamps, by id.
///
/// # Errors
/// What the database reported.
pub async fn list(connection: &impl ConnectionTrait) -> Result<Vec<SourceStamp>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} ORDER BY ss.id");
    fetch_all(connection, sql, vec![]).await?.iter().map(from_row).collect()
}

/// The source stamps of a buildset.
///
/// # Errors
/// What the database reported.
pub async fn for_buildset(
    connection: &impl ConnectionTrait,
    buildset: BuildsetId,
) -> Result<Vec<SourceStamp>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} JOIN buildset_sourcestamps bs ON bs.sourcestampid = ss.id
         WHERE bs.buildsetid = $1 ORDER BY bs.id"
    );
    fetch_all(connection, sql, params![buildset]).await?.iter().map(from_row).collect()
}

/// The source stamps of a build.
///
/// # Errors
/// What the database reported.
pub async fn for_build(connection: &impl ConnectionTrait, build: BuildId) -> Result<Vec<SourceStamp>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} JOIN buildset_sourcestamps bs ON bs.sourcestampid = ss.id
         JOIN buildrequests r ON r.buildsetid = bs.buildsetid JOIN builds b ON b.buildrequestid = r.id
         WHERE b.id = $1 ORDER BY bs.id"
    );
    fetch_all(connection, sql, params![build]).await?.iter().map(from_row).collect()
}
