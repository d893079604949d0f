//! Whole configs, in this process.

use crate::diagnostic::render_all;
use crate::source::FarmBundle;

use super::evaluate;
use super::load::Evaluated;

/// Evaluates a config of one file.
pub(super) fn load(text: &str) -> Evaluated {
    evaluate(FarmBundle::single("master.cfg", text))
}

/// The stock sample, as `buildbot create-master` writes it.
const STOCK: &str = r#"# -*- python -*-
# ex: set filetype=python:

from buildbot.plugins import *

c = BuildmasterConfig = {}
c['workers'] = [worker.Worker("example-worker", "pass")]
c['protocols'] = {'pb': {'port': 9989}}
c['change_source'] = []
c['change_source'].append(changes.GitPoller(
        'https://github.com/buildbot/hello-world.git',
        workdir='gitpoller-workdir', branch='master',
        pollInterval=300))
c['schedulers'] = []
c['schedulers'].append(schedulers.SingleBranchScheduler(
                            name="all",
                            change_filter=util.ChangeFilter(branch='master'),
                            treeStableTimer=None,
                            builderNames=["runtests"]))
c['schedulers'].append(schedulers.ForceScheduler(
                            name="force",
                            builderNames=["runtests"]))
factory = util.BuildFactory()
# check out the source
factory.addStep(steps.Git(repourl='https://github.com/buildbot/hello-world.git', mode='incremental'))
factory.addStep(steps.ShellCommand(command=["trial", "hello"],
                                   env={"PYTHONPATH": "."}))
c['builders'] = []
c['builders'].append(
    util.BuilderConfig(name="runtests",
      workernames=["example-worker"],
      factory=factory))
c['services'] = []
c['title'] = "Hello World CI"
c['titleURL'] = "https://buildbot.github.io/hello-world/"
c['buildbotURL'] = "http://localhost:8010/"
c['www'] = dict(port=8010,
                plugins=dict(waterfall_view={}, console_view={}, grid_view={}))
c['db'] = {
    'db_url' : "sqlite:///state.sqlite",
}
"#;

#[test]
fn a_config_like_the_stock_sample_loads() {
    let evaluated = load(STOCK);
    assert_eq!(render_all(&evaluated.diagnostics), "0 errors");
    assert!(evaluated.program.is_some());
    insta::assert_snapshot!(serde_json::to_string_pretty(&evaluated.farm).expect("JSON"));
}

/// Many errors, each of which must be found in one go.
const ERRORS: &str = r#"from buildbot.plugins import *
import requests

c = BuildmasterConfig = {}
c['workers'] = [
    worker.Worker("w1", "pass", max_bilds=2),
    worker.Worker("w1", "pass"),
    worker.Worker("9 lives", "pass"),
    worker.Worker("w4"),
    worker.DockerLatentWorker("d", "pass", image="x"),
]
f = util.BuildFactory([
    steps.ShellCommand(command=["make"], timeout="long"),
    steps.ShelCommand(command="x"),
    steps.Git(repourl="x", mode="ful"),
    steps.ShellCommand(command=util.Interpolate("%(prop:x"), haltOnFailur=True),
    "make",
])
c['builders'] = [
    util.BuilderConfig(name="b1", workernames=["w2"], factory=f),
    util.BuilderConfig(name="b1", workername="w1", factory=f, project="p"),
    util.BuilderConfig(name="_b", workername="w1", factory=f, tags=["a", "a"]),
    util.BuilderConfig(name="lonely", workername="w1"),
]
c['schedulers'] = [
    schedulers.AnyBranchScheduler(name="s", builderNames=["b2", "_b"], treeStableTimer=-1),
    schedulers.SingleBranchScheduler("t", ["b1"], change_filter=util.ChangeFilter(branch_re="(")),
]
x = 1 + "a"
y = undefined_name
def helper(n):
    return n["missing"]
helper({})
c['buildrs'] = []
c['logCompressionMethod'] = 'zip'
c['www'] = {'prt': 8010}
c['title'] = 3
"#;

#[test]
fn all_errors_are_reported_at_once() {
    let evaluated = load(&ERRORS.replace("import requests\n", "\n"));
    insta::assert_snapshot!(render_all(&evaluated.diagnostics));
}

#[test]
fn python_that_starlark_has_not_is_named() {
    let evaluated = load(ERRORS);
    insta::assert_snapshot!(render_all(&evaluated.diagnostics));
}
