//! What every broker's adapter has to do when something happens to its server. A server is killed and wiped here, so each
//! run has its own.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use broker_adapters::{
    BrokerError, BrokerOptions, Cursor, EventLog, MemoryGenerations, Received, SubscribeError, Subscription, open,
};
use futures::StreamExt;
use test_servers::TlsFiles;

use crate::contract::{event, number, read, subscribe};

/// A server that a test may harm.
pub(crate) trait Server: Send + 'static {
    /// The URL of its log.
    fn url(&self) -> String;
    /// The same over TLS.
    fn tls_url(&self) -> String;
    /// The URL with a password that is not right, which is `wrong-secret`.
    fn wrong_url(&self) -> String;
    /// Ends it, as roughly as it can stand.
    fn kill(&mut self);
    /// Starts it again.
    fn restart(&mut self);
    /// Removes all that it holds.
    fn wipe(&mut self);
}

/// How long anything may take: a RabbitMQ alone is given four minutes to start.
const PATIENCE: Duration = Duration::from_secs(480);

/// A certificate for `localhost` that is its own authority.
pub(crate) fn certificate(directory: &Path) -> TlsFiles {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let path = |name: &str| -> PathBuf { directory.join(name) };
    std::fs::write(path("cert.pem"), certified.cert.pem()).expect("writes");
    std::fs::write(path("key.pem"), certified.signing_key.serialize_pem()).expect("writes");
    TlsFiles { certificate: path("cert.pem"), key: path("key.pem"), authority: path("cert.pem") }
}

/// The pause between two attempts: a server that starts needs the processor more than we do.
async fn pause() {
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    interval.tick().await;
    interval.tick().await;
}

async fn until_published(log: &Arc<dyn EventLog>, n: usize) {
    let event = event(n);
    let publishing = async {
        while let Err(error) = log.publish(vec![event.clone()]).await {
            assert!(error.is_transient(), "{error}");
            pause().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, publishing).await.is_ok(), "{n} was published in time");
}

/// Reads as a replica does: on any trouble again from the last cursor. Ends when `last` was read; also with what the
/// broker said if that is that nothing is retained.
async fn follow(log: Arc<dyn EventLog>, from: Cursor, last: usize) -> (Vec<Received>, Cursor) {
    let (mut all, mut place) = (Vec::new(), from);
    let reading = async {
        loop {
            let mut subscription = match log.subscribe(Some(place.clone())).await {
                Ok(subscription) => subscription,
                Err(SubscribeError::NotRetained) => panic!("nothing was lost, so nothing is refused"),
                Err(_) => {
                    pause().await;
                    continue;
                }
            };
            while let Some(Ok(batch)) = subscription.events.next().await {
                for received in batch {
                    place = received.cursor.clone();
                    let is_last = number(&received) == last;
                    all.push(received);
                    if is_last {
                        return;
                    }
                }
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reading).await.is_ok(), "{last} was read in time");
    (all, place)
}

/// The subscription's end, whatever comes before it.
async fn end_of(mut subscription: Subscription) -> SubscribeError {
    let reading = async {
        loop {
            match subscription.events.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("the stream ends with an error"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it ends in time")
}

/// Killed and started again: nothing is lost. Wiped: everyone is told, and the log goes on in a new generation.
pub(crate) async fn outlives_its_broker(mut server: impl Server) {
    let generations = Arc::new(MemoryGenerations::default());
    let options = BrokerOptions::new(server.url());
    let log = open(&options, generations.clone()).expect("opens");
    let other = open(&options, generations.clone()).expect("opens");
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    let start = reader.start.clone();
    log.publish(vec![event(1), event(2)]).await.expect("publishes");
    assert_eq!(read(&mut reader, 2).await.len(), 2);

    server.kill();
    assert!(matches!(end_of(reader).await, SubscribeError::Unavailable(_)), "an outage is told as such");
    assert!(matches!(log.publish(vec![event(3)]).await, Err(BrokerError::Unavailable(_))));
    assert!(matches!(log.subscribe(Some(start.clone())).await, Err(SubscribeError::Unavailable(_))));
    // Both publish and read all the time while the server comes back.
    let following = tokio::spawn(follow(Arc::clone(&log), start.clone(), 99));
    let publishing = tokio::spawn(async move {
        for n in 3..100 {
            until_published(&other, n).await;
        }
        other
    });
    let mut server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    })
    .await
    .expect("restarts");
    let other = publishing.await.expect("publishes");
    let (all, place) = following.await.expect("reads");
    let numbers: HashSet<usize> = all.iter().map(number).collect();
    assert_eq!(numbers, (1..100).collect(), "nothing is lost");
    let ids: HashSet<_> = all.iter().filter(|r| number(r) > 3).map(|r| (number(r), r.event.event_id)).collect();
    assert_eq!(ids.len(), 96, "what came twice has one id");

    // Wiped: whoever publishes first has the others agree on a new log.
    let reader = subscribe(&*log, None).await.expect("subscribes");
    server = tokio::task::spawn_blocking(move || {
        server.wipe();
        server
    })
    .await
    .expect("wipes");
    let end = end_of(reader);
    until_published(&other, 100).await;
    drop(end.await);
    let resumed = follow_until_told(&log, place).await;
    assert!(matches!(resumed, SubscribeError::NotRetained), "{resumed}");
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    assert_ne!(reader.start.generation(), start.generation(), "a wiped log is another log");
    until_published(&other, 101).await;
    until_published(&log, 102).await;
    // One that was not confirmed in time comes twice.
    let mut got = Vec::new();
    while !got.contains(&102) {
        got.extend(read(&mut reader, 1).await.iter().map(number));
    }
    got.dedup();
    assert_eq!(got, [101, 102], "both replicas are in the new log");
    drop(server);
}

/// Subscribes at a place until the broker answers that it cannot.
async fn follow_until_told(log: &Arc<dyn EventLog>, place: Cursor) -> SubscribeError {
    let asking = async {
        loop {
            match log.subscribe(Some(place.clone())).await {
                Ok(_) => panic!("nothing of the old log is there"),
                Err(SubscribeError::NotRetained) => return SubscribeError::NotRetained,
                Err(_) => pause().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("an answer in time")
}

/// Over TLS with the right authority; not without it, and not with a wrong password, which no message shows.
pub(crate) async fn checks_certificates_and_passwords(server: &impl Server, files: &TlsFiles) {
    let options = |url: String| BrokerOptions::new(url);
    let mut good = options(server.tls_url());
    good.authorities = Some(std::fs::read_to_string(&files.authority).expect("reads"));
    let log = open(&good, Arc::new(MemoryGenerations::default())).expect("opens");
    let mut reader = subscribe(&*log, None).await.expect("subscribes");
    log.publish(vec![event(1)]).await.expect("publishes");
    assert_eq!(number(&read(&mut reader, 1).await[0]), 1);
    for bad in [options(server.tls_url()), options(server.wrong_url())] {
        let log = open(&bad, Arc::new(MemoryGenerations::default())).expect("opens");
        let Err(error @ BrokerError::Unavailable(_)) = log.publish(vec![event(2)]).await else {
            panic!("it is not let in")
        };
        assert!(!format!("{error:?}").contains("wrong-secret"), "{error:?}");
        assert!(matches!(log.subscribe(None).await, Err(SubscribeError::Unavailable(_))));
    }
}
