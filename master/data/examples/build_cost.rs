//! What the records of a trivial build cost: runs builds without workers, as the engine records them, and prints the time
//! and the CPU of this process per build (and of PostgreSQL, given the process id of its postmaster).
//!
//! `cargo run --release -p buildguild-data --example build_cost -- <url> [<postmaster pid>]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_adapters::memory::MemoryLog;
use buildguild_data::membership::{Membership, Timing};
use buildguild_data::{Data, DataParts, StartBuild, StepBegin, StepEnd, relay};
use buildguild_db::buildsets::{NewBuildset, StampRef};
use buildguild_db::logs::{Compression, Prepared};
use buildguild_db::sourcestamps::NewSourceStamp;
use buildguild_db::{Db, DbError, DbOptions, builders, buildrequests, workers};
use buildguild_types::ids::{BuilderId, WorkerId};
use buildguild_types::properties::Properties;
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;
use buildguild_types::time::SystemClock;
use tokio_util::sync::CancellationToken;

const STREAMS: usize = 50;
const BUILDS: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("which database URL?")?;
    let postmaster: Option<u32> = arguments.next().map(|pid| pid.parse()).transpose()?;
    let db = Db::connect(&DbOptions::new(url)).await?;
    db.upgrade().await?;
    let bell = relay::RelayBell::default();
    let timing = Timing { check_in_interval: Duration::from_secs(5), expire_after: Duration::from_secs(20) };
    let member = Membership::join(db.clone(), "build-cost", timing, bell.clone()).await?;
    let log = Arc::new(MemoryLog::new(100_000));
    let data = Data::new(DataParts {
        db: db.clone(),
        log: log.clone(),
        clock: Arc::new(SystemClock),
        owner: member.owner(),
        bell: bell.clone(),
    });
    let stop = CancellationToken::new();
    let publisher = tokio::spawn(relay::run(db.clone(), log, member.owner(), bell, stop.clone()));
    let builder = db.write(|tx| async move { builders::find_id(&tx, "cost", true).await }).await?;
    let worker = db.write(|tx| async move { workers::find_id(&tx, "cost").await }).await?;
    one_build(&data, builder, worker).await?;

    let (cpu, server, start) = (cpu_of(std::process::id()), postmaster.map(cpu_of_tree), Instant::now());
    let streams: Vec<_> = (0..STREAMS)
        .map(|_| {
            let data = data.clone();
            tokio::spawn(async move {
                for _ in 0..BUILDS {
                    one_build(&data, builder, worker).await?;
                }
                Ok::<_, DbError>(())
            })
        })
        .collect();
    for stream in streams {
        stream.await??;
    }
    let builds = (STREAMS * BUILDS) as f64;
    let elapsed = start.elapsed();
    println!("{builds} builds in {elapsed:?}: {:.0} builds/s", builds / elapsed.as_secs_f64());
    println!("CPU per build: this process {:.2} ms", (cpu_of(std::process::id()) - cpu) * 1000.0 / builds);
    if let (Some(pid), Some(before)) = (postmaster, server) {
        println!("CPU per build: PostgreSQL {:.2} ms", (cpu_of_tree(pid) - before) * 1000.0 / builds);
    }
    stop.cancel();
    publisher.await?;
    member.leave().await?;
    Ok(())
}

async fn one_build(data: &Data, builder: BuilderId, worker: WorkerId) -> Result<(), DbError> {
    let mut properties = Properties::new();
    for name in ["scheduler", "reason", "owner"] {
        properties.set(name, "some text", "Force Build Form");
    }
    let new = &NewBuildset {
        sourcestamps: vec![StampRef::New(NewSourceStamp::default())],
        reason: "A build was forced".to_owned(),
        properties: properties.clone(),
        builders: vec![builder],
        ..NewBuildset::default()
    };
    let (_, requests) = data.update(|u| async move { u.add_buildset(new).await }).await?;
    let request = requests[0].buildrequestid;
    buildrequests::claimable(data.db().read(), builder, 10).await?;
    data.update(|u| async move { u.claim_build_requests(&[request]).await }).await?;
    for number in 0..12 {
        properties.set(format!("property{number}"), number, "Build");
    }
    let properties = &properties;
    let number = data.reserve_build_number(builder).await?;
    let (build, step) = data
        .update(|u| async move {
            let start = StartBuild { builder, request, worker, state_string: "pinging worker" };
            let build = u.add_build_numbered(&start, number).await?.buildid;
            u.set_build_plan(build, "hash", "{\"version\":1,\"steps\":[]}").await?;
            let step = u.begin_step(build, "worker_preparation", StepBegin::Prepared).await?;
            u.announce_build_start(build, properties).await?;
            Ok((build, step.stepid))
        })
        .await?;
    let end = &StepEnd { results: Results::Success, hidden: false, state_string: Some("worker ready") };
    data.update(|u| async move {
        u.finish_step(step, end).await?;
        u.set_build_state_string(build, "building").await
    })
    .await?;
    let (step, log) = data
        .update(|u| async move {
            let step = u.begin_step(build, "shell", StepBegin::Runs).await?.stepid;
            Ok((step, u.add_log(step, "stdio", "stdio", LogKind::Stream).await?.logid))
        })
        .await?;
    let content = &Prepared::new("hin dir\noa line\noanother\nhexit 0\n", true, Compression::Zstd);
    data.update(|u| async move {
        u.append_log(step, log, content, None).await?;
        u.finish_step(step, end).await?;
        u.set_build_state_string(build, "building").await
    })
    .await?;
    data.update(|u| async move { u.finish_build(build, Results::Success, Some("build successful")).await }).await?;
    Ok(())
}

/// Seconds of CPU that a process and all below it have used.
fn cpu_of_tree(root: u32) -> f64 {
    let mut total = cpu_of(root);
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && field(pid, 1).is_some_and(|parent| parent == f64::from(root))
        {
            total += cpu_of(pid);
        }
    }
    total
}

/// Seconds of CPU that a process has used (at 100 clock ticks per second, as on every Linux in use).
fn cpu_of(pid: u32) -> f64 {
    (field(pid, 11).unwrap_or(0.0) + field(pid, 12).unwrap_or(0.0)) / 100.0
}

/// A field of `/proc/<pid>/stat`, counted behind the command's name.
fn field(pid: u32, index: usize) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)?.parse().ok()
}
