//! Programs of others that listen at RabbitMQ: they hear of everything, also when the master dies that hands it on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use integration::{Balancer, Broker, DEADLINE, Farm, Subscriber, TestCluster, wait_for};
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};

const EXCHANGE: &str = "buildguild.events";

/// What came: under each routing key, the ids of the events.
type Heard = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

/// A consumer with a queue of its own that is bound to everything.
struct Outsider {
    heard: Heard,
    // Its end ends the queue.
    _connection: Connection,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Outsider {
    async fn start(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?;
        let (name, bound) = (queue.name().clone(), QueueBindOptions::default());
        channel.queue_bind(name.clone(), EXCHANGE.into(), "#".into(), bound, FieldTable::default()).await?;
        let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut messages = channel.basic_consume(name, "".into(), no_ack, FieldTable::default()).await?;
        let heard = Heard::default();
        let into = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let message = message?;
                let id = message.properties.message_id().clone().context("an event's id")?.to_string();
                let headers = message.properties.headers().clone().context("headers")?;
                let Some(AMQPValue::LongString(main)) = headers.inner().get("main-key") else {
                    anyhow::bail!("no main key: {headers:?}")
                };
                let key = message.routing_key.to_string();
                // A build's main key names the build; the others name what it belongs to, and end alike.
                let main = main.to_string();
                ensure!(key.rsplit('.').next() == main.rsplit('.').next(), "{key} is no key of {main}");
                let parts: Vec<&str> = key.split('.').collect();
                if let ["builds", id, "new" | "finished"] = parts[..] {
                    let body: Value = serde_json::from_slice(&message.data)?;
                    ensure!(body["buildid"].as_u64() == id.parse().ok(), "{key}: {body}");
                }
                into.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().insert(id);
            }
            // Kept open as long as it listens.
            drop(channel);
            Ok(())
        });
        Ok(Self { heard, _connection: connection, task })
    }

    fn heard(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The index of the master that hands events on.
fn forwarder(cluster: &TestCluster) -> Result<Option<usize>> {
    let sql = "SELECT m.name FROM leases l JOIN masters m ON m.id = l.masterid AND m.epoch = l.epoch AND m.active
               WHERE l.name = 'event-forwarder'";
    let name = cluster.database.sql(sql)?;
    Ok(cluster.masters.iter().position(|master| master.name == name.trim()))
}

#[tokio::test(flavor = "multi_thread")]
async fn outsiders_hear_of_every_build_although_the_forwarders_master_is_killed() -> Result<()> {
    let mut cluster = TestCluster::builder()
        .broker(Broker::RabbitMq)
        .one_farm()
        .quick_to_notice()
        .start(|_| {
            Ok(Farm::new().worker("w").builder("b", "w", &["steps.ShellCommand(command='sleep 0.2; echo x')"]).text())
        })
        .await?;
    let outsider = Outsider::start(&cluster.broker.url().context("RabbitMQ")?).await?;
    let first = wait_for("one master hands events on", DEADLINE, async || forwarder(&cluster)).await?;
    let rest = cluster.masters[1 - first].rest()?;
    // The worker and its builds are on the master that is killed.
    let ports = [first, 1 - first].map(|index| cluster.masters[index].worker_port());
    let balancer = Balancer::start(&ports).await?;
    let _worker = cluster.add_native_worker(balancer.port(), "w", "secret")?;
    cluster.worker_connected(&rest, "w").await?;
    // An insider at the other one, to compare with.
    let insider = Subscriber::start(&[cluster.masters[1 - first].web_port()]);
    wait_for("a WebSocket", DEADLINE, async || Ok((insider.connections() > 0).then_some(()))).await?;

    let mut requests = Vec::new();
    for _ in 0..12 {
        requests.push(rest.force("b", json!({})).await?);
    }
    wait_for("builds are under way", DEADLINE, async || {
        Ok((rest.list("builds?complete=true").await?.len() >= 3).then_some(()))
    })
    .await?;
    ensure!(forwarder(&cluster)? == Some(first), "the lease stayed where it was");
    cluster.masters[first].kill()?;
    for request in &requests {
        let builds = rest.builds_of_completed(*request).await.map_err(|error| error.context(cluster.all_logs()))?;
        let results: Vec<i64> = builds.iter().filter_map(|build| build["results"].as_i64()).collect();
        ensure!(results.iter().filter(|result| **result != 5).eq([&0]), "request {request}: {results:?}");
    }
    // If all was built before the kill, its death is still to be noticed.
    wait_for("the other one hands on", DEADLINE, async || Ok(forwarder(&cluster)?.filter(|index| *index != first)))
        .await?;

    let mut expected = BTreeSet::new();
    let builds = rest.list("builds").await?;
    ensure!(builds.len() >= requests.len(), "{builds:?}");
    for build in &builds {
        for verb in ["new", "finished"] {
            expected.insert(format!("builds.{}.{verb}", build["buildid"]));
            expected.insert(format!("builders.{}.builds.{}.{verb}", build["builderid"], build["number"]));
        }
    }
    for request in &requests {
        expected.insert(format!("buildrequests.{request}.new"));
        expected.insert(format!("buildrequests.{request}.complete"));
    }
    let missing = || {
        let heard = outsider.heard();
        expected.iter().filter(|key| !heard.contains_key(*key)).cloned().collect::<Vec<_>>()
    };
    wait_for("the outsider hears of all", DEADLINE, async || Ok(missing().is_empty().then_some(())))
        .await
        .map_err(|error| error.context(format!("missing: {:?}\n{}", missing(), cluster.all_logs())))?;
    // Whatever the insider heard, too.
    wait_for("nothing is only for insiders", DEADLINE, async || {
        let heard = outsider.heard();
        Ok(insider.keys().iter().all(|key| heard.contains_key(&key.replace('/', "."))).then_some(()))
    })
    .await?;
    ensure!(insider.resets().is_empty(), "{:?}", insider.resets());
    // Twice is once: what came again has the same id, so that an end is one event.
    for (key, ids) in outsider.heard() {
        let once = key.ends_with(".finished") || key.ends_with(".complete");
        ensure!(!once || ids.len() == 1, "{key}: {ids:?}");
    }
    ensure!(!outsider.task.is_finished(), "the outsider found something wrong");
    Ok(())
}
