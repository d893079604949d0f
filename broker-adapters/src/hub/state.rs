//! The hub's shared state: members, index, recent events. Every method is a short critical section of the hub's mutex.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{Delivery, Gone, HubOptions, TopicFilter, dedup::RecentIds, delivery::Outbound, topic::TopicIndex};
use crate::{Cursor, Position, Received};

/// Why a member's queue ended, shared between the hub and the member's subscription.
#[derive(Debug, Default)]
pub(crate) struct Fate(AtomicU8);

impl Fate {
    fn seal(&self, gone: Gone) {
        let code = match gone {
            Gone::TooSlow => 1,
            Gone::NotRetained => 2,
            Gone::ShutDown => 3,
        };
        self.0.store(code, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<Gone> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Gone::TooSlow),
            2 => Some(Gone::NotRetained),
            _ => Some(Gone::ShutDown),
        }
    }
}

#[derive(Debug)]
struct Member {
    queue: mpsc::Sender<Delivery>,
    filters: Vec<TopicFilter>,
    fate: Arc<Fate>,
    /// Events up to this position do not go into its queue: it takes them from the ring, or saw them on another replica that
    /// was ahead of this one.
    seen: Position,
}

/// What a new member gets.
pub(crate) struct Joined {
    pub(crate) id: u64,
    pub(crate) queue: mpsc::Receiver<Delivery>,
    pub(crate) fate: Arc<Fate>,
}

/// What one who resumes has yet to take from the ring: events that match `filters`, after `seen` up to `until`.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) filters: Vec<TopicFilter>,
    pub(crate) seen: Cursor,
    until: Position,
}

/// What one who resumes has yet to take from the ring, and the first step of it.
pub(crate) type CatchUp = (Behind, Vec<Received>);

/// How a filter was added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterChange {
    /// It was not there before (or is not there now).
    Done,
    /// It was there already (or was not there).
    Unchanged,
    /// The subscriber has as many filters as are allowed.
    TooMany,
    /// The subscription has ended.
    Ended,
}

#[derive(Debug)]
pub(crate) struct State {
    options: HubOptions,
    members: HashMap<u64, Member>,
    next_member: u64,
    index: TopicIndex,
    recent_ids: RecentIds,
    /// The events after `ring_start`, oldest first, duplicates left out.
    ring: VecDeque<Received>,
    ring_bytes: usize,
    /// Everything after this cursor is in the ring.
    ring_start: Cursor,
    /// Everything up to this cursor has been queued for its members.
    newest: Cursor,
    is_shut_down: bool,
    /// Kept between dispatches to save allocations.
    matches: Vec<u64>,
}

impl State {
    pub(crate) fn new(options: HubOptions, start: Cursor) -> Self {
        Self {
            options,
            members: HashMap::new(),
            next_member: 0,
            index: TopicIndex::default(),
            recent_ids: RecentIds::new(options.remembered_ids),
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_start: start.clone(),
            newest: start,
            is_shut_down: false,
            matches: Vec::new(),
        }
    }

    pub(crate) fn newest(&self) -> Cursor {
        self.newest.clone()
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether all that comes after `cursor` is in the ring or yet to come.
    pub(crate) fn check_resume(&self, cursor: &Cursor) -> Result<(), Gone> {
        let is_retained =
            cursor.is_same_generation(&self.ring_start) && cursor.position() >= self.ring_start.position();
        if is_retained { Ok(()) } else { Err(Gone::NotRetained) }
    }

    /// The next events, up to `limit`, for one who catches up.
    pub(crate) fn ring_step(&self, behind: &Behind, limit: usize) -> Result<Vec<Received>, Gone> {
        self.check_resume(&behind.seen)?;
        let skip = self.ring.partition_point(|r| r.cursor.position() <= behind.seen.position());
        let end = self.ring.partition_point(|r| r.cursor.position() <= behind.until);
        Ok(self.ring.range(skip..end.max(skip)).take(limit).cloned().collect())
    }

    /// Adds a member that wants what comes from now on; tells where that is.
    pub(crate) fn join(&mut self, filters: Vec<TopicFilter>) -> Result<(Joined, Cursor), Gone> {
        let start = self.newest.clone();
        Ok((self.admit(filters, start.position())?, start))
    }

    /// Adds a member that has seen everything up to a cursor, which another replica may have given it that is ahead of this
    /// one; with what it has to take from the ring first, and the first step of that: who is behind by little cannot fall
    /// out of the ring any more.
    pub(crate) fn join_after(
        &mut self,
        filters: &[TopicFilter],
        seen: &Cursor,
        limit: usize,
    ) -> Result<(Joined, Option<CatchUp>), Gone> {
        let until = self.newest.position();
        let behind = Behind { filters: filters.to_vec(), seen: seen.clone(), until };
        let step = self.ring_step(&behind, limit)?;
        let joined = self.admit(filters.to_vec(), until.max(seen.position()))?;
        Ok((joined, (!step.is_empty()).then_some((behind, step))))
    }

    fn admit(&mut self, filters: Vec<TopicFilter>, seen: Position) -> Result<Joined, Gone> {
        if self.is_shut_down {
            return Err(Gone::ShutDown);
        }
        let (sender, queue) = mpsc::channel(self.options.queue_len);
        let fate = Arc::<Fate>::default();
        let id = self.next_member;
        self.next_member += 1;
        let member = Member { queue: sender, filters: Vec::new(), fate: Arc::clone(&fate), seen };
        self.members.insert(id, member);
        for filter in filters {
            self.add_filter(id, filter);
        }
        Ok(Joined { id, queue, fate })
    }

    pub(crate) fn add_filter(&mut self, id: u64, filter: TopicFilter) -> FilterChange {
        let Some(member) = self.members.get_mut(&id) else { return FilterChange::Ended };
        if member.filters.contains(&filter) {
            return FilterChange::Unchanged;
        }
        if member.filters.len() >= self.options.max_filters {
            return FilterChange::TooMany;
        }
        self.index.insert(&filter, id);
        member.filters.push(filter);
        FilterChange::Done
    }

    pub(crate) fn remove_filter(&mut self, id: u64, filter: &TopicFilter) -> FilterChange {
        let Some(member) = self.members.get_mut(&id) else { return FilterChange::Ended };
        let Some(at) = member.filters.iter().position(|f| f == filter) else { return FilterChange::Unchanged };
        member.filters.swap_remove(at);
        self.index.remove(filter, id);
        FilterChange::Done
    }

    /// The member leaves (`None`) or is put out, and learns why.
    pub(crate) fn remove(&mut self, id: u64, gone: Option<Gone>) {
        if let Some(member) = self.members.remove(&id) {
            for filter in &member.filters {
                self.index.remove(filter, id);
            }
            if let Some(gone) = gone {
                member.fate.seal(gone);
            }
        }
    }

    /// Queues an event for its members and keeps it for resumes. `false` if it was a duplicate.
    pub(crate) fn dispatch(&mut self, received: Received) -> bool {
        self.newest = received.cursor.clone();
        if !self.recent_ids.is_new(received.event.event_id) {
            return false;
        }
        let position = received.cursor.position();
        let mut outbound: Option<Arc<Outbound>> = None;
        let mut matches = std::mem::take(&mut self.matches);
        for (n, key) in received.event.keys.iter().enumerate() {
            matches.clear();
            self.index.find(key.as_str(), &mut matches);
            for id in &matches {
                let Some(member) = self.members.get(id) else { continue };
                if position <= member.seen {
                    continue;
                }
                let outbound = outbound.get_or_insert_with(|| Outbound::new(received.clone()));
                match member.queue.try_send(Delivery::new(Arc::clone(outbound), n)) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => self.remove(*id, Some(Gone::TooSlow)),
                    Err(mpsc::error::TrySendError::Closed(_)) => self.remove(*id, None),
                }
            }
        }
        self.matches = matches;
        self.remember(received);
        true
    }

    fn remember(&mut self, received: Received) {
        self.ring_bytes += received.event.body.get().len();
        self.ring.push_back(received);
        while self.ring.len() > self.options.ring_events || self.ring_bytes > self.options.ring_bytes {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_bytes -= oldest.event.body.get().len();
            self.ring_start = oldest.cursor;
        }
    }

    /// The log could not be read on from where the hub was: everyone has to look at the state again.
    pub(crate) fn reset(&mut self, start: Cursor) {
        self.put_all_out(Gone::NotRetained);
        self.ring.clear();
        self.ring_bytes = 0;
        self.ring_start = start.clone();
        self.newest = start;
    }

    pub(crate) fn shut_down(&mut self) {
        self.is_shut_down = true;
        self.put_all_out(Gone::ShutDown);
    }

    fn put_all_out(&mut self, gone: Gone) {
        for (_, member) in self.members.drain() {
            member.fate.seal(gone);
        }
        self.index = TopicIndex::default();
    }
}
