//! Force schedulers: their forms come from the farm's configuration, whether they are enabled from the database.

use std::collections::HashMap;
use std::sync::Arc;

use buildguild_config::LoadedFarm;
use buildguild_db::Db;
use buildguild_db::query::{self, Scope, resources};
use buildguild_types::farm::force;
use buildguild_types::spec::ResultSpec;
use serde_json::{Map, Value};

use crate::error::DataError;

/// The force schedulers in configured order, all or those of one builder.
pub(super) async fn all(
    db: &Db,
    farm: Option<Arc<LoadedFarm>>,
    builderid: Option<i64>,
) -> Result<Vec<Map<String, Value>>, DataError> {
    let Some(farm) = farm else { return Ok(Vec::new()) };
    let fields = |names: &[&str]| ResultSpec {
        fields: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ResultSpec::default()
    };
    let builder = match builderid {
        Some(id) => {
            let scope = [Scope::Id("builderid", id)];
            let item = query::find(db.read(), &resources::BUILDERS, &scope, &fields(&["name"])).await?;
            let Some(Value::String(name)) = item.and_then(|mut item| item.get_mut("name").map(Value::take)) else {
                return Ok(Vec::new());
            };
            Some(name)
        }
        None => None,
    };
    let states = query::list(db.read(), &resources::SCHEDULERS, &[], &fields(&["name", "enabled"])).await?;
    let enabled: HashMap<&str, bool> = states
        .items
        .iter()
        .filter_map(|item| Some((item.get("name")?.as_str()?, item.get("enabled")?.as_bool()?)))
        .collect();
    let workers: Vec<String> = farm.farm.workers.iter().map(|worker| worker.name.clone()).collect();
    Ok(farm
        .farm
        .schedulers
        .iter()
        .filter(|scheduler| {
            builder.as_ref().is_none_or(|builder| force::literal_builder_names(scheduler).contains(builder))
        })
        .filter_map(|scheduler| {
            let enabled = enabled.get(scheduler.name.as_str()).copied().unwrap_or(true);
            force::form(scheduler, enabled, &workers)
        })
        .filter_map(|form| match serde_json::to_value(form) {
            Ok(Value::Object(form)) => Some(form),
            _ => None,
        })
        .collect())
}
