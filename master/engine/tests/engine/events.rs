//! What a build says of itself, in the order of Buildbot's transcripts.

use std::time::Duration;

use crate::support::{DEADLINE, Scene, shell, step};
use buildguild_db::outbox;
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_types::farm::StepKind;
use buildguild_types::properties::Properties;
use buildguild_types::render::Renderable;
use serde_json::Value;

/// What a step tells that takes a while.
const RUNNING: &str = r#"builds/steps/updated "running" locks"#;

/// The main keys (without ids) and states of what waits to be published; properties with their names.
async fn told(scene: &Scene) -> Vec<String> {
    let owner = scene.data.owner().expect("it is active");
    let rows = outbox::take_batch(scene.data.db().read(), owner, 1000).await.expect("reads");
    rows.iter()
        .flat_map(|row| &row.events)
        .filter(|event| event.keys[0].as_str().starts_with("build"))
        .map(|event| {
            let body: Value = serde_json::from_str(event.body.get()).expect("JSON");
            let key: Vec<&str> = event.keys[0].parts().filter(|part| part.parse::<i64>().is_err()).collect();
            let key = key.join("/");
            match key.as_str() {
                "builds/properties/update" => {
                    let names: Vec<&String> = body.as_object().expect("properties").keys().collect();
                    format!("{key} {names:?}")
                }
                "builds/steps/started" | "builds/steps/updated" => {
                    let locks = if body["locks_acquired_at"].is_null() { "no locks" } else { "locks" };
                    format!("{key} {} {locks}", body["state_string"])
                }
                _ => format!("{key} {}", body["state_string"]),
            }
        })
        .filter(|line| !line.contains("request") && !line.contains("buildset") && !line.starts_with("builders/started"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_tells_of_its_life_as_buildbots_does() {
    let set = StepKind::SetProperty { property: Renderable::literal("p"), value: Renderable::literal(1) };
    let scene = Scene::new(vec![step("set", "SetProperty", set)]).await;
    let mut properties = Properties::new();
    properties.set("owner", "dev", "Force Build Form");
    scene.build(properties, NewSourceStamp::default()).await;
    let mut told = told(&scene).await;
    // A step that takes a second says that it runs, and on a busy machine any step may.
    told.retain(|line| line != RUNNING);
    assert_eq!(
        told,
        [
            r#"builds/steps/new "pending""#,
            r#"builds/steps/started "pending" locks"#,
            r#"builds/properties/update ["branch", "builderid", "buildername", "buildnumber", "codebase", "everywhere", "os", "owner", "project", "repository", "revision", "scheduler", "workername"]"#,
            r#"builders/builds/update "starting""#,
            r#"builders/builds/new "starting""#,
            r#"builds/properties/update ["owners"]"#,
            r#"builders/builds/update "preparing worker""#,
            r#"builders/builds/update "pinging worker""#,
            r#"builds/steps/updated "worker w ready" locks"#,
            r#"builds/steps/finished "worker w ready""#,
            r#"builders/builds/update "building""#,
            r#"builds/steps/new "pending""#,
            r#"builds/steps/started "pending" no locks"#,
            r#"builds/steps/updated "pending" locks"#,
            r#"builds/steps/updated "Set" locks"#,
            r#"builds/steps/finished "Set""#,
            r#"builds/properties/update ["basedir", "builddir", "p"]"#,
            r#"builders/builds/update "build successful""#,
            r#"builders/builds/finished "build successful""#,
        ]
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_takes_a_while_says_that_it_runs() {
    let scene = Scene::new(vec![shell("waits", "while [ ! -e go ]; do sleep 0.05; done")]).await;
    let request = scene.claimed(Properties::new(), NewSourceStamp::default()).await;
    let runner = scene.execution.runner();
    let assignment = scene.assignment(request);
    let running = tokio::spawn(async move {
        buildguild_engine::distribution::handover::BuildRunner::run(&*runner, assignment).await;
    });
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !told(&scene).await.iter().any(|line| line == RUNNING) {
        assert!(tokio::time::Instant::now() < deadline, "it never says so: {:?}", told(&scene).await);
        tokio::time::sleep(Duration::from_millis(20)).await; // polls
    }
    let go = scene.directory.path().join("workers/w/b/build/go");
    std::fs::write(&go, "").unwrap_or_else(|error| panic!("{}: {error}", go.display()));
    tokio::time::timeout(DEADLINE, running).await.expect("ends").expect("no panic");
    scene.end().await;
}
