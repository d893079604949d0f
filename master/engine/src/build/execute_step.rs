//! One step of a build: whether it runs, how it ends, and what that means for the build.

use buildguild_db::DbError;
use buildguild_types::farm::{Condition, StepConfig};
use buildguild_types::resources::{LogKind, Step};
use buildguild_types::results::Results;
use buildguild_types::time::Timestamp;
use buildguild_types::{identifier, pyrepr};
use serde_json::json;

use super::context::BuildContext;
use super::record::{BeginStep, EndStep};
use super::{locks, rules, summary};
use crate::logs::{LogLimits, StepLogs};
use crate::render::{Call, RenderError};
use crate::steps::{self, StepError, StepRun};

/// The longest name of a step, in characters.
const MAX_NAME_CHARS: usize = 50;

/// What a step's end means for its build.
#[derive(Debug)]
pub(crate) struct StepEnd {
    /// The step's own result.
    pub(crate) results: Results,
    /// Whether only steps that always run follow.
    pub(crate) halt: bool,
}

/// Runs a step, or skips it, and stores how it went.
///
/// # Errors
/// If that could not be stored: then nothing more may be written about this build.
pub(crate) async fn execute(
    build: &mut BuildContext,
    config: &StepConfig,
    texts: &mut Vec<String>,
) -> Result<StepEnd, DbError> {
    if may_take_a_while(config) {
        build.recorder.flush().await?;
    }
    let (name, mut problem) = match build.render(&config.name).await {
        Ok(name) => (pyrepr::str(&name), None),
        Err(error) => (config.class.clone(), Some(StepError::from(error))),
    };
    let name = if name.is_empty() { config.class.clone() } else { name };
    let name: String = summary::tidy(&name).chars().take(MAX_NAME_CHARS).collect();
    let wanted = match &problem {
        Some(_) => true,
        None => condition(build, &config.do_step_if, &name, None).await.unwrap_or_else(|error| {
            problem = Some(error.into());
            true
        }),
    };
    let running = match build.render_option(config.description.as_ref()).await {
        Ok(description) => description.as_ref().and_then(summary::of_description),
        Err(_) => None,
    };
    let first_logs: &[(&str, LogKind)] =
        if wanted && problem.is_none() { steps::first_logs(&config.action) } else { &[] };
    let begin = BeginStep { name: &name, logs: first_logs, runs: wanted && config.locks.is_empty() };
    let (row, first) = build.recorder.begin_step(&begin).await?;
    let limits = LogLimits { max_bytes: build.plan.log.max_size_bytes, tail_bytes: build.plan.log.max_tail_size_bytes };
    let mut step = StepRun {
        build,
        config,
        id: row.stepid,
        started_at: row.started_at.unwrap_or(Timestamp::from_micros(0)),
        commands: 0,
        name: row.name.clone(),
        logs: StepLogs::new(limits),
        urls: Vec::new(),
        test_sets: Vec::new(),
        done_text: None,
    };
    for (log, (name, kind)) in first.iter().zip(first_logs) {
        step.logs.add(name, *kind, log.logid);
    }
    let attempt = match problem {
        Some(problem) => Err(problem),
        None if wanted => match locks::take(step.build, Some(step.id), &config.locks).await {
            Ok(()) => {
                let state = running.map_or_else(|| "running".to_owned(), |text| summary::tidy(&text));
                let says = step.build.recorder.say_running(step.id, state);
                alongside(steps::run(&mut step), says).await
            }
            Err(StepError::Stopped) => step.note_stop().await.and(Err(StepError::Stopped)),
            Err(error) => Err(error),
        },
        None => {
            step.done_text = steps::describe(&step).await;
            Ok(Results::Skipped)
        }
    };
    let results = match attempt {
        Ok(results) => results,
        Err(error) => results_of(&mut step, error).await?,
    };
    finish(step, &row, results, texts).await
}

/// Runs `work` to its end; `aside` is begun with it, and given up if it has not ended by then.
async fn alongside<T>(work: impl Future<Output = T>, aside: impl Future<Output = ()>) -> T {
    tokio::pin!(work, aside);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = &mut aside => {}
    }
    work.await
}

/// Whether what is rendered before the step begins may wait for an evaluator.
fn may_take_a_while(config: &StepConfig) -> bool {
    config.name.as_literal().is_none()
        || !matches!(config.do_step_if, Condition::Constant(_))
        || config.description.as_ref().is_some_and(|description| description.as_literal().is_none())
}

/// What an error makes of the step; what a person should read about it goes into a log.
async fn results_of(step: &mut StepRun<'_>, error: StepError) -> Result<Results, DbError> {
    let error = match error {
        StepError::Stopped => return Ok(Results::Cancelled),
        StepError::WorkerLost => return Ok(Results::Retry),
        StepError::Data(error) => return Err(error),
        other => other,
    };
    tracing::info!(
        build.id = step.build.build.buildid.get(),
        step.name = step.name,
        %error,
        "step {} of build {} ended by an exception",
        step.name,
        step.build.build.buildid
    );
    // A condition may fail behind a step that has failed.
    let name = if step.logs.find("err.text").is_some() { "err2.text" } else { "err.text" };
    match step.add_complete_log(name, LogKind::Text, &error.to_string()).await {
        Ok(()) => Ok(Results::Exception),
        Err(StepError::Data(error)) => Err(error),
        Err(_) => Ok(Results::Exception),
    }
}

async fn finish(
    mut step: StepRun<'_>,
    row: &Step,
    results: Results,
    texts: &mut Vec<String>,
) -> Result<StepEnd, DbError> {
    let config = step.config;
    let (hidden, results) = match condition(step.build, &config.hide_step_if, &step.name, Some(results)).await {
        Ok(hidden) => (hidden, results),
        // A condition that fails hides nothing, and is an exception of the step, as it is in Buildbot.
        Err(error) => {
            let failed = results_of(&mut step, error.into()).await?;
            let keeps = matches!(results, Results::Retry | Results::Cancelled);
            (false, if keeps { results } else { failed })
        }
    };
    let text = done_text(&step).await;
    let state = summary::of_step(&text, results);
    let verdict = rules::judge(step.build.results, results, config.flags);
    step.build.results = verdict.results;
    let build_state = rules::is_in_summary(results, config.flags, &config.summary_policy).then(|| {
        texts.push(state.clone());
        match step.build.stop.latest().filter(|_| results == Results::Cancelled) {
            // A build that was stopped says why at once.
            Some(stop) => summary::of_build(results, Some(&format!("({})", stop.reason)), texts),
            None => summary::tidy(&texts.join(" ")),
        }
    });
    step.logs.finish_all();
    let end = EndStep {
        step: row.stepid,
        results,
        hidden,
        state,
        appends: step.logs.take(),
        properties: step.build.take_unsaved(),
        build_state,
        has_locks: !config.locks.is_empty(),
        test_sets: std::mem::take(&mut step.test_sets),
    };
    step.build.recorder.end_step(end);
    Ok(StepEnd { results, halt: verdict.halt })
}

/// What the step calls itself when it is done.
async fn done_text(step: &StepRun<'_>) -> String {
    let config = step.config;
    let configured = match config.description_done.as_ref().or(config.description.as_ref()) {
        Some(description) => step.render(description).await.ok().as_ref().and_then(summary::of_description),
        None => None,
    };
    let text = configured.or_else(|| step.done_text.clone()).unwrap_or_else(|| "finished".to_owned());
    let suffix = match &config.description_suffix {
        Some(suffix) => step.render(suffix).await.ok().as_ref().and_then(summary::of_description),
        None => None,
    };
    match suffix {
        Some(suffix) => format!("{text} {suffix}"),
        None => text,
    }
}

/// `doStepIf` (without results) and `hideStepIf` (with them).
async fn condition(
    build: &BuildContext,
    condition: &Condition,
    name: &str,
    results: Option<Results>,
) -> Result<bool, RenderError> {
    let value = match condition {
        Condition::Constant(value) => return Ok(*value),
        Condition::Renderable(value) => build.render(value).await?,
        Condition::Callable(function) => {
            let step = json!({
                "name": name,
                "build": build.as_json(),
                "properties": build.properties,
                "sourcestamps": build.sources,
                "results": results,
            });
            // doStepIf(step), hideStepIf(results, step)
            let args = match results {
                None => vec![step],
                Some(results) => vec![json!(results), step],
            };
            build.call(function, Call { args, ..Call::default() }, false).await?
        }
    };
    Ok(pyrepr::is_true(&value))
}

/// A log's name as an identifier.
pub(crate) fn slug(name: &str) -> String {
    identifier::force_identifier(50, name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn slugs_are_identifiers() {
        assert_eq!(super::slug("page.html"), "page_html");
    }
}
