//! Functions of the configuration that take their time, hang or fail, and the builders beside theirs.

use std::time::Duration;

use buildguild_db::test_support::TestDb;
use buildguild_types::{farm::FarmConfig, render::CallableRef, results::Results};

use super::tests::{Site, plain};
use crate::testing::{TestMaster, eventually, scripted_evaluators};

/// A farm in which these builders have a `canStartBuild` that behaves so.
fn with_functions(builders: &[(&str, Option<&str>)], workers: &[(&str, Option<u32>)]) -> FarmConfig {
    let names: Vec<&str> = builders.iter().map(|(name, _)| *name).collect();
    let mut farm = plain(&names, workers);
    for (config, (_, behaviour)) in farm.builders.iter_mut().zip(builders) {
        config.can_start_build = behaviour.map(|path| CallableRef {
            path: path.to_owned(),
            name: path.to_owned(),
            location: "master.cfg:1".to_owned(),
        });
    }
    farm
}

async fn site(test: &TestDb, farm: FarmConfig, workers: &[(&str, usize)], directory: &tempfile::TempDir) -> Site {
    // Longer than any wait of these tests: whoever waits for a function that hangs fails.
    let evaluators = scripted_evaluators(directory.path(), Duration::from_secs(600));
    Site::of(TestMaster::start_with(test, "m", farm, evaluators).await, workers, false).await
}

async fn a_function_that_hangs_holds_up_its_own_builder_only(test: &TestDb) {
    let directory = tempfile::tempdir().expect("a directory");
    let builders =
        [("h1", Some("hangs")), ("h2", Some("hangs")), ("h3", Some("hangs")), ("asks", Some("agrees")), ("b", None)];
    let site = site(test, with_functions(&builders, &[("w", None)]), &[("w", 100)], &directory).await;
    for builder in ["h1", "h2", "h3"] {
        site.submit(builder, "1", 9).await;
    }
    site.run();
    let mut wanted = Vec::new();
    for revision in 0..5 {
        for builder in ["b", "asks"] {
            wanted.push(site.submit(builder, &revision.to_string(), 0).await);
        }
        let mut started = site.wait_for_started(wanted.len()).await;
        started.sort();
        assert_eq!(started, wanted);
    }
}

async fn who_has_to_think_keeps_its_place_unless_that_takes_long(test: &TestDb) {
    let directory = tempfile::tempdir().expect("a directory");
    let builders = [("asks", Some("agrees")), ("thinks", Some("thinks")), ("b", None)];
    let site = site(test, with_functions(&builders, &[("w", Some(1))]), &[("w", 1)], &directory).await;
    // The first answer needs a process; from then on they come at once.
    site.run();
    let first = site.submit("asks", "0", 0).await;
    assert_eq!(site.wait_for_started(1).await, [first]);
    // On a busy machine also an answer that comes at once may take long; not each of them.
    let (mut started, mut keeps_its_place) = (vec![first], false);
    for round in 1..=10 {
        let later = site.submit("b", &format!("{round}b"), 0).await;
        let urgent = site.submit("asks", &format!("{round}a"), 5).await;
        site.runner.finish_all(Results::Success);
        started = site.wait_for_started(started.len() + 1).await;
        keeps_its_place = started.last() == Some(&urgent);
        started.push(if keeps_its_place { later } else { urgent });
        site.runner.finish_all(Results::Success);
        assert_eq!(site.wait_for_started(started.len()).await, started);
        if keeps_its_place {
            break;
        }
    }
    assert!(keeps_its_place, "{started:?}");
    // What is chosen late is started all the same.
    let late = site.submit("thinks", "3", 0).await;
    started.push(late);
    site.runner.finish_all(Results::Success);
    assert_eq!(site.wait_for_started(started.len()).await, started);
}

async fn a_function_that_fails_is_counted_and_tried_again(test: &TestDb) {
    let directory = tempfile::tempdir().expect("a directory");
    let builders = [("bad", Some("fails")), ("b", None)];
    let site = site(test, with_functions(&builders, &[("w", None)]), &[("w", 100)], &directory).await;
    site.run();
    site.submit("bad", "1", 9).await;
    let good = site.submit("b", "1", 0).await;
    assert_eq!(site.wait_for_started(1).await, [good]);
    let failures = &site.master.parts.figures.function_failures;
    eventually("it was tried again", || async { (failures.with_label_values(&["bad"]).get() > 1).then_some(()) }).await;
    assert_eq!(site.runner.started(), [good]);
}

buildguild_db::on_both_databases!(
    a_function_that_hangs_holds_up_its_own_builder_only,
    who_has_to_think_keeps_its_place_unless_that_takes_long,
    a_function_that_fails_is_counted_and_tried_again,
);
