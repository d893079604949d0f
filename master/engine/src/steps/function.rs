//! A step that is a function of the configuration, run durably.
//!
//! The function runs in an evaluator, which stops at its first effect without an answer. The effect is done here, its
//! answer stored in the step's journal, and the function run again from the top. So neither a long command nor the death
//! of a master holds an evaluator, and a successor can go on where the journal ends.

use std::collections::BTreeMap;
use std::time::Duration;

use buildguild_config::{StepAdvance, StepEffect};
use buildguild_types::ids::TestResultSetId;
use buildguild_types::pyrepr;
use buildguild_types::render::{CallableRef, Renderable};
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;
use serde_json::{Map, Value, json};
use worker_protocol::{Command, ShellArgs, ShellCommand};

use super::command::RunOptions;
use super::{StepError, StepRun, TestSet};
use crate::logs::Stream;

/// The most effects that one step function may have; each costs a run of the function.
const MAX_EFFECTS: usize = 1000;

pub(super) async fn run(
    step: &mut StepRun<'_>,
    function: &CallableRef,
    args: &BTreeMap<String, Renderable>,
) -> Result<Results, StepError> {
    let mut rendered = Map::new();
    for (name, value) in args {
        rendered.insert(name.clone(), step.render(value).await?);
    }
    let context = json!({
        "args": rendered,
        "step": {"name": step.name, "class": step.config.class},
        "properties": step.build.properties,
        "sourcestamps": step.build.sources,
        "worker": step.build.worker.info_json(),
        "build": step.build.as_json(),
        "url": step.build.url,
    });
    let mut journal: Vec<Value> = Vec::new();
    loop {
        if step.build.stop.pending().is_some() {
            step.note_stop().await?;
            return Err(StepError::Stopped);
        }
        let functions = step.build.functions.clone();
        let advance = functions
            .advance_step(function, context.clone(), &journal)
            .await
            .map_err(|error| StepError::Failed(error.to_string()))?;
        match advance {
            StepAdvance::Done { returned } => return outcome(&returned),
            StepAdvance::Effect { effect } => {
                if journal.len() >= MAX_EFFECTS {
                    return Err(StepError::Failed(format!("the function has more than {MAX_EFFECTS} effects")));
                }
                let answer = perform(step, effect).await?;
                step.build.recorder.journal(step.id, journal.len(), &answer).await?;
                step.build.hooks.at("step.journaled");
                journal.push(answer);
            }
        }
    }
}

/// What a function returned, as a result: a code, true or nothing for success, false for failure.
fn outcome(returned: &Value) -> Result<Results, StepError> {
    let results = match returned {
        Value::Null | Value::Bool(true) => Some(Results::Success),
        Value::Bool(false) => Some(Results::Failure),
        Value::Number(code) => code.as_i64().and_then(|code| Results::try_from(code).ok()),
        _ => None,
    };
    results.ok_or_else(|| {
        StepError::Failed(format!("a step function must return a result, not {}", pyrepr::repr(returned)))
    })
}

async fn perform(step: &mut StepRun<'_>, effect: StepEffect) -> Result<Value, StepError> {
    match effect {
        StepEffect::Run {
            command,
            workdir,
            env,
            timeout_secs,
            max_time_secs,
            log,
            collect_stdout,
            collect_stderr,
            stdin,
            decode_rc,
        } => {
            let command = match render(step, command).await? {
                Value::String(line) => ShellCommand::Line(line),
                Value::Array(words) => ShellCommand::Argv(words.iter().map(pyrepr::str).collect()),
                other => return Err(super::arguments::wrong("command", "a text or a list", &other)),
            };
            let workdir = match workdir {
                None => step.workdir().await?,
                Some(workdir) => {
                    let workdir = render(step, workdir).await?;
                    step.worker_path(&pyrepr::str(&workdir))
                }
            };
            let env = env.map(renderable);
            let mut args = ShellArgs::new(command, workdir);
            args.env = step.environment(env.as_ref()).await?;
            if let Some(timeout) = timeout_secs {
                args.timeout_secs = (timeout > 0.0).then_some(timeout);
            }
            args.max_time_secs = max_time_secs;
            args.initial_stdin = stdin;
            args.log_environ = false;
            let log = step.log(&log, LogKind::Stream).await?;
            let options = RunOptions {
                log: Some(log),
                collect_stdout,
                collect_stderr,
                grace: Duration::ZERO,
                ..RunOptions::default()
            };
            let outcome = step.run_command(&Command::Shell(args), &options).await?;
            let table = decode_table(decode_rc.as_ref());
            Ok(json!({
                "rc": outcome.rc,
                "stdout": outcome.stdout,
                "stderr": outcome.stderr,
                "results": outcome.results(&table),
            }))
        }
        StepEffect::AddLog { name, log_type } => {
            step.log(&name, kind(&log_type)).await?;
            Ok(Value::Null)
        }
        StepEffect::AppendLog { name, channel, text } => {
            let log = step.log(&name, if channel.is_empty() { LogKind::Text } else { LogKind::Stream }).await?;
            let stream = match channel.as_str() {
                "e" => Stream::Stderr,
                "h" => Stream::Header,
                _ => Stream::Stdout,
            };
            step.logs.push(log, stream, &text);
            // Durable before the journal says that it was done.
            step.flush().await?;
            Ok(Value::Null)
        }
        StepEffect::FinishLog { name } => {
            if let Some(log) = step.logs.find(&name) {
                step.finish_log(log).await?;
            }
            Ok(Value::Null)
        }
        StepEffect::AddCompleteLog { name, log_type, text } => {
            step.add_complete_log(&name, kind(&log_type), &text).await?;
            Ok(Value::Null)
        }
        StepEffect::AddUrl { name, url } => {
            step.add_url(&name, &url).await?;
            Ok(Value::Null)
        }
        StepEffect::SetProperty { name, value, source } => {
            let value = render(step, value).await?;
            let source = source.unwrap_or_else(|| step.name.clone());
            step.set_property(&name, value, &source);
            step.save_properties().await?;
            Ok(Value::Null)
        }
        StepEffect::Render { renderable: value } => render(step, value).await,
        StepEffect::SetBuildData { name, value, source } => {
            step.build.recorder.set_build_data(&name, value.into_bytes(), &source).await?;
            Ok(Value::Null)
        }
        StepEffect::AddTestResultSet { description, category, value_unit } => {
            let set = step.build.recorder.add_test_result_set(step.id, &description, &category, &value_unit).await?;
            step.test_sets.push(TestSet::new(set, &category));
            Ok(json!(set))
        }
        StepEffect::AddTestResult { set, value, test_name, test_code_path, line, duration_ns } => {
            let set =
                set.as_i64().ok_or_else(|| StepError::Failed("a test result needs the id of its set".to_owned()))?;
            let result =
                buildguild_db::test_results::NewTestResult { value, test_name, test_code_path, line, duration_ns };
            let set = TestResultSetId::from(set);
            if let Some(known) = step.test_sets.iter_mut().find(|known| known.id == set) {
                known.count(&result.value);
            }
            step.build.recorder.add_test_result(set, result).await?;
            Ok(Value::Null)
        }
        StepEffect::SetSummary { text } => {
            step.set_state(&text).await?;
            step.done_text = Some(text);
            Ok(Value::Null)
        }
    }
}

async fn render(step: &StepRun<'_>, value: Value) -> Result<Value, StepError> {
    step.render(&deep(value)).await
}

/// Renderables within lists are found too.
fn deep(value: Value) -> Renderable {
    match value {
        Value::Array(items) => Renderable::List { items: items.into_iter().map(deep).collect() },
        other => renderable(other),
    }
}

fn kind(letter: &str) -> LogKind {
    match LogKind::from_letter(letter) {
        Some(LogKind::Stream) => LogKind::Stream,
        Some(LogKind::Html) => LogKind::Html,
        Some(LogKind::Text | LogKind::Deleted) | None => LogKind::Text,
    }
}

/// `decodeRC` as a function gives it: a dictionary whose keys became texts on the way.
fn decode_table(table: Option<&Value>) -> BTreeMap<i64, Results> {
    match table {
        Some(Value::Object(entries)) => entries
            .iter()
            .filter_map(|(rc, result)| Some((rc.parse().ok()?, Results::try_from(result.as_i64()?).ok()?)))
            .collect(),
        _ => BTreeMap::from([(0, Results::Success)]),
    }
}

/// A value of an effect: plain, or a renderable in the form of the farm model.
fn renderable(value: Value) -> Renderable {
    if let Value::Object(entries) = &value
        && entries.get("kind").is_some_and(Value::is_string)
        && let Ok(renderable) = serde_json::from_value(value.clone())
    {
        return renderable;
    }
    Renderable::Literal { value }
}
