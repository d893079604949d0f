//! `buildguild wait`: follows a build to its end and exits by its result.
//!
//! It polls. A hint could be lost, a poll cannot, and a master that restarts in between is only a slow answer.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{
    Build, BuildRequest, Builder, Client, ClientError, ServerArgs, Step, execute, result_exit_code, result_name,
};
use super::report::{Report, duration};
use super::target::Target;

/// Wait for a build to end, and exit by its result
///
/// Exit codes: 0 success, warnings or skipped; 1 failure; 2 wrong usage; 3 the command itself had trouble;
/// 4 exception; 5 retry; 6 cancelled.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// A build id, BUILDER/NUMBER, request:ID, or the address of a build's page
    #[arg(value_name = "BUILD")]
    pub(crate) build: Target,
}

impl WaitArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// If the runtime cannot start; all else becomes an exit code.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        execute(run(&self))
    }
}

async fn run(args: &WaitArgs) -> Result<u8, ClientError> {
    let client = Client::connect(&args.server).await?;
    wait(&client, &args.build, &Report::new()).await
}

/// How often to look, and how long to bear with a master that does not answer.
pub(crate) struct Pace {
    begun: Instant,
    silent_since: Option<Instant>,
}

/// A master may be away this long (a restart, a failover) before the command gives up.
const PATIENCE: Duration = Duration::from_secs(120);

impl Pace {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), silent_since: None }
    }

    /// Waits until it is time to look again: soon at first, since most waits are short.
    pub(crate) async fn next(&self) {
        let pause = match self.begun.elapsed().as_secs() {
            0..10 => Duration::from_millis(200),
            10..60 => Duration::from_millis(500),
            _ => Duration::from_secs(1),
        };
        sleep(pause).await;
    }

    /// Passes answers through; a transient failure becomes `None` as long as there is patience.
    pub(crate) fn bear<T>(
        &mut self,
        report: &Report,
        answer: Result<T, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        match answer {
            Ok(value) => {
                self.silent_since = None;
                Ok(Some(value))
            }
            Err(error) if error.is_transient() => {
                let since = *self.silent_since.get_or_insert_with(|| {
                    report.warn(&format!("{error}; trying again for {} s", PATIENCE.as_secs()));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE { Err(error) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    }
}

/// Follows `target` to its end, and answers the exit code.
pub(crate) async fn wait(client: &Client, target: &Target, report: &Report) -> Result<u8, ClientError> {
    let mut pace = Pace::new();
    if let Target::Request(id) = target {
        return wait_for_request(client, *id, report, &mut pace).await;
    }
    let Some(build) = target.find_build(client).await? else {
        return Err(ClientError::Usage(format!("{target:?} has no build")));
    };
    let build = follow_build(client, build, report, &mut pace).await?;
    Ok(result_exit_code(build.results))
}

/// A request can have several builds: one that lost its worker or its master is built again.
async fn wait_for_request(client: &Client, id: i64, report: &Report, pace: &mut Pace) -> Result<u8, ClientError> {
    let text = id.to_string();
    let mut followed = BTreeSet::new();
    let mut said_waiting = false;
    // The first answer must come: an id that does not exist is an error at once, a master away is not.
    loop {
        let answer = client.one::<BuildRequest>(&["buildrequests", &text]).await;
        let Some(request) = pace.bear(report, answer)? else {
            pace.next().await;
            continue;
        };
        let answer = Target::Request(id).find_build(client).await;
        let Some(build) = pace.bear(report, answer)? else {
            pace.next().await;
            continue;
        };
        if let Some(build) = build
            && followed.insert(build.buildid)
        {
            follow_build(client, build, report, pace).await?;
            continue;
        }
        if request.complete {
            if followed.is_empty() {
                report.line(&format!("request {id}: {} without a build", result_name(request.results)))?;
            }
            return Ok(result_exit_code(request.results));
        }
        if !request.claimed && !said_waiting {
            said_waiting = true;
            let builder: Builder = client.one(&["builders", &request.builderid.to_string()]).await?;
            report.line(&format!("request {id}: waiting for a worker of {}", builder.name))?;
        }
        report.status(format!("request {id} waits for a worker"));
        pace.next().await;
    }
}

/// Follows a build, one line per step that ends, and answers it as it ended.
async fn follow_build(
    client: &Client,
    mut build: Build,
    report: &Report,
    pace: &mut Pace,
) -> Result<Build, ClientError> {
    let builder: Builder = client.one(&["builders", &build.builderid.to_string()]).await?;
    let name = format!("{} #{}", builder.name, build.number);
    let page = client.page(&format!("builders/{}/builds/{}", build.builderid, build.number));
    report.line(&format!("build {name} (id {}): {page}", build.buildid))?;
    let id = build.buildid.to_string();
    let mut said = BTreeSet::new();
    loop {
        // The build first: when it is complete, so are the steps that are read after it.
        let answer = client.one::<Build>(&["builds", &id]).await;
        let steps = client.list::<Step>(&["builds", &id, "steps"], &[]).await;
        let (Some(now), Some(steps)) = (pace.bear(report, answer)?, pace.bear(report, steps)?) else {
            pace.next().await;
            continue;
        };
        build = now;
        for step in steps.iter().filter(|step| step.complete && !step.hidden) {
            if said.insert(step.number) {
                report.line(&step_line(step))?;
            }
        }
        if build.complete {
            break;
        }
        let running = steps.iter().find(|step| step.started_at.is_some() && !step.complete);
        report.status(match running {
            Some(step) => format!("{name}: step {} {} ({})", step.number, step.name, step.state_string),
            None => format!("{name}: {}", build.state_string),
        });
        pace.next().await;
    }
    let took = build.complete_at.map_or(0, |at| at - build.started_at);
    report.line(&format!(
        "build {name}: {}, {}, {}",
        result_name(build.results),
        build.state_string,
        duration(took)
    ))?;
    Ok(build)
}

fn step_line(step: &Step) -> String {
    let took = match (step.started_at, step.complete_at) {
        (Some(from), Some(to)) => format!(", {}", duration(to - from)),
        _ => String::new(),
    };
    format!("  step {} {}: {}{took}", step.number, step.name, result_name(step.results))
}
