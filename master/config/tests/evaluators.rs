//! Evaluators as real processes: this test program is its own evaluator.
//!
//! Without a test harness, because the same program has to serve as the evaluator when it is started
//! with `evaluator`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use buildguild_config::{
    CallArgs, CallError, Diagnostic, EvaluatorOptions, Evaluators, FarmDiff, FarmSource, LoadedFarm, StepAdvance,
    StepEffect, StoredVersions, render_all,
};
use buildguild_types::farm::{Condition, ConfigHash, StepKind};
use buildguild_types::render::{CallableRef, Renderable};
use serde_json::{Value, json};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("evaluator") {
        if let Err(e) = buildguild_config::run_evaluator() {
            eprintln!("{e}");
            std::process::exit(1);
        }
        return;
    }
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    macro_rules! tests {
        ($($name:ident),* $(,)?) => {$(
            if filter.as_deref().is_none_or(|f| stringify!($name).contains(f)) {
                let start = Instant::now();
                let done = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(300), $name()).await });
                assert!(done.is_ok(), "{} did not end", stringify!($name));
                println!("test {} ... ok ({:?})", stringify!($name), start.elapsed());
            }
        )*};
    }
    // `--list` is what test runners ask first.
    if std::env::args().any(|a| a == "--list") {
        println!("evaluators: test");
        return;
    }
    tests!(
        the_stock_sample_loads,
        our_sample_loads,
        locks_are_used_by_builders_and_steps,
        inputs_are_part_of_the_version,
        all_problems_of_several_files_are_told,
        functions_answer,
        runaway_functions_fail_alone,
        an_evaluator_forgets_and_is_told_again,
        a_version_of_another_replica_is_recalled,
        a_step_function_is_replayed,
        a_config_that_never_ends_is_an_error,
        only_what_changed_differs,
        many_builders_load_quickly,
    );
}

fn evaluators(call_timeout_ms: u64) -> Evaluators {
    Evaluators::start(EvaluatorOptions {
        program: std::env::current_exe().expect("this program"),
        args: vec!["evaluator".to_owned()],
        processes: 2,
        call_timeout: Duration::from_millis(call_timeout_ms),
        load_timeout: Duration::from_secs(60),
        memory_limit_bytes: 512 * 1024 * 1024,
    })
}

/// A directory with a config.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, FarmSource) {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("write");
    }
    let source = FarmSource::new(dir.path(), "master.cfg");
    (dir, source)
}

async fn load(evaluators: &Evaluators, files: &[(&str, &str)]) -> Result<LoadedFarm, Vec<Diagnostic>> {
    let (_dir, source) = directory(files);
    evaluators.load(&source).await
}

async fn good(evaluators: &Evaluators, files: &[(&str, &str)]) -> LoadedFarm {
    match load(evaluators, files).await {
        Ok(farm) => farm,
        Err(diagnostics) => panic!("{}", render_all(&diagnostics)),
    }
}

/// A config with one builder whose options are given.
fn with_builder(defs: &str, options: &str, step: &str) -> String {
    format!(
        "from buildbot.plugins import *\n{defs}\nc = BuildmasterConfig = {{}}\n\
         c['workers'] = [worker.Worker('w', 'p')]\n\
         c['builders'] = [util.BuilderConfig(name='b', workernames=['w'], {options}\n\
             factory=util.BuildFactory([{step}]))]\n\
         c['schedulers'] = [schedulers.ForceScheduler(name='f', builderNames=['b']),\n\
             schedulers.AnyBranchScheduler(name='a', builderNames=['b'], treeStableTimer=0.5)]\n"
    )
}

async fn the_stock_sample_loads() {
    // What `buildbot create-master` writes, from the environment that `cargo xtask test` sets up.
    let venv = std::env::var_os("BUILDGUILD_BUILDBOT_VENV").map(PathBuf::from).or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME")?).join(".cache");
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home, PathBuf::from);
        Some(cache.join("buildguild/venv"))
    });
    let Some(program) = venv.map(|v| v.join("bin/buildbot")).filter(|p| p.exists()) else {
        println!("no stock Buildbot here: `cargo xtask test` installs it");
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let master = dir.path().join("m");
    let status =
        std::process::Command::new(program).arg("create-master").arg("-q").arg(&master).status().expect("buildbot");
    assert!(status.success());
    let loaded = evaluators(5000).load(&FarmSource::new(&master, "master.cfg.sample")).await;
    let loaded = loaded.unwrap_or_else(|d| panic!("{}", render_all(&d)));
    assert_eq!(loaded.farm.builders[0].name, "runtests");
    assert_eq!(loaded.farm.builders[0].factory.steps.len(), 2);
    assert_eq!(loaded.warnings, []);
}

async fn locks_are_used_by_builders_and_steps() {
    let defs = "one = util.MasterLock('one', maxCount=3)\n\
                each = util.WorkerLock('each', maxCountForWorker={'w': 2})";
    let step = "steps.ShellCommand(name='s', command='true', locks=[each.access('exclusive')])";
    let text = with_builder(defs, "locks=[one.access('counting', 2)],", step);
    let farm = good(&evaluators(5000), &[("master.cfg", &text)]).await.farm;
    let builder = &farm.builders[0];
    let [lock] = builder.locks.as_slice() else { panic!("{:?}", builder.locks) };
    assert_eq!((lock.key("w").as_str(), lock.places("w"), lock.count, lock.exclusive), ("cluster/one", 3, 2, false));
    let [lock] = builder.factory.steps[0].locks.as_slice() else { panic!("{:?}", builder.factory.steps[0].locks) };
    assert_eq!((lock.key("w").as_str(), lock.places("w"), lock.exclusive), ("worker/w/each", 2, true));
    assert_eq!(lock.places("other"), 1);
    let wrong = with_builder(defs, "locks=[one, one.access('shared')],", step);
    let diagnostics = load(&evaluators(5000), &[("master.cfg", &wrong)]).await.expect_err("it is wrong");
    let text = render_all(&diagnostics);
    assert!(text.contains("takes uses of locks") && text.contains("unknown mode of access"), "{text}");
}

async fn our_sample_loads() {
    let loaded = good(&evaluators(5000), &[("master.cfg", buildguild_config::SAMPLE_CONFIG)]).await;
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.farm.schedulers.len(), 2);
}

async fn inputs_are_part_of_the_version() {
    let evaluators = evaluators(5000);
    let main = with_builder(
        "load('lib.star', 'tags')\nlines = read_file('tags.txt').split()\nhome = env('PATH', '')\nnone = env('NO_SUCH', 'x')",
        "tags=tags + lines, description=none,",
        "",
    );
    let files = [("master.cfg", main.as_str()), ("lib.star", "tags = ['a']\n"), ("tags.txt", "b c\n")];
    let first = good(&evaluators, &files).await;
    assert_eq!(first.farm.builders[0].tags, ["a", "b", "c"]);
    assert_eq!(first.bundle.env["PATH"].as_deref(), std::env::var("PATH").ok().as_deref());
    assert_eq!(first.bundle.env["NO_SUCH"], None);
    let again = good(&evaluators, &files).await;
    assert_eq!(first.hash, again.hash);
    let other = good(&evaluators, &[files[0], files[1], ("tags.txt", "d")]).await;
    assert_ne!(first.hash, other.hash);
    let stored = evaluators.load_bundle(first.bundle.clone()).await.expect("a stored version");
    assert_eq!(stored.farm, first.farm);
    let escaping = with_builder("x = read_file('../secret')", "", "");
    let errors = load(&evaluators, &[("master.cfg", &escaping)]).await.expect_err("errors");
    assert!(errors[0].message.contains("must stay inside"), "{errors:?}");
}

async fn all_problems_of_several_files_are_told() {
    let main = "from buildbot.plugins import *\nload('lib.star', 'w')\nload('gone.star', 'x')\n\
                c = BuildmasterConfig = {}\nc['workers'] = w\nc['buildrs'] = []\n";
    let lib = "w = [worker.Worker('w', 'p', max_bulds=1)]\n";
    let errors = load(&evaluators(5000), &[("master.cfg", main), ("lib.star", lib)]).await.expect_err("errors");
    let text = render_all(&errors);
    for expected in [
        "lib.star:1:30: error: Worker has no argument `max_bulds`",
        "master.cfg:3:6: error: load gone.star: there is no such file",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

fn builder_callable(loaded: &LoadedFarm) -> CallableRef {
    loaded.farm.builders[0].next_build.clone().expect("nextBuild")
}

async fn functions_answer() {
    let evaluators = evaluators(5000);
    let defs = "
def choose(builder, requests):
    best = [r for r in requests if r.properties.getProperty('fast')]
    return best[0] if best else None

@util.renderer
def render(props, suffix):
    return [props.getProperty('name'), util.Interpolate('%(prop:x)s' + suffix), suffix]

def priority(names, changes):
    return sum([len(c) for c in changes.values()]) + (10 if [k for k in changes if k == 'lib'] else 0)

def skip(step):
    return step.build.getProperty('skip') != True and not step.hasProperty('never')
";
    let main = with_builder(
        defs,
        "nextBuild=choose, nextWorker=priority, canStartBuild=util.enforceChosenWorker,",
        "steps.ShellCommand(command=render.withArgs('!'), doStepIf=skip, hideStepIf=lambda results, step: results == SKIPPED)",
    );
    let loaded = good(&evaluators, &[("master.cfg", &main)]).await;
    let builder = json!({"name": "b"});
    let request = |id: i64, fast: bool| json!({"buildrequestid": id, "properties": {"fast": [fast, "Force"], "workername": ["w", "Force"]}});
    let requests = json!([request(1, false), request(2, true)]);
    let choice = evaluators.call(&loaded.hash, &builder_callable(&loaded), json!([builder, requests])).await;
    assert_eq!(choice.expect("a choice")["buildrequestid"], 2);

    let can = loaded.farm.builders[0].can_start_build.clone().expect("canStartBuild");
    for (name, chosen, expected) in [("w", "w", true), ("v", "w", false), ("v", "", true)] {
        let request = json!({"buildrequestid": 1, "properties": {"workername": [chosen, "Force"]}});
        let args = json!([builder, {"name": name, "workername": name}, request]);
        assert_eq!(evaluators.call(&loaded.hash, &can, args).await, Ok(json!(expected)), "{name} {chosen}");
    }

    let step = &loaded.farm.builders[0].factory.steps[0];
    let StepKind::Shell(shell) = &step.action else { panic!("{step:?}") };
    let Some(priority) = loaded.farm.builders[0].next_worker.clone() else { panic!("nextWorker") };
    let args = json!([["b"], {"lib": [{"who": "x"}, {"who": "y"}], "app": [{"who": "z"}]}]);
    assert_eq!(evaluators.call(&loaded.hash, &priority, args).await, Ok(json!(13)));
    let Renderable::Callable { callable, args, .. } = &shell.command else { panic!("{shell:?}") };
    let args: Vec<Value> = args.iter().filter_map(|a| a.as_literal().cloned()).collect();
    let scope = json!({"properties": {"name": ["n", "Build"]}});
    let rendered = evaluators
        .call_renderable(&loaded.hash, callable, CallArgs::renderer(scope, args, serde_json::Map::new()))
        .await
        .expect("a renderable");
    let Renderable::List { items } = rendered else { panic!("{rendered:?}") };
    assert_eq!(items[0], Renderable::literal("n"));
    assert!(matches!(&items[1], Renderable::Interpolate { format, .. } if format == "%(prop:x)s!"));

    let Condition::Callable(skip) = &step.do_step_if else { panic!("{step:?}") };
    let args = json!([{"name": "s", "build": {"number": 1}, "properties": {"skip": [true, "x"]}}]);
    assert_eq!(evaluators.call(&loaded.hash, skip, args).await, Ok(json!(false)));
    let Condition::Callable(hide) = &step.hide_step_if else { panic!("{step:?}") };
    assert_eq!(evaluators.call(&loaded.hash, hide, json!([3, {"name": "s"}])).await, Ok(json!(true)));
}

async fn runaway_functions_fail_alone() {
    let evaluators = evaluators(5000);
    let defs = "
def good(builder, requests):
    return 42

def endless(builder, requests):
    n = 0
    for i in range(1000000):
        for j in range(1000000):
            n += 1
    return n

def greedy(builder, requests):
    x = []
    for i in range(100000):
        x.append('x' * (1000000 + i))
    return len(x)

def huge(builder, requests):
    return len('x' * (2000000000 + len(requests)))

def slow_native(builder, requests):
    x = 'ab' * (30000000 + len(requests))
    for i in range(1000):
        y = x.replace('a', 'cc').replace('b', 'dd')
    return y

def deep(builder, requests):
    return deep(builder, requests) + 1

def wrong(builder, requests):
    return requests['nothing']

FUNCTIONS = [good, endless, greedy, huge, slow_native, deep, wrong]
";
    let mut loaded = Vec::new();
    for i in 0..7 {
        let main = with_builder(defs, &format!("nextBuild=FUNCTIONS[{i}],"), "");
        loaded.push(good(&evaluators, &[("master.cfg", &main)]).await);
    }
    let ask = |i: usize| {
        let (evaluators, loaded) = (evaluators.clone(), &loaded);
        async move { evaluators.call(&loaded[i].hash, &builder_callable(&loaded[i]), json!([{"name": "b"}, []])).await }
    };
    assert_eq!(ask(0).await, Ok(json!(42)));
    for (i, name, line) in [
        (1, "endless", 6),
        (2, "greedy", 13),
        (3, "huge", 19),
        (4, "slow_native", 22),
        (5, "deep", 28),
        (6, "wrong", 31),
    ] {
        let start = Instant::now();
        let error = ask(i).await.expect_err(name);
        let text = error.to_string();
        println!("{name}: {text} ({:?})", start.elapsed());
        assert!(text.contains(name) && text.contains(&format!("master.cfg:{line}")), "{text}");
        assert!(start.elapsed() < Duration::from_secs(60), "{name} took {:?}", start.elapsed());
        // Nothing else notices.
        assert_eq!(ask(0).await, Ok(json!(42)));
    }
    // The others go on while one is stuck.
    let _ = tokio::join!(ask(0), ask(0));
    let stuck = async {
        assert!(ask(1).await.is_err());
        Instant::now()
    };
    let quick = async {
        assert_eq!(ask(0).await, Ok(json!(42)));
        Instant::now()
    };
    let (stuck, quick) = tokio::join!(stuck, quick);
    assert!(quick < stuck);
}

async fn an_evaluator_forgets_and_is_told_again() {
    let evaluators = evaluators(5000);
    let mut versions = Vec::new();
    for i in 0..20 {
        let main = with_builder(&format!("def f(b, r): return {i}"), "nextBuild=f,", "");
        versions.push(good(&evaluators, &[("master.cfg", &main)]).await);
    }
    for (i, version) in versions.iter().enumerate() {
        let answer = evaluators.call(&version.hash, &builder_callable(version), json!([1, 2])).await;
        assert_eq!(answer, Ok(json!(i)));
    }
    let unknown = ConfigHash("0".to_owned());
    let error = evaluators.call(&unknown, &builder_callable(&versions[0]), json!([1, 2])).await;
    assert!(matches!(error, Err(CallError::UnknownConfig { .. })), "{error:?}");
}

async fn a_version_of_another_replica_is_recalled() {
    struct Kept(buildguild_config::FarmBundle);
    #[async_trait::async_trait]
    impl StoredVersions for Kept {
        async fn find(&self, hash: &ConfigHash) -> Option<buildguild_config::FarmBundle> {
            (self.0.hash() == *hash).then(|| self.0.clone())
        }
    }
    let main = with_builder("def f(b, r): return 7", "nextBuild=f,", "");
    let version = good(&evaluators(5000), &[("master.cfg", &main)]).await;
    let other = evaluators(5000);
    assert!(!other.knows(&version.hash));
    other.look_up_versions_in(std::sync::Arc::new(Kept(version.bundle.clone())));
    let answer = other.call(&version.hash, &builder_callable(&version), json!([1, 2])).await;
    assert_eq!(answer, Ok(json!(7)));
}

async fn a_step_function_is_replayed() {
    let evaluators = evaluators(5000);
    let defs = "
def test(ctx, flags):
    first = ctx.run(['make', 'test'] + flags, env={'A': util.Property('a')}, timeout=60)
    if first.rc != 0:
        ctx.addCompleteLog('problems', first.stderr)
        return FAILURE
    log = ctx.addLog('summary')
    log.addStdout('tests: ' + first.stdout)
    log.finish()
    ctx.setProperty('tests', len(first.stdout.split()))
    ctx.addURL('report', 'http://x/' + str(ctx.getProperty('tests')))
    ids = ctx.addTestResultSet('unit', 'pass_fail', 'boolean')
    ctx.addTestResult(ids, '1', test_name='t1')
    ctx.setSummary(ctx.name + ' in ' + ctx.getProperty('branch', 'none'))
    return SUCCESS
";
    let main = with_builder(defs, "", "steps.Function(name='test', run=test, args={'flags': ['-k']})");
    let loaded = good(&evaluators, &[("master.cfg", &main)]).await;
    let StepKind::Function { run, .. } = &loaded.farm.builders[0].factory.steps[0].action else { panic!() };
    let ctx = json!({"name": "test", "args": {"flags": ["-k"]}, "properties": {"branch": ["main", "Build"]}});
    let mut journal = Vec::new();
    let mut effects = Vec::new();
    let returned = loop {
        match evaluators.advance_step(&loaded.hash, run, ctx.clone(), &journal).await.expect("an advance") {
            StepAdvance::Done { returned } => break returned,
            StepAdvance::Effect { effect } => {
                journal.push(match &effect {
                    StepEffect::Run { .. } => json!({"rc": 0, "stdout": "a b c", "stderr": "", "results": 0}),
                    StepEffect::AddTestResultSet { .. } => json!(7),
                    _ => Value::Null,
                });
                effects.push(effect);
            }
        }
    };
    assert_eq!(returned, 0);
    insta::assert_snapshot!("step_effects", serde_json::to_string_pretty(&effects).expect("JSON"));
    // Another answer, another way.
    let failed = vec![json!({"rc": 1, "stderr": "boom"}), Value::Null];
    let advance = evaluators.advance_step(&loaded.hash, run, ctx.clone(), &failed).await.expect("an advance");
    assert_eq!(advance, StepAdvance::Done { returned: json!(2) });
    let mut bad = ctx.clone();
    bad["args"] = json!({});
    let error = evaluators.advance_step(&loaded.hash, run, bad, &[]).await.expect_err("a missing argument");
    assert!(error.to_string().contains("flags"), "{error}");
}

async fn a_config_that_never_ends_is_an_error() {
    let evaluators = Evaluators::start(EvaluatorOptions {
        program: std::env::current_exe().expect("this program"),
        args: vec!["evaluator".to_owned()],
        processes: 1,
        call_timeout: Duration::from_secs(1),
        // Enough for the good one, however busy the machine is.
        load_timeout: Duration::from_secs(15),
        memory_limit_bytes: 512 * 1024 * 1024,
    });
    let main = "for i in range(100000):\n    for j in range(1000000):\n        x = i\n";
    let errors = load(&evaluators, &[("master.cfg", main)]).await.expect_err("an error");
    assert!(errors[0].message.contains("did not end"), "{errors:?}");
    let deep = format!("x = {}1{}\n", "(".repeat(100_000), ")".repeat(100_000));
    let errors = load(&evaluators, &[("master.cfg", &deep)]).await.expect_err("an error");
    println!("deep nesting: {}", errors[0].message);
    good(&evaluators, &[("master.cfg", &with_builder("", "", ""))]).await;
}

async fn only_what_changed_differs() {
    let evaluators = evaluators(5000);
    let config = |extra: &str, tag: &str| {
        format!(
            "{}\nc['workers'].append(worker.Worker('w2', 'p'))\n{extra}\nc['builders'].append(util.BuilderConfig(name='b2', \
             workername='w', tags=['{tag}'], factory=util.BuildFactory()))\n\
             c['schedulers'].append(schedulers.Triggerable(name='t', builderNames=['b2']))\n",
            with_builder("", "", "")
        )
    };
    let old = good(&evaluators, &[("master.cfg", &config("", "x"))]).await;
    let same = good(&evaluators, &[("master.cfg", &config("# only a comment", "x"))]).await;
    assert!(FarmDiff::between(&old, &same).is_empty());
    let new = good(&evaluators, &[("master.cfg", &config("c['workers'].pop()\nc['title'] = 'T'", "y"))]).await;
    let diff = FarmDiff::between(&old, &new);
    assert_eq!(diff.workers.removed, ["w2"]);
    assert_eq!(diff.builders.changed, ["b2"]);
    assert_eq!(diff.builders.unchanged, ["b"]);
    assert!(diff.schedulers.is_empty());
    assert_eq!(diff.globals, ["title"]);
}

async fn many_builders_load_quickly() {
    let evaluators = evaluators(5000);
    let main = "from buildbot.plugins import *
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker('w%d' % i, 'p') for i in range(200)]
c['builders'] = []
for i in range(200):
    f = util.BuildFactory()
    f.addStep(steps.Git(repourl='https://example.org/%d' % i))
    for j in range(5):
        f.addStep(steps.ShellCommand(command=['make', util.Interpolate('%(prop:x)s')], doStepIf=lambda s: True))
    c['builders'].append(util.BuilderConfig(name='b%d' % i, workernames=['w%d' % (i % 200)], factory=f))
names = [b.name for b in c['builders']]
c['schedulers'] = [schedulers.AnyBranchScheduler(name='a', builderNames=names)]
";
    let start = Instant::now();
    let loaded = good(&evaluators, &[("master.cfg", main)]).await;
    println!("200 builders: {:?}", start.elapsed());
    assert_eq!(loaded.farm.builders.len(), 200);
}
