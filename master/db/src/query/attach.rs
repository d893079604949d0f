//! Fields that are lists, and the properties of changes: one statement for a whole page, however many items it has.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, QueryResult};
use serde_json::{Value, json};

use super::decode::scalar;
use super::error::QueryError;
use super::resource::Kind;
use super::resources::sourcestamps;
use super::sql::Sql;

/// Keys of one statement. A page has fewer; an unlimited list is attached in several goes.
const BATCH: usize = 1_000;

/// What is attached to items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attachment {
    /// The active masters of a builder.
    BuilderMasters,
    /// The tags of a builder, in configured order.
    BuilderTags,
    /// Where a worker is configured.
    WorkerConfiguredOn,
    /// Where a worker is connected.
    WorkerConnectedTo,
    /// The files of a change.
    ChangeFiles,
    /// The properties of a change.
    ChangeProperties,
    /// The source stamps of a buildset.
    BuildsetSourceStamps,
}

impl Attachment {
    /// The column of the item by which it is found.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::BuilderMasters | Self::BuilderTags => "b.id",
            Self::WorkerConfiguredOn | Self::WorkerConnectedTo => "w.id",
            Self::ChangeFiles | Self::ChangeProperties => "c.changeid",
            Self::BuildsetSourceStamps => "bs.id",
        }
    }

    /// The value of an item that has nothing attached.
    pub(super) fn empty(self) -> Value {
        match self {
            Self::BuilderMasters
            | Self::BuilderTags
            | Self::WorkerConfiguredOn
            | Self::WorkerConnectedTo
            | Self::ChangeFiles
            | Self::BuildsetSourceStamps => json!([]),
            Self::ChangeProperties => json!({}),
        }
    }

    /// The condition that one of some elements is in the list: the SQL before and after the elements.
    pub(super) fn contains(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::BuilderMasters => Some((
                "EXISTS (SELECT 1 FROM builder_masters xbm JOIN masters xm ON xm.id = xbm.masterid \
                 WHERE xbm.builderid = b.id AND xm.active AND xbm.masterid IN (",
                "))",
            )),
            Self::BuilderTags => Some((
                "EXISTS (SELECT 1 FROM builders_tags xbt JOIN tags xt ON xt.id = xbt.tagid \
                 WHERE xbt.builderid = b.id AND xt.name IN (",
                "))",
            )),
            Self::ChangeFiles => Some((
                "EXISTS (SELECT 1 FROM change_files xcf WHERE xcf.changeid = c.changeid AND xcf.filename IN (",
                "))",
            )),
            Self::WorkerConfiguredOn
            | Self::WorkerConnectedTo
            | Self::ChangeProperties
            | Self::BuildsetSourceStamps => None,
        }
    }

    /// An SQL expression of a text by which the lists of a collection are ordered: element by element, the empty list
    /// first. `None` if they are not ordered: objects have no order, and the files of all changes are too many.
    ///
    /// The separator comes before every letter, and numbers are written with equal lengths.
    pub(super) fn order_text(self) -> Option<&'static str> {
        match self {
            Self::BuilderMasters => Some(
                "COALESCE((SELECT string_agg(CAST(1000000000000000000 + xbm.masterid AS TEXT), '\u{1}' \
                 ORDER BY xbm.masterid) FROM builder_masters xbm JOIN masters xm ON xm.id = xbm.masterid \
                 WHERE xbm.builderid = b.id AND xm.active), '')",
            ),
            Self::BuilderTags => Some(
                "COALESCE((SELECT string_agg(xt.name, '\u{1}' ORDER BY xbt.id) FROM builders_tags xbt \
                 JOIN tags xt ON xt.id = xbt.tagid WHERE xbt.builderid = b.id), '')",
            ),
            Self::WorkerConfiguredOn
            | Self::WorkerConnectedTo
            | Self::ChangeFiles
            | Self::ChangeProperties
            | Self::BuildsetSourceStamps => None,
        }
    }

    /// The statement up to the list of keys; the first column is the key.
    fn select(self) -> &'static str {
        match self {
            Self::BuilderMasters => {
                "SELECT bm.builderid, bm.masterid FROM builder_masters bm JOIN masters m ON m.id = bm.masterid \
                 WHERE m.active AND bm.builderid IN ("
            }
            Self::BuilderTags => {
                "SELECT bt.builderid, t.name FROM builders_tags bt JOIN tags t ON t.id = bt.tagid \
                 WHERE bt.builderid IN ("
            }
            Self::WorkerConfiguredOn => {
                "SELECT cw.workerid, bm.builderid, bm.masterid FROM configured_workers cw \
                 JOIN builder_masters bm ON bm.id = cw.buildermasterid WHERE cw.workerid IN ("
            }
            Self::WorkerConnectedTo => {
                "SELECT cw.workerid, cw.masterid FROM connected_workers cw WHERE cw.workerid IN ("
            }
            Self::ChangeFiles => "SELECT cf.changeid, cf.filename FROM change_files cf WHERE cf.changeid IN (",
            Self::ChangeProperties => {
                "SELECT cp.changeid, cp.property_name, cp.property_value FROM change_properties cp \
                 WHERE cp.changeid IN ("
            }
            Self::BuildsetSourceStamps => sourcestamps::SELECT_OF_BUILDSETS,
        }
    }

    /// The order of the elements.
    fn order(self) -> &'static str {
        match self {
            Self::BuilderMasters => " ORDER BY bm.masterid",
            Self::BuilderTags => " ORDER BY bt.id",
            Self::WorkerConfiguredOn => " ORDER BY bm.builderid, bm.masterid",
            Self::WorkerConnectedTo => " ORDER BY cw.masterid",
            Self::ChangeFiles => " ORDER BY cf.changeid, cf.position",
            Self::BuildsetSourceStamps => " ORDER BY bss.id",
            Self::ChangeProperties => "",
        }
    }

    /// Adds one row to what its item has so far.
    fn add(self, row: &QueryResult, value: &mut Value) -> Result<(), QueryError> {
        let text = |column| row.try_get_by_index::<String>(column);
        let number = |column| row.try_get_by_index::<i64>(column);
        let element = match self {
            Self::BuilderMasters => json!(number(1)?),
            Self::BuilderTags | Self::ChangeFiles => json!(text(1)?),
            Self::WorkerConfiguredOn => json!({"builderid": number(1)?, "masterid": number(2)?}),
            Self::WorkerConnectedTo => json!({"masterid": number(1)?}),
            Self::BuildsetSourceStamps => {
                let mut parts = sourcestamps::COLUMNS
                    .iter()
                    .enumerate()
                    .map(|(index, (_, kind))| scalar(row, index + 1, *kind))
                    .collect::<Result<Vec<Value>, _>>()?;
                sourcestamps::build(&mut parts)
            }
            Self::ChangeProperties => scalar(row, 2, Kind::Json)?,
        };
        match self {
            Self::ChangeProperties => {
                if let Value::Object(properties) = value {
                    properties.insert(text(1)?, element);
                }
            }
            _ => {
                if let Value::Array(list) = value {
                    list.push(element);
                }
            }
        }
        Ok(())
    }
}

/// What `attachment` has for each of `keys`; keys without anything are left out.
pub(super) async fn load<C: ConnectionTrait>(
    connection: &C,
    attachment: Attachment,
    keys: &[i64],
) -> Result<HashMap<i64, Value>, QueryError> {
    let mut found = HashMap::with_capacity(keys.len());
    for keys in keys.chunks(BATCH) {
        let mut sql = Sql::new(connection.get_database_backend());
        sql.push(attachment.select()).bind_list(keys.iter().copied()).push(")").push(attachment.order());
        for row in connection.query_all_raw(sql.into_statement()).await? {
            let key: i64 = row.try_get_by_index(0)?;
            attachment.add(&row, found.entry(key).or_insert_with(|| attachment.empty()))?;
        }
    }
    Ok(found)
}
