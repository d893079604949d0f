//! Which faults come when: decided before the run by the seed alone, so that the seed repeats it.

use std::time::Duration;

use super::Run;
use super::dice::Dice;
use super::faults::{Fault, Target};
use crate::broker::Broker;

/// From one fault to the next.
const PAUSE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(3));

/// How many faults there are at a time at most.
pub(super) const AT_A_TIME: usize = 3;

/// How long a RabbitMQ may take to start, and is then left alone. A Redis is back at once.
const RABBITMQ_STARTS: Duration = Duration::from_secs(25);

/// From one loss of the log to the next at least, after the first of each kind: while it lasts less is asked of what
/// outsiders hear, so most of the time there is to be none.
const WIPES_APART: Duration = Duration::from_secs(75);

/// A fault, when it is due, and for how long it is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) fault: Fault,
    /// The first of its kind: it waits until its target is free, others are left out if that takes too long.
    pub(super) is_first: bool,
}

impl Planned {
    /// Until when nothing else hits the same.
    fn until(&self, broker: Broker) -> Duration {
        let starts = broker == Broker::RabbitMq && matches!(self.fault, Fault::CrashBroker | Fault::EmptyBroker);
        self.at + self.lasts + if starts { RABBITMQ_STARTS } else { Duration::ZERO }
    }
}

/// All faults of a run. What hits the same never overlaps; the rest does, a few at a time.
pub(super) fn plan(run: &Run) -> Vec<Planned> {
    let mut dice = Dice::new(run.seed);
    // Each kind once, so that a short run has all of them; then as the dice fall.
    let mut deck = deck(run, &mut dice);
    let mut plan: Vec<Planned> = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += dice.between(PAUSE.0, PAUSE.1);
        let under_way = plan.iter().filter(|planned| planned.until(run.size.broker) > at);
        let under_way: Vec<Target> = under_way.map(|planned| planned.fault.target()).collect();
        if at >= run.duration {
            return plan;
        }
        if under_way.len() >= AT_A_TIME {
            continue;
        }
        let free = deck.iter().rposition(|fault| !under_way.contains(&fault.target()));
        let fault = match free {
            Some(place) => deck.remove(place),
            None => choose(run, &mut dice),
        };
        let lasts = lasts(fault, &mut dice, run.size.expire);
        let wiped = plan.iter().rfind(|planned| planned.fault.is_wipe()).map(|planned| planned.at);
        let too_soon = free.is_none() && fault.is_wipe() && wiped.is_some_and(|wiped| at < wiped + WIPES_APART);
        if !too_soon && !under_way.contains(&fault.target()) {
            plan.push(Planned { at, lasts, fault, is_first: free.is_some() });
        }
    }
}

/// One of each kind that makes sense with the broker, in an order of their own for each seed.
fn deck(run: &Run, dice: &mut Dice) -> Vec<Fault> {
    let worker = dice.below(run.size.workers);
    let mut master = || dice.below(run.size.masters);
    let mut deck = vec![Fault::Kill(master()), Fault::Restart(master()), Fault::Pause(master())];
    deck.extend([Fault::CutDatabase(master()), Fault::KillWorker(worker), Fault::CrashDatabase]);
    if run.size.broker != Broker::Memory {
        deck.extend([Fault::CutBroker(master()), Fault::CrashBroker, Fault::WipeBroker, Fault::EmptyBroker]);
    }
    for index in (1..deck.len()).rev() {
        deck.swap(index, dice.below(index + 1));
    }
    deck
}

/// One at random, among those that make sense with the broker.
fn choose(run: &Run, dice: &mut Dice) -> Fault {
    let master = dice.below(run.size.masters);
    let kinds = if run.size.broker == Broker::Memory { 10 } else { 16 };
    match dice.below(kinds) {
        0..=2 => Fault::Kill(master),
        3 => Fault::Restart(master),
        4 | 5 => Fault::Pause(master),
        6 | 7 => Fault::CutDatabase(master),
        8 => Fault::KillWorker(dice.below(run.size.workers)),
        9 => Fault::CrashDatabase,
        10..=12 => Fault::CutBroker(master),
        13 => Fault::CrashBroker,
        14 => Fault::WipeBroker,
        _ => Fault::EmptyBroker,
    }
}

/// Sometimes shorter than the time after which a master is declared dead, sometimes longer; pauses are always longer.
fn lasts(fault: Fault, dice: &mut Dice, expire: Duration) -> Duration {
    match fault {
        Fault::Pause(_) => dice.between(expire + expire / 2, expire * 2),
        Fault::WipeBroker => Duration::ZERO,
        _ => dice.between(Duration::from_millis(100), expire * 2),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Size;
    use super::super::faults::KINDS;
    use super::*;

    fn run(seed: u64, broker: Broker) -> Run {
        let size = Size { masters: 3, workers: 8, changes: 40, broker, expire: Duration::from_secs(4) };
        Run { seed, duration: Duration::from_secs(50), size }
    }

    #[test]
    fn a_seed_repeats_the_plan_and_a_short_one_has_every_kind() {
        for seed in 0..50 {
            let plan = super::plan(&run(seed, Broker::Redis));
            assert_eq!(plan, super::plan(&run(seed, Broker::Redis)));
            for kind in KINDS {
                assert!(plan.iter().any(|planned| planned.fault.kind() == kind), "{kind} with seed {seed}");
            }
        }
        assert_ne!(super::plan(&run(1, Broker::Redis)), super::plan(&run(2, Broker::Redis)));
    }

    #[test]
    fn faults_overlap_but_never_on_the_same_target_and_without_a_broker_none_hits_it() {
        let plan = super::plan(&run(7, Broker::Memory));
        let overlap = |a: &Planned, b: &Planned| a.at < b.at && a.at + a.lasts > b.at;
        let pairs = || plan.iter().flat_map(|a| plan.iter().map(move |b| (a, b))).filter(|(a, b)| overlap(a, b));
        assert!(pairs().count() > 0);
        assert!(pairs().all(|(a, b)| a.fault.target() != b.fault.target()));
        let hits_broker = |planned: &Planned| matches!(planned.fault.target(), Target::Broker | Target::BrokerLink(_));
        assert!(!plan.iter().any(hits_broker));
    }
}
