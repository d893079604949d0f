//! Workers, also below builders and masters, where they show only what belongs there.

use buildguild_db::Db;
use buildguild_db::query::{self, Scope, WorkerRef, resources::WORKERS};
use buildguild_types::spec::ResultSpec;
use serde_json::Value;

use crate::error::DataError;
use crate::reply::{Items, Reply};

/// The workers of a master or builder, or the one worker; `None` if that does not exist there.
pub(super) async fn get(
    db: &Db,
    masterid: Option<i64>,
    builderid: Option<i64>,
    worker: Option<WorkerRef>,
    spec: &ResultSpec,
) -> Result<Option<Reply>, DataError> {
    let mut scopes = Vec::with_capacity(2);
    if masterid.is_some() || builderid.is_some() {
        scopes.push(Scope::WorkersConfiguredOn { masterid, builderid });
    }
    let mut items = match worker {
        Some(worker) => {
            scopes.push(Scope::Worker("workerid", worker));
            let Some(item) = query::find(db.read(), &WORKERS, &scopes, spec).await? else { return Ok(None) };
            Items { plural: WORKERS.plural, items: vec![item], total: None }
        }
        None => {
            let page = query::list(db.read(), &WORKERS, &scopes, spec).await?;
            Items { plural: WORKERS.plural, items: page.items, total: Some(page.total) }
        }
    };
    for item in &mut items.items {
        keep_what_belongs(item, masterid, builderid);
    }
    Ok(Some(Reply::Items(items)))
}

/// Leaves only the entries of the master and the builder.
fn keep_what_belongs(worker: &mut Value, masterid: Option<i64>, builderid: Option<i64>) {
    let id = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_i64);
    let fits = |wanted: Option<i64>, entry: &Value, name: &str| wanted.is_none() || id(entry, name) == wanted;
    let mut masters = None;
    if let Some(Value::Array(entries)) = worker.get_mut("configured_on") {
        entries.retain(|entry| fits(masterid, entry, "masterid") && fits(builderid, entry, "builderid"));
        if builderid.is_some() {
            // Connections count where the builder is configured.
            masters = Some(entries.iter().filter_map(|entry| id(entry, "masterid")).collect::<Vec<i64>>());
        }
    }
    if let Some(Value::Array(entries)) = worker.get_mut("connected_to") {
        entries.retain(|entry| {
            fits(masterid, entry, "masterid")
                && masters.as_ref().is_none_or(|masters| id(entry, "masterid").is_some_and(|id| masters.contains(&id)))
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn below_a_builder_a_worker_shows_only_that_builders_masters() {
        let mut worker = json!({
            "configured_on": [{"builderid": 1, "masterid": 1}, {"builderid": 2, "masterid": 2}],
            "connected_to": [{"masterid": 1}, {"masterid": 2}],
        });
        keep_what_belongs(&mut worker, None, Some(2));
        assert_eq!(
            worker,
            json!({"configured_on": [{"builderid": 2, "masterid": 2}], "connected_to": [{"masterid": 2}]})
        );
    }
}
