//! Tables full of small, colliding and missing values.

use buildguild_db::execute;
use buildguild_db::test_support::TestDb;

/// Fills the tables that collections come from.
pub(crate) async fn fill(test: &TestDb) {
    let statements = statements();
    let statements = &statements;
    test.db
        .write(|tx| async move {
            for statement in statements {
                execute(&tx, statement.as_str(), vec![]).await?;
            }
            Ok(())
        })
        .await
        .expect("fills the tables");
}

/// Texts whose order and case matter.
const TEXTS: [&str; 8] = ["", "a", "B", "b", "ab%", "a_", "ü", "z z"];

fn text(number: usize) -> String {
    format!("'{}'", TEXTS[number % TEXTS.len()])
}

fn maybe(number: usize, value: impl std::fmt::Display) -> String {
    if number.is_multiple_of(3) { "NULL".to_owned() } else { value.to_string() }
}

fn seconds(number: usize) -> i64 {
    1_700_000_000_000_000 + i64::try_from(number % 7).unwrap_or(0) * 1_000_000
}

fn statements() -> Vec<String> {
    let mut sql = Vec::new();
    for (id, name, active) in [(1, "one", "TRUE"), (2, "two", "TRUE"), (3, "gone", "FALSE")] {
        sql.push(format!(
            "INSERT INTO masters (id, name, name_hash, active, last_active) VALUES ({id}, '{name}', '{name}', {active}, {})",
            seconds(id)
        ));
    }
    sql.push("INSERT INTO projects (id, name, name_hash, slug) VALUES (1, 'p', 'p', 'p')".to_owned());
    for (id, tag) in TEXTS.iter().enumerate().skip(1) {
        sql.push(format!("INSERT INTO tags (id, name, name_hash) VALUES ({id}, '{tag}', '{tag}')"));
    }
    for id in 1..=6_usize {
        let project = maybe(id, 1);
        let description = maybe(id + 1, text(id));
        sql.push(format!(
            "INSERT INTO builders (id, name, name_hash, description, projectid)
             VALUES ({id}, 'b{id}', 'b{id}', {description}, {project})"
        ));
        for master in 1..=3 {
            if (id + master) % 2 == 0 {
                sql.push(format!("INSERT INTO builder_masters (builderid, masterid) VALUES ({id}, {master})"));
            }
        }
        for tag in 1..TEXTS.len() {
            if (id * tag) % 4 == 1 {
                sql.push(format!("INSERT INTO builders_tags (builderid, tagid) VALUES ({id}, {tag})"));
            }
        }
    }
    for id in 1..=5_usize {
        let paused = if id % 2 == 0 { "TRUE" } else { "FALSE" };
        let reason = maybe(id, text(id));
        sql.push(format!(
            "INSERT INTO workers (id, name, info, paused, pause_reason, graceful)
             VALUES ({id}, 'w{id}', '{{\"version\": \"4.3\"}}', {paused}, {reason}, FALSE)"
        ));
        sql.push(format!("INSERT INTO configured_workers (buildermasterid, workerid) VALUES ({id}, {id})"));
    }
    for id in 1..=6_usize {
        sql.push(format!(
            "INSERT INTO sourcestamps (id, ss_hash, branch, revision, repository, codebase, project, created_at)
             VALUES ({id}, 'h{id}', {}, {}, {}, {}, {}, {})",
            maybe(id, text(id)),
            maybe(id + 1, text(id + 3)),
            text(id / 2),
            text(id / 3),
            text(id),
            seconds(id)
        ));
    }
    for id in 1..=12_usize {
        let parent = maybe(id, 1);
        let parent = if id == 1 { "NULL" } else { &parent };
        sql.push(format!(
            "INSERT INTO changes (changeid, author, committer, comments, branch, revision, revlink, when_timestamp,
                 category, repository, codebase, project, sourcestampid, parent_changeids)
             VALUES ({id}, {}, {}, {}, {}, {}, NULL, {}, {}, {}, {}, {}, {}, {parent})",
            text(id),
            maybe(id, text(id + 1)),
            text(id * 3),
            maybe(id + 1, text(id + 2)),
            maybe(id + 2, text(id)),
            seconds(id),
            maybe(id, text(id)),
            text(id / 2),
            text(id / 3),
            text(id),
            id % 6 + 1
        ));
        for position in 0..id % 4 {
            sql.push(format!(
                "INSERT INTO change_files (changeid, position, filename) VALUES ({id}, {position}, {})",
                text(id + position)
            ));
        }
    }
    sql.push(
        "INSERT INTO change_properties (changeid, property_name, property_value) VALUES (3, 'ticket', '[42, \"Change\"]')"
            .to_owned(),
    );
    for id in 1..=5_usize {
        let complete = if id % 2 == 0 { "TRUE" } else { "FALSE" };
        sql.push(format!(
            "INSERT INTO buildsets (id, external_idstring, reason, submitted_at, complete, complete_at, results,
                 open_requests)
             VALUES ({id}, {}, {}, {}, {complete}, {}, {}, 0)",
            maybe(id, text(id)),
            text(id),
            seconds(id),
            maybe(id + 1, seconds(id + 2)),
            maybe(id + 1, id % 7)
        ));
        for stamp in 0..id % 3 {
            sql.push(format!(
                "INSERT INTO buildset_sourcestamps (buildsetid, sourcestampid) VALUES ({id}, {})",
                (id + stamp) % 6 + 1
            ));
        }
    }
    sql.push(
        "INSERT INTO buildset_properties (buildsetid, property_name, property_value)
         VALUES (1, 'scheduler', '[\"force\", \"Scheduler\"]'), (1, 'x', '[1, \"Form\"]')"
            .to_owned(),
    );
    for id in 1..=20_usize {
        let claimed = id % 3 != 0;
        let complete = claimed && id % 2 == 0;
        sql.push(format!(
            "INSERT INTO buildrequests (id, buildsetid, builderid, priority, claimed, complete, complete_at, results,
                 submitted_at, waited_for)
             VALUES ({id}, {}, {}, {}, {claimed}, {complete}, {}, {}, {}, {})",
            id % 5 + 1,
            id % 6 + 1,
            id % 3,
            if complete { seconds(id).to_string() } else { "NULL".to_owned() },
            if complete { (id % 7).to_string() } else { "NULL".to_owned() },
            seconds(id + 1),
            id % 4 == 0
        ));
        if claimed {
            sql.push(format!(
                "INSERT INTO buildrequest_claims (brid, masterid, epoch, claimed_at) VALUES ({id}, {}, 1, {})",
                id % 2 + 1,
                seconds(id)
            ));
        }
    }
    for id in 1..=40_usize {
        let complete = id % 5 != 0;
        sql.push(format!(
            "INSERT INTO builds (id, number, builderid, buildrequestid, workerid, masterid, started_at, complete_at,
                 state_string, results)
             VALUES ({id}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
            id.div_ceil(6),
            id % 6 + 1,
            id % 20 + 1,
            maybe(id + 1, id % 5 + 1),
            id % 2 + 1,
            seconds(id),
            if complete { seconds(id + 3).to_string() } else { "NULL".to_owned() },
            text(id),
            if complete { (id % 7).to_string() } else { "NULL".to_owned() },
        ));
        if id % 2 == 0 {
            sql.push(format!(
                "INSERT INTO build_properties (buildid, name, value, source)
                 VALUES ({id}, 'revision', '\"r{id}\"', 'Build'), ({id}, 'branch', 'null', 'Build')"
            ));
        }
    }
    for id in 1..=30_usize {
        let hidden = id % 4 == 0;
        sql.push(format!(
            "INSERT INTO steps (id, number, name, buildid, started_at, complete_at, state_string, results, urls_json,
                 hidden)
             VALUES ({id}, {}, 'step{id}', {}, {}, {}, {}, {}, '[{{\"name\": \"n\", \"url\": \"u\"}}]', {hidden})",
            (id - 1) % 3,
            (id - 1) / 3 + 1,
            maybe(id, seconds(id)),
            maybe(id + 1, seconds(id + 1)),
            text(id),
            maybe(id + 1, id % 7)
        ));
        sql.push(format!(
            "INSERT INTO logs (id, name, slug, stepid, complete, num_lines, type)
             VALUES ({id}, {}, 's{id}', {id}, {hidden}, {}, 's')",
            text(id),
            id % 9
        ));
    }
    sql
}
