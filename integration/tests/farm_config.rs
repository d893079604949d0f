//! The farm config as an admin meets it: the real program checks it, within its evaluators' limits, and takes what
//! Buildbot's own `checkconfig` takes.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use integration::{buildbot_environment, buildguild};

/// A config of a farm that is not small, in the words of Buildbot's manual.
const REALISTIC: &str = include_str!("data/realistic.cfg");

/// Small configs, each with what Buildbot 4.3 says to it.
const VERDICTS: &str = include_str!("data/verdicts.cfg");

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn ours(config: &Path) -> Result<Output> {
    Ok(buildguild()?.arg("checkconfig").arg(config).output()?)
}

fn buildbots(config: &Path) -> Result<Output> {
    Ok(Command::new(buildbot_environment()?.join("bin/buildbot")).arg("checkconfig").arg(config).output()?)
}

#[test]
fn evaluators_live_within_their_memory_limit() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("master.cfg");
    std::fs::write(&config, REALISTIC)?;
    for round in 0..60 {
        let output = ours(&config)?;
        ensure!(output.status.success(), "load {round}: {}", text(&output));
    }
    Ok(())
}

#[test]
fn a_config_that_allocates_without_bound_fails_and_says_so() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("master.cfg");
    std::fs::write(
        &config,
        "c = BuildmasterConfig = {}\ndef grow():\n    all = 'x' * 1000\n    for i in range(60):\n        all = all + all\n    \
         return all\nc['properties'] = {'p': len(grow())}\n",
    )?;
    let output = ours(&config)?;
    let said = text(&output);
    ensure!(output.status.code() == Some(1), "{:?}: {said}", output.status);
    ensure!(said.contains("master.cfg"), "names the config: {said}");
    ensure!(said.contains("memory") || said.contains("Heap"), "names the reason: {said}");
    Ok(())
}

/// Whether there is a warning, other than that this version does not run a scheduler yet.
fn warns(said: &str) -> bool {
    said.lines().any(|line| line.contains("warning:") && !line.contains("starts no builds in this version"))
}

#[test]
fn a_realistic_config_loads_in_buildbot_and_here() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("master.cfg");
    std::fs::write(&config, REALISTIC)?;
    let output = buildbots(&config)?;
    ensure!(output.status.success(), "Buildbot: {}", text(&output));
    let output = ours(&config)?;
    ensure!(output.status.success(), "Buildguild: {}", text(&output));
    ensure!(!warns(&text(&output)), "without a warning: {}", text(&output));
    Ok(())
}

/// What both say to a small config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Both take it.
    Good,
    /// Both refuse it.
    Bad,
    /// Buildbot takes it, and fails or does something else later; here it is an error.
    Stricter,
    /// Buildbot takes it and ignores a part of it; here that is a warning.
    Warned,
}

#[test]
fn buildbot_says_the_same_to_small_configs() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (base, cases) = VERDICTS.split_once("#### ").context("cases follow the base")?;
    let mut wrong = Vec::new();
    for case in cases.split("#### ") {
        let (head, body) = case.split_once('\n').context("a case has a body")?;
        let verdict = match head.trim() {
            "good" => Verdict::Good,
            "bad" => Verdict::Bad,
            "stricter" => Verdict::Stricter,
            "warned" => Verdict::Warned,
            other => anyhow::bail!("{other:?} is no verdict"),
        };
        let config = directory.path().join("master.cfg");
        std::fs::write(&config, format!("{base}{body}"))?;
        let output = ours(&config)?;
        let said = text(&output);
        let expected = match verdict {
            Verdict::Good => output.status.success() && !warns(&said),
            Verdict::Warned => output.status.success() && warns(&said),
            Verdict::Bad | Verdict::Stricter => output.status.code() == Some(1) && said.contains("error:"),
        };
        if !expected {
            wrong.push(format!("{verdict:?} {body}{said}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Buildbot's own verdict: all that it takes in one config, and each of those that it refuses.
    let bodies = |verdict: &'static str| {
        cases.split("#### ").filter_map(|case| case.split_once('\n')).filter(move |(head, _)| head.trim() == verdict)
    };
    let taken: String = ["good", "warned", "stricter"].into_iter().flat_map(bodies).map(|(_, body)| body).collect();
    let refused = bodies("bad").map(|(_, body)| (false, body.to_owned()));
    for (is_taken, body) in std::iter::once((true, taken)).chain(refused) {
        let config = directory.path().join("master.cfg");
        std::fs::write(&config, format!("{base}{body}"))?;
        let output = buildbots(&config)?;
        ensure!(output.status.success() == is_taken, "Buildbot: {body}{}", text(&output));
    }
    Ok(())
}
