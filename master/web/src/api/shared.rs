//! Reads that many clients make at the same time are made once (*single flight*). When a build ends, everybody who looks at
//! its builder asks for the same page.
//!
//! An answer is never older than its question: only a read that has not begun yet is shared. So that there is one to share,
//! a read waits for the same one before it, for some time. Each web thread shares among its own clients.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::Hash,
    rc::Rc,
    time::Duration,
};

use futures::future::{FutureExt, LocalBoxFuture, Shared, WeakShared};

/// How long a read waits for the same one before it: longer than pages take, so that few of the same wait at a time for a
/// database that is stuck, and others find connections. It may be that connection only which is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reads of a web thread that are under way, by what was asked. Dropping all who wait for a read ends it.
pub(crate) struct SharedReads<Q, T: Clone> {
    reads: RefCell<HashMap<Q, Read<T>>>,
}

struct Read<T: Clone> {
    has_begun: Rc<Cell<bool>>,
    answer: WeakShared<LocalBoxFuture<'static, T>>,
}

impl<Q, T: Clone> Default for SharedReads<Q, T> {
    fn default() -> Self {
        Self { reads: RefCell::default() }
    }
}

impl<Q: Clone + Eq + Hash, T: Clone + 'static> SharedReads<Q, T> {
    /// The answer to `question`, for which `read` is made, unless one for it is about to begin.
    ///
    /// Cancel safe: others who wait for the same read go on.
    pub(crate) async fn get<R>(&self, question: &Q, read: impl FnOnce() -> R) -> T
    where
        R: Future<Output = T> + 'static,
    {
        // Dropped after the answer that is waited for.
        let _client = Client { all: self, question };
        self.join(question, read).await
    }

    fn join<R>(&self, question: &Q, read: impl FnOnce() -> R) -> Shared<LocalBoxFuture<'static, T>>
    where
        R: Future<Output = T> + 'static,
    {
        let mut reads = self.reads.borrow_mut();
        let before = reads.get(question).and_then(|read| Some((read.answer.upgrade()?, read.has_begun.get())));
        let before = match before {
            Some((about_to_begin, false)) => return about_to_begin,
            Some((under_way, true)) => Some(under_way),
            None => None,
        };
        let has_begun = Rc::new(Cell::new(false));
        let (begun, read) = (Rc::clone(&has_begun), read());
        let answer = async move {
            if let Some(before) = before {
                let _: Result<T, _> = tokio::time::timeout(PATIENCE, before).await;
            }
            begun.set(true);
            read.await
        };
        let answer = answer.boxed_local().shared();
        if let Some(weak) = answer.downgrade() {
            reads.insert(question.clone(), Read { has_begun, answer: weak });
        }
        answer
    }
}

/// Somebody who waits for a read. The last one to leave takes the read along.
struct Client<'a, Q: Eq + Hash, T: Clone> {
    all: &'a SharedReads<Q, T>,
    question: &'a Q,
}

impl<Q: Eq + Hash, T: Clone> Drop for Client<'_, Q, T> {
    fn drop(&mut self) {
        let mut reads = self.all.reads.borrow_mut();
        // Another read for the same question may be there by now, with clients of its own.
        if reads.get(self.question).is_some_and(|read| read.answer.upgrade().is_none()) {
            reads.remove(self.question);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};
    use tokio::sync::{Notify, watch};

    use super::*;

    /// Reads a number that changes, each time when it is let.
    #[derive(Default)]
    struct Source {
        number: Cell<u32>,
        reads: watch::Sender<u32>,
        gate: Notify,
    }

    impl Source {
        fn read(self: &Rc<Self>) -> impl Future<Output = u32> + use<> {
            let source = Rc::clone(self);
            async move {
                source.reads.send_modify(|reads| *reads += 1);
                let number = source.number.get();
                source.gate.notified().await;
                number
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_while_a_read_runs_shares_the_next_one() {
        let (reads, source) = (SharedReads::default(), Rc::new(Source::default()));
        let mut first = Box::pin(reads.get(&"builds", || source.read()));
        assert!((&mut first).now_or_never().is_none());
        source.number.set(1);
        let mut others: Vec<_> = (0..5).map(|_| Box::pin(reads.get(&"builds", || source.read()))).collect();
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        assert_eq!(*source.reads.borrow(), 1);
        // One who leaves does not take the read along.
        drop(others.remove(0));
        source.gate.notify_one();
        assert_eq!(first.await, 0, "it had begun before");
        source.gate.notify_one();
        assert_eq!(join_all(others).await, [1; 4], "an answer is not older than its question");
        assert_eq!(*source.reads.borrow(), 2);
        assert!(reads.reads.borrow().is_empty(), "nothing is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_takes_long_holds_nobody_up() {
        let (reads, source) = (SharedReads::default(), Rc::new(Source::default()));
        let mut first = Box::pin(reads.get(&"builds", || source.read()));
        assert!((&mut first).now_or_never().is_none());
        let second = reads.get(&"builds", || source.read());
        let other = async {
            let mut reads = source.reads.subscribe();
            let both = tokio::time::timeout(PATIENCE * 2, reads.wait_for(|reads| *reads == 2));
            both.await.expect("both run").expect("the source is there");
            source.gate.notify_waiters();
        };
        let (first, second, ()) = tokio::join!(first, second, other);
        assert_eq!((first, second), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn other_questions_and_those_who_left_are_nothing_to_each_other() {
        let (reads, source) = (SharedReads::default(), Rc::new(Source::default()));
        let mut left = Box::pin(reads.get(&"builds", || source.read()));
        assert!((&mut left).now_or_never().is_none());
        drop(left);
        assert!(reads.reads.borrow().is_empty(), "the read has ended with the only one who waited");
        let mut builds = Box::pin(reads.get(&"builds", || source.read()));
        let mut workers = Box::pin(reads.get(&"workers", || source.read()));
        assert!((&mut builds).now_or_never().is_none());
        assert!((&mut workers).now_or_never().is_none());
        assert_eq!(*source.reads.borrow(), 3);
        source.gate.notify_waiters();
        assert_eq!((builds.await, workers.await), (0, 0));
    }
}
