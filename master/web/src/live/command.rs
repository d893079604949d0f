//! The commands of WebSocket clients, as pure functions from text to command and from outcome to text.
//!
//! Beyond Buildbot's three there is `resume`: it replaces the connection's subscription by one on `paths` after the cursor
//! `after` (or from now). Its answer, and from then on every event and pong, carries the cursor. If the events after the
//! cursor are no longer retained, the answer has code 410 and the subscription starts from now: fetch again.

use broker_adapters::{Cursor, TopicFilter};
use serde_json::{Map, Value, json};

use crate::json;

/// A client's command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Ping,
    StartConsuming(TopicFilter),
    StopConsuming(TopicFilter),
    Resume { paths: Vec<TopicFilter>, after: Option<Cursor> },
}

/// Why there is no command in a frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FrameError {
    /// It is not a JSON object: the connection is closed.
    NotAnObject,
    /// The answer to send.
    Answer(String),
}

/// An error answer.
pub(super) fn error(id: &Value, code: u16, text: &str) -> String {
    json!({ "error": text, "code": code, "_id": id }).to_string()
}

/// A success answer, with the cursor for those who asked for it.
pub(super) fn success(id: &Value, message: &str, cursor: Option<&Cursor>) -> String {
    let mut answer = json!({ "msg": message, "code": 200, "_id": id });
    if let Some(cursor) = cursor {
        answer["cursor"] = cursor.to_string().into();
    }
    answer.to_string()
}

/// Reads a frame. Never panics, whatever it holds.
pub(super) fn decode(frame: &[u8]) -> Result<(Value, Command), FrameError> {
    let Ok(Value::Object(mut object)) = json::from_slice(frame) else { return Err(FrameError::NotAnObject) };
    let refuse = |id: &Value, code, text: &str| Err(FrameError::Answer(error(id, code, text)));
    let Some(id) = object.remove("_id").filter(|id| !id.is_null()) else {
        return refuse(&Value::Null, 400, "no '_id' or 'type' in websocket frame");
    };
    let Some(name) = object.remove("cmd").filter(|name| !name.is_null()) else {
        return refuse(&Value::Null, 400, "no 'cmd' in websocket frame");
    };
    let command = match name.as_str() {
        Some("ping") => no_arguments(object).map(|()| Command::Ping),
        Some("startConsuming") => path_argument(object).map(Command::StartConsuming),
        Some("stopConsuming") => path_argument(object).map(Command::StopConsuming),
        Some("resume") => resume_arguments(object),
        _ => {
            let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
            return refuse(&id, 404, &format!("no such command type '{name}'"));
        }
    };
    command.map(|command| (id.clone(), command)).or_else(|text| refuse(&id, 400, &text))
}

fn no_arguments(object: Map<String, Value>) -> Result<(), String> {
    match object.keys().next() {
        None => Ok(()),
        Some(name) => Err(format!("Invalid method argument '{name}'")),
    }
}

fn filter(value: &Value) -> Result<TopicFilter, String> {
    let invalid =
        || format!("invalid path format '{}'", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let filter: TopicFilter = value.as_str().ok_or_else(invalid)?.parse().map_err(|_too_long| invalid())?;
    // Internal hints are not for clients.
    if filter.is_internal() { Err(invalid()) } else { Ok(filter) }
}

/// The error for more paths than a connection may have.
pub(super) fn too_many_paths() -> String {
    format!(
        "too many paths: a connection may consume {}, in which '*' stands for any part",
        super::websocket::MAX_PATHS
    )
}

fn path_argument(mut object: Map<String, Value>) -> Result<TopicFilter, String> {
    let path = object.remove("path").ok_or_else(|| "Invalid method argument: 'path' is missing".to_owned())?;
    no_arguments(object)?;
    filter(&path)
}

fn resume_arguments(mut object: Map<String, Value>) -> Result<Command, String> {
    let Some(Value::Array(paths)) = object.remove("paths") else {
        return Err("Invalid method argument: 'paths' must be a list".to_owned());
    };
    let after = match object.remove("after") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.parse().map_err(|error| format!("'after' is {error}"))?),
        Some(_) => return Err("Invalid method argument: 'after' must be a text".to_owned()),
    };
    no_arguments(object)?;
    let mut filters = Vec::with_capacity(paths.len().min(64));
    for path in &paths {
        let filter = filter(path)?;
        if !filters.contains(&filter) {
            filters.push(filter);
        }
        if filters.len() > super::websocket::MAX_PATHS {
            return Err(too_many_paths());
        }
    }
    Ok(Command::Resume { paths: filters, after })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(frame: &str) -> Value {
        match decode(frame.as_bytes()) {
            Err(FrameError::Answer(answer)) => serde_json::from_str(&answer).expect("JSON"),
            other => panic!("{frame} gave {other:?}"),
        }
    }

    #[test]
    fn decodes_commands() {
        let builds: TopicFilter = "builds/*/*".parse().expect("a filter");
        assert_eq!(decode(br#"{"_id": "x", "cmd": "ping"}"#), Ok((json!("x"), Command::Ping)));
        assert_eq!(
            decode(br#"{"_id": 2, "cmd": "startConsuming", "path": "builds/*/*"}"#),
            Ok((json!(2), Command::StartConsuming(builds.clone())))
        );
        assert_eq!(
            decode(br#"{"_id": 3, "cmd": "resume", "paths": ["builds/*/*", "builds/*/*"], "after": "g.1.0"}"#),
            Ok((json!(3), Command::Resume { paths: vec![builds], after: "g.1.0".parse().ok() }))
        );
    }

    #[test]
    fn errors_are_those_of_the_reference() {
        assert_eq!(
            refused(r#"{"cmd": "ping"}"#),
            json!({"error": "no '_id' or 'type' in websocket frame", "code": 400, "_id": null})
        );
        assert_eq!(refused(r#"{"_id": null, "cmd": "ping"}"#), refused(r#"{"cmd": "ping"}"#));
        assert_eq!(refused(r#"{"_id": 2}"#), json!({"error": "no 'cmd' in websocket frame", "code": 400, "_id": null}));
        assert_eq!(refused(r#"{"_id": 2, "cmd": null}"#), refused(r#"{"_id": 2}"#));
        assert_eq!(decode(br#"{"_id": "\ud83d", "cmd": "ping"}"#), Ok((json!("\u{fffd}"), Command::Ping)));
        assert_eq!(
            refused(r#"{"_id": 3, "cmd": "poing"}"#),
            json!({"error": "no such command type 'poing'", "code": 404, "_id": 3})
        );
        assert_eq!(refused(r#"{"_id": 4, "cmd": "startConsuming"}"#)["code"], 400);
        assert_eq!(refused(r#"{"_id": 4, "cmd": "ping", "path": "x"}"#)["code"], 400);
        assert_eq!(
            refused(r#"{"_id": 5, "cmd": "startConsuming", "path": 12}"#),
            json!({"error": "invalid path format '12'", "code": 400, "_id": 5})
        );
        assert_eq!(refused(r#"{"_id": 5, "cmd": "startConsuming", "path": "_hint/*"}"#)["code"], 400);
        assert_eq!(refused(r#"{"_id": 5, "cmd": "resume", "paths": [], "after": "?"}"#)["code"], 400);
        for frame in ["{broken", "[]", "", "12", "null"] {
            assert_eq!(decode(frame.as_bytes()), Err(FrameError::NotAnObject), "{frame}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(frame in any::<Vec<u8>>()) {
            let _ = decode(&frame);
        }

        /// Whatever the values, an answer is JSON and carries the id.
        #[test]
        fn answers_carry_the_id(id in any::<i64>(), name in any::<String>(), path in any::<String>()) {
            let frame = json!({ "_id": id, "cmd": name, "path": path }).to_string();
            match decode(frame.as_bytes()) {
                Ok((got, _)) => prop_assert_eq!(got, json!(id)),
                Err(FrameError::Answer(answer)) => {
                    let answer: Value = serde_json::from_str(&answer).expect("JSON");
                    prop_assert_eq!(&answer["_id"], &json!(id));
                }
                Err(FrameError::NotAnObject) => prop_assert!(false, "it is an object"),
            }
        }
    }
}
