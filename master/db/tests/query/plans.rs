//! The plans of the queries that every page makes: served by an index, and by the same whether there are few builds or
//! many. `BUILDGUILD_TEST_BUILDS` sets how many are many.

use std::collections::BTreeSet;

use buildguild_db::query::{self, BuildRef, BuilderRef, Resource, Scope, resources as r};
use buildguild_db::test_support::TestDb;
use buildguild_db::{execute, fetch_all, fetch_one};
use buildguild_types::spec::{Filter, FilterOp, OrderBy, ResultSpec};

/// Builds of a small farm.
const FEW: i64 = 5_000;

/// Builds of a large one, unless the environment says otherwise.
const MANY: i64 = 100_000;

struct Page {
    what: &'static str,
    resource: &'static Resource,
    scopes: Vec<Scope>,
    spec: ResultSpec,
}

fn page(what: &'static str, resource: &'static Resource, scopes: Vec<Scope>, order: &str, limit: u64) -> Page {
    let order = match order.strip_prefix('-') {
        _ if order.is_empty() => vec![],
        Some(field) => vec![OrderBy { field: field.to_owned(), descending: true }],
        None => vec![OrderBy { field: order.to_owned(), descending: false }],
    };
    Page { what, resource, scopes, spec: ResultSpec { order, limit: Some(limit), ..ResultSpec::default() } }
}

impl Page {
    fn then(mut self, order: &str) -> Self {
        self.spec.order.push(OrderBy { field: order.trim_start_matches('-').to_owned(), descending: true });
        self
    }

    fn with(mut self, field: &str, value: &str) -> Self {
        self.spec.filters.push(Filter { field: field.to_owned(), op: FilterOp::Eq, values: vec![value.to_owned()] });
        self
    }
}

fn pages() -> Vec<Page> {
    let builder = || vec![Scope::Builder("builderid", BuilderRef::Id(7))];
    vec![
        page("the latest builds", &r::BUILDS, vec![], "-buildid", 50),
        page("the builds started last", &r::BUILDS, vec![], "-started_at", 50),
        page("the builds that ended last", &r::BUILDS, vec![], "-complete_at", 50),
        page("the complete builds that ended last", &r::BUILDS, vec![], "-complete_at", 20).with("complete", "true"),
        page("the buildsets submitted last", &r::BUILDSETS, vec![], "-submitted_at", 50),
        page("the requests submitted last", &r::BUILDREQUESTS, vec![], "-submitted_at", 50),
        page("the running builds", &r::BUILDS, vec![], "-buildid", 50).with("complete", "false"),
        page("a builder's builds", &r::BUILDS, builder(), "-number", 50),
        page("a builder's builds by id", &r::BUILDS, builder(), "-buildid", 50),
        page("a builder's builds in default order", &r::BUILDS, builder(), "", 50),
        page("a worker's builds", &r::BUILDS, vec![Scope::Id("workerid", 3)], "-buildid", 50),
        page("a build", &r::BUILDS, vec![Scope::Id("buildid", 4_000)], "", 1),
        page(
            "a build by number",
            &r::BUILDS,
            vec![Scope::Build("buildid", BuildRef::Number(BuilderRef::Id(7), 9))],
            "",
            1,
        ),
        page("a request's builds", &r::BUILDS, vec![Scope::Id("buildrequestid", 4_000)], "", 50),
        page("a build's steps", &r::STEPS, vec![Scope::Build("buildid", BuildRef::Id(4_000))], "", 500),
        page("the pending requests", &r::BUILDREQUESTS, vec![], "", 50).with("claimed", "false"),
        page("the pending requests by priority", &r::BUILDREQUESTS, vec![], "-priority", 50)
            .with("claimed", "false")
            .then("-submitted_at"),
        page("the open requests", &r::BUILDREQUESTS, vec![], "-buildrequestid", 50).with("complete", "false"),
        page("a builder's pending requests", &r::BUILDREQUESTS, builder(), "-priority", 50)
            .with("complete", "false")
            .with("claimed", "false"),
        page("a builder's requests", &r::BUILDREQUESTS, builder(), "-buildrequestid", 50),
        page("the latest buildsets", &r::BUILDSETS, vec![], "-bsid", 50),
        page("the open buildsets", &r::BUILDSETS, vec![], "-bsid", 50).with("complete", "false"),
        page("the latest changes", &r::CHANGES, vec![], "-changeid", 50),
    ]
}

/// What waits is a small part of the requests, and changes fast. With statistics that say that nothing waits, those who
/// wait are sorted; so the database must look again after some hundred changes, not after a tenth of the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_of_requests_follow_the_queue() {
    let test = TestDb::postgres().await.expect("a PostgreSQL database");
    let sql = "SELECT array_to_string(reloptions, ',') AS options FROM pg_class WHERE oid = 'buildrequests'::regclass";
    let row = fetch_one(test.db.read(), sql, vec![]).await.expect("reads").expect("a row");
    let options: Option<String> = row.try_get("", "options").expect("text");
    let options = options.expect("the table has options of its own");
    assert!(options.contains("autovacuum_analyze_scale_factor=0"), "{options}");
    assert!(options.contains("autovacuum_analyze_threshold=500"), "{options}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_use_indexes_and_do_not_change_with_size() {
    let many = std::env::var("BUILDGUILD_TEST_BUILDS").ok().and_then(|many| many.parse().ok()).unwrap_or(MANY);
    let test = TestDb::postgres().await.expect("a PostgreSQL database");
    fill(&test, 1, FEW).await;
    let few_plans = plans(&test).await;
    fill(&test, FEW + 1, many).await;
    let many_plans = plans(&test).await;
    let mut complaints = String::new();
    for ((page, few), many) in pages().iter().zip(few_plans).zip(many_plans) {
        let scans = ["builds", "steps", "buildrequests", "buildsets", "changes", "logs"]
            .iter()
            .any(|table| many.contains(&format!("Seq Scan on {table}")));
        // Reading the whole primary key until a builder's rows turn up is a scan, too.
        let filtered = many.contains("Filter: (builderid") || many.contains("Filter: (workerid");
        if scans || filtered || many.contains("Sort") || indexes(&few) != indexes(&many) {
            complaints.push_str(&format!("{}:\nfew:\n{few}\nmany:\n{many}\n\n", page.what));
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_sorts_nothing_either() {
    let test = TestDb::sqlite().await.expect("a SQLite database");
    let mut complaints = String::new();
    for page in pages() {
        let plan = explain(&test, &page, "EXPLAIN QUERY PLAN", 3).await;
        // A scan without an index is in the order of ids; it ends at the limit unless a filter drops most rows.
        let scans = plan.lines().any(|line| line.starts_with("SCAN") && !line.contains("INDEX"));
        if plan.contains("TEMP B-TREE") || scans && !page.spec.filters.is_empty() {
            complaints.push_str(&format!("{}:\n{plan}\n\n", page.what));
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

/// The indexes that a plan uses. How it joins two of them, or whether it sorts the few rows that one gives, may differ.
fn indexes(plan: &str) -> BTreeSet<&str> {
    plan.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(" using ").or_else(|| line.split_once("Bitmap Index Scan on "))?;
            rest.split_whitespace().next()
        })
        .collect()
}

/// The shapes of the plans: nodes and indexes, without estimates.
async fn plans(test: &TestDb) -> Vec<String> {
    let mut plans = Vec::new();
    for page in pages() {
        plans.push(explain(test, &page, "EXPLAIN (COSTS OFF)", 0).await);
    }
    plans
}

/// A page's plan; `column` is where the database puts the text.
async fn explain(test: &TestDb, page: &Page, how: &str, column: usize) -> String {
    let statement = query::statement(test.db.backend(), page.resource, &page.scopes, &page.spec).expect("a statement");
    let values = statement.values.map(|values| values.0).unwrap_or_default();
    let rows = fetch_all(test.db.read(), format!("{how} {}", statement.sql), values).await.expect("explains");
    let lines: Vec<String> = rows.iter().map(|row| row.try_get_by_index(column).expect("a line of the plan")).collect();
    lines.join("\n")
}

/// Builds `first` to `last` with their requests, buildsets, changes and three steps each; the last few are open.
async fn fill(test: &TestDb, first: i64, last: i64) {
    // The rows are right by construction; checking a million references would only take time.
    let mut sql = vec!["SET LOCAL session_replication_role = replica".to_owned()];
    if first == 1 {
        sql.extend([
            "INSERT INTO masters (id, name, name_hash, active, last_active) VALUES (1, 'm', 'm', TRUE, 0)".to_owned(),
            "INSERT INTO sourcestamps (id, ss_hash, repository, codebase, project, created_at)
             VALUES (1, 'h', '', '', '', 0)"
                .to_owned(),
            "INSERT INTO builders (id, name, name_hash) SELECT n, 'b' || n, 'b' || n FROM generate_series(1, 20) n"
                .to_owned(),
            "INSERT INTO workers (id, name, info) SELECT n, 'w' || n, '{}' FROM generate_series(1, 50) n".to_owned(),
        ]);
    } else {
        sql.push("UPDATE builds SET complete_at = started_at + 5, results = 0 WHERE complete_at IS NULL".to_owned());
        sql.push("UPDATE buildrequests SET claimed = TRUE, complete = TRUE WHERE NOT complete".to_owned());
        sql.push("UPDATE buildsets SET complete = TRUE WHERE NOT complete".to_owned());
    }
    let series = format!("generate_series({first}::bigint, {last}::bigint) n");
    let open = last - 2_000;
    sql.push(format!(
        "INSERT INTO buildsets (id, reason, submitted_at, complete, complete_at, results, open_requests)
         SELECT n, 'because', n * 1000000, n <= {open}, n * 1000000, 0, 0 FROM {series}"
    ));
    sql.push(format!(
        "INSERT INTO changes (changeid, author, comments, when_timestamp, repository, codebase, project, sourcestampid)
         SELECT n, 'ann', 'work', n * 1000000, '', '', '', 1 FROM {series}"
    ));
    sql.push(format!(
        "INSERT INTO buildrequests (id, buildsetid, builderid, claimed, complete, complete_at, results, submitted_at)
         SELECT n, n, n % 20 + 1, n <= {open}, n <= {open}, n * 1000000, 0, n * 1000000 FROM {series}"
    ));
    sql.push(format!(
        "INSERT INTO buildrequest_claims (brid, masterid, epoch, claimed_at)
         SELECT n, 1, 1, n * 1000000 FROM {series} WHERE n <= {open}"
    ));
    sql.push(format!(
        "INSERT INTO builds (id, number, builderid, buildrequestid, workerid, masterid, started_at, complete_at,
             state_string, results)
         SELECT n, n / 20 + 1, n % 20 + 1, n, n % 50 + 1, 1, n * 1000000,
             CASE WHEN n <= {open} THEN n * 1000000 + 5 END, 'build successful', CASE WHEN n <= {open} THEN 0 END
         FROM {series}"
    ));
    sql.push(format!(
        "INSERT INTO steps (id, number, name, buildid, started_at, complete_at, state_string, results)
         SELECT n * 3 + k, k, 'step' || k, n, n * 1000000, n * 1000000, 'done', 0
         FROM {series}, generate_series(0, 2) k"
    ));
    let sql = &sql;
    test.db
        .write(|tx| async move {
            for statement in sql {
                execute(&tx, statement.as_str(), vec![]).await?;
            }
            Ok(())
        })
        .await
        .expect("fills the tables");
    test.db.write(|tx| async move { execute(&tx, "ANALYZE", vec![]).await }).await.expect("gathers statistics");
}
