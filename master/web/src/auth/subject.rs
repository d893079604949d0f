//! What a control call is about, as far as rules ask for it: the builders, and the owner.

use buildguild_types::spec::ResultSpec;
use serde_json::{Map, Value};

use crate::{Backend, ReadError};

/// The only item at `path`; nothing if there is none.
async fn one(backend: &dyn Backend, path: &[&str]) -> Result<Option<Value>, ReadError> {
    match backend.get(path, &ResultSpec::default()).await {
        Ok(answer) => Ok(answer.into_items().into_iter().next()),
        Err(ReadError::NotFound(_) | ReadError::NoSuchPath(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn builder_name(backend: &dyn Backend, id: &str) -> Result<Option<String>, ReadError> {
    Ok(one(backend, &["builders", id]).await?.and_then(|builder| builder["name"].as_str().map(str::to_owned)))
}

/// An id in JSON, as number or text, as a part of a path.
fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// The names of the builders that a call is about. Empty if there are none or they do not exist.
pub(super) async fn builders(
    backend: &dyn Backend,
    path: &[&str],
    params: Option<&Map<String, Value>>,
) -> Result<Vec<String>, ReadError> {
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    match path {
        ["forceschedulers", scheduler] => {
            // Whatever cannot be told exactly counts as all builders of the scheduler: more is asked for, never less.
            let mut found = Some(Vec::new());
            if let Some(id) = params.and_then(|params| params.get("builderid")) {
                let id = id_text(id).filter(|id| id.bytes().all(|b| b.is_ascii_digit()));
                let name = match id {
                    Some(id) => builder_name(backend, &id).await?,
                    None => None,
                };
                match (&mut found, name) {
                    (Some(found), Some(name)) => found.push(name),
                    _ => found = None,
                }
            }
            if let (Some(found), Some(list)) = (&mut found, params.and_then(|params| params.get("builderNames"))) {
                match list {
                    Value::String(name) => found.push(name.clone()),
                    list => found.extend(names(list)),
                }
            }
            match found {
                Some(found) if !found.is_empty() => Ok(found),
                _ => {
                    let scheduler = one(backend, &["forceschedulers", scheduler]).await?;
                    Ok(scheduler.map(|scheduler| names(&scheduler["builder_names"])).unwrap_or_default())
                }
            }
        }
        ["builds", ..] | ["builders", _, "builds", ..] | ["buildrequests", _] => {
            let Some(object) = one(backend, path).await? else { return Ok(Vec::new()) };
            let Some(id) = id_text(&object["builderid"]) else { return Ok(Vec::new()) };
            Ok(builder_name(backend, &id).await?.into_iter().collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// The `owner` property of the buildset behind a build, a request or a buildset.
pub(super) async fn owner(backend: &dyn Backend, path: &[&str]) -> Result<Option<String>, ReadError> {
    let mut buildset = match path {
        ["buildsets", id] => Some((*id).to_owned()),
        _ => None,
    };
    let mut request = match path {
        ["buildrequests", id] => Some((*id).to_owned()),
        _ => None,
    };
    if path.contains(&"builds") {
        request = one(backend, path).await?.and_then(|build| id_text(&build["buildrequestid"]));
    }
    if let Some(request) = request {
        let request = one(backend, &["buildrequests", &request]).await?;
        buildset = request.and_then(|request| id_text(&request["buildsetid"]));
    }
    let Some(buildset) = buildset else { return Ok(None) };
    let properties = one(backend, &["buildsets", &buildset, "properties"]).await?;
    Ok(properties.and_then(|properties| properties["owner"][0].as_str().map(str::to_owned)))
}
