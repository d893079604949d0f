//! Which path takes which methods, and with which parameters.

use buildguild_types::control::{BuildRef, BuilderRef, ControlAction, WorkerRef};
use buildguild_types::ids::{BuildId, BuildRequestId, BuilderId, BuildsetId, MasterId, SchedulerId, WorkerId};
use buildguild_types::limits::TEXT_BYTES;
use serde_json::{Map, Value};

use super::jsonrpc::RpcError;

/// The reason where the caller gives none.
const NO_REASON: &str = "no reason";

/// The first parts of all paths: a call to one of them that is no control call is "not supported", not "not found".
const COLLECTIONS: [&str; 22] = [
    "branches",
    "builders",
    "buildrequests",
    "builds",
    "buildsets",
    "changes",
    "changesources",
    "codebases",
    "commits",
    "forceschedulers",
    "logchunks",
    "logs",
    "masters",
    "projects",
    "properties",
    "schedulers",
    "sourcestamps",
    "steps",
    "test_result_sets",
    "test_results",
    "users",
    "workers",
];

/// The action that `method` of `path` stands for.
pub(super) fn action(path: &[&str], method: &str, params: &Map<String, Value>) -> Result<ControlAction, RpcError> {
    let unknown = || RpcError::no_such_method(method);
    let reason = || text(params, "reason").map(|reason| reason.unwrap_or_else(|| NO_REASON.to_owned()));
    if let Some(build) = build_of(path) {
        return match method {
            "stop" => Ok(ControlAction::StopBuild { build, reason: reason()? }),
            "rebuild" => Ok(ControlAction::RebuildBuild { build }),
            _ => Err(unknown()),
        };
    }
    if let Some(worker) = worker_of(path) {
        return match method {
            "pause" => Ok(ControlAction::PauseWorker { worker, reason: reason()? }),
            "unpause" => Ok(ControlAction::UnpauseWorker { worker, reason: reason()? }),
            "stop" => Ok(ControlAction::StopWorker { worker, reason: reason()? }),
            "kill" => Ok(ControlAction::KillWorker { worker, reason: reason()? }),
            _ => Err(unknown()),
        };
    }
    match path {
        ["forceschedulers", scheduler] => match method {
            "force" => Ok(ControlAction::Force { scheduler: (*scheduler).to_owned(), values: params.clone() }),
            _ => Err(unknown()),
        },
        ["buildrequests", request] => {
            let request = BuildRequestId(id(request).ok_or_else(|| RpcError::no_such_path(path))?);
            match method {
                "cancel" => Ok(ControlAction::CancelRequest { request, reason: reason()? }),
                "set_priority" => Ok(ControlAction::SetPriority { request, priority: integer(params, "priority")? }),
                _ => Err(unknown()),
            }
        }
        ["buildsets", buildset] => {
            let buildset = BuildsetId(id(buildset).ok_or_else(|| RpcError::no_such_path(path))?);
            match method {
                "cancel" => Ok(ControlAction::CancelBuildset { buildset, reason: reason()? }),
                _ => Err(unknown()),
            }
        }
        ["schedulers", scheduler] | ["masters", _, "schedulers", scheduler] => {
            let scheduler = SchedulerId(id(scheduler).ok_or_else(|| RpcError::no_such_path(path))?);
            match method {
                "enable" => Ok(ControlAction::EnableScheduler { scheduler, enabled: boolean(params, "enabled")? }),
                _ => Err(unknown()),
            }
        }
        ["masters", master] => {
            let master = MasterId(id(master).ok_or_else(|| RpcError::no_such_path(path))?);
            match method {
                "drain" => Ok(ControlAction::DrainMaster { master, reason: reason()? }),
                _ => Err(unknown()),
            }
        }
        ["changes"] if method == "submit" => Ok(ControlAction::SubmitChange { change: params.clone() }),
        [first] | [first, _] if COLLECTIONS.contains(first) => Err(unknown()),
        _ => Err(RpcError::no_such_path(path)),
    }
}

fn build_of(path: &[&str]) -> Option<BuildRef> {
    match path {
        ["builds", build] => Some(BuildRef::Id(BuildId(id(build)?))),
        ["builders", builder, "builds", number] => {
            let builder = match id(builder) {
                Some(builder) => BuilderRef::Id(BuilderId(builder)),
                None => BuilderRef::Name((*builder).to_owned()),
            };
            Some(BuildRef::Number(builder, id(number)?))
        }
        _ => None,
    }
}

fn worker_of(path: &[&str]) -> Option<WorkerRef> {
    let [.., "workers", worker] = path else { return None };
    let is_path = matches!(
        path,
        ["workers", _] | ["builders" | "masters", _, "workers", _] | ["masters", _, "builders", _, "workers", _]
    );
    if !is_path || worker.is_empty() {
        return None;
    }
    Some(match id(worker) {
        Some(id) => WorkerRef::Id(WorkerId(id)),
        None => WorkerRef::Name((*worker).to_owned()),
    })
}

/// A decimal id; one beyond all ids is that of no object.
fn id(text: &str) -> Option<i64> {
    let is_decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_decimal.then(|| text.parse().unwrap_or(i64::MAX))
}

fn text(params: &Map<String, Value>, name: &str) -> Result<Option<String>, RpcError> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > TEXT_BYTES => {
            Err(RpcError::invalid_params(format!("'{name}' is longer than {TEXT_BYTES} bytes")))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(RpcError::invalid_params(format!("'{name}' must be a text"))),
    }
}

fn boolean(params: &Map<String, Value>, name: &str) -> Result<bool, RpcError> {
    match params.get(name) {
        Some(Value::Bool(value)) => Ok(*value),
        _ => Err(RpcError::invalid_params(format!("'{name}' must be true or false"))),
    }
}

fn integer(params: &Map<String, Value>, name: &str) -> Result<i64, RpcError> {
    let value = match params.get(name) {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    value.ok_or_else(|| RpcError::invalid_params(format!("'{name}' must be a whole number")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(path: &str, method: &str, params: Value) -> Result<ControlAction, RpcError> {
        let Value::Object(params) = params else { panic!("an object") };
        action(&path.split('/').collect::<Vec<_>>(), method, &params)
    }

    #[test]
    fn paths_and_methods_become_actions() {
        let build = BuildRef::Number(BuilderRef::Name("deploy prod".to_owned()), 3);
        assert_eq!(
            of("builders/deploy prod/builds/3", "stop", json!({})),
            Ok(ControlAction::StopBuild { build, reason: NO_REASON.to_owned() })
        );
        assert_eq!(
            of("builds/7", "rebuild", json!({})),
            Ok(ControlAction::RebuildBuild { build: BuildRef::Id(BuildId(7)) })
        );
        assert_eq!(
            of("masters/1/workers/w2", "pause", json!({"reason": "r"})),
            Ok(ControlAction::PauseWorker { worker: WorkerRef::Name("w2".to_owned()), reason: "r".to_owned() })
        );
        assert_eq!(
            of("masters/3", "drain", json!({"reason": "upgrade"})),
            Ok(ControlAction::DrainMaster { master: MasterId(3), reason: "upgrade".to_owned() })
        );
        assert_eq!(
            of("schedulers/7", "enable", json!({"enabled": false})),
            Ok(ControlAction::EnableScheduler { scheduler: SchedulerId(7), enabled: false })
        );
        assert_eq!(
            of("buildrequests/7", "set_priority", json!({"priority": "5"})),
            Ok(ControlAction::SetPriority { request: BuildRequestId(7), priority: 5 })
        );
    }

    #[test]
    fn the_rest_is_refused() {
        for (path, method) in [("builds/1", "nosuch"), ("workers/3", "nosuch"), ("builds", "stop")] {
            assert_eq!(of(path, method, json!({})), Err(RpcError::no_such_method(method)), "{path}");
        }
        assert_eq!(of("nosuch", "stop", json!({})), Err(RpcError::no_such_path(&["nosuch"])));
        assert_eq!(of("buildrequests/x", "cancel", json!({})), Err(RpcError::no_such_path(&["buildrequests", "x"])));
        assert!(of("schedulers/7", "enable", json!({})).is_err());
        assert!(of("builds/1", "stop", json!({"reason": 1})).is_err());
        let long = "x".repeat(TEXT_BYTES + 1);
        let refused = RpcError::invalid_params("'reason' is longer than 65536 bytes");
        assert_eq!(of("builds/1", "stop", json!({"reason": long})), Err(refused));
    }
}
