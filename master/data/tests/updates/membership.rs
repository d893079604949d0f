//! Joining, checking in, being declared dead.

use std::sync::Arc;
use std::time::Duration;

use buildguild_data::membership::{JoinError, Membership, Timing, check_broker};
use buildguild_data::relay::RelayBell;
use buildguild_db::Owner;
use buildguild_db::masters::{self, Report};
use buildguild_db::test_support::TestDb;
use futures::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A machine that is busy may let a process wait for seconds: nobody is to stop its work for that.
const TIMING: Timing = Timing { check_in_interval: Duration::from_secs(1), expire_after: Duration::from_secs(6) };
const SOON: Duration = Duration::from_secs(60);

/// A process of a master that checks in until it is stopped.
struct Process {
    membership: Arc<Membership>,
    expired: Arc<Notify>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), JoinError>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Process {
    async fn start(test: &TestDb, name: &str) -> Result<Self, JoinError> {
        Self::start_with(test, name, TIMING).await
    }

    async fn start_with(test: &TestDb, name: &str, timing: Timing) -> Result<Self, JoinError> {
        let membership = Arc::new(Membership::join(test.db.clone(), name, timing, RelayBell::default()).await?);
        let (expired, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let (member, notify, token) = (Arc::clone(&membership), Arc::clone(&expired), stop.clone());
        let task = tokio::spawn(async move { member.run(token, move || notify.notify_one()).await });
        Ok(Self { membership, expired, stop, task })
    }

    fn owner(&self) -> watch::Receiver<Option<Owner>> {
        self.membership.owner()
    }
}

async fn is_active(test: &TestDb, owner: Owner) -> bool {
    let pulses = masters::pulses(test.db.read()).await.unwrap();
    pulses.iter().any(|pulse| pulse.owner == owner && pulse.active)
}

async fn a_second_process_is_refused_while_the_first_lives(test: &TestDb) {
    let first = Process::start(test, "one").await.unwrap();
    let second = timeout(SOON, Process::start(test, "one")).await.unwrap();
    assert!(matches!(second, Err(JoinError::NameInUse(_))));
    assert!(is_active(test, first.owner().borrow().unwrap()).await);
}

async fn a_process_that_stops_checking_in_is_declared_dead_and_succeeded(test: &TestDb) {
    let silent = Process::start(test, "one").await.unwrap();
    let owner = silent.owner().borrow().unwrap();
    let watcher = Process::start(test, "two").await.unwrap();
    silent.stop.cancel();
    timeout(SOON, watcher.expired.notified()).await.unwrap();
    assert!(!is_active(test, owner).await);
    assert!(is_active(test, watcher.owner().borrow().unwrap()).await, "who checks in stays");
    let next = timeout(SOON, Process::start(test, "one")).await.unwrap().unwrap();
    let next = next.owner().borrow().unwrap();
    assert_eq!(next.master_id, owner.master_id);
    assert!(next.epoch > owner.epoch);
}

async fn a_death_is_noticed_when_it_is_due_not_at_the_next_check_in(test: &TestDb) {
    let timing = Timing { check_in_interval: Duration::from_secs(4), expire_after: Duration::from_secs(13) };
    let silent = Process::start_with(test, "one", timing).await.unwrap();
    silent.stop.cancel();
    let began = std::time::Instant::now();
    let watcher = Process::start_with(test, "two", timing).await.unwrap();
    timeout(SOON, watcher.expired.notified()).await.unwrap();
    let elapsed = began.elapsed();
    assert!(elapsed >= timing.expire_after, "{elapsed:?}");
    assert!(elapsed < timing.check_in_interval * 4, "{elapsed:?}: it waited for its next check-in");
}

async fn a_process_that_was_declared_dead_stops_its_work_and_joins_again(test: &TestDb) {
    let process = Process::start(test, "one").await.unwrap();
    let mut owners = process.owner();
    let first = owners.borrow_and_update().unwrap();
    test.db.write(|tx| async move { masters::deactivate(&tx, first, None).await }).await.unwrap().unwrap();
    let again = timeout(SOON, owners.wait_for(|owner| owner.is_some_and(|owner| owner != first))).await;
    let again = again.unwrap().unwrap().unwrap();
    assert!(again.epoch > first.epoch);
    assert!(is_active(test, again).await);
}

async fn a_process_that_was_replaced_while_it_was_paused_leaves_its_name_to_the_other(test: &TestDb) {
    let mut first = Process::start(test, "one").await.unwrap();
    let owner = first.owner().borrow().unwrap();
    let replaced = test.db.write(|tx| async move {
        masters::deactivate(&tx, owner, None).await?;
        masters::register(&tx, owner.master_id, "another", None).await
    });
    let other = replaced.await.unwrap();
    let lives = async {
        let mut ticks = tokio::time::interval(TIMING.check_in_interval);
        loop {
            ticks.tick().await;
            let told = test.db.write(|tx| async move { masters::report(&tx, other, &Report::default()).await });
            told.await.expect("it keeps its name");
        }
    };
    let ended = tokio::select! {
        ended = timeout(SOON, &mut first.task) => ended.unwrap().unwrap(),
        () = lives => unreachable!("it checks in for ever"),
    };
    assert!(matches!(ended, Err(JoinError::NameInUse(_))), "{ended:?}");
    assert!(is_active(test, other).await);
}

async fn masters_that_differ_in_their_expiry_leave_each_other_alive(test: &TestDb) {
    // Between two of its check-ins the other one would expire.
    let slow = Timing { check_in_interval: Duration::from_secs(6), expire_after: Duration::from_secs(18) };
    let quick = Timing { check_in_interval: Duration::from_secs(1), expire_after: Duration::from_secs(5) };
    let slow = Process::start_with(test, "slow", slow).await.unwrap();
    timeout(SOON, async {
        while masters::pulses(test.db.read()).await.unwrap()[0].expire_after.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let quick = Process::start_with(test, "quick", quick).await.unwrap();
    both_live_on(test, [&slow, &quick].map(|process| process.owner().borrow().unwrap())).await;
}

async fn a_master_with_another_kind_of_broker_is_refused_while_the_others_live(test: &TestDb) {
    let first = Process::start(test, "one").await.unwrap();
    first.membership.tell_broker("Redis");
    timeout(SOON, async {
        while masters::pulses(test.db.read()).await.unwrap()[0].broker.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    check_broker(&test.db, "two", "Redis", TIMING).await.unwrap();
    let refused = timeout(SOON, check_broker(&test.db, "two", "memory", TIMING)).await.unwrap().unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("\"one\"") && said.contains("\"Redis\"") && said.contains("\"memory\""), "{said}");
    first.stop.cancel();
    timeout(SOON, check_broker(&test.db, "two", "memory", TIMING)).await.unwrap().unwrap();
}

async fn a_process_that_leaves_is_succeeded_at_once(test: &TestDb) {
    let first = Process::start(test, "one").await.unwrap();
    let owner = first.owner().borrow().unwrap();
    first.stop.cancel();
    first.membership.leave().await.unwrap();
    assert!(!is_active(test, owner).await);
    let began = std::time::Instant::now();
    Process::start(test, "one").await.unwrap();
    assert!(began.elapsed() < TIMING.expire_after, "nobody has to be watched");
}

async fn a_process_that_left_does_not_join_again(test: &TestDb) {
    let process = Process::start(test, "one").await.unwrap();
    let id = process.owner().borrow().unwrap().master_id;
    process.membership.leave().await.unwrap();
    let began = std::time::Instant::now();
    while began.elapsed() < TIMING.check_in_interval * 3 {
        let pulses = masters::pulses(test.db.read()).await.unwrap();
        assert!(pulses.iter().all(|pulse| pulse.owner.master_id != id || !pulse.active), "{pulses:?}");
        tokio::time::sleep(TIMING.check_in_interval / 2).await; // polls
    }
}

async fn a_process_that_cannot_count_its_events_is_not_declared_dead(test: &TestDb) {
    let (busy, watcher) = (Process::start(test, "one").await.unwrap(), Process::start(test, "two").await.unwrap());
    let owners = [&busy, &watcher].map(|process| process.owner().borrow().unwrap());
    let rename = test
        .db
        .write(|tx| async move { buildguild_db::execute(&tx, "ALTER TABLE outbox RENAME TO elsewhere", vec![]).await });
    rename.await.unwrap();
    both_live_on(test, owners).await;
}

async fn both_live_on(test: &TestDb, owners: [Owner; 2]) {
    let began = std::time::Instant::now();
    while began.elapsed() < TIMING.expire_after + TIMING.check_in_interval * 2 {
        for owner in owners {
            assert!(is_active(test, owner).await, "after {:?}", began.elapsed());
        }
        tokio::time::sleep(TIMING.check_in_interval).await; // polls
    }
}

buildguild_db::on_both_databases!(
    a_second_process_is_refused_while_the_first_lives,
    a_process_that_stops_checking_in_is_declared_dead_and_succeeded,
    a_death_is_noticed_when_it_is_due_not_at_the_next_check_in,
    a_process_that_was_declared_dead_stops_its_work_and_joins_again,
    a_process_that_was_replaced_while_it_was_paused_leaves_its_name_to_the_other,
    masters_that_differ_in_their_expiry_leave_each_other_alive,
    a_master_with_another_kind_of_broker_is_refused_while_the_others_live,
    a_process_that_leaves_is_succeeded_at_once,
    a_process_that_left_does_not_join_again,
    a_process_that_cannot_count_its_events_is_not_declared_dead,
);

/// The table is huge, say, or somebody changes it: only PostgreSQL can be made to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_events_take_long_to_count_is_not_declared_dead() {
    let test = TestDb::postgres().await.unwrap();
    let (busy, watcher) = (Process::start(&test, "one").await.unwrap(), Process::start(&test, "two").await.unwrap());
    let owners = [&busy, &watcher].map(|process| process.owner().borrow().unwrap());
    while_locked(&test, "LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE", both_live_on(&test, owners)).await;
}

/// The others may declare it dead at seventeen seconds, and the check-in that is due at eight may take as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_check_in_hangs_is_fenced_before_others_may_declare_it_dead() {
    let test = TestDb::postgres().await.unwrap();
    let timing = Timing { check_in_interval: Duration::from_secs(8), expire_after: Duration::from_secs(17) };
    let process = Process::start_with(&test, "one", timing).await.unwrap();
    let began = std::time::Instant::now();
    let fenced = async {
        process.owner().wait_for(Option::is_none).await.unwrap();
        let elapsed = began.elapsed();
        assert!(elapsed < timing.check_in_interval * 2, "{elapsed:?}: it waited for its check-in");
    };
    while_locked(&test, "LOCK TABLE masters IN ACCESS EXCLUSIVE MODE", fenced).await;
}

/// It was paused in the midst of a transaction, say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_declare_another_dead_goes_on_checking_in() {
    let test = TestDb::postgres().await.unwrap();
    let silent = Process::start(&test, "one").await.unwrap();
    silent.stop.cancel();
    let watcher = Process::start(&test, "two").await.unwrap();
    let owner = watcher.owner().borrow().unwrap();
    let checkins = async || {
        let pulses = masters::pulses(test.db.read()).await.unwrap();
        pulses.into_iter().find(|pulse| pulse.owner == owner && pulse.active).expect("it lives").checkins
    };
    let began = std::time::Instant::now();
    let lives = async {
        // The death is due after six seconds, and nothing is waited for longer than one.
        while began.elapsed() < TIMING.expire_after * 2 {
            tokio::time::sleep(TIMING.check_in_interval).await; // polls
        }
        let before = checkins().await;
        while checkins().await == before {
            tokio::time::sleep(TIMING.check_in_interval).await; // polls
        }
        assert_eq!(watcher.owner().borrow().unwrap(), owner, "it was never fenced");
    };
    while_locked(&test, "SELECT id FROM masters WHERE name = 'one' FOR UPDATE", lives).await;
    timeout(SOON, watcher.expired.notified()).await.unwrap();
}

/// Waits for `watch`, while somebody holds what `sql` locks.
async fn while_locked(test: &TestDb, sql: &str, watch: impl Future<Output = ()>) {
    let (locked, done) = (Notify::new(), Notify::new());
    let (locked, done) = (&locked, &done);
    let lock = test.db.write(|tx| async move {
        // It is idle for longer than the server allows.
        buildguild_db::execute(&tx, "SET LOCAL idle_in_transaction_session_timeout = 0", vec![]).await?;
        buildguild_db::execute(&tx, sql, vec![]).await?;
        locked.notify_one();
        done.notified().await;
        Ok(())
    });
    let watch = async {
        locked.notified().await;
        watch.await;
        done.notify_one();
    };
    let (outcome, ()) = timeout(SOON, async { tokio::join!(lock, watch) }).await.unwrap();
    outcome.unwrap();
}

/// One hundred of them, with the connections of a single one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_masters_only_the_dead_are_declared_dead() {
    // The defaults.
    let timing = Timing { check_in_interval: Duration::from_secs(5), expire_after: Duration::from_secs(20) };
    let test = TestDb::postgres().await.unwrap();
    let names: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    let started = join_all(names.iter().map(|name| Process::start_with(&test, name, timing))).await;
    let mut living: Vec<Process> = started.into_iter().map(Result::unwrap).collect();
    let dead: Vec<Owner> = living.drain(..10).map(|process| process.owner().borrow().unwrap()).collect();
    let owners: Vec<Owner> = living.iter().map(|process| process.owner().borrow().unwrap()).collect();
    let began = std::time::Instant::now();
    let declared = timeout(SOON * 3, async {
        loop {
            let pulses = masters::pulses(test.db.read()).await.unwrap();
            let active = |owner: &Owner| pulses.iter().any(|pulse| pulse.owner == *owner && pulse.active);
            assert!(owners.iter().all(active), "after {:?} one that lives was declared dead", began.elapsed());
            if !dead.iter().any(active) {
                return pulses;
            }
            tokio::time::sleep(Duration::from_millis(200)).await; // polls
        }
    });
    let pulses = declared.await.unwrap();
    let counters = pulses.iter().filter(|pulse| pulse.active).map(|pulse| pulse.checkins);
    assert!(counters.min() >= Some(2), "{pulses:?}");
    // Ninety noticed it, and each death is told once.
    let sql = "SELECT count(*) AS n FROM outbox WHERE events LIKE '%/stopped%'";
    let row = buildguild_db::fetch_one(test.db.read(), sql, vec![]).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i64>("", "n").unwrap(), 10);
}
