//! `buildguild cluster`: the masters of a cluster, and how one leaves it in order.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::client::{Client, ClientError, ServerArgs, execute};
use super::report::{Report, duration};

/// `buildguild cluster`
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show the masters: whether they live, what they run, and what waits.
    Status(Status),
    /// Let a master finish its builds, take no more, and end.
    Drain(Drain),
}

impl Cluster {
    /// Runs the command.
    ///
    /// # Errors
    /// If the runtime cannot start; all else becomes an exit code.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Status(status) => execute(async move { status.run().await }),
            Self::Drain(drain) => execute(async move { drain.run().await }),
        }
    }
}

/// `buildguild cluster status`
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    server: ServerArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `buildguild cluster drain`
#[derive(Debug, clap::Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    server: ServerArgs,
    /// The master's name or id.
    #[arg(value_name = "MASTER")]
    master: String,
    /// Why.
    #[arg(long, default_value = "drained from the command line")]
    reason: String,
    /// Return when the master has left, or after so many seconds with exit code 1.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// A master, as REST gives it. All but the first four are not Buildbot's.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Master {
    masterid: i64,
    name: String,
    active: bool,
    last_active: i64,
    epoch: Option<i64>,
    version: Option<String>,
    config_hash: Option<String>,
    draining_since: Option<i64>,
    draining_reason: Option<String>,
    expire_after: Option<i64>,
    outbox_depth: Option<i64>,
    outbox_since: Option<i64>,
    /// Sessions of workers.
    #[serde(default)]
    workers: usize,
    /// Builds that run there.
    #[serde(default)]
    builds: usize,
}

#[derive(Debug, Deserialize)]
struct Worker {
    connected_to: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    masterid: i64,
}

async fn masters(client: &Client) -> Result<Vec<Master>, ClientError> {
    client.list(&["masters"], &[]).await
}

impl Status {
    async fn run(&self) -> Result<u8, ClientError> {
        let client = Client::connect(&self.server).await?;
        let mut masters = masters(&client).await?;
        let workers: Vec<Worker> = client.list(&["workers"], &[("field", "connected_to".to_owned())]).await?;
        let fields = ["complete", "masterid"].map(|field| ("field", field.to_owned()));
        let running = [[("complete", "false".to_owned())].as_slice(), &fields].concat();
        let builds: Vec<Link> = client.list(&["builds"], &running).await?;
        let mut sessions: BTreeMap<i64, usize> = BTreeMap::new();
        for link in workers.iter().flat_map(|worker| &worker.connected_to) {
            *sessions.entry(link.masterid).or_default() += 1;
        }
        for master in &mut masters {
            master.workers = sessions.get(&master.masterid).copied().unwrap_or(0);
            master.builds = builds.iter().filter(|build| build.masterid == master.masterid).count();
        }
        let report = Report::new();
        if self.json {
            let text = serde_json::to_string_pretty(&json!({ "masters": masters, "configs_differ": differ(&masters) }));
            report.line(&text.map_err(std::io::Error::other)?)?;
            return Ok(0);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for line in table(&masters, i64::try_from(now).unwrap_or(i64::MAX)) {
            report.line(&line)?;
        }
        if differ(&masters) {
            report.warn(
                "the active masters run different versions of the farm config; run `buildguild reconfig` on each",
            );
        }
        Ok(0)
    }
}

/// Whether active masters have different versions of the farm config in force.
fn differ(masters: &[Master]) -> bool {
    let mut hashes = masters.iter().filter(|master| master.active).filter_map(|master| master.config_hash.as_ref());
    let first = hashes.next();
    hashes.any(|hash| Some(hash) != first)
}

/// Whether a master has missed check-ins, so that the others will soon declare it dead. Seen from the check-ins of the others:
/// those are times of the same clock, the database's.
fn is_silent(master: &Master, masters: &[Master]) -> bool {
    let latest = masters.iter().filter(|other| other.active).map(|other| other.last_active).max();
    let (Some(latest), Some(expire_after)) = (latest, master.expire_after) else { return false };
    (latest - master.last_active) * 4 >= expire_after * 3
}

/// One line for each master below a heading, in columns.
fn table(masters: &[Master], now: i64) -> Vec<String> {
    let heading = ["ID", "MASTER", "STATE", "EPOCH", "CHECK-IN", "VERSION", "CONFIG", "WORKERS", "BUILDS", "OUTBOX"];
    let mut rows = vec![heading.map(str::to_owned)];
    for master in masters {
        let state = match (master.active, is_silent(master, masters), master.draining_since) {
            (false, _, _) => "stopped",
            (true, true, _) => "silent",
            (true, false, Some(_)) => "draining",
            (true, false, None) => "active",
        };
        let outbox = match (master.outbox_depth.unwrap_or(0), master.outbox_since) {
            (0, _) | (_, None) => master.outbox_depth.unwrap_or(0).to_string(),
            // As of the check-in, which told both.
            (depth, Some(since)) => format!("{depth}, {} old", duration(master.last_active - since)),
        };
        let config = master.config_hash.as_deref().unwrap_or("-");
        rows.push([
            master.masterid.to_string(),
            master.name.clone(),
            state.to_owned(),
            master.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
            if master.last_active == 0 {
                "never".to_owned()
            } else {
                format!("{} ago", duration(now - master.last_active))
            },
            master.version.clone().unwrap_or_else(|| "-".to_owned()),
            config.chars().take(12).collect(),
            master.workers.to_string(),
            master.builds.to_string(),
            outbox,
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// How often to look whether the master has left.
const LOOK: Duration = Duration::from_millis(500);

impl Drain {
    async fn run(&self) -> Result<u8, ClientError> {
        let client = Client::connect(&self.server).await?;
        let all = masters(&client).await?;
        let master = find(&all, &self.master)?;
        let id = master.masterid.to_string();
        let params = Map::from_iter([("reason".to_owned(), Value::from(self.reason.as_str()))]);
        client.control(&["masters", &id], "drain", &params).await?;
        let report = Report::new();
        report.line(&format!("{} takes no more builds and leaves when its own have ended.", master.name))?;
        let Some(seconds) = self.wait else { return Ok(0) };
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            // The master that answers may be the one that leaves: then its silence is the answer.
            match masters(&client).await {
                Ok(now) if now.iter().any(|m| m.masterid == master.masterid && m.active && m.epoch == master.epoch) => {
                }
                Ok(_) => break,
                Err(error) if error.is_transient() => break,
                Err(error) => return Err(error),
            }
            if Instant::now() > deadline {
                report.warn(&format!("{} still finishes builds after {seconds} s", master.name));
                return Ok(1);
            }
            report.status(format!("waiting for {}", master.name));
            sleep(LOOK).await;
        }
        report.line(&format!("{} has left.", master.name))?;
        Ok(0)
    }
}

/// The master with that name or id.
fn find<'a>(masters: &'a [Master], wanted: &str) -> Result<&'a Master, ClientError> {
    let by_id = wanted.parse::<i64>().ok();
    masters.iter().find(|m| m.name == wanted).or_else(|| masters.iter().find(|m| Some(m.masterid) == by_id)).ok_or_else(
        || {
            let names: Vec<&str> = masters.iter().map(|m| m.name.as_str()).collect();
            ClientError::Usage(format!("there is no master `{wanted}`; there are {}", names.join(", ")))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(id: i64, config: &str) -> Master {
        Master {
            masterid: id,
            name: format!("ci-{id}"),
            active: true,
            last_active: 100,
            epoch: Some(3),
            version: Some("0.1.0".to_owned()),
            config_hash: Some(config.to_owned()),
            draining_since: None,
            draining_reason: None,
            expire_after: Some(20),
            outbox_depth: Some(0),
            outbox_since: None,
            workers: 2,
            builds: 1,
        }
    }

    #[test]
    fn masters_stand_in_columns() {
        let mut draining = master(2, "0123456789abcdef");
        draining.draining_since = Some(90);
        draining.outbox_depth = Some(12);
        draining.outbox_since = Some(41);
        let mut gone = master(11, "x");
        gone.active = false;
        gone.last_active = 0;
        let (mut late, mut silent) = (master(3, "abc"), master(4, "abc"));
        (late.last_active, silent.last_active) = (86, 85);
        assert_eq!(
            table(&[master(1, "abc"), draining, late, silent, gone], 102),
            [
                "ID  MASTER  STATE     EPOCH  CHECK-IN  VERSION  CONFIG        WORKERS  BUILDS  OUTBOX",
                "1   ci-1    active    3      2 s ago   0.1.0    abc           2        1       0",
                "2   ci-2    draining  3      2 s ago   0.1.0    0123456789ab  2        1       12, 59 s old",
                "3   ci-3    active    3      16 s ago  0.1.0    abc           2        1       0",
                "4   ci-4    silent    3      17 s ago  0.1.0    abc           2        1       0",
                "11  ci-11   stopped   3      never     0.1.0    x             2        1       0",
            ]
        );
    }

    #[test]
    fn only_active_masters_can_differ() {
        let mut other = master(2, "b");
        assert!(differ(&[master(1, "a"), other.clone()]));
        other.active = false;
        assert!(!differ(&[master(1, "a"), other]));
    }

    #[test]
    fn a_master_is_found_by_its_name_first() {
        let mut named = master(2, "a");
        named.name = "1".to_owned();
        let all = [master(1, "a"), named];
        assert_eq!(find(&all, "1").map(|m| m.masterid).ok(), Some(2));
        assert_eq!(find(&all, "ci-1").map(|m| m.masterid).ok(), Some(1));
        assert!(find(&all, "nobody").is_err());
    }
}
