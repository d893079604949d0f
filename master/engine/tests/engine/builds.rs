//! Builds on a local worker and a real database, from the claim to the last log line.

use std::collections::BTreeMap;

use crate::support::{Scene, shell, shell_config, step, value};
use buildguild_db::buildrequests;
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_types::farm::{Condition, LockAccess, LockScope, SetPropertyFromCommandConfig, StepKind};
use buildguild_types::properties::Properties;
use buildguild_types::render::Renderable;
use buildguild_types::results::Results;
use serde_json::json;

fn interpolate(format: &str) -> Renderable {
    Renderable::Interpolate { format: format.to_owned(), args: Vec::new(), kwargs: BTreeMap::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_runs_its_steps_and_keeps_what_they_say() {
    let set = step(
        "set",
        "SetProperty",
        StepKind::SetProperty {
            property: Renderable::literal("target"),
            value: interpolate("%(prop:os)s-%(src::branch)s"),
        },
    );
    let version = step(
        "version",
        "SetPropertyFromCommand",
        StepKind::SetPropertyFromCommand(Box::new(SetPropertyFromCommandConfig {
            shell: shell_config(Renderable::literal("echo 1.2.3")),
            property: Some(Renderable::literal("version")),
            extract_fn: None,
            strip: true,
            include_stdout: true,
            include_stderr: false,
        })),
    );
    let mut skipped = shell("skipped", "exit 1");
    skipped.do_step_if = Condition::Constant(false);
    skipped.hide_step_if = Condition::Constant(true);
    let scene = Scene::new(vec![
        shell("hello", "echo hello; echo oops >&2; echo $FROM_BUILDER"),
        set,
        version,
        skipped,
        step(
            "use",
            "ShellCommand",
            StepKind::Shell(Box::new(shell_config(Renderable::List {
                items: vec![Renderable::literal("echo"), interpolate("%(prop:target)s %(prop:version)s")],
            }))),
        ),
    ])
    .await;
    let mut properties = Properties::new();
    properties.set("owner", "dev", "Force Build Form");
    let source = NewSourceStamp { branch: Some("main".to_owned()), ..NewSourceStamp::default() };
    let build = scene.build(properties, source).await;
    let steps = scene.steps(build.buildid).await;
    let states: Vec<_> = steps.iter().map(|s| (s.name.as_str(), s.state_string.as_str(), s.results)).collect();
    assert_eq!(
        states,
        [
            ("worker_preparation", "worker w ready", Some(Results::Success)),
            ("hello", "'echo hello; ...'", Some(Results::Success)),
            ("set", "Set", Some(Results::Success)),
            ("version", "property 'version' set", Some(Results::Success)),
            ("skipped", "'exit 1' (skipped)", Some(Results::Skipped)),
            ("use", "'echo linux-main 1.2.3'", Some(Results::Success)),
        ]
    );
    assert!(steps[4].hidden && steps[4].locks_acquired_at.is_none());
    assert_eq!((build.results, build.state_string.as_str()), (Some(Results::Success), "build successful"));
    let stdio = scene.log(build.buildid, "hello", "stdio").await;
    for line in ["ohello\n", "eoops\n", "obuilder\n", "hprogram finished with exit code 0\n"] {
        assert!(stdio.contains(line), "{line} in {stdio}");
    }
    assert!(scene.log(build.buildid, "use", "stdio").await.contains("olinux-main 1.2.3\n"));
    let properties = scene.properties(build.buildid).await;
    for (name, wanted, source) in [
        ("everywhere", json!("global"), "BuildmasterConfig"),
        ("buildername", json!("b"), "Builder"),
        ("workername", json!("w"), "Worker"),
        ("os", json!("linux"), "Worker"),
        ("buildnumber", json!(1), "Build"),
        ("branch", json!("main"), "Build"),
        ("owners", json!(["dev"]), "Build"),
        ("scheduler", json!("nobody"), "Builder"),
        ("target", json!("linux-main"), "set"),
        ("version", json!("1.2.3"), "SetPropertyFromCommand Step"),
    ] {
        assert_eq!(value(&properties, name), &wanted, "{name}");
        assert_eq!(properties.get(name).map(|property| property.source()), Some(source), "{name}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_owner_is_among_the_owners() {
    let scene = Scene::new(vec![shell("hello", "true")]).await;
    let mut properties = Properties::new();
    properties.set("owner", "", "Force Build Form");
    let build = scene.build(properties, NewSourceStamp::default()).await;
    assert_eq!(value(&scene.properties(build.buildid).await, "owners"), &json!([""]));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halting_failure_leaves_only_what_always_runs() {
    let mut halts = shell("halts", "exit 3");
    halts.flags.halt_on_failure = true;
    let mut cleans_up = shell("cleans up", "echo clean");
    cleans_up.flags.always_run = true;
    let scene = Scene::new(vec![halts, shell("never", "true"), cleans_up]).await;
    let build = scene.build(Properties::new(), NewSourceStamp::default()).await;
    let names: Vec<_> = scene.steps(build.buildid).await.into_iter().map(|step| step.name).collect();
    assert_eq!(names, ["worker_preparation", "halts", "cleans up"]);
    assert_eq!((build.results, build.state_string.as_str()), (Some(Results::Failure), "failed 'exit 3' (failure)"));
    let request = buildrequests::get(scene.data.db().read(), build.buildrequestid).await.expect("reads");
    assert!(request.is_some_and(|request| request.complete && request.results == Some(Results::Failure)));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rendered_is_an_exception_with_a_log() {
    let broken =
        step("broken", "ShellCommand", StepKind::Shell(Box::new(shell_config(interpolate("%(secret:missing)s")))));
    let scene = Scene::new(vec![broken]).await;
    let build = scene.build(Properties::new(), NewSourceStamp::default()).await;
    assert_eq!(build.results, Some(Results::Exception));
    assert!(build.state_string.starts_with("exception "), "{}", build.state_string);
    let text = scene.log(build.buildid, "broken", "err_text").await;
    assert!(text.contains("secret key 'missing'"), "{text}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_hide_step_if_is_an_exception_of_the_step() {
    let mut step = shell("shown", "true");
    step.hide_step_if = Condition::Renderable(interpolate("%(secret:missing)s"));
    let scene = Scene::new(vec![step]).await;
    let build = scene.build(Properties::new(), NewSourceStamp::default()).await;
    let shown = scene.steps(build.buildid).await.pop().expect("the step");
    assert_eq!((shown.results, shown.hidden), (Some(Results::Exception), false));
    assert_eq!(shown.state_string, "'true' (exception)");
    assert_eq!(build.results, Some(Results::Exception));
    let text = scene.log(build.buildid, "shown", "err_text").await;
    assert!(text.contains("secret key 'missing'"), "{text}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_build_is_cancelled_and_says_why() {
    let scene = Scene::new(vec![shell("waits", "echo started; sleep 600")]).await;
    let running = scene.start_build().await;
    let build = scene
        .until("the step starts", async |build| {
            let step = scene.steps(build).await.into_iter().find(|step| step.name == "waits")?;
            let log = buildguild_db::logs::by_slug(scene.data.db().read(), step.stepid, "stdio").await;
            log.expect("reads").filter(|log| log.num_lines > 5).map(|_| build)
        })
        .await;
    assert!(scene.execution.runner().stop(build, "because"));
    let build = running.end(&scene).await;
    assert_eq!(build.results, Some(Results::Cancelled));
    assert_eq!(build.state_string, "cancelled (because) 'echo started; ...' (cancelled)");
    assert_eq!(scene.log(build.buildid, "waits", "cancelled").await, "because\n");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_worker_means_another_try() {
    let scene = Scene::new(vec![shell("waits", "sleep 600")]).await;
    let running = scene.start_build().await;
    let id = running.request;
    scene.until("the step starts", async |build| (scene.steps(build).await.len() == 2).then_some(())).await;
    scene.execution.workers().disconnect_all();
    let build = running.end(&scene).await;
    assert_eq!(build.results, Some(Results::Retry));
    assert!(build.state_string.starts_with("retry lost connection"), "{}", build.state_string);
    let request = buildrequests::get(scene.data.db().read(), id).await.expect("reads").expect("the request");
    assert!(!request.claimed && !request.complete, "{request:?}");
    scene.worker_connected().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_log_is_stored_whole() {
    let scene = Scene::new(vec![shell("talks", "seq 1 200000")]).await;
    let build = scene.build(Properties::new(), NewSourceStamp::default()).await;
    assert_eq!(build.results, Some(Results::Success));
    let stdio = scene.log(build.buildid, "talks", "stdio").await;
    let numbers: Vec<&str> = stdio.lines().filter_map(|line| line.strip_prefix('o')).collect();
    assert_eq!(numbers.len(), 200_000);
    assert!(numbers.iter().enumerate().all(|(n, line)| *line == (n + 1).to_string()));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_for_its_lock_and_gives_it_back() {
    let lock = LockAccess {
        name: "l".to_owned(),
        scope: LockScope::Cluster,
        max_count: 1,
        max_count_for_worker: BTreeMap::new(),
        exclusive: true,
        count: 1,
    };
    let mut waits = shell("waits", "echo has it");
    waits.locks = vec![lock.clone()];
    let mut again = shell("again", "echo again");
    again.locks = vec![lock.clone()];
    let scene = Scene::new(vec![waits, again]).await;
    // Another build of this master holds it.
    let holder = scene.claimed(Properties::new(), NewSourceStamp::default()).await;
    let slot = scene.assignment(holder.clone()).slot;
    let (builder, request, worker) = (holder.builderid, holder.buildrequestid, slot.worker_id);
    drop(slot);
    let held = [buildguild_db::locks::Wanted { key: lock.key("w"), exclusive: true, places: 1, capacity: 1 }];
    let held = &held;
    let other = scene.data.update(|u| async move {
        let start = buildguild_data::StartBuild { builder, request, worker, state_string: "building" };
        let build = u.add_build(&start).await?.buildid;
        assert!(u.take_locks(build, None, held).await?);
        Ok(build)
    });
    let other = other.await.expect("it holds the lock");
    let running = scene.start_build().await;
    let step = scene
        .until("it says that it waits", async |build| {
            let mut steps = scene.steps(build).await.into_iter();
            steps.find(|step| step.name == "waits" && step.state_string == "waiting for locks")
        })
        .await;
    assert!(step.started_at.is_some() && step.locks_acquired_at.is_none());
    scene.data.update(|u| async move { u.release_build_locks(other).await }).await.expect("it is given back");
    let build = running.end(&scene).await;
    assert_eq!(build.results, Some(Results::Success));
    let steps = scene.steps(build.buildid).await;
    assert!(steps.iter().all(|step| step.locks_acquired_at.is_some()), "{steps:?}");
    assert_eq!(steps[1].state_string, "'echo has ...'");
    scene.end().await;
}
