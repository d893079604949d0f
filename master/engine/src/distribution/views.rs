//! Builders, requests and workers as the functions of the configuration see them.

use buildguild_types::{farm::BuilderConfig, ids::BuilderId, properties::Properties, resources::BuildRequest};
use serde_json::{Value, json};

use super::handover::FreeWorker;

/// A builder, for `nextBuild`, `nextWorker`, `canStartBuild` and their kin.
pub(crate) fn builder(id: BuilderId, config: &BuilderConfig) -> Value {
    json!({"name": config.name, "builderid": id, "tags": config.tags, "workernames": config.worker_names})
}

/// A request with the properties of its buildset.
pub(crate) fn request(request: &BuildRequest, properties: Option<&Properties>) -> Value {
    let mut view = json!(request);
    if let Some(fields) = view.as_object_mut() {
        // Names that Buildbot's `BuildRequest` has.
        fields.insert("id".to_owned(), json!(request.buildrequestid));
        fields.insert("submittedAt".to_owned(), json!(request.submitted_at));
        if let Some(properties) = properties {
            fields.insert("properties".to_owned(), json!(properties));
        }
    }
    view
}

/// A worker, as Buildbot's `WorkerForBuilder` shows it.
pub(crate) fn worker(worker: &FreeWorker) -> Value {
    json!({
        "name": worker.name,
        "worker": {"workername": worker.name, "name": worker.name},
        "workerid": worker.worker_id,
        "running_builds": worker.running_builds,
    })
}

/// The position in `views` of what a function returned: one of them (known by `key`), its key, or nothing.
pub(crate) fn chosen(views: &[Value], key: &str, returned: &Value) -> Option<usize> {
    let wanted = returned.get(key).unwrap_or(returned);
    views.iter().position(|view| view.get(key) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_known_by_its_key() {
        let views = [json!({"name": "a", "x": 1}), json!({"name": "b", "x": 2})];
        assert_eq!(chosen(&views, "name", &views[1]), Some(1));
        assert_eq!(chosen(&views, "name", &json!("a")), Some(0));
        assert_eq!(chosen(&views, "name", &Value::Null), None);
        assert_eq!(chosen(&views, "name", &json!("c")), None);
    }
}
