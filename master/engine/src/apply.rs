//! Bringing a configuration version into force: first the database learns what it has, then the services see it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use buildguild_config::LoadedFarm;
use buildguild_db::{DbError, builders::BuilderInfo, projects};
use buildguild_types::{
    farm::{BuilderConfig, FarmConfig},
    ids::{BuilderId, ProjectId},
};

use crate::{parts::Applied, store::Store};

/// Makes the database agree with a version, for this master: its projects, builders and workers.
///
/// # Errors
/// What the database reported; nothing is in force then.
pub(crate) async fn apply(store: &Store, farm: Arc<LoadedFarm>) -> Result<Applied, DbError> {
    let config = &farm.farm;
    let projects = store.update(|u| async move { sync_projects(&u, config).await }).await?;
    let infos: Vec<BuilderInfo> = config.builders.iter().map(|b| info(b, &projects)).collect();
    let infos = &infos;
    let synced = store.update(|u| async move { u.update_builder_list(infos).await }).await?;
    let workers = workers(config, &synced.ids);
    let workers = &workers;
    store.update(|u| async move { u.update_worker_list(workers).await }).await?;
    let builders: BTreeMap<String, BuilderId> = synced.ids.into_iter().collect();
    let configs = config.builders.iter().filter_map(|b| Some((*builders.get(&b.name)?, Arc::new(b.clone())))).collect();
    Ok(Applied { farm, builders: Arc::new(builders), configs })
}

async fn sync_projects(
    update: &buildguild_data::Update,
    config: &FarmConfig,
) -> Result<HashMap<String, ProjectId>, DbError> {
    let mut ids = HashMap::new();
    for project in &config.projects {
        let id = projects::find_id(update.tx(), &project.name, true).await?;
        let info = projects::ProjectInfo {
            slug: project.slug.clone(),
            description: project.description.clone(),
            description_format: project.description_format.clone(),
            description_html: None,
        };
        if projects::update_info(update.tx(), id, &info).await?
            && let Some(project) = projects::get(update.tx(), id).await?
        {
            update.emit(buildguild_data::events::project(&project, "update")?);
        }
        ids.insert(project.name.clone(), id);
    }
    Ok(ids)
}

fn info(builder: &BuilderConfig, projects: &HashMap<String, ProjectId>) -> BuilderInfo {
    BuilderInfo {
        name: builder.name.clone(),
        description: builder.description.clone(),
        description_format: builder.description_format.clone(),
        description_html: None,
        project: builder.project.as_ref().and_then(|name| projects.get(name).copied()),
        tags: builder.tags.clone(),
    }
}

/// Each worker with the builders that it is for.
fn workers(config: &FarmConfig, builders: &HashMap<String, BuilderId>) -> Vec<(String, Vec<BuilderId>)> {
    config
        .workers
        .iter()
        .map(|worker| {
            let of_worker = config.builders.iter().filter(|b| b.worker_names.contains(&worker.name));
            (worker.name.clone(), of_worker.filter_map(|b| builders.get(&b.name).copied()).collect())
        })
        .collect()
}
