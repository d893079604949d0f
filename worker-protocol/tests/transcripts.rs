//! Every recorded message of a stock master and a stock worker is understood, and leaves as it came.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bytes::Bytes;
use serde_json::Value as Json;
use worker_protocol::codec::{Reader, Writer};
use worker_protocol::{Command, CommandError, Inbound, MasterRequest, Value, WireRequest, WorkerInfo, WorkerRequest};

/// The values of a recorded message; what was shortened gets a stand-in of the same type.
fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Value::F64(n.as_f64().unwrap()), Value::from),
        Json::String(s) => Value::from(s.as_str()),
        Json::Array(items) => {
            Value::Array(items.iter().filter(|i| i.get("$cut_items").is_none()).map(to_value).collect())
        }
        Json::Object(map) => {
            if let Some(text) = map.get("$bin") {
                return Value::Binary(text.as_str().unwrap().as_bytes().to_vec());
            }
            if map.contains_key("$hex") {
                return Value::Binary(vec![0x1f, 0x8b, 0xff]);
            }
            if let Some(len) = map.get("$bin_len") {
                return Value::Binary(vec![0xab; len.as_u64().unwrap() as usize]);
            }
            if let Some(len) = map.get("$str_len") {
                return Value::from("x".repeat(len.as_u64().unwrap() as usize));
            }
            Value::Map(map.iter().map(|(k, v)| (Value::from(k.as_str()), to_value(v))).collect())
        }
    }
}

/// The same value with the order of keys taken out.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by_key(|(k, _)| k.as_str().unwrap().to_owned());
            Value::Map(entries)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn check<R: WireRequest + std::fmt::Debug>(message: &Value, place: &str) -> Inbound<R> {
    let mut w = Writer::new();
    w.value(message);
    let frame = Bytes::from(w.finish());
    let decoded = Inbound::<R>::decode(&frame).unwrap_or_else(|error| panic!("{place}: {error}"));
    let again = match &decoded {
        Inbound::Request { seq_number, request } => request.encode(*seq_number),
        Inbound::Response(response) => response.encode(),
        Inbound::BadRequest { error, .. } => panic!("{place}: {error}"),
        Inbound::Ignored(reason) => panic!("{place}: {reason}"),
    };
    let mut r = Reader::new(&again);
    let again = r.value().unwrap();
    r.finish().unwrap();
    assert_eq!(sorted(again), sorted(message.clone()), "{place}");
    decoded
}

#[test]
fn every_recorded_message_is_understood_and_leaves_as_it_came() {
    // Read at run time: the test may have been built in another checkout that shares the target directory.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test");
    let dir = Path::new(&manifest).join("tests/transcripts");
    let (mut messages, mut commands) = (0, 0);
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let record: Json = serde_json::from_str(line).unwrap();
            let Some(message) = record.get("msg") else { continue };
            let place = format!("{}:{}", path.file_name().unwrap().to_string_lossy(), number + 1);
            let message = to_value(message);
            messages += 1;
            if record["dir"] == "W>M" {
                let decoded = check::<WorkerRequest>(&message, &place);
                if let Inbound::Response(response) = &decoded
                    && let Ok(value @ Value::Map(_)) = &response.result
                {
                    let info = WorkerInfo::from_value(value);
                    assert_eq!(info.version, "4.3.0");
                    assert_eq!(info.worker_commands.len(), 14);
                    assert!(
                        info.basedir.starts_with('/') && info.system == "posix" && info.environ.contains_key("PATH")
                    );
                }
            } else if let Inbound::Request { request: MasterRequest::StartCommand(start), .. } =
                check::<MasterRequest>(&message, &place)
            {
                commands += 1;
                match Command::parse(&start.command_id, &start.command_name, &start.args) {
                    Ok(command) => {
                        assert_eq!(command.name(), start.command_name);
                        let again = Command::parse(&start.command_id, command.name(), &command.to_args());
                        assert_eq!(again.as_ref(), Ok(&command), "{place}");
                    }
                    Err(CommandError::Unknown { .. } | CommandError::Missing { .. } | CommandError::Invalid { .. }) => {
                        assert!(
                            path.ends_with("fs.jsonl") || path.ends_with("odd.jsonl"),
                            "{place}: only these two have commands that the worker refuses"
                        );
                    }
                    Err(other) => panic!("{place}: {other}"),
                }
            }
        }
    }
    assert!(messages > 1000 && commands > 100, "{messages} messages, {commands} commands");
}

#[test]
fn the_first_message_has_the_bytes_that_were_seen_on_the_wire() {
    let hex = "83a26f70a57072696e74a76d657373616765a86174746163686564aa7365715f6e756d62657200";
    let frame = MasterRequest::Print { message: "attached".to_owned() }.encode(0);
    assert_eq!(hexed(&frame), hex);
    let complete = WorkerRequest::Complete { command_id: "2".into(), failure: None }.encode(5);
    assert_eq!(
        hexed(&complete),
        "84a26f70a8636f6d706c657465a461726773c0aa636f6d6d616e645f6964a132aa7365715f6e756d62657205"
    );
}

fn hexed(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
