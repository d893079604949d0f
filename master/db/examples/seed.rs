//! Fills a database with finished builds, for benchmarks: one build per line of JSON on standard input or in a file, as
//! the load harness's seed generator writes them.
//!
//! `cargo run --release -p buildguild-db --example seed -- <url> [<file>]`
//!
//! The rows are those that a master would have written, but they are written a few hundred builds at a time, in one
//! statement per table, with ids counted here. So no master may run on the database meanwhile. On PostgreSQL foreign keys
//! are not checked during the load, which is why it needs a superuser there.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};

use buildguild_db::logs::{Compression, Prepared};
use buildguild_db::sourcestamps::{self, NewSourceStamp};
use buildguild_db::{Db, DbBackend, DbOptions, Tx, builders, execute, fetch_one, workers};
use buildguild_types::ids::{BuilderId, SourceStampId, WorkerId};
use buildguild_types::time::Timestamp;
use sea_orm::{ConnectionTrait, Value};
use serde::Deserialize;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Builds per transaction: few enough that a statement's parameters stay below SQLite's limit of 32,766.
const BATCH: usize = 250;

#[derive(Deserialize)]
struct Build {
    builder: String,
    number: i64,
    worker: String,
    reason: String,
    submitted_at: i64,
    started_at: i64,
    complete_at: i64,
    results: i64,
    state_string: String,
    sourcestamp: Stamp,
    properties: BTreeMap<String, (serde_json::Value, String)>,
    steps: Vec<Step>,
}

#[derive(Clone, Deserialize, PartialEq, Eq, Hash)]
struct Stamp {
    branch: Option<String>,
    revision: Option<String>,
    codebase: String,
    project: String,
    repository: String,
}

#[derive(Deserialize)]
struct Step {
    number: i64,
    name: String,
    started_at: i64,
    complete_at: i64,
    results: i64,
    state_string: String,
    logs: Vec<Log>,
}

#[derive(Deserialize)]
struct Log {
    name: String,
    slug: String,
    #[serde(rename = "type")]
    kind: String,
    text: String,
}

/// A build whose logs are compressed already.
struct Ready {
    build: Build,
    logs: Vec<Vec<Prepared>>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("which database URL?")?;
    let input: Box<dyn Read + Send> = match arguments.next().as_deref() {
        None | Some("-") => Box::new(std::io::stdin()),
        Some(path) => Box::new(std::fs::File::open(path)?),
    };
    let db = Db::connect(&DbOptions::new(url)).await?;
    // Reading and compressing go on while the database works.
    let (sender, mut batches) = tokio::sync::mpsc::channel(4);
    let reader = tokio::task::spawn_blocking(move || read(BufReader::with_capacity(1 << 20, input), &sender));
    let mut loader = Loader::new(db).await?;
    while let Some(batch) = batches.recv().await {
        loader.load(batch).await?;
    }
    reader.await??;
    let builds = loader.finish().await?;
    println!("{builds} builds");
    Ok(())
}

fn read(input: impl BufRead, batches: &tokio::sync::mpsc::Sender<Vec<Ready>>) -> Result<(), Error> {
    let mut batch = Vec::with_capacity(BATCH);
    for (index, line) in input.lines().enumerate() {
        let build: Build = serde_json::from_str(&line?).map_err(|error| format!("line {}: {error}", index + 1))?;
        let prepare = |log: &Log| Prepared::new(&log.text, log.kind == "s", Compression::Zstd);
        let logs = build.steps.iter().map(|step| step.logs.iter().map(prepare).collect()).collect();
        batch.push(Ready { build, logs });
        if batch.len() == BATCH && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    // A receiver that is gone has failed already, and says so itself.
    let _ = batches.blocking_send(batch);
    Ok(())
}

/// The tables with generated ids, and the id given last.
const COUNTED: [&str; 6] = ["buildsets", "buildset_sourcestamps", "buildrequests", "builds", "steps", "logs"];

struct Loader {
    db: Db,
    master: i64,
    last: HashMap<&'static str, i64>,
    builders: HashMap<String, BuilderId>,
    workers: HashMap<String, WorkerId>,
    stamps: HashMap<Stamp, SourceStampId>,
    numbers: HashMap<BuilderId, i64>,
    builds: usize,
}

impl Loader {
    async fn new(db: Db) -> Result<Self, Error> {
        let master = fetch_one(db.read(), "SELECT id FROM masters ORDER BY id", vec![])
            .await?
            .ok_or("no master has run on this database yet")?
            .try_get("", "id")?;
        let mut last = HashMap::new();
        for table in COUNTED {
            let row = fetch_one(db.read(), format!("SELECT COALESCE(MAX(id), 0) AS id FROM {table}"), vec![]).await?;
            last.insert(table, row.ok_or("no row")?.try_get("", "id")?);
        }
        let (builders, workers, stamps, numbers) = Default::default();
        Ok(Self { db, master, last, builders, workers, stamps, numbers, builds: 0 })
    }

    fn next(&mut self, table: &'static str) -> i64 {
        let last = self.last.entry(table).or_default();
        *last += 1;
        *last
    }

    async fn load(&mut self, batch: Vec<Ready>) -> Result<(), Error> {
        self.builds += batch.len();
        let mut rows = Rows::default();
        for ready in &batch {
            self.name(&ready.build).await?;
            self.add(ready, &mut rows);
        }
        self.db
            .write(|tx| {
                let rows = rows.0.clone();
                async move {
                    if tx.get_database_backend() == DbBackend::Postgres {
                        tx.execute_unprepared("SET LOCAL session_replication_role = replica").await?;
                    }
                    for (table, columns) in TABLES {
                        insert(&tx, table, columns, rows.get(table).map_or(&[], Vec::as_slice)).await?;
                    }
                    Ok(())
                }
            })
            .await?;
        Ok(())
    }

    /// Looks up, or creates, what the build names.
    async fn name(&mut self, build: &Build) -> Result<(), Error> {
        if !self.builders.contains_key(&build.builder) {
            let id = {
                let name = &build.builder;
                self.db.write(|tx| async move { builders::find_id(&tx, name, true).await }).await?
            };
            self.builders.insert(build.builder.clone(), id);
        }
        if !self.workers.contains_key(&build.worker) {
            let id = {
                let name = &build.worker;
                self.db.write(|tx| async move { workers::find_id(&tx, name).await }).await?
            };
            self.workers.insert(build.worker.clone(), id);
        }
        if !self.stamps.contains_key(&build.sourcestamp) {
            let stamp = NewSourceStamp {
                branch: build.sourcestamp.branch.clone(),
                revision: build.sourcestamp.revision.clone(),
                codebase: build.sourcestamp.codebase.clone(),
                project: build.sourcestamp.project.clone(),
                repository: build.sourcestamp.repository.clone(),
                ..Default::default()
            };
            let now = micros(build.submitted_at);
            let created = self.db.write(|tx| {
                let stamp = stamp.clone();
                async move { sourcestamps::find_or_create(&tx, &stamp, Timestamp::from_micros(now)).await }
            });
            self.stamps.insert(build.sourcestamp.clone(), created.await?);
        }
        Ok(())
    }

    fn add(&mut self, ready: &Ready, rows: &mut Rows) {
        let build = &ready.build;
        let builder = self.builders[&build.builder];
        let worker = self.workers[&build.worker];
        let stamp = self.stamps[&build.sourcestamp];
        let [set, link, request, id] =
            ["buildsets", "buildset_sourcestamps", "buildrequests", "builds"].map(|table| self.next(table));
        let (submitted, started, complete) =
            (micros(build.submitted_at), micros(build.started_at), micros(build.complete_at));
        let number = self.numbers.entry(builder).or_default();
        *number = build.number.max(*number);
        let text = |text: &str| Value::from(text.to_owned());
        rows.push(
            "buildsets",
            [
                set.into(),
                text(&build.reason),
                submitted.into(),
                true.into(),
                complete.into(),
                build.results.into(),
                0_i64.into(),
            ],
        );
        rows.push("buildset_sourcestamps", [link.into(), set.into(), stamp.get().into()]);
        rows.push(
            "buildrequests",
            [
                request.into(),
                set.into(),
                builder.get().into(),
                true.into(),
                true.into(),
                complete.into(),
                build.results.into(),
                submitted.into(),
            ],
        );
        rows.push(
            "builds",
            [
                id.into(),
                build.number.into(),
                builder.get().into(),
                request.into(),
                worker.get().into(),
                self.master.into(),
                started.into(),
                complete.into(),
                text(&build.state_string),
                build.results.into(),
            ],
        );
        for (name, (value, source)) in &build.properties {
            rows.push("build_properties", [id.into(), text(name), text(&value.to_string()), text(source)]);
        }
        for (step, logs) in build.steps.iter().zip(&ready.logs) {
            let stepid = self.next("steps");
            rows.push(
                "steps",
                [
                    stepid.into(),
                    step.number.into(),
                    text(&step.name),
                    id.into(),
                    micros(step.started_at).into(),
                    micros(step.started_at).into(),
                    micros(step.complete_at).into(),
                    text(&step.state_string),
                    step.results.into(),
                ],
            );
            for (log, prepared) in step.logs.iter().zip(logs) {
                let logid = self.next("logs");
                rows.push(
                    "logs",
                    [
                        logid.into(),
                        text(&log.name),
                        text(&log.slug),
                        stepid.into(),
                        true.into(),
                        prepared.lines().into(),
                        text(&log.kind),
                    ],
                );
                let mut first = 0;
                for chunk in prepared.chunks() {
                    let last = first + chunk.lines - 1;
                    let content = Value::from(chunk.content.clone());
                    rows.push(
                        "logchunks",
                        [logid.into(), first.into(), last.into(), content, chunk.compression.id().into()],
                    );
                    first = last + 1;
                }
            }
        }
    }

    /// Sets the counters right, and lets the database look at what it has.
    async fn finish(self) -> Result<usize, Error> {
        let postgres = self.db.backend() == DbBackend::Postgres;
        let numbers = self.numbers.clone();
        self.db
            .write(|tx| {
                let numbers = numbers.clone();
                async move {
                    for (builder, number) in numbers {
                        let sql = "INSERT INTO builder_numbers (builderid, last_number) VALUES ($1, $2)
                                   ON CONFLICT (builderid) DO UPDATE SET last_number = excluded.last_number";
                        execute(&tx, sql, vec![builder.get().into(), number.into()]).await?;
                    }
                    for table in COUNTED.iter().filter(|_| postgres) {
                        let sql = format!(
                            "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT MAX(id) FROM {table}))"
                        );
                        fetch_one(&tx, sql, vec![]).await?;
                    }
                    Ok(())
                }
            })
            .await?;
        self.db.read().execute_unprepared(if postgres { "VACUUM ANALYZE" } else { "ANALYZE" }).await?;
        self.db.close().await;
        Ok(self.builds)
    }
}

/// The tables in the order of their references, and the columns that are written.
const TABLES: [(&str, &str); 8] = [
    ("buildsets", "id, reason, submitted_at, complete, complete_at, results, open_requests"),
    ("buildset_sourcestamps", "id, buildsetid, sourcestampid"),
    ("buildrequests", "id, buildsetid, builderid, claimed, complete, complete_at, results, submitted_at"),
    (
        "builds",
        "id, number, builderid, buildrequestid, workerid, masterid, started_at, complete_at, state_string, results",
    ),
    ("build_properties", "buildid, name, value, source"),
    ("steps", "id, number, name, buildid, started_at, locks_acquired_at, complete_at, state_string, results"),
    ("logs", "id, name, slug, stepid, complete, num_lines, type"),
    ("logchunks", "logid, first_line, last_line, content, compressed"),
];

/// The values to insert, of each table.
#[derive(Default)]
struct Rows(HashMap<&'static str, Vec<Value>>);

impl Rows {
    fn push<const N: usize>(&mut self, table: &'static str, row: [Value; N]) {
        self.0.entry(table).or_default().extend(row);
    }
}

async fn insert(tx: &Tx, table: &str, columns: &str, values: &[Value]) -> Result<(), buildguild_db::DbError> {
    let width = columns.split(',').count();
    // PostgreSQL takes 65,535 parameters, SQLite half of that.
    for part in values.chunks(30_000 / width * width) {
        let mut sql = format!("INSERT INTO {table} ({columns}) VALUES ");
        for row in 0..part.len() / width {
            let places: Vec<String> = (1..=width).map(|column| format!("${}", row * width + column)).collect();
            sql += &format!("{}({})", if row == 0 { "" } else { ", " }, places.join(", "));
        }
        execute(tx, sql, part.to_vec()).await?;
    }
    Ok(())
}

fn micros(seconds: i64) -> i64 {
    seconds * 1_000_000
}
