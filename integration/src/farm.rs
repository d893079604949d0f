//! Farm configurations for tests.

use std::fmt::Write;

/// A `master.cfg` with remote workers, builders, and a force scheduler named `force` for all of them.
#[derive(Debug, Default)]
pub struct Farm {
    workers: String,
    builders: String,
    names: Vec<String>,
    extra: String,
}

impl Farm {
    /// A farm with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a remote worker whose password is `secret`.
    #[must_use]
    pub fn worker(self, name: &str) -> Self {
        self.worker_declared(&format!("worker.Worker({name:?}, \"secret\")"))
    }

    /// With a worker in the words of `master.cfg`.
    #[must_use]
    pub fn worker_declared(mut self, declaration: &str) -> Self {
        let _ = writeln!(self.workers, "    {declaration},");
        self
    }

    /// With a builder; `steps` are the elements of the factory's list in the words of `master.cfg`.
    #[must_use]
    pub fn builder(mut self, name: &str, worker: &str, steps: &[&str]) -> Self {
        let _ = writeln!(
            self.builders,
            "    util.BuilderConfig(name={name:?}, workernames=[{worker:?}], factory=util.BuildFactory([{}])),",
            steps.join(", ")
        );
        self.names.push(name.to_owned());
        self
    }

    /// The same on whichever of the farm's workers is free.
    #[must_use]
    pub fn builder_on_any(mut self, name: &str, steps: &[&str]) -> Self {
        let _ = writeln!(
            self.builders,
            "    util.BuilderConfig(name={name:?}, workernames=[w.name for w in c['workers']], \
             factory=util.BuildFactory([{}])),",
            steps.join(", ")
        );
        self.names.push(name.to_owned());
        self
    }

    /// With further lines.
    #[must_use]
    pub fn extra(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// The text of the `master.cfg`.
    pub fn text(&self) -> String {
        format!(
            "from buildbot.plugins import *\n\
             c = BuildmasterConfig = {{}}\n\
             c['collapseRequests'] = False\n\
             c['protocols'] = {{'msgpack_experimental_v7': {{'port': 9989}}}}\n\
             c['www'] = dict(port=8010)\n\
             c['workers'] = [\n{}]\n\
             c['builders'] = [\n{}]\n\
             c['change_source'] = []\n\
             c['schedulers'] = [schedulers.ForceScheduler(name='force', builderNames={:?})]\n\
             {}",
            self.workers, self.builders, self.names, self.extra
        )
    }
}
