//! A step that is a function of `master.cfg`, on a stock worker, from its commands to what clients see; and the death
//! of its master in the middle of it.

use anyhow::{Context, Result, ensure};
use integration::{DEADLINE, Farm, Rest, Takeover, wait_for};
use serde_json::{Value, json};

/// The function: everything that a step can do, with a wait in the middle.
fn farm(gate: &std::path::Path) -> String {
    let function = format!(
        r#"
def check(step, greeting):
    first = step.run(["echo", greeting], env={{"V": "1"}})
    step.setProperty("said", first.stdout.strip(), "check")
    step.addURL("manual", "https://example.org/manual")
    log = step.addLog("notes")
    log.addStdout("out\n")
    log.addStderr("err\n")
    log.addHeader("head\n")
    log.finish()
    step.addCompleteLog("text", "plain\n")
    step.addHTMLLog("page", "<b>bold</b>\n")
    step.setBuildData("figures", "1,2,3", "check")
    tests = step.addTestResultSet("unit", "pass_fail", "boolean")
    step.addTestResult(tests, "1", test_name="a")
    step.addTestResult(tests, "0", test_name="b", line=7)
    step.run("while [ ! -e '{}' ]; do sleep 0.05; done; echo through", log="wait")
    done = step.run("exit 3", decodeRC={{0: SUCCESS, 3: WARNINGS}})
    step.setSummary("checked, rc %d" % done.rc)
    return done.results
"#,
        gate.display()
    );
    let step = "steps.Function(name='check', run=check, args={'greeting': util.Property('greeting', default='hello')})";
    let text = Farm::new().worker("w").builder("b", "w", &[step]).text();
    text.replacen("c = BuildmasterConfig", &format!("{function}\nc = BuildmasterConfig"), 1)
}

async fn reached(rest: &Rest, request: i64) -> Result<Value> {
    wait_for("the function waits at its gate", DEADLINE, async || {
        let builds = rest.list(&format!("buildrequests/{request}/builds?order=-buildid")).await?;
        let Some(build) = builds.first().filter(|build| build["complete"] == false) else { return Ok(None) };
        let steps = rest.list(&format!("builds/{}/steps", build["buildid"])).await?;
        let Some(step) = steps.iter().find(|step| step["name"] == "check") else { return Ok(None) };
        let logs = rest.list(&format!("steps/{}/logs", step["stepid"])).await?;
        Ok(logs.iter().any(|log| log["name"] == "wait").then(|| build.clone()))
    })
    .await
}

/// What clients see of a build that went through.
async fn check(rest: &Rest, build: &Value) -> Result<()> {
    let id = build["buildid"].as_i64().context("an id")?;
    // Warnings of a step are the build's only with `warnOnWarnings`.
    ensure!(build["results"] == json!(0), "{build}");
    let steps = rest.list(&format!("builds/{id}/steps")).await?;
    let step = steps.iter().find(|step| step["name"] == "check").context("the step")?;
    ensure!(step["state_string"] == "checked, rc 3 (warnings)" && step["results"] == json!(1), "{step}");
    ensure!(step["urls"] == json!([{"name": "manual", "url": "https://example.org/manual"}]), "{step}");
    ensure!(rest.log(id, "check", "stdio").await?.contains("hello\n"));
    ensure!(rest.log(id, "check", "notes").await?.contains("out\nerr\nhead\n"));
    ensure!(rest.log(id, "check", "text").await? == "plain\n");
    ensure!(rest.log(id, "check", "page").await? == "<b>bold</b>\n");
    ensure!(rest.log(id, "check", "wait").await?.contains("through\n"));
    let logs = rest.list(&format!("steps/{}/logs", step["stepid"])).await?;
    let kinds: Vec<(&str, &str)> =
        logs.iter().filter_map(|l| Some((l["name"].as_str()?, l["type"].as_str()?))).collect();
    for wanted in [("stdio", "s"), ("notes", "s"), ("text", "t"), ("page", "h"), ("wait", "s")] {
        ensure!(kinds.contains(&wanted), "{wanted:?} in {kinds:?}");
    }
    let properties = rest.get(&format!("builds/{id}/properties")).await?;
    ensure!(properties["properties"][0]["said"] == json!(["hello", "check"]), "{properties}");
    ensure!(rest.text(&format!("api/v2/builds/{id}/data/figures/value")).await? == "1,2,3");
    let sets = rest.list(&format!("steps/{}/test_result_sets", step["stepid"])).await?;
    let [set] = sets.as_slice() else { anyhow::bail!("one set: {sets:?}") };
    ensure!(set["category"] == "pass_fail" && set["value_unit"] == "boolean", "{set}");
    let results = rest.list(&format!("test_result_sets/{}/results", set["test_result_setid"])).await?;
    ensure!(results.len() == 2 && results[1]["test_name"] == "b" && results[1]["line"] == json!(7), "{results:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_does_all_that_steps_do_also_after_the_death_of_its_master() -> Result<()> {
    let mut gate = None;
    let mut scene = Takeover::start("w", |directory| Ok(farm(gate.insert(directory.join("gate"))))).await?;
    let gate = gate.context("made above")?;
    let rest = scene.survivor.clone();
    let request = rest.force("b", json!({})).await?;
    let first = reached(&rest, request).await.map_err(|error| error.context(scene.cluster.all_logs()))?;

    scene.lead_to_survivor();
    scene.cluster.masters[0].kill()?;
    let second = wait_for("another build waits at the gate", DEADLINE, async || {
        let build = reached(&rest, request).await?;
        Ok((build["buildid"] != first["buildid"]).then_some(build))
    })
    .await
    .map_err(|error| error.context(scene.cluster.all_logs()))?;
    std::fs::write(&gate, "")?;
    let builds = rest.builds_of_completed(request).await.map_err(|error| error.context(scene.cluster.all_logs()))?;
    ensure!(builds.len() == 2 && builds[0]["results"] == json!(5), "{builds:?}");
    ensure!(builds[1]["buildid"] == second["buildid"], "{builds:?}");
    check(&rest, &builds[1]).await.map_err(|error| error.context(scene.cluster.all_logs()))
}
