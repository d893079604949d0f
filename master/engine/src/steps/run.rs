//! One step while it runs: its logs, its commands, and what it has to say.

use std::time::Duration;

use buildguild_types::farm::StepConfig;
use buildguild_types::ids::{StepId, TestResultSetId};
use buildguild_types::properties::Properties;
use buildguild_types::render::Renderable;
use buildguild_types::resources::{LogKind, StepUrl};
use buildguild_types::time::Timestamp;
use serde_json::Value;

use super::StepError;
use crate::build::context::BuildContext;
use crate::build::summary;
use crate::logs::{LogRef, StepLogs, Stream};

/// How long the database may keep a step waiting for one append before a person should know.
const SLOW_APPEND: Duration = Duration::from_secs(5);

/// A set of test results of a step, and how many passed and failed where the values say so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestSet {
    pub(crate) id: TestResultSetId,
    pub(crate) passed: Option<i64>,
    pub(crate) failed: Option<i64>,
}

impl TestSet {
    /// An empty set. Those of the category `pass_fail` are counted.
    pub(crate) fn new(id: TestResultSetId, category: &str) -> Self {
        let none = (category == "pass_fail").then_some(0);
        Self { id, passed: none, failed: none }
    }

    /// Counts a result: `1` and `true` passed, everything else failed.
    pub(crate) fn count(&mut self, value: &str) {
        let counted = match value.to_ascii_lowercase().as_str() {
            "1" | "true" => &mut self.passed,
            _ => &mut self.failed,
        };
        *counted = counted.map(|n| n + 1);
    }
}

/// A step while it runs.
pub(crate) struct StepRun<'a> {
    /// The build.
    pub(crate) build: &'a mut BuildContext,
    /// What the configuration says.
    pub(crate) config: &'a StepConfig,
    /// The step's row.
    pub(crate) id: StepId,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// How many commands it has started.
    pub(crate) commands: u32,
    /// Its name, unique in the build.
    pub(crate) name: String,
    /// Its logs.
    pub(crate) logs: StepLogs,
    /// Its links.
    pub(crate) urls: Vec<StepUrl>,
    /// Its sets of test results.
    pub(crate) test_sets: Vec<TestSet>,
    /// What it says about itself unless `descriptionDone` says it.
    pub(crate) done_text: Option<String>,
}

impl StepRun<'_> {
    /// Who sets properties: `<Class> Step`, but a `SetProperty` gives its name, as Buildbot's does.
    pub(crate) fn property_source(&self) -> String {
        match self.config.class.as_str() {
            "SetProperty" => self.name.clone(),
            class => format!("{class} Step"),
        }
    }

    /// Renders a value.
    pub(crate) async fn render(&self, value: &Renderable) -> Result<Value, StepError> {
        Ok(self.build.render(value).await?)
    }

    /// Renders a value if there is one; `null` counts as none.
    pub(crate) async fn render_option(&self, value: Option<&Renderable>) -> Result<Option<Value>, StepError> {
        Ok(self.build.render_option(value).await?)
    }

    /// The directory of the step on the worker: the step's, the factory's or `build`, below the builder's.
    pub(crate) async fn workdir(&self) -> Result<String, StepError> {
        let configured = self.config.workdir.as_ref().or(self.build.plan.factory.workdir.as_ref());
        let workdir = match self.render_option(configured).await? {
            None => "build".to_owned(),
            Some(Value::String(workdir)) => workdir,
            Some(other) => return Err(super::arguments::wrong("workdir", "a text", &other)),
        };
        Ok(self.worker_path(&workdir))
    }

    /// An absolute path on the worker of something below the builder's directory.
    pub(crate) fn worker_path(&self, path: &str) -> String {
        self.build.worker.path(&[&self.build.plan.worker_builddir, path])
    }

    /// Adds a log that receives text while the step runs.
    pub(crate) async fn add_log(&mut self, name: &str, kind: LogKind) -> Result<LogRef, StepError> {
        let id = self.build.recorder.add_log(self.id, name, kind).await?;
        Ok(self.logs.add(name, kind, id))
    }

    /// The log of that name; added if it is not there.
    pub(crate) async fn log(&mut self, name: &str, kind: LogKind) -> Result<LogRef, StepError> {
        match self.logs.find(name) {
            Some(log) => Ok(log),
            None => self.add_log(name, kind).await,
        }
    }

    /// Adds a log with its whole content, and ends it.
    pub(crate) async fn add_complete_log(&mut self, name: &str, kind: LogKind, text: &str) -> Result<(), StepError> {
        let log = self.add_log(name, kind).await?;
        self.logs.push(log, Stream::Stdout, text);
        self.finish_log(log).await
    }

    /// Ends a log: what waits is stored, and nothing can be added.
    pub(crate) async fn finish_log(&mut self, log: LogRef) -> Result<(), StepError> {
        if let Some(id) = self.logs.finish(log) {
            let appends = self.logs.take();
            self.build.recorder.append(appends, vec![id]).await?;
        }
        Ok(())
    }

    /// Adds a line that the master has to say.
    pub(crate) async fn header(&mut self, text: &str) -> Result<(), StepError> {
        let log = self.log("stdio", LogKind::Stream).await?;
        self.logs.push(log, Stream::Header, &format!("{text}\n"));
        Ok(())
    }

    /// Stores what waits in the logs.
    pub(crate) async fn flush(&mut self) -> Result<(), StepError> {
        let appends = self.logs.take();
        if appends.is_empty() {
            return Ok(());
        }
        let started = tokio::time::Instant::now();
        self.build.recorder.append(appends, Vec::new()).await?;
        let taken = started.elapsed();
        if taken > SLOW_APPEND {
            tracing::warn!(
                build.id = self.build.build.buildid.get(),
                duration_ms = taken.as_millis() as u64,
                "storing log text of build {} was slow",
                self.build.build.buildid
            );
        }
        Ok(())
    }

    /// Waits, unless the build is stopped meanwhile.
    pub(crate) async fn pause(&mut self, duration: Duration) -> Result<(), StepError> {
        tokio::select! {
            () = tokio::time::sleep(duration) => return Ok(()),
            _ = self.build.stop.requested() => {}
        }
        self.note_stop().await?;
        Err(StepError::Stopped)
    }

    /// Adds a link.
    pub(crate) async fn add_url(&mut self, name: &str, url: &str) -> Result<(), StepError> {
        let link = StepUrl { name: name.to_owned(), url: url.to_owned() };
        self.build.recorder.add_url(self.id, &link).await?;
        self.urls.push(link);
        Ok(())
    }

    /// Sets a property of the build.
    pub(crate) fn set_property(&mut self, name: &str, value: Value, source: &str) {
        self.build.set_property(name, value, source);
    }

    /// Stores properties at once, for whoever waits for them while the step goes on.
    pub(crate) async fn save_properties(&mut self) -> Result<(), StepError> {
        let properties: Properties = self.build.take_unsaved();
        if !properties.is_empty() {
            self.build.recorder.set_properties(&properties).await?;
        }
        Ok(())
    }

    /// Says what the step is doing.
    pub(crate) async fn set_state(&mut self, text: &str) -> Result<(), StepError> {
        Ok(self.build.recorder.set_step_state(self.id, &summary::tidy(text)).await?)
    }
}
