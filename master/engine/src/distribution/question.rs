//! What a builder would start now: read from its queue and, if the configuration has functions for it, asked there.
//!
//! Functions can take as long as they are allowed to, so builders that have some are asked in tasks of their own. Nobody
//! waits for an answer for longer than a moment; one that comes later is claimed and started by itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use buildguild_config::LoadedFarm;
use buildguild_types::{
    farm::{BuilderConfig, CollapsePolicy, ConfigHash},
    ids::BuilderId,
    resources::BuildRequest,
};
use tokio::{
    task::{Id, JoinSet},
    time::Instant,
};

use super::{
    choose::{Choice, ChooseError, Chooser},
    collapser::policy,
    service::Means,
};
use crate::functions::Functions;

/// How long others wait for an answer, once: who takes longer is not waited for any more.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// A function that failed after more than this is not tried again in the same question.
const SLOW: Duration = Duration::from_secs(1);

/// A builder and its queue, under one version of the configuration.
pub(super) struct Question {
    pub(super) means: Arc<Means>,
    pub(super) farm: Arc<LoadedFarm>,
    pub(super) functions: Functions,
    pub(super) id: BuilderId,
    pub(super) config: Arc<BuilderConfig>,
    /// Whether there may be requests that were not compared with the others yet.
    pub(super) is_fresh: bool,
}

/// What a builder would start.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) choices: Vec<Choice>,
    /// Nothing else waits.
    pub(super) is_exhausted: bool,
}

/// The answer to a question.
pub(super) struct Answer {
    pub(super) id: BuilderId,
    pub(super) config: Arc<BuilderConfig>,
    pub(super) farm: Arc<LoadedFarm>,
    pub(super) took: Duration,
    pub(super) outcome: Result<Chosen, ChooseError>,
    /// A failure that kept nothing from starting.
    pub(super) trouble: Option<ChooseError>,
}

impl Answer {
    /// An answer that nobody had to wait for.
    pub(super) fn at_once(
        id: BuilderId,
        config: Arc<BuilderConfig>,
        farm: Arc<LoadedFarm>,
        outcome: Result<Chosen, ChooseError>,
    ) -> Self {
        Self { id, config, farm, took: Duration::ZERO, outcome, trouble: None }
    }
}

impl Question {
    /// Whether functions of the configuration have to be asked.
    pub(super) fn asks_functions(&self) -> bool {
        self.config.next_build.is_some()
            || self.config.can_start_build.is_some()
            || self.config.next_worker.is_some()
            || self.farm.farm.select_next_worker.is_some()
            || self.asks_to_collapse()
    }

    /// Whether a function says which requests become one.
    pub(super) fn asks_to_collapse(&self) -> bool {
        matches!(policy(&self.farm.farm, &self.config), CollapsePolicy::Callable(_))
    }

    /// Whether requests of this builder may have to be compared now.
    pub(super) fn collapses(&self) -> bool {
        self.is_fresh && *policy(&self.farm.farm, &self.config) != CollapsePolicy::Never
    }

    /// Whether there may be something to do: a free worker, or requests to compare.
    pub(super) fn may_have_to_do(&self) -> bool {
        self.collapses() || self.chooser().free_places() > 0
    }

    pub(super) fn chooser(&self) -> Chooser<'_> {
        Chooser {
            parts: &self.means.parts,
            pool: &*self.means.pool,
            farm: &self.farm,
            functions: &self.functions,
            builder_id: self.id,
            builder: &self.config,
        }
    }

    /// The head of the queue after collapsing, as far as it could start now and one more; and what failed on the way.
    ///
    /// # Errors
    /// If the database fails, or a function does after a long time.
    pub(super) async fn head(&self) -> Result<(Vec<BuildRequest>, Option<ChooseError>), ChooseError> {
        let (mut head, mut trouble) = (None, None);
        let policy = policy(&self.farm.farm, &self.config);
        if self.collapses() {
            let begun = Instant::now();
            let collapsed =
                self.means.collapser.collapse(&self.means.parts, &self.functions, self.id, &self.config, policy).await;
            match collapsed {
                Ok(rest) => head = Some(rest),
                // Requests that do not collapse can be built one by one.
                Err(error @ ChooseError::Call(_)) if begun.elapsed() < SLOW => trouble = Some(error),
                Err(error) => return Err(error),
            }
        }
        let Some(mut head) = head else { return Ok((self.read().await?, trouble)) };
        head.truncate(usize::try_from(self.needed()).unwrap_or(usize::MAX));
        Ok((head, trouble))
    }

    /// The head of the queue as it is.
    ///
    /// # Errors
    /// If the database fails.
    pub(super) async fn read(&self) -> Result<Vec<BuildRequest>, ChooseError> {
        match self.needed() {
            0 => Ok(Vec::new()),
            needed => Ok(self.means.parts.store.claimable(self.id, needed).await?),
        }
    }

    /// How many requests of the queue count now: one more than can start tells whether something is left.
    fn needed(&self) -> i64 {
        match self.chooser().head_needed() {
            0 => 0,
            needed => needed + 1,
        }
    }

    /// Chooses among the head of the queue.
    ///
    /// # Errors
    /// If the database or a function fails.
    pub(super) async fn choose(&self, head: Vec<BuildRequest>) -> Result<Chosen, ChooseError> {
        let waiting = head.len();
        let choices = self.chooser().choose(head).await?;
        Ok(Chosen { is_exhausted: choices.len() == waiting, choices })
    }

    async fn answer(self) -> Answer {
        let begun = Instant::now();
        let mut trouble = None;
        let outcome = async {
            let (head, failed) = self.head().await?;
            trouble = failed;
            if head.is_empty() {
                // Nothing waits, or no worker is free any more.
                return Ok(Chosen { is_exhausted: self.chooser().free_places() > 0, ..Chosen::default() });
            }
            self.choose(head).await
        }
        .await;
        Answer { id: self.id, config: self.config, farm: self.farm, took: begun.elapsed(), outcome, trouble }
    }
}

/// The questions that are under way.
#[derive(Default)]
pub(super) struct Inquiries {
    version: Option<ConfigHash>,
    tasks: JoinSet<Answer>,
    asked: HashMap<Id, (BuilderId, Arc<BuilderConfig>, Arc<LoadedFarm>)>,
    /// Builders that are being asked, and whether there was reason to ask again since.
    under_way: BTreeMap<BuilderId, bool>,
    /// Builders whose last answer took long: nobody waits for them.
    slow: BTreeSet<BuilderId>,
}

impl Inquiries {
    /// Forgets who was slow if `version` is another one than before.
    pub(super) fn under(&mut self, version: &ConfigHash) {
        if self.version.as_ref() != Some(version) {
            self.version = Some(version.clone());
            self.slow.clear();
        }
    }

    /// Whether a builder is being asked; if so, it will be asked again afterwards.
    pub(super) fn is_asking(&mut self, builder: BuilderId) -> bool {
        match self.under_way.get_mut(&builder) {
            Some(again) => {
                *again = true;
                true
            }
            None => false,
        }
    }

    /// Asks. Returns whether the answer can be expected within a moment.
    pub(super) fn begin(&mut self, question: Question) -> bool {
        let (id, config, farm) = (question.id, Arc::clone(&question.config), Arc::clone(&question.farm));
        self.under_way.insert(id, false);
        let task = self.tasks.spawn(question.answer());
        self.asked.insert(task.id(), (id, config, farm));
        !self.slow.contains(&id)
    }

    /// Notes that a builder takes longer than a moment.
    pub(super) fn is_late(&mut self, builder: BuilderId) {
        self.slow.insert(builder);
    }

    /// The next answer, and whether there was reason to ask again since the question. Waits for ever if nothing is asked.
    ///
    /// Cancel safe: yes; an answer that was not returned waits.
    pub(super) async fn next(&mut self) -> (Answer, bool) {
        let ended = match self.tasks.join_next_with_id().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        };
        let task = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(task, _)| *task);
        let about = self.asked.remove(&task);
        let answer = match (ended, about) {
            (Ok((_, answer)), _) => answer,
            (Err(_), Some((id, config, farm))) => {
                Answer { id, config, farm, took: PATIENCE, outcome: Err(ChooseError::Panicked), trouble: None }
            }
            // Each task is noted when it begins.
            (Err(_), None) => std::future::pending().await,
        };
        if answer.took < PATIENCE {
            self.slow.remove(&answer.id);
        } else {
            self.slow.insert(answer.id);
        }
        let again = self.under_way.remove(&answer.id).unwrap_or_default();
        (answer, again)
    }
}
