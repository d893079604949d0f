//! Membership: this process's epoch, its check-ins, and the watch over the others.
//!
//! No clock is compared with another machine's. A master shows that it lives by advancing a counter; another declares it
//! dead only after it has itself watched that counter stand still for `expire_after` of its own uninterrupted contact
//! with the database. So an outage of the database kills nobody. A master that cannot check in fences itself on its own
//! monotonic clock before the others may declare it dead, and joins again under a new epoch when it can.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use buildguild_db::masters::{Pulse, Report};
use buildguild_db::{Db, DbError, Owner, masters, outbox};
use buildguild_types::event::{Event, EventKey};
use buildguild_types::ids::MasterId;
use buildguild_types::resources::Master;
use buildguild_types::time::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::relay::RelayBell;

/// The timing of a cluster. Where masters differ, whoever is watched is given the longer of the two times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a master advances its counter.
    pub check_in_interval: Duration,
    /// How long a counter must stand still before its master is declared dead.
    pub expire_after: Duration,
}

impl Timing {
    /// When a master that cannot check in stops on its own: well before anybody may declare it dead, also if its last
    /// check-in was committed only just before the connection was lost.
    fn fence_after(self) -> Duration {
        self.expire_after.saturating_sub(self.check_in_interval)
    }
}

/// Why a process cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Another process lives under this name.
    #[error("another process runs as master {0:?}: it checks in while this one waits to join")]
    NameInUse(String),
    /// A living master hears of the others through another kind of broker: each of the two would hear half of the events.
    #[error(
        "master {name:?} has a broker of the kind {theirs:?}, this one {ours:?}: all masters of a cluster need the same \
         broker.url; to change it, stop them all"
    )]
    OtherBroker {
        /// The master.
        name: String,
        /// Its kind of broker.
        theirs: String,
        /// This process's.
        ours: String,
    },
    /// The database failed.
    #[error("join the cluster")]
    Database(#[from] DbError),
}

/// A member of the cluster: one process under one name.
#[derive(Debug)]
pub struct Membership {
    db: Db,
    name: String,
    /// This process, in all its epochs.
    instance: String,
    timing: Timing,
    bell: RelayBell,
    owner: watch::Sender<Option<Owner>>,
    /// What the check-ins tell of this process.
    about: Mutex<About>,
    /// It has left: a check-in that finds the epoch ended must not join again.
    left: CancellationToken,
}

/// What a check-in tells.
#[derive(Clone, Debug, Default)]
struct About {
    config_hash: Option<String>,
    version: Option<String>,
    broker: Option<String>,
    /// The events that waited when they were last counted: transactions, and the time of the oldest.
    backlog: (i64, Option<Timestamp>),
}

/// What has been seen of another master.
struct Seen {
    pulse: Pulse,
    since: Instant,
}

impl Membership {
    /// Registers this process under `name` with a new epoch.
    ///
    /// If the name belongs to a process that may still live, its counter is watched: a dead one is succeeded, a living
    /// one is an error. A process that ended in order, or one of this machine that is gone, is succeeded at once.
    ///
    /// # Errors
    /// [`JoinError::NameInUse`], or what the database reported.
    pub async fn join(db: Db, name: &str, timing: Timing, bell: RelayBell) -> Result<Self, JoinError> {
        let (owner, _) = watch::channel(None);
        let (about, left) = (Mutex::default(), CancellationToken::new());
        let (name, instance) = (name.to_owned(), Instance::current().to_string());
        let membership = Self { db, name, instance, timing, bell, owner, about, left };
        membership.register().await?;
        Ok(membership)
    }

    /// Who this process is to the database; nothing while it may not write.
    pub fn owner(&self) -> watch::Receiver<Option<Owner>> {
        self.owner.subscribe()
    }

    /// Says which program this is; told with the next check-in.
    pub fn tell_version(&self, version: &str) {
        self.about().version = Some(version.to_owned());
    }

    /// Says which version of the farm config is in force; told with the next check-in.
    pub fn tell_config(&self, hash: &str) {
        self.about().config_hash = Some(hash.to_owned());
    }

    /// Says through which kind of broker it hears of the others; told with the next check-in.
    pub fn tell_broker(&self, kind: &str) {
        self.about().broker = Some(kind.to_owned());
    }

    /// How many transactions of this process had events that waited to be published, when they were last counted, and since
    /// when the oldest of them did.
    pub fn backlog(&self) -> (i64, Option<Timestamp>) {
        self.about().backlog
    }

    fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers under a new epoch. This process succeeds itself at once. Another that has its name may live, also when this
    /// one was there before: it was paused, and replaced meanwhile.
    async fn register(&self) -> Result<(), JoinError> {
        let (id, before) = self.look().await?;
        let before = match before {
            Some(pulse) if pulse.active && pulse.instance != self.instance => self.wait_until_dead(id, pulse).await?,
            other => other,
        };
        let (instance, name) = (self.instance.clone(), self.name.clone());
        let joined = self
            .db
            .write(|tx| {
                let (instance, before) = (instance.clone(), before.clone());
                async move {
                    let owner = masters::register(&tx, id, &instance, before.as_ref()).await?;
                    let master = masters::get(&tx, id).await?.ok_or(DbError::NotFound("master"))?;
                    outbox::insert(&tx, owner, &[event(&master, "started")?]).await?;
                    Ok(owner)
                }
            })
            .await;
        match joined {
            Ok(owner) => {
                tracing::info!(master.id = %owner.master_id, epoch = owner.epoch, "joined the cluster as {name}");
                self.owner.send_replace(Some(owner));
                self.bell.ring();
                Ok(())
            }
            Err(DbError::AlreadyClaimed) => Err(JoinError::NameInUse(name)),
            Err(error) => Err(error.into()),
        }
    }

    async fn look(&self) -> Result<(MasterId, Option<Pulse>), DbError> {
        let name = self.name.clone();
        let id = self
            .db
            .write(|tx| {
                let name = name.clone();
                async move { masters::find_id(&tx, &name).await }
            })
            .await?;
        let pulse = masters::pulses(self.db.read()).await?.into_iter().find(|pulse| pulse.owner.master_id == id);
        Ok((id, pulse))
    }

    /// Watches the counter of the process that has our name.
    async fn wait_until_dead(&self, id: MasterId, mut pulse: Pulse) -> Result<Option<Pulse>, JoinError> {
        let mut since = Instant::now();
        let (mut told, mut first) = (false, true);
        while !is_gone(&pulse) && since.elapsed() < self.patience(&pulse) {
            if !told {
                tracing::info!("{} was active under another process; watching whether that lives", self.name);
                told = true;
            }
            tokio::time::sleep(self.timing.check_in_interval.min(Duration::from_secs(1))).await;
            let now = masters::pulses(self.db.read()).await?.into_iter().find(|pulse| pulse.owner.master_id == id);
            match now {
                Some(now) if now.active && now == pulse => {}
                // One advance may have been under way when its process died; a second one is life.
                Some(now) if now.active && first && now.owner == pulse.owner => {
                    first = false;
                    pulse = now;
                    since = Instant::now();
                }
                Some(now) if now.active => return Err(JoinError::NameInUse(self.name.clone())),
                other => return Ok(other),
            }
        }
        Ok(Some(pulse))
    }

    /// For how long the counter of a master has to stand still before this process takes it for dead.
    fn patience(&self, pulse: &Pulse) -> Duration {
        pulse.expire_after.unwrap_or_default().max(self.timing.expire_after)
    }

    /// Checks in, watches the others, fences and rejoins, until `stop` or [`Membership::leave`]. `expired` is called after
    /// another master was declared dead: housekeeping is due.
    ///
    /// When this process is fenced, [`Membership::owner`] says `None` until it has joined again.
    ///
    /// # Errors
    /// [`JoinError::NameInUse`] if this process was replaced while it could not check in: it has no place any more.
    pub async fn run(&self, stop: CancellationToken, expired: impl Fn() + Send) -> Result<(), JoinError> {
        let living = async {
            tokio::select! {
                lived = self.live(&stop, expired) => lived,
                () = self.count(&stop) => Ok(()),
            }
        };
        self.left.run_until_cancelled(living).await.unwrap_or(Ok(()))
    }

    /// Counts the events that wait, for the next check-in to tell, until `stop`. Apart from the check-ins: a table that is
    /// huge or locked is no reason to be taken for dead. An answer is waited for, however long it takes: a question that was
    /// given up would keep its connection, and the next one take another.
    async fn count(&self, stop: &CancellationToken) {
        let counting = async {
            loop {
                let owner = *self.owner.borrow();
                if let Some(owner) = owner {
                    match outbox::backlog(self.db.read(), owner).await {
                        Ok(backlog) => self.about().backlog = backlog,
                        Err(error) => tracing::debug!(%error, "failed to count the events that wait"),
                    }
                }
                tokio::time::sleep(self.timing.check_in_interval).await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(counting).await;
    }

    async fn live(&self, stop: &CancellationToken, expired: impl Fn() + Send) -> Result<(), JoinError> {
        let mut last_success = Instant::now();
        let mut others: HashMap<MasterId, Seen> = HashMap::new();
        let mut ticks = tokio::time::interval(self.timing.check_in_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let fence_at = last_success + self.timing.fence_after();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // Before another check-in, which may hang as well.
                () = tokio::time::sleep_until(fence_at.into()), if self.is_active() => {
                    self.fence("no check-in succeeded for too long");
                    continue;
                }
                _ = ticks.tick() => {}
                // When a death is due, not at the check-in after it: that would be up to an interval later.
                () = until(self.next_expiry(&others)) => {}
            }
            let allowed = self.timing.check_in_interval.max(Duration::from_secs(1));
            let began = Instant::now();
            // An answer that comes after the fence must not be taken for life, and the fence does not wait for one.
            let mut deadline = began + allowed;
            if self.is_active() {
                deadline = deadline.min(fence_at);
            }
            let contact = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                contact = tokio::time::timeout_at(deadline.into(), self.check_in()) => contact,
            };
            match contact {
                Ok(Ok(pulses)) => {
                    // Two looks further apart than this are no uninterrupted contact.
                    if last_success.elapsed() > self.timing.check_in_interval * 2 + allowed {
                        others.clear();
                    }
                    last_success = began;
                    // Somebody may have locked the row of one that is dead: that is to cost nobody else its life.
                    let deadline = (Instant::now() + allowed).min(last_success + self.timing.fence_after());
                    let watching = self.watch_others(&mut others, pulses);
                    match tokio::time::timeout_at(deadline.into(), watching).await {
                        Ok(true) => expired(),
                        Ok(false) => {}
                        Err(_) => tracing::warn!("declaring others dead took too long; trying again"),
                    }
                }
                Ok(Err(DbError::EpochEnded)) => {
                    self.fence("this master was declared dead");
                    others.clear();
                    let Some(joined) = stop.run_until_cancelled(self.register()).await else { return Ok(()) };
                    match joined {
                        Ok(()) => last_success = Instant::now(),
                        Err(error @ JoinError::NameInUse(_)) => return Err(error),
                        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "cannot join again yet"),
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "cannot check in"),
                Err(_) => tracing::warn!("the check-in took too long"),
            }
        }
    }

    /// When the next master could be declared dead, if its counter goes on standing still. A moment that has passed is
    /// none: if the look that was due then failed, the next check-in looks again.
    fn next_expiry(&self, others: &HashMap<MasterId, Seen>) -> Option<Instant> {
        let now = Instant::now();
        others.values().map(|seen| seen.since + self.patience(&seen.pulse)).filter(|due| *due > now).min()
    }

    fn is_active(&self) -> bool {
        self.owner.borrow().is_some()
    }

    fn fence(&self, why: &str) {
        if let Some(owner) = self.owner.send_replace(None) {
            tracing::warn!(master.id = %owner.master_id, epoch = owner.epoch, "stopping all work: {why}");
        }
    }

    /// Advances the counter and reads everybody's. A fenced process joins again instead, under a new epoch, because it
    /// has given up what it held.
    async fn check_in(&self) -> Result<Vec<Pulse>, DbError> {
        let Some(owner) = *self.owner.borrow() else { return Err(DbError::EpochEnded) };
        let About { config_hash, version, broker, backlog: (outbox_depth, outbox_since) } = self.about().clone();
        let expire_after = Some(self.timing.expire_after);
        let report = Report { config_hash, version, outbox_depth, outbox_since, expire_after, broker };
        self.db
            .write(|tx| {
                let report = report.clone();
                async move { masters::report(&tx, owner, &report).await }
            })
            .await?;
        masters::pulses(self.db.read()).await
    }

    /// Declares those dead whose counter has stood still for long enough. Returns whether there was one.
    async fn watch_others(&self, others: &mut HashMap<MasterId, Seen>, pulses: Vec<Pulse>) -> bool {
        let Some(me) = *self.owner.borrow() else { return false };
        let mut any = false;
        for pulse in pulses.into_iter().filter(|pulse| pulse.owner.master_id != me.master_id) {
            let id = pulse.owner.master_id;
            if !pulse.active {
                others.remove(&id);
                continue;
            }
            let seen = others.entry(id).or_insert_with(|| Seen { pulse: pulse.clone(), since: Instant::now() });
            if seen.pulse != pulse {
                *seen = Seen { pulse, since: Instant::now() };
            } else if seen.since.elapsed() >= self.patience(&pulse) {
                match self.declare_dead(me, pulse.clone()).await {
                    Ok(true) => {
                        tracing::warn!(master.id = %id, "declared {} dead: it no longer checks in", pulse.name);
                        any = true;
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "cannot declare {} dead", pulse.name),
                }
                others.remove(&id);
            }
        }
        any
    }

    async fn declare_dead(&self, me: Owner, seen: Pulse) -> Result<bool, DbError> {
        let stopped = self
            .db
            .write(|tx| {
                let seen = seen.clone();
                async move {
                    let Some(master) = masters::deactivate(&tx, seen.owner, Some(&seen)).await? else {
                        return Ok(false);
                    };
                    outbox::insert(&tx, me, &[event(&master, "stopped")?]).await?;
                    Ok(true)
                }
            })
            .await?;
        self.bell.ring();
        Ok(stopped)
    }

    /// Ends this process's epoch in order. Whatever it still holds is released by housekeeping, here or elsewhere.
    ///
    /// # Errors
    /// What the database reported; the others then find out by themselves.
    pub async fn leave(&self) -> Result<(), DbError> {
        self.left.cancel();
        let Some(owner) = *self.owner.borrow() else { return Ok(()) };
        self.db
            .write(|tx| async move {
                if let Some(master) = masters::deactivate(&tx, owner, None).await? {
                    outbox::insert(&tx, owner, &[event(&master, "stopped")?]).await?;
                }
                Ok(())
            })
            .await
    }
}

/// Makes sure that no living master hears of the others through another kind of broker than `kind`. Those of which it is
/// not known whether they live are watched.
///
/// # Errors
/// [`JoinError::OtherBroker`], or what the database reported.
pub async fn check_broker(db: &Db, name: &str, kind: &str, timing: Timing) -> Result<(), JoinError> {
    let began = Instant::now();
    let mut seen: HashMap<Owner, i64> = HashMap::new();
    loop {
        let pulses = masters::pulses(db.read()).await?;
        let differs = |pulse: &Pulse| pulse.broker.as_deref().is_some_and(|broker| broker != kind);
        let mut unknown = false;
        for pulse in pulses.into_iter().filter(|pulse| pulse.active && pulse.name != name && differs(pulse)) {
            let checkins = *seen.entry(pulse.owner).or_insert(pulse.checkins);
            // One advance may have been under way when its process died; a second one is life.
            if pulse.checkins > checkins + 1 {
                let (theirs, ours) = (pulse.broker.unwrap_or_default(), kind.to_owned());
                return Err(JoinError::OtherBroker { name: pulse.name, theirs, ours });
            }
            unknown |=
                !is_gone(&pulse) && began.elapsed() < pulse.expire_after.unwrap_or_default().max(timing.expire_after);
        }
        if !unknown {
            return Ok(());
        }
        tokio::time::sleep(timing.check_in_interval.min(Duration::from_secs(1))).await;
    }
}

/// Whether the process of a pulse is known to have ended, because it ran on this machine.
fn is_gone(pulse: &Pulse) -> bool {
    Instance::parse(&pulse.instance).is_some_and(|instance| instance.is_gone())
}

/// Waits until a moment; for ever without one. Cancel safe.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn event(master: &Master, what: &str) -> Result<Event, DbError> {
    let key = EventKey::new(["masters", &master.masterid.to_string(), what]);
    Event::new(vec![key], master).map_err(|error| DbError::Invalid(error.to_string()))
}

/// What tells one process of a master from another. On the same machine it also tells whether a process is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Instance {
    id: Uuid,
    /// The machine's boot and the process id name space: process ids mean something only within both.
    scope: String,
    pid: u32,
    /// When the process started, in clock ticks since boot: a process id may be used again.
    started: String,
}

impl Instance {
    fn current() -> Self {
        let pid = std::process::id();
        Self { id: Uuid::now_v7(), scope: scope(), pid, started: started(pid).unwrap_or_default() }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        Some(Self {
            id: parts.next()?.parse().ok()?,
            scope: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.to_owned(),
        })
    }

    /// Whether the process is certainly gone: it ran here, and there is no such process any more.
    fn is_gone(&self) -> bool {
        self.scope == scope() && !self.scope.is_empty() && started(self.pid).as_deref() != Some(self.started.as_str())
    }
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {}", self.id, self.scope, self.pid, self.started)
    }
}

/// Empty where the system does not say (it is no Linux): then nothing is ever certain.
fn scope() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    match boot.trim() {
        "" => String::new(),
        boot => format!("{boot}/{}", namespace.display()),
    }
}

/// Field 22 of `/proc/<pid>/stat`; the command in field 2 may hold spaces, so the count starts behind it. Nothing for a
/// process that has ended and whose parent has not looked yet.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    if behind.trim_start().starts_with(['Z', 'X']) {
        return None;
    }
    behind.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_is_not_gone_and_a_dead_one_is() {
        let me = Instance::current();
        assert_eq!(Instance::parse(&me.to_string()), Some(me.clone()));
        assert!(!me.is_gone());
        assert!(Instance { started: "1".to_owned(), ..me.clone() }.is_gone(), "the id is used by another process");
        assert!(!Instance { scope: "elsewhere".to_owned(), started: "1".to_owned(), ..me }.is_gone());
        assert_eq!(Instance::parse("something old"), None);
    }
}
